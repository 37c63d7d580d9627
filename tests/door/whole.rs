//! The whole hub behind the door: what gateways send, and whether it is in the database.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, PubAck};
use rumqttc::{AsyncClient, Event, MqttOptions};
use serde_json::json;
use tokio::task::JoinSet;

use super::rig::{Raw, connect};
use crate::support::database::{column, count};
use crate::support::eventually_async;
use crate::support::load::{gateway, message};
use crate::support::packets::{OBSERVER, packet_message, packets_topic, text_packet};
use crate::support::process::{HubProcess, free_port};

fn configure(dir: &Path, at: &str) {
    let config = format!("[[broker.listeners]]\ntransport = \"tcp\"\nbind = \"{at}\"\n");
    std::fs::write(dir.join("broker.toml"), config).unwrap();
}

fn database(dir: &Path) -> PathBuf {
    dir.join("data/meshcore.db")
}

/// A hub of its own, and a gateway that has logged in.
async fn hub() -> (tempfile::TempDir, HubProcess, Raw) {
    let dir = tempfile::tempdir().unwrap();
    configure(dir.path(), "127.0.0.1:0");
    let hub = HubProcess::start(dir.path(), &[]);
    let mut client = Raw::dial(hub.mqtt.unwrap()).await;
    client.log_in(&connect("gateway")).await;
    (dir, hub, client)
}

/// Publishes at QoS 1, and waits until it is stored.
async fn store(client: &mut Raw, topic: &str, payload: &str) {
    client.publish(topic, payload.as_bytes(), QoS::AtLeastOnce, 1).await;
    assert_eq!(client.packet().await, Packet::PubAck(PubAck::new(1)));
}

#[tokio::test]
async fn row_8_the_topic_says_who_heard_it_whatever_the_origin_id_says() {
    let (dir, _hub, mut client) = hub().await;
    let another = "AB".repeat(32);
    // None, as slim uploaders have it; the same in lower case; and a contradiction.
    let ids = [json!(null), json!(OBSERVER.to_lowercase()), json!(another)];
    for (number, id) in (1..).zip(ids) {
        let mut packet = json!({ "raw": text_packet(number), "SNR": 9, "origin_id": id });
        if packet["origin_id"].is_null() {
            packet.as_object_mut().unwrap().remove("origin_id");
        }
        store(&mut client, &packets_topic(OBSERVER), &packet.to_string()).await;
    }
    let db = database(dir.path());
    assert_eq!(count(&db, "select count(*) from observations"), 3);
    assert_eq!(column(&db, "select id from observers"), [OBSERVER]);
    let told = meshbox::control::ask_status(&db).unwrap();
    assert_eq!(told.counters["origin_id_mismatches"], 1, "and the contradiction is counted");
}

#[tokio::test]
async fn form_1_every_payload_at_qos_0_comes_in_on_one_connection_that_stays() {
    let (dir, _hub, mut client) = hub().await;
    let topic = |kind: &str| format!("meshcore/SEA/{OBSERVER}/{kind}");
    let packet = packet_message(&text_packet(1));
    // What is stored, what is no JSON, what is cut, what is of another kind than its topic says.
    let payloads: [(&str, &str); 9] = [
        ("packets", &packet),
        ("packets", "{\"raw\":\"110"),
        ("packets", "not JSON at all"),
        ("packets", "{\"raw\":null}"),
        ("packets", "{\"type\":\"TELEMETRY\",\"subject_id\":\"AB\"}"),
        ("status", "connected"),
        ("serial/responses", "eyJhbGciOiJFZDI1NTE5In0.e30.00"),
        ("filter", "{}"),
        ("no/such/kind", ""),
    ];
    for (kind, payload) in payloads {
        client.publish(&topic(kind), payload.as_bytes(), QoS::AtMostOnce, 0).await;
    }
    store(&mut client, "meshcore/events/connection", "connected").await;
    store(&mut client, "meshcore/packets", &packet_message(&text_packet(2))).await;
    store(&mut client, "meshcore/repeater/Hill top/packet", &packet_message(&text_packet(3))).await;
    client.nothing_said().await;
    let db = database(dir.path());
    assert!(count(&db, "select count(*) from transmissions where raw_hex like '%00000001%'") == 1);
}

