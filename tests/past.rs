//! `meshbox replay` from an existing database.
//!
//! A database that CoreScope of April 2026 made of a recorded stream is taken in anew, and compared
//! with what the stream itself gives. Every difference has a name and its exact count.

use crate::support::reference;

use rusqlite::{Connection, types::Value as Cell};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn meshbox(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_meshbox")).args(args).current_dir(dir).output().unwrap()
}

/// Replays a file with this configuration; the counts that it printed.
fn replay(dir: &Path, from: &str, to: &str, more: &[&str]) -> Value {
    let args = [&["replay", from, "--db", to, "--json"], more].concat();
    let output = meshbox(dir, &args);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

type Rows = BTreeMap<String, Vec<Cell>>;

/// A query's rows by their first column.
fn rows(path: &Path, sql: &str) -> Rows {
    let conn = Connection::open(path).unwrap();
    let mut statement = conn.prepare(sql).unwrap();
    let width = statement.column_count();
    let read = |row: &rusqlite::Row<'_>| {
        let cells: rusqlite::Result<Vec<Cell>> = (1..width).map(|at| row.get(at)).collect();
        Ok((row.get(0)?, cells?))
    };
    statement.query_map([], read).unwrap().map(Result::unwrap).collect()
}

/// A companion's hash has the time in it, which a replay of the stream takes from today.
const TX: &str = "iif(t.raw_hex = '', t.decoded_json, t.hash)";

fn transmissions(path: &Path) -> Rows {
    let sql = format!(
        "SELECT {TX}, upper(raw_hex), route_type, payload_type, payload_version, decoded_json FROM transmissions t"
    );
    rows(path, &sql)
}

fn observations(path: &Path) -> Rows {
    let sql = format!(
        "SELECT {TX} || ' ' || COALESCE(upper(b.id), 'nobody') || ' ' || o.path_json,
         o.direction, o.snr, o.rssi, CAST(round(o.score) AS INTEGER)
         FROM observations o JOIN transmissions t ON t.id = o.transmission_id
         LEFT JOIN observers b ON b.rowid = o.observer_idx"
    );
    rows(path, &sql)
}

/// April's database and the stream it was made of, each replayed with this formula for hashes; `None`
/// where the reference data is missing.
fn replay_both(formula: &str) -> Option<(tempfile::TempDir, Value)> {
    let (april, stream) = (reference("replay-original.db")?, reference("replay.jsonl")?);
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    // A name that says nothing: what the file is shows in its first bytes.
    fs::copy(april, at("april.jsonl")).unwrap();
    let text = fs::read_to_string(reference("replay-config.json").unwrap()).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["channelKeysPath"] = json!(reference("channel-rainbow.json").unwrap());
    config["validateSignatures"] = json!(false);
    config["contentHash"] = json!(formula);
    fs::write(at("config.json"), config.to_string()).unwrap();
    let more = ["--config", "config.json", "--source", "local"];
    let told = replay(dir.path(), "april.jsonl", "past.db", &more);
    replay(dir.path(), stream.to_str().unwrap(), "stream.db", &more);
    Some((dir, told))
}

#[test]
fn a_database_of_april_2026_gives_what_its_stream_gives() {
    let Some((dir, told)) = replay_both("corescope-2026-04") else { return };
    let at = |name: &str| dir.path().join(name);
    let around = Around { april: at("april.jsonl"), past: at("past.db"), stream: at("stream.db") };
    let expected = BTreeMap::from([
        ("April did not store the packet", 14),
        ("April writes a channel_idx that is no number or text into the name", 8),
    ]);
    assert_eq!(around.compare(transmissions, "transmissions"), expected);
    let expected = BTreeMap::from([
        ("April did not store the packet", 24),
        ("April keeps the signal of the first of two equal observations", 95),
        ("April writes a channel_idx that is no number or text into the name", 8),
        ("the first observations of a new observer have none in April", 4),
        ("their subscription did not cover the topic", 1),
    ]);
    assert_eq!(around.compare(observations, "observations"), expected);
    let left = json!({ "nodes without an advert": 64 });
    let counts =
        json!({ "observations": 4_410, "observers": 8, "unreadable": 1, "leftBehind": left });
    assert_eq!(told["database"], counts);
    let refused = json!({ "hash_size_reserved": 12, "path_too_long": 19, "payload_too_long": 5 });
    assert_eq!(told["reasons"], refused);
}

