//! The end, in two phases.

use super::fake::{Fake, publish};
use super::{Box, quick, source};
use crate::support::PATIENCE;
use crate::support::process::free_port;

use meshbox::message::Outcome;
use meshbox::message::queue::Bounds;
use rumqttc::mqttbytes::v4::Packet;
use std::time::{Duration, Instant};

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

#[tokio::test]
async fn what_is_committed_after_the_quiet_is_acknowledged_before_the_goodbye() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut hub = Box::start(&[source("s", broker.at)], dir.path());
    let mut client = broker.subscribed().await;
    client.send(&[publish(1, "a"), publish(2, "b")]).await;
    let (a, b) = (hub.next().await, hub.next().await);
    assert_eq!(hub.bridge.quiesce(soon()).await, 0);
    hub.inlets_are_gone().await;
    // Nothing more is taken in, and it is not acknowledged either.
    client.send(&[publish(3, "too late")]).await;
    a.receipt.complete(Outcome::Stored);
    b.receipt.complete(Outcome::Stored);
    assert!(hub.bridge.stop(soon()).await);
    assert_eq!(client.pubacks(2).await, [1, 2]);
    assert_eq!(client.packet().await, Some(Packet::Disconnect));
    assert_eq!(client.packet().await, None);
    let state = &hub.counters.sources()["s"];
    assert_eq!((state.step.as_str(), state.connected, state.messages), ("stopped", false, 2));
}

#[tokio::test]
async fn the_shutdown_token_alone_lets_the_pipeline_end() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut hub = Box::start(&[source("s", broker.at), source("t", free_port())], dir.path());
    let mut client = broker.subscribed().await;
    client.send(&[publish(1, "a")]).await;
    let message = hub.next().await;
    hub.shutdown.cancel();
    hub.inlets_are_gone().await;
    message.receipt.complete(Outcome::Stored);
    assert_eq!(client.pubacks(1).await, [1]);
    assert!(hub.bridge.stop(soon()).await);
}

#[tokio::test]
async fn what_waits_beside_the_queue_goes_in_before_the_inlet_is_let_go() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let room = Bounds { messages: 1, bytes: 1 << 20 };
    let hub = Box::with(&[source("s", broker.at)], dir.path(), room, quick());
    let mut client = broker.subscribed().await;
    client.send(&(1..=5).map(|id| publish(id, &id.to_string())).collect::<Vec<_>>()).await;
    hub.until("s", "buffers", |s| s.side_buffer == 4).await;
    let Box { mut bridge, mut outlet, .. } = hub;
    let quiet = tokio::spawn(async move { (bridge.quiesce(soon()).await, bridge) });
    let mut order = Vec::new();
    let rest = async {
        while let Some(message) = outlet.next().await {
            order.push(super::text(&message));
            message.receipt.complete(Outcome::Stored);
        }
    };
    tokio::time::timeout(PATIENCE, rest).await.expect("gave up waiting for the inlets to go");
    assert_eq!(order, ["1", "2", "3", "4", "5"]);
    let (lost, bridge) = quiet.await.unwrap();
    assert_eq!(lost, 0);
    assert_eq!(client.pubacks(5).await, [1, 2, 3, 4, 5]);
    assert!(bridge.stop(soon()).await);
}

#[tokio::test]
async fn a_store_that_takes_nothing_holds_the_end_up_no_longer_than_its_deadline() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let room = Bounds { messages: 1, bytes: 1 << 20 };
    let mut hub = Box::with(&[source("s", broker.at)], dir.path(), room, quick());
    let mut client = broker.subscribed().await;
    client.send(&[publish(1, "in the queue"), publish(2, "kept by the broker")]).await;
    client.send(&[publish(0, "lost"), publish(0, "lost")]).await;
    hub.until("s", "buffers", |s| s.side_buffer == 3).await;
    let stuck = hub.next().await;
    assert_eq!(hub.bridge.quiesce(Instant::now()).await, 2, "the two of QoS 0 are told");
    assert!(!hub.bridge.stop(Instant::now() + Duration::from_millis(50)).await);
    assert_eq!(client.packet().await, None, "cut off, and nothing acknowledged");
    stuck.receipt.complete(Outcome::Stored);
}

#[tokio::test]
async fn a_source_that_is_not_connected_ends_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let closed = free_port();
    let silent = Fake::start().await;
    let sources = [source("closed", closed), source("silent", silent.at)];
    let mut limits = quick();
    limits.patience = Duration::from_secs(3_600);
    limits.backoff_first = Duration::from_secs(3_600);
    limits.backoff_max = Duration::from_secs(3_600);
    let mut hub = Box::with(&sources, dir.path(), super::WIDE, limits);
    hub.until("closed", "backs off", |s| !s.last_error.is_empty()).await;
    let _waiting_for_connack = silent.accept().await;
    assert_eq!(hub.bridge.quiesce(soon()).await, 0);
    hub.inlets_are_gone().await;
    assert!(hub.bridge.stop(soon()).await);
}