#[tokio::test]
async fn form_12_a_packet_that_is_sent_eight_times_is_one_observation() {
    let (dir, _hub, mut client) = hub().await;
    for _ in 0..8 {
        store(&mut client, &packets_topic(OBSERVER), &packet_message(&text_packet(1))).await;
    }
    let db = database(dir.path());
    for rows in ["transmissions", "observations"] {
        assert_eq!(count(&db, &format!("select count(*) from {rows}")), 1, "{rows}");
    }
}

/// An uploader: publishes the first packet, and the second one after its connection has broken and
/// it has found the broker again, as client libraries do by themselves.
async fn uploader(at: SocketAddr, number: u32, stored: tokio::sync::mpsc::Sender<u32>) {
    let key = gateway(number);
    let mut options = MqttOptions::new(&key, at.ip().to_string(), at.port());
    options.set_keep_alive(Duration::from_secs(60));
    let (client, mut events) = AsyncClient::new(options, 10);
    for round in 0..2 {
        let (topic, payload) = message(&key, 1_000 * round + number);
        client.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::PubAck(_))) => break,
                Ok(_) => {}
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        stored.send(round).await.unwrap();
        // Until the broker has gone.
        while round == 0 && events.poll().await.is_ok() {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn form_10_two_hundred_uploaders_are_back_after_a_restart_by_themselves() {
    const UPLOADERS: u32 = 200;
    let dir = tempfile::tempdir().unwrap();
    let at = free_port();
    configure(dir.path(), &at.to_string());
    let hub = HubProcess::start(dir.path(), &[]);
    let (sender, mut stored) = tokio::sync::mpsc::channel(1_000);
    let mut uploaders = JoinSet::new();
    for number in 0..UPLOADERS {
        uploaders.spawn(uploader(at, number, sender.clone()));
    }
    let rounds = async |round, stored: &mut tokio::sync::mpsc::Receiver<u32>| {
        for _ in 0..UPLOADERS {
            let one = tokio::time::timeout(Duration::from_secs(60), stored.recv()).await;
            assert_eq!(one.expect("all are served"), Some(round));
        }
    };
    rounds(0, &mut stored).await;
    assert_eq!(hub.terminate(), Some(0));
    let hub = HubProcess::start(dir.path(), &[]);
    rounds(1, &mut stored).await;
    uploaders.join_all().await;
    let db = database(dir.path());
    let rows = count(&db, "select count(*) from observations");
    assert_eq!(rows, i64::from(2 * UPLOADERS));
    assert_eq!(hub.terminate(), Some(0));
}

/// `cargo test --release --test it -- --ignored --nocapture form_8`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes ten minutes"]
async fn form_8_ten_minutes_of_250_messages_a_second_lose_nothing() {
    const GATEWAYS: u32 = 25;
    const EACH: u32 = 6_000;
    let (dir, hub, _client) = hub().await;
    let (db, at) = (database(dir.path()), hub.mqtt.unwrap());
    let status = || meshbox::control::ask_status(&db).unwrap();
    let (pid, commits) = (status().pid, status().counters["commits"]);
    let began = std::time::Instant::now();
    let mut gateways = JoinSet::new();
    for n in 0..GATEWAYS {
        gateways.spawn(async move {
            let mut raw = Raw::dial(at).await;
            raw.log_in(&connect(&gateway(n))).await;
            // As uploaders send: QoS 0, ten a second.
            let mut beat = tokio::time::interval(Duration::from_millis(100));
            for number in 0..EACH {
                beat.tick().await;
                let (topic, payload) = message(&gateway(n), n * EACH + number);
                raw.publish(&topic, payload.as_bytes(), QoS::AtMostOnce, 0).await;
            }
            raw.nothing_said().await;
        });
    }
    gateways.join_all().await;
    let took = began.elapsed().as_secs();
    let all = i64::from(GATEWAYS * EACH);
    let rows = || (count(&db, "select count(*) from observations") == all).then_some(());
    eventually_async("all are rows", rows).await;
    let commits = status().counters["commits"] - commits;
    let file = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let most = file.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap().trim().to_owned();
    let most_kib: u64 = most.split(' ').next().unwrap().parse().unwrap();
    eprintln!("{all} of {all} stored in {took} s, {commits} commits, {most} at most");
    assert!(commits <= 2 * took, "one commit a second, and not one a message");
    assert!(most_kib < 64 * 1024, "{most}");
    let ids: BTreeSet<_> = column(&db, "select id from observers").into_iter().collect();
    assert_eq!(ids.len(), GATEWAYS as usize);
    assert_eq!(hub.terminate(), Some(0));
}
