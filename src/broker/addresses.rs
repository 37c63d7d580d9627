//! How many connections each address has, so that one alone cannot take all the room.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The addresses that have connections now; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
    /// How many one may have at the same time.
    most: usize,
}

/// A connection's share of its address; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    addresses: Addresses,
    /// Without one, nothing was counted.
    address: Option<IpAddr>,
}

impl Addresses {
    /// Without any connection yet; each address may have so many.
    pub(super) fn with_most(most: usize) -> Self {
        Self { counts: Arc::default(), most }
    }

    /// A share for one more connection from `peer`; `None` when it has all it may have.
    /// This machine has no such bound: what runs on it is ours.
    pub(super) fn share(&self, peer: IpAddr) -> Option<Share> {
        let peer = peer.to_canonical();
        if peer.is_loopback() {
            return Some(Share { addresses: self.clone(), address: None });
        }
        let address = place(peer);
        let mut counts = self.counts();
        let count = counts.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Share { addresses: self.clone(), address: Some(address) })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut counts = self.addresses.counts();
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}

/// What counts as one address: of IPv6 the first 64 bits, since every host of such a network can take
/// as many addresses as it likes (RFC 4291 2.5.4, RFC 8981).
pub(super) fn place(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 250;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_so_many_shares_and_no_more_until_one_is_given_back() {
        let addresses = Addresses::with_most(MAX);
        let take = || addresses.share(ip("10.0.0.9"));
        let mut shares: Vec<_> = (0..MAX).map(|_| take().unwrap()).collect();
        assert!(take().is_none() && addresses.share(ip("::ffff:10.0.0.9")).is_none());
        assert!(addresses.share(ip("10.0.0.8")).is_some());
        shares.pop();
        assert!(take().is_some());
        drop(shares);
        assert!(addresses.counts().is_empty(), "nothing is remembered of who left");
    }

    #[test]
    fn a_host_that_changes_its_ipv6_address_is_the_same() {
        let addresses = Addresses::with_most(MAX);
        let _shares: Vec<_> = (0..MAX)
            .map(|n| addresses.share(ip(&format!("2001:db8:1:2::{n:x}"))).unwrap())
            .collect();
        assert!(addresses.share(ip("2001:db8:1:2:ffff::1")).is_none());
        assert!(addresses.share(ip("2001:db8:1:3::1")).is_some());
    }

    #[test]
    fn this_machine_has_no_bound() {
        let addresses = Addresses::with_most(MAX);
        for near in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            let shares: Vec<_> = (0..=MAX).map(|_| addresses.share(ip(near))).collect();
            assert!(shares.iter().all(Option::is_some), "{near}");
        }
    }
}
