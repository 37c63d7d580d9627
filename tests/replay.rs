//! A recorded stream of messages beside the databases that both CoreScopes made of it.
//!
//! The same 5,069 messages went through CoreScope of April 2026 and of July 2026. Every row that
//! differs from ours must have a name here, and every name its exact count.

use crate::support::reference;

use assert_cmd::Command;
use meshbox::crypto::channel::{channel_hash, hashtag_key};
use meshbox::packet::{Frame, Packet, Payload, PayloadType, Undecodable, hex};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A table's rows by a key that both databases share.
type Rows = BTreeMap<String, Map<String, Value>>;

/// One place where the two databases differ.
struct Difference {
    table: &'static str,
    key: String,
    /// The column, or `+` for a row that only we have, `-` for one that only they have.
    column: String,
    theirs: Option<Map<String, Value>>,
    ours: Option<Map<String, Value>>,
}

impl Difference {
    fn is(&self, table: &str, column: &str) -> bool {
        self.table == table && self.column == column
    }

    /// A column of their row; null where they have no such row.
    fn theirs(&self, column: &str) -> &Value {
        column_of(self.theirs.as_ref(), column)
    }

    /// A column of our row; null where we have no such row.
    fn ours(&self, column: &str) -> &Value {
        column_of(self.ours.as_ref(), column)
    }

    /// A column that says the same in both, of whichever row there is.
    fn either(&self, column: &str) -> &Value {
        column_of(self.theirs.as_ref().or(self.ours.as_ref()), column)
    }
}

fn column_of<'a>(row: Option<&'a Map<String, Value>>, column: &str) -> &'a Value {
    row.and_then(|row| row.get(column)).unwrap_or(&Value::Null)
}

impl std::fmt::Debug for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { table, key, column, theirs, ours } = self;
        let show = |row: &Option<Map<String, Value>>| match row {
            None => "no row".to_owned(),
            Some(row) if column == "+" || column == "-" => Value::from(row.clone()).to_string(),
            Some(row) => row[column].to_string(),
        };
        let (theirs, ours) = (show(theirs), show(ours));
        write!(f, "{table} {column} {key:.80}: {theirs:.400} / {ours:.400}")
    }
}

#[test]
fn the_replay_agrees_with_corescope_of_april_2026() {
    let Some(theirs) = reference("replay-original.db") else { return };
    // April's formula; and April did not check signatures.
    let ours = replay(&json!({ "contentHash": "corescope-2026-04", "validateSignatures": false }));
    let found = compare(&theirs, &ours.path().join("ours.db"), explain_april);
    let expected = BTreeMap::from([
        ("0/0 is no position", 8),
        ("April calls every unknown role companion", 52),
        ("April cuts the route of a TRACE by the wrong size", 252),
        ("April does not keep the SNRs of a TRACE", 51),
        ("April keeps the signal of the first of two equal observations", 256),
        ("April knows no extended ACK", 35),
        ("a TRACE without a route names no hops", 100),
        ("a channel_idx that is no number or text gives way to the topic's", 16),
        ("a companion bridge's sender is no node", 13),
        ("a companion bridge's topic names no observer", 1),
        ("a name is cut between characters, not within one", 5),
        ("a node follows from adverts that are read differently", 68),
        ("a payload of a reserved version is not read", 233),
        ("a payload type that April does not decode", 239),
        ("a score is rounded", 865),
        ("a text of another type than 0 stays shut", 40),
        ("an empty id is no observer", 1),
        ("an empty name does not overwrite", 35),
        ("an unusable spelling gives way to the other one", 2),
        ("app data counts up to its 32nd byte, to read and to verify", 41),
        ("app data that ends before what its flags promise is not read", 61),
        ("hash_size_reserved", 22),
        ("packets that one of us refuses, and wills, do not count", 5),
        ("path_too_long", 30),
        ("payload_too_long", 10),
        ("the channel of any spelling of public is Public", 10),
        ("the first observations of a new observer have none there", 11),
        ("their subscription does not cover the topic", 2),
    ]);
    assert_eq!(found, expected);
}

#[test]
fn the_replay_agrees_with_corescope_of_july_2026() {
    let Some(theirs) = reference("replay-later.db") else { return };
    let ours = replay(&json!({}));
    let ours_path = ours.path().join("ours.db");
    let found = compare(&theirs, &ours_path, explain_july);
    resolved_paths_hold(&ours_path);
    let expected = BTreeMap::from([
        ("0/0 is no position", 8),
        ("a TRACE without a route names no hops", 102),
        ("a channel_idx that is no number or text gives way to the topic's", 16),
        ("a companion bridge's topic names no observer", 1),
        ("a node follows from adverts that are read differently", 49),
        ("a payload of a reserved version is not read", 348),
        ("a score is rounded", 842),
        ("a text of another type than 0 stays shut", 80),
        ("an empty id is no observer", 1),
        ("an empty name does not overwrite", 7),
        ("an unusable spelling gives way to the other one", 1),
        ("app data counts up to its 32nd byte, to read and to verify", 84),
        ("packets that one of us refuses, and wills, do not count", 5),
        ("raw_hex of an observation is there only where it differs", 3319),
        ("the first observations of a new observer have none there", 11),
        ("their subscription does not cover the topic", 2),
    ]);
    assert_eq!(found, expected);
}

