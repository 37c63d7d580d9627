//! What our gateways publish, passed on: whole hubs in this process, and a real mosquitto.

mod killed;
mod loops;
mod outages;
mod presence;
mod refused;

use crate::bridge::fake::Fake;
use crate::support::packets::{OBSERVER, packet_message, packets_topic, text_packet};
use crate::support::process::{Mosquitto, free_port};
use crate::support::{PATIENCE, eventually_async};

use meshbox::app::Hub;
use meshbox::clock::Clock;
use meshbox::config::Config;
use meshbox::counters::UplinkState;
use meshbox::crypto::token::{Expected, SigningKey, Token, key_in};
use rumqttc::mqttbytes::v4::PubAck;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// A hub in `dir` with this further configuration, and where its broker listens.
async fn hub(dir: &Path, at: SocketAddr, uplinks: &str) -> Hub {
    hub_at(dir, at, uplinks, Clock::system()).await
}

async fn hub_at(dir: &Path, at: SocketAddr, uplinks: &str, clock: Clock) -> Hub {
    let listener = format!("[[broker.listeners]]\nbind = '{at}'\naccess = 'anyone'\n{uplinks}");
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("broker.toml"), listener).unwrap();
    let config = Config::load(None, &|_| None, dir).unwrap();
    Hub::start(&config, clock).await.unwrap()
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
    publish_to(at, &packets_topic(OBSERVER), payloads).await;
}

async fn publish_to(at: SocketAddr, topic: &str, payloads: &[String]) {
    let mut options = MqttOptions::new("gateway", at.ip().to_string(), at.port());
    options.set_clean_session(true);
    let (client, mut events) = AsyncClient::new(options, payloads.len().max(1));
    for payload in payloads {
        client.try_publish(topic, QoS::AtLeastOnce, false, &payload[..]).unwrap();
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
        assert!(heard.iter().all(|(topic, _)| *topic == packets_topic(OBSERVER)));
        let payloads: Vec<&String> = heard.iter().map(|(_, payload)| payload).collect();
        assert!(payloads == wanted.iter().collect::<Vec<_>>(), "in order, none twice");
    }
}

impl Listener {
    fn payloads(&self) -> Vec<String> {
        self.heard.lock().unwrap().iter().map(|(_, payload)| payload.clone()).collect()
    }
}

