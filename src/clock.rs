//! The time, as an argument.
//!
//! Every room that needs the wall clock is handed a [`Clock`]; tests hand in one that they move.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Tells the wall-clock time, in milliseconds since the Unix epoch (UTC).
///
/// Durations and deadlines do not come from here but from tokio's or the system's monotonic clock:
/// this one may jump in either direction.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Hand(Arc<AtomicI64>),
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `now_ms` until [`Clock::set`] moves it; every clone moves with it.
    pub fn by_hand(now_ms: i64) -> Self {
        Self(Source::Hand(Arc::new(AtomicI64::new(now_ms))))
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            Source::System => jiff::Timestamp::now().as_millisecond(),
            Source::Hand(at) => at.load(Ordering::Relaxed),
        }
    }

    /// Moves a clock made by [`Clock::by_hand`]; the system's clock stays as it is.
    pub fn set(&self, now_ms: i64) {
        if let Source::Hand(at) = &self.0 {
            at.store(now_ms, Ordering::Relaxed);
        }
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clock({})", self.now_ms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_by_hand_stands_still_and_moves_with_all_its_clones() {
        let clock = Clock::by_hand(1_000);
        let clone = clock.clone();
        assert_eq!(clone.now_ms(), 1_000);
        clock.set(5_000);
        assert_eq!(clone.now_ms(), 5_000);
    }
}
