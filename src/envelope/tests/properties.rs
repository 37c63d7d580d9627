//! What holds for every topic and every payload.

use super::*;
use proptest::prelude::*;

/// Topics made of the words that mean something, and of anything.
fn topics() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just(KEY.to_owned()),
        prop::sample::select(
            &[
                "meshcore",
                "meshrank",
                "uplink",
                "message",
                "channel",
                "direct",
                "status",
                "events",
                "connection",
                "packets",
                "raw",
                "client",
                "serial",
                "SJC",
                "",
            ][..]
        )
        .prop_map(str::to_owned),
        ".{0,6}",
    ];
    prop::collection::vec(word, 0..7).prop_map(|words| words.join("/"))
}

/// Any JSON value, its objects with the keys that mean something among others.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "-?[0-9.]{1,6} ?(dBm|dB|m)?".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((keys(), inner), 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn keys() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(&[
            "raw", "origin", "origin_id", "timestamp", "region", "SNR", "snr", "RSSI", "rssi",
            "score", "Score", "direction", "Direction", "status", "stats", "battery_mv", "repeat",
            "model", "text", "channel_idx", "sender_timestamp", "payload", "attributes",
        ][..])
        .prop_map(str::to_owned),
        1 => "\\PC{0,8}",
    ]
}

/// An object written field by field in the given order.
fn written(fields: &[(String, Value)]) -> String {
    let fields: Vec<_> = fields
        .iter()
        .map(|(key, value)| format!("{}:{value}", Value::from(key.as_str())))
        .collect();
    format!("{{{}}}", fields.join(","))
}

proptest! {
    #[test]
    fn any_bytes_on_any_topic_do_not_panic(topic in topics(), payload: Vec<u8>) {
        let _ = read(&message(&topic, payload), None);
    }

    #[test]
    fn any_json_on_any_topic_does_not_panic(topic in topics(), value in values()) {
        let _ = read(&message(&topic, value.to_string()), Some("SEA"));
    }

    #[test]
    fn a_valid_message_cut_or_broken_anywhere_does_not_panic(
        at in 0usize..200, byte: u8, cut: bool,
    ) {
        let mut payload = json!({
            "raw": "1102AB", "origin": "\u{1F6F0} \\ \"", "SNR": "12.5 dB", "score": 1e3,
            "stats": {"battery_mv": 4000}, "timestamp": "2026-10-14T18:03:11.482190+00:00",
        }).to_string().into_bytes();
        if cut { payload.truncate(at) } else if let Some(b) = payload.get_mut(at) { *b = byte }
        for topic in ["meshcore/SJC/KEY/packets", "meshcore/SJC/KEY/status", "meshcore/message/direct/a"] {
            let _ = read(&message(topic, payload.clone()), None);
        }
    }

    #[test]
    fn the_order_of_fields_does_not_matter(
        topic in topics(),
        fields in prop::collection::btree_map(keys(), values(), 0..8),
        seed: u64,
    ) {
        let mut fields: Vec<_> = fields.into_iter().collect();
        let there = read(&message(&topic, written(&fields)), None);
        fields.sort_by_key(|(key, _)| {
            key.bytes().fold(seed, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3))
        });
        prop_assert_eq!(read(&message(&topic, written(&fields)), None), there);
    }

    #[test]
    fn unknown_fields_do_not_matter(
        topic in topics(),
        mut fields in prop::collection::vec((keys(), values()), 0..6),
        unknown in values(),
        at: prop::sample::Index,
    ) {
        let without = read(&message(&topic, written(&fields)), None);
        let at = at.index(fields.len() + 1);
        fields.insert(at, ("an unknown field".to_owned(), unknown));
        prop_assert_eq!(read(&message(&topic, written(&fields)), None), without);
    }

    #[test]
    fn what_is_read_is_fit_to_be_stored(topic in topics(), value in values()) {
        if let Ok(Envelope::Packet(heard)) = read(&message(&topic, value.to_string()), None) {
            prop_assert!(!heard.raw.is_empty());
            prop_assert!([heard.snr_db, heard.rssi_dbm].into_iter().flatten().all(f64::is_finite));
            prop_assert_ne!(heard.direction.as_deref(), Some(""));
            if let Some(observer) = heard.observer {
                prop_assert!(!observer.id.is_empty());
                prop_assert_ne!(observer.name.as_deref(), Some(""));
                prop_assert_ne!(observer.iata.as_deref(), Some(""));
            }
        }
    }
}
