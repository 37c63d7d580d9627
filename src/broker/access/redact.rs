//! What limited readers do not get: how well and where an observer hears, and what it is made of.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use serde_json::Value;

/// Names that go, at every depth, in lower case and without `_`: SNR, RSSI, score, stats, model and
/// firmware (ecosystem §2, "Subscriber accounts"), the numbers that some uploaders put beside `stats`
/// instead of into it, and where the observer stands.
const REMOVED: [&str; 32] = [
    "snr",
    "rssi",
    "score",
    "stats",
    "model",
    "firmware",
    "firmwareversion",
    "clientversion",
    "batterymv",
    "uptimesecs",
    "uptime",
    "errors",
    "debugflags",
    "queuelen",
    "noisefloor",
    "txairsecs",
    "rxairsecs",
    "recverrors",
    "internalheap",
    "packetssent",
    "packetsreceived",
    "packetsrecv",
    "sent",
    "recv",
    "lat",
    "lon",
    "latitude",
    "longitude",
    "location",
    "position",
    "gps",
    "neighbors",
];

/// The JSON without what a limited reader must not see; `None` for what is no JSON object, of which
/// nobody can tell what it says. An empty payload has nothing to hide.
fn redacted(payload: &Bytes) -> Option<Bytes> {
    if payload.is_empty() {
        return Some(payload.clone());
    }
    let mut value: Value = serde_json::from_slice(payload).ok()?;
    if !value.is_object() {
        return None;
    }
    strip(&mut value);
    serde_json::to_vec(&value).ok().map(Bytes::from)
}

/// The depth is bounded by the parser.
fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !is_removed(name));
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_removed(name: &str) -> bool {
    let plain: String =
        name.chars().filter(|c| *c != '_').map(|c| c.to_ascii_lowercase()).collect();
    REMOVED.contains(&plain.as_str())
}

/// Payloads that were redacted a moment ago, so that ten limited readers cost one redaction.
#[derive(Debug, Default)]
pub(in crate::broker) struct Redacted(Mutex<VecDeque<(Bytes, Option<Bytes>)>>);

/// So many: what is on its way to several readers at once.
const REMEMBERED: usize = 16;

impl Redacted {
    /// As [`redacted`]. A payload is known again by its place in memory, which nobody else gets while
    /// it is remembered.
    pub(in crate::broker) fn of(&self, payload: &Bytes) -> Option<Bytes> {
        let same = |(known, _): &&(Bytes, Option<Bytes>)| {
            known.as_ptr() == payload.as_ptr() && known.len() == payload.len()
        };
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, done)) = lock().iter().find(same) {
            return done.clone();
        }
        let done = redacted(payload);
        let mut remembered = lock();
        if remembered.len() >= REMEMBERED {
            remembered.pop_front();
        }
        remembered.push_back((payload.clone(), done.clone()));
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(payload: &str) -> Option<String> {
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        redacted(&payload).map(|left| String::from_utf8(left.to_vec()).unwrap())
    }

    #[test]
    fn what_a_limited_reader_gets_of_each_form() {
        let cases = [
            (
                r#"{"origin":"A","raw":"11","SNR":"12","RSSI":"-65","score":"1000","hash":"A1"}"#,
                r#"{"hash":"A1","origin":"A","raw":"11"}"#,
            ),
            (r#"{"raw":"11","snr":1,"rssi":2,"Score":3}"#, r#"{"raw":"11"}"#),
            (
                r#"{"status":"online","model":"V4","firmware_version":"1","firmware":"1","stats":{"battery_mv":1}}"#,
                r#"{"status":"online"}"#,
            ),
            (
                r#"{"status":"online","battery_mv":1,"noise_floor":-99,"clientVersion":"x","lat":1.5,"lon":2}"#,
                r#"{"status":"online"}"#,
            ),
            (
                r#"{"raw":"1","decoded":{"path":[{"snr":3,"hash":"AB"}]}}"#,
                r#"{"decoded":{"path":[{"hash":"AB"}]},"raw":"1"}"#,
            ),
            // An escaped name is the same name.
            (r#"{"raw":"1","\u0053NR":3}"#, r#"{"raw":"1"}"#),
            ("{}", "{}"),
            ("", ""),
        ];
        for (payload, expected) in cases {
            assert_eq!(left(payload).as_deref(), Some(expected), "{payload}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_delivered() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(500), "]".repeat(500));
        for payload in ["SNR 12", "[{\"SNR\":1}]", "\"SNR\"", "{\"SNR\":12", "12", deep.as_str()] {
            assert_eq!(left(payload), None, "{payload}");
        }
        assert_eq!(redacted(&Bytes::from_static(b"{\"a\":\"\xff\"}")), None);
    }

    #[test]
    fn the_same_payload_is_redacted_once_and_what_is_remembered_is_bounded() {
        let redacted = Redacted::default();
        let payload = Bytes::copy_from_slice(br#"{"raw":"1","SNR":2}"#);
        let first = redacted.of(&payload).unwrap();
        let again = redacted.of(&payload.clone()).unwrap();
        assert_eq!(first.as_ptr(), again.as_ptr());
        assert_eq!(first, r#"{"raw":"1"}"#);
        for n in 0..100 {
            redacted.of(&Bytes::from(format!("{{\"n\":{n}}}")));
        }
        assert_eq!(redacted.0.lock().unwrap().len(), REMEMBERED);
    }
}
