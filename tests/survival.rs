//! What must not stop the hub, and what must not pass unsaid, while it runs as a program.

use crate::support::eventually;
use crate::support::packets::{OBSERVER, packet_message, packets_topic, text_packet};
use crate::support::process::HubProcess;

use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let config = "[[broker.listeners]]\ntransport = \"tcp\"\nbind = \"127.0.0.1:0\"\n";
    std::fs::write(dir.path().join("broker.toml"), config).unwrap();
    dir
}

/// Publishes one message at QoS 1; whether it was acknowledged before the connection ended.
fn acknowledged(hub: &HubProcess, number: u32) -> bool {
    let mut options = MqttOptions::new("publisher", "127.0.0.1", hub.mqtt.unwrap().port());
    options.set_keep_alive(Duration::from_secs(30));
    let (client, mut connection) = Client::new(options, 10);
    let message = packet_message(&text_packet(number));
    client.publish(packets_topic(OBSERVER), QoS::AtLeastOnce, false, message).unwrap();
    let ack = connection.iter().map_while(Result::ok);
    ack.into_iter().any(|event| matches!(event, Event::Incoming(Packet::PubAck(_))))
}

fn status(dir: &Path) -> Option<meshbox::counters::Snapshot> {
    meshbox::control::ask_status(&dir.join("data/meshcore.db")).ok()
}

#[test]
fn a_log_that_nobody_reads_any_more_does_not_stop_the_hub() {
    let dir = folder();
    let hub = HubProcess::start_with_closed_log(dir.path());
    // Each of these is a line in the log.
    let mut strange = TcpStream::connect(hub.mqtt.unwrap()).unwrap();
    strange.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    eventually("the stranger is counted", || {
        status(dir.path()).filter(|s| s.reasons.contains_key("http_without_websocket"))
    });
    assert!(acknowledged(&hub, 1));
    assert_eq!(hub.terminate(), Some(0));
}

#[test]
fn the_database_and_the_control_socket_do_not_go_short_of_files() {
    let dir = folder();
    let hub = HubProcess::start(dir.path(), &[]);
    let snapshot = eventually("a health snapshot", || status(dir.path()));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", snapshot.pid)).unwrap();
    let line = limits.lines().find(|l| l.starts_with("Max open files")).unwrap();
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|w| w.parse().ok()).collect();
    let [soft, hard] = numbers[..] else { panic!("{line}") };
    assert!(soft >= hard.min(4_096), "{line}");
    drop(hub);
}

#[test]
fn case_7_a_hub_whose_files_are_used_up_recovers_and_its_log_stays_small() {
    let dir = folder();
    let hub = HubProcess::start_with_files(dir.path(), 64);
    // More than it can have; those that it cannot accept wait in the system's queue.
    let silent: Vec<_> = (0..200).map(|_| TcpStream::connect(hub.mqtt.unwrap()).unwrap()).collect();
    eventually("it has run out of files", || {
        hub.output().contains("could not be accepted").then_some(())
    });
    // It goes on resting and trying for a while.
    std::thread::park_timeout(Duration::from_secs(2));
    drop(silent);
    assert!(acknowledged(&hub, 1));
    let said = hub.output();
    assert!(said.lines().count() < 20 && said.len() < 4_000, "{said}");
    assert_eq!(hub.terminate(), Some(0));
}