/// Every key of a resolved path is a node's and begins with its hop, and neighbours are two nodes or
/// a node and an observer; of which the recorded stream has some.
fn resolved_paths_hold(ours: &Path) {
    let db = open(ours);
    let one = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let hops = "select count(*) from observations o, json_each(o.resolved_path) k
        where k.value is not null";
    let held = "exists (select 1 from nodes where public_key = k.value) and
        k.value like (o.path_json ->> k.key) || '%'";
    assert!(one(hops) > 1_000, "{} hops are resolved", one(hops));
    assert_eq!(one(&format!("{hops} and not ({held})")), 0);
    let lengths = "select count(*) from observations
        where json_array_length(resolved_path) <> json_array_length(path_json)";
    assert_eq!(one(lengths), 0);
    let known = |node: &str| {
        format!(
            "exists (select 1 from nodes where public_key = {node}
             union select 1 from observers where lower(id) = {node})"
        )
    };
    let edges = "select count(*) from neighbor_edges";
    assert!(one(edges) > 100, "{} edges", one(edges));
    let (a, b) = (known("node_a"), known("node_b"));
    let odd = format!("{edges} where node_a >= node_b or count < 1 or not ({a} and {b})");
    assert_eq!(one(&odd), 0);
}

/// What differs from April alone, then what differs from both.
fn explain_april(d: &Difference, around: &Around) -> Option<&'static str> {
    let (theirs, ours) = (d.theirs("decoded_json"), d.ours("decoded_json"));
    let read = bytes(d).and_then(|b| Packet::parse(&b).ok().map(|p| p.header.version == 0));
    if d.is("transmissions", "decoded_json") && read == Some(true) {
        let later = ["GRP_DATA", "MULTIPART", "CONTROL", "RAW_CUSTOM"];
        if kind(theirs) == "UNKNOWN" && later.contains(&kind(ours)) {
            return Some("a payload type that April does not decode");
        }
        if kind(ours) == "ACK" && ours["ackLen"].is_number() {
            return Some("April knows no extended ACK");
        }
        if kind(ours) == "TRACE" && ours["snrValues"].is_array() {
            return Some("April does not keep the SNRs of a TRACE");
        }
    }
    if d.is("nodes", "role") && d.theirs("role") == "companion" {
        return Some("April calls every unknown role companion");
    }
    if let Some(name) = explain(d, around) {
        return Some(name);
    }
    let signal = ["snr", "rssi", "score"].contains(&d.column.as_str());
    (d.table == "observations" && signal && !d.ours(&d.column).is_null())
        .then_some("April keeps the signal of the first of two equal observations")
}

fn explain_july(d: &Difference, around: &Around) -> Option<&'static str> {
    if d.is("observations", "raw_hex") && d.ours("raw_hex").is_null() {
        return (d.theirs("raw_hex") == d.either("_raw"))
            .then_some("raw_hex of an observation is there only where it differs");
    }
    explain(d, around)
}

/// What differs from both.
fn explain(d: &Difference, around: &Around) -> Option<&'static str> {
    if d.key.starts_with('{') {
        let topics_index = d.key.starts_with("{\"channel\":\"ch2\"");
        let odd_index =
            ["ch<nil>", "chtrue", "ch[", "chmap["].iter().any(|odd| d.key.contains(odd));
        return (topics_index || odd_index)
            .then_some("a channel_idx that is no number or text gives way to the topic's");
    }
    if d.table == "observations" && around.first.contains(d) {
        return Some("the first observations of a new observer have none there");
    }
    if d.table == "observations" && d.key.contains(" X ") && d.column == "+" {
        return Some("their subscription does not cover the topic");
    }
    if d.is("observations", "score") {
        let (theirs, ours) = (d.theirs("score").as_f64()?, d.ours("score").as_f64()?);
        return (theirs.fract() != 0.0 && theirs.round() == ours).then_some("a score is rounded");
    }
    if d.table == "nodes" {
        return explain_node(d, around);
    }
    if d.table == "observers" {
        return explain_observer(d);
    }
    if d.is("observations", "rssi") && d.ours("rssi") == -50.0 {
        return Some("an unusable spelling gives way to the other one");
    }
    if d.column == "-" && d.either("path_json").as_str().is_some_and(|p| p.len() == 12) {
        return Some("hash_size_reserved");
    }
    let bytes = bytes(d)?;
    match (d.table, d.column.as_str()) {
        ("transmissions", "decoded_json" | "channel_hash") => explain_payload(d, &bytes),
        ("transmissions" | "observations", "-" | "+") => match Packet::parse(&bytes) {
            Err(error) => Some(error.name()),
            Ok(packet) => match packet.payload {
                Payload::Trace(trace) if trace.route.is_empty() => Some(NO_ROUTE),
                Payload::Undecoded { .. } if d.either("_type") == 9.0 => Some(NO_ROUTE),
                Payload::Trace(_) if d.table == "observations" => {
                    Some("April cuts the route of a TRACE by the wrong size")
                }
                payload => explain_advert(payload, true),
            },
        },
        _ => None,
    }
}

