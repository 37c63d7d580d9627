use super::super::observers::Observers;
use super::super::refusal::{
    ADVERT_FOREIGN, ADVERT_INVALID_POSITION, ADVERT_KEY_ZERO, OBSERVER_BLACKLISTED,
    OBSERVER_REGION_UNLISTED,
};
use super::*;
use crate::area::{Area, Home};
use crate::crypto::scope::Regions;
use crate::message::{Origin, OriginKind, Receipt};
use crate::packet::hash::Formula;

use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::{Value, json};

const KEY: &str = "7E7662676F7F0850A8A355BAAFBFC1EB7B4174C340442D7D7161C9474A2C9400";
const TOPIC: &str =
    "meshcore/SJC/7E7662676F7F0850A8A355BAAFBFC1EB7B4174C340442D7D7161C9474A2C9400/packets";
/// A repeater's advert heard at first hand, with a valid signature.
const ADVERT: &str = "120046D62DE27D4C5194D7821FC5A34A45565DCC2537B300B9AB6275255CEFB65D840CE5C169C94C9AED39E8BCB6CB6EB0335497A198B33A1A610CD3B03D8DCFC160900E5244280323EE0B44CACAB8F02B5B38B91CFA18BD067B0B5E63E94CFC85F758A8530B9240933402E0E6B8F84D5252322D52";
/// A message in a channel of which we have no key, scoped to `#ottawa`.
const SCOPED: &str = "14FA1A0000034E927D596EA23622BCB4D5945E49348165AF7DABA3F5DCEED85F430E0856DB5B591E86AB3363BC00E1BA30776698F72FC57C7168E66A4875CDB710F3C175FC2B3FE75A036EF14FA59A709062D3A9FF7014F2E7A8512C";
/// A message in the Public channel.
const PUBLIC: &str = "150011C3C1354D619BAE9590E4D177DB7EEAF982F5BDCF78005D75157D9535FA90178F785D";

fn message(topic: &str, payload: &Value) -> Message {
    Message {
        topic: topic.into(),
        payload: payload.to_string().into(),
        origin: Origin { kind: OriginKind::Source, name: "region".into() },
        received_at_ms: 1_700_000_000_000,
        retained: false,
        receipt: Receipt::none(),
        place: None,
    }
}

fn rules() -> Rules {
    Rules {
        validate_signatures: true,
        regions: Regions::new(["ottawa".to_owned()]),
        ..Rules::default()
    }
}

fn record(payload: &Value) -> Result<Record, Unrecorded> {
    Recorder::new(rules()).record(message(TOPIC, payload))
}

fn packet(raw: &str) -> PacketRow {
    match record(&json!({ "raw": raw })).unwrap().body {
        Body::Packet(row) => *row,
        other => panic!("{other:?}"),
    }
}

/// `raw` with one bit turned in the byte at `at`.
fn damaged(raw: &str, at: usize) -> String {
    let mut bytes = hex::parse(raw).unwrap();
    bytes[at] ^= 1;
    hex::Hex(&bytes).to_string()
}

#[test]
fn an_advert_becomes_a_transmission_and_a_node_and_its_observer_is_alive() {
    let payload = json!({ "raw": ADVERT, "SNR": "5.5", "RSSI": -90, "score": 1.6, "direction": "tx",
                          "origin": "Roof" });
    let record = record(&payload).unwrap();
    let observer = record.observer.unwrap();
    assert_eq!((observer.id.as_str(), observer.name.as_deref()), (KEY, Some("Roof")));
    assert_eq!((observer.iata.as_deref(), observer.activity), (Some("SJC"), Activity::Packet));
    let Body::Packet(row) = record.body else { panic!("{:?}", record.body) };
    assert_eq!((row.hash.as_str(), row.raw_hex.as_str()), ("a2df093d3bfc51f5", ADVERT));
    assert_eq!((row.route_type, row.payload_type, row.payload_version), (2, 4, 0));
    assert_eq!((row.snr_db, row.rssi_dbm, row.score), (Some(5.5), Some(-90.0), Some(2)));
    assert_eq!((row.direction.as_deref(), row.path_json.as_str()), (Some("tx"), "[]"));
    assert_eq!((row.channel_hash, row.scope_name), (None, None));
    let node = row.node.unwrap();
    assert_eq!(row.from_pubkey.as_ref(), Some(&node.public_key));
    assert_eq!((node.name.as_deref(), node.role.as_str()), (Some("MRR2-R"), "repeater"));
    assert_eq!((node.lat, node.lon, node.default_scope), (Some(37.0), Some(-122.1), None));
}

