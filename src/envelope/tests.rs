//! The twenty forms of deployed publishers, CoreScope's cases, and properties.

use super::*;
use crate::message::{Origin, OriginKind, Receipt};
use bytes::Bytes;
use serde_json::{Value, json};

mod forms;
mod properties;
mod status;

const KEY: &str = "7E7662676F7F0850A8A355BAAFBFC1EB7B4174C340442D7D7161C9474A2C9400";
const OTHER: &str = "D0419CA196E212E48781B29F84AA3309B297E8CA07BD69E5E956DBF0C23AF3E7";

fn message(topic: &str, payload: impl Into<Bytes>) -> Message {
    Message {
        topic: topic.replace("KEY", KEY),
        payload: payload.into(),
        origin: Origin { kind: OriginKind::Replay, name: "test".into() },
        received_at_ms: 0,
        retained: false,
        receipt: Receipt::none(),
        place: None,
    }
}

fn read_text(topic: &str, payload: &str) -> Result<Envelope, Unread> {
    read(&message(topic, payload.replace("KEY", KEY)), None)
}

fn read_json(topic: &str, payload: &Value) -> Result<Envelope, Unread> {
    read_text(topic, &payload.to_string())
}

#[track_caller]
fn packet(topic: &str, payload: &str) -> Heard {
    match read_text(topic, payload) {
        Ok(Envelope::Packet(heard)) => heard,
        other => panic!("{other:?}"),
    }
}

