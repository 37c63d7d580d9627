//! The cases of MQTT 5 about what is said of a message, and how a subscription wants it.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectProperties, Filter, PubAckReason, Publish, PublishProperties, RetainForwardRule,
};

use super::super::client5::{Client, Wish, said};
use super::{Stage, TOPICS};

const ALL: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// A subscriber at each QoS, and a publisher.
async fn three(stage: &Stage) -> [Client; 3] {
    let mut b = Client::new(&stage.house, "b").await;
    b.listen(TOPICS[0], QoS::AtMostOnce).await;
    let mut c = Client::new(&stage.house, "c").await;
    c.listen(TOPICS[0], QoS::AtLeastOnce).await;
    [Client::new(&stage.house, "a").await, b, c]
}

/// What is said arrives as it was, by way of the router and by way of a queue.
async fn arrives(properties: PublishProperties) {
    let stage = Stage::open().await;
    let [mut a, mut b, mut c] = three(&stage).await;
    for qos in ALL {
        a.say(Publish::new(TOPICS[0], qos, "", Some(properties.clone()))).await;
        for (reader, most) in [(&mut b, 0), (&mut c, 1)] {
            let copy = reader.copy().await;
            assert_eq!(copy.properties.as_ref(), Some(&properties));
            assert_eq!(copy.qos as u8, (qos as u8).min(most));
        }
    }
}

#[tokio::test]
async fn user_properties() {
    arrives(said(&[("a", "2"), ("c", "3"), ("a", ""), ("", "é")])).await;
}

#[tokio::test]
async fn payload_format() {
    arrives(PublishProperties {
        payload_format_indicator: Some(1),
        content_type: Some("My name".to_owned()),
        ..PublishProperties::default()
    })
    .await;
}

#[tokio::test]
async fn properties_are_bounded_and_a_subscriber_of_3_1_1_gets_the_bare_message() {
    let stage = Stage::open().await;
    let mut a = Client::new(&stage.house, "a").await;
    let mut connect = super::super::rig::connect("old");
    connect.set_login("b", super::super::client5::PASSWORD);
    let mut old = super::super::rig::Raw::dial(stage.house.address()).await;
    old.log_in(&connect).await;
    old.subscribe(TOPICS[0]).await;
    old.subscribe_at(TOPICS[1], rumqttc::mqttbytes::QoS::AtLeastOnce).await;
    let long = "x".repeat(4_097);
    let too_much = Publish::new(TOPICS[0], QoS::AtLeastOnce, "x", Some(said(&[("k", &long)])));
    assert_eq!(a.say(too_much).await, PubAckReason::QuotaExceeded);
    assert_eq!(stage.house.reason("publish_properties_too_large"), 1);
    for topic in &TOPICS[..2] {
        let fits = Publish::new(*topic, QoS::AtLeastOnce, "y", Some(said(&[("k", "v")])));
        assert_eq!(a.say(fits).await, PubAckReason::Success);
        assert_eq!(old.delivery().await.payload, "y");
    }
    old.nothing_said().await;
}

#[tokio::test]
async fn publication_expiry() {
    let stage = Stage::open().await;
    let (mut b, _) = Client::log_in(&stage.house, Wish::kept("b", 600)).await;
    b.listen(TOPICS[0], QoS::ExactlyOnce).await;
    b.leave().await;
    let mut a = Client::new(&stage.house, "a").await;
    for (payload, expiry_s) in [("soon", 1), ("late", 6), ("never", 0), ("later", 9)] {
        let properties = PublishProperties {
            message_expiry_interval: (expiry_s > 0).then_some(expiry_s),
            ..said(&[("k", "v")])
        };
        let mut publish = Publish::new(TOPICS[0], QoS::AtLeastOnce, payload, Some(properties));
        publish.retain = true;
        a.say(publish).await;
    }
    stage.clock.run(Duration::from_secs(3));
    let (mut b, _) = Client::log_in(&stage.house, Wish::kept("b", 600)).await;
    for (payload, left_s) in [("late", Some(3)), ("never", None), ("later", Some(6))] {
        let copy = b.copy().await;
        assert_eq!(copy.payload, payload);
        let properties = copy.properties.unwrap();
        assert_eq!(properties.message_expiry_interval, left_s);
        assert_eq!(properties.user_properties, said(&[("k", "v")]).user_properties);
    }
    b.has_nothing().await;
    assert_eq!(stage.house.counters.broker_messages_expired.get(), 1);
    // The retained one, too.
    let mut c = Client::new(&stage.house, "c").await;
    c.listen(TOPICS[0], QoS::AtMostOnce).await;
    assert_eq!(c.copy().await.properties.unwrap().message_expiry_interval, Some(6));
    stage.clock.run(Duration::from_secs(6));
    c.listen(TOPICS[0], QoS::AtMostOnce).await;
    c.has_nothing().await;
}

