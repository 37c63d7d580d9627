//! What the publisher of a message says of it beside its topic and payload (MQTT 5 §3.3.2.3).

use std::fmt;

/// The properties of a message that go on to its subscribers; shared by all of its copies. MQTT 3.1.1
/// has none.
#[derive(Clone, Default, PartialEq, Eq)]
pub(in crate::broker) struct Properties {
    /// Payload format, content type, response topic, correlation data and user properties: the bytes
    /// in which they came, in the same order (MQTT-3.3.2-4, -15 to -18, -20).
    pub(in crate::broker) passed_on: Box<[u8]>,
    /// Seconds for which the message means something; `None`: for ever.
    pub(in crate::broker) expiry_s: Option<u32>,
}

/// The most bytes of properties, beside its expiry, that one message may have: 4 KiB. What devices say
/// of a message fits many times over.
pub const MAX_PROPERTIES: usize = 4 * 1024;

/// What they cost in memory beside their bytes.
const OVERHEAD: usize = 64;

impl Properties {
    /// Bytes of memory that they take.
    pub(in crate::broker) fn cost(&self) -> usize {
        self.passed_on.len() + OVERHEAD
    }

    /// Whether there are more of them than a message may have.
    pub(in crate::broker) fn are_too_large(&self) -> bool {
        self.passed_on.len() > MAX_PROPERTIES
    }

    /// Whether a message that arrived at `at_ms` means nothing any more (MQTT-3.3.2-5). One with an
    /// interval of 0 has the second in which it came.
    pub(in crate::broker) fn are_over(&self, at_ms: i64, now_ms: i64) -> bool {
        self.over_at_ms(at_ms).is_some_and(|over_at_ms| over_at_ms <= now_ms)
    }

    /// When that is.
    pub(in crate::broker) fn over_at_ms(&self, at_ms: i64) -> Option<i64> {
        self.expiry_s.map(|s| at_ms.saturating_add(1_000 * i64::from(s.max(1))))
    }

    /// The interval that is left of a message that arrived at `at_ms` (MQTT-3.3.2-6).
    pub(in crate::broker) fn left_s(&self, at_ms: i64, now_ms: i64) -> Option<u32> {
        let waited_s = u32::try_from(waited_ms(at_ms, now_ms) / 1_000).unwrap_or(u32::MAX);
        self.expiry_s.map(|s| s.saturating_sub(waited_s))
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Properties({} bytes, expiry {:?})", self.passed_on.len(), self.expiry_s)
    }
}

/// A clock that was set back has waited for nothing.
fn waited_ms(at_ms: i64, now_ms: i64) -> u64 {
    u64::try_from(now_ms.saturating_sub(at_ms)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_counted_down_by_whole_seconds_and_then_it_is_over() {
        let said = |expiry_s| Properties { expiry_s, ..Properties::default() };
        for (expiry_s, waited_ms, left_s, over) in [
            (Some(6), 0, Some(6), false),
            (Some(6), 999, Some(6), false),
            (Some(6), 1_000, Some(5), false),
            (Some(6), 5_999, Some(1), false),
            (Some(6), 6_000, Some(0), true),
            (Some(6), -9_000, Some(6), false),
            (Some(0), 999, Some(0), false),
            (Some(0), 1_000, Some(0), true),
            (Some(u32::MAX), i64::MAX - 50, Some(0), true),
            (None, i64::MAX - 50, None, false),
        ] {
            let (said, at_ms) = (said(expiry_s), 50);
            let now_ms = at_ms + waited_ms;
            assert_eq!(said.left_s(at_ms, now_ms), left_s, "{expiry_s:?} after {waited_ms}");
            assert_eq!(said.are_over(at_ms, now_ms), over, "{expiry_s:?} after {waited_ms}");
        }
    }
}
