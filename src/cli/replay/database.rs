//! An existing database as the messages that it was made of.
//!
//! Each observation becomes the packet message that an uploader would have sent, at the time at
//! which it was heard. Observers become statuses: one when each was first seen, so that it is there
//! before its packets, one when it was last seen, and a retained one with its metadata, which counts
//! as no activity and makes up no metrics. Nodes follow from their adverts.

use super::Feed;
use crate::packet::{Frame, Path, PayloadType, hex};
use crate::store::{Past, PastObservation, PastObserver};

use anyhow::Context;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// What was fed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fed {
    /// Messages in all.
    pub(super) messages: u64,
    /// Observations among them.
    pub(super) observations: u64,
    /// Observers.
    pub(super) observers: u64,
    /// Observations that could not be made a message.
    pub(super) unreadable: u64,
}

/// A topic, a payload, and when it arrived.
#[derive(Debug, PartialEq)]
struct Said {
    topic: String,
    payload: Value,
    at_ms: i64,
    retained: bool,
}

/// Feeds everything that the database holds.
pub(super) fn feed(past: &mut Past, feed: &Feed<'_>) -> anyhow::Result<Fed> {
    let unread = || format!("cannot read {}", feed.path.display());
    let observers = past.observers().with_context(unread)?;
    let mut fed = Fed { observers: observers.len() as u64, ..Fed::default() };
    let send = |said: Said, fed: &mut Fed| {
        fed.messages += 1;
        let payload = said.payload.to_string().into_bytes();
        feed.send(said.topic, payload, said.at_ms, said.retained)
    };
    for said in observers.iter().filter_map(first_sign) {
        send(said, &mut fed)?;
    }
    let by_rowid: HashMap<i64, &PastObserver> = observers.iter().map(|o| (o.rowid, o)).collect();
    loop {
        let slice = past.next_slice().with_context(unread)?;
        if slice.is_empty() {
            break;
        }
        for observation in &slice {
            let observer = observation.observer.and_then(|rowid| by_rowid.get(&rowid).copied());
            fed.observations += 1;
            match said(observation, observer) {
                Some(said) => send(said, &mut fed)?,
                None => fed.unreadable += 1,
            }
        }
    }
    for said in observers.iter().flat_map(last_signs) {
        send(said, &mut fed)?;
    }
    Ok(fed)
}

fn said(observation: &PastObservation, observer: Option<&PastObserver>) -> Option<Said> {
    if observation.first_raw_hex.is_empty() && observation.raw_hex.is_none() {
        return companion(observation);
    }
    let raw = match &observation.raw_hex {
        Some(raw) => raw.clone(),
        None => own_raw(&observation.first_raw_hex, observation.path_json.as_deref())?,
    };
    let mut payload = signal(observation);
    payload.insert("raw".into(), raw.into());
    let topic = match observer.and_then(|o| topic(o, "packets")) {
        Some(topic) => topic,
        None => "meshcore/packets".to_owned(),
    };
    if let Some(observer) = observer {
        payload.extend(identity(observer));
    }
    Some(Said { topic, payload: payload.into(), at_ms: observation.at_ms, retained: false })
}

/// A companion bridge's message has no packet: it is told from its text.
fn companion(observation: &PastObservation) -> Option<Said> {
    let decoded: Value = serde_json::from_str(observation.decoded_json.as_deref()?).ok()?;
    let mut payload = signal(observation);
    payload.insert("text".into(), decoded.get("text")?.clone());
    if let Some(at) = decoded.get("sender_timestamp") {
        payload.insert("sender_timestamp".into(), at.clone());
    }
    let topic = match decoded.get("type")?.as_str()? {
        "CHAN" => {
            let index = decoded.get("channel")?.as_str()?.strip_prefix("ch")?;
            payload.insert("channel_idx".into(), index.into());
            "meshcore/message/channel/0"
        }
        "DM" => "meshcore/message/direct/0",
        _ => return None,
    };
    let (payload, at_ms) = (payload.into(), observation.at_ms);
    Some(Said { topic: topic.to_owned(), payload, at_ms, retained: false })
}

/// CoreScope of April keeps the bytes of a transmission's first observer only, and the hops of every
/// one: put together they are what this observer heard. In a TRACE, of any version, the hops are those
/// of the payload, which is the same for all.
///
/// `None` for hops that no packet can have: of the reserved size of four bytes, which April took.
fn own_raw(first: &str, path_json: Option<&str>) -> Option<String> {
    let as_it_is = Some(first.to_owned());
    let hops: Option<Vec<String>> = path_json.and_then(|json| serde_json::from_str(json).ok());
    let (Some(hops), Ok(bytes)) = (hops, hex::parse(first)) else { return as_it_is };
    let Ok(frame) = Frame::parse(&bytes) else { return as_it_is };
    if frame.header.payload_type == PayloadType::Trace {
        return as_it_is;
    }
    let hops: Vec<Vec<u8>> =
        hops.iter().map(|hop| hex::parse(hop)).collect::<Result<_, _>>().ok()?;
    if hops.iter().eq(frame.path.hops()) {
        // The case stays as it was sent.
        return as_it_is;
    }
    let size = hops.first().map_or(Some(frame.path.size()), |hop| hop.len().try_into().ok())?;
    if hops.iter().any(|hop| hop.len() != usize::from(size)) {
        return None;
    }
    let hops = hops.concat();
    let path = Path::new(size, &hops)?;
    let before = frame.body_at.checked_sub(1 + frame.path.bytes().len())?;
    let envelope = bytes.get(..before)?;
    let own = [envelope, &[path.length_byte()], path.bytes(), frame.body].concat();
    Some(::hex::encode(own))
}

