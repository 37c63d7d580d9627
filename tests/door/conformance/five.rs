//! The cases of MQTT 5 that MQTT 3.1.1 has as well, and those of sessions and names.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectReturnCode, DisconnectReasonCode, Filter, LastWill, Packet, PubAckReason,
    Publish, SubscribeReasonCode,
};

use super::super::client5::{Client, Wish, said};
use super::{Stage, TOPICS};

const ALL: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

#[tokio::test]
async fn basic() {
    let stage = Stage::open().await;
    let (mut a, ack) = Client::log_in(&stage.house, Wish::new("a")).await;
    assert_eq!(ack.code, ConnectReturnCode::Success);
    let mut b = Client::new(&stage.house, "b").await;
    b.listen(TOPICS[0], QoS::ExactlyOnce).await;
    for (n, qos) in ALL.into_iter().enumerate() {
        a.publish(TOPICS[0], &format!("qos {n}"), qos).await;
    }
    assert_eq!(b.payloads(3).await, ["qos 0", "qos 1", "qos 2"]);
    let connect =
        Connect { keep_alive: 9, client_id: "a".into(), clean_start: true, properties: None };
    a.send(Packet::Connect(connect, None, None)).await;
    assert_eq!(a.told_at_the_end().await, DisconnectReasonCode::ProtocolError);
    let mut stranger = Client::dial(&stage.house).await;
    stranger.bytes(b"\x10\x0d\0\x02hj\x05\x02\0\x3c\0\0\x02me").await;
    assert_eq!(stranger.closed().await, 0);
}

#[tokio::test]
async fn retained_messages() {
    let stage = Stage::open().await;
    let mut a = Client::new(&stage.house, "a").await;
    let user = [("a", "2"), ("c", "3"), ("a", "1")];
    for (n, qos) in ALL.into_iter().enumerate() {
        let mut publish = Publish::new(TOPICS[n + 1], qos, format!("qos {n}"), Some(said(&user)));
        publish.retain = true;
        a.say(publish).await;
    }
    let mut b = Client::new(&stage.house, "b").await;
    b.listen("+/+", QoS::ExactlyOnce).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let copy = b.copy().await;
        assert!(copy.retain);
        assert_eq!(copy.properties, Some(said(&user)));
        seen.push((copy.payload, copy.qos as u8));
    }
    seen.sort();
    assert_eq!(seen, [("qos 0".into(), 0), ("qos 1".into(), 1), ("qos 2".into(), 1)]);
}

#[tokio::test]
async fn will_message() {
    let stage = Stage::open().await;
    let will = LastWill::new(TOPICS[2], "client not disconnected", QoS::AtMostOnce, false, None);
    let (a, _) = Client::log_in(&stage.house, Wish { will: Some(will), ..Wish::new("a") }).await;
    let mut b = Client::new(&stage.house, "b").await;
    b.listen(TOPICS[2], QoS::ExactlyOnce).await;
    drop(a);
    assert_eq!(b.payloads(1).await, ["client not disconnected"]);
}

#[tokio::test]
async fn zero_length_client_id() {
    let stage = Stage::open().await;
    for clean_start in [false, true] {
        let wish = Wish { client_id: "", clean_start, ..Wish::new("a") };
        let (a, ack) = Client::log_in(&stage.house, wish).await;
        assert_eq!((ack.code, ack.session_present), (ConnectReturnCode::Success, false));
        assert!(ack.properties.unwrap().assigned_client_identifier.is_some());
        a.leave().await;
    }
}

#[tokio::test]
async fn offline_message_queueing() {
    let stage = Stage::open().await;
    let (mut a, _) = Client::log_in(&stage.house, Wish::kept("a", 600)).await;
    a.listen("+/+", QoS::ExactlyOnce).await;
    a.leave().await;
    let mut b = Client::new(&stage.house, "b").await;
    for (n, qos) in ALL.into_iter().enumerate() {
        let publish =
            Publish::new(TOPICS[n + 1], qos, format!("qos {n}"), Some(said(&[("k", "v")])));
        b.say(publish).await;
    }
    let (mut a, ack) = Client::log_in(&stage.house, Wish::kept("a", 600)).await;
    assert!(ack.session_present);
    for n in 0..3 {
        let copy = a.copy().await;
        assert_eq!((copy.payload, copy.qos as u8), (format!("qos {n}").into(), u8::from(n > 0)));
        assert_eq!(copy.properties, Some(said(&[("k", "v")])));
    }
    a.has_nothing().await;
}

#[tokio::test]
async fn overlapping_subscriptions() {
    let stage = Stage::open().await;
    let (mut a, mut b) =
        (Client::new(&stage.house, "a").await, Client::new(&stage.house, "b").await);
    a.listen("TopicA/#", QoS::ExactlyOnce).await;
    a.listen("TopicA/+", QoS::AtLeastOnce).await;
    b.publish(TOPICS[3], "overlapping topic filters", QoS::ExactlyOnce).await;
    assert_eq!(a.copy().await.qos, QoS::AtLeastOnce);
    a.has_nothing().await;
}

#[tokio::test]
async fn keepalive() {
    let stage = Stage::open().await;
    let will = LastWill::new(TOPICS[4], "keepalive expiry", QoS::AtMostOnce, false, None);
    let mut b = Client::log_in(&stage.house, Wish { keep_alive: 0, ..Wish::new("b") }).await.0;
    b.listen(TOPICS[4], QoS::ExactlyOnce).await;
    let wish = Wish { keep_alive: 1, will: Some(will), ..Wish::new("a") };
    let (mut a, _) = Client::log_in(&stage.house, wish).await;
    assert_eq!(a.told_at_the_end().await, DisconnectReasonCode::KeepAliveTimeout);
    assert_eq!(b.payloads(1).await, ["keepalive expiry"]);
}

