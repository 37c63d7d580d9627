//! What a status may look like: CoreScope's own cases, and where we do better.

use super::*;

#[track_caller]
fn status(payload: &Value) -> Status {
    match read_json("meshcore/SJC/KEY/status", payload) {
        Ok(Envelope::Status(status)) => status,
        other => panic!("{other:?}"),
    }
}

fn about(payload: &Value) -> About {
    status(payload).about
}

#[test]
fn an_empty_object_and_null_are_a_status_that_says_nothing() {
    for payload in [json!({}), json!(null)] {
        let status = status(&payload);
        assert!(status.about.is_empty());
        let expected = Observer { id: KEY.into(), name: None, iata: Some("SJC".into()) };
        assert_eq!(status.observer, expected);
    }
}

#[test]
fn a_status_without_a_key_is_refused_by_name() {
    for topic in ["meshcore/SJC//status", "meshcore/SJC/status"] {
        let read = read_json(topic, &json!({"origin": "empty id"}));
        assert_eq!(read, Err(Unread::StatusWithoutKey), "{topic}");
    }
    assert_eq!(read_text("meshcore/SJC/KEY/status", "[]"), Err(Unread::NotAnObject));
    assert_eq!(read_text("meshcore/SJC/KEY/status", "online"), Err(Unread::NotJson));
}

#[test]
fn offline_is_a_word() {
    for (word, offline) in [
        (json!("offline"), true),
        (json!(" Offline "), true),
        (json!("online"), false),
        (json!(""), false),
        (json!(false), false),
        (json!(null), false),
    ] {
        assert_eq!(status(&json!({"status": word})).offline, offline, "{word}");
    }
}

#[test]
fn the_later_spelling_of_a_text_wins_unless_it_is_empty() {
    let both = about(&json!({
        "firmware": "old", "firmware_version": "new", "client_version": "c1", "clientVersion": "c2",
    }));
    assert_eq!(both.firmware.as_deref(), Some("new"));
    assert_eq!(both.client_version.as_deref(), Some("c2"));
    let empty = about(&json!({
        "firmware": "fw-plain", "firmware_version": "", "client_version": "c1", "clientVersion": null,
        "model": "", "radio": 5,
    }));
    assert_eq!(empty.firmware.as_deref(), Some("fw-plain"));
    assert_eq!(empty.client_version.as_deref(), Some("c1"));
    assert_eq!((empty.model, empty.radio), (None, None));
}

#[test]
fn numbers_are_read_nested_or_flat_and_nested_ones_win() {
    let flat = json!({"battery_mv": 3500.7, "uptime_secs": "86400.5", "noise_floor": "-115.5 dBm"});
    let expected = About {
        battery_mv: Some(3501),
        uptime_secs: Some(86401),
        noise_floor_dbm: Some(-115.5),
        ..About::default()
    };
    assert_eq!(about(&flat), expected);
    assert_eq!(about(&json!({"stats": flat})), expected);
    let both = json!({"stats": {"battery_mv": 4000}, "battery_mv": 3500, "uptime_secs": 7});
    assert_eq!((about(&both).battery_mv, about(&both).uptime_secs), (Some(4000), Some(7)));
}

#[test]
fn what_is_null_or_no_number_under_stats_does_not_hide_the_value_beside_it() {
    // CoreScope lets a nested null hide it.
    for nested in [json!(null), json!("unknown"), json!([]), json!(true), json!("NaN")] {
        let payload = json!({"stats": {"battery_mv": nested}, "battery_mv": 3500});
        assert_eq!(about(&payload).battery_mv, Some(3500), "{nested}");
    }
}

#[test]
fn stats_that_are_no_object_are_nothing() {
    for stats in
        [json!(null), json!("text"), json!(7), json!(-7), json!(7.5), json!(true), json!([[1]])]
    {
        let payload = json!({"stats": stats, "battery_mv": 3500, "model": "m"});
        assert_eq!(about(&payload).battery_mv, Some(3500), "{stats}");
        assert_eq!(about(&payload).model.as_deref(), Some("m"));
    }
    assert!(about(&json!({"stats": {}})).is_empty());
}

#[test]
fn counts_of_packets_have_three_spellings() {
    for (stats, sent, recv) in [
        (json!({"packets_sent": 1, "packets_recv": 2}), Some(1), Some(2)),
        (json!({"packets_sent": 1, "packets_received": 2}), Some(1), Some(2)),
        (json!({"sent": 1, "recv": 2}), Some(1), Some(2)),
        (json!({"recv": 4, "packets_received": 3, "packets_recv": 2}), None, Some(2)),
    ] {
        for payload in [json!({"stats": stats}), stats] {
            let about = about(&payload);
            assert_eq!((about.packets_sent, about.packets_recv), (sent, recv), "{payload}");
        }
    }
}

#[test]
fn repeat_is_a_boolean_a_number_or_a_word() {
    for yes in
        [json!(true), json!(1), json!(-0.5), json!("on"), json!("TRUE"), json!(" yes "), json!("1")]
    {
        assert_eq!(about(&json!({"repeat": yes})).can_relay, Some(true), "{yes}");
    }
    for no in [json!(false), json!(0), json!("off"), json!("False"), json!("no"), json!("0")] {
        assert_eq!(about(&json!({"repeat": no})).can_relay, Some(false), "{no}");
    }
    for neither in [json!(null), json!("maybe"), json!(""), json!([]), json!({})] {
        assert_eq!(about(&json!({"repeat": neither})).can_relay, None, "{neither}");
    }
}

#[test]
fn numbers_beyond_reason_are_rounded_or_none() {
    let stats = json!({"battery_mv": 1e12, "uptime_secs": -1.5, "recv_errors": 1e300});
    let about = about(&json!({"stats": stats}));
    assert_eq!(about.battery_mv, Some(1_000_000_000_000));
    assert_eq!((about.uptime_secs, about.recv_errors), (Some(-2), None));
}
