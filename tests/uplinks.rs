//! What our gateways publish, passed on: whole hubs in this process, and a real mosquitto.

use crate::support::packets::{OBSERVER, packet_message, packets_topic, text_packet};
use crate::support::process::{Mosquitto, free_port};
use crate::support::{PATIENCE, eventually_async};

use meshbox::app::Hub;
use meshbox::clock::Clock;
use meshbox::config::Config;
use meshbox::counters::UplinkState;
use meshbox::crypto::token::{Expected, Token, key_in};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_util::task::AbortOnDropHandle;

/// A hub in `dir` with this further configuration, and where its broker listens.
async fn hub(dir: &Path, at: SocketAddr, uplinks: &str) -> Hub {
    let listener = format!("[[broker.listeners]]\nbind = '{at}'\naccess = 'anyone'\n{uplinks}");
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("broker.toml"), listener).unwrap();
    let config = Config::load(None, &|_| None, dir).unwrap();
    Hub::start(&config, Clock::system()).await.unwrap()
}

async fn stop(hub: Hub) {
    hub.stop(Instant::now() + PATIENCE).await.unwrap();
}

fn uplink(hub: &Hub, name: &str) -> UplinkState {
    hub.counters().uplinks().remove(name).unwrap_or_default()
}

async fn until(
    hub: &Hub,
    name: &str,
    what: &str,
    is: impl Fn(&UplinkState) -> bool,
) -> UplinkState {
    eventually_async(what, || Some(uplink(hub, name)).filter(|state| is(state))).await
}

/// Messages of one gateway, each different from the others.
fn messages(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| packet_message(&text_packet(number))).collect()
}

/// Publishes at QoS 1, one after the other, and waits for the acknowledgements.
async fn publish(at: SocketAddr, payloads: &[String]) {
    let mut options = MqttOptions::new("gateway", at.ip().to_string(), at.port());
    options.set_clean_session(true);
    let (client, mut events) = AsyncClient::new(options, payloads.len().max(1));
    for payload in payloads {
        client.try_publish(packets_topic(OBSERVER), QoS::AtLeastOnce, false, &payload[..]).unwrap();
    }
    let mut left = payloads.len();
    while left > 0 {
        let event = tokio::time::timeout(PATIENCE, events.poll()).await;
        if let Event::Incoming(Packet::PubAck(_)) = event.expect("gave up waiting").unwrap() {
            left -= 1;
        }
    }
}

/// A subscriber to everything, and what it heard.
struct Listener {
    heard: Arc<Mutex<Vec<(String, String)>>>,
    _task: AbortOnDropHandle<()>,
}

impl Listener {
    async fn start(at: SocketAddr) -> Self {
        let options = MqttOptions::new("listener", at.ip().to_string(), at.port());
        let (client, mut events) = AsyncClient::new(options, 10);
        client.try_subscribe("meshcore/#", QoS::AtLeastOnce).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (subscribed, mut waits) = tokio::sync::mpsc::channel(1);
        let theirs = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            let _client = client;
            while let Ok(event) = events.poll().await {
                match event {
                    Event::Incoming(Packet::SubAck(_)) => subscribed.send(()).await.unwrap(),
                    Event::Incoming(Packet::Publish(it)) => {
                        let payload = String::from_utf8(it.payload.to_vec()).unwrap();
                        theirs.lock().unwrap().push((it.topic, payload));
                    }
                    _ => {}
                }
            }
        });
        tokio::time::timeout(PATIENCE, waits.recv()).await.unwrap().unwrap();
        Self { heard, _task: AbortOnDropHandle::new(task) }
    }

    async fn has(&self, wanted: &[String]) {
        let all = || {
            let heard = self.heard.lock().unwrap();
            (heard.len() >= wanted.len()).then(|| heard.clone())
        };
        let heard = eventually_async("all arrive", all).await;
        let topics = heard.iter().all(|(topic, _)| *topic == packets_topic(OBSERVER));
        assert!(topics, "{heard:?}");
        let payloads: Vec<&String> = heard.iter().map(|(_, payload)| payload).collect();
        assert_eq!(payloads, wanted.iter().collect::<Vec<_>>(), "in order, none twice");
    }
}

fn to(at: SocketAddr) -> String {
    format!("[[uplinks]]\nname = 'up'\nbroker = 'mqtt://{at}'\nrate = 1000\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_gateways_publish_arrives_live_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::start(dir.path(), "") else { return };
    let at = free_port();
    let hub = hub(&dir.path().join("hub"), at, &to(broker.at)).await;
    let listener = Listener::start(broker.at).await;
    until(&hub, "up", "connects", |state| state.connected).await;
    let sent = messages(0..200);
    publish(at, &sent).await;
    listener.has(&sent).await;
    let state = until(&hub, "up", "all acknowledged", |it| it.sent == 200 && it.waiting == 0).await;
    assert_eq!((state.attempts, state.last_error.as_str()), (1, ""));
    stop(hub).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_sent_is_sent_in_order_later_across_a_restart_and_never_twice() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut broker) = Mosquitto::start(dir.path(), "") else { return };
    broker.kill();
    let (at, home) = (free_port(), dir.path().join("hub"));
    let first = hub(&home, at, &to(broker.at)).await;
    let sent = messages(0..300);
    publish(at, &sent[..200]).await;
    let state = until(&first, "up", "fails", |it| it.waiting == 200 && it.attempts > 0).await;
    assert!(!state.connected);
    until(&first, "up", "says why", |it| it.last_error.contains("connection refused")).await;
    stop(first).await;
    let second = hub(&home, at, &to(broker.at)).await;
    until(&second, "up", "still has them", |it| it.waiting == 200).await;
    publish(at, &sent[200..]).await;
    // The listener must be there before the uplink: it would miss the first ones.
    stop(second).await;
    broker.start_again();
    let listener = Listener::start(broker.at).await;
    let third = hub(&home, at, &to(broker.at)).await;
    listener.has(&sent).await;
    until(&third, "up", "all acknowledged", |it| it.sent == 300 && it.waiting == 0).await;
    stop(third).await;
    let fourth = hub(&home, at, &to(broker.at)).await;
    until(&fourth, "up", "connects", |it| it.connected).await;
    let last = messages(300..301);
    publish(at, &last).await;
    listener.has(&[sent, last].concat()).await;
    stop(fourth).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hubs_that_pass_on_to_each_other_do_not_go_in_circles() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (free_port(), free_port());
    let first = hub(&dir.path().join("a"), a, &to(b)).await;
    let second = hub(&dir.path().join("b"), b, &to(a)).await;
    for hub in [&first, &second] {
        until(hub, "up", "connects", |it| it.connected).await;
    }
    publish(a, &messages(0..10)).await;
    until(&second, "up", "sends back", |it| it.sent == 10).await;
    let stopped = || (first.counters().reasons.count("uplink_repeated") == 10).then_some(());
    eventually_async("the first one knows them", stopped).await;
    assert_eq!((uplink(&first, "up").sent, uplink(&second, "up").sent), (10, 10));
    assert_eq!(first.counters().obs_inserted.get(), 10);
    stop(first).await;
    stop(second).await;
}
