//! How long to wait before the next attempt: doubling, with jitter, up to a maximum.

use std::time::Duration;

/// The waiting times of one series of failures.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// Starts at `first` and doubles up to `max`.
    pub(super) fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, failures: 0 }
    }

    /// The next wait: between half of the current step and the whole of it, chosen by `random`
    /// (any bits), so that many hubs that lost the same broker do not come back in one instant.
    pub(super) fn wait(&mut self, random: u64) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let whole = self.first.saturating_mul(factor).min(self.max);
        self.failures = self.failures.saturating_add(1);
        let half = whole / 2;
        // 1,024 different waits are enough to spread; u32 arithmetic keeps it exact.
        let share = u32::try_from(random % 1_024).unwrap_or(0);
        half + half * share / 1_024
    }

    /// The next wait is the first one again.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff() -> Backoff {
        Backoff::new(Duration::from_secs(1), Duration::from_secs(30))
    }

    #[test]
    fn waits_double_from_the_first_to_the_maximum() {
        let mut backoff = backoff();
        let waits: Vec<u128> = (0..8).map(|_| backoff.wait(0).as_millis()).collect();
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
    }

    #[test]
    fn jitter_moves_a_wait_within_its_upper_half_and_never_past_the_maximum() {
        for random in [0, 1, 511, 1_023, u64::MAX] {
            let mut backoff = backoff();
            for _ in 0..100 {
                let wait = backoff.wait(random);
                assert!(wait >= Duration::from_millis(500) && wait < Duration::from_secs(30));
            }
        }
        assert_ne!(backoff().wait(3), backoff().wait(900));
    }

    #[test]
    fn after_a_reset_the_first_wait_comes_again() {
        let mut backoff = backoff();
        let first = backoff.wait(7);
        backoff.wait(7);
        backoff.reset();
        assert_eq!(backoff.wait(7), first);
    }
}
