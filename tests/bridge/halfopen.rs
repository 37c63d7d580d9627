//! Connections whose packets get lost while the socket stays open, through a proxy that freezes.

use super::fake::Fake;
use super::publisher::publish;
use super::{Box, NOW_MS, quick, source};
use crate::support::eventually_async;
use crate::support::process::Mosquitto;
use crate::support::proxy::{End, Mode, Proxy, Way};

use meshbox::bridge::Limits;
use meshbox::counters::SourceState;
use rumqttc::QoS;
use std::collections::BTreeSet;
use std::time::Duration;

const TOPIC: &str = "meshcore/SJC/K/packets";

async fn send(broker: &Mosquitto, payload: &str) {
    publish(broker.at, TOPIC, QoS::AtLeastOnce, false, [payload.to_owned()]).await;
}

#[tokio::test]
async fn a_half_open_connection_is_dialled_anew_within_two_keep_alives_whichever_way_is_dead() {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::start(dir.path(), "") else { return };
    let proxy = Proxy::start(broker.at);
    let short = Duration::from_millis(300);
    let limits = Limits { keep_alive: Duration::from_secs(1), stable_after: short, ..quick() };
    let mut settings = source("s", proxy.at);
    settings.connect_timeout = Duration::from_secs(1);
    let mut hub = Box::with(&[settings], dir.path(), super::WIDE, limits);
    for dead in [&[Way::Up][..], &[Way::Down], &[Way::Up, Way::Down]] {
        hub.receiving("s").await;
        for way in dead {
            proxy.set(*way, Mode::Freeze);
        }
        let gone = hub.until("s", "sees it", |s| !s.connected).await;
        let away = gone.away_ms(NOW_MS).expect("it is away");
        // Two seconds at the most, and what a busy machine adds.
        assert!((900..5_000).contains(&away), "away since it was last heard: {away} ms");
        // Nor does anything answer when it dials.
        hub.until("s", "finds nobody", |s| s.last_error.contains("no answer in 1 s")).await;
        proxy.set_both(Mode::Pass);
        // The old connections are as dead for the broker; to it they all say goodbye now.
        proxy.end(End::Reset);
        let well = |s: &SourceState| s.away_since_ms.is_none() && s.last_error.is_empty();
        assert!(hub.until("s", "is well", well).await.connected);
        let payload = format!("after {dead:?}");
        send(&broker, &payload).await;
        // What came before may come again: its acknowledgement was lost with the connection.
        hub.take_all(&BTreeSet::from([payload])).await;
    }
    hub.end().await;
}

#[tokio::test]
async fn what_is_published_while_the_line_is_dead_arrives_once_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::start(dir.path(), "") else { return };
    let proxy = Proxy::start(broker.at);
    let limits = Limits { keep_alive: Duration::from_secs(1), ..quick() };
    let mut hub = Box::with(&[source("s", proxy.at)], dir.path(), super::WIDE, limits);
    hub.receiving("s").await;
    proxy.set_both(Mode::Freeze);
    let wanted = super::numbered("meanwhile", 100);
    publish(broker.at, TOPIC, QoS::AtLeastOnce, false, wanted.clone()).await;
    hub.until("s", "sees it", |s| !s.connected).await;
    proxy.set_both(Mode::Pass);
    hub.take_all(&wanted).await;
    hub.end().await;
}

#[tokio::test]
async fn a_half_open_connection_is_dialled_anew_within_the_stall_window_though_no_ping_is_due() {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::start(dir.path(), "") else { return };
    let proxy = Proxy::start(broker.at);
    let limits = Limits { keep_alive: Duration::from_secs(3_600), ..quick() };
    let mut settings = source("s", proxy.at);
    settings.stall = Some(Duration::from_millis(500));
    let mut hub = Box::with(&[settings], dir.path(), super::WIDE, limits);
    hub.receiving("s").await;
    send(&broker, "one").await;
    assert_eq!(hub.take().await, "one");
    proxy.set_both(Mode::Freeze);
    let connections = proxy.connections();
    let again = || (proxy.connections() > connections).then_some(());
    eventually_async("it dials", again).await;
    let state = hub.state("s");
    assert!(state.silent && state.last_error.contains("nothing came for"), "{state:?}");
    proxy.set_both(Mode::Pass);
    hub.receiving("s").await;
    send(&broker, "two").await;
    hub.take_all(&BTreeSet::from(["two".to_owned()])).await;
    hub.end().await;
}

#[tokio::test]
async fn connections_that_come_up_and_break_at_once_are_an_outage_until_one_holds_or_brings_something()
 {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut hub = Box::start(&[source("s", broker.at)], dir.path());
    let ok = |hub: &Box, after_ms| hub.counters.snapshot(0, NOW_MS + after_ms).ok;
    drop(broker.subscribed().await);
    hub.until("s", "breaks", |s| !s.connected && s.connects == 1).await;
    for _ in 0..3 {
        let client = broker.subscribed().await;
        let up = hub.receiving("s").await;
        assert!(up.away_since_ms.is_some() && !ok(&hub, 61_000), "{up:?}");
        drop(client);
        hub.until("s", "breaks", |s| !s.connected).await;
    }
    let mut client = broker.subscribed().await;
    client.send(&[super::fake::publish(1, "at last")]).await;
    assert_eq!(hub.take().await, "at last");
    let well = hub.state("s");
    assert_eq!((well.away_since_ms, well.connects), (None, 5), "{well:?}");
    assert!(ok(&hub, 61_000));
}

#[tokio::test]
async fn a_connection_that_ends_in_the_middle_of_a_packet_is_said_with_its_step() {
    let broker = Fake::start().await;
    let proxy = Proxy::start(broker.at);
    let dir = tempfile::tempdir().unwrap();
    let hub = Box::start(&[source("s", proxy.at)], dir.path());
    // A CONNACK has four bytes, a SUBACK of one filter five.
    let cases = [
        (2, End::Close, "login: the broker closed the connection instead of answering the login"),
        (2, End::Reset, "login: the broker closed the connection instead of answering the login"),
        (6, End::Close, "subscribing: the connection ended in the middle of a packet"),
        (11, End::Close, "receiving: the connection ended in the middle of a packet"),
    ];
    let mut client = None;
    for (bytes, end, words) in cases {
        proxy.set(Way::Down, Mode::Cut(bytes, end));
        drop(client.take());
        let (mut next, _) = broker.log_in(true).await;
        let attempts = hub.state("s").attempts;
        if bytes > 4 {
            next.grant().await;
        }
        if bytes > 9 {
            next.send(&[super::fake::publish(0, "cut")]).await;
        }
        hub.until("s", words, |s| s.attempts > attempts && s.last_error == words).await;
        client = Some(next);
    }
}

#[tokio::test]
async fn a_connection_that_holds_after_one_that_did_not_is_well_though_nothing_is_published() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { stable_after: Duration::from_millis(300), ..quick() };
    let hub = Box::with(&[source("s", broker.at)], dir.path(), super::WIDE, limits);
    drop(broker.subscribed().await);
    hub.until("s", "breaks", |s| !s.connected && s.connects == 1).await;
    let _client = broker.subscribed().await;
    assert!(hub.receiving("s").await.away_since_ms.is_some());
    hub.until("s", "has held", |s| s.away_since_ms.is_none()).await;
}
