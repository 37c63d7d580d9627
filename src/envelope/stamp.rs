//! Time stamps as publishers write them.

use super::{Scalar, number};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// A publisher's own time stamp. It never dates a row; it only tells how wrong a clock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Milliseconds since the Unix epoch, a zone-less time read as UTC.
    pub at_ms: i64,
    /// True when the text carried a zone (`Z` or an offset), or a number counted from the epoch.
    pub zoned: bool,
}

/// A number of more than this counts milliseconds, else seconds: as seconds it is the year 5138, as
/// milliseconds 3 March 1973.
const LARGEST_SECONDS: f64 = 1e11;

/// How far a clock may be off before it counts as wrong: the network and a queue take their time
/// (CoreScope #1478).
const TOLERANCE_MS: i64 = 15 * 60 * 1_000;

/// A stamp further ahead than this is no local time anywhere, and one older than that was made by a
/// clock that was never set, or is news from long ago: neither says what zone its clock is in
/// (CoreScope #1463).
const MOST_AHEAD_MS: i64 = 14 * 60 * 60 * 1_000;
const MOST_BEHIND_MS: i64 = 30 * 24 * 60 * 60 * 1_000;

impl Stamp {
    /// How many seconds the publisher's clock is ahead of a message's arrival (below zero: behind),
    /// where that is a fault: the text has no zone and, read as UTC, is off by more than 15 minutes.
    /// `None` as well for what is more than 14 hours ahead or 30 days old.
    pub fn skew_seconds(&self, received_at_ms: i64) -> Option<i64> {
        let ahead_ms = self.at_ms.saturating_sub(received_at_ms);
        let plausible = (-MOST_BEHIND_MS..=MOST_AHEAD_MS).contains(&ahead_ms);
        let wrong = ahead_ms.saturating_abs() > TOLERANCE_MS;
        (!self.zoned && plausible && wrong).then_some(ahead_ms / 1_000)
    }

    /// Reads RFC 3339, ISO 8601 without a zone (most firmware sends its local time so), or a number
    /// since the epoch.
    pub(super) fn read(value: &Scalar<'_>) -> Option<Self> {
        match value {
            Scalar::Text(text) => Self::from_text(text.trim()),
            Scalar::Number(n) => Self::from_number(*n),
            Scalar::Absent | Scalar::Bool(_) | Scalar::Other => None,
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        if let Ok(at) = text.parse::<Timestamp>() {
            return Some(Self { at_ms: at.as_millisecond(), zoned: true });
        }
        let at = Offset::UTC.to_timestamp(text.parse::<DateTime>().ok()?).ok()?;
        Some(Self { at_ms: at.as_millisecond(), zoned: false })
    }

    fn from_number(number: f64) -> Option<Self> {
        let ms = if number.abs() > LARGEST_SECONDS { number } else { number * 1000.0 };
        let at_ms = number::whole(ms)?;
        // What no calendar has is no time.
        let at = Timestamp::from_millisecond(at_ms).ok()?;
        Some(Self { at_ms: at.as_millisecond(), zoned: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Stamp> {
        Stamp::read(&Scalar::Text(text.into()))
    }

    #[test]
    fn every_form_that_publishers_send_is_read() {
        let zoned = |at_ms| Some(Stamp { at_ms, zoned: true });
        let naive = |at_ms| Some(Stamp { at_ms, zoned: false });
        assert_eq!(read("2026-10-14T18:03:11.482190+00:00"), zoned(1_792_000_991_482));
        assert_eq!(read("2026-10-14T18:03:11+00:00"), zoned(1_792_000_991_000));
        assert_eq!(read("2026-10-14T18:03:11.482190Z"), zoned(1_792_000_991_482));
        assert_eq!(read("2026-10-14T20:03:11+02:00"), zoned(1_792_000_991_000));
        assert_eq!(read("2026-10-14T18:03:11.000000"), naive(1_792_000_991_000));
        assert_eq!(read("2026-10-14 18:03:11"), naive(1_792_000_991_000));
        assert_eq!(read(" 2026-10-14T18:03:11.482190 "), naive(1_792_000_991_482));
        assert_eq!(read("2024-01-01T12:00:00.000000"), naive(1_704_110_400_000));
    }

    #[test]
    fn numbers_count_milliseconds_or_seconds_since_the_epoch() {
        let number = |n| Stamp::read(&Scalar::Number(n)).map(|s| (s.at_ms, s.zoned));
        assert_eq!(number(1_760_465_000_000.0), Some((1_760_465_000_000, true)));
        assert_eq!(number(1_760_465_000.0), Some((1_760_465_000_000, true)));
        assert_eq!(number(0.0), Some((0, true)));
        assert_eq!(number(1e300), None);
        assert_eq!(number(-1e17), None);
    }

    #[test]
    fn a_stamp_without_a_zone_is_wrong_beyond_a_quarter_of_an_hour_either_way() {
        let now = 1_792_000_991_000;
        let (minute, hour, day) = (60_000, 3_600_000, 86_400_000);
        let skew = |ahead_ms: i64, zoned| Stamp { at_ms: now + ahead_ms, zoned }.skew_seconds(now);
        for (ahead_ms, seconds) in [
            (0, None),
            (15 * minute, None),
            (15 * minute + 1, Some(900)),
            (-15 * minute, None),
            (-15 * minute - 1_000, Some(-901)),
            (2 * hour, Some(7_200)),
            (-7 * hour, Some(-25_200)),
            (14 * hour, Some(50_400)),
            (14 * hour + 1, None),
            (-30 * day, Some(-2_592_000)),
            (-30 * day - 1, None),
        ] {
            assert_eq!(skew(ahead_ms, false), seconds, "{ahead_ms}");
            assert_eq!(skew(ahead_ms, true), None, "{ahead_ms} with a zone");
        }
        let unset = read("2024-01-01T12:00:00.000000").unwrap();
        assert_eq!(unset.skew_seconds(now), None);
        assert_eq!(Stamp { at_ms: i64::MIN, zoned: false }.skew_seconds(i64::MAX), None);
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in ["", "…", "yesterday", "18:03:11", "2026-13-14T18:03:11Z", "14/10/2026", "+1e9"]
        {
            assert_eq!(read(text), None, "{text:?}");
        }
        for value in [Scalar::Absent, Scalar::Bool(true), Scalar::Other] {
            assert_eq!(Stamp::read(&value), None);
        }
    }
}
