//! The JSON in which an observer's presence is told: its own last status, with our word on whether it
//! is there and since when. Pure.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::broker::identity::ObserverKey;

/// A status that is larger than this is not repeated, in bytes: firmware sends 768 at the most.
const LARGEST: usize = 2 * 1024;

/// What an observer said of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Body(Map<String, Value>);

impl Body {
    /// Reads a status. Without fields where it is no JSON object, or too large to be repeated.
    pub(super) fn read(payload: &[u8]) -> Self {
        if payload.len() > LARGEST {
            return Self::default();
        }
        Self(serde_json::from_slice(payload).unwrap_or_default())
    }

    /// The program that speaks for it, at most 64 characters of it.
    pub(super) fn client(&self) -> Option<String> {
        let said = |key| self.0.get(key).and_then(Value::as_str);
        let client = said("client_version").or_else(|| said("clientVersion"))?;
        let plain = client.chars().filter(|c| !c.is_control()).take(64);
        Some(plain.collect()).filter(|client: &String| !client.is_empty())
    }

    /// Whether it says that the observer is leaving.
    pub(super) fn says_offline(&self) -> bool {
        let status = self.0.get("status").and_then(Value::as_str);
        status.is_some_and(|status| status.eq_ignore_ascii_case("offline"))
    }

    /// The truth at `now_ms` in milliseconds since the Unix epoch, as a status message.
    pub(super) fn told(&self, key: ObserverKey, online: bool, now_ms: i64) -> Bytes {
        let mut told = self.0.clone();
        let status = if online { "online" } else { "offline" };
        told.insert("status".to_owned(), status.into());
        told.insert("timestamp".to_owned(), timestamp(now_ms).into());
        told.entry("origin_id").or_insert_with(|| key.to_string().into());
        Bytes::from(Value::Object(told).to_string())
    }
}

/// As uploaders write it: microseconds, UTC, with its offset.
fn timestamp(now_ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: ObserverKey = ObserverKey([0xAB; 32]);

    fn told(payload: &[u8], online: bool) -> Value {
        serde_json::from_slice(&Body::read(payload).told(KEY, online, 1_760_000_000_123)).unwrap()
    }

    #[test]
    fn the_observers_own_fields_stay_and_ours_are_true() {
        let status = br#"{"status":"online","timestamp":"2020-01-01T00:00:00","origin":"Hill",
            "origin_id":"abab","radio":"910.525,62.5,7,5","stats":{"battery_mv":4100}}"#;
        let told = told(status, false);
        assert_eq!(told["status"], "offline");
        assert_eq!(told["timestamp"], "2025-10-09T08:53:20.123000+00:00");
        assert_eq!(told["origin"], "Hill");
        assert_eq!(told["origin_id"], "abab");
        assert_eq!(told["stats"]["battery_mv"], 4100);
    }

    #[test]
    fn what_cannot_be_repeated_is_told_without_it() {
        let large = format!(r#"{{"status":"online","x":"{}"}}"#, "x".repeat(LARGEST));
        for payload in [&b"offline"[..], b"", b"[1]", b"\xFF", large.as_bytes()] {
            let told = told(payload, true);
            assert_eq!(told["status"], "online");
            assert_eq!(told["origin_id"], "AB".repeat(32));
            assert_eq!(told.as_object().unwrap().len(), 3);
        }
    }

    #[test]
    fn the_program_is_shown_as_it_says_and_moves_no_cursor() {
        let client = |payload: &str| Body::read(payload.as_bytes()).client();
        let known = client(r#"{"client_version":"meshcoretomqtt/1.1.0"}"#);
        assert_eq!(known.as_deref(), Some("meshcoretomqtt/1.1.0"));
        assert_eq!(client(r#"{"clientVersion":"a/1"}"#).as_deref(), Some("a/1"));
        assert_eq!(client(r#"{"client_version":"a\u001b[2J\n"}"#).as_deref(), Some("a[2J"));
        let long = format!(r#"{{"client_version":"{}"}}"#, "x".repeat(500));
        assert_eq!(client(&long).map(|it| it.len()), Some(64));
        for none in ["{}", r#"{"client_version":7}"#, r#"{"client_version":""}"#] {
            assert_eq!(client(none), None, "{none}");
        }
    }

    #[test]
    fn a_farewell_is_known_by_its_word() {
        assert!(Body::read(br#"{"status":"Offline"}"#).says_offline());
        for other in [&br#"{"status":"online"}"#[..], br#"{"status":1}"#, b"{}", b"offline"] {
            assert!(!Body::read(other).says_offline());
        }
    }
}
