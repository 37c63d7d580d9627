//! The queue is full: the side buffer, the letting go, and that nothing is lost.

use super::fake::{Client, Fake, publish};
use super::publisher;
use super::{Box, quick, source};
use crate::support::process::Mosquitto;

use meshbox::bridge::Limits;
use meshbox::message::queue::Bounds;
use rumqttc::QoS;
use rumqttc::mqttbytes::v4::Packet;
use std::time::{Duration, Instant};

fn narrow(side: usize) -> Limits {
    Limits { side_buffer: Bounds { messages: side, bytes: 1 << 20 }, ..quick() }
}

const TWO: Bounds = Bounds { messages: 2, bytes: 1 << 20 };

#[tokio::test]
async fn messages_wait_beside_a_full_queue_in_their_order_and_the_connection_stays() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut hub = Box::with(&[source("s", broker.at)], dir.path(), TWO, narrow(1_000));
    let mut client = broker.subscribed().await;
    let packets: Vec<Packet> = (1..=50).map(|id| publish(id, &id.to_string())).collect();
    client.send(&packets).await;
    hub.until("s", "buffers", |s| s.side_buffer == 48).await;
    for id in 1..=50 {
        assert_eq!(hub.take().await, id.to_string());
    }
    assert_eq!(client.pubacks(50).await, (1..=50).collect::<Vec<u16>>());
    let state = hub.until("s", "is empty", |s| s.side_buffer == 0).await;
    assert!(state.connected && state.attempts == 1);
    assert_eq!(hub.counters.reasons.count("source_queue_full"), 0);
}

#[tokio::test]
async fn a_full_side_buffer_lets_the_connection_go_and_keeps_every_qos_0_message() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut hub = Box::with(&[source("s", broker.at)], dir.path(), TWO, narrow(3));
    let mut client = broker.subscribed().await;
    // One write: rumqttc reads more of it than the side buffer has room for.
    let packets: Vec<Packet> = (0..8).map(|n| publish(0, &format!("zero {n}"))).collect();
    client.send(&packets).await;
    assert_eq!(client.packet().await, Some(Packet::Disconnect));
    drop(client);
    let state = hub.until("s", "waits", |s| s.step == "waiting").await;
    assert!(!state.connected && state.attempts == 1, "{state:?}");
    assert_eq!(state.side_buffer, 6);
    assert_eq!(hub.counters.reasons.count("source_queue_full"), 1);
    for n in 0..8 {
        assert_eq!(hub.take().await, format!("zero {n}"));
    }
    let mut client = broker.subscribed().await;
    client.send(&[publish(1, "after")]).await;
    assert_eq!(hub.take().await, "after");
    assert_eq!(client.pubacks(1).await, [1]);
}

#[tokio::test]
async fn after_letting_go_it_pauses_before_it_dials_again_though_there_is_room() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let pause = Duration::from_millis(600);
    let limits = Limits { backoff_first: pause, backoff_max: pause, ..narrow(3) };
    let mut hub = Box::with(&[source("s", broker.at)], dir.path(), TWO, limits);
    let mut client = broker.subscribed().await;
    client.send(&(0..5).map(|n| publish(0, &n.to_string())).collect::<Vec<_>>()).await;
    assert_eq!(client.packet().await, Some(Packet::Disconnect));
    let let_go = Instant::now();
    drop(client);
    for n in 0..5 {
        assert_eq!(hub.take().await, n.to_string());
    }
    broker.subscribed().await;
    assert!(let_go.elapsed() >= pause / 3, "{:?}", let_go.elapsed());
}

#[tokio::test]
async fn a_source_that_fills_the_queue_again_and_again_does_not_wait_longer_each_time() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { backoff_max: Duration::from_secs(3_600), ..narrow(3) };
    let mut hub = Box::with(&[source("s", broker.at)], dir.path(), TWO, limits);
    // Doubled each time, the wait before the last of them would be over a minute.
    for _ in 0..15 {
        let mut client = broker.subscribed().await;
        client.send(&(0..5).map(|n| publish(0, &n.to_string())).collect::<Vec<_>>()).await;
        assert_eq!(client.packet().await, Some(Packet::Disconnect));
        drop(client);
        for n in 0..5 {
            assert_eq!(hub.take().await, n.to_string());
        }
    }
}

