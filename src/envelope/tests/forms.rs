//! The twenty forms that deployed publishers send, field by field.

use super::*;

const PACKETS: &str = "meshcore/SEA/KEY/packets";

fn stamp(at_ms: i64, zoned: bool) -> Option<Stamp> {
    Some(Stamp { at_ms, zoned })
}

#[test]
fn form_01_meshcoretomqtt_received_packet() {
    let heard = packet(
        PACKETS,
        r#"{"origin":"SEA Cap Hill","origin_id":"KEY","timestamp":"2026-10-14T18:03:11.482190+00:00","type":"PACKET","direction":"rx","time":"18:03:10","date":"14/10/2026","len":"124","packet_type":"4","route":"F","payload_len":"120","raw":"1102AB17","SNR":"12","RSSI":"-65","score":"1000","duration":"312","hash":"A1B2C3D4E5F67890"}"#,
    );
    let expected = Heard {
        observer: observer("SEA Cap Hill", "SEA"),
        raw: "1102AB17".into(),
        snr_db: Some(12.0),
        rssi_dbm: Some(-65.0),
        score: Some(1000),
        direction: Some("rx".into()),
        stamp: stamp(1_792_000_991_482, true),
        origin_id_differs: false,
    };
    assert_eq!(heard, expected);
}

#[test]
fn form_02_meshcoretomqtt_direct_packet_and_repeater_log_with_nulls() {
    let heard = packet(
        PACKETS,
        r#"{"origin":"SEA Cap Hill","origin_id":"KEY","timestamp":"2026-10-14T18:03:11+00:00","direction":"rx","route":"D","raw":"0A00D6","SNR":"12","RSSI":"-65","score":null,"duration":null,"hash":null,"path":"1A -> 2B"}"#,
    );
    assert_eq!((heard.raw.as_str(), heard.score), ("0A00D6", None));
    assert_eq!(heard.stamp, stamp(1_792_000_991_000, true));
}

#[test]
fn form_03_meshcoretomqtt_sent_packet_has_no_reception() {
    let heard = packet(
        PACKETS,
        r#"{"origin":"SEA Cap Hill","origin_id":"KEY","timestamp":"2026-10-14T18:03:11+00:00","type":"PACKET","direction":"tx","len":"24","packet_type":"2","route":"D","payload_len":"20","raw":"0A00D6"}"#,
    );
    assert_eq!(heard.direction.as_deref(), Some("tx"));
    assert_eq!((heard.snr_db, heard.rssi_dbm, heard.score), (None, None, None));
}

#[test]
fn form_04_meshcoretomqtt_status() {
    let read = read_text(
        "meshcore/SEA/KEY/status",
        r#"{"status":"online","timestamp":"2026-10-14T18:00:00.000123+00:00","origin":"SEA Cap Hill","origin_id":"KEY","radio":"910.525,62.5,7,5","model":"Heltec V4 OLED","firmware_version":"1.13.0-letsmesh.net-dev-2026-02-17-2005977 (Build: 17-Feb-2026)","client_version":"meshcoretomqtt/1.1.0-abc1234","stats":{"battery_mv":4261,"uptime_secs":75400,"debug_flags":0,"queue_len":0,"noise_floor":-99,"tx_air_secs":474,"rx_air_secs":9949,"recv_errors":2331}}"#,
    );
    let about = About {
        model: Some("Heltec V4 OLED".into()),
        firmware: Some("1.13.0-letsmesh.net-dev-2026-02-17-2005977 (Build: 17-Feb-2026)".into()),
        client_version: Some("meshcoretomqtt/1.1.0-abc1234".into()),
        radio: Some("910.525,62.5,7,5".into()),
        can_relay: None,
        battery_mv: Some(4261),
        uptime_secs: Some(75400),
        noise_floor_dbm: Some(-99.0),
        tx_air_secs: Some(474),
        rx_air_secs: Some(9949),
        recv_errors: Some(2331),
        packets_sent: None,
        packets_recv: None,
    };
    let expected = Status {
        observer: observer("SEA Cap Hill", "SEA").unwrap(),
        offline: false,
        retained: false,
        about,
        stamp: stamp(1_792_000_800_000, true),
        origin_id_differs: false,
    };
    assert_eq!(read, Ok(Envelope::Status(expected)));
}

