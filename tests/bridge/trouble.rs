//! Brokers that are down, refuse, hang or talk nonsense.

use super::fake::{Client, Fake, connack, publish};
use super::{Box, account, quick, source};
use crate::support::eventually_async;
use crate::support::process::free_port;

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{ConnectReturnCode, Packet, SubAck, SubscribeReasonCode};
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[tokio::test]
async fn sources_that_are_down_or_silent_hold_up_neither_the_start_nor_another() {
    let (good, silent) = (Fake::start().await, Fake::start().await);
    let dir = tempfile::tempdir().unwrap();
    let closed = free_port();
    let mut nameless = source("nameless", closed);
    // A label has at most 63 bytes (RFC 1035): no resolver needs to be asked.
    nameless.remote.host = format!("{}.example", "x".repeat(64));
    let sources =
        [source("closed", closed), nameless, source("silent", silent.at), source("good", good.at)];
    let mut hub = Box::start(&sources, dir.path());
    let mut client = good.subscribed().await;
    client.send(&[publish(1, "through")]).await;
    assert_eq!(hub.take().await, "through");
    let closed = hub.until("closed", "fails", |s| !s.last_error.is_empty()).await;
    assert_eq!(closed.step, "connecting");
    let nameless = hub.until("nameless", "fails", |s| !s.last_error.is_empty()).await;
    assert!(nameless.last_error.starts_with("resolving: "), "{}", nameless.last_error);
    let silent = hub.until("silent", "fails", |s| !s.last_error.is_empty()).await;
    assert!(silent.last_error.contains("no answer in 3 s"), "{}", silent.last_error);
    assert_eq!(hub.state("good").attempts, 1);
}

#[tokio::test]
async fn a_refused_login_is_said_with_its_code_and_after_three_with_what_to_check() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let hub = Box::start(&[source("s", broker.at)], dir.path());
    let refuse = async |code| {
        let mut client = broker.accept().await;
        client.connect().await;
        client.send(&[connack(code, false)]).await;
        client
    };
    let _first = refuse(ConnectReturnCode::BadUserNamePassword).await;
    let state = hub.until("s", "fails", |s| !s.last_error.is_empty()).await;
    assert_eq!(state.last_error, "login: refused: wrong username or password (code 4)");
    assert!(!state.connected);
    let _second = refuse(ConnectReturnCode::NotAuthorized).await;
    // A broker that just hangs up has refused too.
    broker.accept().await.connect().await;
    let state = hub.until("s", "fails thrice", |s| s.last_error.contains("check")).await;
    assert!(state.last_error.starts_with("login: the broker closed"), "{}", state.last_error);
    assert!(state.last_error.contains("`username`") && state.attempts == 3, "{state:?}");
    let _client = broker.subscribed().await;
    assert_eq!(hub.receiving("s").await.last_error, "", "all is well again");
}

#[tokio::test]
async fn a_broker_that_refuses_every_filter_is_a_failure_of_subscribing() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let hub = Box::start(&[source("s", broker.at)], dir.path());
    for _ in 0..3 {
        let (mut client, _) = broker.log_in(false).await;
        client.answer_subscribe(SubscribeReasonCode::Failure).await;
    }
    let state = hub.until("s", "fails thrice", |s| s.last_error.contains("check")).await;
    let words = "subscribing: not subscribed, refused: meshcore/#; check the source's `topics`";
    assert!(state.last_error.starts_with(words), "{}", state.last_error);
}

#[tokio::test]
async fn a_filter_that_is_refused_is_named_and_the_others_work() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut settings = source("s", broker.at);
    settings.topics = vec!["meshcore/#".into(), "private/#".into(), "not+valid".into()];
    let mut hub = Box::start(&[settings], dir.path());
    let (mut client, _) = broker.log_in(false).await;
    let Some(Packet::Subscribe(subscribe)) = client.packet().await else { panic!("no SUBSCRIBE") };
    assert_eq!(subscribe.filters.len(), 2, "the invalid one is not sent");
    let granted = SubscribeReasonCode::Success(QoS::AtLeastOnce);
    let codes = vec![granted, SubscribeReasonCode::Failure];
    client.send(&[Packet::SubAck(SubAck::new(subscribe.pkid, codes)), publish(1, "allowed")]).await;
    assert_eq!(hub.take().await, "allowed");
    let state = hub.receiving("s").await;
    assert_eq!(state.last_error, "not subscribed, refused: private/#, not+valid");
}

#[tokio::test]
async fn a_broker_that_never_answers_the_subscribe_is_dialled_again() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let limits = meshbox::bridge::Limits { patience: Duration::from_millis(50), ..quick() };
    let hub = Box::with(&[source("s", broker.at)], dir.path(), super::WIDE, limits);
    let (_silent, _) = broker.log_in(false).await;
    let _again = broker.accept().await;
    let state = hub.state("s");
    assert!(state.last_error.starts_with("subscribing: no answer"), "{}", state.last_error);
}

