//! Who sends too much, or everything twice: pure, with the time passed in.
//!
//! The bounds are far above what healthy gateways do, since a false alarm costs data: they find a
//! loop, a forgotten load test, or an uploader that sends each packet as often as it has reconnected
//! (meshcoretomqtt #70: eight times).

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use super::identity::{Identity, ObserverKey};

/// Whose messages are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    /// An observer, whoever speaks for it.
    Observer(ObserverKey),
    /// A client whose topic names no observer's key.
    Client(Identity),
}

/// What is too much about a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Excess {
    /// There are more of them than anyone needs.
    pub(super) over_rate: bool,
    /// The same payload came within [`WINDOW`].
    pub(super) duplicate: bool,
}

/// What is known of the subjects.
#[derive(Debug, Default)]
pub(super) struct Limits(HashMap<Subject, Habits>);

#[derive(Debug)]
struct Habits {
    /// Messages that may still come at once.
    tokens: f64,
    /// When the last one came.
    at: Instant,
    /// Hashes of payloads and when they came, the newest last.
    payloads: VecDeque<(u64, Instant)>,
}

/// Messages that may come at once: the busiest gateway known hears 1,100 an hour (ecosystem §1.8), and
/// may send an hour's worth when its network comes back.
const BURST: f64 = 1_200.0;

/// Messages a second that may come for ever: six times the busiest gateway known.
const REFILL: f64 = 2.0;

/// How long a payload is remembered, and how many of an observer (ecosystem §2, "Duplicates").
const WINDOW: Duration = Duration::from_secs(300);
const PAYLOADS: usize = 100;

/// Subjects that are remembered: five times the largest region known. A full one takes less than
/// 3 KiB.
const SUBJECTS: usize = 1_024;

impl Limits {
    /// Looks at a message. `packet`: its payload, if it is one that nobody sends twice.
    pub(super) fn look(
        &mut self,
        subject: &Subject,
        packet: Option<&[u8]>,
        now: Instant,
    ) -> Excess {
        if !self.0.contains_key(subject) {
            self.make_room();
            let fresh = Habits { tokens: BURST, at: now, payloads: VecDeque::new() };
            self.0.insert(subject.clone(), fresh);
        }
        let Some(habits) = self.0.get_mut(subject) else { return Excess::default() };
        let over_rate = !habits.take(now);
        let duplicate = packet.is_some_and(|packet| habits.knows(packet, now));
        Excess { over_rate, duplicate }
    }

    /// Forgets the half that was silent for longest when there is no room: what they did is long past.
    fn make_room(&mut self) {
        if self.0.len() < SUBJECTS {
            return;
        }
        let mut times: Vec<Instant> = self.0.values().map(|habits| habits.at).collect();
        let (_, median, _) = times.select_nth_unstable(SUBJECTS / 2);
        let median = *median;
        self.0.retain(|_, habits| habits.at > median);
    }
}

impl Habits {
    fn take(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + since * REFILL).min(BURST);
        self.at = now;
        let has = self.tokens >= 1.0;
        if has {
            self.tokens -= 1.0;
        }
        has
    }

    fn knows(&mut self, packet: &[u8], now: Instant) -> bool {
        while self.payloads.front().is_some_and(|(_, at)| now.duration_since(*at) > WINDOW) {
            self.payloads.pop_front();
        }
        // Who finds two payloads with one hash fools nobody but the counter of its own key.
        let mut hasher = DefaultHasher::new();
        packet.hash(&mut hasher);
        let hash = hasher.finish();
        if self.payloads.iter().any(|(known, _)| *known == hash) {
            return true;
        }
        if self.payloads.len() >= PAYLOADS {
            self.payloads.pop_front();
        }
        self.payloads.push_back((hash, now));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observer(n: u32) -> Subject {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&n.to_be_bytes());
        Subject::Observer(ObserverKey(key))
    }

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn row_15_the_busiest_gateway_known_is_never_too_much() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        // An hour's worth at once after an outage, and then a day at 1,100 an hour.
        for n in 0..1_100_u64 {
            assert!(!limits.look(&observer(1), None, start).over_rate, "{n}");
        }
        for n in 0..26_400_u64 {
            let now = start + Duration::from_millis(3_273 * n);
            assert!(!limits.look(&observer(1), None, now).over_rate, "{n}");
        }
    }

    #[test]
    fn row_15_what_is_beyond_burst_and_rate_is_too_much_and_nobody_elses_is() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        let over = |limits: &mut Limits, n: u32, at| limits.look(&observer(n), None, at).over_rate;
        let count = (0..2_000).filter(|_| over(&mut limits, 1, start)).count();
        assert_eq!(count, 800);
        assert!(!over(&mut limits, 2, start));
        let later = start + secs(10);
        let count = (0..100).filter(|_| over(&mut limits, 1, later)).count();
        assert_eq!(count, 80, "two a second come back");
    }

    #[test]
    fn row_15_the_same_payload_within_five_minutes_is_a_duplicate() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        let mut again =
            |n, payload: &[u8], at| limits.look(&observer(n), Some(payload), at).duplicate;
        assert!(!again(1, b"a", start));
        // Each packet eight times, as an uploader does that never lets go of its connections.
        for _ in 0..7 {
            assert!(again(1, b"a", start));
        }
        assert!(!again(1, b"b", start));
        assert!(!again(2, b"a", start), "another observer heard the same");
        assert!(again(1, b"a", start + secs(300)));
        assert!(!again(1, b"a", start + secs(301)));
    }

    #[test]
    fn what_is_no_packet_may_be_the_same_for_ever() {
        let (mut limits, now) = (Limits::default(), Instant::now());
        for _ in 0..10 {
            assert!(!limits.look(&observer(1), None, now).duplicate);
        }
    }

    #[test]
    fn the_window_holds_a_hundred_payloads_and_the_map_a_thousand_subjects() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        for n in 0..101_u32 {
            limits.look(&observer(1), Some(&n.to_be_bytes()), start);
        }
        assert!(!limits.look(&observer(1), Some(&0_u32.to_be_bytes()), start).duplicate);
        assert!(limits.look(&observer(1), Some(&100_u32.to_be_bytes()), start).duplicate);
        for n in 0..10_000_u32 {
            let now = start + Duration::from_millis(u64::from(n));
            limits.look(&observer(n), Some(b"x"), now);
            assert!(limits.0.len() <= SUBJECTS);
        }
        let last = start + secs(10);
        assert!(limits.look(&observer(9_999), Some(b"x"), last).duplicate, "the newest are kept");
    }
}