fn explain_payload(d: &Difference, bytes: &[u8]) -> Option<&'static str> {
    let (theirs, ours) = (d.theirs("decoded_json"), d.ours("decoded_json"));
    match Packet::parse(bytes).ok()?.payload {
        Payload::Trace(trace) if trace.route.is_empty() => Some(NO_ROUTE),
        Payload::GroupText(group) if kind(theirs) == "CHAN" => {
            if theirs["channel"] == "public" && ours["channel"] == "Public" {
                return Some("the channel of any spelling of public is Public");
            }
            let key = hashtag_key(theirs["channel"].as_str()?);
            Some(if channel_hash(&key) == group.channel_hash {
                "a text of another type than 0 stays shut"
            } else {
                "a channel key is chosen by its channel hash"
            })
        }
        payload => explain_advert(payload, theirs["name"] != ours["name"]),
    }
}

fn explain_node(d: &Difference, around: &Around) -> Option<&'static str> {
    if around.odd_adverts.contains(&d.key) {
        return Some("a node follows from adverts that are read differently");
    }
    match d.column.as_str() {
        "-" if d.key.starts_with("sender-") => Some("a companion bridge's sender is no node"),
        "name" if d.theirs("name") == "" => Some("an empty name does not overwrite"),
        "lat" | "lon" if d.theirs(&d.column) == 0.0 => Some("0/0 is no position"),
        _ => None,
    }
}

fn explain_observer(d: &Difference) -> Option<&'static str> {
    match d.column.as_str() {
        "-" if d.key.is_empty() => Some("an empty id is no observer"),
        "-" if d.key == "CHANNEL" => Some("a companion bridge's topic names no observer"),
        "+" if d.key == "X" => Some("their subscription does not cover the topic"),
        "name" if d.theirs("name") == "" => Some("an empty name does not overwrite"),
        "packet_count" => Some("packets that one of us refuses, and wills, do not count"),
        _ => None,
    }
}

