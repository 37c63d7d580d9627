//! Who comes in by which way, as tables.

use super::*;
use bytes::BytesMut;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{self, LastWill};
use rumqttc::v5::mqttbytes::v5;

fn read(bytes: &[u8]) -> Result<Option<Connect>, Refusal> {
    let mut frames = Frames::default();
    frames.push(bytes);
    read_connect(&mut frames)
}

fn code(refusal: &Refusal) -> Option<Answer> {
    refusal.code
}

fn named(client_id: &str, clean_session: bool) -> Connect {
    let mut connect = v4::Connect::new(client_id);
    connect.clean_session = clean_session;
    let mut bytes = BytesMut::new();
    connect.write(&mut bytes).unwrap();
    read(&bytes).unwrap().unwrap()
}

fn login(name: &str) -> Login {
    Login { name: name.into(), password: b"secret".to_vec() }
}

#[test]
fn every_cut_of_a_connect_waits_for_the_rest() {
    let mut connect = v4::Connect::new("gateway");
    connect.set_login("user", "x".repeat(2000));
    connect.last_will = Some(LastWill::new("t", "gone", QoS::AtLeastOnce, true));
    let mut bytes = BytesMut::new();
    connect.write(&mut bytes).unwrap();
    for len in 0..bytes.len() {
        assert_eq!(read(&bytes[..len]), Ok(None), "{len} bytes");
    }
    let read = read(&bytes).unwrap().unwrap();
    assert_eq!((read.client_id.as_str(), read.login.unwrap().password.len()), ("gateway", 2000));
}