/// A filter with options.
fn filter(path: &str, qos: QoS, options: impl FnOnce(&mut Filter)) -> Vec<Filter> {
    let mut filter = Filter::new(path, qos);
    options(&mut filter);
    vec![filter]
}

#[tokio::test]
async fn subscribe_options_no_local() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let stage = Stage::open().await;
        let (mut a, mut b) =
            (Client::new(&stage.house, "a").await, Client::new(&stage.house, "b").await);
        for client in [&mut a, &mut b] {
            client.subscribe(filter(TOPICS[0], qos, |f| f.nolocal = true), None).await;
        }
        a.publish(TOPICS[0], "of a", QoS::AtLeastOnce).await;
        b.publish(TOPICS[0], "of b", QoS::AtLeastOnce).await;
        assert_eq!(a.payloads(1).await, ["of b"]);
        assert_eq!(b.payloads(1).await, ["of a"]);
        // Its own is its own over a reconnect, and however it was retained.
        let mut publish = Publish::new(TOPICS[0], QoS::AtLeastOnce, "kept", None);
        publish.retain = true;
        a.say(publish).await;
        assert_eq!(b.payloads(1).await, ["kept"]);
        a.leave().await;
        let mut a = Client::new(&stage.house, "a").await;
        a.subscribe(filter(TOPICS[0], qos, |f| f.nolocal = true), None).await;
        a.has_nothing().await;
        a.subscribe(filter(TOPICS[0], qos, |f| f.nolocal = false), None).await;
        assert_eq!(a.payloads(1).await, ["kept"]);
        a.publish(TOPICS[0], "now", QoS::AtLeastOnce).await;
        assert_eq!(a.payloads(1).await, ["now"]);
    }
}

#[tokio::test]
async fn subscribe_options_retain_as_published() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let stage = Stage::open().await;
        let (mut a, mut b) =
            (Client::new(&stage.house, "a").await, Client::new(&stage.house, "b").await);
        let mut c = Client::new(&stage.house, "c").await;
        b.subscribe(filter(TOPICS[0], qos, |f| f.preserve_retain = true), None).await;
        c.subscribe(filter(TOPICS[0], qos, |_| ()), None).await;
        for retain in [false, true] {
            let mut publish = Publish::new(TOPICS[0], QoS::AtLeastOnce, "x", None);
            publish.retain = retain;
            a.say(publish).await;
            assert_eq!(b.copy().await.retain, retain);
            assert!(!c.copy().await.retain);
        }
    }
}

#[tokio::test]
async fn subscribe_options_retain_handling() {
    use RetainForwardRule::{Never, OnEverySubscribe, OnNewSubscribe};
    let stage = Stage::open().await;
    let mut a = Client::new(&stage.house, "a").await;
    for (topic, qos) in TOPICS[1..4].iter().zip(ALL) {
        let mut publish = Publish::new(*topic, qos, "x", None);
        publish.retain = true;
        a.say(publish).await;
    }
    for (rule, first, again) in [(OnNewSubscribe, 3, 0), (Never, 0, 0), (OnEverySubscribe, 3, 3)] {
        let mut b = Client::new(&stage.house, "b").await;
        for count in [first, again] {
            let wanted = filter("+/+", QoS::ExactlyOnce, |f| f.retain_forward_rule = rule.clone());
            b.subscribe(wanted, None).await;
            assert_eq!(b.payloads(count).await.len(), count);
            b.has_nothing().await;
        }
        b.leave().await;
    }
}

