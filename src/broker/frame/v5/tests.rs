//! Every packet of a client as bytes: `rumqttc`'s own codec writes the good ones, tables the bad.

use std::sync::Arc;

use bytes::BytesMut;
use rumqttc::v5::mqttbytes as codec;
use rumqttc::v5::mqttbytes::v5 as sent;

use super::super::packet::{Connect, Login, SessionWish, Version, Will};
use super::super::properties::Properties;
use super::super::{Frame, Frames, Oversized};
use super::*;
use crate::message::MAX_PAYLOAD;

fn frames(bytes: &[u8]) -> Frames {
    let mut frames = Frames::default();
    frames.speak(Version::V5);
    frames.push(bytes);
    frames
}

fn read(bytes: &[u8]) -> Result<Packet, &'static str> {
    match frames(bytes).next()?.expect("a whole packet") {
        Frame::Packet(packet) => Ok(packet),
        Frame::Oversized(what) => panic!("{what:?}"),
    }
}

fn bytes_of(packet: &sent::Packet) -> BytesMut {
    let mut out = BytesMut::new();
    packet.write(&mut out, None).unwrap();
    out
}

fn connect(bytes: &[u8]) -> Result<Connect, &'static str> {
    let mut frames = frames(bytes);
    let head = frames.head().unwrap().unwrap();
    frames.take_connect(head)
}

/// A CONNECT with these flags, these properties, and this after them.
fn with(flags: u8, properties: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut body = b"\0\x04MQTT\x05".to_vec();
    body.extend([flags, 0, 60, u8::try_from(properties.len()).unwrap()]);
    body.extend_from_slice(properties);
    body.extend_from_slice(rest);
    framed(0x10, &body)
}

fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128);
    let mut out = vec![first, u8::try_from(body.len()).unwrap()];
    out.extend_from_slice(body);
    out
}

#[test]
fn a_publish_with_every_property_is_read() {
    let properties = sent::PublishProperties {
        payload_format_indicator: Some(1),
        message_expiry_interval: Some(60),
        topic_alias: None,
        response_topic: Some("answer/here".to_owned()),
        correlation_data: Some(Bytes::from_static(b"\0\x01")),
        user_properties: vec![("a".into(), "b".into()), ("a".into(), "c".into())],
        subscription_identifiers: Vec::new(),
        content_type: Some("text".to_owned()),
    };
    let mut publish = sent::Publish::new("a/b", codec::QoS::AtLeastOnce, "x", Some(properties));
    (publish.pkid, publish.retain, publish.dup) = (7, true, true);
    let bytes = bytes_of(&sent::Packet::Publish(publish));
    // All but the expiry, in the order in which they came.
    let passed_on = b"\x01\x01\x08\0\x0banswer/here\x09\0\x02\0\x01\x26\0\x01a\0\x01b\x26\0\x01a\0\x01c\x03\0\x04text";
    let said = Properties { passed_on: Box::from(&passed_on[..]), expiry_s: Some(60) };
    let expected = Publish {
        topic: "a/b".to_owned(),
        payload: Bytes::from_static(b"x"),
        qos: QoS::AtLeastOnce,
        pkid: 7,
        retain: true,
        said: Some(Arc::new(said)),
    };
    assert_eq!(read(&bytes), Ok(Packet::Publish(expected)));
    for len in 0..bytes.len() {
        assert_eq!(frames(&bytes[..len]).next(), Ok(None), "{len} bytes");
    }
}

