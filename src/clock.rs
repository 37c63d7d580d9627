//! The time, as an argument.
//!
//! Every room that needs the wall clock is handed a [`Clock`]; tests hand in one that they move.
//! Whether what it says can be believed is [`Trust`]'s to judge.

mod trust;

pub use trust::{Doubt, RELEASED, Trust};

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

/// Tells the wall-clock time, in milliseconds since the Unix epoch (UTC).
///
/// Durations and deadlines do not come from here but from tokio's or the system's monotonic clock:
/// this one may jump in either direction.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    /// The system's; since when it runs here.
    System(Instant),
    Hand(Arc<Hand>),
}

/// A clock that a test moves.
#[derive(Default)]
struct Hand {
    wall_ms: AtomicI64,
    ran_ms: AtomicU64,
    /// How often it was synchronised.
    synchronised: AtomicI64,
}

/// systemd-timesyncd touches this file each time that it has synchronised the clock
/// (systemd-timesyncd.service(8)); it is gone with the next boot. The kernel knows of other programs
/// too (adjtimex(2)), but no well-kept crate asks it without unsafe code of ours; with chrony or ntpd
/// the clock is believed after it ran for a while.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";

/// Tells one synchronisation from another; nothing else.
pub(crate) type Mark = i64;

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self(Source::System(Instant::now()))
    }

    /// A clock that stands at `now_ms` until it is moved; every clone moves with it.
    pub fn by_hand(now_ms: i64) -> Self {
        Self(Source::Hand(Arc::new(Hand { wall_ms: AtomicI64::new(now_ms), ..Hand::default() })))
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            Source::System(_) => jiff::Timestamp::now().as_millisecond(),
            Source::Hand(hand) => hand.wall_ms.load(Ordering::Relaxed),
        }
    }

    /// How long it has run since it was made, by a clock that never jumps.
    pub(crate) fn ran(&self) -> Duration {
        match &self.0 {
            Source::System(since) => since.elapsed(),
            Source::Hand(hand) => Duration::from_millis(hand.ran_ms.load(Ordering::Relaxed)),
        }
    }

    /// When the system said last that it is synchronised; `None`: never, or it does not tell.
    pub(crate) fn synchronised(&self) -> Option<Mark> {
        match &self.0 {
            Source::System(_) => modified(Path::new(SYNCHRONISED)),
            Source::Hand(hand) => {
                Some(hand.synchronised.load(Ordering::Relaxed)).filter(|n| *n > 0)
            }
        }
    }

    /// Moves a clock made by [`Clock::by_hand`], which makes it jump; the system's clock stays as it
    /// is.
    pub fn set(&self, now_ms: i64) {
        if let Source::Hand(hand) = &self.0 {
            hand.wall_ms.store(now_ms, Ordering::Relaxed);
        }
    }

    /// Lets a clock made by [`Clock::by_hand`] run for so long, without a jump.
    pub fn run(&self, time: Duration) {
        if let Source::Hand(hand) = &self.0 {
            let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            hand.ran_ms.fetch_add(ms, Ordering::Relaxed);
            hand.wall_ms.fetch_add(i64::try_from(ms).unwrap_or(i64::MAX), Ordering::Relaxed);
        }
    }

    /// Has the system say that a clock made by [`Clock::by_hand`] is synchronised now.
    pub fn synchronise(&self) {
        if let Source::Hand(hand) = &self.0 {
            hand.synchronised.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn modified(path: &Path) -> Option<Mark> {
    let at = std::fs::metadata(path).and_then(|file| file.modified()).ok()?;
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
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
        assert_eq!((clone.now_ms(), clone.ran()), (5_000, Duration::ZERO));
        clock.run(Duration::from_secs(2));
        assert_eq!((clone.now_ms(), clone.ran()), (7_000, Duration::from_secs(2)));
    }

    #[test]
    fn a_synchronisation_is_told_by_the_time_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("synchronized");
        assert_eq!(modified(&file), None);
        let touch = |second| {
            let touched = std::fs::File::create(&file).unwrap();
            touched.set_modified(UNIX_EPOCH + Duration::from_secs(second)).unwrap();
        };
        touch(5);
        assert_eq!(modified(&file), Some(5_000));
        touch(6);
        assert_eq!(modified(&file), Some(6_000));
    }
}