#[test]
fn other_protocols_are_refused_with_code_1_or_in_silence() {
    let version = Some(Answer::RefusedProtocolVersion);
    // For which MQTT 3.1.1 has no code.
    let malformed = Some(Answer::Malformed);
    let cases: [(&[u8], _, &str); 13] = [
        (b"\x10\x0e\0\x06MQIsdp\x03\x02\0\x3c\0\0", version, "mqtt_3_1"),
        (b"\x10\x0d\0\x04MQTT\x06\x02\0\x3c\0\0\0", version, "mqtt_version_unknown"),
        (b"\x10\x0c\0\x04MQTT\x84\x02\0\x3c\0\0", version, "mqtt_version_unknown"),
        (b"\x10\x0c\0\x04MQTX\x04\x02\0\x3c\0\0", None, "not_mqtt"),
        (b"\x10\x20\xff\xff", None, "not_mqtt"),
        (b"\x10\x0c\0\x04MQTT\x04\x03\0\x3c\0\0", malformed, "malformed_connect"),
        (b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\x09", malformed, "malformed_connect"),
        (b"GET / HTTP/1.1\r\n", None, "http_without_websocket"),
        (b"\x10\xff\xff\xff\x7f", Some(Answer::TooLarge), "connect_too_large"),
        (b"\x16\x03\x01\x02\0\x01", None, "tls_on_plain_listener"),
        (b"PROXY TCP4 1.2.3.4", None, "proxy_header_not_expected"),
        (b"\r\n\r\n\0\r\nQUIT\n", None, "proxy_header_not_expected"),
        (b"\x50\x02\0\x01", None, "first_packet_is_no_connect"),
    ];
    for (bytes, code, reason) in cases {
        let refusal = read(bytes).unwrap_err();
        assert_eq!((refusal.code, refusal.reason), (code, reason), "{bytes:x?}");
    }
}

#[test]
fn client_ids_of_every_length_come_in_and_an_empty_one_needs_a_clean_session() {
    for len in [0, 1, 23, 24, 128, 1024] {
        assert_eq!(check(&named(&"x".repeat(len), true)), Ok(()), "{len}");
    }
    for (id, clean) in [("x".repeat(1025).as_str(), true), ("a\0", true), ("", false)] {
        let refusal = check(&named(id, clean)).unwrap_err();
        assert_eq!(code(&refusal), Some(Answer::BadClientId));
    }
}

#[test]
fn who_comes_in_how() {
    use Access::{Accounts, Anyone, Lan, Local};
    use Nearness::{Lan as Near, Loopback, Outside};
    let key = "AB".repeat(32);
    let token = format!("v1_{}", key.to_lowercase());
    // Policy, distance, credentials, whether there are accounts; the way or the refusal.
    let cases = [
        (Lan, Near, None, false, "anonymous"),
        (Lan, Near, None, true, "anonymous"),
        (Lan, Near, Some("roof"), false, "anonymous as roof"),
        (Lan, Near, Some("roof"), true, "password"),
        (Lan, Near, Some(token.as_str()), false, "token"),
        (Lan, Outside, None, true, "login_needed_from_outside"),
        (Lan, Outside, Some("roof"), false, "login_needed_from_outside"),
        (Lan, Outside, Some("roof"), true, "password"),
        (Lan, Outside, Some(token.as_str()), true, "token"),
        (Lan, Loopback, Some("v1_AB12"), false, "token_user_name_without_key"),
        (Anyone, Outside, None, true, "anonymous"),
        (Anyone, Outside, Some("roof"), true, "password"),
        (Local, Loopback, None, true, "anonymous"),
        (Local, Loopback, Some("roof"), true, "password"),
        (Local, Near, Some("roof"), true, "listener_is_local_only"),
        (Local, Near, Some(token.as_str()), true, "listener_is_local_only"),
        (Accounts, Loopback, None, true, "listener_wants_an_account"),
        (Accounts, Loopback, Some("roof"), false, "listener_wants_an_account"),
        (Accounts, Loopback, Some("roof"), true, "password"),
        (Accounts, Outside, Some(token.as_str()), false, "token"),
    ];
    for (policy, from, name, has_accounts, expected) in cases {
        let login = name.map(login);
        let got = match way(login.as_ref(), policy, from, has_accounts) {
            Ok(Way::Anonymous { unknown_name: None }) => "anonymous".to_owned(),
            Ok(Way::Anonymous { unknown_name: Some(name) }) => format!("anonymous as {name}"),
            Ok(Way::Password { password, .. }) => {
                assert_eq!(password, b"secret");
                "password".to_owned()
            }
            Ok(Way::Token { key, .. }) => {
                assert_eq!(key, [0xAB; 32]);
                "token".to_owned()
            }
            Err(refusal) => refusal.reason.to_owned(),
        };
        assert_eq!(got, expected, "{policy:?} {from:?} {name:?} {has_accounts}");
    }
}

#[test]
fn what_a_stranger_calls_itself_does_not_fill_the_memory() {
    let login = login(&"ü".repeat(10_000));
    let way = way(Some(&login), Access::Lan, Nearness::Lan, false).unwrap();
    let Way::Anonymous { unknown_name: Some(name) } = way else { panic!("{way:?}") };
    assert_eq!(name.chars().count(), 100);
    assert!(name.capacity() < 1_000);
}

#[test]
fn a_client_of_another_version_is_answered_in_the_one_that_it_understands() {
    let cases: [(u8, &[u8]); 6] = [
        (3, &[0x20, 2, 0, 1]),
        (0x83, &[0x20, 2, 0, 1]),
        (0x84, &[0x20, 2, 0, 1]),
        (0, &[0x20, 2, 0, 1]),
        (6, &[0x20, 3, 0, 0x84, 0]),
        (0x85, &[0x20, 3, 0, 0x84, 0]),
    ];
    for (level, answer) in cases {
        let mut frames = Frames::default();
        frames.push(b"\x10\x0d\0\x04MQTT");
        frames.push(&[level, 2, 0, 60, 0, 0, 0]);
        let refusal = read_connect(&mut frames).unwrap_err();
        let mut out = BytesMut::new();
        let writer = Writer::new(frames.version(), Limits::default());
        assert!(writer.turn_away(&mut out, refusal.code.unwrap(), ""));
        assert_eq!(out, answer, "{level}");
    }
}

fn v5_connect(id: &str, properties: Option<v5::ConnectProperties>) -> BytesMut {
    let (client_id, clean_start) = (id.to_owned(), true);
    let connect = v5::Connect { keep_alive: 60, client_id, clean_start, properties };
    let mut out = BytesMut::new();
    connect.write(&None, &None, &mut out).unwrap();
    out
}

#[test]
fn a_version_5_client_may_leave_its_name_to_us_and_say_what_it_takes() {
    let mut asked = v5::ConnectProperties::new();
    asked.session_expiry_interval = Some(300);
    asked.receive_maximum = Some(9);
    asked.max_packet_size = Some(1_000);
    asked.request_problem_info = Some(0);
    let connect = read(&v5_connect("", Some(asked))).unwrap().unwrap();
    assert_eq!(check(&connect), Ok(()));
    let who = Who::anonymous("10.0.0.9".parse().unwrap(), Nearness::Lan);
    let admitted = Admitted::new(connect, who, None);
    assert_eq!(admitted.version, Version::V5);
    assert_eq!(admitted.session, SessionWish { clean_start: true, expiry_s: 300 });
    let limits = Limits { receive_maximum: 9, packet: 1_000, problem_info: false };
    assert_eq!(admitted.limits, limits);
}

#[test]
fn a_client_that_could_not_even_read_its_welcome_is_turned_away() {
    let mut asked = v5::ConnectProperties::new();
    asked.max_packet_size = Some(63);
    let connect = read(&v5_connect("x", Some(asked))).unwrap().unwrap();
    let refusal = check(&connect).unwrap_err();
    assert_eq!(refusal.code, Some(Answer::TooLarge));
}

#[test]
fn every_cut_of_a_version_5_connect_waits_for_the_rest() {
    let bytes = v5_connect("gateway", Some(v5::ConnectProperties::new()));
    for len in 0..bytes.len() {
        assert_eq!(read(&bytes[..len]), Ok(None), "{len} bytes");
    }
    assert!(read(&bytes).unwrap().is_some());
}

/// The answer to every refusal of a login: the code of MQTT 3.1.1, that of MQTT 5.
#[test]
fn row_3_every_refusal_of_a_login_has_its_code() {
    use token::Error;
    let account = {
        let hash = crate::config::password::PasswordHash::make(b"x", b"0123456789abcdef").unwrap();
        let text = format!(
            "[accounts.a]\nrole='reader'\nmaxConnections=2\npassword='{}'\n",
            hash.as_str()
        );
        let file = std::path::Path::new("accounts.toml");
        crate::config::Accounts::parse(file, &text).unwrap().find("a").unwrap().clone()
    };
    let of_connect = |name: &'static str| with(reason::of_connect(name), name);
    let uninvited = |name| refusals::uninvited(with(Answer::NotAuthorized, name), true);
    let other = Error::OtherKey { found: [1; 32], expected: [2; 32] };
    let audience = Error::Audience { received: vec!["x".into()], expected: vec!["y".into()] };
    let cases = [
        (refusals::unknown_account(), "account_unknown", Some(4), 0x86),
        (refusals::wrong_password(), "password_wrong", Some(4), 0x86),
        (refusals::no_key_in_name(), "token_user_name_without_key", Some(4), 0x86),
        (refusals::token(&Error::Parts { found: 1 }), "token_malformed", Some(4), 0x86),
        (refusals::token(&Error::Signature), "token_signature_wrong", Some(4), 0x86),
        (refusals::token(&other), "token_of_another_key", Some(4), 0x86),
        (refusals::token(&audience), "token_audience_wrong", Some(5), 0x87),
        (refusals::token(&Error::Expired { ago_s: 9 }), "token_expired", Some(5), 0x87),
        (
            refusals::token(&Error::NotYetValid { ahead_s: 9 }),
            "token_from_the_future",
            Some(5),
            0x87,
        ),
        (uninvited("login_needed_from_outside"), "login_needed_from_outside", Some(5), 0x87),
        (uninvited("listener_wants_an_account"), "listener_wants_an_account", Some(5), 0x87),
        (refusals::busy(), "login_queue_full", Some(3), 0x88),
        (refusals::no_seat(&account), "account_connections_used_up", Some(3), 0x88),
        (refusals::account_changed(), "account_changed", Some(3), 0x88),
        (refusals::throttled(std::time::Duration::ZERO), "login_throttled", Some(3), 0x9F),
        (check(&named("a\0", true)).unwrap_err(), "client_id_with_nul", Some(2), 0x85),
        (of_connect("auth_method_unknown"), "auth_method_unknown", None, 0x8C),
        (of_connect("malformed_connect"), "malformed_connect", None, 0x81),
        (of_connect("second_connect"), "second_connect", None, 0x82),
        (of_connect("connect_too_large"), "connect_too_large", None, 0x95),
    ];
    for (refusal, reason, v3, v5) in &cases {
        let code = refusal.code.unwrap();
        assert_eq!((refusal.reason, code.v3(), code.v5().code()), (*reason, *v3, *v5));
    }
    // None that the source has is missing here.
    let source = include_str!("refusals.rs");
    let named = source.split("with(Answer::").skip(1).filter_map(|text| text.split('"').nth(1));
    let all: Vec<_> = named.collect();
    assert!(all.len() >= 7, "{all:?}");
    for name in all {
        assert!(cases.iter().any(|(_, reason, ..)| *reason == name), "{name} has no case");
    }
}