fn signal(observation: &PastObservation) -> Map<String, Value> {
    let fields = [
        ("SNR", json!(observation.snr_db)),
        ("RSSI", json!(observation.rssi_dbm)),
        ("score", json!(observation.score)),
        ("direction", json!(observation.direction)),
    ];
    given(fields)
}

fn identity(observer: &PastObserver) -> Map<String, Value> {
    given([("origin", json!(observer.name)), ("region", json!(observer.iata))])
}

fn given<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.to_owned(), v)).collect()
}

/// `None` for an id that no topic can carry.
fn topic(observer: &PastObserver, kind: &str) -> Option<String> {
    let fits = |text: &str| !text.contains(['/', '+', '#', '\0']);
    if observer.id.is_empty() || !fits(&observer.id) {
        return None;
    }
    let region = observer.iata.as_deref().filter(|iata| fits(iata)).unwrap_or_default();
    Some(format!("meshcore/{region}/{}/{kind}", observer.id))
}

fn first_sign(observer: &PastObserver) -> Option<Said> {
    let topic = topic(observer, "status")?;
    let at_ms = observer.first_seen_ms?;
    Some(Said { topic, payload: identity(observer).into(), at_ms, retained: false })
}

fn last_signs(observer: &PastObserver) -> Vec<Said> {
    let Some(topic) = topic(observer, "status") else { return Vec::new() };
    let alive = observer.last_seen_ms.map(|at_ms| {
        let payload = identity(observer).into();
        Said { topic: topic.clone(), payload, at_ms, retained: false }
    });
    let mut about = given([
        ("model", json!(observer.model)),
        ("firmware_version", json!(observer.firmware)),
        ("client_version", json!(observer.client_version)),
        ("radio", json!(observer.radio)),
        ("repeat", json!(observer.can_relay)),
    ]);
    let stats = given([
        ("battery_mv", json!(observer.battery_mv)),
        ("uptime_secs", json!(observer.uptime_secs)),
        ("noise_floor", json!(observer.noise_floor_dbm)),
    ]);
    about.insert("stats".into(), stats.into());
    let at_ms = observer.last_seen_ms.or(observer.first_seen_ms).unwrap_or_default();
    let metadata = Said { topic, payload: about.into(), at_ms, retained: true };
    alive.into_iter().chain([metadata]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observers_bytes_are_the_first_ones_with_its_own_hops() {
        // A flood with two hops of two bytes, body AABB.
        let own = |path| own_raw("11427D1D1F5DAABB", Some(path)).unwrap();
        assert_eq!(own(r#"["7D1D","1F5D"]"#), "11427D1D1F5DAABB");
        assert_eq!(own(r#"["7D1D"]"#), "11417d1daabb");
        assert_eq!(own("[]"), "1140aabb");
        assert_eq!(own(r#"["7D","1F","5D"]"#), "11037d1f5daabb");
        // With transport codes.
        let scoped = own_raw("14FA1A0000017D09", Some("[]"));
        assert_eq!(scoped.as_deref(), Some("14fa1a00000009"));
    }

    #[test]
    fn without_hops_and_in_a_trace_the_first_bytes_stay_as_they_are() {
        let same = |first: &str, path| assert_eq!(own_raw(first, path).as_deref(), Some(first));
        for path in [None, Some(""), Some("{}")] {
            same("11427D1D1F5DAABB", path);
        }
        same("no hex", Some("[]"));
        same("2601109BF3B3AB0000000000AF", Some(r#"["AF"]"#));
        // A TRACE of a reserved version.
        same("6438B8BFDB00EEE3", Some(r#"["57"]"#));
    }

    #[test]
    fn hops_that_no_packet_can_have_are_not_made_up() {
        for path in [r#"["AABBCCDD"]"#, r#"["7D","1F5D"]"#, r#"["xy"]"#] {
            assert_eq!(own_raw("11427D1D1F5DAABB", Some(path)), None, "{path}");
        }
    }

    #[test]
    fn a_companions_message_is_told_from_its_text() {
        let decoded = r#"{"channel":"ch3","sender":"Alice","text":"Alice: hi","type":"CHAN"}"#;
        let observation = PastObservation {
            at_ms: 5_000,
            decoded_json: Some(decoded.to_owned()),
            snr_db: Some(-7.5),
            ..PastObservation::default()
        };
        let said = said(&observation, None).unwrap();
        assert_eq!(said.topic, "meshcore/message/channel/0");
        assert_eq!(said.payload, json!({ "SNR": -7.5, "text": "Alice: hi", "channel_idx": "3" }));
        let unknown = PastObservation { decoded_json: Some("{}".into()), ..observation };
        assert_eq!(super::said(&unknown, None), None);
    }
}