/// What makes an advert's fields, or whether it counts at all, differ.
fn explain_advert(payload: Payload<'_>, names_differ: bool) -> Option<&'static str> {
    match payload {
        Payload::Undecoded { why: Undecodable::Version(_), .. } => Some(RESERVED_VERSION),
        Payload::Advert(advert) if !advert.beyond.is_empty() => Some(BEYOND_32),
        Payload::Advert(advert) => match advert.app_data.fields() {
            None => Some(TRUNCATED),
            Some(fields) => {
                let long = fields.name().is_some_and(|name| name.len() > 28);
                (names_differ && long).then_some(NAME_CUT)
            }
        },
        _ => None,
    }
}

/// What a difference may follow from.
#[derive(Default)]
struct Around {
    first: First,
    /// Keys of nodes that sent an advert which both read differently.
    odd_adverts: BTreeSet<String>,
}

/// The key of an advert that both read differently.
fn odd_advert(row: &Map<String, Value>) -> Option<String> {
    let bytes = hex::parse(row["raw_hex"].as_str()?).ok()?;
    let Ok(frame) = Frame::parse(&bytes) else {
        return row["decoded_json"]["pubKey"].as_str().map(str::to_owned);
    };
    let advert = frame.header.payload_type == PayloadType::Advert;
    let odd = explain_advert(Packet::of(&frame).payload, true).is_some();
    (advert && odd).then(|| ::hex::encode(frame.body.get(..32).unwrap_or_default()))
}

/// Their observations without an observer, by transmission and path: CoreScope writes an observer
/// after its first packets, so those have none and are there twice.
#[derive(Default)]
struct First(BTreeSet<String>);

impl First {
    fn of(observations: &Rows) -> Self {
        let nobody = observations.keys().filter(|key| key.contains(" nobody "));
        Self(nobody.map(|key| Self::without_observer(key)).collect())
    }

    fn contains(&self, d: &Difference) -> bool {
        self.0.contains(&Self::without_observer(&d.key))
    }

    fn without_observer(key: &str) -> String {
        let key = key.trim_end_matches(" again");
        let (hash, rest) = key.split_once(' ').unwrap_or((key, ""));
        let (_, path) = rest.split_once(' ').unwrap_or(("", rest));
        format!("{hash} {path}")
    }
}

const RESERVED_VERSION: &str = "a payload of a reserved version is not read";
const BEYOND_32: &str = "app data counts up to its 32nd byte, to read and to verify";
const TRUNCATED: &str = "app data that ends before what its flags promise is not read";
const NAME_CUT: &str = "a name is cut between characters, not within one";
const NO_ROUTE: &str = "a TRACE without a route names no hops";

/// The packet that the difference is about.
fn bytes(d: &Difference) -> Option<Vec<u8>> {
    let column = if d.table == "observations" { "_raw" } else { "raw_hex" };
    hex::parse(d.either(column).as_str()?).ok()
}

fn kind(decoded: &Value) -> &str {
    decoded["type"].as_str().unwrap_or_default()
}

/// Runs `meshbox replay` over the recorded stream, with the recorded configuration and these keys.
fn replay(more: &Value) -> tempfile::TempDir {
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
    explain: impl Fn(&Difference, &Around) -> Option<&'static str>,
) -> BTreeMap<&'static str, usize> {
    let (theirs, ours) = (open(theirs), open(ours));
    let mut named = BTreeMap::new();
    let mut unnamed = Vec::new();
    let mut around = Around::default();
    for table in ["transmissions", "observations", "nodes", "observers"] {
        let columns = shared_columns(&theirs, &ours, table);
        let (theirs, ours) = (rows(&theirs, table, &columns), rows(&ours, table, &columns));
        assert!(!theirs.is_empty());
        if table == "transmissions" {
            around.odd_adverts =
                theirs.values().chain(ours.values()).filter_map(odd_advert).collect();
        }
        around.first = First::of(&theirs);
        for difference in differences(table, &theirs, &ours) {
            match explain(&difference, &around) {
                Some(name) => *named.entry(name).or_insert(0) += 1,
                None => unnamed.push(difference),
            }
        }
    }
    let shown: Vec<String> = unnamed.iter().take(25).map(|d| format!("{d:?}")).collect();
    let count = unnamed.len();
    assert!(unnamed.is_empty(), "{count} without a name beside {named:?}:\n{}", shown.join("\n"));
    named
}

fn differences(table: &'static str, theirs: &Rows, ours: &Rows) -> Vec<Difference> {
    let keys: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
    let mut found = Vec::new();
    for key in keys {
        let one = |column: &str| Difference {
            table,
            key: key.clone(),
            column: column.to_owned(),
            theirs: theirs.get(key).cloned(),
            ours: ours.get(key).cloned(),
        };
        match (theirs.get(key), ours.get(key)) {
            (Some(a), Some(b)) => {
                found.extend(
                    a.keys().filter(|c| !c.starts_with('_') && a[*c] != b[*c]).map(|c| one(c)),
                );
            }
            (Some(_), None) => found.push(one("-")),
            (None, Some(_)) => found.push(one("+")),
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

/// Wall-clock columns and row ids: they differ by nature. `resolved_path` is set aside because July's
/// CoreScope fills it later, as it does the table `neighbor_edges`, and was ended before it had.
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
    "resolved_path",
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
    const TX: &str = "case t.raw_hex when '' then t.decoded_json else t.hash end";
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
    let mut list: Vec<String> = columns.iter().map(|c| format!("{alias}.{c}")).collect();
    let mut columns = columns.to_vec();
    if table == "observations" {
        // Not compared: what kind of packet it is.
        list.extend(["t.payload_type", "t.payload_version", "t.raw_hex"].map(str::to_owned));
        columns.extend(["_type", "_version", "_raw"].map(str::to_owned));
    }
    let sql = format!("select {key}, {} from {from} order by {alias}.rowid", list.join(", "));
    let mut statement = db.prepare(&sql).unwrap();
    let mut found = statement.query([]).unwrap();
    let mut rows = Rows::new();
    while let Some(row) = found.next().unwrap() {
        let mut key = without_escapes(row.get(0).unwrap());
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

/// A companion's key has its JSON, of which Go escapes more than serde does.
fn without_escapes(key: String) -> String {
    let escapes =
        [("3c", "<"), ("3e", ">"), ("26", "&"), ("2028", "\u{2028}"), ("2029", "\u{2029}")];
    escapes.iter().fold(key, |key, (escape, plain)| key.replace(&format!("\\u{escape:0>4}"), plain))
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
