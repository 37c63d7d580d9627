//! Points in time as people give them on the command line.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;

/// A point in time: fixed, or so long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// Milliseconds since the Unix epoch.
    At(i64),
    /// Milliseconds before now.
    Ago(i64),
}

impl Moment {
    /// Reads RFC 3339, a date or a time without a zone (both UTC), or `90s`, `30m`, `24h`, `7d`,
    /// `2w`: so long ago.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let at = |at: Timestamp| Ok(Self::At(at.as_millisecond()));
        if let Ok(instant) = text.parse::<Timestamp>() {
            return at(instant);
        }
        let civil = text.parse::<DateTime>().ok();
        let date = || text.parse::<Date>().ok().map(|date| date.at(0, 0, 0, 0));
        if let Some(instant) = civil.or_else(date).and_then(|c| Offset::UTC.to_timestamp(c).ok()) {
            return at(instant);
        }
        length_ms(text).map(Self::Ago).ok_or_else(|| {
            "not a time; write 2026-11-01, 2026-11-01T12:00:00Z, or 24h or 7d for so long ago"
                .to_owned()
        })
    }

    /// Milliseconds since the Unix epoch.
    pub(super) fn ms(self, now_ms: i64) -> i64 {
        match self {
            Self::At(ms) => ms,
            Self::Ago(ms) => now_ms.saturating_sub(ms),
        }
    }
}

/// A length of time such as `90s`, `30m`, `24h`, `7d`, `2w`, in milliseconds.
pub(super) fn length_ms(text: &str) -> Option<i64> {
    let unit = text.chars().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    let count: u32 = text.strip_suffix(unit)?.parse().ok()?;
    i64::from(count).checked_mul(seconds * 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_moment_is_read() {
        let at = 1_793_491_200_000;
        for text in ["2026-11-01", "2026-11-01T00:00:00Z", "2026-11-01T01:00:00+01:00"] {
            assert_eq!(Moment::parse(text), Ok(Moment::At(at)), "{text}");
        }
        assert_eq!(Moment::parse("2026-11-01T00:00"), Ok(Moment::At(at)));
        assert_eq!(Moment::parse("24h"), Ok(Moment::Ago(86_400_000)));
        assert_eq!(Moment::parse("7d"), Ok(Moment::Ago(604_800_000)));
        assert_eq!(Moment::Ago(500).ms(2_000), 1_500);
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in ["", "d", "-7d", "7", "7y", "yesterday", "2026-13-01", "24 h", "ñ"] {
            assert!(Moment::parse(text).is_err(), "{text:?}");
        }
    }
}
