//! `meshbox export`, on files of ours and of CoreScope's.

use crate::support::packets::{OBSERVER, packets_topic, text_packet};
use crate::support::reference;

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A database of so many packets, whose observer has this name.
fn database(dir: &Path, packets: u32, name: &str) {
    let line = |n| {
        let raw = text_packet(n);
        let payload =
            json!({ "raw": raw, "origin": name, "SNR": -7.5, "RSSI": -90, "direction": "rx" });
        json!({ "topic": packets_topic(OBSERVER), "payload": payload.to_string() }).to_string()
    };
    let lines: Vec<String> = (0..packets).map(line).collect();
    fs::write(dir.join("in.jsonl"), lines.join("\n")).unwrap();
    let output = meshbox(dir, &["replay", "in.jsonl", "--db", "hub.db"]);
    assert!(output.status.success(), "{output:?}");
}

fn meshbox(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_meshbox")).args(args).current_dir(dir).output().unwrap()
}

fn exported(dir: &Path, args: &[&str]) -> String {
    let output = meshbox(dir, &[&["export"], args].concat());
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// CoreScope's database, where it may be opened.
fn copy_of(name: &str, dir: &Path) -> Option<()> {
    fs::copy(reference(name)?, dir.join("old.db")).unwrap();
    Some(())
}

#[test]
fn a_packet_line_has_the_observation_its_observer_and_what_was_decoded() {
    let dir = tempfile::tempdir().unwrap();
    database(dir.path(), 1_201, "Hill");
    let rows = objects(&exported(dir.path(), &["packets", "--db", "hub.db"]));
    assert_eq!(rows.len(), 1_201);
    let row = &rows[7];
    assert_eq!(row["raw_hex"], text_packet(7));
    assert_eq!(
        (&row["observer_id"], &row["observer_name"], &row["observer_iata"]),
        (&json!(OBSERVER), &json!("Hill"), &json!("SJC"))
    );
    assert_eq!((&row["snr"], &row["rssi"]), (&json!(-7.5), &json!(-90.0)));
    assert_eq!(row["decoded"]["type"], "TXT_MSG");
    assert_eq!(row["path"], json!([]));
    let time = row["time"].as_str().unwrap();
    assert!(time.len() == 20 && time.ends_with('Z') && time.contains('T'), "{time}");
    let observers = objects(&exported(dir.path(), &["observers", "--db", "hub.db"]));
    assert_eq!((observers.len(), &observers[0]["packet_count"]), (1, &json!(1_201)));
}

#[test]
fn times_are_given_as_dates_or_as_so_long_ago_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    database(dir.path(), 3, "Hill");
    let lines = |args: &[&str]| {
        exported(dir.path(), &[&["packets", "--db", "hub.db"], args].concat()).lines().count()
    };
    assert_eq!(lines(&["--since", "24h"]), 3);
    assert_eq!(lines(&["--until", "24h"]), 0);
    assert_eq!(lines(&["--since", "2020-01-01", "--until", "2999-01-01T00:00:00Z"]), 3);
    assert_eq!(lines(&["--since", "2999-01-01"]), 0);
    let wrong = meshbox(dir.path(), &["export", "packets", "--since", "yesterday"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("24h or 7d"), "{wrong:?}");
}

#[test]
fn csv_has_a_header_and_no_strangers_name_is_a_formula() {
    let dir = tempfile::tempdir().unwrap();
    database(dir.path(), 2, "=cmd|' /C calc'!A0, \"x\"");
    let text = exported(dir.path(), &["packets", "--db", "hub.db", "--format", "csv"]);
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[0].starts_with("time,hash,observer_id,observer_name,observer_iata,"));
    assert!(
        lines[1].contains(",\"'=cmd|' /C calc'!A0, \"\"x\"\"\",SJC,rx,-7.5,-90,,[],"),
        "{text}"
    );
    assert_eq!(lines[3], "");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    database(dir.path(), 2_000, "Hill");
    let mut child = Command::new(env!("CARGO_BIN_EXE_meshbox"))
        .args(["export", "packets", "--db", "hub.db"])
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Far more comes than a pipe holds.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn an_output_file_is_private_and_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    database(dir.path(), 5, "Hill");
    let args = ["export", "packets", "--db", "hub.db", "--output", "out.jsonl"];
    let output = meshbox(dir.path(), &args);
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    let file = dir.path().join("out.jsonl");
    assert_eq!(objects(&fs::read_to_string(&file).unwrap()).len(), 5);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let again = meshbox(dir.path(), &args);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    assert!(meshbox(dir.path(), &[&args[..], &["--force"]].concat()).status.success());
    let none = meshbox(dir.path(), &["export", "nodes", "--db", "none.db", "--output", "x"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(!dir.path().join("x").exists());
}

#[test]
fn databases_of_april_and_july_are_exported_with_null_for_what_they_lack() {
    let dir = tempfile::tempdir().unwrap();
    for (name, knows_channels) in [("replay-original.db", false), ("replay-later.db", true)] {
        if copy_of(name, dir.path()).is_none() {
            return;
        }
        let counted = |table: &str| {
            crate::support::database::count(
                &dir.path().join("old.db"),
                &format!("SELECT COUNT(*) FROM {table}"),
            )
        };
        for (what, table) in
            [("packets", "observations"), ("nodes", "nodes"), ("observers", "observers")]
        {
            let rows = objects(&exported(dir.path(), &[what, "--db", "old.db"]));
            assert_eq!(i64::try_from(rows.len()).unwrap(), counted(table), "{name} {what}");
            if what == "packets" {
                let channels = rows.iter().any(|row| !row["channel"].is_null());
                assert_eq!(channels, knows_channels, "{name}");
                assert!(rows.iter().all(|row| row["decoded"].is_object()), "{name}");
                assert!(rows.iter().all(|row| row.as_object().unwrap().contains_key("scope")));
            }
        }
    }
}
