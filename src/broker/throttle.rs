//! Who has failed to log in too often, and waits. Pure: the time is passed in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::addresses::place;

/// Failures within [`WINDOW`] after which an address waits.
const FAILURES: u32 = 10;

/// How long failures are counted together, and how long the address waits after the last of them.
const WINDOW: Duration = Duration::from_secs(60);

/// Addresses that are remembered: half a megabyte. Beyond that the one whose failures are the
/// oldest is forgotten, which an attacker with so many addresses does not need.
const ADDRESSES: usize = 4_096;

/// Failed logins by address, of IPv6 by its first 64 bits. This machine is left out: what runs on it
/// is ours, and behind a proxy it would stand for everybody.
#[derive(Debug, Default)]
pub(super) struct Throttle(HashMap<IpAddr, Failures>);

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    since: Instant,
}

impl Failures {
    fn left(self, now: Instant) -> Option<Duration> {
        WINDOW.checked_sub(now.saturating_duration_since(self.since)).filter(|left| !left.is_zero())
    }
}

impl Throttle {
    /// How long an address still has to wait, if it does.
    pub(super) fn waits(&self, peer: IpAddr, now: Instant) -> Option<Duration> {
        let failures = self.0.get(&place(peer.to_canonical()))?;
        failures.left(now).filter(|_| failures.count >= FAILURES)
    }

    /// Counts a failed login.
    pub(super) fn failed(&mut self, peer: IpAddr, now: Instant) {
        let peer = peer.to_canonical();
        if peer.is_loopback() {
            return;
        }
        let place = place(peer);
        if !self.0.contains_key(&place) {
            self.make_room(now);
        }
        let failures = self.0.entry(place).or_insert(Failures { count: 0, since: now });
        if failures.left(now).is_none() {
            *failures = Failures { count: 0, since: now };
        }
        failures.count += 1;
        if failures.count == FAILURES {
            failures.since = now;
        }
    }

    fn make_room(&mut self, now: Instant) {
        if self.0.len() < ADDRESSES {
            return;
        }
        self.0.retain(|_, failures| failures.left(now).is_some());
        if self.0.len() >= ADDRESSES {
            let oldest = self.0.iter().min_by_key(|(_, it)| it.since).map(|(place, _)| *place);
            oldest.map(|place| self.0.remove(&place));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn ten_failures_in_a_minute_make_an_address_wait_a_minute_and_others_do_not() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        for n in 0..10 {
            assert_eq!(throttle.waits(ip("10.0.0.9"), after(start, n)), None, "{n}");
            throttle.failed(ip("10.0.0.9"), after(start, n));
        }
        let waits =
            |throttle: &Throttle, seconds| throttle.waits(ip("10.0.0.9"), after(start, seconds));
        assert_eq!(waits(&throttle, 9), Some(WINDOW));
        assert_eq!(waits(&throttle, 68), Some(Duration::from_secs(1)));
        assert_eq!(waits(&throttle, 69), None);
        assert_eq!(throttle.waits(ip("10.0.0.8"), after(start, 9)), None);
        assert!(throttle.waits(ip("::ffff:10.0.0.9"), after(start, 9)).is_some());
        throttle.failed(ip("10.0.0.9"), after(start, 70));
        assert_eq!(waits(&throttle, 70), None, "it begins anew");
    }

    #[test]
    fn slow_failures_and_those_of_this_machine_do_not_wait() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        for n in 0..40 {
            throttle.failed(ip("10.0.0.9"), after(start, n * 7));
            throttle.failed(ip("127.0.0.1"), start);
            throttle.failed(ip("::1"), start);
        }
        assert_eq!(throttle.waits(ip("10.0.0.9"), after(start, 39 * 7)), None);
        assert_eq!(throttle.waits(ip("127.0.0.1"), start), None);
        assert_eq!(throttle.0.len(), 1);
    }

    #[test]
    fn a_host_that_changes_its_ipv6_address_waits_all_the_same() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        (0..10).for_each(|n| throttle.failed(ip(&format!("2001:db8::{n:x}")), start));
        assert!(throttle.waits(ip("2001:db8::ffff"), start).is_some());
        assert!(throttle.waits(ip("2001:db8:0:1::1"), start).is_none());
    }

    #[test]
    fn the_memory_of_it_is_bounded_and_the_latest_are_remembered() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        for n in 0..20_000_u32 {
            let at = start + Duration::from_millis(u64::from(n));
            throttle.failed(IpAddr::from(n.to_be_bytes()), at);
        }
        assert!(throttle.0.len() <= ADDRESSES);
        assert!(throttle.0.contains_key(&IpAddr::from(19_999_u32.to_be_bytes())));
    }
}
