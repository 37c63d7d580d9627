//! The seven ways that kill a stock rumqttd, each with a packet or two that anyone may send; and
//! afterwards a good client still publishes, subscribes and receives.

use std::time::{Duration, Instant};

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, PubAck};

use super::rig::{self, House, Raw, TOPIC, connect};

/// A CONNECT of MQTT 5 without properties.
const CONNECT_5: &[u8] = b"\x10\x10\0\x04MQTT\x05\x02\0\x3c\0\0\x03abc";

async fn subscriber(house: &House) -> Raw {
    let mut subscriber = house.client("subscriber").await;
    assert_eq!(subscriber.subscribe("#").await, [0]);
    subscriber
}

#[tokio::test]
async fn case_1_a_topic_that_starts_with_a_wide_character() {
    let (house, mut stored) = rig::storing().await;
    let mut subscriber = subscriber(&house).await;
    let mut client = house.client("accents").await;
    for (pkid, topic) in (1..).zip(["é", "é/x", "meshcore/é", "meshcore/\u{1F4A9}/x"]) {
        client.publish(topic, b"x", QoS::AtLeastOnce, pkid).await;
        assert_eq!(client.packet().await, Packet::PubAck(PubAck::new(pkid)));
    }
    // What is allowed is stored, although nobody can have subscribed to it.
    assert_eq!(stored.next().await.topic, "meshcore/é");
    for topic in ["é", "meshcore/é"] {
        let mut client = Raw::dial(house.address()).await;
        client.log_in(&rig::with_will("will", topic, "gone", true)).await;
    }
    while stored.next().await.payload != "gone" {}
    house.still_serves(&mut stored).await;
    assert_eq!(subscriber.delivery().await.topic, "meshcore/alive/x");
    assert_eq!(house.counters.broker_router_rebuilds.get(), 0);
}

#[tokio::test]
async fn case_2_a_shared_subscription_left_without_an_acknowledgement() {
    let (house, mut stored) = rig::storing().await;
    for _ in 0..3 {
        let mut client = Raw::dial(house.address()).await;
        let mut connect = connect("sharer");
        connect.clean_session = false;
        client.log_in(&connect).await;
        assert_eq!(client.subscribe("$share/group/meshcore/#").await, [0x80]);
        assert_eq!(client.subscribe("meshcore/#").await, [0]);
        client.publish(TOPIC, b"x", QoS::AtLeastOnce, 1).await;
        // One copy at most is read, and nothing acknowledged.
        client.packet().await;
    }
    house.still_serves(&mut stored).await;
    assert_eq!(house.counters.broker_router_rebuilds.get(), 0);
}

#[tokio::test]
async fn case_3_client_ids_that_the_router_refuses() {
    let (house, mut stored) = rig::storing().await;
    for id in ["a+b", "a#b", "$a", "a/b", "feed", "slot-1"] {
        for _ in 0..3 {
            let mut client = house.client(id).await;
            assert_eq!(client.subscribe("#").await, [0]);
            client.publish("meshcore/own", id.as_bytes(), QoS::AtMostOnce, 0).await;
            assert_eq!(client.delivery().await.payload, id);
        }
    }
    house.still_serves(&mut stored).await;
    assert_eq!(house.counters.broker_router_rebuilds.get(), 0);
}

#[tokio::test]
async fn case_4_a_publish_with_properties_beside_a_subscriber_of_3_1_1() {
    let (house, mut stored) = rig::storing().await;
    let mut subscriber = subscriber(&house).await;
    let mut client = Raw::dial(house.address()).await;
    client.bytes(CONNECT_5).await;
    // A PUBLISH of MQTT 5 to "meshcore" with the content type "text".
    client.bytes(b"\x30\x13\0\x08meshcore\x07\x03\0\x04text!").await;
    assert_eq!(subscriber.delivery().await.payload, "!");
    // The same bytes on a connection of 3.1.1 are a payload like any other.
    let mut client = house.client("old").await;
    client.bytes(b"\x30\x13\0\x08meshcore\x07\x03\0\x04text!").await;
    assert_eq!(subscriber.delivery().await.payload, "\x07\x03\0\x04text!");
    house.still_serves(&mut stored).await;
}

#[tokio::test]
async fn case_5_packets_that_only_a_server_sends() {
    let (house, mut stored) = rig::storing().await;
    let cases: [&[u8]; 4] =
        [b"\x20\x02\0\0", b"\xB0\x02\0\x01", b"\xB0\x04\0\x01\0\0", b"\x90\x03\0\x01\0"];
    for bytes in cases {
        let mut before = Raw::dial(house.address()).await;
        before.bytes(bytes).await;
        assert_eq!(before.closed().await, []);
        for _ in 0..2 {
            let mut after = house.client("confused").await;
            after.bytes(bytes).await;
            assert_eq!(after.closed().await, []);
        }
        let mut version_5 = Raw::dial(house.address()).await;
        version_5.bytes(&[CONNECT_5, bytes].concat()).await;
        // A CONNACK, then a DISCONNECT that calls it a protocol error.
        let said = version_5.rest().await;
        assert_eq!((said[0], said[3]), (0x20, 0));
        assert!(said.windows(3).any(|w| w[0] == 0xE0 && w[2] == 0x82), "{said:x?}");
    }
    house.still_serves(&mut stored).await;
}

#[tokio::test]
async fn case_6_silent_sockets_do_not_keep_others_out_and_are_closed() {
    let (house, mut stored) = rig::storing().await;
    let mut silent = Vec::new();
    for n in 0..50 {
        let mut socket = Raw::dial(house.address()).await;
        // Some say a little, and then nothing.
        socket.bytes(&CONNECT_5[..n % 3]).await;
        silent.push(socket);
    }
    let started = Instant::now();
    let mut client = house.client("good").await;
    client.publish(TOPIC, b"x", QoS::AtLeastOnce, 1).await;
    assert_eq!(client.packet().await, Packet::PubAck(PubAck::new(1)));
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    house.still_serves(&mut stored).await;
    for socket in &mut silent {
        assert_eq!(socket.closed().await, []);
    }
    assert_eq!(house.reason("no_connect_in_time"), 50);
}

// Case 7, used-up file descriptors, needs a listener that fails: `broker::listener` has it.

#[tokio::test]
async fn a_storm_of_connections_leaves_nothing_behind() {
    let (house, mut stored) = rig::storing().await;
    for round in 0..200 {
        let mut client = Raw::dial(house.address()).await;
        match round % 4 {
            0 => {}
            1 => client.log_in(&connect("same")).await,
            2 => {
                client.log_in(&connect("other")).await;
                client.subscribe("#").await;
            }
            _ => client.bytes(b"\x10\x7f\0\x04MQ").await,
        }
    }
    house.still_serves(&mut stored).await;
    crate::support::eventually_async("all have left", || {
        (house.counters.broker_connections.get() == 0).then_some(())
    })
    .await;
    assert_eq!(house.counters.broker_accepted.get(), 202);
}