#[test]
fn a_clock_without_a_zone_is_judged_by_live_messages_while_ours_is_not_doubted() {
    let mut recorder = Recorder::new(rules());
    let status = TOPIC.replace("/packets", "/status");
    let mut skew = |topic: &str, more: Value, retained, doubted| {
        recorder.doubt_clock(doubted);
        // The messages arrive at 2023-11-14T22:13:20Z.
        let mut payload = json!({ "raw": ADVERT, "timestamp": "2023-11-15T00:13:20.000000" });
        payload.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let message = Message { retained, ..message(topic, &payload) };
        recorder.record(message).unwrap().observer.unwrap().skew_seconds
    };
    assert_eq!(skew(TOPIC, json!({}), false, false), Some(7_200));
    assert_eq!(skew(&status, json!({}), false, false), Some(7_200));
    assert_eq!(skew(TOPIC, json!({ "timestamp": "2023-11-15T00:13:20Z" }), false, false), None);
    assert_eq!(skew(TOPIC, json!({ "timestamp": 1_700_007_200 }), false, false), None);
    assert_eq!(skew(TOPIC, json!({ "timestamp": null }), false, false), None);
    assert_eq!(skew(TOPIC, json!({}), true, false), None, "a retained packet");
    assert_eq!(skew(&status, json!({}), true, false), None, "a retained status");
    assert_eq!(skew(&status, json!({ "status": "offline" }), false, false), None, "a will");
    for topic in [TOPIC, &status] {
        assert_eq!(skew(topic, json!({}), false, true), None, "by a clock that may be wrong");
    }
    assert_eq!(skew(TOPIC, json!({ "raw": damaged(ADVERT, 110) }), false, false), None);
}

#[test]
fn advert_with_wrong_signature_is_dropped_and_its_observer_is_none_the_livelier() {
    let raw = damaged(ADVERT, 110);
    let record = record(&json!({ "raw": raw, "origin": "Roof" })).unwrap();
    assert_eq!(record.observer.unwrap().activity, Activity::None);
    let Body::Dropped(row) = record.body else { panic!("{:?}", record.body) };
    assert_eq!((row.reason.as_str(), row.raw_hex), ("invalid signature", raw));
    assert_eq!(row.node_name.as_deref(), Some("MRR2-R"));
    assert!(row.node_pubkey.unwrap().starts_with("46d62de2"));
}

#[test]
fn signatures_are_not_looked_at_when_they_are_not_to_be() {
    let mut recorder = Recorder::new(Rules::default());
    let raw = damaged(ADVERT, 110);
    let record = recorder.record(message(TOPIC, &json!({ "raw": raw }))).unwrap();
    let Body::Packet(row) = record.body else { panic!("{:?}", record.body) };
    assert!(row.node.is_some());
    assert!(!row.decoded_json.contains("signatureValid"), "{}", row.decoded_json);
}

#[test]
fn the_second_observation_of_an_advert_is_not_judged_again() {
    let mut recorder = Recorder::new(rules());
    let mut dropped = |raw: &str| {
        let record = recorder.record(message(TOPIC, &json!({ "raw": raw }))).unwrap();
        matches!(record.body, Body::Dropped(_))
    };
    assert!(!dropped(ADVERT));
    // The same payload over another route is the same transmission, and a damaged one is not.
    assert!(!dropped(&ADVERT.replacen("1200", "1101AA", 1)));
    assert!(dropped(&damaged(ADVERT, 110)));
    assert_eq!(recorder.verdicts.len(), 2);
}

