//! What is published comes in whole, once, in order, and is acknowledged when it is stored.

use std::time::{Duration, Instant};

use meshbox::message::queue::Bounds;
use meshbox::message::{OriginKind, Outcome};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, PubAck, PubComp, PubRec, PubRel};

use super::rig::{self, ROOMY, Raw, TOPIC};
use crate::support::eventually_async;

fn acks(pkids: impl IntoIterator<Item = u16>) -> Vec<Packet> {
    pkids.into_iter().map(|pkid| Packet::PubAck(PubAck::new(pkid))).collect()
}

#[tokio::test]
async fn a_message_comes_in_as_it_was_sent_with_the_address_as_its_origin() {
    let (house, mut stored) = rig::storing().await;
    let mut client = house.client("gateway").await;
    client.publish(TOPIC, b"\x00\xff{", QoS::AtMostOnce, 0).await;
    let arrival = stored.next().await;
    assert_eq!((arrival.topic.as_str(), &arrival.payload[..]), (TOPIC, &b"\x00\xff{"[..]));
    assert_eq!((arrival.origin.kind, &*arrival.origin.name), (OriginKind::Anonymous, "127.0.0.1"));
    assert!(!arrival.retained && !arrival.awaited);
    client.nothing_said().await;
    assert_eq!(house.counters.broker_publishes.get(), 1);
    assert_eq!(house.counters.broker_connections.get(), 1);
}

#[tokio::test]
async fn qos_1_is_acknowledged_only_when_it_is_stored() {
    let (house, mut outlet) = rig::open(ROOMY).await;
    let mut client = house.client("gateway").await;
    client.publish(TOPIC, b"x", QoS::AtLeastOnce, 10).await;
    let message = rig::arrival(&mut outlet).await;
    client.nothing_said().await;
    message.receipt.complete(Outcome::Stored);
    assert_eq!(client.packet().await, Packet::PubAck(PubAck::new(10)));
}

#[tokio::test]
async fn qos_2_is_received_only_when_it_is_stored_and_then_completed() {
    let (house, mut outlet) = rig::open(ROOMY).await;
    let mut client = house.client("gateway").await;
    client.publish(TOPIC, b"x", QoS::ExactlyOnce, 10).await;
    let message = rig::arrival(&mut outlet).await;
    client.nothing_said().await;
    message.receipt.complete(Outcome::Stored);
    assert_eq!(client.packet().await, Packet::PubRec(PubRec::new(10)));
    // The same again before its release is not handed on again.
    client.publish(TOPIC, b"x", QoS::ExactlyOnce, 10).await;
    assert_eq!(client.packet().await, Packet::PubRec(PubRec::new(10)));
    client.send(&Packet::PubRel(PubRel::new(10))).await;
    assert_eq!(client.packet().await, Packet::PubComp(PubComp::new(10)));
    client.publish(TOPIC, b"y", QoS::ExactlyOnce, 10).await;
    assert_eq!(rig::arrival(&mut outlet).await.payload, "y");
}

#[tokio::test]
async fn acknowledgements_keep_the_order_of_receipt_when_completions_do_not() {
    let (house, mut outlet) = rig::open(ROOMY).await;
    let mut client = house.client("gateway").await;
    let mut messages = Vec::new();
    for pkid in 1..=5 {
        client.publish(TOPIC, b"x", QoS::AtLeastOnce, pkid).await;
        messages.push(rig::arrival(&mut outlet).await);
    }
    for message in messages.into_iter().rev() {
        client.nothing_said().await;
        message.receipt.complete(Outcome::Refused);
    }
    let mut said = Vec::new();
    for _ in 0..5 {
        said.push(client.packet().await);
    }
    assert_eq!(said, acks(1..=5));
}

