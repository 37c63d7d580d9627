//! What holds for the rows that a message becomes.

use super::{assert_hex, decoded};

use meshbox::record::{Body, DroppedRow, NodeRow, PacketRow};
use serde_json::Value;

/// What holds for every body.
pub(super) fn check(body: &Body) {
    match body {
        Body::Packet(row) => packet(row),
        Body::Dropped(row) => dropped(row),
        Body::Status(row) => assert!(row.about.noise_floor_dbm.is_none_or(f64::is_finite)),
    }
}

/// Two bodies of one message say the same.
pub(super) fn same(first: &Body, second: &Body) {
    match (first, second) {
        (Body::Packet(a), Body::Packet(b)) => assert_eq!(a, b),
        (Body::Dropped(a), Body::Dropped(b)) => assert_eq!(a, b),
        (Body::Status(a), Body::Status(b)) => assert_eq!(a, b),
        (first, second) => panic!("{first:?} the first time, {second:?} the second"),
    }
}

fn packet(row: &PacketRow) {
    assert_hex(&row.hash, 8);
    raw(&row.raw_hex);
    assert!(row.route_type < 4 && row.payload_type < 16 && row.payload_version < 4);
    let json = decoded(&row.decoded_json);
    hops(&row.path_json);
    let numbers = [row.snr_db, row.rssi_dbm];
    assert!(numbers.into_iter().flatten().all(f64::is_finite), "{numbers:?}");
    assert_ne!(row.direction.as_deref(), Some(""));
    assert_ne!(row.channel_hash.as_deref(), Some(""));
    let readable = row.payload_version == 0 && json["error"].is_null();
    assert_eq!(row.channel_hash.is_some(), row.payload_type == 5 && readable, "{json}");
    match (&row.from_pubkey, &row.node) {
        (None, None) => {}
        (Some(key), None) => assert_hex(key, 32),
        (Some(key), Some(row)) => node(key, row),
        (None, Some(row)) => panic!("a node without a sender: {row:?}"),
    }
}

fn raw(hex: &str) {
    let digits = hex.bytes().all(|b| b.is_ascii_hexdigit());
    assert!(digits && hex.len() % 2 == 0, "{hex:?} is no hex");
}

fn hops(path_json: &str) {
    let hops: Vec<Value> = serde_json::from_str(path_json).expect("path_json is JSON");
    for hop in hops {
        let hop = hop.as_str().expect("a hop is a text").to_owned();
        assert!(!hop.is_empty() && hop == hop.to_uppercase());
        raw(&hop);
    }
}

fn node(key: &str, row: &NodeRow) {
    assert_hex(key, 32);
    assert_eq!(row.public_key, key);
    assert_ne!(row.name.as_deref(), Some(""));
    assert!(!row.role.is_empty());
    assert_eq!(row.lat.is_some(), row.lon.is_some());
    assert!(row.lat.is_none_or(|lat| (-90.0..=90.0).contains(&lat)), "{row:?}");
    assert!(row.lon.is_none_or(|lon| (-180.0..=180.0).contains(&lon)), "{row:?}");
    assert!(row.temperature_c.is_none_or(f64::is_finite), "{row:?}");
    assert_ne!(row.default_scope.as_deref(), Some(""));
}

fn dropped(row: &DroppedRow) {
    assert_hex(&row.hash, 8);
    raw(&row.raw_hex);
    assert!(!row.raw_hex.is_empty() && !row.reason.is_empty());
    assert_hex(row.node_pubkey.as_deref().unwrap_or_default(), 32);
    assert_ne!(row.node_name.as_deref(), Some(""));
}
