//! Random choices that follow from a seed.

use crate::bridge::Random;

/// A stream of choices.
#[derive(Debug)]
pub(super) struct Dice(Random);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(Random::seeded(seed))
    }

    pub(super) fn number(&mut self) -> u64 {
        self.0.number()
    }

    /// One of the first `n` numbers; 0 where there is none.
    pub(super) fn below(&mut self, n: usize) -> usize {
        let n = n.max(1) as u64;
        usize::try_from(self.number() % n).unwrap_or_default()
    }

    /// One of the numbers from `least` on that are below `end`.
    pub(super) fn between(&mut self, least: i32, end: i32) -> i32 {
        let span = usize::try_from(end.saturating_sub(least)).unwrap_or_default();
        least.saturating_add(i32::try_from(self.below(span)).unwrap_or_default())
    }

    pub(super) fn byte(&mut self) -> u8 {
        let [byte, ..] = self.number().to_le_bytes();
        byte
    }

    pub(super) fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for eight in bytes.chunks_exact_mut(8) {
            eight.copy_from_slice(&self.number().to_le_bytes());
        }
        bytes
    }

    /// So many of the first `n` numbers as there are, none twice.
    pub(super) fn choose(&mut self, count: usize, n: usize) -> Vec<usize> {
        let mut chosen = Vec::with_capacity(count);
        while chosen.len() < count.min(n) {
            let one = self.below(n);
            if !chosen.contains(&one) {
                chosen.push(one);
            }
        }
        chosen
    }
}