#[test]
fn a_connect_with_everything_is_read() {
    let asked = sent::ConnectProperties {
        session_expiry_interval: Some(600),
        receive_maximum: Some(20),
        max_packet_size: Some(4_096),
        topic_alias_max: Some(10),
        request_response_info: Some(1),
        request_problem_info: Some(0),
        user_properties: vec![("a".into(), "b".into())],
        authentication_method: None,
        authentication_data: None,
    };
    let will = sent::LastWill {
        topic: Bytes::from_static(b"a/will"),
        message: Bytes::from_static(b"gone"),
        qos: codec::QoS::ExactlyOnce,
        retain: true,
        properties: Some(sent::LastWillProperties {
            delay_interval: Some(5),
            payload_format_indicator: Some(1),
            message_expiry_interval: Some(9),
            content_type: Some("text".to_owned()),
            response_topic: Some("r".to_owned()),
            correlation_data: Some(Bytes::from_static(b"c")),
            user_properties: vec![("a".into(), "b".into())],
        }),
    };
    let login = sent::Login { username: "me".to_owned(), password: "secret".to_owned() };
    let wanted = sent::Connect {
        keep_alive: 90,
        client_id: "gateway".to_owned(),
        clean_start: true,
        properties: Some(asked),
    };
    let bytes = bytes_of(&sent::Packet::Connect(wanted, Some(will), Some(login)));
    let read = connect(&bytes).unwrap();
    assert_eq!((read.version, read.client_id.as_str()), (Version::V5, "gateway"));
    assert_eq!(read.session, SessionWish { clean_start: true, expiry_s: 600 });
    assert_eq!(read.keep_alive, 90);
    let login = Login { name: "me".to_owned(), password: b"secret".to_vec() };
    assert_eq!(read.login, Some(login));
    let (topic, payload) = ("a/will".to_owned(), Bytes::from_static(b"gone"));
    let qos = QoS::ExactlyOnce;
    let will = read.will.unwrap();
    let said = will.said.clone().unwrap();
    assert_eq!((said.expiry_s, said.passed_on.len()), (Some(9), 2 + 7 + 4 + 4 + 7));
    let expected = Will { topic, payload, retain: true, qos, delay_s: 5, said: Some(said) };
    assert_eq!(will, expected);
    assert_eq!(
        (read.limits.receive_maximum, read.limits.packet, read.limits.problem_info),
        (20, 4_096, false)
    );
}

#[test]
fn a_password_is_never_shown() {
    let login = Login { name: "me".to_owned(), password: b"secret".to_vec() };
    assert!(!format!("{login:?}").contains("secret"));
}

#[test]
fn a_password_may_stand_alone() {
    let read = connect(&with(0x42, &[], b"\0\x01x\0\x02pw")).unwrap();
    let login = Login { name: String::new(), password: b"pw".to_vec() };
    assert_eq!(read.login, Some(login));
}

#[test]
fn a_subscribe_is_read_with_its_options() {
    let mut filter = sent::Filter::new("a/#", codec::QoS::ExactlyOnce);
    filter.nolocal = true;
    filter.preserve_retain = true;
    filter.retain_forward_rule = sent::RetainForwardRule::Never;
    let filters = [filter, sent::Filter::new("b", codec::QoS::AtMostOnce)];
    let mut subscribe = sent::Subscribe::new_many(filters, None);
    subscribe.pkid = 9;
    let read = read(&bytes_of(&sent::Packet::Subscribe(subscribe)));
    let filter = |path: &str, qos, options, retained| Filter {
        path: path.to_owned(),
        qos,
        no_local: options,
        retain_as_published: options,
        retained,
    };
    let filters = vec![
        filter("a/#", QoS::ExactlyOnce, true, RetainHandling::Never),
        filter("b", QoS::AtMostOnce, false, RetainHandling::Always),
    ];
    assert_eq!(read, Ok(Packet::Subscribe(Subscribe { pkid: 9, filters, id: None })));
}

#[test]
fn the_small_packets_are_read_in_all_their_lengths() {
    let ok = |pkid| Reply { pkid, failed: false };
    let failed = |pkid| Reply { pkid, failed: true };
    let goodbye = |with_will, expiry_s| Packet::Disconnect(Disconnect { with_will, expiry_s });
    let cases: [(&[u8], Packet); 17] = [
        (&[0x40, 2, 0, 1], Packet::PubAck(ok(1))),
        (&[0x40, 3, 0, 1, 0x10], Packet::PubAck(ok(1))),
        (&[0x40, 4, 0, 1, 0x97, 0], Packet::PubAck(failed(1))),
        (&[0x40, 8, 0, 1, 0x87, 4, 0x1F, 0, 1, b'x'], Packet::PubAck(failed(1))),
        (&[0x50, 2, 1, 0], Packet::PubRec(ok(256))),
        (&[0x50, 3, 0, 1, 0x80], Packet::PubRec(failed(1))),
        (&[0x62, 2, 0, 1], Packet::PubRel(ok(1))),
        (&[0x62, 3, 0, 1, 0x92], Packet::PubRel(failed(1))),
        (&[0x70, 2, 0, 1], Packet::PubComp(ok(1))),
        (&[0xC0, 0], Packet::PingReq),
        (&[0xE0, 0], goodbye(false, None)),
        (&[0xE0, 1, 4], goodbye(true, None)),
        (&[0xE0, 2, 0x81, 0], goodbye(true, None)),
        (&[0xE0, 7, 0, 5, 0x11, 0, 0, 1, 0], goodbye(false, Some(256))),
        (&[0xF0, 0], Packet::Auth),
        (&[0x20, 3, 0, 0, 0], Packet::OfServer),
        (&[0x10, 1, 0], Packet::Connect),
    ];
    for (bytes, expected) in cases {
        assert_eq!(read(bytes).as_ref(), Ok(&expected), "{bytes:x?}");
    }
}

