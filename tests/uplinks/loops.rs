//! Hubs that pass on to each other: one packet stays one packet everywhere.

use super::{hub, messages, publish, stop, to, until, uplink};
use crate::support::eventually_async;
use crate::support::process::{Mosquitto, free_port};

use meshbox::app::Hub;

async fn rows(hub: &Hub, count: u64) {
    let has = || (hub.counters().obs_inserted.get() >= count).then_some(());
    eventually_async("they are stored", has).await;
    assert_eq!(hub.counters().obs_inserted.get(), count);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_a_chain_of_three_hubs_each_packet_is_stored_once_in_each() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b, c] = [(); 3].map(|()| free_port());
    let last = hub(&dir.path().join("c"), c, "").await;
    let middle = hub(&dir.path().join("b"), b, &to(c)).await;
    // A short cut as well: the third one gets everything twice.
    let both = format!("{}{}", to(b), to(c).replace("'up'", "'short'"));
    let first = hub(&dir.path().join("a"), a, &both).await;
    publish(a, &messages(0..20)).await;
    until(&middle, "up", "passes on", |it| it.sent == 20).await;
    until(&first, "short", "passes on", |it| it.sent == 20).await;
    for it in [&first, &middle, &last] {
        rows(it, 20).await;
    }
    for it in [first, middle, last] {
        stop(it).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hubs_that_forgot_what_they_passed_on_let_it_round_once_and_store_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (free_port(), free_port());
    let sent = messages(0..10);
    // Before the restart, and after it, when neither knows that it has passed them on.
    for round in 0..2 {
        let first = hub(&dir.path().join("a"), a, &to(b)).await;
        let second = hub(&dir.path().join("b"), b, &to(a)).await;
        publish(a, &sent).await;
        until(&second, "up", "sends back", |it| it.sent == 10).await;
        let stopped = || (first.counters().reasons.count("uplink_repeated") == 10).then_some(());
        eventually_async("the first one knows them", stopped).await;
        until(&first, "up", "all acknowledged", |it| it.waiting == 0 && it.sent == 10).await;
        assert_eq!(uplink(&second, "up").sent, 10);
        let new = if round == 0 { 10 } else { 0 };
        assert_eq!(first.counters().obs_inserted.get(), new);
        assert_eq!(second.counters().obs_inserted.get(), new);
        stop(first).await;
        stop(second).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_source_and_uplink_at_once_gets_nothing_of_its_own_back() {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::start(dir.path(), "") else { return };
    let at = free_port();
    let text = format!(
        "{}sources = true\n[[mqttSources]]\nname = 's'\nbroker = 'mqtt://{}'\ntopics = ['meshcore/#']\n",
        to(broker.at),
        broker.at
    );
    let hub = hub(&dir.path().join("hub"), at, &text).await;
    let receiving = || hub.counters().sources()["s"].connected.then_some(());
    eventually_async("the source receives", receiving).await;
    publish(at, &messages(0..10)).await;
    let back = || (hub.counters().sources()["s"].messages == 10).then_some(());
    eventually_async("they come back", back).await;
    until(&hub, "up", "passes on", |it| it.sent == 10 && it.waiting == 0).await;
    rows(&hub, 10).await;
    assert_eq!(uplink(&hub, "up").sent, 10);
    stop(hub).await;
}
