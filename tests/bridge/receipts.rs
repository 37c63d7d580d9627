//! Acknowledged means stored: what goes back to the broker, and when.

use super::fake::{Fake, publish};
use super::{Box, source, text};
use crate::support::PATIENCE;

use meshbox::message::Outcome;
use rumqttc::mqttbytes::v4::Packet;
use std::time::Instant;

#[tokio::test]
async fn a_publish_is_acknowledged_when_it_is_stored_and_in_the_order_of_receipt() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut hub = Box::start(&[source("s", broker.at)], dir.path());
    let mut client = broker.subscribed().await;
    client.send(&[publish(7, "first"), publish(8, "second"), publish(9, "third")]).await;
    let (first, second, third) = (hub.next().await, hub.next().await, hub.next().await);
    assert!(first.receipt.is_awaited());
    third.receipt.complete(Outcome::Stored);
    second.receipt.complete(Outcome::Refused);
    // QoS 0 behind them: when it is here, the source has seen everything before it.
    client.send(&[publish(0, "marker")]).await;
    assert!(!hub.next().await.receipt.is_awaited(), "nobody waits for a QoS 0 message");
    first.receipt.complete(Outcome::Stored);
    assert_eq!(client.pubacks(3).await, [7, 8, 9]);
}

#[tokio::test]
async fn nothing_is_acknowledged_before_it_is_stored() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut hub = Box::start(&[source("s", broker.at)], dir.path());
    let mut client = broker.subscribed().await;
    client.send(&[publish(1, "kept")]).await;
    let message = hub.next().await;
    // The hub stops with the message unstored: the broker must see the end without a PUBACK.
    hub.bridge.quiesce(Instant::now() + PATIENCE).await;
    drop(message);
    assert!(hub.bridge.stop(Instant::now() + PATIENCE).await);
    assert_eq!(client.packet().await, Some(Packet::Disconnect));
    assert_eq!(client.packet().await, None);
}

#[tokio::test]
async fn a_completion_of_an_earlier_connection_acknowledges_nothing() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut hub = Box::start(&[source("s", broker.at)], dir.path());
    let mut client = broker.subscribed().await;
    client.send(&[publish(1, "of the first connection")]).await;
    let earlier = hub.next().await;
    drop(client);
    let mut client = broker.subscribed().await;
    client.send(&[publish(1, "of the second connection")]).await;
    let later = hub.next().await;
    assert_eq!(text(&later), "of the second connection");
    // Same packet id, same serial number, another message.
    earlier.receipt.complete(Outcome::Stored);
    later.receipt.complete(Outcome::Failed);
    assert_eq!(client.packet().await, Some(Packet::Disconnect), "and no PUBACK before it");
}

#[tokio::test]
async fn a_message_that_could_not_be_stored_is_asked_for_again_with_all_behind_it() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut hub = Box::start(&[source("s", broker.at)], dir.path());
    let mut client = broker.subscribed().await;
    client.send(&[publish(1, "a"), publish(2, "b"), publish(3, "c")]).await;
    let (a, b, c) = (hub.next().await, hub.next().await, hub.next().await);
    a.receipt.complete(Outcome::Stored);
    b.receipt.complete(Outcome::Failed);
    c.receipt.complete(Outcome::Stored);
    assert_eq!(client.pubacks(1).await, [1]);
    assert_eq!(client.packet().await, Some(Packet::Disconnect));
    let mut client = broker.subscribed().await;
    client.send(&[publish(2, "b"), publish(3, "c")]).await;
    for again in ["b", "c"] {
        assert_eq!(hub.take().await, again);
    }
    assert_eq!(client.pubacks(2).await, [2, 3]);
    assert!(hub.receiving("s").await.attempts >= 2);
}

#[tokio::test]
async fn each_connection_subscribes_anew_under_the_same_client_id_and_keeps_the_session() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut settings = source("s", broker.at);
    settings.topics = vec!["meshcore/#".into(), "other/+/packets".into()];
    let mut ids = Vec::new();
    for _ in 0..2 {
        let hub = Box::start(std::slice::from_ref(&settings), dir.path());
        for _ in 0..2 {
            let (mut client, connect) = broker.log_in(true).await;
            assert!(!connect.clean_session);
            assert_eq!(connect.keep_alive, 30);
            assert_eq!(client.grant().await, settings.topics);
            ids.push(connect.client_id);
        }
        hub.end().await;
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "one id across reconnects and restarts: {ids:?}");
    assert!(ids[0].len() <= 23 && ids[0].bytes().all(|b| b.is_ascii_alphanumeric()));
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_counted_and_acknowledged_in_its_turn() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut hub = Box::start(&[source("s", broker.at)], dir.path());
    let mut client = broker.subscribed().await;
    let large = "x".repeat(meshbox::message::MAX_PAYLOAD + 1);
    let largest = "y".repeat(meshbox::message::MAX_PAYLOAD);
    client.send(&[publish(1, "before"), publish(2, &large), publish(3, &largest)]).await;
    assert_eq!(hub.take().await, "before");
    assert_eq!(hub.take().await.len(), largest.len());
    assert_eq!(client.pubacks(3).await, [1, 2, 3]);
    assert_eq!(hub.counters.reasons.count("source_message_too_large"), 1);
    assert_eq!(hub.state("s").attempts, 1);
}
