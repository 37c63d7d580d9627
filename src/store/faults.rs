//! Faults that only a test can bring about: a panic, a full disk.

use super::{Options, start};
use crate::clock::Clock;
use crate::counters::Counters;
use crate::message::{Completion, Message, Origin, OriginKind, Outcome, Receipt};
use crate::record::{Activity, Body, ObserverRow, PacketRow, Record};

use rusqlite::Connection;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// A record with this hash makes the writer panic.
const PANIC: &str = "panic";

/// Called for each record that is written.
pub(super) fn perhaps_panic(record: &Record) {
    if let Body::Packet(row) = &record.body {
        assert_ne!(row.hash, PANIC, "a test asked for it");
    }
}

/// `PRAGMA max_page_count` by database file: it belongs to the connection that sets it, so the
/// writer's own must do it.
static PAGE_LIMITS: Mutex<BTreeMap<PathBuf, u32>> = Mutex::new(BTreeMap::new());

/// Called for each transaction.
pub(super) fn limit_pages(conn: &Connection) {
    let limits = PAGE_LIMITS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(limit) = conn.path().and_then(|p| limits.get(Path::new(p))) {
        conn.pragma_update(None, "max_page_count", limit).unwrap();
    }
}

fn set_page_limit(path: &Path, limit: u32) {
    let path = path.canonicalize().unwrap();
    PAGE_LIMITS.lock().unwrap_or_else(PoisonError::into_inner).insert(path, limit);
}

fn packet(hash: &str, receipt: Receipt) -> Record {
    Record {
        message: Message {
            topic: "meshcore/SJC/OBS/packets".into(),
            payload: bytes::Bytes::from_static(b"{}"),
            origin: Origin { kind: OriginKind::Replay, name: "test".into() },
            received_at_ms: 1_795_407_861_000,
            retained: false,
            receipt,
            place: None,
        },
        observer: Some(ObserverRow {
            id: "OBS".into(),
            name: None,
            iata: None,
            activity: Activity::Packet,
            skew_seconds: None,
        }),
        body: Body::Packet(Box::new(PacketRow {
            hash: hash.into(),
            raw_hex: "1100".repeat(60),
            route_type: 1,
            payload_type: 2,
            payload_version: 0,
            decoded_json: "{}".repeat(200),
            from_pubkey: None,
            channel_hash: None,
            scope_name: None,
            path_json: "[]".into(),
            snr_db: None,
            rssi_dbm: None,
            score: None,
            direction: None,
            node: None,
        })),
    }
}

pub(super) fn options(dir: &Path) -> Options {
    Options {
        path: dir.join("meshcore.db"),
        commit_interval: Duration::from_millis(20),
        sample_interval: Duration::from_secs(300),
        retention: crate::config::Retention::default(),
        observer_blacklist: Vec::new(),
        wal_max_bytes: 64 << 20,
        trust: crate::clock::Trust::given(Clock::by_hand(0)),
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "gave up waiting: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

fn number(path: &Path, sql: &str) -> i64 {
    Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "one completion per receipt")]
fn a_record_that_makes_the_writer_panic_is_refused_and_the_others_are_stored() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let path = options.path.clone();
    let counters = Arc::new(Counters::default());
    let (sink, writer) = start(options, Clock::by_hand(0), Arc::clone(&counters)).unwrap();
    let (mailbox, mut inbox) = mpsc::unbounded_channel();
    for n in 0..20 {
        let hash = if n == 13 { PANIC.to_owned() } else { format!("{n:016x}") };
        sink.put(packet(&hash, Receipt::new(mailbox.clone(), 0, n))).unwrap();
    }
    for n in 0..20 {
        eventually("a completion", || !inbox.is_empty());
        let outcome = if n == 13 { Outcome::Refused } else { Outcome::Stored };
        assert_eq!(inbox.try_recv(), Ok(Completion { generation: 0, serial: n, outcome }));
    }
    sink.put(packet("00000000000000ff", Receipt::none())).unwrap();
    drop(sink);
    writer.finish(Instant::now() + Duration::from_secs(20)).unwrap();
    assert_eq!(number(&path, "SELECT COUNT(*) FROM transmissions"), 20);
    assert_eq!(number(&path, "SELECT packet_count FROM observers"), 20);
    let refused = "SELECT COUNT(*) FROM meshbox_refused WHERE reason LIKE 'panic: %asked for it%'";
    assert_eq!(number(&path, refused), 1);
    assert_eq!(counters.records_refused.get(), 1);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "one completion per receipt")]
fn a_full_disk_is_waited_out_and_nothing_is_lost_or_doubled() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let path = options.path.clone();
    let counters = Arc::new(Counters::default());
    let (sink, writer) = start(options, Clock::by_hand(0), Arc::clone(&counters)).unwrap();
    let (mailbox, mut inbox) = mpsc::unbounded_channel();
    set_page_limit(&path, 1);
    for n in 0..700 {
        sink.put(packet(&format!("{n:016x}"), Receipt::new(mailbox.clone(), 0, n))).unwrap();
    }
    eventually("the trouble is said", || {
        counters.writer_state().trouble.is_some_and(|words| words.contains("full"))
    });
    assert_eq!(number(&path, "SELECT COUNT(*) FROM transmissions"), 0);
    assert!(inbox.is_empty(), "acknowledged before it was stored");
    set_page_limit(&path, 1_000_000);
    for n in 0..700 {
        eventually("a completion", || !inbox.is_empty());
        let stored = Completion { generation: 0, serial: n, outcome: Outcome::Stored };
        assert_eq!(inbox.try_recv(), Ok(stored));
    }
    assert_eq!(counters.writer_state().trouble, None);
    assert!(counters.write_errors.get() > 0);
    drop(sink);
    writer.finish(Instant::now() + Duration::from_secs(20)).unwrap();
    assert_eq!(number(&path, "SELECT COUNT(*) FROM observations"), 700);
    assert_eq!(number(&path, "SELECT packet_count FROM observers"), 700);
}
