//! What a record means for each table: one fact each.

use super::*;

#[test]
fn a_packet_becomes_a_transmission_and_an_observation_with_its_observer() {
    let mut bed = Bed::new();
    bed.store([with(packet(1, "OBS", 0), |r| {
        let row = row(r);
        (row.snr_db, row.rssi_dbm, row.score) = (Some(5.5), Some(-80.0), Some(666));
        row.path_json = "[\"6D\"]".into();
    })]);
    let all: String = bed.one(
        "SELECT json_array(t.id, hash, t.raw_hex, first_seen, t.last_seen, created_at, route_type,
           payload_type, payload_version, decoded_json, from_pubkey, channel_hash, scope_name)
         FROM transmissions t",
    );
    assert_eq!(
        all,
        r#"[1,"0000000000000001","110000000001","2026-11-23T04:24:21Z",1795407861,"2026-11-23 04:24:21",1,2,0,"{}",null,null,null]"#
    );
    let all: String = bed.one(
        "SELECT json_array(transmission_id, observer_idx, direction, snr, rssi, score, path_json,
           timestamp, resolved_path, raw_hex) FROM observations",
    );
    assert_eq!(all, r#"[1,1,"rx",5.5,-80.0,666,"[\"6D\"]",1795407861,null,null]"#);
    let all: String = bed.one(
        "SELECT json_array(rowid, id, name, first_seen, last_seen, last_packet_at, packet_count,
           inactive, can_relay, can_relay_seen) FROM observers",
    );
    assert_eq!(
        all,
        r#"[1,"OBS",null,"2026-11-23T04:24:21Z","2026-11-23T04:24:21Z","2026-11-23T04:24:21Z",1,0,1,0]"#
    );
}
