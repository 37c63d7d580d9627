//! A recorded stream of messages beside the databases that both CoreScopes made of it.
//!
//! The same 5,069 messages went through CoreScope of April 2026 and of July 2026. Every row that
//! differs from ours must have a name here, and every name its exact count.

use crate::support::reference;

use assert_cmd::Command;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A table's rows by a key that both databases share.
type Rows = BTreeMap<String, Map<String, Value>>;

/// One place where the two databases differ.
#[derive(Debug)]
struct Difference {
    table: &'static str,
    key: String,
    /// The column, or `+` for a row that only we have, `-` for one that only they have.
    column: String,
    theirs: Value,
    ours: Value,
}

#[test]
fn the_replay_agrees_with_corescope_of_april_2026() {
    let Some(theirs) = reference("replay-original.db") else { return };
    // April's formula; and April did not check signatures.
    let ours = replay(json!({ "contentHash": "corescope-2026-04", "validateSignatures": false }));
    let found = compare(&theirs, &ours.path().join("ours.db"), explain_april);
    assert_eq!(found, BTreeMap::from([]));
}

#[test]
fn the_replay_agrees_with_corescope_of_july_2026() {
    let Some(theirs) = reference("replay-later.db") else { return };
    let ours = replay(json!({}));
    let found = compare(&theirs, &ours.path().join("ours.db"), explain_july);
    assert_eq!(found, BTreeMap::from([]));
}

fn explain_april(_: &Difference) -> Option<&'static str> {
    None
}

fn explain_july(_: &Difference) -> Option<&'static str> {
    None
}

/// Runs `meshbox replay` over the recorded stream, with the recorded configuration and these keys.
fn replay(more: Value) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let read = |name| std::fs::read_to_string(reference(name).unwrap()).unwrap();
    let mut config: Map<String, Value> = serde_json::from_str(&read("replay-config.json")).unwrap();
    config.insert("channelKeysPath".into(), json!(reference("channel-rainbow.json").unwrap()));
    config.extend(more.as_object().unwrap().clone());
    let file = dir.path().join("config.json");
    std::fs::write(&file, Value::from(config).to_string()).unwrap();
    Command::cargo_bin("meshbox")
        .unwrap()
        .current_dir(dir.path())
        .arg("replay")
        .arg(reference("replay.jsonl").unwrap())
        .args(["--db", "ours.db", "--config", "config.json", "--source", "local"])
        .assert()
        .success();
    dir
}

/// Compares the four tables; returns how often each named difference occurs. Panics with what has no
/// name.
fn compare(
    theirs: &Path,
    ours: &Path,
    explain: impl Fn(&Difference) -> Option<&'static str>,
) -> BTreeMap<&'static str, usize> {
    let (theirs, ours) = (open(theirs), open(ours));
    let mut named = BTreeMap::new();
    let mut unnamed = Vec::new();
    for table in ["transmissions", "observations", "nodes", "observers"] {
        let columns = shared_columns(&theirs, &ours, table);
        let (theirs, ours) = (rows(&theirs, table, &columns), rows(&ours, table, &columns));
        assert!(!theirs.is_empty());
        for difference in differences(table, &theirs, &ours) {
            match explain(&difference) {
                Some(name) => *named.entry(name).or_insert(0) += 1,
                None => unnamed.push(difference),
            }
        }
    }
    let shown: Vec<String> = unnamed.iter().take(40).map(|d| format!("{d:?}")).collect();
    assert!(unnamed.is_empty(), "{} without a name:\n{}", unnamed.len(), shown.join("\n"));
    named
}

fn differences(table: &'static str, theirs: &Rows, ours: &Rows) -> Vec<Difference> {
    let keys: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
    let mut found = Vec::new();
    for key in keys {
        let one = |column: &str, theirs: Value, ours: Value| Difference {
            table,
            key: key.clone(),
            column: column.to_owned(),
            theirs,
            ours,
        };
        match (theirs.get(key), ours.get(key)) {
            (Some(a), Some(b)) => found.extend(
                a.iter()
                    .filter(|(c, v)| b[*c] != **v)
                    .map(|(c, v)| one(c, v.clone(), b[c].clone())),
            ),
            (Some(a), None) => found.push(one("-", a.clone().into(), Value::Null)),
            (None, Some(b)) => found.push(one("+", Value::Null, b.clone().into())),
            (None, None) => unreachable!("the key came from one of them"),
        }
    }
    found
}

fn open(path: &Path) -> Connection {
    // Immutable: the reference files lie where nothing may be written.
    let uri = format!("file:{}?immutable=1", path.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(uri, flags).unwrap()
}

/// Wall-clock columns and row ids: they differ by nature.
const ASIDE: &[&str] = &[
    "id",
    "first_seen",
    "last_seen",
    "created_at",
    "timestamp",
    "last_packet_at",
    "hash",
    "clock_last_naive_at",
    "clock_skew_seconds",
    "clock_skew_count_24h",
    "transmission_id",
    "observer_idx",
];

fn shared_columns(theirs: &Connection, ours: &Connection, table: &str) -> Vec<String> {
    let columns = |db: &Connection| -> BTreeSet<String> {
        let mut statement =
            db.prepare(&format!("select name from pragma_table_info('{table}')")).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let (a, b) = (columns(theirs), columns(ours));
    assert!(a.is_subset(&b), "{table} lacks {:?}", a.difference(&b));
    a.into_iter().filter(|c| !ASIDE.contains(&c.as_str())).collect()
}

/// A table's rows. Transmissions go by hash (a companion's by its text: its hash contains the time),
/// observations by transmission, observer and path, observers by upper-cased id.
fn rows(db: &Connection, table: &str, columns: &[String]) -> Rows {
    const TX: &str = "case t.raw_hex when '' then 'companion ' || t.decoded_json else t.hash end";
    let (key, from) = match table {
        "transmissions" => (TX.to_owned(), "transmissions t".to_owned()),
        "observations" => (
            format!(
                "{TX} || ' ' || coalesce(upper(b.id), 'nobody') || ' ' || coalesce(x.path_json, '')"
            ),
            "observations x join transmissions t on t.id = x.transmission_id \
             left join observers b on b.rowid = x.observer_idx"
                .to_owned(),
        ),
        "nodes" => ("public_key".to_owned(), "nodes x".to_owned()),
        _ => ("upper(x.id)".to_owned(), "observers x".to_owned()),
    };
    let alias = if table == "transmissions" { "t" } else { "x" };
    let list: Vec<String> = columns.iter().map(|c| format!("{alias}.{c}")).collect();
    let sql = format!("select {key}, {} from {from} order by {alias}.rowid", list.join(", "));
    let mut statement = db.prepare(&sql).unwrap();
    let mut found = statement.query([]).unwrap();
    let mut rows = Rows::new();
    while let Some(row) = found.next().unwrap() {
        let mut key: String = row.get(0).unwrap();
        while rows.contains_key(&key) {
            key.push_str(" again");
        }
        let values = columns.iter().enumerate().map(|(at, column)| {
            let value = plain(row.get_ref(at + 1).unwrap());
            (column.clone(), if column == "decoded_json" { parsed(&value) } else { value })
        });
        rows.insert(key, values.collect());
    }
    rows
}

fn plain(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(n) => json!(n as f64),
        ValueRef::Real(x) => json!(x),
        ValueRef::Text(text) | ValueRef::Blob(text) => json!(String::from_utf8_lossy(text)),
    }
}

fn parsed(text: &Value) -> Value {
    text.as_str().map_or(Value::Null, |t| serde_json::from_str(t).unwrap())
}