/// A packet on the usual topic, its JSON fields beside `raw` given.
#[track_caller]
fn heard(fields: &str) -> Heard {
    packet("meshcore/SJC/KEY/packets", &format!(r#"{{"raw":"1102AB"{fields}}}"#))
}

#[track_caller]
fn companion(topic: &str, payload: &Value) -> Companion {
    match read_json(topic, payload) {
        Ok(Envelope::Companion(companion)) => companion,
        other => panic!("{other:?}"),
    }
}

fn observer(name: &str, iata: &str) -> Option<Observer> {
    Some(Observer { id: KEY.into(), name: Some(name.into()), iata: Some(iata.into()) })
}

#[test]
fn numbers_are_read_as_numbers_and_as_texts_with_units() {
    for (written, read) in [
        ("7.25", Some(7.25)),
        ("-7", Some(-7.0)),
        ("0", Some(0.0)),
        ("18446744073709551615", Some(18_446_744_073_709_551_615.0)),
        (r#""12.25""#, Some(12.25)),
        (r#"" -97 dBm ""#, Some(-97.0)),
        (r#""-110DBM""#, Some(-110.0)),
        (r#""1e1""#, Some(10.0)),
        (r#""Unknown""#, None),
        (r#""""#, None),
        (r#""NaN""#, None),
        (r#""Inf""#, None),
        (r#""0x10""#, None),
        ("null", None),
        ("true", None),
        ("[1]", None),
        (r#"{"value":1}"#, None),
    ] {
        assert_eq!(heard(&format!(r#","SNR":{written}"#)).snr_db, read, "SNR {written}");
        assert_eq!(heard(&format!(r#","rssi":{written}"#)).rssi_dbm, read, "rssi {written}");
    }
}

#[test]
fn of_two_spellings_the_first_usable_one_counts() {
    let both = heard(
        r#","snr":1,"SNR":2,"rssi":-3,"RSSI":-4,"Score":5,"score":6,"Direction":"tx","direction":"rx""#,
    );
    assert_eq!((both.snr_db, both.rssi_dbm, both.score), (Some(2.0), Some(-4.0), Some(6)));
    assert_eq!(both.direction.as_deref(), Some("rx"));
    // CoreScope stops at the first spelling that exists and loses the value.
    let second = heard(
        r#","snr":1,"SNR":"Unknown","rssi":-3,"RSSI":null,"Score":5,"score":[],"Direction":"tx","direction":7"#,
    );
    assert_eq!((second.snr_db, second.rssi_dbm, second.score), (Some(1.0), Some(-3.0), Some(5)));
    assert_eq!(second.direction.as_deref(), Some("tx"));
}

#[test]
fn scores_are_whole() {
    for (written, score) in
        [("0.905", Some(1)), ("\"873\"", Some(873)), ("\"1000m\"", Some(1000)), ("1e300", None)]
    {
        assert_eq!(heard(&format!(r#","score":{written}"#)).score, score, "{written}");
    }
}

#[test]
fn an_observer_is_the_topics_key_in_upper_case_or_verbatim() {
    let id = |topic: &str| packet(topic, r#"{"raw":"00"}"#).observer.map(|o| o.id);
    let lower = KEY.to_lowercase();
    assert_eq!(id(&format!("meshcore/SJC/{lower}/packets")).as_deref(), Some(KEY));
    assert_eq!(id("meshcore/SJC/My Roof/packets").as_deref(), Some("My Roof"));
    assert_eq!(id("meshcore/SJC/KEY").as_deref(), Some(KEY));
    for topic in ["meshcore/SJC//packets", "meshcore/SJC", "meshcore", "meshcore/packets"] {
        assert_eq!(id(topic), None, "{topic}");
    }
}

#[test]
fn a_region_is_the_payloads_else_the_topics_else_the_sources() {
    let iata = |topic: &str, region: Value, default: Option<&str>| {
        let payload = json!({"raw": "00", "region": region}).to_string();
        match read(&message(topic, payload), default) {
            Ok(Envelope::Packet(heard)) => heard.observer.unwrap().iata,
            other => panic!("{other:?}"),
        }
    };
    let packets = "meshcore/ sjc /KEY/packets";
    assert_eq!(iata(packets, json!(" lax "), Some("SEA")).as_deref(), Some("LAX"));
    for none in [json!(null), json!(""), json!("  "), json!(7)] {
        assert_eq!(iata(packets, none, Some("SEA")).as_deref(), Some("SJC"));
    }
    assert_eq!(iata("meshcore//KEY/packets", json!(null), Some("sea")).as_deref(), Some("SEA"));
    assert_eq!(iata("meshcore//KEY/packets", json!(null), None), None);
    assert_eq!(iata("meshcore/client/KEY/packets", json!(null), None), None);
}

#[test]
fn a_name_is_kept_as_sent_and_an_empty_one_is_none() {
    let name = |origin: &str| heard(&format!(r#","origin":{origin}"#)).observer.unwrap().name;
    assert_eq!(name(r#"" Roof\u0007 ☀ ""#).as_deref(), Some(" Roof\u{7} ☀ "));
    for none in ["\"\"", "null", "123", "[\"x\"]", "{}"] {
        assert_eq!(name(none), None, "{none}");
    }
    assert_eq!(heard("").observer.unwrap().name, None);
}

#[test]
fn an_origin_id_that_names_another_key_is_flagged_and_the_topic_wins() {
    let differs = |id: &str| {
        let heard = heard(&format!(r#","origin_id":{}"#, json!(id)));
        assert_eq!(heard.observer.unwrap().id, KEY);
        heard.origin_id_differs
    };
    assert!(differs(OTHER));
    assert!(!differs(KEY));
    assert!(!differs(&KEY.to_lowercase()));
    assert!(!differs("DEVICE"), "Home Assistant's placeholder names no key");
    assert!(!differs(""));
    assert!(!heard(r#","origin_id":null"#).origin_id_differs);
    let status = read_json("meshcore/SJC/KEY/status", &json!({"origin_id": OTHER}));
    assert!(matches!(status, Ok(Envelope::Status(s)) if s.origin_id_differs));
}

#[test]
fn bad_input_has_a_name() {
    let packets = "meshcore/SJC/KEY/packets";
    for (payload, unread) in [
        (&b"not json"[..], Unread::NotJson),
        (b"{", Unread::NotJson),
        (b"{'raw':'x'}", Unread::NotJson),
        (b"{\"raw\":\"11\"} trailing", Unread::NotJson),
        (b"{\"raw\":\"11\",}", Unread::NotJson),
        (b"\xEF\xBB\xBF{}", Unread::NotJson),
        (b"\x00\xFF\x00\xFF", Unread::NotJson),
        (b"NaN", Unread::NotJson),
        (b"{\"raw\":\"11\",\"SNR\":1e400}", Unread::NotJson),
        (b"[]", Unread::NotAnObject),
        (b"\"text\"", Unread::NotAnObject),
        (b"123", Unread::NotAnObject),
        (b"true", Unread::NotAnObject),
        (b"", Unread::EmptyPayload),
        (b"null", Unread::NoRaw),
        (b"{}", Unread::NoRaw),
        (b"{\"raw\":null}", Unread::NoRaw),
        (b"{\"raw\":\"\"}", Unread::NoRaw),
        (b"{\"raw\":17}", Unread::RawNotText),
        (b"{\"raw\":[\"11\"]}", Unread::RawNotText),
    ] {
        let read = read(&message(packets, Bytes::from_static(payload)), None);
        assert_eq!(read, Err(unread), "{}", payload.escape_ascii());
    }
}

#[test]
fn what_others_say_on_topics_of_their_own_is_noise() {
    for (topic, payload, unread) in [
        ("homeassistant/light/state", "ON", Unread::UnknownTopic),
        ("homeassistant/light/state", "[1]", Unread::UnknownTopic),
        ("homeassistant/light/state", r#"{"raw":5}"#, Unread::UnknownTopic),
        (
            "meshcore/SJC/KEY/serial/responses",
            "eyJhbGciOiJFZDI1NTE5In0.e30.00",
            Unread::SerialTopic,
        ),
        ("meshcore/status", "connected", Unread::BridgeEvent),
        ("meshcore/battery", "87", Unread::BridgeEvent),
    ] {
        assert_eq!(read_text(topic, payload), Err(unread), "{topic}");
        assert!(unread.is_noise());
    }
    for unread in [Unread::NotJson, Unread::NotAnObject, Unread::StatusWithoutKey] {
        assert!(!unread.is_noise());
    }
}

#[test]
fn the_payload_decides_not_the_topic() {
    for topic in
        ["any/thing/at all", "meshcore/SJC/KEY/internal", "meshcore/message/channel/1", "x"]
    {
        assert_eq!(packet(topic, r#"{"raw":"AB","text":"a: b"}"#).raw, "AB", "{topic}");
    }
    for topic in ["meshcore/status", "meshcore/events/connection"] {
        assert_eq!(read_text(topic, r#"{"raw":"AB"}"#), Err(Unread::BridgeEvent), "{topic}");
    }
    let status = read_text("meshcore/SJC/KEY/status", r#"{"raw":"AB"}"#);
    assert!(matches!(status, Ok(Envelope::Status(_))));
}

#[test]
fn raw_is_kept_as_sent() {
    let heard = packet("meshcore/SJC/KEY/packets", r#"{"raw":" 11 02\nab zz"}"#);
    assert_eq!(heard.raw, " 11 02\nab zz");
}

#[test]
fn the_last_of_several_equal_keys_wins() {
    let heard = packet("meshcore/SJC/KEY/packets", r#"{"raw":"00","SNR":1,"raw":"11","SNR":null}"#);
    assert_eq!((heard.raw.as_str(), heard.snr_db), ("11", None));
}

#[test]
fn broken_bytes_and_lone_surrogates_cost_one_character() {
    let name = |origin: &[u8]| {
        let payload = [br#"{"raw":"00","#.as_slice(), br#""origin":""#, origin, br#""}"#].concat();
        match read(&message("meshcore/SJC/KEY/packets", payload), None) {
            Ok(Envelope::Packet(heard)) => heard.observer.unwrap().name.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(name(b"Roof \xF0\x9F"), "Roof \u{FFFD}");
    assert_eq!(name(br"Roof \ud83d"), "Roof \u{FFFD}");
    assert_eq!(name(br"\udcff\ud83d!"), "\u{FFFD}\u{FFFD}!");
    assert_eq!(name(br"\ud83d\ud83d\udef0"), "\u{FFFD}🛰");
    assert_eq!(name(b"\xFF \\\\ud83d \\ud83d\\udef0"), "\u{FFFD} \\ud83d 🛰");
}

#[test]
fn deep_and_large_payloads_are_no_trouble() {
    let deep = format!(r#"{{"x":{}1{},"raw":"00"}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(packet("meshcore/SJC/KEY/packets", &deep).raw, "00");
    for field in ["raw", "origin", "stats", "text", "sender_timestamp"] {
        let deep = format!(r#"{{"{field}":{}"#, r#"{"a":["#.repeat(50_000));
        for topic in
            ["meshcore/SJC/KEY/packets", "meshcore/SJC/KEY/status", "meshcore/message/direct/a"]
        {
            assert_eq!(read_text(topic, &deep), Err(Unread::NotJson), "{topic} {field}");
        }
    }
    let large = format!(r#"{{"raw":"{}"}}"#, "AB".repeat(100_000));
    assert_eq!(packet("meshcore/SJC/KEY/packets", &large).raw.len(), 200_000);
}

#[test]
fn companion_messages_have_a_channel_a_sender_and_a_text() {
    let said = |topic: &str, payload: Value| {
        let said = companion(topic, &payload);
        (said.to, said.sender)
    };
    let channel = |index: &str, sender: &str| (CompanionTo::Channel(index.into()), sender.into());
    for (payload, expected) in [
        (json!({"text": "Bob: hi"}), channel("2", "Bob")),
        (json!({"text": "Bob: hi", "channel_idx": 0}), channel("0", "Bob")),
        (json!({"text": "Bob: hi", "channel_idx": "7"}), channel("7", "Bob")),
        (json!({"text": "Bob: hi", "channel_idx": null}), channel("2", "Bob")),
        (json!({"text": "Bob: hi", "channel_idx": [1]}), channel("2", "Bob")),
        (json!({"text": "[a:b] x: hi"}), channel("2", "[a:b] x")),
        (json!({"text": "no sender"}), channel("2", "")),
        (json!({"text": ": empty"}), channel("2", "")),
        (json!({"text": format!("{}: x", "E".repeat(49))}), channel("2", &"E".repeat(49))),
        (json!({"text": format!("{}: x", "E".repeat(50))}), channel("2", "")),
    ] {
        assert_eq!(said("meshcore/message/channel/2", payload.clone()), expected, "{payload}");
    }
    let direct =
        said("meshcore/message/direct/abcdef", json!({"text": "Bob: hi", "channel_idx": 3}));
    assert_eq!(direct, (CompanionTo::Direct, "Bob".into()));
    for payload in [json!({}), json!({"text": ""}), json!({"text": 5}), json!(null)] {
        let read = read_json("meshcore/message/direct/abcdef", &payload);
        assert_eq!(read, Err(Unread::NoText), "{payload}");
    }
}

#[test]
fn a_companion_message_keeps_the_senders_time_as_sent() {
    for time in [json!(1_774_656_000.5), json!("str"), json!({"a": [1, {"b": null}]}), json!(null)]
    {
        let payload = json!({"text": "x", "sender_timestamp": time});
        let said = companion("meshcore/message/channel/2", &payload);
        assert_eq!(said.sender_timestamp, Some(time));
    }
    let said = companion("meshcore/message/channel/2", &json!({"text": "x"}));
    assert_eq!(said.sender_timestamp, None);
}

#[test]
fn a_wrapped_companion_message_is_unwrapped() {
    let payload = json!({
        "payload": {"text": "Bob: hi", "sender_timestamp": 5, "attributes": {"channel_idx": 3}},
        "SNR": 1.5,
    });
    let said = companion("meshcore/message/channel/2", &payload);
    assert_eq!(said.to, CompanionTo::Channel("3".into()));
    assert_eq!((said.text.as_str(), said.snr_db), ("Bob: hi", Some(1.5)));
    assert_eq!(said.sender_timestamp, Some(json!(5)));
}