/// Waits longer than others: for deadlines of the hub itself.
async fn long(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + 3 * PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "gave up waiting: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// All arrived, in order but for what came again; how many did.
fn repeats(heard: &[String], wanted: &[String]) -> usize {
    let mut next = 0;
    for payload in heard {
        if wanted.get(next) == Some(payload) {
            next += 1;
        } else {
            assert!(wanted[..next].contains(payload), "out of order");
        }
    }
    assert_eq!(next, wanted.len(), "all arrive");
    heard.len() - wanted.len()
}

fn to(at: SocketAddr) -> String {
    format!("[[uplinks]]\nname = 'up'\nbroker = 'mqtt://{at}'\nrate = 1000\ntypes = ['packets']\n")
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
    until(&first, "up", "all acknowledged", |it| it.waiting == 0 && it.sent == 10).await;
    assert_eq!(uplink(&second, "up").sent, 10);
    assert_eq!(first.counters().obs_inserted.get(), 10);
    stop(first).await;
    stop(second).await;
}

/// A file with a node's private key, and the public one.
fn key_file(dir: &Path) -> String {
    let private = format!("{}40{}", "00".repeat(31), "11".repeat(32));
    let bytes = hex::decode(&private).unwrap().try_into().unwrap();
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("node.key"), private).unwrap();
    hex::encode_upper(SigningKey::from_expanded(&bytes).public_key())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_logs_in_with_a_token_of_its_own_key_and_brings_nothing_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Fake::start().await;
    let key = key_file(dir.path());
    let at = free_port();
    let text = format!(
        "[[uplinks]]\nname = 'up'\nbroker = 'mqtt://{}'\nkeyFiles = ['node.key']\n\
         audience = 'hub.example'\nowner = '{key}'\nemail = 'me@example.org'\n\
         types = ['packets']\nneedsOriginId = true\n",
        broker.at
    );
    let hub = hub(dir.path(), at, &text).await;
    let (mut client, connect) = broker.log_in(false).await;
    let login = connect.login.unwrap();
    assert_eq!(login.username, format!("v1_{key}"));
    let token = Token::parse(login.password.as_bytes()).unwrap();
    let audiences = ["hub.example".to_owned()];
    let public_key = key_in(&login.username);
    let now_s = Some(Clock::system().now_ms() / 1_000);
    let expected =
        Expected { public_key: public_key.as_ref(), audiences: &audiences, now_s, skew_s: 5 };
    assert_eq!(token.judge(&expected), Ok(()));
    assert_eq!(token.claims.expires_at_s, Some(token.claims.issued_at_s + 3_600));
    assert_eq!((&token.claims.owner, &token.claims.email), (&None, &None), "not over plain TCP");

    publish(at, &messages(0..1)).await;
    let own = format!("meshcore/SJC/{key}/packets");
    publish_to(at, &own, &[format!(r#"{{"raw":"{}"}}"#, text_packet(7))]).await;
    let Some(Packet::Publish(publish)) = client.packet().await else { panic!("a PUBLISH") };
    assert_eq!((publish.topic, publish.qos), (own, QoS::AtLeastOnce));
    let payload = String::from_utf8(publish.payload.to_vec()).unwrap();
    assert_eq!(payload, format!(r#"{{"origin_id":"{key}","raw":"{}"}}"#, text_packet(7)));
    client.send(&[Packet::PubAck(PubAck::new(publish.pkid))]).await;
    until(&hub, &format!("up/{key}"), "acknowledged", |it| it.sent == 1).await;
    stop(hub).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_on_which_the_broker_hangs_up_three_times_is_set_aside_and_the_next_one_passes() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Fake::start().await;
    let at = free_port();
    let hub = hub(dir.path(), at, &to(broker.at)).await;
    let sent = messages(0..2);
    publish(at, &sent[..1]).await;
    for _ in 0..3 {
        let (mut client, _) = broker.log_in(false).await;
        let Some(Packet::Publish(it)) = client.packet().await else { panic!("a PUBLISH") };
        assert_eq!(it.payload, sent[0]);
    }
    let (mut client, _) = broker.log_in(false).await;
    publish(at, &sent[1..]).await;
    let Some(Packet::Publish(it)) = client.packet().await else { panic!("a PUBLISH") };
    assert_eq!(it.payload, sent[1]);
    client.send(&[Packet::PubAck(PubAck::new(it.pkid))]).await;
    until(&hub, "up", "one is set aside", |it| it.set_aside == 1 && it.sent == 1).await;
    assert_eq!(hub.counters().reasons.count("uplink_set_aside"), 1);
    stop(hub).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute; prints how fast 100,000 waiting messages go out"]
async fn a_hundred_thousand_messages_that_wait_go_out_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut broker) = Mosquitto::start(dir.path(), "") else { return };
    broker.kill();
    let at = free_port();
    let fast = to(broker.at).replace("rate = 1000", "rate = 100000");
    let hub = hub(&dir.path().join("hub"), at, &fast).await;
    let sent = messages(0..100_000);
    for some in sent.chunks(1_000) {
        publish(at, some).await;
    }
    until(&hub, "up", "all wait", |it| it.waiting == 100_000).await;
    broker.start_again();
    until(&hub, "up", "begins", |it| it.sent > 0).await;
    let (began, first) = (Instant::now(), uplink(&hub, "up").sent);
    while uplink(&hub, "up").sent < 100_000 {
        let before = uplink(&hub, "up").sent;
        until(&hub, "up", "goes on", |it| it.sent > before).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{:.0} messages/s", f64::from(u32::try_from(100_000 - first).unwrap()) / seconds);
    stop(hub).await;
}
