//! What `meshbox status` tells while a broker or the database is away.

use super::{OBSERVATIONS, listener, publish, rows, source, stop, until, write_config};
use crate::support::eventually;
use crate::support::other::Other;
use crate::support::packets::OBSERVER;
use crate::support::process::{HubProcess, Mosquitto, free_port};

use meshbox::app::Hub;
use meshbox::clock::Clock;
use meshbox::counters::Snapshot;
use rumqttc::QoS;
use std::path::Path;

fn status(dir: &Path) -> Option<Snapshot> {
    meshbox::control::ask_status(&dir.join("data/meshcore.db")).ok()
}

/// `meshbox status`: its exit code and what it prints.
fn told(dir: &Path) -> (Option<i32>, String) {
    let mut command = assert_cmd::Command::cargo_bin("meshbox").unwrap();
    let output = command.current_dir(dir).arg("status").output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_is_held_status_is_bad_and_shows_what_waits_and_is_good_again_after() {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::start(dir.path(), "max_inflight_messages 1000") else { return };
    let text = format!(
        "ingestBufferSize = 20\n{}{}",
        listener("127.0.0.1:0".parse().unwrap()),
        source("region", broker.at, "")
    );
    std::fs::write(dir.path().join("broker.toml"), text).unwrap();
    let home = dir.path();
    let hub = HubProcess::start(home, &[]);
    eventually("it receives", || {
        status(home).filter(|s| s.ok && s.sources["region"].step == "receiving")
    });
    let db = home.join("data/meshcore.db");
    publish(broker.at, QoS::AtLeastOnce, OBSERVER, 0..10).await;
    rows(&db, OBSERVATIONS, 10).await;
    let other = Other::holds(&db, "BEGIN IMMEDIATE");
    publish(broker.at, QoS::AtLeastOnce, OBSERVER, 10..510).await;
    let (code, text) = eventually("status turns bad", || {
        Some(told(home)).filter(|(code, text)| *code == Some(1) && text.contains("wait for room"))
    });
    assert!(text.contains("something needs you"), "{code:?} {text}");
    assert!(text.contains("TROUBLE: database is locked"), "{text}");
    let held = status(home).unwrap();
    assert_eq!((held.counters["queue_messages"], held.sources["region"].connected), (20, true));
    other.let_go();
    rows(&db, OBSERVATIONS, 510).await;
    let (_, text) =
        eventually("all is well again", || Some(told(home)).filter(|(code, _)| *code == Some(0)));
    let line = text.lines().find(|line| line.starts_with("source     region: ")).unwrap();
    for part in
        [&format!("(mqtt://{})", broker.at), " messages (", " in 5 min), last ", ", stored "]
    {
        assert!(line.contains(part), "{part:?} is missing in: {line}");
    }
    let json = serde_json::to_value(status(home).unwrap()).unwrap();
    let source = &json["sources"]["region"];
    assert!(source["messagesLast5m"].as_u64() >= Some(510), "{source}");
    assert!(source["lastCommitMs"].as_i64().is_some() && source["lastMessageMs"].is_i64());
    assert_eq!((&source["connects"], &source["awaySinceMs"]), (&1.into(), &().into()), "{source}");
    assert_eq!(hub.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_told_by_status_within_a_minute_with_exit_code_1_and_no_password() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "[broker]\nenabled = false\n[[mqttSources]]\nname = 'region'\n\
         broker = 'ws://me:hunter2@{}/mqtt?token=hunter2'\n",
        free_port()
    );
    let config = write_config(dir.path(), &text);
    let clock = Clock::by_hand(1_790_000_000_000);
    let hub = Hub::start(&config, clock.clone()).await.unwrap();
    until(hub.counters(), "region", |s| !s.last_error.is_empty()).await;
    let ask = || tokio::task::block_in_place(|| told(dir.path()));
    assert_eq!(ask().0, Some(0), "a short absence is none: {}", ask().1);
    clock.set(1_790_000_060_001);
    let (code, text) = ask();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("region: not connected for 1 min 0 s (ws://127.0.0.1:"), "{text}");
    assert!(text.contains("connecting: nothing listens there (connection refused)"), "{text}");
    assert!(text.contains(", never connected; connecting: "), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    stop(hub).await;
}