#[tokio::test]
async fn a_message_that_failed_closes_the_connection_unacknowledged() {
    let (house, mut outlet) = rig::open(ROOMY).await;
    let mut client = house.client("gateway").await;
    for pkid in 1..=3 {
        client.publish(TOPIC, b"x", QoS::AtLeastOnce, pkid).await;
    }
    rig::arrival(&mut outlet).await.receipt.complete(Outcome::Stored);
    assert_eq!(client.packet().await, Packet::PubAck(PubAck::new(1)));
    let (_second, third) = (rig::arrival(&mut outlet).await, rig::arrival(&mut outlet).await);
    drop(third);
    assert_eq!(client.closed().await, []);
    assert_eq!(house.reason("message_not_stored"), 1);
}

#[tokio::test]
async fn a_full_queue_stops_the_reading_and_the_keepalive_but_not_the_acknowledging() {
    let (house, mut outlet) = rig::open(Bounds { messages: 2, bytes: 1 << 20 }).await;
    let mut client = Raw::dial(house.address()).await;
    let mut connect = rig::connect("gateway");
    connect.keep_alive = 1;
    client.log_in(&connect).await;
    for pkid in 1..=4 {
        client.publish(TOPIC, b"x", QoS::AtLeastOnce, pkid).await;
    }
    let first = rig::arrival(&mut outlet).await;
    let second = rig::arrival(&mut outlet).await;
    // Silent for longer than one and a half keepalives, because it is not read: nothing happens.
    client.send(&Packet::PingReq).await;
    client.silent_for(Duration::from_millis(2_500)).await;
    first.receipt.complete(Outcome::Stored);
    drop(first.payload);
    assert_eq!(client.packet().await, Packet::PubAck(PubAck::new(1)));
    client.silent_for(Duration::from_millis(300)).await;
    drop(first.place);
    let third = rig::arrival(&mut outlet).await;
    drop(second.place);
    let fourth = rig::arrival(&mut outlet).await;
    assert_eq!(client.packet().await, Packet::PingResp);
    for message in [fourth.receipt, third.receipt, second.receipt] {
        message.complete(Outcome::Stored);
    }
    for pkid in 2..=4 {
        assert_eq!(client.packet().await, Packet::PubAck(PubAck::new(pkid)));
    }
}

#[tokio::test]
async fn a_message_that_waits_for_the_queue_outlives_its_connection() {
    let (house, mut outlet) = rig::open(Bounds { messages: 1, bytes: 1 << 20 }).await;
    let mut client = house.client("gateway").await;
    client.publish(TOPIC, b"first", QoS::AtMostOnce, 0).await;
    client.publish(TOPIC, b"second", QoS::AtMostOnce, 0).await;
    eventually_async("both are received", || {
        (house.counters.broker_publishes.get() == 2).then_some(())
    })
    .await;
    let _successor = house.client("gateway").await;
    client.closed().await;
    let first = rig::arrival(&mut outlet).await;
    assert_eq!(first.payload, "first");
    drop(first);
    assert_eq!(rig::arrival(&mut outlet).await.payload, "second");
}

