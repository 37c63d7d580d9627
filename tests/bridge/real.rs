//! A real mosquitto as the external broker.

use super::publisher::publish;
use super::{Box, NOW_MS, account, numbered, source, text};
use crate::support::process::Mosquitto;
use crate::support::program;

use meshbox::message::{OriginKind, Outcome};
use rumqttc::QoS;
use std::process::Command;

const TOPIC: &str = "meshcore/SJC/K/packets";

fn one(payload: &str) -> Vec<String> {
    vec![payload.to_owned()]
}

#[tokio::test]
async fn a_message_arrives_as_it_was_published() {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::start(dir.path(), "") else { return };
    let mut hub = Box::start(&[source("region", broker.at)], dir.path());
    hub.receiving("region").await;
    publish(broker.at, TOPIC, QoS::AtLeastOnce, false, one("live")).await;
    let message = hub.next().await;
    assert_eq!(message.topic, TOPIC);
    assert_eq!(text(&message), "live");
    assert_eq!(message.origin.kind, OriginKind::Source);
    assert_eq!(&*message.origin.name, "region");
    assert_eq!(message.received_at_ms, NOW_MS);
    assert!(!message.retained && message.receipt.is_awaited());
    let state = hub.state("region");
    assert_eq!(state.broker, format!("mqtt://{}", broker.at));
    assert_eq!((state.messages, state.last_message_ms), (1, Some(NOW_MS)));
    assert_eq!(state.last_error, "");
    assert_eq!(hub.counters.bridge_messages.get(), 1);
    message.receipt.complete(Outcome::Stored);
    hub.end().await;
}

#[tokio::test]
async fn a_retained_message_of_20_kb_arrives_marked_and_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::start(dir.path(), "") else { return };
    let neighbors = "n".repeat(20_000);
    publish(broker.at, TOPIC, QoS::AtLeastOnce, true, one(&neighbors)).await;
    let mut hub = Box::start(&[source("s", broker.at)], dir.path());
    let message = hub.next().await;
    assert!(message.retained);
    assert_eq!(message.payload.len(), neighbors.len());
    message.receipt.complete(Outcome::Stored);
    publish(broker.at, TOPIC, QoS::AtMostOnce, false, one("after it")).await;
    let after = hub.next().await;
    assert!(!after.retained);
    assert_eq!(text(&after), "after it");
    assert_eq!(hub.state("s").attempts, 1);
    hub.end().await;
}

#[tokio::test]
async fn what_was_published_while_we_were_away_arrives_after_the_restart() {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::start(dir.path(), "") else { return };
    let settings = [source("s", broker.at)];
    let hub = Box::start(&settings, dir.path());
    hub.receiving("s").await;
    hub.end().await;
    publish(broker.at, TOPIC, QoS::AtLeastOnce, false, numbered("away", 200)).await;
    let mut hub = Box::start(&settings, dir.path());
    hub.take_all(&numbered("away", 200)).await;
    hub.end().await;
    // All of it was acknowledged: nothing comes twice.
    let mut hub = Box::start(&settings, dir.path());
    hub.receiving("s").await;
    publish(broker.at, TOPIC, QoS::AtLeastOnce, false, one("news")).await;
    assert_eq!(hub.take().await, "news");
    hub.end().await;
}

#[tokio::test]
async fn a_burst_that_is_committed_in_batches_flows_without_a_standstill() {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::start(dir.path(), "max_inflight_messages 200") else { return };
    let mut hub = Box::start(&[source("s", broker.at)], dir.path());
    hub.receiving("s").await;
    let wanted: Vec<String> = (0..5_000).map(|n| n.to_string()).collect();
    publish(broker.at, TOPIC, QoS::AtLeastOnce, false, wanted.clone()).await;
    for payloads in wanted.chunks(100) {
        let mut batch = Vec::new();
        for payload in payloads {
            let message = hub.next().await;
            assert_eq!(&text(&message), payload, "in order, none twice, none missing");
            batch.push(message.receipt);
        }
        // A writer completes a batch in whatever order it likes.
        batch.into_iter().rev().for_each(|receipt| receipt.complete(Outcome::Stored));
    }
    assert_eq!((hub.state("s").attempts, hub.state("s").messages), (1, 5_000));
    hub.end().await;
}

