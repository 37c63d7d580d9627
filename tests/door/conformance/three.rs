//! The cases of MQTT 3.1.1.

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, LastWill, Packet, PubAck, PubRel, Publish, Unsubscribe,
};

use super::super::client5::PASSWORD;
use super::super::rig::{Raw, connect, publish};
use super::{Stage, TOPICS};

fn named(name: &str, clean: bool) -> Connect {
    let mut connect = connect(name);
    connect.set_login(name, PASSWORD);
    connect.clean_session = clean;
    connect
}

/// Logs in; whether its session was there.
async fn log_in(stage: &Stage, connect: &Connect) -> (Raw, bool) {
    let mut raw = Raw::dial(stage.house.address()).await;
    raw.send(&Packet::Connect(connect.clone())).await;
    match raw.packet().await {
        Packet::ConnAck(ConnAck { session_present, code: ConnectReturnCode::Success }) => {
            (raw, session_present)
        }
        other => panic!("it should be let in: {other:?}"),
    }
}

async fn client(stage: &Stage, name: &str) -> Raw {
    log_in(stage, &named(name, true)).await.0
}

async fn leave(mut raw: Raw) {
    raw.send(&Packet::Disconnect).await;
    raw.closed().await;
}

/// Publishes at this QoS and goes through what it takes.
async fn say(raw: &mut Raw, topic: &str, payload: &str, qos: QoS, retain: bool) {
    let pkid = if qos == QoS::AtMostOnce { 0 } else { 5 };
    let message = Publish { retain, ..publish(topic, payload.as_bytes(), qos, pkid) };
    raw.send(&Packet::Publish(message)).await;
    match qos {
        QoS::AtMostOnce => {}
        QoS::AtLeastOnce => assert_eq!(raw.packet().await, Packet::PubAck(PubAck::new(5))),
        QoS::ExactlyOnce => {
            assert!(matches!(raw.packet().await, Packet::PubRec(_)));
            raw.send(&Packet::PubRel(PubRel::new(5))).await;
            assert!(matches!(raw.packet().await, Packet::PubComp(_)));
        }
    }
}

/// The next copy, acknowledged: payload and QoS.
async fn copy(raw: &mut Raw) -> (String, u8) {
    let copy = raw.delivery().await;
    if copy.qos == QoS::AtLeastOnce {
        raw.send(&Packet::PubAck(PubAck::new(copy.pkid))).await;
    }
    (String::from_utf8(copy.payload.to_vec()).unwrap(), copy.qos as u8)
}

const ALL: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

#[tokio::test]
async fn basic() {
    let stage = Stage::open().await;
    leave(client(&stage, "a").await).await;
    let (mut a, mut b) = (client(&stage, "a").await, client(&stage, "b").await);
    assert_eq!(b.subscribe_at(TOPICS[0], QoS::ExactlyOnce).await, [1]);
    for (n, qos) in ALL.into_iter().enumerate() {
        say(&mut a, TOPICS[0], &format!("qos {n}"), qos, false).await;
        assert_eq!(copy(&mut b).await, (format!("qos {n}"), u8::from(n > 0)));
    }
    a.send(&Packet::Connect(named("a", true))).await;
    assert_eq!(a.closed().await, [], "a second CONNECT");
    let mut stranger = Raw::dial(stage.house.address()).await;
    stranger.bytes(b"\x10\x0c\0\x02hj\x04\x02\0\x3c\0\x02me").await;
    assert_eq!(stranger.closed().await, [], "another protocol");
}

#[tokio::test]
async fn retained_messages() {
    let stage = Stage::open().await;
    let mut a = client(&stage, "a").await;
    for (n, qos) in ALL.into_iter().enumerate() {
        say(&mut a, TOPICS[n + 1], &format!("qos {n}"), qos, true).await;
    }
    let mut b = client(&stage, "b").await;
    b.subscribe_at("+/+", QoS::ExactlyOnce).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let copy = b.delivery().await;
        assert!(copy.retain);
        seen.push((copy.topic, copy.qos as u8));
    }
    seen.sort();
    let expected = [("Topic/C", 1), ("TopicA/B", 0), ("TopicA/C", 1)];
    assert_eq!(seen, expected.map(|(topic, qos)| (topic.to_owned(), qos)));
    for (n, qos) in ALL.into_iter().enumerate() {
        say(&mut a, TOPICS[n + 1], "", qos, true).await;
    }
    a.subscribe_at("+/+", QoS::ExactlyOnce).await;
    a.nothing_said().await;
}

#[tokio::test]
async fn will_message() {
    let stage = Stage::open().await;
    let mut connect = named("a", true);
    let will = LastWill::new(TOPICS[2], "client not disconnected", QoS::AtMostOnce, false);
    connect.last_will = Some(will);
    let (a, _) = log_in(&stage, &connect).await;
    let mut b = client(&stage, "b").await;
    b.subscribe_at(TOPICS[2], QoS::ExactlyOnce).await;
    drop(a);
    assert_eq!(copy(&mut b).await.0, "client not disconnected");
    // Who says goodbye has none.
    let (a, _) = log_in(&stage, &connect).await;
    leave(a).await;
    b.nothing_said().await;
}

