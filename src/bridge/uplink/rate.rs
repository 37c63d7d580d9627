//! How fast messages may go out: so many a second, with a short burst. Pure.

use std::time::{Duration, Instant};

/// What may go out at once after a rest.
const BURST: Duration = Duration::from_millis(200);

/// A rate that is kept.
#[derive(Debug)]
pub(super) struct Rate {
    apart: Duration,
    next: Instant,
}

impl Rate {
    /// So many a second, from now on.
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        Self { apart: Duration::from_secs(1) / per_second.max(1), next: now }
    }

    /// Takes one; or says when there is one.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        if self.next > now {
            return Err(self.next);
        }
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        self.next = self.next.max(earliest) + self.apart;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_as_many_as_are_allowed_and_a_rest_gives_a_short_burst() {
        let start = Instant::now();
        let mut rate = Rate::new(50, start);
        let mut taken = 0;
        for ms in 0..1_000 {
            while rate.take(start + Duration::from_millis(ms)).is_ok() {
                taken += 1;
            }
        }
        assert_eq!(taken, 50);
        let later = start + Duration::from_secs(60);
        let burst = std::iter::from_fn(|| rate.take(later).ok()).count();
        assert_eq!(burst, 11);
        assert_eq!(rate.take(later), Err(later + Duration::from_millis(20)));
    }
}