#[tokio::test]
async fn without_a_persistent_session_the_broker_keeps_nothing_for_us() {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::start(dir.path(), "") else { return };
    let mut settings = source("s", broker.at);
    settings.persistent_session = false;
    let settings = [settings];
    let hub = Box::start(&settings, dir.path());
    hub.receiving("s").await;
    hub.end().await;
    publish(broker.at, TOPIC, QoS::AtLeastOnce, false, one("away")).await;
    let mut hub = Box::start(&settings, dir.path());
    hub.receiving("s").await;
    publish(broker.at, TOPIC, QoS::AtLeastOnce, false, one("news")).await;
    assert_eq!(hub.take().await, "news");
    hub.end().await;
}

#[tokio::test]
async fn a_failed_message_comes_again_from_a_real_broker() {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::start(dir.path(), "") else { return };
    let mut hub = Box::start(&[source("s", broker.at)], dir.path());
    hub.receiving("s").await;
    publish(broker.at, TOPIC, QoS::AtLeastOnce, false, one("stubborn")).await;
    for _ in 0..2 {
        // Dropped on the way, as by a pipeline that panicked: its receipt says failed.
        assert_eq!(text(&hub.next().await), "stubborn");
    }
    assert_eq!(hub.take().await, "stubborn");
    assert_eq!(hub.state("s").attempts, 3);
    publish(broker.at, TOPIC, QoS::AtLeastOnce, false, one("news")).await;
    assert_eq!(hub.take().await, "news");
    hub.end().await;
}

#[tokio::test]
async fn a_broker_that_was_stopped_and_lost_its_state_is_found_and_subscribed_again() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut broker) = Mosquitto::start(dir.path(), "") else { return };
    let mut hub = Box::start(&[source("s", broker.at)], dir.path());
    hub.receiving("s").await;
    broker.kill();
    let down = hub.until("s", "sees it go", |s| !s.connected && s.attempts >= 3).await;
    assert_eq!(down.step, "connecting");
    assert!(down.last_error.contains("connection refused"), "{}", down.last_error);
    broker.start_again();
    assert_eq!(hub.receiving("s").await.last_error, "");
    publish(broker.at, TOPIC, QoS::AtLeastOnce, false, one("back")).await;
    assert_eq!(hub.take().await, "back");
    hub.end().await;
}

#[tokio::test]
async fn a_password_opens_and_a_wrong_one_is_said_in_words_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let Some(passwd) = program("mosquitto_passwd") else { return };
    let file = dir.path().join("passwords");
    let made = Command::new(passwd).arg("-b").arg("-c").arg(&file).args(["me", "s3cret"]).status();
    assert!(made.unwrap().success());
    let more = format!("allow_anonymous false\npassword_file {}", file.display());
    let Some(broker) = Mosquitto::start(dir.path(), &more) else { return };
    let with = |name: &str, password: &str| {
        let mut settings = source(name, broker.at);
        settings.login = account("me", password);
        settings
    };
    let mut hub = Box::start(&[with("good", "s3cret"), with("bad", "wr0ng")], dir.path());
    hub.receiving("good").await;
    let bad = hub.until("bad", "fails thrice", |s| s.last_error.contains("check the source")).await;
    assert_eq!(bad.step, "login");
    assert!(bad.last_error.starts_with("login: refused: not authorized"), "{}", bad.last_error);
    assert!(bad.last_error.contains("`password`") && bad.attempts >= 3 && !bad.connected);
    assert!(!format!("{bad:?}").contains("wr0ng"));
    let publisher = MqttLogin { username: "me", password: "s3cret" };
    publisher.publish(broker.at, "with a login").await;
    assert_eq!(hub.take().await, "with a login");
    hub.end().await;
}

struct MqttLogin {
    username: &'static str,
    password: &'static str,
}

impl MqttLogin {
    async fn publish(&self, at: std::net::SocketAddr, payload: &str) {
        let program = program("mosquitto_pub").expect("mosquitto_pub comes with mosquitto_passwd");
        let port = at.port().to_string();
        let mut command = Command::new(program);
        command.args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", TOPIC, "-m", payload]);
        command.args(["-u", self.username, "-P", self.password]);
        let status = tokio::task::spawn_blocking(move || command.status()).await.unwrap();
        assert!(status.unwrap().success());
    }
}