#[test]
fn an_advert_that_no_node_sends_is_refused_by_name() {
    let mut beyond = hex::parse(ADVERT).unwrap();
    beyond[103..107].copy_from_slice(&90_000_001i32.to_le_bytes());
    let mut nobody = hex::parse(ADVERT).unwrap();
    nobody[2..34].fill(0);
    for (bytes, reason) in [(beyond, ADVERT_INVALID_POSITION), (nobody, ADVERT_KEY_ZERO)] {
        let raw = hex::Hex(&bytes).to_string();
        let unrecorded = record(&json!({ "raw": raw })).unwrap_err();
        assert_eq!((unrecorded.reason, unrecorded.noise), (reason, false));
        assert!(!unrecorded.detail.is_empty());
        assert_eq!(unrecorded.message.topic, TOPIC);
    }
}

#[test]
fn an_advert_without_app_data_is_kept_and_changes_no_node() {
    let mut recorder = Recorder::new(Rules::default());
    let raw = &ADVERT[..204];
    let record = recorder.record(message(TOPIC, &json!({ "raw": raw }))).unwrap();
    let Body::Packet(row) = record.body else { panic!("{:?}", record.body) };
    assert_eq!((row.node, row.from_pubkey.is_some()), (None, true));
}

#[test]
fn a_channel_message_is_opened_and_its_channel_is_in_its_column() {
    let row = packet(PUBLIC);
    assert_eq!(row.channel_hash.as_deref(), Some("Public"));
    let decoded: Value = serde_json::from_str(&row.decoded_json).unwrap();
    assert_eq!((&decoded["type"], &decoded["text"]), (&json!("CHAN"), &json!("🌲 Tree: ☁️")));
    assert_eq!(packet(SCOPED).channel_hash.as_deref(), Some("enc_59"));
}

#[test]
fn a_scope_is_named_or_unknown_or_none() {
    assert_eq!(packet(SCOPED).scope_name.as_deref(), Some("#ottawa"));
    assert_eq!(packet(&damaged(SCOPED, 1)).scope_name.as_deref(), Some(""));
    assert_eq!(packet(&SCOPED.replacen("FA1A", "0000", 1)).scope_name, None);
    assert_eq!(packet(PUBLIC).scope_name, None);
}

#[test]
fn the_hash_follows_the_formula_and_white_space_and_case_do_not_matter_to_it() {
    let row = packet("0a00 d69fd7a5a7475db07337749ae61fa53a4788e976\n");
    assert_eq!(row.hash, "b1f07307cbc01ce5");
    assert_eq!(row.raw_hex, "0a00d69fd7a5a7475db07337749ae61fa53a4788e976");
    let old = Rules { formula: Formula::CoreScope202604, ..Rules::default() };
    let payload = json!({ "raw": "0A00D69FD7A5A7475DB07337749AE61FA53A4788E976" });
    let record = Recorder::new(old).record(message(TOPIC, &payload)).unwrap();
    let Body::Packet(row) = record.body else { panic!("{:?}", record.body) };
    assert_eq!(row.hash, "08b87f6518bc03b1");
}

