//! `nodeKeys` from the config file to the database.

use crate::support::packets::{OBSERVER, packet_message, packets_topic};

use assert_cmd::Command;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

// Keys that the firmware publishes in src/Identity.cpp, and a message from the first node to the
// second (wire-protocol §9 row 3b).
const SENDER: &str = "1ec77175b0918ed206f9ae04ec136d6d5d4315bb26305427f645b492e9350c10";
const PRIVATE: &str = "18469d6140447f77de13cd8d761e605431f52269fbff43b0925752ed9e6745435dc6a86d2568af8b70d3365db3f88234760c8ecc645ce469829bc45b65f1d5d5";
const LETTER: &str = "0a00481e886a6206b3b1012703546b881173f1e7223f";

/// The sender's advert with a signature of zeros and the name N.
fn advert() -> String {
    format!("1100{SENDER}01000000{}814e", "00".repeat(64))
}

/// Replays these packets into `hub.db` with this configuration; what it printed.
fn replay(dir: &Path, packets: &[&str], toml: &str) -> String {
    let line = |raw: &&str| {
        json!({ "topic": packets_topic(OBSERVER), "payload": packet_message(raw) }).to_string()
    };
    fs::write(dir.join("in.jsonl"), packets.iter().map(line).collect::<Vec<_>>().join("\n"))
        .unwrap();
    fs::write(dir.join("broker.toml"), format!("validateSignatures = false\n{toml}")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_meshbox"))
        .args(["replay", "in.jsonl", "--db", "hub.db", "--config", "broker.toml"])
        .env("RUST_LOG", "trace")
        .current_dir(dir)
        .output()
        .unwrap();
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    assert!(output.status.success(), "{printed}");
    printed
}

/// The message's `decoded_json`.
fn letter(dir: &Path) -> Value {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let conn = Connection::open_with_flags(dir.join("hub.db"), flags).unwrap();
    let query = "SELECT decoded_json FROM transmissions WHERE payload_type = 2";
    let text: String = conn.query_row(query, (), |row| row.get(0)).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_private_message_is_stored_as_text_only_with_the_key_of_its_node() {
    let with = tempfile::tempdir().unwrap();
    fs::write(with.path().join("node.key"), PRIVATE).unwrap();
    replay(with.path(), &[&advert(), LETTER], "nodeKeys = ['node.key']");
    let opened = letter(with.path());
    assert_eq!(opened["meshbox"]["opened"]["text"], "hello");

    let without = tempfile::tempdir().unwrap();
    replay(without.path(), &[&advert(), LETTER], "");
    let mut sealed = opened.clone();
    sealed.as_object_mut().unwrap().remove("meshbox");
    assert_eq!(letter(without.path()), sealed);
}

#[test]
fn after_a_restart_the_nodes_of_the_database_are_known() {
    let dir = tempfile::tempdir().unwrap();
    replay(dir.path(), &[&advert()], "");
    fs::write(dir.path().join("node.key"), PRIVATE).unwrap();
    replay(dir.path(), &[LETTER], "nodeKeys = ['node.key']");
    assert_eq!(letter(dir.path())["meshbox"]["opened"]["peer"], SENDER);
}

#[test]
fn the_private_key_is_in_no_log_and_in_no_file_but_its_own() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("node.key"), PRIVATE).unwrap();
    let printed = replay(dir.path(), &[&advert(), LETTER], "nodeKeys = ['node.key']");
    let raw = hex::decode(PRIVATE).unwrap();
    // The secret that the two nodes share (wire-protocol §3).
    let secret = "fa3e40c00aacdad37c94b1bbf4dd5e34580dcf312fe676a46ff210968bef8b30";
    let holds = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|w| w == part);
    let mut searched = 0;
    let mut search = |what: &str, bytes: &[u8]| {
        searched += 1;
        let text = String::from_utf8_lossy(bytes).to_lowercase();
        assert!(!text.contains(&PRIVATE[..32]) && !text.contains(&PRIVATE[64..96]), "{what}");
        assert!(!text.contains(&secret[..32]), "{what}");
        assert!(!holds(bytes, &raw[..16]) && !holds(bytes, &raw[32..48]), "{what}");
    };
    search("the log", printed.as_bytes());
    for entry in fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_file() && !entry.ends_with("node.key") {
            search(&entry.display().to_string(), &fs::read(&entry).unwrap());
        }
    }
    assert!(searched >= 4, "the log, the database, the messages, the configuration");
}