#[test]
fn what_version_5_forbids_is_named() {
    let cases: [(&[u8], &str); 41] = [
        // Fixed headers.
        (&[0x00, 0], "malformed_packet"),
        (&[0xC1, 0], "malformed_flags"),
        (&[0xF1, 0], "malformed_flags"),
        (&[0x60, 2, 0, 1], "malformed_flags"),
        (&[0xC0, 1, 0], "malformed_packet"),
        // PUBLISH.
        (&[0x36, 6, 0, 1, b'a', 0, 1, 0], "publish_with_qos_3"),
        (&[0x38, 4, 0, 1, b'a', 0], "malformed_flags"),
        (&[0x32, 6, 0, 1, b'a', 0, 0, 0], "packet_id_0"),
        (&[0x30, 3, 0, 0, 0], "publish_without_topic"),
        (&[0x30, 4, 0, 1, 0, 0], "malformed_text"),
        (&[0x30, 4, 0, 1, 0xFF, 0], "malformed_text"),
        (&[0x30, 6, 0, 3, 0xED, 0xA0, 0x80, 0], "malformed_text"),
        (&[0x30, 3, 0, 9, b'a'], "malformed_packet"),
        (&[0x30, 3, 0, 1, b'a'], "malformed_packet"),
        (&[0x30, 5, 0, 1, b'a', 9, 1], "malformed_packet"),
        (&[0x30, 5, 0, 1, b'a', 0x80, 0], "malformed_length"),
        (&[0x30, 8, 0, 1, b'a', 0xFF, 0xFF, 0xFF, 0xFF, 1], "malformed_length"),
        (&[0x30, 7, 0, 1, b'a', 3, 0x23, 0, 1], "topic_alias_not_granted"),
        (&[0x30, 6, 0, 0, 3, 0x23, 0, 1], "topic_alias_not_granted"),
        (&[0x30, 6, 0, 1, b'a', 2, 0x0B, 1], "property_not_allowed"),
        (&[0x30, 6, 0, 1, b'a', 2, 0x11, 1], "property_not_allowed"),
        (&[0x30, 6, 0, 1, b'a', 2, 0x12, 1], "property_not_allowed"),
        (&[0x30, 6, 0, 1, b'a', 2, 0x7F, 1], "unknown_property"),
        (&[0x30, 6, 0, 1, b'a', 2, 0x01, 2], "property_value_not_allowed"),
        (&[0x30, 8, 0, 1, b'a', 4, 0x01, 0, 0x01, 0], "property_twice"),
        (&[0x30, 8, 0, 1, b'a', 4, 0x08, 0, 1, b'#'], "property_value_not_allowed"),
        (&[0x30, 7, 0, 1, b'a', 3, 0x02, 0, 0], "malformed_packet"),
        (&[0x30, 10, 0, 1, b'a', 6, 0x26, 0, 1, b'k', 0, 9], "malformed_packet"),
        // Acknowledgements.
        (&[0x40, 1, 0], "malformed_packet"),
        (&[0x40, 2, 0, 0], "packet_id_0"),
        (&[0x40, 3, 0, 1, 0x01], "unknown_reason_code"),
        (&[0x62, 3, 0, 1, 0x97], "unknown_reason_code"),
        (&[0x40, 5, 0, 1, 0, 0, 7], "malformed_packet"),
        // SUBSCRIBE and UNSUBSCRIBE.
        (&[0x82, 3, 0, 1, 0], "subscribe_to_nothing"),
        (&[0x82, 7, 0, 1, 0, 0, 1, b'a', 3], "reserved_bits_set"),
        (&[0x82, 7, 0, 1, 0, 0, 1, b'a', 0x30], "reserved_bits_set"),
        (&[0x82, 7, 0, 1, 0, 0, 1, b'a', 0x40], "reserved_bits_set"),
        (&[0x82, 11, 0, 1, 4, 0x0B, 5, 0x0B, 5, 0, 1, b'a', 0], "property_twice"),
        (&[0x82, 9, 0, 1, 2, 0x0B, 0, 0, 1, b'a', 0], "property_value_not_allowed"),
        (&[0xA2, 5, 0, 1, 0, 0, 9], "malformed_packet"),
        // DISCONNECT.
        (&[0xE0, 1, 0x8B], "unknown_reason_code"),
    ];
    for (bytes, expected) in cases {
        assert_eq!(read(bytes), Err(expected), "{bytes:x?}");
    }
}