#[test]
fn form_05_a_will_says_offline() {
    let will = r#"{"status":"offline","timestamp":"2026-10-14T17:55:02.101+00:00","origin":"SEA Cap Hill","origin_id":"KEY"}"#;
    let Ok(Envelope::Status(status)) = read_text("meshcore/SEA/KEY/status", will) else {
        panic!("a will is a status")
    };
    assert!(status.offline && !status.retained && status.about.is_empty());
    let mut message = message("meshcore/SEA/KEY/status", r#"{"status":"online"}"#);
    message.retained = true;
    let Ok(Envelope::Status(status)) = read(&message, None) else {
        panic!("a retained status is a status")
    };
    assert!(status.retained && !status.offline);
}

#[test]
fn form_06_packet_capture_with_its_own_decode() {
    let heard = packet(
        PACKETS,
        r#"{"origin":"Obs 3","origin_id":"KEY","timestamp":"2026-10-14T18:03:11.482190+00:00","type":"PACKET","direction":"rx","time":"18:03:11","date":"14/10/2026","len":"48","packet_type":"5","route":"F","payload_len":"40","raw":"1500AA","SNR":"-3.25","RSSI":"-108","hash":"00D1","decoded":{"raw":"not this one","path":["ab","cd"]}}"#,
    );
    assert_eq!((heard.raw.as_str(), heard.snr_db), ("1500AA", Some(-3.25)));
    assert_eq!(heard.rssi_dbm, Some(-108.0));
}

#[test]
fn form_07_observer_firmware_with_a_naive_clock_and_the_old_path() {
    let heard = packet(
        PACKETS,
        r#"{"timestamp":"2026-10-14T11:03:11.000000","hash":"A1B2C3D4E5F67890","origin":"MeshCore-HOWL","type":"PACKET","direction":"rx","time":"18:03:11","date":"14/10/2026","len":"45","packet_type":"2","route":"D","payload_len":"32","raw":"0A03AA","origin_id":"KEY","SNR":"12.5","RSSI":"-65","path":"path_3x1_3b"}"#,
    );
    assert_eq!(heard.observer, observer("MeshCore-HOWL", "SEA"));
    assert_eq!(heard.stamp, stamp(1_791_975_791_000, false));
}

#[test]
fn form_08_observer_firmware_with_score_and_a_path_array() {
    let heard = packet(
        PACKETS,
        r#"{"timestamp":"2026-10-14T11:03:11.000000","origin":"MeshCore-HOWL","direction":"rx","raw":"0A03AA","origin_id":"KEY","SNR":"12.5","RSSI":"-65","score":"873","path":["5f","1a","c0"]}"#,
    );
    assert_eq!((heard.score, heard.snr_db), (Some(873), Some(12.5)));
}

#[test]
fn form_09_observer_firmware_status_with_packets_received_and_repeat() {
    let read = read_text(
        "meshcore/SEA/KEY/status",
        r#"{"status":"online","timestamp":"2026-10-14T11:00:00.000000","origin":"MeshCore-HOWL","origin_id":"KEY","model":"Heltec V4","firmware_version":"v1.16.0","radio":"910.525024,62.5,7,5","client_version":"meshcore/v1.16.0","repeat":"off","stats":{"battery_mv":4112,"uptime_secs":86400,"packets_sent":120,"packets_received":15480,"errors":0,"queue_len":0,"noise_floor":-112,"tx_air_secs":30,"rx_air_secs":2210,"recv_errors":14,"internal_heap":61234}}"#,
    );
    let Ok(Envelope::Status(status)) = read else { panic!("{read:?}") };
    assert_eq!(status.about.can_relay, Some(false));
    assert_eq!((status.about.packets_sent, status.about.packets_recv), (Some(120), Some(15480)));
    assert_eq!((status.about.recv_errors, status.about.rx_air_secs), (Some(14), Some(2210)));
}

#[test]
fn form_10_slim_packet_without_origin_id() {
    let heard = packet(
        PACKETS,
        r#"{"origin":"sprocket","timestamp":"2026-10-14T14:03:11.000000","type":"PACKET","direction":"rx","raw":"1102AB","SNR":"9.5","RSSI":"-88","score":"873"}"#,
    );
    assert_eq!(heard.observer, observer("sprocket", "SEA"));
    assert!(!heard.origin_id_differs);
}

#[test]
fn form_11_openhop_packet_sent() {
    let heard = packet(
        PACKETS,
        r#"{"origin":"hop","origin_id":"KEY","timestamp":"2026-09-04T18:03:11+00:00","type":"PACKET","direction":"tx","time":"18:3:11","date":"4/9/2026","len":"124","packet_type":"4","route":"3","payload_len":"120","raw":"13000000001102AB","SNR":"0","RSSI":"0","score":"0","duration":"312","hash":"A1B2C3D4E5F67890"}"#,
    );
    assert_eq!((heard.snr_db, heard.rssi_dbm, heard.score), (Some(0.0), Some(0.0), Some(0)));
}

#[test]
fn form_12_remote_terminal_with_numbers_or_unknown() {
    let numbers = r#"{"origin":"rt","origin_id":"KEY","timestamp":"2026-10-14T18:03:11.482190Z","direction":"rx","raw":"1102AB","SNR":-3.25,"RSSI":-108}"#;
    let heard = packet(PACKETS, numbers);
    assert_eq!((heard.snr_db, heard.rssi_dbm), (Some(-3.25), Some(-108.0)));
    assert_eq!(heard.stamp, stamp(1_792_000_991_482, true));
    let heard = packet(PACKETS, &numbers.replace("-3.25", r#""Unknown""#));
    assert_eq!((heard.snr_db, heard.rssi_dbm), (None, Some(-108.0)));
}

#[test]
fn form_13_raw_topics_with_data_are_left_alone() {
    for payload in [
        r#"{"origin":"a","origin_id":"KEY","timestamp":"2026-10-14T18:03:11","type":"RAW","data":"F593AB"}"#,
        r#"{"timestamp":"2026-10-14T18:03:11","origin_id":"KEY","type":"raw","data":"F593AB","bytes":45}"#,
    ] {
        assert_eq!(read_text("meshcore/SEA/KEY/raw", payload), Err(Unread::RawTopic));
    }
}

#[test]
fn form_14_debug_lines_are_left_alone() {
    let payload =
        r#"{"origin":"a","origin_id":"KEY","timestamp":"…","type":"DEBUG","message":"DEBUG: x"}"#;
    assert_eq!(read_text("meshcore/SEA/KEY/debug", payload), Err(Unread::DebugTopic));
}

#[test]
fn form_15_neighbor_reports_are_left_alone() {
    let payload = r#"{"timestamp":"…","origin":"a","origin_id":"KEY","total_neighbors":2,"queried_neighbors":2,"truncated":false,"self":{"scopes":"*,be","default_scope":"be"},"neighbors":[{"pubkey":"AB","snr":7.5,"rssi":-97,"heard_secs_ago":120,"scopes":"*","status":"responded"},{"pubkey":"CD","snr":-2.0,"rssi":-110,"heard_secs_ago":null,"scopes":"","status":"timeout"}]}"#;
    assert_eq!(read_text("meshcore/SEA/KEY/neighbors", payload), Err(Unread::NeighborsTopic));
}

#[test]
fn form_16_home_assistants_raw_mode_is_ignored_quietly() {
    let payload = r#"{"timestamp":"…","origin":"a","origin_id":"KEY","source":"meshcore-ha","event_type":"RX_LOG_DATA","payload":{"raw":"1102AB"}}"#;
    assert_eq!(read_text(PACKETS, payload), Err(Unread::NoRaw));
    assert!(Unread::NoRaw.is_noise());
}

#[test]
fn form_17_forwarded_remote_data_is_ignored_quietly() {
    for kind in ["TELEMETRY", "NEIGHBORS", "REGIONS"] {
        let payload = format!(r#"{{"type":"{kind}","origin_id":"KEY","subject_id":"{OTHER}"}}"#);
        assert_eq!(read_text(PACKETS, &payload), Err(Unread::NoRaw));
    }
}

#[test]
fn form_18_a_client_on_the_move_has_a_key_and_no_region() {
    let heard = packet(
        "meshcore/client/KEY/packets",
        r#"{"origin":"phone","raw":"1102AB","SNR":-3.25,"RSSI":-108,"direction":"rx","gps":{"lat":51.05,"lon":3.72,"acc_m":8},"timestamp":"2026-06-09T12:00:00Z"}"#,
    );
    let observer = heard.observer.unwrap();
    assert_eq!((observer.id.as_str(), observer.iata), (KEY, None));
}

#[test]
fn form_19_a_brokers_internal_notes_are_left_alone() {
    let payload = r#"{"origin_id":"KEY","timestamp":1760465000000,"jwt_payload":{"email":"a@b"},"trust_state":{}}"#;
    assert_eq!(read_text("meshcore/SEA/KEY/internal", payload), Err(Unread::InternalTopic));
}

#[test]
fn form_20_channel_bridge_message() {
    let payload = json!({"text": "Bob: hi", "channel_idx": 0, "sender_timestamp": 1_760_465_000, "SNR": 5.5, "RSSI": -80});
    let expected = Companion {
        to: CompanionTo::Channel("0".into()),
        sender: "Bob".into(),
        text: "Bob: hi".into(),
        sender_timestamp: Some(json!(1_760_465_000)),
        snr_db: Some(5.5),
        rssi_dbm: Some(-80.0),
        score: None,
        direction: None,
    };
    assert_eq!(companion("meshcore/message/channel/0", &payload), expected);
}
