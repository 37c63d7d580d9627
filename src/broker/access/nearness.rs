//! How far away a client is, and whether it may come in without a login.
//!
//! Facts about the network around us come in as a [`Neighbourhood`].

use std::net::{IpAddr, Ipv6Addr};

use crate::config::Access;

/// How far away a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) enum Nearness {
    /// This machine.
    Loopback,
    /// A private address, or one of our own IPv6 prefixes.
    Lan,
    /// Anywhere else, or whatever a container's gateway hides.
    Outside,
}

/// What is known of the network around us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::broker) struct Neighbourhood {
    /// The IPv6 prefixes of our own interfaces: address and length in bits.
    pub(in crate::broker) prefixes: Vec<(Ipv6Addr, u8)>,
    /// In a container: the default gateways, from whose address any outside client may seem to come.
    pub(in crate::broker) gateways: Vec<IpAddr>,
}

/// A prefix shorter than this is no network that a household or a company holds.
const SHORTEST_OWN_PREFIX: u8 = 48;

/// Judges a peer address. IPv4-mapped addresses count as the IPv4 address that they hold; a public
/// IPv4 subnet of ours does not count as near, since on a hosted server its neighbours are strangers.
pub(in crate::broker) fn nearness(peer: IpAddr, around: &Neighbourhood) -> Nearness {
    let peer = peer.to_canonical();
    if peer.is_loopback() {
        return Nearness::Loopback;
    }
    if around.gateways.contains(&peer) {
        return Nearness::Outside;
    }
    let near = match peer {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => {
            v6.is_unique_local()
                || v6.is_unicast_link_local()
                || around.prefixes.iter().any(|p| holds(*p, v6))
        }
    };
    if near { Nearness::Lan } else { Nearness::Outside }
}

/// Whether a client without a login may come in.
///
/// # Errors
/// The reason's name.
pub(in crate::broker) fn admit_anonymous(
    policy: Access,
    from: Nearness,
) -> Result<(), &'static str> {
    match (policy, from) {
        (Access::Anyone, _)
        | (Access::Lan, Nearness::Loopback | Nearness::Lan)
        | (Access::Local, Nearness::Loopback) => Ok(()),
        (Access::Lan, Nearness::Outside) => Err("login_needed_from_outside"),
        (Access::Local, Nearness::Lan | Nearness::Outside) => Err("listener_is_local_only"),
        (Access::Accounts, _) => Err("listener_wants_an_account"),
    }
}

fn holds((prefix, bits): (Ipv6Addr, u8), address: Ipv6Addr) -> bool {
    if !(SHORTEST_OWN_PREFIX..=128).contains(&bits) {
        return false;
    }
    let mask = u128::MAX << (128 - u32::from(bits));
    prefix.to_bits() & mask == address.to_bits() & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn nearness_of_addresses() {
        let around = Neighbourhood {
            prefixes: vec![
                ("2001:db8:1:2::5".parse().unwrap(), 64),
                ("2400::".parse().unwrap(), 12),
                ("2a00:1:1::7".parse().unwrap(), 128),
            ],
            gateways: vec![ip("172.17.0.1")],
        };
        let cases = [
            ("127.0.0.1", Nearness::Loopback),
            ("127.8.9.1", Nearness::Loopback),
            ("::1", Nearness::Loopback),
            ("::ffff:127.0.0.1", Nearness::Loopback),
            ("10.1.2.3", Nearness::Lan),
            ("172.16.0.1", Nearness::Lan),
            ("172.32.0.1", Nearness::Outside),
            ("192.168.7.7", Nearness::Lan),
            ("::ffff:192.168.7.7", Nearness::Lan),
            ("169.254.3.3", Nearness::Lan),
            ("fe80::1", Nearness::Lan),
            ("fd12:3456::1", Nearness::Lan),
            ("2001:db8:1:2:aaaa::9", Nearness::Lan),
            ("2001:db8:1:3::9", Nearness::Outside),
            ("2a00:1:1::7", Nearness::Lan),
            ("2a00:1:1::8", Nearness::Outside),
            // A prefix that half the internet shares is not ours.
            ("2400:1::1", Nearness::Outside),
            ("8.8.8.8", Nearness::Outside),
            ("::ffff:8.8.8.8", Nearness::Outside),
            ("100.64.0.1", Nearness::Outside),
            // The container's gateway is a private address and hides anyone.
            ("172.17.0.1", Nearness::Outside),
            ("::ffff:172.17.0.1", Nearness::Outside),
            ("172.17.0.2", Nearness::Lan),
        ];
        for (address, expected) in cases {
            assert_eq!(nearness(ip(address), &around), expected, "{address}");
        }
    }

    #[test]
    fn who_comes_in_without_a_login() {
        use Nearness::{Lan, Loopback, Outside};
        let outside = Err("login_needed_from_outside");
        let local = Err("listener_is_local_only");
        let account = Err("listener_wants_an_account");
        let cases = [
            (Access::Anyone, [(Loopback, Ok(())), (Lan, Ok(())), (Outside, Ok(()))]),
            (Access::Lan, [(Loopback, Ok(())), (Lan, Ok(())), (Outside, outside)]),
            (Access::Local, [(Loopback, Ok(())), (Lan, local), (Outside, local)]),
            (Access::Accounts, [(Loopback, account), (Lan, account), (Outside, account)]),
        ];
        for (policy, rows) in cases {
            for (from, expected) in rows {
                assert_eq!(admit_anonymous(policy, from), expected, "{policy:?} {from:?}");
            }
        }
    }
}