#[tokio::test]
async fn subscription_identifiers() {
    let stage = Stage::open().await;
    let (mut a, ack) = Client::log_in(&stage.house, Wish::new("a")).await;
    let granted = ack.properties.unwrap().subscription_identifiers_available;
    assert_eq!(granted, None, "unsaid: they are available");
    let mut b = Client::new(&stage.house, "b").await;
    b.subscribe(vec![Filter::new("TopicA/#", QoS::AtLeastOnce)], Some(456_789)).await;
    b.subscribe(vec![Filter::new("TopicA/+", QoS::AtLeastOnce)], Some(2)).await;
    b.subscribe(vec![Filter::new("Topic/C", QoS::AtMostOnce)], Some(3)).await;
    let ids = |copy: Publish| {
        let mut ids = copy.properties.map(|p| p.subscription_identifiers).unwrap_or_default();
        ids.sort_unstable();
        ids
    };
    a.publish("TopicA/B", "x", QoS::AtLeastOnce).await;
    assert_eq!(ids(b.copy().await), [2, 456_789], "one copy, by both");
    a.publish("Topic/C", "x", QoS::AtMostOnce).await;
    assert_eq!(ids(b.copy().await), [3]);
    // A retained one comes by the subscription that asked for it; another identifier replaces it.
    let mut publish = Publish::new("Topic/C", QoS::AtMostOnce, "kept", None);
    publish.retain = true;
    a.say(publish).await;
    assert_eq!(ids(b.copy().await), [3]);
    b.subscribe(vec![Filter::new("Topic/C", QoS::AtMostOnce)], Some(4)).await;
    let copy = b.copy().await;
    assert!(copy.retain);
    assert_eq!(ids(copy), [4]);
    a.publish("Topic/C", "x", QoS::AtMostOnce).await;
    assert_eq!(ids(b.copy().await), [4]);
    b.subscribe(vec![Filter::new("Topic/+", QoS::AtMostOnce)], None).await;
    assert!(b.copy().await.retain);
    a.publish("Topic/C", "x", QoS::AtMostOnce).await;
    let mut both = [ids(b.copy().await), ids(b.copy().await)];
    both.sort();
    assert_eq!(both, [vec![], vec![4]], "a copy for each, by its own");
}

#[tokio::test]
async fn request_response() {
    let stage = Stage::open().await;
    let asked = ConnectProperties { request_response_info: Some(1), ..ConnectProperties::new() };
    let (mut a, ack) = Client::log_in(&stage.house, Wish { asked, ..Wish::new("a") }).await;
    assert_eq!(ack.properties.unwrap().response_information, None);
    let mut b = Client::new(&stage.house, "b").await;
    a.listen("answers/a", QoS::AtLeastOnce).await;
    b.listen("questions", QoS::AtLeastOnce).await;
    let question = PublishProperties {
        response_topic: Some("answers/a".to_owned()),
        correlation_data: Some(Bytes::from_static(b"\0\xff334")),
        ..PublishProperties::default()
    };
    a.say(Publish::new("questions", QoS::AtLeastOnce, "how?", Some(question.clone()))).await;
    let asked = b.copy().await.properties.unwrap();
    assert_eq!(asked, question);
    let answer = PublishProperties { response_topic: None, ..asked.clone() };
    let topic = asked.response_topic.unwrap();
    b.say(Publish::new(topic, QoS::AtLeastOnce, "so", Some(answer.clone()))).await;
    assert_eq!(a.copy().await.properties, Some(answer));
}

#[tokio::test]
async fn what_is_said_and_wanted_outlives_a_restart() {
    let stage = Stage::open().await;
    let (mut b, _) = Client::log_in(&stage.house, Wish::kept("b", 600)).await;
    let wanted = filter(TOPICS[0], QoS::AtLeastOnce, |f| f.preserve_retain = true);
    b.subscribe(wanted, Some(77)).await;
    b.leave().await;
    let mut a = Client::new(&stage.house, "a").await;
    let properties =
        PublishProperties { message_expiry_interval: Some(60), ..said(&[("k", "v"), ("k", "w")]) };
    let mut publish = Publish::new(TOPICS[0], QoS::AtLeastOnce, "x", Some(properties.clone()));
    publish.retain = true;
    a.say(publish.clone()).await;
    a.leave().await;
    let expected = PublishProperties { message_expiry_interval: Some(50), ..properties.clone() };
    let marked = PublishProperties { subscription_identifiers: vec![77], ..expected.clone() };

    let stage = stage.restart_after(Duration::from_secs(10)).await;
    let (mut b, ack) = Client::log_in(&stage.house, Wish::kept("b", 600)).await;
    assert!(ack.session_present);
    let copy = b.copy().await;
    assert_eq!((copy.properties, copy.retain), (Some(marked), true));
    let mut c = Client::new(&stage.house, "c").await;
    c.listen(TOPICS[0], QoS::AtMostOnce).await;
    assert_eq!(c.copy().await.properties, Some(expected));
    // What was granted before is granted still.
    let mut a = Client::new(&stage.house, "a").await;
    a.say(publish).await;
    let copy = b.copy().await;
    assert_eq!(copy.properties.unwrap().subscription_identifiers, [77]);
    assert!(copy.retain);
}
