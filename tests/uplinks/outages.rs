//! Connections that break in every way, and a disk that takes nothing.

use super::{Listener, hub, hub_at, long, messages, publish, repeats, stop, to, until, uplink};
use crate::support::process::{Mosquitto, free_port};
use crate::support::proxy::{End, Mode, Proxy, Way};

use meshbox::clock::Clock;
use std::time::{Duration, Instant};

const NOW_MS: i64 = 1_800_000_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_reset_closed_cut_or_delayed_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::start(dir.path(), "") else { return };
    let proxy = Proxy::start(broker.at);
    let at = free_port();
    let hub = hub(&dir.path().join("hub"), at, &to(proxy.at)).await;
    let listener = Listener::start(broker.at).await;
    let sent = messages(0..350);
    let parts: Vec<&[String]> = sent.chunks(50).collect();
    let troubles: [&dyn Fn(); 6] = [
        &|| proxy.end(End::Reset),
        &|| proxy.end(End::Close),
        &|| proxy.set(Way::Up, Mode::Cut(10_111, End::Close)),
        &|| proxy.set(Way::Down, Mode::Cut(31, End::Reset)),
        &|| proxy.set_both(Mode::Delay(Duration::from_millis(30))),
        &|| {
            proxy.refuse(true);
            proxy.end(End::Reset);
        },
    ];
    publish(at, parts[0]).await;
    for (trouble, part) in troubles.iter().zip(&parts[1..]) {
        trouble();
        publish(at, part).await;
        // A connection that works is never the end of it.
        until(&hub, "up", "goes on", |it| it.attempts > 0).await;
        if proxy.open() == 0 {
            proxy.refuse(false);
        }
    }
    proxy.set_both(Mode::Pass);
    proxy.refuse(false);
    long("all are through", || uplink(&hub, "up").waiting == 0).await;
    long("the last one arrives", || listener.payloads().contains(&sent[349])).await;
    let repeated = repeats(&listener.payloads(), &sent);
    assert!(repeated <= 6 * 20, "only what was under way: {repeated}");
    stop(hub).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_freezes_is_left_and_seen_within_a_minute_and_storing_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::start(dir.path(), "") else { return };
    let proxy = Proxy::start(broker.at);
    let (at, clock) = (free_port(), Clock::by_hand(NOW_MS));
    let hub = hub_at(&dir.path().join("hub"), at, &to(proxy.at), clock.clone()).await;
    let listener = Listener::start(broker.at).await;
    let sent = messages(0..40);
    publish(at, &sent[..20]).await;
    listener.has(&sent[..20]).await;
    until(&hub, "up", "all acknowledged", |it| it.waiting == 0).await;
    assert!(hub.health().ok);
    proxy.set_both(Mode::Freeze);
    publish(at, &sent[20..]).await;
    assert_eq!(hub.counters().obs_inserted.get(), 40, "storing does not wait");
    until(&hub, "up", "they wait", |it| it.waiting > 0 && it.unwritten == 0).await;
    clock.run(Duration::from_secs(44));
    assert!(hub.health().ok, "it may be slow");
    clock.run(Duration::from_secs(2));
    assert!(!hub.health().ok, "connected, and nothing is acknowledged");
    long("it is left", || !uplink(&hub, "up").connected).await;
    let said = uplink(&hub, "up").last_error;
    assert!(said.starts_with("sending: the broker acknowledged nothing for 20 s"), "{said}");
    proxy.set_both(Mode::Pass);
    long("all are through", || uplink(&hub, "up").waiting == 0).await;
    assert!(hub.health().ok);
    repeats(&listener.payloads(), &sent);
    stop(hub).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_hours_outage_loses_only_what_is_older_than_it_may_be_and_counts_it() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut broker) = Mosquitto::start(dir.path(), "") else { return };
    broker.kill();
    let (at, clock) = (free_port(), Clock::by_hand(NOW_MS));
    let both = format!(
        "{}spoolMaxAge = '30m'\n{}",
        to(broker.at),
        to(broker.at).replace("'up'", "'patient'")
    );
    let hub = hub_at(&dir.path().join("hub"), at, &both, clock.clone()).await;
    let sent = messages(0..20);
    publish(at, &sent[..10]).await;
    until(&hub, "up", "they wait", |it| it.waiting == 10 && it.unwritten == 0).await;
    clock.run(Duration::from_secs(3_600));
    publish(at, &sent[10..]).await;
    until(&hub, "up", "the old ones go", |it| it.expired == 10 && it.waiting == 10).await;
    let patient = until(&hub, "patient", "all wait", |it| it.waiting == 20).await;
    assert_eq!((patient.expired, hub.health().ok), (0, false));
    broker.start_again();
    long("all are through", || {
        let left = ["up", "patient"].map(|name| uplink(&hub, name).waiting);
        left == [0, 0]
    })
    .await;
    assert_eq!((uplink(&hub, "up").sent, uplink(&hub, "patient").sent), (10, 20));
    stop(hub).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spool_that_cannot_be_written_slows_nothing_and_what_it_costs_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut broker) = Mosquitto::start(dir.path(), "") else { return };
    broker.kill();
    let (at, home) = (free_port(), dir.path().join("hub"));
    let hub = hub(&home, at, &to(broker.at)).await;
    let sent = messages(0..20_000);
    let began = Instant::now();
    publish(at, &sent[..2_000]).await;
    let free = began.elapsed();
    until(&hub, "up", "they are written", |it| it.waiting == 2_000 && it.unwritten == 0).await;
    let other = rusqlite::Connection::open(home.join("data/meshbox-spool.db")).unwrap();
    other.busy_timeout(Duration::from_secs(10)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let began = Instant::now();
    publish(at, &sent[2_000..4_000]).await;
    let locked = began.elapsed();
    assert!(locked < 3 * free + Duration::from_millis(500), "{locked:?} instead of {free:?}");
    // More than memory holds: the oldest of it go, and all of it is told.
    for some in sent[4_000..].chunks(2_000) {
        publish(at, some).await;
    }
    let told = |it: &meshbox::counters::UplinkState| it.waiting + it.lost == 20_000 && it.lost > 0;
    let state = until(&hub, "up", "it is told", told).await;
    assert!(state.unwritten > 5_000 && state.waiting_bytes < (4 << 20) + 2_000 * 400, "{state:?}");
    other.execute_batch("ROLLBACK").unwrap();
    until(&hub, "up", "all are written", |it| it.unwritten == 0).await;
    stop(hub).await;
}
