//! How far the clock is trusted when things are let go for their age.

use rusqlite::Connection;
use std::time::Instant;

/// The time up to which things may have aged.
///
/// A clock that jumps ahead by years would make everything old at once. So the time by which things
/// age starts at the newest row of the file, and runs ahead of it by at most a day and twice the
/// real time that has passed. While the clock stays within that, it is believed. Beyond it only two
/// days' worth can go in a day: time enough to set the clock right. The same happens, with a right
/// clock, after the hub was off for long: it lets go of things later than it could.
#[derive(Debug)]
pub(super) struct Horizon {
    /// When the clock was last believed, by itself and by the monotonic clock.
    base_ms: i64,
    since: Instant,
    /// Whether the log has said that it is not.
    said: bool,
}

const DAY_MS: i64 = 86_400_000;

impl Horizon {
    /// Begins at the newest thing that is known to have happened.
    pub(super) fn new(base_ms: i64, now: Instant) -> Self {
        Self { base_ms, since: now, said: false }
    }

    /// The time by which things age while the clock says `clock_ms`.
    pub(super) fn at(&mut self, clock_ms: i64, now: Instant) -> i64 {
        let elapsed = now.saturating_duration_since(self.since).as_millis();
        let elapsed = i64::try_from(elapsed).unwrap_or(i64::MAX);
        let most = self.base_ms.saturating_add(DAY_MS).saturating_add(elapsed.saturating_mul(2));
        if clock_ms > most {
            if !self.said {
                let days = clock_ms.saturating_sub(self.base_ms) / DAY_MS;
                tracing::warn!(
                    "the clock is {days} days ahead of what was last stored or believed; set it \
                     if it is wrong: until it is caught up with, things age at most twice as fast"
                );
            }
            self.said = true;
            return most;
        }
        self.said = false;
        if clock_ms >= self.base_ms {
            (self.base_ms, self.since) = (clock_ms, now);
        }
        clock_ms
    }
}

/// When an observer or a node was last heard, in milliseconds since the Unix epoch; by index.
/// `None` without any, or where the file does not tell now.
pub(super) fn newest_ms(conn: &Connection) -> Option<i64> {
    let newest = "SELECT MAX(unixepoch(seen)) FROM
        (SELECT MAX(last_seen) AS seen FROM observers UNION ALL SELECT MAX(last_seen) FROM nodes)";
    let seconds = conn.query_row(newest, [], |row| row.get::<_, Option<i64>>(0));
    seconds.ok().flatten().map(|seconds| seconds.saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const START: i64 = 1_795_407_861_000;
    const HOUR_MS: i64 = 3_600_000;

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(hours * 3_600)
    }

    #[test]
    fn a_clock_that_runs_as_clocks_do_is_believed_for_ever() {
        let began = Instant::now();
        let mut horizon = Horizon::new(START, began);
        for n in 0..1_000_u32 {
            let clock = START + i64::from(n) * HOUR_MS;
            assert_eq!(horizon.at(clock, began + hours(n.into())), clock);
        }
    }

    #[test]
    fn a_jump_of_less_than_a_day_is_believed_and_one_of_years_is_caught_up_with_slowly() {
        let began = Instant::now();
        let mut horizon = Horizon::new(START, began);
        let clock = START + 23 * HOUR_MS;
        assert_eq!(horizon.at(clock, began), clock);
        let ahead = clock + 3_650 * DAY_MS;
        assert_eq!(horizon.at(ahead, began), clock + DAY_MS);
        // However often it is asked.
        assert_eq!(horizon.at(ahead, began), clock + DAY_MS);
        assert_eq!(horizon.at(ahead, began + hours(24)), clock + 3 * DAY_MS);
        // Set right again.
        let right = clock + DAY_MS;
        assert_eq!(horizon.at(right, began + hours(24)), right);
        assert_eq!(horizon.at(ahead, began + hours(24)), right + DAY_MS);
    }

    #[test]
    fn a_clock_that_starts_in_the_past_and_is_set_right_has_not_jumped() {
        let began = Instant::now();
        let mut horizon = Horizon::new(START, began);
        assert_eq!(horizon.at(0, began), 0);
        let right = START + HOUR_MS;
        assert_eq!(horizon.at(right, began + hours(1)), right);
    }

    #[test]
    fn no_time_is_too_far_away() {
        let mut horizon = Horizon::new(i64::MAX, Instant::now());
        assert_eq!(horizon.at(i64::MAX, Instant::now()), i64::MAX);
        assert_eq!(horizon.at(i64::MIN, Instant::now()), i64::MIN);
    }
}
