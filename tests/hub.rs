//! The whole hub, in-process and as a program.

use crate::support::database::{column, count};
use crate::support::packets::{OBSERVER, packet_message, packets_topic, text_packet};
use crate::support::process::HubProcess;
use crate::support::{PATIENCE, eventually, program};

use assert_cmd::Command;
use rumqttc::{Client, Event, MqttOptions, Outgoing, Packet, QoS};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A hub on a port of its own and otherwise on its defaults.
const LISTENER: &str = "[[broker.listeners]]\ntransport = \"tcp\"\nbind = \"127.0.0.1:0\"\n";

/// A folder with this broker.toml.
fn folder(config: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("broker.toml"), config).unwrap();
    dir
}

fn database(dir: &Path) -> PathBuf {
    dir.join("data/meshcore.db")
}

fn port(at: Option<SocketAddr>) -> String {
    at.expect("the hub printed its port").port().to_string()
}

/// Publishes at QoS 1 and returns the payloads whose PUBACK came before the connection ended.
fn publish_until_cut(at: SocketAddr, messages: &[(String, String)]) -> BTreeSet<String> {
    let mut options = MqttOptions::new("publisher", at.ip().to_string(), at.port());
    options.set_keep_alive(Duration::from_secs(30)).set_inflight(100);
    options.set_max_packet_size(1 << 20, 1 << 20);
    let (client, mut connection) = Client::new(options, messages.len().max(1));
    for (topic, payload) in messages {
        client.publish(topic, QoS::AtLeastOnce, false, payload.as_bytes()).unwrap();
    }
    let mut by_packet_id = std::collections::HashMap::new();
    let mut next = messages.iter();
    let mut acknowledged = BTreeSet::new();
    for event in connection.iter() {
        match event {
            Ok(Event::Outgoing(Outgoing::Publish(id))) => {
                by_packet_id.insert(id, next.next().unwrap().1.clone());
            }
            Ok(Event::Incoming(Packet::PubAck(ack))) => {
                acknowledged.insert(by_packet_id[&ack.pkid].clone());
                if acknowledged.len() == messages.len() {
                    return acknowledged;
                }
            }
            Ok(_) => {}
            Err(_) => return acknowledged,
        }
    }
    acknowledged
}

