//! What was passed on lately: what comes back from there, or a second time, goes no further. Pure.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};

/// Hashes of what was passed on, and until when each is known.
#[derive(Debug, Default)]
pub(super) struct Recent {
    hasher: RandomState,
    known: HashMap<u64, i64>,
    order: BTreeSet<(i64, u64)>,
}

/// How long a message may be on its way around, in milliseconds.
const WINDOW_MS: i64 = 10 * 60_000;

/// Messages that are known, at most (3 MB).
const WINDOW: usize = 40_000;

/// A message that waited is known for so many times as long as it waited, beside the window. So it ends
/// even if every hub of a ring lets it wait: of this many hubs one waits for no longer than the others
/// together, and still knows it when it is back.
const RING: i64 = 8;

impl Recent {
    /// Whether this was not passed on lately; from now on it was.
    pub(super) fn is_new(&mut self, topic: &str, payload: &[u8], now_ms: i64) -> bool {
        while let Some(&(until_ms, hash)) = self.order.first() {
            // A clock that jumped back leaves the bound.
            if self.order.len() < WINDOW && until_ms > now_ms {
                break;
            }
            self.order.pop_first();
            self.known.remove(&hash);
        }
        let hash = self.hash(topic, payload);
        let new = !self.known.contains_key(&hash);
        if new {
            self.keep(hash, now_ms.saturating_add(WINDOW_MS));
        }
        new
    }

    /// This goes out only now, after it waited.
    pub(super) fn waited(&mut self, topic: &str, payload: &[u8], came_ms: i64, now_ms: i64) {
        let waited_ms = now_ms.saturating_sub(came_ms).max(0);
        let hash = self.hash(topic, payload);
        let until_ms = now_ms.saturating_add(WINDOW_MS + waited_ms.saturating_mul(RING));
        if self.known.get(&hash).is_none_or(|known| *known < until_ms) {
            self.keep(hash, until_ms);
        }
        if self.order.len() > WINDOW {
            if let Some((_, hash)) = self.order.pop_first() {
                self.known.remove(&hash);
            }
        }
    }

    fn keep(&mut self, hash: u64, until_ms: i64) {
        if let Some(before) = self.known.insert(hash, until_ms) {
            self.order.remove(&(before, hash));
        }
        self.order.insert((until_ms, hash));
    }

    fn hash(&self, topic: &str, payload: &[u8]) -> u64 {
        self.hasher.hash_one((topic.to_ascii_uppercase(), payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_passed_on_is_known_for_a_while_and_the_bound_holds() {
        let mut recent = Recent::default();
        assert!(recent.is_new("t", b"x", 0) && !recent.is_new("T", b"x", WINDOW_MS - 1));
        assert!(recent.is_new("t", b"y", 0) && recent.is_new("t", b"x", WINDOW_MS));
        for n in 0..2 * WINDOW {
            assert!(recent.is_new("t", n.to_string().as_bytes(), WINDOW_MS));
            recent.waited("t", n.to_string().as_bytes(), 0, WINDOW_MS);
        }
        assert_eq!((recent.known.len(), recent.order.len()), (WINDOW, WINDOW));
    }

    /// Hubs in a ring; each lets a message wait for so long.
    fn rounds(waits_ms: &[i64]) -> usize {
        let mut hubs: Vec<Recent> = waits_ms.iter().map(|_| Recent::default()).collect();
        let (mut now_ms, mut hops) = (0, 0_usize);
        for at in (0..hubs.len()).cycle() {
            if !hubs[at].is_new("t", b"x", now_ms) || hops > 1_000 {
                break;
            }
            let came_ms = now_ms;
            now_ms += waits_ms[at];
            hubs[at].waited("t", b"x", came_ms, now_ms);
            hops += 1;
        }
        hops.div_ceil(waits_ms.len())
    }

    #[test]
    fn a_message_that_every_hub_of_a_ring_lets_wait_does_not_circle() {
        let hour = 3_600_000;
        assert_eq!(rounds(&[0, 0]), 1);
        assert_eq!(rounds(&[hour, hour]), 1);
        assert_eq!(rounds(&[hour, 100 * hour]), 2, "the second one knows it");
        assert_eq!(rounds(&[hour; 8]), 1);
        assert_eq!(rounds(&[0, hour, 0, hour]), 2);
    }
}
