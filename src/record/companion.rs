//! Messages of a companion bridge: text without a packet, from CoreScope's `meshcore/message/…`
//! topics.
//!
//! CoreScope gives such a row a hash of text and second, so the same text is one transmission within
//! a second and another one after it.

use super::rows::PacketRow;
use crate::envelope::{Companion, CompanionTo};
use crate::packet::{PayloadType, Route, hash};

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The row of a companion's message that arrived at `received_at_ms`.
pub(super) fn row(companion: Companion, received_at_ms: i64) -> PacketRow {
    let (payload_type, channel) = match &companion.to {
        CompanionTo::Channel(index) => (PayloadType::GroupText, Some(format!("ch{index}"))),
        CompanionTo::Direct => (PayloadType::Text, None),
    };
    let said = Said {
        channel: channel.as_deref(),
        sender: &companion.sender,
        sender_timestamp: companion.sender_timestamp.as_ref(),
        text: &companion.text,
        kind: if channel.is_some() { "CHAN" } else { "DM" },
    };
    PacketRow {
        hash: hash_of(&companion, received_at_ms),
        raw_hex: String::new(),
        route_type: Route::Flood.bits(),
        payload_type: payload_type.nibble(),
        payload_version: 0,
        decoded_json: serde_json::to_string(&said).unwrap_or_default(),
        from_pubkey: None,
        channel_hash: channel,
        scope_name: None,
        path_json: "[]".to_owned(),
        snr_db: companion.snr_db,
        rssi_dbm: companion.rssi_dbm,
        score: companion.score,
        direction: companion.direction,
        node: None,
    }
}

/// CoreScope's JSON, its keys in alphabetical order.
#[derive(Serialize)]
struct Said<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    sender: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender_timestamp: Option<&'a Value>,
    text: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
}

fn hash_of(companion: &Companion, received_at_ms: i64) -> String {
    let second = received_at_ms.div_euclid(1_000);
    let at = jiff::Timestamp::from_second(second).unwrap_or_default();
    let text = &companion.text;
    let digest = Sha256::digest(match &companion.to {
        CompanionTo::Channel(index) => format!("ch:{index}:{text}:{at}"),
        CompanionTo::Direct => format!("dm:{text}:{at}"),
    });
    hash::Digest(digest.into()).content_hash().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn companion(to: CompanionTo, text: &str) -> Companion {
        Companion {
            to,
            sender: "Alice".into(),
            text: text.into(),
            sender_timestamp: Some(Value::from(1_774_656_000)),
            snr_db: Some(5.5),
            rssi_dbm: Some(-90.0),
            score: None,
            direction: None,
        }
    }

    #[test]
    fn a_channel_message_is_a_group_text_of_its_index() {
        let row = row(companion(CompanionTo::Channel("3".into()), "Alice: hi"), 1_700_000_000_999);
        assert_eq!(
            row.decoded_json,
            r#"{"channel":"ch3","sender":"Alice","sender_timestamp":1774656000,"text":"Alice: hi","type":"CHAN"}"#
        );
        assert_eq!((row.route_type, row.payload_type, row.payload_version), (1, 5, 0));
        assert_eq!(row.channel_hash.as_deref(), Some("ch3"));
        assert_eq!((row.raw_hex.as_str(), row.path_json.as_str()), ("", "[]"));
        let expected = Sha256::digest("ch:3:Alice: hi:2023-11-14T22:13:20Z");
        assert_eq!(row.hash, hex::encode(&expected[..8]));
    }

    #[test]
    fn a_direct_message_has_no_channel() {
        let mut said = companion(CompanionTo::Direct, "Alice: hi");
        said.sender_timestamp = None;
        let row = row(said, 1_700_000_000_000);
        assert_eq!(row.decoded_json, r#"{"sender":"Alice","text":"Alice: hi","type":"DM"}"#);
        assert_eq!((row.payload_type, row.channel_hash), (2, None));
        let expected = Sha256::digest("dm:Alice: hi:2023-11-14T22:13:20Z");
        assert_eq!(row.hash, hex::encode(&expected[..8]));
    }

    #[test]
    fn the_same_text_is_one_transmission_within_a_second() {
        let at = |ms| row(companion(CompanionTo::Direct, "hi"), ms).hash;
        assert_eq!(at(5_000), at(5_999));
        assert_ne!(at(5_999), at(6_000));
    }
}