#[tokio::test]
async fn a_predecessor_whose_messages_come_again_does_not_wait_for_the_queue() {
    let (house, _outlet) = rig::open(Bounds { messages: 1, bytes: 1 << 20 }).await;
    for round in 1..=3 {
        let mut client = house.client("gateway").await;
        for pkid in 1..=3 {
            client.publish(TOPIC, b"x", QoS::AtLeastOnce, pkid).await;
        }
        eventually_async("the queue is full", || {
            (house.counters.broker_publishes.get() == round + 1).then_some(())
        })
        .await;
        let _successor = house.client("gateway").await;
        client.closed().await;
        eventually_async("one is left", || {
            (house.counters.broker_connections.get() == 1).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn all_that_was_received_outlives_a_takeover_and_comes_before_the_will() {
    let (house, mut outlet) = rig::open(Bounds { messages: 2, bytes: 1 << 20 }).await;
    let mut client = Raw::dial(house.address()).await;
    client.log_in(&rig::with_will("gateway", TOPIC, "offline", false)).await;
    // More than is read at once: most of it is still in the system's buffer.
    let (wanted, large) = (200, vec![b'x'; 1_000]);
    for _ in 0..wanted {
        client.publish(TOPIC, &large, QoS::AtMostOnce, 0).await;
    }
    eventually_async("the queue is full", || {
        (house.counters.broker_publishes.get() == 3).then_some(())
    })
    .await;
    let began = Instant::now();
    let mut successor = house.client("gateway").await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(client.closed().await, [], "its predecessor is hung up on at once");
    for _ in 0..wanted {
        assert_eq!(rig::arrival(&mut outlet).await.payload, large);
    }
    assert_eq!(rig::arrival(&mut outlet).await.payload, "offline");
    assert_eq!(house.counters.broker_takeovers.get(), 1);
    successor.publish(TOPIC, b"next", QoS::AtMostOnce, 0).await;
    assert_eq!(rig::arrival(&mut outlet).await.payload, "next");
    assert_eq!(house.counters.broker_held.get(), 0);
}

#[tokio::test]
async fn silence_is_ended_after_one_and_a_half_keepalives_and_copies_do_not_count() {
    let (house, _stored) = rig::storing().await;
    let mut client = Raw::dial(house.address()).await;
    let mut connect = rig::connect("silent");
    connect.keep_alive = 1;
    client.log_in(&connect).await;
    client.subscribe("#").await;
    let mut talker = house.client("talker").await;
    // Ten copies a second: were they taken for signs of life, the keepalive would never run out.
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    let talk = async {
        loop {
            pace.tick().await;
            talker.publish(TOPIC, b"x", QoS::AtMostOnce, 0).await;
        }
    };
    tokio::select! {
        said = client.closed() => assert!(!said.is_empty()),
        () = talk => {}
    }
    assert_eq!(house.reason("keepalive_ran_out"), 1);
}

#[tokio::test]
async fn row_17_a_publish_over_64_kib_is_skipped_counted_and_acknowledged_in_its_turn() {
    let (house, mut outlet) = rig::open(ROOMY).await;
    let mut client = house.client("gateway").await;
    client.publish(TOPIC, b"x", QoS::AtLeastOnce, 1).await;
    client.publish(TOPIC, &vec![0; 65_537], QoS::AtLeastOnce, 2).await;
    client.publish(TOPIC, &vec![0; 5_000_000], QoS::ExactlyOnce, 3).await;
    client.publish(TOPIC, &vec![0; 300_000], QoS::AtMostOnce, 0).await;
    client.publish(TOPIC, &vec![7; 64 * 1024], QoS::AtLeastOnce, 4).await;
    let first = rig::arrival(&mut outlet).await;
    let last = rig::arrival(&mut outlet).await;
    assert_eq!(last.payload.len(), 64 * 1024);
    client.nothing_said().await;
    first.receipt.complete(Outcome::Stored);
    assert_eq!(client.packet().await, Packet::PubAck(PubAck::new(1)));
    assert_eq!(client.packet().await, Packet::PubAck(PubAck::new(2)));
    assert_eq!(client.packet().await, Packet::PubRec(PubRec::new(3)));
    last.receipt.complete(Outcome::Stored);
    assert_eq!(client.packet().await, Packet::PubAck(PubAck::new(4)));
    assert_eq!(house.reason("publish_too_large"), 3);
}

#[tokio::test]
async fn a_forbidden_publish_is_counted_acknowledged_and_never_a_disconnect() {
    let (house, mut stored) = rig::storing().await;
    let mut client = house.client("gateway").await;
    let cases = [
        ("homeassistant/x", "publish_outside_meshcore"),
        ("meshcore/SJC/AB12/internal", "publish_to_internal"),
        ("meshcore/SJC/AB12/serial/commands", "publish_to_serial_commands"),
        ("meshcore/#", "publish_to_wildcard_topic"),
        ("", "publish_to_empty_topic"),
        ("$SYS/x", "publish_to_dollar_topic"),
    ];
    for (pkid, (topic, reason)) in (1..).zip(cases) {
        client.publish(topic, b"x", QoS::AtLeastOnce, pkid).await;
        assert_eq!(client.packet().await, Packet::PubAck(PubAck::new(pkid)));
        assert_eq!(house.reason(reason), 1, "{topic}");
    }
    assert!(stored.nothing_more());
    house.still_serves(&mut stored).await;
}

#[tokio::test]
async fn a_burst_comes_in_whole_and_in_order() {
    let (house, mut stored) = rig::storing().await;
    let mut client = house.client("gateway").await;
    let mut burst = Vec::new();
    for n in 0..20_000_u32 {
        let payload = n.to_be_bytes();
        let publish = rig::publish(TOPIC, &payload, QoS::AtMostOnce, 0);
        burst.extend(rig::bytes_of(&Packet::Publish(publish)));
    }
    let send = client.bytes(&burst);
    let take = async {
        for n in 0..20_000_u32 {
            assert_eq!(stored.next().await.payload[..], n.to_be_bytes());
        }
    };
    tokio::join!(send, take);
}

#[tokio::test]
async fn the_window_of_unacknowledged_messages_is_bounded() {
    let (house, mut outlet) = rig::open(ROOMY).await;
    let mut client = house.client("gateway").await;
    let mut burst = Vec::new();
    for pkid in 1..=3_000 {
        let publish = rig::publish(TOPIC, b"x", QoS::AtLeastOnce, pkid);
        burst.extend(rig::bytes_of(&Packet::Publish(publish)));
    }
    client.bytes(&burst).await;
    let mut held = Vec::new();
    while held.len() < 2_000 {
        held.push(rig::arrival(&mut outlet).await);
    }
    client.silent_for(Duration::from_millis(200)).await;
    assert_eq!(house.counters.broker_publishes.get(), 2_000);
    for message in held {
        message.receipt.complete(Outcome::Stored);
    }
    for pkid in 1..=2_000 {
        assert_eq!(client.packet().await, Packet::PubAck(PubAck::new(pkid)));
    }
    while house.counters.broker_publishes.get() < 3_000 {
        rig::arrival(&mut outlet).await.receipt.complete(Outcome::Stored);
    }
}

#[tokio::test]
async fn a_will_is_published_when_its_client_vanishes_and_not_after_goodbye() {
    let (house, mut stored) = rig::storing().await;
    let will = "meshcore/SJC/AB12/status";
    let mut polite = Raw::dial(house.address()).await;
    polite.log_in(&rig::with_will("polite", will, "polite is gone", false)).await;
    polite.send(&Packet::Disconnect).await;
    polite.closed().await;
    let mut rude = Raw::dial(house.address()).await;
    rude.log_in(&rig::with_will("rude", will, "rude is gone", false)).await;
    drop(rude);
    let arrival = stored.next().await;
    assert_eq!((arrival.topic.as_str(), &arrival.payload[..]), (will, &b"rude is gone"[..]));
    assert!(stored.nothing_more());
    assert_eq!(house.counters.broker_wills.get(), 1);
    eventually_async("both are gone", || {
        (house.counters.broker_connections.get() == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_will_is_published_after_a_breach_of_protocol_and_after_silence() {
    let (house, mut stored) = rig::storing().await;
    let mut breaker = Raw::dial(house.address()).await;
    breaker.log_in(&rig::with_will("breaker", TOPIC, "broken", false)).await;
    breaker.bytes(&[0xFF, 0x00]).await;
    assert_eq!(stored.next().await.payload, "broken");
    let mut silent = Raw::dial(house.address()).await;
    let mut connect = rig::with_will("silent", TOPIC, "silence", false);
    connect.keep_alive = 1;
    silent.log_in(&connect).await;
    assert_eq!(stored.next().await.payload, "silence");
}

#[tokio::test]
async fn a_will_goes_through_the_same_checks_as_any_publish() {
    let (house, mut stored) = rig::storing().await;
    for topic in ["homeassistant/x", "meshcore/#", "meshcore/x/y/internal"] {
        let mut client = Raw::dial(house.address()).await;
        client.log_in(&rig::with_will("x", topic, "gone", false)).await;
        drop(client);
    }
    eventually_async("all are refused", || {
        let refused = house.reason("publish_outside_meshcore")
            + house.reason("publish_to_wildcard_topic")
            + house.reason("publish_to_internal");
        (refused == 3).then_some(())
    })
    .await;
    assert!(stored.nothing_more());
}