#[test]
fn a_packet_published_with_mosquitto_pub_is_a_row_within_two_seconds_and_mosquitto_sub_sees_it() {
    let (Some(publish), Some(subscribe)) = (program("mosquitto_pub"), program("mosquitto_sub"))
    else {
        return;
    };
    let dir = folder(LISTENER);
    let hub = HubProcess::start(dir.path(), &[]);
    let port = port(hub.mqtt);
    // Packets alone: the observer's presence is told on its status topic.
    let packets = "meshcore/+/+/packets";
    let mut listener = std::process::Command::new(subscribe)
        .args(["-h", "127.0.0.1", "-p", &port, "-t", packets, "-C", "1", "-W", "20"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let db = database(dir.path());
    let send = |number: u32| {
        let message = packet_message(&text_packet(number));
        let sent = Instant::now();
        let published = std::process::Command::new(&publish)
            .args(["-h", "127.0.0.1", "-p", &port, "-t", &packets_topic(OBSERVER), "-m", &message])
            .status()
            .unwrap();
        assert!(published.success());
        eventually("the packet is a row", || {
            let rows = "select count(*) from packets_v where observer_name = 'Hilltop'";
            (count(&db, rows) == i64::from(number)).then_some(())
        });
        assert!(sent.elapsed() < Duration::from_secs(2), "{:?}", sent.elapsed());
        message
    };
    // A subscriber from outside does not tell when it is ready: send until it has had enough.
    let mut sent = Vec::new();
    eventually("mosquitto_sub has heard one and ends", || {
        sent.push(send(u32::try_from(sent.len()).unwrap() + 1));
        listener.try_wait().unwrap()
    });
    let mut heard = String::new();
    std::io::Read::read_to_string(&mut listener.stdout.take().unwrap(), &mut heard).unwrap();
    assert!(sent.iter().any(|message| heard.trim_end() == message), "{heard}");
}

#[test]
fn sigterm_stores_what_was_received_and_exits_0() {
    let dir = folder(LISTENER);
    let hub = HubProcess::start(dir.path(), &[]);
    let at = hub.mqtt.unwrap();
    let messages: Vec<_> =
        (0..500).map(|n| (packets_topic(OBSERVER), packet_message(&text_packet(n)))).collect();
    let acknowledged = publish_until_cut(at, &messages);
    assert_eq!(acknowledged.len(), 500);
    assert_eq!(hub.terminate(), Some(0));
    let db = database(dir.path());
    assert_eq!(count(&db, "select count(*) from transmissions"), 500);
    assert_eq!(column(&db, "pragma integrity_check"), ["ok"]);
    let wal = dir.path().join("data/meshcore.db-wal");
    assert!(
        !wal.exists() || std::fs::metadata(wal).unwrap().len() == 0,
        "no checkpoint at the end"
    );
    assert!(!dir.path().join("data/meshbox.sock").exists(), "the control socket stayed behind");
}

#[test]
fn an_acknowledgement_takes_a_fiftieth_of_a_second_and_not_the_commit_interval() {
    let dir = folder(&format!("commitIntervalMs = 10000\n{LISTENER}"));
    let hub = HubProcess::start(dir.path(), &[]);
    let at = hub.mqtt.unwrap();
    let options = MqttOptions::new("publisher", at.ip().to_string(), at.port());
    let (client, mut connection) = Client::new(options, 10);
    let mut took: Vec<Duration> = (0..31)
        .map(|number| {
            let sent = Instant::now();
            let (topic, message) = (packets_topic(OBSERVER), packet_message(&text_packet(number)));
            client.publish(topic, QoS::AtLeastOnce, false, message).unwrap();
            let mut events = connection.iter().map(Result::unwrap);
            assert!(events.any(|event| matches!(event, Event::Incoming(Packet::PubAck(_)))));
            sent.elapsed()
        })
        .collect();
    took.sort();
    let median = took[took.len() / 2];
    println!("median {median:?}, longest {:?}", took.last());
    // 20 ms and a commit; the machine may be busy.
    assert!(median < Duration::from_millis(200), "{took:?}");
    assert_eq!(hub.terminate(), Some(0));
}

fn status(dir: &Path) -> Option<meshbox::counters::Snapshot> {
    meshbox::control::ask_status(&database(dir)).ok()
}

#[test]
fn status_tells_people_and_programs_how_the_hub_is() {
    let dir = folder(LISTENER);
    let hub = HubProcess::start(dir.path(), &[]);
    let at = hub.mqtt.unwrap();
    publish_until_cut(at, &[(packets_topic(OBSERVER), packet_message(&text_packet(1)))]);
    publish_until_cut(at, &[(packets_topic(OBSERVER), "not json".into())]);
    let snapshot = eventually("the counters arrive", || {
        status(dir.path()).filter(|s| s.counters["tx_inserted"] == 1)
    });
    assert!(snapshot.ok);
    assert_eq!(snapshot.reasons.get("not_json"), Some(&1));
    let ask = |args: &[&str]| {
        Command::cargo_bin("meshbox").unwrap().current_dir(dir.path()).args(args).output().unwrap()
    };
    let people = ask(&["status"]);
    assert!(people.status.success());
    assert!(String::from_utf8_lossy(&people.stdout).contains("1  tx_inserted"));
    let programs = ask(&["status", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&programs.stdout).unwrap();
    assert_eq!(json["counters"]["tx_inserted"], 1);
    let observers = ask(&["status", "--observers", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&observers.stdout).unwrap();
    assert_eq!((&json[0]["key"], &json[0]["messages"]), (&OBSERVER.into(), &2.into()));
    for flag in ["--connections", "--refusals", "--observers"] {
        assert!(ask(&["status", flag]).status.success(), "{flag}");
    }
    assert_eq!(hub.terminate(), Some(0));
    let nobody = ask(&["status"]);
    assert_eq!(nobody.status.code(), Some(1));
    let error = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert!(error.contains("no hub is running") && error.lines().count() == 1, "{error}");
}

#[test]
fn a_second_hub_on_the_same_data_directory_is_refused_in_one_line() {
    let dir = folder(LISTENER);
    let _first = HubProcess::start(dir.path(), &[]);
    let mut second = HubProcess::spawn(dir.path(), &[]);
    assert_eq!(second.exit_code(), Some(1));
    let refusal = eventually("the refusal", || second.said("meshbox: "));
    assert!(refusal.starts_with("meshbox: another meshbox is running on "), "{refusal}");
}

#[test]
fn a_hub_that_was_killed_leaves_nothing_that_keeps_the_next_one_from_starting() {
    let dir = folder(LISTENER);
    HubProcess::start(dir.path(), &[]).kill();
    assert!(dir.path().join("data/meshbox.sock").exists());
    let hub = HubProcess::start(dir.path(), &[]);
    assert!(status(dir.path()).is_some());
    assert_eq!(hub.terminate(), Some(0));
}

#[test]
fn the_control_socket_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let dir = folder(LISTENER);
    let _hub = HubProcess::start(dir.path(), &[]);
    let socket = std::fs::metadata(dir.path().join("data/meshbox.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
}

#[test]
fn systemd_is_told_that_the_hub_is_ready_and_that_its_writer_lives() {
    let dir = folder(LISTENER);
    let path = dir.path().join("notify");
    let notify = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    notify.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut message = [0; 200];
        let length = notify.recv(&mut message).expect("a message to systemd");
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let socket = path.to_str().unwrap();
    let watched = [("NOTIFY_SOCKET", socket), ("WATCHDOG_USEC", "200000")];
    let hub = HubProcess::spawn_with(dir.path(), &[], &watched);
    let mut heard = std::collections::BTreeMap::new();
    while heard.get("WATCHDOG=1").is_none_or(|n| *n < 3) || !heard.contains_key("READY=1") {
        *heard.entry(told().trim().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(heard["READY=1"], 1);
    assert_eq!(hub.terminate(), Some(0));
    while told().trim() != "STOPPING=1" {}
}

#[test]
fn sigterm_while_the_database_is_locked_tells_what_is_lost_and_exits_1_in_time() {
    let dir = folder(LISTENER);
    let db = database(dir.path());
    let hub = HubProcess::start(dir.path(), &[]);
    let other = rusqlite::Connection::open(&db).unwrap();
    other.execute_batch("begin exclusive").unwrap();
    let options = MqttOptions::new("publisher", "127.0.0.1", hub.mqtt.unwrap().port());
    let (client, mut connection) = Client::new(options, 10);
    for (number, qos) in [(1, QoS::AtMostOnce), (2, QoS::AtMostOnce), (3, QoS::AtLeastOnce)] {
        let message = packet_message(&text_packet(number));
        client.publish(packets_topic(OBSERVER), qos, false, message).unwrap();
    }
    let publisher = std::thread::spawn(move || {
        let events = connection.iter().map_while(Result::ok);
        events.filter(|e| matches!(e, Event::Incoming(Packet::PubAck(_)))).count()
    });
    eventually("the messages are received", || {
        status(dir.path()).filter(|s| s.counters["broker_publishes"] == 3)
    });
    let began = Instant::now();
    let output = hub.terminate_and_tell();
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    assert_eq!(output.0, Some(1));
    let told = "the last 3 messages in time (1 of them will be sent again, 2 are lost)";
    assert!(output.1.contains(told), "{}", output.1);
    assert_eq!(publisher.join().unwrap(), 0, "acknowledged and not stored");
}

#[test]
fn sigterm_counts_the_message_that_waits_for_room_in_the_full_queue_as_lost() {
    let dir = folder(&format!("ingestBufferSize = 2\n{LISTENER}"));
    let db = database(dir.path());
    let hub = HubProcess::start(dir.path(), &[]);
    let other = rusqlite::Connection::open(&db).unwrap();
    other.execute_batch("begin exclusive").unwrap();
    let options = MqttOptions::new("publisher", "127.0.0.1", hub.mqtt.unwrap().port());
    let (client, mut connection) = Client::new(options, 10);
    for number in 1..=3 {
        let message = packet_message(&text_packet(number));
        client.publish(packets_topic(OBSERVER), QoS::AtMostOnce, false, message).unwrap();
    }
    let publisher = std::thread::spawn(move || connection.iter().take_while(Result::is_ok).count());
    eventually("the messages are received", || {
        status(dir.path()).filter(|s| s.counters["broker_publishes"] == 3)
    });
    let output = hub.terminate_and_tell();
    assert_eq!(output.0, Some(1));
    let told = "the last 3 messages in time (0 of them will be sent again, 3 are lost)";
    assert!(output.1.contains(told), "{}", output.1);
    publisher.join().unwrap();
}

#[test]
fn version_and_wrong_arguments_have_their_exit_codes() {
    let run = |args: &[&str]| Command::cargo_bin("meshbox").unwrap().args(args).output().unwrap();
    let version = run(&["--version"]);
    assert!(version.status.success());
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("meshbox 0."));
    assert_eq!(run(&["--no-such-flag"]).status.code(), Some(2));
    assert_eq!(run(&["run", "--config", "/no/such/file.toml"]).status.code(), Some(1));
}