#[test]
fn what_version_5_forbids_in_a_connect_is_named() {
    let cases = [
        (with(0x03, &[], b"\0\x01x"), "reserved_bits_set"),
        (with(0x0A, &[], b"\0\x01x"), "malformed_connect"),
        (with(0x22, &[], b"\0\x01x"), "malformed_connect"),
        (with(0x1E, &[], b"\0\x01x\0\0\x01t\0\0"), "publish_with_qos_3"),
        (with(0x02, &[], b"\0\x01x!"), "malformed_connect"),
        (with(0x02, &[], b"\0\x02x"), "malformed_packet"),
        (with(0x02, &[], b"\0\x01\0"), "malformed_text"),
        (with(0x82, &[], b"\0\x01x"), "malformed_packet"),
        (with(0x06, &[], b"\0\x01x\x03\x23\0\x01\0\x01t\0\0"), "property_not_allowed"),
        (with(0x02, &[0x21, 0, 0], b"\0\x01x"), "property_value_not_allowed"),
        (with(0x02, &[0x27, 0, 0, 0, 0], b"\0\x01x"), "property_value_not_allowed"),
        (with(0x02, &[0x17, 2], b"\0\x01x"), "property_value_not_allowed"),
        (with(0x02, &[0x17, 1, 0x17, 1], b"\0\x01x"), "property_twice"),
        (with(0x02, &[0x16, 0, 0], b"\0\x01x"), "auth_data_without_method"),
        (with(0x02, &[0x15, 0, 1, b'm'], b"\0\x01x"), "auth_method_unknown"),
        (with(0x02, &[0x24, 1], b"\0\x01x"), "property_not_allowed"),
    ];
    for (bytes, expected) in cases {
        assert_eq!(connect(&bytes).unwrap_err(), expected, "{bytes:x?}");
        for len in 2..bytes.len() {
            let _ = connect(&bytes[..len]);
        }
    }
}

#[test]
fn an_oversized_publish_is_skipped_whatever_its_properties() {
    for (qos, pkid) in [(codec::QoS::AtLeastOnce, 9), (codec::QoS::AtMostOnce, 0)] {
        let properties = sent::PublishProperties {
            user_properties: vec![("k".repeat(300), "v".repeat(60_000))],
            ..sent::PublishProperties::default()
        };
        let payload = vec![7; MAX_PAYLOAD + 1];
        let mut publish = sent::Publish::new("a/b", qos, payload, Some(properties));
        publish.pkid = pkid;
        let mut bytes = bytes_of(&sent::Packet::Publish(publish));
        bytes.extend_from_slice(&[0xC0, 0]);
        let (mut frames, mut seen) = (frames(&[]), Vec::new());
        for chunk in bytes.chunks(5_000) {
            frames.push(chunk);
            frames.filled(chunk.len());
            while let Some(frame) = frames.next().unwrap() {
                seen.push(frame);
            }
        }
        let qos = if pkid == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        let what = Oversized { qos, pkid, payload: MAX_PAYLOAD + 1 };
        assert_eq!(seen, [Frame::Oversized(what), Frame::Packet(Packet::PingReq)]);
    }
}

#[test]
fn a_publish_that_is_all_properties_is_skipped() {
    // 1 MiB of properties and no payload.
    let mut frames = frames(&[0x32, 0x88, 0x80, 0x40, 0, 1, b'a', 0, 5, 0x80, 0x80, 0x40]);
    for _ in 0..1024 {
        assert_eq!(frames.next(), Ok(None));
        assert!(frames.is_skipping());
        frames.push(&[0; 1024]);
    }
    let what = Oversized { qos: QoS::AtLeastOnce, pkid: 5, payload: 0 };
    assert_eq!(frames.next(), Ok(Some(Frame::Oversized(what))));
}

#[test]
fn properties_that_reach_beyond_their_packet_are_malformed_however_large() {
    let mut bytes = vec![0x30, 0x84, 0x80, 0x40, 0, 1, b'a', 0xFF, 0xFF, 0xFF, 0x7F];
    bytes.resize(1_048_576 + 8, 0);
    let mut frames = frames(&bytes);
    assert_eq!(frames.next(), Err("malformed_packet"));
}