#[test]
fn a_payload_that_cannot_be_read_is_kept() {
    let row = packet("0901AABB");
    assert_eq!(row.decoded_json, r#"{"type":"TXT_MSG","raw":"bb","error":"too short"}"#);
    assert_eq!((row.path_json.as_str(), row.node), (r#"["AA"]"#, None));
}

#[test]
fn what_is_no_packet_is_refused_by_name() {
    for (raw, reason) in [
        ("0A0", "odd_hex"),
        ("0x0A00", "bad_hex"),
        ("0A", "packet_too_short"),
        ("00112233", "transport_codes_missing"),
        ("0011223344", "path_length_missing"),
        ("02C06B", "hash_size_reserved"),
        ("0261AA", "path_too_long"),
        ("0202AA", "path_truncated"),
        (&format!("0A00{:0>370}", 0), "payload_too_long"),
    ] {
        let unrecorded = record(&json!({ "raw": raw })).unwrap_err();
        assert_eq!((unrecorded.reason, unrecorded.noise), (reason, false), "{raw}");
    }
    let noise = record(&json!({})).unwrap_err();
    assert_eq!((noise.reason, noise.noise), ("no_raw", true));
}

#[test]
fn the_filter_is_for_packets_and_companions_and_never_for_a_status() {
    let source = SourceRules { iata_filter: vec!["SFO".into()], region: None };
    let rules = Rules { sources: HashMap::from([("region".into(), source)]), ..Rules::default() };
    let mut recorder = Recorder::new(rules);
    let mut outcome = |topic: &str, payload: Value| {
        recorder.record(message(topic, &payload)).map_err(|e| (e.reason, e.noise))
    };
    let filtered = Some((IATA_FILTERED, true));
    assert_eq!(outcome(TOPIC, json!({ "raw": PUBLIC })).err(), filtered);
    let text = json!({ "text": "A: hi" });
    assert_eq!(outcome("meshcore/message/channel/0", text).err(), filtered);
    assert!(outcome(&TOPIC.replace("SJC", "SFO"), json!({ "raw": PUBLIC })).is_ok());
    assert!(outcome("meshcore", json!({ "raw": PUBLIC })).is_ok());
    assert!(outcome(&TOPIC.replace("packets", "status"), json!({ "model": "x" })).is_ok());
}

#[test]
fn a_filtered_observer_is_not_even_read_and_its_status_is_none_either() {
    let observers = Observers::new([KEY], ["SJC"]);
    let mut recorder = Recorder::new(Rules { observers, ..Rules::default() });
    let mut outcome = |topic: &str, payload: Value| {
        recorder.record(message(topic, &payload)).map_err(|e| (e.reason, e.noise)).err()
    };
    let listed = Some((OBSERVER_BLACKLISTED, true));
    assert_eq!(outcome(TOPIC, json!({ "raw": PUBLIC })), listed);
    assert_eq!(outcome(&TOPIC.replace("packets", "status"), json!({ "model": "x" })), listed);
    // What it says may be any rubbish: nobody hears of it.
    assert_eq!(outcome(TOPIC, json!("rubbish")), listed);
    let (other, text) = ("meshcore/SJC/OTHER/packets", json!({ "text": "A: hi" }));
    assert_eq!(outcome(other, json!({ "raw": PUBLIC })), None);
    let unlisted = Some((OBSERVER_REGION_UNLISTED, true));
    assert_eq!(outcome(&other.replace("SJC", "LAX"), json!({ "raw": PUBLIC })), unlisted);
    assert_eq!(outcome("meshcore/LAX/OTHER/status", json!({ "model": "x" })), unlisted);
    assert_eq!(outcome("meshcore/message/channel/0", text), unlisted);
}

#[test]
fn a_foreign_advert_is_flagged_or_dropped_and_a_bad_signature_is_one_wherever_it_comes_from() {
    // The advert is from 37.0 north, 122.1 west.
    let outcome = |lat: [f64; 2], drop_foreign, raw: &str| {
        let home = Home { area: Area::Box { lat, lon: [-123.0, -122.0] }, drop_foreign };
        let rules = Rules { home: Some(home), ..rules() };
        Recorder::new(rules).record(message(TOPIC, &json!({ "raw": raw })))
    };
    let flag = |lat| match outcome(lat, false, ADVERT).unwrap().body {
        Body::Packet(row) => row.node.unwrap().foreign,
        other => panic!("{other:?}"),
    };
    let (here, elsewhere) = ([36.0, 38.0], [38.0, 39.0]);
    assert_eq!((flag(here), flag(elsewhere)), (Some(false), Some(true)));
    assert!(outcome(here, true, ADVERT).is_ok());
    let unrecorded = outcome(elsewhere, true, ADVERT).unwrap_err();
    assert_eq!((unrecorded.reason, unrecorded.noise), (ADVERT_FOREIGN, true));
    let expected = "the advert of 46d62de2… comes from outside of geo_filter";
    assert_eq!(unrecorded.detail, expected);
    let forged = outcome(elsewhere, true, &damaged(ADVERT, 110)).unwrap();
    assert!(matches!(forged.body, Body::Dropped(_)));
    // The filter is for adverts only.
    assert!(outcome(elsewhere, true, PUBLIC).is_ok());
}

#[test]
fn the_payloads_region_names_the_observers_and_the_topics_decides_whether_it_is_taken() {
    let observers = Observers::new([], ["SJC"]);
    let mut recorder = Recorder::new(Rules { observers, ..Rules::default() });
    let payload = json!({ "raw": PUBLIC, "region": "lax" });
    let record = recorder.record(message(TOPIC, &payload)).unwrap();
    assert_eq!(record.observer.unwrap().iata.as_deref(), Some("LAX"));
    let payload = json!({ "raw": PUBLIC, "region": "SJC" });
    let elsewhere = TOPIC.replace("SJC", "LAX");
    let unrecorded = recorder.record(message(&elsewhere, &payload)).unwrap_err();
    assert_eq!(unrecorded.reason, OBSERVER_REGION_UNLISTED);
}

#[test]
fn the_sources_region_stands_in_where_nothing_else_tells_one() {
    let source = SourceRules { iata_filter: vec![], region: Some("yow".into()) };
    let rules = Rules { sources: HashMap::from([("region".into(), source)]), ..Rules::default() };
    let topic = TOPIC.replace("/SJC/", "//");
    let record = Recorder::new(rules).record(message(&topic, &json!({ "raw": PUBLIC }))).unwrap();
    assert_eq!(record.observer.unwrap().iata.as_deref(), Some("YOW"));
}

#[test]
fn a_status_is_activity_unless_it_is_old_or_a_farewell() {
    let topic = TOPIC.replace("packets", "status");
    let activity = |payload: Value, retained| {
        let message = Message { retained, ..message(&topic, &payload) };
        let record = Recorder::new(rules()).record(message).unwrap();
        assert!(matches!(record.body, Body::Status(_)));
        record.observer.unwrap().activity
    };
    let online = json!({ "status": "online", "model": "Heltec" });
    assert_eq!(activity(online.clone(), false), Activity::Status);
    assert_eq!(activity(online, true), Activity::None);
    assert_eq!(activity(json!({ "status": "offline" }), false), Activity::None);
}

#[test]
fn a_companions_message_has_no_observer() {
    let payload = json!({ "text": "Alice: hi" });
    let record = Recorder::new(rules()).record(message("meshcore/message/direct/x", &payload));
    let record = record.unwrap();
    assert_eq!(record.observer, None);
    let Body::Packet(row) = record.body else { panic!("{:?}", record.body) };
    assert_eq!(row.decoded_json, r#"{"sender":"Alice","text":"Alice: hi","type":"DM"}"#);
}

#[test]
fn a_contradicting_origin_id_is_counted() {
    let mut recorder = Recorder::new(rules());
    for origin_id in [KEY.to_lowercase(), "00".repeat(32)] {
        let payload = json!({ "raw": PUBLIC, "origin_id": origin_id });
        recorder.record(message(TOPIC, &payload)).unwrap();
    }
    assert_eq!(recorder.origin_id_mismatches(), 1);
}

proptest! {
    #[test]
    fn any_packet_becomes_a_row_whose_json_is_json_or_a_named_refusal(
        header in any::<u8>(),
        path_length in 0u8..0x48,
        rest in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = [&[header, path_length][..], &rest].concat();
        let message = message(TOPIC, &json!({ "raw": hex::Hex(&bytes).to_string() }));
        match Recorder::new(Rules::default()).record(message) {
            Ok(record) => {
                let Body::Packet(row) = record.body else { panic!("{:?}", record.body) };
                prop_assert!(serde_json::from_str::<Value>(&row.decoded_json).unwrap().is_object());
                prop_assert!(serde_json::from_str::<Vec<String>>(&row.path_json).is_ok());
                prop_assert_eq!(row.hash.len(), 16);
            }
            Err(unrecorded) => {
                prop_assert!(!unrecorded.detail.contains(char::is_control));
                prop_assert!(!unrecorded.noise);
            }
        }
    }

    #[test]
    fn any_message_becomes_a_record_or_comes_back_with_a_reason(
        topic in "(meshcore/)?[ -~]{0,40}(/packets|/status)?",
        payload in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let message = Message { payload: payload.into(), ..message(&topic, &Value::Null) };
        if let Err(unrecorded) = Recorder::new(rules()).record(message) {
            prop_assert_eq!(unrecorded.message.topic, topic);
            prop_assert!(!unrecorded.reason.is_empty());
        }
    }
}
