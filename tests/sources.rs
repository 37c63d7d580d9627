//! External brokers taken in, from the socket into the database: a real mosquitto, whole hubs, and a
//! proxy that breaks connections.

mod outages;

use crate::support::certificates::Authority;
use crate::support::database::count;
use crate::support::packets::{OBSERVER, packet_message, packets_topic, text_packet};
use crate::support::process::{Mosquitto, free_port};
use crate::support::proxy::{End, Mode, Proxy, Way};
use crate::support::{PATIENCE, eventually_async};

use meshbox::app::{Hub, Pipeline};
use meshbox::bridge::{self, Limits, Parts, Random};
use meshbox::clock::{Clock, Trust};
use meshbox::config::Config;
use meshbox::counters::{Counters, SourceState};
use rumqttc::{AsyncClient, Event, MqttOptions, Outgoing, Packet, QoS};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const TRANSMISSIONS: &str = "SELECT COUNT(*) FROM transmissions";
const OBSERVATIONS: &str = "SELECT COUNT(*) FROM observations";

fn write_config(dir: &Path, text: &str) -> Config {
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("broker.toml"), text).unwrap();
    Config::load(None, &|_| None, dir).unwrap()
}

fn source(name: &str, at: SocketAddr, more: &str) -> String {
    format!("[[mqttSources]]\nname = '{name}'\nbroker = 'mqtt://{at}'\n{more}\n")
}

fn listener(at: SocketAddr) -> String {
    format!("[[broker.listeners]]\nbind = '{at}'\naccess = 'anyone'\n")
}

/// A hub in `dir`; its database.
async fn hub(dir: &Path, text: &str) -> (Hub, PathBuf) {
    let config = write_config(dir, text);
    let db = config.db_path.clone();
    (Hub::start(&config, Clock::system()).await.unwrap(), db)
}

async fn stop(hub: Hub) {
    hub.stop(Instant::now() + PATIENCE).await.unwrap();
}

async fn until(counters: &Counters, name: &str, is: impl Fn(&SourceState) -> bool) -> SourceState {
    let found = || counters.sources().remove(name).filter(|state| is(state));
    eventually_async(&format!("{name} is so"), found).await
}

async fn receiving(hub: &Hub, name: &str) {
    until(hub.counters(), name, |s| s.step == "receiving").await;
}

/// Publishes these packets of an observer, and waits until the broker has them.
async fn publish(at: SocketAddr, qos: QoS, observer: &str, numbers: impl Iterator<Item = u32>) {
    let options = MqttOptions::new("gateway", at.ip().to_string(), at.port());
    let (client, mut events) = AsyncClient::new(options, 100);
    let payloads: Vec<String> = numbers
        .map(|number| packet_message(&text_packet(number)).replace(OBSERVER, observer))
        .collect();
    let mut left = payloads.len();
    let topic = packets_topic(observer);
    let sender = client.clone();
    let sending = tokio::spawn(async move {
        for payload in payloads {
            sender.publish(&topic, qos, false, payload).await.unwrap();
        }
    });
    loop {
        let event = tokio::time::timeout(PATIENCE, events.poll()).await.expect("gave up waiting");
        match event.unwrap() {
            Event::Incoming(Packet::PubAck(_)) if qos == QoS::AtLeastOnce => left -= 1,
            Event::Outgoing(Outgoing::Publish(_)) if qos == QoS::AtMostOnce => left -= 1,
            Event::Outgoing(Outgoing::Disconnect) => break,
            _ => continue,
        }
        if left == 0 {
            client.try_disconnect().unwrap();
        }
    }
    sending.await.unwrap();
}

