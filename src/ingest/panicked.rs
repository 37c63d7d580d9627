//! The messages on which the pipeline panicked.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};

/// Remembers messages on which the pipeline panicked, by a keyed hash of topic and payload: a
/// stranger cannot make two messages look the same.
#[derive(Debug, Default)]
pub(super) struct Panicked {
    hasher: RandomState,
    /// The oldest first.
    hashes: VecDeque<u64>,
}

/// How many are remembered. A panic is a defect of ours, so in practice they are few; the bound
/// keeps a sender who found one from filling the memory (8 KB).
pub(super) const REMEMBERED: usize = 1_000;

impl Panicked {
    /// Whether this message panicked before. Costs nothing while none ever did.
    pub(super) fn contains(&self, topic: &str, payload: &[u8]) -> bool {
        !self.hashes.is_empty() && self.hashes.contains(&self.hash(topic, payload))
    }

    /// Remembers this message, and forgets the oldest one where there are too many.
    pub(super) fn remember(&mut self, topic: &str, payload: &[u8]) {
        if self.hashes.len() == REMEMBERED {
            self.hashes.pop_front();
        }
        self.hashes.push_back(self.hash(topic, payload));
    }

    fn hash(&self, topic: &str, payload: &[u8]) -> u64 {
        self.hasher.hash_one((topic, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_and_payload_both_count() {
        let mut panicked = Panicked::default();
        assert!(!panicked.contains("a", b"b"));
        panicked.remember("a", b"b");
        assert!(panicked.contains("a", b"b"));
        for (topic, payload) in [("a", &b"c"[..]), ("b", b"b"), ("ab", b""), ("", b"ab")] {
            assert!(!panicked.contains(topic, payload), "{topic}");
        }
    }

    #[test]
    fn the_memory_is_bounded_and_forgets_the_oldest() {
        let mut panicked = Panicked::default();
        let payload = |n: usize| n.to_le_bytes();
        for n in 0..=REMEMBERED {
            panicked.remember("t", &payload(n));
        }
        assert_eq!(panicked.hashes.len(), REMEMBERED);
        assert!(!panicked.contains("t", &payload(0)));
        assert!(
            panicked.contains("t", &payload(1)) && panicked.contains("t", &payload(REMEMBERED))
        );
    }
}
