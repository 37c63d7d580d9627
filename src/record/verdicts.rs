//! Verdicts on advert signatures, remembered: checking one costs more than all the rest of a message.

use crate::packet::hash::Digest;

use std::collections::HashMap;

/// The verdicts of the last transmissions.
///
/// The key is the whole SHA-256, not the eight bytes of it that name a transmission: two packets with
/// the same eight bytes can be made on purpose, and one must not vouch for the other. Two halves
/// take turns: when the young one is full it becomes the old one, and the old one is forgotten. So
/// between [`HALF`] and twice as many are known, in at most 1 MB.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    young: HashMap<Digest, bool>,
    old: HashMap<Digest, bool>,
}

/// Adverts that one half remembers: more than a large mesh sends in the minutes in which copies of
/// one advert arrive from slower brokers.
const HALF: usize = 4_096;

impl Verdicts {
    /// The verdict on this transmission: remembered, or found out by `judge`.
    pub(super) fn of(&mut self, digest: Digest, judge: impl FnOnce() -> bool) -> bool {
        if let Some(verdict) = self.young.get(&digest) {
            return *verdict;
        }
        let verdict = self.old.get(&digest).copied().unwrap_or_else(judge);
        if self.young.len() >= HALF {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, verdict);
        verdict
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u32) -> Digest {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.to_le_bytes());
        Digest(bytes)
    }

    #[test]
    fn a_verdict_is_found_out_once() {
        let mut verdicts = Verdicts::default();
        assert!(!verdicts.of(digest(1), || false));
        assert!(!verdicts.of(digest(1), || panic!("judged twice")));
        assert!(verdicts.of(digest(2), || true));
        assert!(verdicts.of(digest(2), || panic!("judged twice")));
    }

    #[test]
    fn the_memory_is_bounded_and_keeps_the_latest() {
        let mut verdicts = Verdicts::default();
        let many = u32::try_from(HALF * 5).unwrap();
        for n in 0..many {
            verdicts.of(digest(n), || true);
        }
        assert!(verdicts.len() <= 2 * HALF);
        assert!(verdicts.of(digest(many - u32::try_from(HALF).unwrap()), || panic!("forgotten")));
        let mut judged = false;
        verdicts.of(digest(0), || {
            judged = true;
            true
        });
        assert!(judged);
    }

    #[test]
    fn what_keeps_coming_is_not_forgotten() {
        let mut verdicts = Verdicts::default();
        verdicts.of(digest(0), || false);
        for n in 1..u32::try_from(HALF * 10).unwrap() {
            verdicts.of(digest(n), || true);
            if n % 1_000 == 0 {
                assert!(!verdicts.of(digest(0), || panic!("forgotten")));
            }
        }
    }
}
