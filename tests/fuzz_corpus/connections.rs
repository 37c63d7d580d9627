//! Seeds for the target `door`: what ordinary and less ordinary clients send, in both versions.

use bytes::BytesMut;
use rumqttc::mqttbytes::{QoS, v4};
use rumqttc::v5::mqttbytes as five;
use rumqttc::v5::mqttbytes::v5;
use std::collections::BTreeMap;

const TOPIC: &str = "meshcore/SJC/AB12/packets";

/// How an input is played: see `invariants/door.rs`.
const IN_4: u8 = 0b0100_0111;
const IN_5: u8 = 0b0100_1011;
const NARROW_5: u8 = 0b0100_1111;
const NOBODY: u8 = 0b0000_0011;

/// By file name.
pub(super) fn seeds() -> BTreeMap<String, Vec<u8>> {
    let mut seeds = BTreeMap::new();
    for (name, packets) in version_4() {
        let bytes = packets.iter().map(bytes_of_4).collect::<Vec<_>>().concat();
        let how = if name.starts_with("connect") { NOBODY } else { IN_4 };
        seeds.insert(format!("door/v4-{name}"), [&[how], &bytes[..]].concat());
    }
    for (name, packets) in version_5() {
        let bytes = packets.iter().map(bytes_of_5).collect::<Vec<_>>().concat();
        let how = if name.starts_with("connect") { NOBODY } else { IN_5 };
        seeds.insert(format!("door/v5-{name}"), [&[how], &bytes[..]].concat());
    }
    let qos_1 = &seeds["door/v5-qos-1"][1..];
    let played = [
        ("narrow", NARROW_5),
        ("byte-by-byte", IN_5 & !3),
        ("receipts-backwards", IN_5 | 0x10),
        ("first-receipt-last", IN_5 | 0x20),
        ("receipt-that-fails", IN_5 | 0x30),
    ];
    let played = played.map(|(name, how)| (format!("door/v5-{name}"), [&[how], qos_1].concat()));
    seeds.extend(played);
    let raw: [(&str, u8, &[u8]); 5] = [
        ("door/mqtt-3.1", NOBODY, b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x3c\0\x01a"),
        ("door/http", NOBODY, b"GET / HTTP/1.1\r\n\r\n"),
        ("door/v5-auth", IN_5, b"\xf0\x00"),
        ("door/v5-disconnect-with-expiry", IN_5, b"\xe0\x07\x00\x05\x11\x00\x00\x00\x09"),
        ("door/v5-oversized", IN_5, b"\x32\x84\x80\x40\x00\x01a\x00\x05\x00\xc0\x00"),
    ];
    seeds.extend(raw.map(|(name, how, bytes)| (name.to_owned(), [&[how], bytes].concat())));
    seeds
}

fn bytes_of_4(packet: &v4::Packet) -> Vec<u8> {
    let mut out = BytesMut::new();
    packet.write(&mut out, usize::MAX).unwrap();
    out.to_vec()
}

fn bytes_of_5(packet: &v5::Packet) -> Vec<u8> {
    let mut out = BytesMut::new();
    packet.write(&mut out, None).unwrap();
    out.to_vec()
}

fn version_4() -> Vec<(&'static str, Vec<v4::Packet>)> {
    use v4::Packet::{
        Connect, Disconnect, PingReq, PubAck, PubRel, Publish, Subscribe, Unsubscribe,
    };
    let publish = |topic: &str, qos, pkid| {
        let mut publish = v4::Publish::new(topic, qos, "{}");
        (publish.pkid, publish.retain) = (pkid, pkid % 2 == 1);
        Publish(publish)
    };
    let subscribe = |filter: &str| {
        let mut subscribe = v4::Subscribe::new(filter, QoS::AtLeastOnce);
        subscribe.pkid = 7;
        Subscribe(subscribe)
    };
    let leave = || Unsubscribe(v4::Unsubscribe { pkid: 8, topics: vec!["meshcore/#".into()] });
    let mut connect = v4::Connect::new("gateway");
    connect.set_login("me", "secret");
    connect.last_will = Some(v4::LastWill::new(TOPIC, "gone", QoS::AtLeastOnce, true));
    let mut nameless = v4::Connect::new("");
    nameless.clean_session = false;
    let release = |pkid| PubRel(v4::PubRel::new(pkid));
    let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    vec![
        ("connect", vec![Connect(connect), publish(TOPIC, qos[1], 1)]),
        ("connect-nameless", vec![Connect(nameless)]),
        ("qos-0", vec![publish(TOPIC, qos[0], 0), PingReq]),
        ("qos-1", (1..4).map(|n| publish(TOPIC, qos[1], n)).collect()),
        ("qos-2", vec![publish(TOPIC, qos[2], 1), publish(TOPIC, qos[2], 1), release(1)]),
        ("forbidden", vec![publish("other", qos[1], 1), publish("meshcore/#", qos[2], 2)]),
        ("release-of-nothing", vec![release(9), PubAck(v4::PubAck::new(1))]),
        ("subscribe", vec![subscribe("meshcore/#"), subscribe("$share/g/#"), leave()]),
        ("connect-twice", vec![Connect(v4::Connect::new("a")), Connect(v4::Connect::new("b"))]),
        ("goodbye", vec![publish(TOPIC, qos[1], 1), Disconnect, PingReq]),
    ]
}

fn version_5() -> Vec<(&'static str, Vec<v5::Packet>)> {
    use v5::Packet::{Connect, PingReq, PubAck, PubRel, Publish, Subscribe, Unsubscribe};
    let publish = |topic: &str, qos, pkid, properties| {
        let mut publish = v5::Publish::new(topic, qos, "{}", properties);
        (publish.pkid, publish.retain) = (pkid, pkid % 2 == 1);
        Publish(publish)
    };
    let properties = |topic_alias| v5::PublishProperties {
        payload_format_indicator: Some(1),
        message_expiry_interval: Some(60),
        topic_alias,
        response_topic: Some("meshcore/answer".to_owned()),
        correlation_data: Some("7".into()),
        user_properties: vec![("a".to_owned(), "b".to_owned())],
        subscription_identifiers: Vec::new(),
        content_type: Some("application/json".to_owned()),
    };
    let subscribe = |path: &str, id| {
        let mut filter = v5::Filter::new(path, five::QoS::AtLeastOnce);
        filter.retain_forward_rule = v5::RetainForwardRule::OnNewSubscribe;
        let properties = v5::SubscribeProperties { id, user_properties: Vec::new() };
        let mut subscribe = v5::Subscribe::new(filter, Some(properties));
        subscribe.pkid = 7;
        Subscribe(subscribe)
    };
    let mut leave = v5::Unsubscribe::new("meshcore/#", None);
    leave.pkid = 8;
    let connect = |client_id: &str, method: Option<&str>| {
        let asked = v5::ConnectProperties {
            session_expiry_interval: Some(300),
            receive_maximum: Some(10),
            max_packet_size: Some(1_000),
            authentication_method: method.map(str::to_owned),
            ..v5::ConnectProperties::new()
        };
        let client_id = client_id.to_owned();
        let connect =
            v5::Connect { keep_alive: 60, client_id, clean_start: true, properties: Some(asked) };
        let mut will = v5::LastWill::new(TOPIC, "gone", five::QoS::AtLeastOnce, true, None);
        will.properties = Some(v5::LastWillProperties {
            delay_interval: Some(5),
            payload_format_indicator: None,
            message_expiry_interval: Some(9),
            content_type: Some("text/plain".to_owned()),
            response_topic: None,
            correlation_data: None,
            user_properties: Vec::new(),
        });
        let login = v5::Login { username: "me".to_owned(), password: "secret".to_owned() };
        Connect(connect, Some(will), Some(login))
    };
    let long = "x".repeat(5_000);
    let large = v5::PublishProperties {
        user_properties: vec![("a".to_owned(), long)],
        ..v5::PublishProperties::default()
    };
    let release = |pkid| PubRel(v5::PubRel::new(pkid, None));
    let qos = [five::QoS::AtMostOnce, five::QoS::AtLeastOnce, five::QoS::ExactlyOnce];
    vec![
        ("connect", vec![connect("gateway", None), publish(TOPIC, qos[1], 1, None)]),
        ("connect-nameless", vec![connect("", None)]),
        ("connect-auth", vec![connect("gateway", Some("SCRAM"))]),
        ("connect-twice", vec![connect("a", None), connect("b", None)]),
        ("qos-0", vec![publish(TOPIC, qos[0], 0, Some(properties(None))), PingReq(v5::PingReq)]),
        ("qos-1", (1..4).map(|n| publish(TOPIC, qos[1], n, Some(properties(None)))).collect()),
        (
            "qos-2",
            vec![
                publish(TOPIC, qos[2], 1, None),
                publish(TOPIC, qos[2], 1, None),
                release(1),
                release(1),
            ],
        ),
        (
            "forbidden",
            vec![publish("other", qos[1], 1, None), publish("meshcore/#", qos[2], 2, None)],
        ),
        ("alias", vec![publish(TOPIC, qos[1], 1, Some(properties(Some(1))))]),
        ("acknowledged", vec![PubAck(v5::PubAck::new(1, None))]),
        (
            "subscribe",
            vec![subscribe("meshcore/#", None), subscribe("$share/g/#", None), Unsubscribe(leave)],
        ),
        (
            "subscription-id",
            vec![
                subscribe("meshcore/#", Some(268_435_455)),
                publish(TOPIC, qos[1], 1, Some(properties(None))),
                PingReq(v5::PingReq),
            ],
        ),
        (
            "properties-too-large",
            vec![publish(TOPIC, qos[1], 1, Some(large)), PingReq(v5::PingReq)],
        ),
    ]
}
