//! Stopping: what was received drains, what is committed is acknowledged, nobody is said to be gone.

use std::time::{Duration, Instant};

use meshbox::message::Outcome;
use meshbox::message::queue::{Bounds, queue};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, PubAck};

use super::rig::{self, ROOMY, Raw, TOPIC};
use crate::support::PATIENCE;

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

#[tokio::test]
async fn what_was_received_drains_and_is_acknowledged_after_the_reading_has_stopped() {
    let (house, mut outlet) = rig::open(Bounds { messages: 100, bytes: 1 << 20 }).await;
    let mut client = Raw::dial(house.address()).await;
    client.log_in(&rig::with_will("gateway", TOPIC, "offline", false)).await;
    let mut burst = Vec::new();
    for pkid in 1..=1_000 {
        let publish = rig::publish(TOPIC, b"x", QoS::AtLeastOnce, pkid);
        burst.extend(rig::bytes_of(&Packet::Publish(publish)));
    }
    client.bytes(&burst).await;
    // The queue is full long before, and most of it is still in the system's buffers.
    let drain = async {
        let mut receipts = Vec::new();
        while let Some(message) = outlet.next().await {
            assert_eq!(message.payload, "x");
            receipts.push(message.receipt);
        }
        receipts
    };
    let ((), receipts) = tokio::join!(house.broker.quiesce(), drain);
    assert_eq!(receipts.len(), 1_000);
    client.silent_for(Duration::from_millis(100)).await;
    receipts.into_iter().for_each(|receipt| receipt.complete(Outcome::Stored));
    let (in_time, said) = tokio::join!(house.broker.stop(soon()), client.closed());
    assert!(in_time);
    let expected: Vec<_> = (1..=1_000).map(|pkid| Packet::PubAck(PubAck::new(pkid))).collect();
    assert_eq!(said, expected);
    assert_eq!(house.counters.broker_wills.get(), 0);
}

#[tokio::test]
async fn cancelling_the_shutdown_token_is_the_same_as_quiescing() {
    let (house, mut outlet) = rig::open(ROOMY).await;
    let mut client = house.client("gateway").await;
    client.publish(TOPIC, b"x", QoS::AtMostOnce, 0).await;
    house.shutdown.cancel();
    assert_eq!(rig::arrival(&mut outlet).await.payload, "x");
    assert!(tokio::time::timeout(PATIENCE, outlet.next()).await.unwrap().is_none());
    assert_eq!(client.closed().await, []);
    assert!(tokio::net::TcpStream::connect(house.address()).await.is_err());
    assert!(house.broker.stop(soon()).await);
}

#[tokio::test]
async fn idle_clients_and_strangers_do_not_hold_the_stop_up() {
    let (house, _outlet) = rig::open(ROOMY).await;
    let mut idle = house.client("idle").await;
    idle.subscribe("#").await;
    let mut stranger = Raw::dial(house.address()).await;
    let started = Instant::now();
    house.broker.quiesce().await;
    assert!(house.broker.stop(soon()).await);
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(idle.closed().await, []);
    assert_eq!(stranger.closed().await, []);
}

#[tokio::test]
async fn a_receipt_that_never_ends_is_cut_off_at_the_deadline() {
    let (house, mut outlet) = rig::open(ROOMY).await;
    let mut client = house.client("gateway").await;
    client.publish(TOPIC, b"x", QoS::AtLeastOnce, 1).await;
    let kept = rig::arrival(&mut outlet).await;
    house.broker.quiesce().await;
    assert!(house.broker.stop(Instant::now() + Duration::from_secs(5)).await);
    assert_eq!(client.closed().await, [], "nothing that is not stored is acknowledged");
    drop(kept);
}

#[tokio::test]
async fn a_client_that_reads_nothing_does_not_hold_the_stop_up_for_ever() {
    let (house, mut stored) = rig::storing().await;
    let mut deaf = house.client("deaf").await;
    deaf.subscribe("#").await;
    let mut publisher = house.client("publisher").await;
    // Until its buffers, the system's and ours, take no more.
    let (mut delivered, mut stuck) = (0, 0);
    while stuck < 100 {
        publisher.publish(TOPIC, &vec![0; 60_000], QoS::AtMostOnce, 0).await;
        stored.next().await;
        let now = house.counters.broker_deliveries.get();
        stuck = if now == delivered { stuck + 1 } else { 0 };
        delivered = now;
    }
    house.broker.quiesce().await;
    let started = Instant::now();
    let in_time = house.broker.stop(Instant::now() + Duration::from_millis(300)).await;
    assert!(!in_time);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_pipeline_that_ends_early_closes_its_senders_unacknowledged() {
    let (inlet, outlet) = queue(ROOMY);
    let listeners = vec![rig::listener("127.0.0.1:0", rig::ANYONE)];
    let house = rig::open_into(listeners, inlet).await;
    let mut client = house.client("gateway").await;
    drop(outlet);
    client.publish(TOPIC, b"x", QoS::AtLeastOnce, 1).await;
    assert_eq!(client.closed().await, []);
    assert_eq!(house.reason("pipeline_ended"), 1);
}

#[tokio::test]
async fn a_broker_that_is_off_holds_nothing_open() {
    let (house, mut outlet) = rig::open_with(vec![], ROOMY).await;
    assert!(house.broker.listening().is_empty());
    assert!(outlet.next().await.is_none());
    house.broker.quiesce().await;
    assert!(house.broker.stop(soon()).await);
}

#[tokio::test]
async fn a_hub_that_starts_again_gets_its_port_back_at_once() {
    let (house, _stored) = rig::storing().await;
    let address = house.address();
    let _client = house.client("gateway").await;
    house.broker.quiesce().await;
    house.broker.stop(soon()).await;
    let again = rig::listener(&address.to_string(), rig::ANYONE);
    let (house, mut stored) = rig::storing_on(vec![again]).await;
    house.still_serves(&mut stored).await;
}