#[test]
fn a_database_of_april_2026_gets_the_firmwares_hashes_at_the_times_of_old() {
    let Some((dir, _)) = replay_both("firmware") else { return };
    let at = |name: &str| dir.path().join(name);
    let (past, stream) = (transmissions(&at("past.db")), transmissions(&at("stream.db")));
    let shared = past.iter().filter(|(hash, row)| stream.get(*hash) == Some(row)).count();
    assert_eq!((past.len(), shared, stream.len()), (2_168, 2_164, 2_183));
    // A companion's hash has the second in it: here it is the same as in April.
    let companions = "SELECT hash, 0 FROM transmissions WHERE raw_hex = ''";
    assert_eq!(rows(&at("past.db"), companions), rows(&at("april.jsonl"), companions));
    let span = "SELECT 'all', MIN(timestamp), MAX(timestamp) FROM observations";
    assert_eq!(rows(&at("past.db"), span), rows(&at("april.jsonl"), span));
    let observers =
        "SELECT upper(id), nullif(name, ''), iata, first_seen, last_seen, model, firmware, radio,
        battery_mv, uptime_secs, noise_floor, client_version FROM observers WHERE id <> ''";
    assert_eq!(rows(&at("past.db"), observers), rows(&at("april.jsonl"), observers));
    assert_eq!(rows(&at("past.db"), "SELECT * FROM observer_metrics"), Rows::new());
}

#[test]
fn a_database_of_july_2026_is_taken_in_and_what_is_left_behind_is_counted() {
    let Some(july) = reference("replay-later.db") else { return };
    let dir = tempfile::tempdir().unwrap();
    fs::copy(july, dir.path().join("july.db")).unwrap();
    let told = replay(dir.path(), "july.db", "new.db", &[]);
    let left = json!({ "dropped packets": 266, "observer metrics": 4 });
    let counts =
        json!({ "observations": 4_115, "observers": 8, "unreadable": 0, "leftBehind": left });
    assert_eq!(told["database"], counts);
    assert_eq!((&told["reasons"], &told["counters"]["obs_inserted"]), (&json!({}), &json!(4_064)));
}

#[test]
fn a_database_is_not_replayed_into_itself() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("none.jsonl"), "").unwrap();
    replay(dir.path(), "none.jsonl", "a.db", &[]);
    let output = meshbox(dir.path(), &["replay", "a.db", "--db", "./a.db"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), error.lines().count()), (Some(1), 1), "{error}");
    assert!(error.contains("--db names a.db itself; name a new file"), "{error}");
}

/// The three databases of one stream.
struct Around {
    april: PathBuf,
    past: PathBuf,
    stream: PathBuf,
}

impl Around {
    /// How often each named difference occurs; panics with what has no name.
    fn compare(&self, read: fn(&Path) -> Rows, what: &str) -> BTreeMap<&'static str, usize> {
        let all =
            Rows3 { april: read(&self.april), past: read(&self.past), stream: read(&self.stream) };
        let mut named = BTreeMap::new();
        let mut unnamed = Vec::new();
        let keys: BTreeSet<&String> = all.past.keys().chain(all.stream.keys()).collect();
        for key in keys.into_iter().filter(|key| all.past.get(*key) != all.stream.get(*key)) {
            match all.explain(key) {
                Some(name) => *named.entry(name).or_insert(0) += 1,
                None => unnamed.push(format!(
                    "{key}: {:?} / {:?} / {:?}",
                    all.april.get(key),
                    all.past.get(key),
                    all.stream.get(key)
                )),
            }
        }
        assert!(unnamed.is_empty(), "{what} beside {named:?}:\n{}", unnamed.join("\n"));
        named
    }
}

/// A table's rows in each.
struct Rows3 {
    april: Rows,
    past: Rows,
    stream: Rows,
}

impl Rows3 {
    fn explain(&self, key: &str) -> Option<&'static str> {
        let (april, past, stream) = (self.april.get(key), self.past.get(key), self.stream.get(key));
        if key.starts_with('{') {
            let odd =
                ["ch<nil>", "chtrue", "ch[", "chmap[", "ch2"].iter().any(|odd| key.contains(odd));
            return odd
                .then_some("April writes a channel_idx that is no number or text into the name");
        }
        if key.ends_with(" X []") {
            return Some("their subscription did not cover the topic");
        }
        let hash = key.split(' ').next().unwrap_or_default();
        let known = |rows: &Rows| rows.keys().any(|other| other.starts_with(hash));
        let path = key.split_once('[').map_or("", |(_, path)| path);
        let nobodys = format!("{hash} nobody [{path}");
        match (past, stream) {
            (Some(past), Some(_)) => (april == Some(past))
                .then_some("April keeps the signal of the first of two equal observations"),
            (None, Some(_)) if !known(&self.april) => Some("April did not store the packet"),
            (None, Some(_)) if self.past.contains_key(&nobodys) => Some(FIRST),
            (Some(_), None) if key == nobodys => Some(FIRST),
            _ => None,
        }
    }
}

const FIRST: &str = "the first observations of a new observer have none in April";
