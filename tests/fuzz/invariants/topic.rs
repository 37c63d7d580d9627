//! Any topic, whatever is said on it.

use super::envelope::{arrived, observer};

use meshbox::envelope::{self, Envelope, Observer, Unread};
use meshbox::record::SourceRules;

/// What holds for all bytes as a topic; broken UTF-8 is mended, since MQTT has none.
pub(crate) fn check(bytes: &[u8]) {
    let topic = String::from_utf8_lossy(bytes);
    let read = |topic: &str, payload: &'static str| {
        envelope::read(&arrived(topic, payload.as_bytes(), false), None)
    };
    let heard = read(&topic, PACKET);
    match &heard {
        Ok(Envelope::Packet(heard)) => heard.observer.iter().for_each(|o| named(o, &topic)),
        Ok(Envelope::Status(status)) => named(&status.observer, &topic),
        Ok(Envelope::Companion(said)) => panic!("a raw packet is no text: {said:?}"),
        // Where a packet is not read, nothing is, or it was a status of nobody.
        Err(Unread::StatusWithoutKey) => {}
        Err(unread) => assert_eq!(*unread, Unread::BridgeEvent),
    }
    let silent = heard == Err(Unread::BridgeEvent);
    let nothing = if silent { Unread::BridgeEvent } else { Unread::EmptyPayload };
    assert_eq!(read(&topic, ""), Err(nothing));
    // An object is never bad input for its topic alone, save the status of nobody.
    match read(&topic, "{}") {
        Ok(Envelope::Status(_)) | Err(Unread::StatusWithoutKey) => {}
        Err(unread) => assert!(unread.is_noise(), "{unread}"),
        Ok(other) => panic!("{other:?} out of nothing"),
    }
    if topic.split('/').count() > 4 {
        assert_eq!(
            read(&format!("{topic}/deeper"), PACKET),
            heard,
            "what comes after the kind counts"
        );
    }
    filter(&topic);
}

/// A packet, with nothing that names an observer or a region.
const PACKET: &str = r#"{"raw":"0A00D6"}"#;

/// The observer and its region are segments of the topic, and the observer is not the secret of a
/// MeshRank topic.
fn named(named: &Observer, topic: &str) {
    observer(named);
    let segments: Vec<&str> = topic.split('/').collect();
    let last = segments.iter().rposition(|s| s.eq_ignore_ascii_case(&named.id));
    assert!(last.is_some(), "{named:?} is not in {topic:?}");
    if let ["meshrank", "uplink", ..] = segments[..] {
        assert!(last > Some(2), "the observer is a secret of {topic:?}");
        assert_eq!(named.iata, None);
    }
    if let Some(iata) = &named.iata {
        assert!(segments.get(1).is_some_and(|region| region.trim().to_uppercase() == *iata));
    }
}

/// The filter looks at the second segment, and a source without one takes all.
fn filter(topic: &str) {
    let rules = SourceRules { iata_filter: vec!["SJC".to_owned()], region: None };
    let region = topic.split_once('/').map(|(_, rest)| rest.split('/').next().unwrap_or(rest));
    let other = |region: &&str| !region.trim().eq_ignore_ascii_case("SJC");
    assert_eq!(rules.refuses(topic), region.filter(other));
    assert_eq!(SourceRules::default().refuses(topic), None);
}
