//! Connections that are up and bring nothing.

use super::publisher::publish;
use super::{Box, source};
use crate::support::process::Mosquitto;

use rumqttc::QoS;
use std::time::Duration;

const TOPIC: &str = "meshcore/SJC/K/packets";

#[tokio::test]
async fn a_source_that_falls_silent_is_said_and_dialled_anew_and_well_again_with_the_next_message()
{
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::start(dir.path(), "") else { return };
    let mut settings = source("s", broker.at);
    settings.stall = Some(Duration::from_millis(300));
    let mut hub = Box::start(&[settings], dir.path());
    hub.receiving("s").await;
    publish(broker.at, TOPIC, QoS::AtLeastOnce, false, ["one".to_owned()]).await;
    assert_eq!(hub.take().await, "one");
    let again = hub.until("s", "is dialled anew", |s| s.attempts == 2 && s.connected).await;
    assert!(again.silent, "until something comes, a person should look");
    let why = hub.receiving("s").await.last_error;
    assert!(why.starts_with("receiving: nothing came for "), "{why}");
    assert!(hub.counters.reasons.count("source_stalled") >= 1);
    hub.receiving("s").await;
    publish(broker.at, TOPIC, QoS::AtLeastOnce, false, ["two".to_owned()]).await;
    assert_eq!(hub.take().await, "two");
    let well = hub.until("s", "is well", |s| !s.silent).await;
    assert_eq!(well.last_error, "");
    hub.end().await;
}

#[tokio::test]
async fn where_nothing_ever_came_topics_and_permissions_are_named_and_the_connection_stays() {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::start(dir.path(), "") else { return };
    // A retained message shows that the connection works, and not that anything is published.
    publish(broker.at, TOPIC, QoS::AtLeastOnce, true, ["old".to_owned()]).await;
    let mut settings = source("s", broker.at);
    settings.stall = Some(Duration::from_millis(200));
    let mut hub = Box::start(&[settings], dir.path());
    assert_eq!(hub.take().await, "old");
    let said = hub.until("s", "says so", |s| s.silent).await;
    assert!(said.last_error.contains("never received anything; check topics"), "{said:?}");
    let twice = |_: &_| hub.counters.reasons.count("source_never_received") >= 2;
    let still = hub.until("s", "says so again", twice).await;
    assert_eq!((still.attempts, still.connected), (1, true));
    hub.end().await;
}
