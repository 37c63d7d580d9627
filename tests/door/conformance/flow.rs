//! The cases of MQTT 5 about what a client and the broker allow each other.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectProperties, DisconnectReasonCode, Packet, PubAck, PubAckReason, Publish,
    PublishProperties,
};

use super::super::client5::{Client, Wish};
use super::{Stage, TOPICS};

#[tokio::test]
async fn client_topic_alias() {
    let stage = Stage::open().await;
    let (mut a, ack) = Client::log_in(&stage.house, Wish::new("a")).await;
    assert_eq!(ack.properties.unwrap().topic_alias_max, None, "unsaid: there are none");
    let alias = PublishProperties { topic_alias: Some(1), ..PublishProperties::default() };
    a.send(Packet::Publish(Publish::new(TOPICS[0], QoS::AtMostOnce, "x", Some(alias)))).await;
    assert_eq!(a.told_at_the_end().await, DisconnectReasonCode::TopicAliasInvalid);
}

#[tokio::test]
async fn server_topic_alias() {
    let stage = Stage::open().await;
    let asked = ConnectProperties { topic_alias_max: Some(10), ..ConnectProperties::new() };
    let (mut b, _) = Client::log_in(&stage.house, Wish { asked, ..Wish::new("b") }).await;
    b.listen("#", QoS::AtLeastOnce).await;
    let mut a = Client::new(&stage.house, "a").await;
    for _ in 0..3 {
        a.publish(TOPICS[1], "x", QoS::AtLeastOnce).await;
        let copy = b.copy().await;
        assert_eq!(copy.topic, TOPICS[1]);
        assert!(copy.properties.is_none_or(|p| p.topic_alias.is_none()));
    }
}

#[tokio::test]
async fn maximum_packet_size() {
    let stage = Stage::open().await;
    let asked = ConnectProperties { max_packet_size: Some(100), ..ConnectProperties::new() };
    let (mut b, _) = Client::log_in(&stage.house, Wish { asked, ..Wish::new("b") }).await;
    b.listen(TOPICS[0], QoS::AtLeastOnce).await;
    let (mut a, ack) = Client::log_in(&stage.house, Wish::new("a")).await;
    a.publish(TOPICS[0], &"x".repeat(100), QoS::AtLeastOnce).await;
    a.publish(TOPICS[0], "small", QoS::AtLeastOnce).await;
    assert_eq!(b.payloads(1).await, ["small"]);
    b.has_nothing().await;
    // What the broker takes it says; more is refused, and the connection goes on.
    let most = ack.properties.unwrap().max_packet_size.unwrap();
    let larger = vec![b'x'; usize::try_from(most).unwrap() + 1];
    let answer = a.say(Publish::new(TOPICS[0], QoS::AtLeastOnce, larger, None)).await;
    assert_eq!(answer, PubAckReason::QuotaExceeded);
    assert_eq!(stage.house.reason("publish_too_large"), 1);
    a.has_nothing().await;
}

#[tokio::test]
async fn server_keep_alive() {
    let stage = Stage::open().await;
    for keep_alive in [0, 1_200, u16::MAX] {
        let (_, ack) = Client::log_in(&stage.house, Wish { keep_alive, ..Wish::new("a") }).await;
        assert_eq!(ack.properties.unwrap().server_keep_alive, None);
    }
}

#[tokio::test]
async fn flow_control_1() {
    let stage = Stage::open().await;
    let asked = ConnectProperties { receive_maximum: Some(2), ..ConnectProperties::new() };
    let (mut b, _) = Client::log_in(&stage.house, Wish { asked, ..Wish::new("b") }).await;
    b.listen(TOPICS[0], QoS::AtLeastOnce).await;
    let mut a = Client::new(&stage.house, "a").await;
    for n in 0..6 {
        a.publish(TOPICS[0], &n.to_string(), QoS::AtLeastOnce).await;
    }
    let mut underway = vec![b.unacknowledged().await, b.unacknowledged().await];
    for n in 2..6 {
        b.has_nothing().await;
        let oldest = underway.remove(0);
        b.send(Packet::PubAck(PubAck::new(oldest.pkid, None))).await;
        underway.push(b.unacknowledged().await);
        assert_eq!(underway[1].payload, n.to_string());
    }
}

#[tokio::test]
async fn flow_control_2() {
    let stage = Stage::open().await;
    let (mut a, ack) = Client::log_in(&stage.house, Wish::new("a")).await;
    let most = ack.properties.unwrap().receive_max.unwrap();
    assert_eq!(most, 1_000);
    for pkid in 1..=most {
        let mut publish = Publish::new(TOPICS[0], QoS::ExactlyOnce, "x", None);
        publish.pkid = pkid;
        a.send(Packet::Publish(publish)).await;
        assert!(matches!(a.packet().await, Packet::PubRec(rec) if rec.pkid == pkid));
    }
    let mut publish = Publish::new(TOPICS[0], QoS::ExactlyOnce, "x", None);
    publish.pkid = most + 1;
    a.send(Packet::Publish(publish)).await;
    assert_eq!(a.told_at_the_end().await, DisconnectReasonCode::ReceiveMaximumExceeded);
}