#[tokio::test]
async fn redelivery_on_reconnect() {
    let stage = Stage::open().await;
    let (mut b, _) = Client::log_in(&stage.house, Wish::kept("b", 600)).await;
    b.listen("TopicA/#", QoS::ExactlyOnce).await;
    let mut a = Client::new(&stage.house, "a").await;
    for topic in [TOPICS[1], TOPICS[3]] {
        a.say(Publish::new(topic, QoS::AtLeastOnce, topic, Some(said(&[("k", topic)])))).await;
    }
    let first = [b.unacknowledged().await, b.unacknowledged().await];
    b.leave().await;
    let (mut b, _) = Client::log_in(&stage.house, Wish::kept("b", 600)).await;
    for before in first {
        let again = b.copy().await;
        assert!(again.dup && !before.dup);
        assert_eq!((again.pkid, again.properties), (before.pkid, before.properties));
    }
    b.has_nothing().await;
}

#[tokio::test]
async fn subscribe_failure() {
    let stage = Stage::open().await;
    let mut a = Client::new(&stage.house, "a").await;
    let filters = ["$SYS/#", "a/#/b", "fine"].map(|f| Filter::new(f, QoS::ExactlyOnce));
    let codes = a.subscribe(filters.to_vec(), None).await;
    let expected = [
        SubscribeReasonCode::NotAuthorized,
        SubscribeReasonCode::TopicFilterInvalid,
        SubscribeReasonCode::Success(QoS::AtLeastOnce),
    ];
    assert_eq!(codes, expected);
}

#[tokio::test]
async fn dollar_topics() {
    let stage = Stage::open().await;
    let mut b = Client::new(&stage.house, "b").await;
    b.listen("+/+", QoS::AtLeastOnce).await;
    let answer = b.say(Publish::new("$TopicA/B", QoS::AtLeastOnce, "", None)).await;
    assert_eq!(answer, PubAckReason::NotAuthorized);
    b.has_nothing().await;
}

#[tokio::test]
async fn unsubscribe() {
    let stage = Stage::open().await;
    let (mut a, mut b) =
        (Client::new(&stage.house, "a").await, Client::new(&stage.house, "b").await);
    for topic in &TOPICS[..3] {
        b.listen(topic, QoS::ExactlyOnce).await;
    }
    b.unsubscribe(TOPICS[0]).await;
    for topic in &TOPICS[..3] {
        a.publish(topic, topic, QoS::AtLeastOnce).await;
    }
    assert_eq!(b.payloads(2).await, TOPICS[1..3]);
    b.has_nothing().await;
}

#[tokio::test]
async fn session_expiry() {
    let stage = Stage::open().await;
    let wish = |clean_start, expiry_s| Wish { clean_start, ..Wish::kept("a", expiry_s) };
    let after = |s| stage.clock.run(std::time::Duration::from_secs(s));
    let come = async |clean_start, expiry_s| {
        let (mut a, ack) = Client::log_in(&stage.house, wish(clean_start, expiry_s)).await;
        if !ack.session_present {
            a.listen(TOPICS[0], QoS::ExactlyOnce).await;
        }
        (a, ack.session_present)
    };
    // 0: it ends with the connection.
    let (a, _) = come(true, 0).await;
    a.leave().await;
    let (a, present) = come(false, 0).await;
    assert!(!present);
    a.leave().await;
    // 5 seconds.
    let (a, _) = come(true, 5).await;
    a.leave().await;
    after(2);
    let (a, present) = come(false, 5).await;
    assert!(present);
    a.leave().await;
    after(6);
    let (a, present) = come(false, 5).await;
    assert!(!present);
    a.leave().await;
    // What is said at the end counts for more.
    let (a, _) = come(true, 1).await;
    a.leave_keeping(Some(5)).await;
    after(3);
    let (a, present) = come(false, 1).await;
    assert!(present);
    a.leave_keeping(Some(0)).await;
    let (a, present) = come(false, 1).await;
    assert!(!present);
    a.leave().await;
}

#[tokio::test]
async fn shared_subscriptions() {
    let stage = Stage::open().await;
    let (mut a, ack) = Client::log_in(&stage.house, Wish::new("a")).await;
    assert_eq!(ack.properties.unwrap().shared_subscription_available, Some(0));
    let codes = a.subscribe(vec![Filter::new("$share/group/#", QoS::AtLeastOnce)], None).await;
    assert_eq!(codes, [SubscribeReasonCode::SharedSubscriptionsNotSupported]);
}

#[tokio::test]
async fn assigned_client_id() {
    let stage = Stage::open().await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let wish = Wish { client_id: "", ..Wish::new("a") };
        let (_, ack) = Client::log_in(&stage.house, wish).await;
        ids.push(ack.properties.unwrap().assigned_client_identifier.unwrap());
    }
    assert!(ids[0] != ids[1] && ids[0].starts_with("meshbox-"), "{ids:?}");
    // Whoever brings a name keeps it.
    let (_, ack) = Client::log_in(&stage.house, Wish::new("a")).await;
    assert_eq!(ack.properties.unwrap().assigned_client_identifier, None);
}