#[tokio::test]
async fn zero_length_client_id() {
    let stage = Stage::open().await;
    let mut nameless = named("a", false);
    nameless.client_id = String::new();
    let mut raw = Raw::dial(stage.house.address()).await;
    raw.send(&Packet::Connect(nameless.clone())).await;
    let refused = ConnAck::new(ConnectReturnCode::BadClientId, false);
    assert_eq!(raw.closed().await, [Packet::ConnAck(refused)]);
    nameless.clean_session = true;
    leave(log_in(&stage, &nameless).await.0).await;
}

#[tokio::test]
async fn offline_message_queueing() {
    let stage = Stage::open().await;
    let (mut a, present) = log_in(&stage, &named("a", false)).await;
    assert!(!present);
    a.subscribe_at("+/+", QoS::ExactlyOnce).await;
    leave(a).await;
    let mut b = client(&stage, "b").await;
    for (n, qos) in ALL.into_iter().enumerate() {
        say(&mut b, TOPICS[n + 1], &format!("qos {n}"), qos, false).await;
    }
    leave(b).await;
    let (mut a, present) = log_in(&stage, &named("a", false)).await;
    assert!(present);
    for n in 0..3 {
        assert_eq!(copy(&mut a).await, (format!("qos {n}"), u8::from(n > 0)));
    }
    a.nothing_said().await;
}

#[tokio::test]
async fn overlapping_subscriptions() {
    let stage = Stage::open().await;
    let (mut a, mut b) = (client(&stage, "a").await, client(&stage, "b").await);
    a.subscribe_at("TopicA/#", QoS::ExactlyOnce).await;
    a.subscribe_at("TopicA/+", QoS::AtLeastOnce).await;
    say(&mut b, TOPICS[3], "overlapping topic filters", QoS::ExactlyOnce, false).await;
    assert_eq!(copy(&mut a).await, ("overlapping topic filters".to_owned(), 1));
    a.nothing_said().await;
}

#[tokio::test]
async fn keepalive() {
    let stage = Stage::open().await;
    let mut connect = named("a", true);
    connect.keep_alive = 1;
    let will = LastWill::new(TOPICS[4], "keepalive expiry", QoS::AtMostOnce, false);
    connect.last_will = Some(will);
    let mut unhurried = named("b", true);
    unhurried.keep_alive = 0;
    let (mut b, _) = log_in(&stage, &unhurried).await;
    b.subscribe_at(TOPICS[4], QoS::ExactlyOnce).await;
    let (mut a, _) = log_in(&stage, &connect).await;
    a.closed().await;
    assert_eq!(copy(&mut b).await.0, "keepalive expiry");
    assert_eq!(stage.house.reason("keepalive_ran_out"), 1);
}

#[tokio::test]
async fn redelivery_on_reconnect() {
    let stage = Stage::open().await;
    let (mut b, _) = log_in(&stage, &named("b", false)).await;
    b.subscribe_at("TopicA/#", QoS::ExactlyOnce).await;
    let mut a = client(&stage, "a").await;
    say(&mut a, TOPICS[1], "1", QoS::AtLeastOnce, false).await;
    say(&mut a, TOPICS[3], "2", QoS::ExactlyOnce, false).await;
    let first = [b.delivery().await, b.delivery().await];
    leave(b).await;
    let (mut b, present) = log_in(&stage, &named("b", false)).await;
    assert!(present);
    for before in first {
        let again = b.delivery().await;
        assert!(again.dup && !before.dup);
        assert_eq!((again.pkid, again.payload), (before.pkid, before.payload));
        b.send(&Packet::PubAck(PubAck::new(again.pkid))).await;
    }
    b.nothing_said().await;
}

#[tokio::test]
async fn subscribe_failure() {
    let stage = Stage::open().await;
    let mut a = client(&stage, "a").await;
    assert_eq!(a.subscribe_at("$SYS/#", QoS::ExactlyOnce).await, [0x80]);
    assert_eq!(a.subscribe_at("$share/group/#", QoS::ExactlyOnce).await, [0x80]);
}

#[tokio::test]
async fn dollar_topics() {
    let stage = Stage::open().await;
    let mut b = client(&stage, "b").await;
    b.subscribe_at("+/+", QoS::AtLeastOnce).await;
    // MQTT 3.1.1 has no other answer than the acknowledgement.
    say(&mut b, "$TopicA/B", "", QoS::AtLeastOnce, false).await;
    b.nothing_said().await;
    assert_eq!(stage.house.reason("publish_to_dollar_topic"), 1);
}

#[tokio::test]
async fn unsubscribe() {
    let stage = Stage::open().await;
    let (mut a, mut b) = (client(&stage, "a").await, client(&stage, "b").await);
    for topic in &TOPICS[..3] {
        b.subscribe_at(topic, QoS::ExactlyOnce).await;
    }
    let leaving = Unsubscribe { pkid: 9, topics: vec![TOPICS[0].to_owned()] };
    b.send(&Packet::Unsubscribe(leaving)).await;
    assert!(matches!(b.packet().await, Packet::UnsubAck(ack) if ack.pkid == 9));
    for topic in &TOPICS[..3] {
        say(&mut a, topic, topic, QoS::AtLeastOnce, false).await;
    }
    assert_eq!(copy(&mut b).await.0, TOPICS[1]);
    assert_eq!(copy(&mut b).await.0, TOPICS[2]);
    b.nothing_said().await;
}