/// Waits until the table has so many rows, and no more.
async fn rows(db: &Path, sql: &str, wanted: i64) {
    eventually_async(sql, || (count(db, sql) >= wanted).then_some(())).await;
    assert_eq!(count(db, sql), wanted, "{sql}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packet_from_two_sources_overlapping_topics_and_our_own_broker_is_one_observation() {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::start(dir.path(), "") else { return };
    let at = free_port();
    let text = [
        listener(at),
        source("wide", broker.at, "topics = ['meshcore/#', 'meshcore/SJC/#']"),
        source("narrow", broker.at, "topics = ['meshcore/SJC/#', 'meshcore/+/+/packets']"),
    ];
    let (hub, db) = hub(&dir.path().join("hub"), &text.concat()).await;
    receiving(&hub, "wide").await;
    receiving(&hub, "narrow").await;
    for qos in [QoS::AtLeastOnce, QoS::AtMostOnce] {
        publish(broker.at, qos, OBSERVER, 0..20).await;
        publish(at, qos, OBSERVER, 0..20).await;
    }
    // Another observer heard the same packets.
    let other = OBSERVER.replace('7', "8");
    publish(broker.at, QoS::AtLeastOnce, &other, 0..20).await;
    for name in ["wide", "narrow"] {
        until(hub.counters(), name, |s| s.messages >= 60).await;
    }
    let state = until(hub.counters(), "wide", |s| s.last_commit_ms.is_some()).await;
    assert!(state.last_commit_ms >= state.last_message_ms.map(|ms| ms - 60_000));
    eventually_async("all is stored", || {
        (hub.health().counters["queue_messages"] == 0).then_some(())
    })
    .await;
    assert_eq!((count(&db, TRANSMISSIONS), count(&db, OBSERVATIONS)), (20, 40));
    stop(hub).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_our_own_uplinks_broker_does_not_echo() {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::start(dir.path(), "") else { return };
    let at = free_port();
    // Packets alone: words on the gateway's presence would be counted among them.
    let uplink = format!(
        "[[uplinks]]\nname = 'up'\nbroker = 'mqtt://{}'\nsources = true\nrate = 1000\n\
         types = ['packets']\n",
        broker.at
    );
    let text = [listener(at), source("same", broker.at, ""), uplink];
    let (hub, db) = hub(&dir.path().join("hub"), &text.concat()).await;
    receiving(&hub, "same").await;
    publish(at, QoS::AtLeastOnce, OBSERVER, 0..50).await;
    // Ours come back from there, and somebody else's come too.
    until(hub.counters(), "same", |s| s.messages == 50).await;
    publish(broker.at, QoS::AtLeastOnce, OBSERVER, 50..60).await;
    until(hub.counters(), "same", |s| s.messages == 60).await;
    rows(&db, OBSERVATIONS, 60).await;
    // If anything went round, it would be before this one.
    publish(at, QoS::AtLeastOnce, OBSERVER, 60..61).await;
    until(hub.counters(), "same", |s| s.messages >= 61).await;
    let up = hub.counters().uplinks().remove("up").unwrap();
    let same = hub.counters().sources().remove("same").unwrap();
    assert_eq!((up.sent, same.messages), (51, 61));
    rows(&db, OBSERVATIONS, 61).await;
    stop(hub).await;
}

/// A pipeline with a database, and sources that are quick to dial again.
struct Quick {
    pipeline: Pipeline,
    bridge: bridge::Bridge,
    counters: Arc<Counters>,
    db: PathBuf,
}

impl Quick {
    fn start(dir: &Path, sources: &str) -> Self {
        let config = write_config(dir, sources);
        let (clock, counters) = (Clock::system(), Arc::new(Counters::default()));
        let trust = Trust::judge(clock.clone());
        let (inlet, pipeline) = Pipeline::start(&config, &clock, &trust, &counters, None).unwrap();
        let limits = Limits {
            patience: Duration::from_secs(2),
            backoff_first: Duration::from_millis(5),
            backoff_max: Duration::from_millis(20),
            ..Limits::default()
        };
        let parts = Parts {
            inlet,
            clock,
            counters: Arc::clone(&counters),
            shutdown: CancellationToken::new(),
            data_dir: dir.to_owned(),
            random: Random::system(),
            limits,
        };
        let bridge = bridge::start(&config.sources, parts);
        Self { pipeline, bridge, counters, db: config.db_path }
    }

    async fn stop(mut self) {
        let soon = Instant::now() + PATIENCE;
        self.bridge.quiesce(soon).await;
        let pipeline = self.pipeline;
        tokio::task::spawn_blocking(move || pipeline.finish(soon, || 0).unwrap()).await.unwrap();
        assert!(self.bridge.stop(soon).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_connections_that_break_in_the_middle_of_batches_every_message_becomes_one_row() {
    const EACH: u32 = 150;
    const ROUNDS: u32 = 30;
    let all = i64::from(EACH * ROUNDS);
    for seed in [1, 2] {
        let dir = tempfile::tempdir().unwrap();
        let more = "max_inflight_messages 100";
        let Some(broker) = Mosquitto::start(dir.path(), more) else { return };
        let proxy = Proxy::start(broker.at);
        let quick = Quick::start(&dir.path().join("hub"), &source("s", proxy.at, ""));
        until(&quick.counters, "s", |s| s.step == "receiving").await;
        let random = Random::seeded(seed);
        let below = |limit: u64| random.number() % limit;
        for round in 0..ROUNDS {
            let end = if below(2) == 0 { End::Reset } else { End::Close };
            // A publish has some 270 bytes, an acknowledgement 4: in the middle of one, mostly.
            match below(4) {
                0 => proxy.set(Way::Down, Mode::Cut(1 + below(20_000), end)),
                1 => proxy.set(Way::Up, Mode::Cut(1 + below(400), end)),
                2 => proxy.set(Way::Up, Mode::Delay(Duration::from_millis(below(30)))),
                _ => proxy.set_both(Mode::Pass),
            }
            let numbers = round * EACH..(round + 1) * EACH;
            let sending = publish(broker.at, QoS::AtLeastOnce, OBSERVER, numbers);
            let breaking = async {
                if below(2) == 0 {
                    let before = quick.counters.sources()["s"].messages;
                    until(&quick.counters, "s", |s| s.messages > before || !s.connected).await;
                    tokio::task::block_in_place(|| proxy.end(end));
                }
            };
            tokio::join!(sending, breaking);
        }
        proxy.set_both(Mode::Pass);
        rows(&quick.db, OBSERVATIONS, all).await;
        let state = until(&quick.counters, "s", |s| s.connected).await;
        assert!(state.connects > 10, "it was broken again and again: {state:?}");
        eprintln!("seed {seed}: {} connections, {} messages", state.connects, state.messages);
        let db = quick.db.clone();
        quick.stop().await;
        // All of it was acknowledged: nothing but news comes from the session that is kept there.
        let again = Quick::start(&dir.path().join("hub"), &source("s", proxy.at, ""));
        until(&again.counters, "s", |s| s.step == "receiving").await;
        publish(broker.at, QoS::AtLeastOnce, OBSERVER, EACH * ROUNDS..EACH * ROUNDS + 1).await;
        rows(&db, OBSERVATIONS, all + 1).await;
        assert_eq!(again.counters.sources()["s"].messages, 1);
        again.stop().await;
        assert_eq!(count(&db, TRANSMISSIONS), all + 1);
        assert_eq!(count(&db, "SELECT COUNT(*) FROM meshbox_refused"), 0);
    }
}

fn meshbox(dir: &Path, args: &[&str]) -> String {
    let output =
        assert_cmd::Command::cargo_bin("meshbox").unwrap().current_dir(dir).args(args).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_meshbox_is_a_source_through_tls_with_an_account_and_keeps_what_comes_while_we_are_away()
 {
    let dir = tempfile::tempdir().unwrap();
    let (attic, cellar) = (dir.path().join("attic"), dir.path().join("cellar"));
    let (open, tls) = (free_port(), free_port());
    let text = format!(
        "{}[[broker.listeners]]\ntransport = 'tls'\nbind = '{tls}'\naccess = 'accounts'\n\
         certificateFile = 'meshbox-cert.pem'\nkeyFile = 'meshbox-key.pem'\n",
        listener(open)
    );
    std::fs::create_dir_all(&attic).unwrap();
    meshbox(&attic, &["tls", "self-signed", "--host", "localhost"]);
    std::fs::write(attic.join("broker.toml"), &text).unwrap();
    let said = meshbox(&attic, &["account", "add", "cellar", "--role", "reader", "--generate"]);
    let password = said.lines().find_map(|line| line.strip_prefix("password ")).unwrap().trim();
    let (first, _) = hub(&attic, &text).await;

    std::fs::create_dir_all(&cellar).unwrap();
    std::fs::copy(attic.join("meshbox-cert.pem"), cellar.join("attic-cert.pem")).unwrap();
    std::fs::write(cellar.join("attic.password"), password).unwrap();
    let text = format!(
        "[broker]\nenabled = false\n[[mqttSources]]\nname = 'attic'\n\
         broker = 'mqtts://localhost:{}'\nusername = 'cellar'\npasswordFile = 'attic.password'\n\
         caFile = 'attic-cert.pem'\n",
        tls.port()
    );
    let (second, db) = hub(&cellar, &text).await;
    receiving(&second, "attic").await;
    publish(open, QoS::AtLeastOnce, OBSERVER, 0..20).await;
    rows(&db, OBSERVATIONS, 20).await;
    stop(second).await;
    publish(open, QoS::AtLeastOnce, OBSERVER, 20..40).await;
    let (second, _) = hub(&cellar, &text).await;
    rows(&db, OBSERVATIONS, 40).await;
    stop(second).await;
    stop(first).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_is_taken_in_through_each_kind_of_url_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let (theirs, ours) = (dir.path().join("theirs"), dir.path().join("ours"));
    for home in [&theirs, &ours] {
        std::fs::create_dir_all(home).unwrap();
    }
    let authority = Authority::new(&ours);
    let pair = authority.sign("localhost");
    let ports = [(); 4].map(|()| free_port());
    let transports = ["tcp", "tls", "ws", "wss"];
    let listeners = ports.iter().zip(transports).map(|(at, transport)| {
        let (certificate, key) = (pair.certificate.display(), pair.key.display());
        let files = format!("certificateFile = '{certificate}'\nkeyFile = '{key}'\n");
        let files = if matches!(transport, "tls" | "wss") { &files } else { "" };
        format!(
            "[[broker.listeners]]\ntransport = '{transport}'\nbind = '{at}'\n\
             access = 'anyone'\n{files}"
        )
    });
    let (first, _) = hub(&theirs, &listeners.collect::<String>()).await;
    let [tcp, tls, ws, wss] = ports.map(|at| at.port());
    let urls = [
        ("mqtt", format!("mqtt://127.0.0.1:{tcp}")),
        ("tcp", format!("tcp://localhost:{tcp}")),
        ("mqtts", format!("mqtts://localhost:{tls}")),
        ("ssl", format!("ssl://localhost:{tls}")),
        ("ws", format!("ws://localhost:{ws}/any/path?x=1")),
        ("wss", format!("wss://localhost:{wss}/mqtt")),
    ];
    let sources = urls.iter().map(|(name, url)| {
        let encrypted = matches!(*name, "mqtts" | "ssl" | "wss");
        let ca = if encrypted { "caFile = 'ca.pem'\n" } else { "" };
        format!("[[mqttSources]]\nname = '{name}'\nbroker = '{url}'\n{ca}")
    });
    let text = format!("[broker]\nenabled = false\n{}", sources.collect::<String>());
    let (second, db) = hub(&ours, &text).await;
    for (name, _) in &urls {
        receiving(&second, name).await;
    }
    publish(ports[0], QoS::AtLeastOnce, OBSERVER, 0..10).await;
    for (name, _) in &urls {
        until(second.counters(), name, |s| s.messages >= 10).await;
    }
    rows(&db, OBSERVATIONS, 10).await;
    let state = second.counters().sources().remove("ws").unwrap();
    assert_eq!(state.broker, format!("ws://localhost:{ws}/any/path?***"));
    stop(second).await;
    stop(first).await;
}
