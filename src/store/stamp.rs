//! Times as CoreScope's tables hold them, all from milliseconds since the Unix epoch.

use jiff::Timestamp;

/// `YYYY-MM-DDTHH:MM:SSZ`: nodes, observers, `transmissions.first_seen`, metrics.
pub(super) fn iso(at_ms: i64) -> String {
    // A time that no calendar has cannot come from a clock; the epoch is easily seen to be wrong.
    Timestamp::from_second(epoch(at_ms)).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

/// `YYYY-MM-DD HH:MM:SS`: `transmissions.created_at`, `dropped_packets.dropped_at`.
pub(super) fn blank(at_ms: i64) -> String {
    let mut text = iso(at_ms).replace('T', " ");
    text.truncate("YYYY-MM-DD HH:MM:SS".len());
    text
}

/// December 9999, in milliseconds: later than any time of a record, and one that [`iso`] can tell.
pub(super) const LAST_MS: i64 = 253_399_622_400_000;

/// Seconds: `observations.timestamp`, `transmissions.last_seen`.
pub(super) fn epoch(at_ms: i64) -> i64 {
    at_ms.div_euclid(1_000)
}

/// The start nearest to a time of an interval of so many seconds (CoreScope #604).
pub(super) fn sample(at_ms: i64, every: i64) -> i64 {
    let every = every.max(1);
    (epoch(at_ms) + every / 2).div_euclid(every) * every * 1_000
}

/// The two text forms of one second: a burst asks for the same second thousands of times.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    second: Option<i64>,
    pub(super) iso: String,
    pub(super) blank: String,
}

impl Stamps {
    /// Sets both texts to this time.
    pub(super) fn set(&mut self, at_ms: i64) {
        let second = Some(epoch(at_ms));
        if self.second != second {
            (self.second, self.iso, self.blank) = (second, iso(at_ms), blank(at_ms));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_of_one_moment() {
        let at_ms = 1_795_407_861_999;
        assert_eq!(iso(at_ms), "2026-11-23T04:24:21Z");
        assert_eq!(blank(at_ms), "2026-11-23 04:24:21");
        assert_eq!(epoch(at_ms), 1_795_407_861);
        assert_eq!(iso(sample(at_ms, 300)), "2026-11-23T04:25:00Z");
    }

    #[test]
    fn a_sample_is_rounded_to_the_nearest_interval() {
        let base = 1_795_407_600_000;
        assert_eq!(iso(base), "2026-11-23T04:20:00Z");
        assert_eq!(iso(sample(base + 149_999, 300)), "2026-11-23T04:20:00Z");
        assert_eq!(iso(sample(base + 150_000, 300)), "2026-11-23T04:25:00Z");
        assert_eq!(iso(sample(base + 150_000, 60)), "2026-11-23T04:23:00Z");
        assert_eq!(iso(sample(base + 150_000, 1)), "2026-11-23T04:22:30Z");
    }

    #[test]
    fn times_before_the_epoch_and_beyond_every_calendar_do_not_panic() {
        assert_eq!(iso(-1), "1969-12-31T23:59:59Z");
        assert_eq!(iso(LAST_MS), "9999-12-01T00:00:00Z");
        assert_eq!(iso(i64::MAX), "1970-01-01T00:00:00Z");
        assert_eq!(blank(i64::MIN), "1970-01-01 00:00:00");
    }

    #[test]
    fn cached_texts_follow_the_second() {
        let mut stamps = Stamps::default();
        stamps.set(1_000);
        assert_eq!(stamps.iso, "1970-01-01T00:00:01Z");
        stamps.set(1_999);
        assert_eq!(stamps.blank, "1970-01-01 00:00:01");
        stamps.set(2_000);
        assert_eq!(stamps.iso, "1970-01-01T00:00:02Z");
    }
}