#[tokio::test]
async fn a_broker_that_no_longer_answers_pings_is_dialled_again() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let limits = meshbox::bridge::Limits { keep_alive: Duration::from_secs(1), ..quick() };
    let mut hub = Box::with(&[source("s", broker.at)], dir.path(), super::WIDE, limits);
    let mut half_open = broker.subscribed().await;
    assert_eq!(half_open.packet().await, Some(Packet::PingReq));
    let mut client = broker.subscribed().await;
    client.send(&[publish(0, "on the new connection")]).await;
    assert_eq!(hub.take().await, "on the new connection");
    assert_eq!(half_open.packet().await, None, "the old one is closed");
}

#[tokio::test]
async fn after_a_connection_that_held_failures_and_waits_begin_anew() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let limits = meshbox::bridge::Limits {
        stable_after: Duration::ZERO,
        backoff_max: Duration::from_secs(3_600),
        ..quick()
    };
    let hub = Box::with(&[source("s", broker.at)], dir.path(), super::WIDE, limits);
    // Doubled each time, the wait before the last of them would be over a minute.
    for _ in 0..15 {
        let _client = broker.subscribed().await;
        hub.receiving("s").await;
    }
    let state = hub.until("s", "breaks", |s| !s.connected).await;
    assert_eq!(state.last_error, "receiving: the broker closed the connection");
}

#[tokio::test]
async fn a_pipeline_that_ended_stops_the_source_and_is_said() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let Box { bridge: _bridge, outlet, counters, .. } =
        Box::start(&[source("s", broker.at)], dir.path());
    let mut client = broker.subscribed().await;
    drop(outlet);
    client.send(&[publish(1, "nobody takes it")]).await;
    assert_eq!(client.packet().await, Some(Packet::Disconnect), "and no PUBACK before it");
    drop(client);
    eventually_async("it stops", || {
        let state = counters.sources().remove("s")?;
        (state.step == "stopped" && state.last_error.contains("pipeline")).then_some(())
    })
    .await;
}

/// A QoS 1 publish whose topic is no UTF-8.
async fn send_unreadable(client: &mut Client) {
    client.send_bytes(&[0x32, 0x07, 0x00, 0x02, 0xff, 0xfe, 0x00, 0x01, b'x']).await;
}

#[tokio::test]
async fn an_unreadable_message_that_comes_again_and_again_ends_with_a_new_session() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut hub = Box::start(&[source("s", broker.at)], dir.path());
    for n in 0..3 {
        let (mut client, connect) = broker.log_in(true).await;
        assert!(!connect.clean_session);
        client.grant().await;
        // What was read before it, in the same batch, is not lost with the connection.
        client.send(&[publish(0, &format!("before {n}"))]).await;
        send_unreadable(&mut client).await;
        assert_eq!(hub.take().await, format!("before {n}"));
    }
    let (mut client, connect) = broker.log_in(false).await;
    assert!(connect.clean_session, "the broker is to forget what it cannot deliver");
    assert_eq!(client.packet().await, Some(Packet::Disconnect));
    drop(client);
    let (mut client, connect) = broker.log_in(false).await;
    assert!(!connect.clean_session, "and to keep the new session");
    client.grant().await;
    client.send(&[publish(1, "news")]).await;
    assert_eq!(hub.take().await, "news");
    assert_eq!(hub.counters.reasons.count("source_session_discarded"), 1);
}

#[tokio::test]
async fn a_packet_that_nobody_could_hold_is_named_with_its_size() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let hub = Box::start(&[source("s", broker.at)], dir.path());
    let mut client = broker.subscribed().await;
    // A PUBLISH of 200 MB: its fixed header is enough.
    client.send_bytes(&[0x30, 0x80, 0x84, 0xaf, 0x5f]).await;
    let state = hub.until("s", "breaks", |s| !s.last_error.is_empty()).await;
    assert_eq!(state.last_error, "receiving: a packet of 200000000 bytes is too large");
}

/// Collects what is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn each_attempt_has_one_line_with_its_number_and_the_third_failure_one_more() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_writer(move || writer.clone())
        .finish();
    // While there is one subscriber only, tracing asks the thread that first reaches a line whether
    // anybody listens, and for the threads of other tests that is nobody; with two it asks them all.
    let _second =
        tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(std::io::sink).finish());
    let _only_here = tracing::subscriber::set_default(subscriber);
    let dir = tempfile::tempdir().unwrap();
    let broker = Fake::start().await;
    let mut settings = source("s", broker.at);
    settings.login = account("me", "hunter2");
    let hub = Box::start(&[settings], dir.path());
    for _ in 0..4 {
        let mut client = broker.accept().await;
        client.connect().await;
        client.send(&[connack(ConnectReturnCode::NotAuthorized, false)]).await;
    }
    drop(broker.subscribed().await);
    hub.until("s", "falls", |s| s.last_error.starts_with("receiving")).await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = text.lines().filter(|l| l.contains("source s: ")).collect();
    let count = |part: &str| lines.iter().filter(|l| l.contains(part)).count();
    for attempt in 1..=4 {
        assert_eq!(count(&format!("attempt {attempt} to mqtt://")), 1, "{text}");
    }
    assert_eq!(count("attempt 5: connected to mqtt://"), 1, "{text}");
    assert_eq!(
        count("failed 3 times in a row at login: refused: not authorized (code 5); check"),
        1
    );
    assert_eq!(count("disconnected from mqtt://"), 1, "{text}");
    assert_eq!(lines.len(), 7, "{text}");
    assert!(!text.contains("hunter2"));
}
