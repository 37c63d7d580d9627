//! `meshbox backup`, on files as they are and beside a running hub.

use crate::support::database::{count, value};
use crate::support::eventually;
use crate::support::packets::{OBSERVER, packet_message, packets_topic, text_packet};
use crate::support::process::HubProcess;

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// A database of so many packets, made by `meshbox replay`.
fn database(dir: &Path, packets: u32) {
    let line = |n| {
        let payload = packet_message(&text_packet(n));
        json!({ "topic": packets_topic(OBSERVER), "payload": payload }).to_string()
    };
    let lines: Vec<String> = (0..packets).map(line).collect();
    fs::write(dir.join("in.jsonl"), lines.join("\n")).unwrap();
    let output = meshbox(dir, &["replay", "in.jsonl", "--db", "hub.db"]);
    assert!(output.status.success(), "{output:?}");
    fs::remove_file(dir.join("in.jsonl")).unwrap();
}

fn meshbox(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_meshbox")).args(args).current_dir(dir).output().unwrap()
}

/// The one line of an error; the exit code is 1.
fn refused(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{output:?}");
    assert_eq!(output.stdout, b"");
    text
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_copy_is_whole_private_and_said_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    database(dir.path(), 300);
    let output = meshbox(dir.path(), &["backup", "copy.db", "--db", "hub.db"]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("copied hub.db to copy.db: "), "{text}");
    assert!(text.contains("checked, 300 transmissions, 300 observations, 0 nodes, 1 observers"));
    let copy = dir.path().join("copy.db");
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    let rows = "SELECT COUNT(*) FROM observations o JOIN observers b ON b.rowid = o.observer_idx";
    assert_eq!(count(&copy, rows), 300);
    assert_eq!(value::<String>(&copy, "PRAGMA integrity_check").unwrap(), "ok");
    // The hub takes it up as it is.
    database_again(dir.path(), "copy.db");
}