#[tokio::test]
async fn a_broker_that_does_not_stop_sending_cannot_fill_the_memory_and_what_is_lost_is_counted() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { patience: Duration::from_secs(3_600), ..narrow(10) };
    let mut hub = Box::with(&[source("s", broker.at)], dir.path(), TWO, limits);
    let mut client = broker.subscribed().await;
    let flood: Vec<Packet> = (0..500).map(|n| publish(0, &n.to_string())).collect();
    client.send(&flood).await;
    hub.until("s", "lets go", |s| s.step == "waiting").await;
    let state = hub.state("s");
    let lost = hub.counters.reasons.count("source_message_lost");
    assert!(state.side_buffer <= 100, "{state:?}");
    assert!(lost > 0 && state.messages <= 500, "{state:?}");
    for n in 0..state.messages - lost {
        assert_eq!(hub.take().await, n.to_string(), "the first ones are kept, in order");
    }
}

/// As many QoS 1 publishes as fill the queue and the side buffer, and `more`.
async fn fill(client: &mut Client, more: u16) {
    client.send(&(1..=5 + more).map(|id| publish(id, &id.to_string())).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn before_it_lets_go_it_acknowledges_what_it_took_and_ignores_what_else_comes() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { patience: Duration::from_secs(3_600), ..narrow(3) };
    let mut hub = Box::with(&[source("s", broker.at)], dir.path(), TWO, limits);
    let mut client = broker.subscribed().await;
    fill(&mut client, 4).await;
    hub.until("s", "is full", |s| s.side_buffer == 3).await;
    for id in 1..=5 {
        assert_eq!(hub.take().await, id.to_string());
    }
    assert_eq!(client.pubacks(5).await, [1, 2, 3, 4, 5]);
    assert_eq!(client.packet().await, Some(Packet::Disconnect));
    drop(client);
    let mut client = broker.subscribed().await;
    client.send(&[publish(6, "6 again")]).await;
    assert_eq!(hub.take().await, "6 again");
    assert_eq!(client.pubacks(1).await, [6]);
}

#[tokio::test]
async fn when_nothing_is_stored_it_lets_go_and_dials_only_when_all_that_waits_has_room() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { patience: Duration::from_millis(100), ..narrow(3) };
    let mut hub = Box::with(&[source("s", broker.at)], dir.path(), TWO, limits);
    let mut client = broker.subscribed().await;
    fill(&mut client, 0).await;
    assert_eq!(client.packet().await, Some(Packet::Disconnect), "no PUBACK before it");
    hub.until("s", "waits", |s| s.step == "waiting" && !s.connected).await;
    // Room for some is not room for all.
    assert_eq!(hub.take().await, "1");
    let state = hub.until("s", "moves up", |s| s.side_buffer == 2).await;
    assert_eq!((state.attempts, state.step.as_str()), (1, "waiting"));
    for id in 2..=5 {
        assert_eq!(hub.take().await, id.to_string());
    }
    let mut client = broker.subscribed().await;
    // None was acknowledged on the old connection: all come again.
    client.send(&[publish(1, "1 again")]).await;
    assert_eq!(hub.take().await, "1 again");
    assert_eq!(client.pubacks(1).await, [1]);
}

#[tokio::test]
async fn a_connection_that_breaks_while_all_is_full_is_not_dialled_again_before_there_is_room() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut hub = Box::with(&[source("s", broker.at)], dir.path(), TWO, narrow(3));
    let mut client = broker.subscribed().await;
    fill(&mut client, 0).await;
    hub.until("s", "is full", |s| s.side_buffer == 3).await;
    drop(client);
    let state = hub.until("s", "waits", |s| s.step == "waiting").await;
    assert_eq!((state.attempts, state.connected), (1, false));
    for id in 1..=5 {
        assert_eq!(hub.take().await, id.to_string());
    }
    broker.subscribed().await;
}

#[tokio::test]
async fn from_a_real_broker_everything_arrives_in_order_though_the_queue_is_far_too_small() {
    let dir = tempfile::tempdir().unwrap();
    // No window of its own: it sends as fast as we read.
    let Some(broker) = Mosquitto::start(dir.path(), "max_inflight_messages 0") else { return };
    let mut hub = Box::with(&[source("s", broker.at)], dir.path(), TWO, narrow(20));
    hub.receiving("s").await;
    let wanted: Vec<String> = (0..200).map(|n| format!("burst {n}")).collect();
    let topic = "meshcore/SJC/K/packets";
    publisher::publish(broker.at, topic, QoS::AtLeastOnce, false, wanted.clone()).await;
    hub.until("s", "is full", |s| s.side_buffer >= 20).await;
    for payload in &wanted {
        assert_eq!(&hub.take().await, payload);
    }
    assert!(hub.counters.reasons.count("source_queue_full") >= 1);
    hub.receiving("s").await;
    hub.end().await;
}