/// The pipeline opens it and writes to it.
fn database_again(dir: &Path, name: &str) {
    let payload = packet_message(&text_packet(77_777));
    let line = json!({ "topic": packets_topic(OBSERVER), "payload": payload }).to_string();
    fs::write(dir.join("more.jsonl"), line).unwrap();
    let output = meshbox(dir, &["replay", "more.jsonl", "--db", name]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(count(&dir.join(name), "SELECT COUNT(*) FROM transmissions"), 301);
}

#[test]
fn json_tells_programs_what_the_copy_holds() {
    let dir = tempfile::tempdir().unwrap();
    database(dir.path(), 20);
    let output = meshbox(dir.path(), &["backup", "copy.db", "--db", "hub.db", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        told["rows"],
        json!({ "transmissions": 20, "observations": 20, "nodes": 0, "observers": 1 })
    );
    assert_eq!(told["bytes"], fs::metadata(dir.path().join("copy.db")).unwrap().len());
    assert_eq!(
        (told["database"].as_str(), told["file"].as_str()),
        (Some("hub.db"), Some("copy.db"))
    );
}

#[test]
fn what_is_there_is_replaced_only_by_force_and_the_database_itself_never() {
    let dir = tempfile::tempdir().unwrap();
    database(dir.path(), 5);
    fs::write(dir.path().join("copy.db"), "precious").unwrap();
    let args = ["backup", "copy.db", "--db", "hub.db", "--force"];
    let error = refused(&meshbox(dir.path(), &args[..4]));
    assert!(error.contains("copy.db is there already; --force replaces it"), "{error}");
    assert_eq!(fs::read(dir.path().join("copy.db")).unwrap(), b"precious");
    let itself =
        refused(&meshbox(dir.path(), &["backup", "./hub.db", "--db", "hub.db", "--force"]));
    assert!(itself.contains("is the database itself"), "{itself}");
    fs::write(dir.path().join("copy.db-wal"), "").unwrap();
    let in_use = refused(&meshbox(dir.path(), &args));
    assert!(in_use.contains("copy.db-wal is there"), "{in_use}");
    fs::remove_file(dir.path().join("copy.db-wal")).unwrap();
    assert!(meshbox(dir.path(), &args).status.success());
    assert_eq!(count(&dir.path().join("copy.db"), "SELECT COUNT(*) FROM transmissions"), 5);
}

#[test]
fn a_copy_that_cannot_be_made_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    database(dir.path(), 2_000);
    assert!(fs::metadata(dir.path().join("hub.db")).unwrap().len() > 200_000);
    // A file that may not grow beyond 100 KB stands for a disk that is full.
    let script = "trap '' XFSZ; ulimit -f 200; exec \"$0\" backup copy.db --db hub.db";
    let output = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_meshbox")])
        .current_dir(dir.path())
        .output()
        .unwrap();
    let error = refused(&output);
    assert!(error.contains("cannot copy the database to"), "{error}");
    let missing = refused(&meshbox(dir.path(), &["backup", "no/such/copy.db", "--db", "hub.db"]));
    assert!(missing.contains("cannot make a file in no/such"), "{missing}");
    let nothing = refused(&meshbox(dir.path(), &["backup", "copy.db", "--db", "none.db"]));
    assert!(nothing.contains("there is no database at none.db"), "{nothing}");
    fs::write(dir.path().join("notes.txt"), "not a database, by far").unwrap();
    let other = refused(&meshbox(dir.path(), &["backup", "copy.db", "--db", "notes.txt"]));
    assert!(other.contains("notes.txt is not a SQLite database"), "{other}");
    let left: Vec<_> = names(dir.path()).into_iter().filter(|n| !n.starts_with("hub.db")).collect();
    assert_eq!(left, ["notes.txt"]);
    assert_eq!(meshbox(dir.path(), &["backup"]).status.code(), Some(2));
}

#[test]
fn a_running_hub_is_copied_with_what_it_has_committed() {
    let dir = tempfile::tempdir().unwrap();
    let config = "dbPath = 'hub.db'\n[[broker.listeners]]\nbind = '127.0.0.1:0'\n";
    fs::write(dir.path().join("broker.toml"), config).unwrap();
    let hub = HubProcess::start(dir.path(), &[]);
    let mut to = publisher(hub.mqtt.unwrap());
    for n in 0..200 {
        publish(&mut to, &packets_topic(OBSERVER), &packet_message(&text_packet(n)));
    }
    let db = dir.path().join("hub.db");
    let rows = || count(&db, "SELECT COUNT(*) FROM transmissions");
    eventually("the packets are committed", || (rows() == 200).then_some(()));
    let output = meshbox(dir.path(), &["backup", "copy.db"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(count(&dir.path().join("copy.db"), "SELECT COUNT(*) FROM transmissions"), 200);
    publish(&mut to, &packets_topic(OBSERVER), &packet_message(&text_packet(1_000)));
    eventually("the hub writes on", || (rows() == 201).then_some(()));
    assert_eq!(hub.terminate(), Some(0));
}

/// A client that has logged in.
fn publisher(at: std::net::SocketAddr) -> std::net::TcpStream {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(at).unwrap();
    stream.write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01b").unwrap();
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).unwrap();
    assert_eq!(connack, [0x20, 2, 0, 0]);
    stream
}

/// QoS 0, of 128 bytes or more.
fn publish(to: &mut std::net::TcpStream, topic: &str, payload: &str) {
    use std::io::Write;
    let length = 2 + topic.len() + payload.len();
    let head =
        [0x30, 0x80 | u8::try_from(length % 128).unwrap(), u8::try_from(length / 128).unwrap()];
    let name = u16::try_from(topic.len()).unwrap().to_be_bytes();
    to.write_all(&[&head, &name[..], topic.as_bytes(), payload.as_bytes()].concat()).unwrap();
}
