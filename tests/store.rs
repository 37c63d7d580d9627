//! The store on real files: what each record means for the tables, and what happens when the
//! database will not take it.

mod bench;
mod derived;
mod faults;
mod files;
mod leaving;
mod migrate;
mod neighbours;
mod paths;
mod splits;
mod tables;

use crate::support::eventually;

use bytes::Bytes;
use meshbox::clock::{Clock, Trust};
use meshbox::counters::Counters;
use meshbox::message::{Completion, Message, Origin, OriginKind, Receipt};
use meshbox::record::{
    Activity, Body, DroppedRow, NodeRow, ObserverRow, PacketRow, Record, StatusRow,
};
use meshbox::store::{self, Options, Sink, Writer};
use rusqlite::types::FromSql;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// 2026-11-23T04:24:21Z, the time at which every test begins.
const START_MS: i64 = 1_795_407_861_000;

const DAY_MS: i64 = 86_400_000;

/// A store of its own in a folder of its own.
struct Bed {
    path: PathBuf,
    clock: Clock,
    counters: Arc<Counters>,
    sink: Option<Sink>,
    writer: Option<Writer>,
    put: u64,
    _dir: Option<TempDir>,
}

impl Bed {
    fn new() -> Self {
        Self::patient(Duration::from_millis(2))
    }

    /// Commits after so long only.
    fn patient(commit_interval: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut bed = Self::with_interval(&dir.path().join("meshcore.db"), commit_interval);
        bed._dir = Some(dir);
        bed
    }

    fn on(path: &Path) -> Self {
        Self::with_interval(path, Duration::from_millis(2))
    }

    fn with_interval(path: &Path, commit_interval: Duration) -> Self {
        Self::with_options(Options { commit_interval, ..options(path) }, START_MS)
    }

    /// A store with these options, whose clock stands at `now_ms` and is trusted.
    fn with_options(options: Options, now_ms: i64) -> Self {
        let clock = Clock::by_hand(now_ms);
        let options = Options { trust: Trust::given(clock.clone()), ..options };
        Self::with_clock(options, clock)
    }

    /// The same, whose clock is judged.
    fn with_clock(options: Options, clock: Clock) -> Self {
        let counters = Arc::new(Counters::default());
        let path = options.path.clone();
        let (sink, writer) = store::start(options, clock.clone(), Arc::clone(&counters)).unwrap();
        Self { path, clock, counters, sink: Some(sink), writer: Some(writer), put: 0, _dir: None }
    }

    /// Hands records in without waiting.
    fn put(&mut self, records: impl IntoIterator<Item = Record>) {
        for record in records {
            self.put += 1;
            self.sink.as_ref().unwrap().put(record).unwrap();
        }
    }

    /// Hands records in and waits until they are committed.
    fn store(&mut self, records: impl IntoIterator<Item = Record>) {
        self.put(records);
        eventually("the records are committed", || {
            (self.counters.records_committed.get() == self.put).then_some(())
        });
    }

    fn finish(&mut self) {
        self.sink = None;
        let deadline = Instant::now() + Duration::from_secs(20);
        self.writer.take().unwrap().finish(deadline).unwrap();
    }

    /// A connection beside the writer's, that may write.
    fn other(&self) -> Connection {
        let conn = Connection::open(&self.path).unwrap();
        conn.busy_timeout(Duration::from_secs(10)).unwrap();
        conn
    }

    fn one<T: FromSql>(&self, sql: &str) -> T {
        one(&self.path, sql)
    }

    fn count(&self, table: &str) -> i64 {
        self.one(&format!("SELECT COUNT(*) FROM {table}"))
    }
}

fn options(path: &Path) -> Options {
    Options {
        path: path.to_owned(),
        commit_interval: Duration::from_millis(2),
        sample_interval: Duration::from_secs(300),
        retention: meshbox::config::Retention::default(),
        observer_blacklist: Vec::new(),
        wal_max_bytes: 64 << 20,
        trust: Trust::given(Clock::by_hand(START_MS)),
    }
}

/// The single value of a query.
fn one<T: FromSql>(path: &Path, sql: &str) -> T {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    conn.busy_timeout(Duration::from_secs(10)).unwrap();
    conn.query_row(sql, [], |row| row.get(0)).unwrap_or_else(|e| panic!("{sql}: {e}"))
}

fn message(at_ms: i64) -> Message {
    Message {
        topic: "meshcore/SJC/OBS/packets".into(),
        payload: Bytes::from_static(b"{\"raw\":\"11\"}"),
        origin: Origin { kind: OriginKind::Anonymous, name: "192.0.2.7".into() },
        received_at_ms: at_ms,
        retained: false,
        receipt: Receipt::none(),
        place: None,
    }
}

fn observer(id: &str, activity: Activity) -> ObserverRow {
    ObserverRow { id: id.into(), name: None, iata: None, activity, skew_seconds: None }
}

/// A packet of this number, heard by this observer `second` seconds after the start.
fn packet(number: u64, by: &str, second: i64) -> Record {
    Record {
        message: message(START_MS + second * 1_000),
        observer: Some(observer(by, Activity::Packet)),
        body: Body::Packet(Box::new(PacketRow {
            hash: format!("{number:016x}"),
            raw_hex: format!("1100{number:08X}"),
            route_type: 1,
            payload_type: 2,
            payload_version: 0,
            decoded_json: "{}".into(),
            from_pubkey: None,
            channel_hash: None,
            scope_name: None,
            path_json: "[]".into(),
            snr_db: None,
            rssi_dbm: None,
            score: None,
            direction: Some("rx".into()),
            node: None,
        })),
    }
}

/// An advert of this node, as packet of this number.
fn advert(number: u64, key: &str, second: i64) -> Record {
    let mut record = packet(number, "OBS", second);
    let row = row(&mut record);
    row.payload_type = 4;
    row.from_pubkey = Some(key.into());
    row.node = Some(NodeRow {
        public_key: key.into(),
        name: None,
        role: "repeater".into(),
        lat: None,
        lon: None,
        battery_mv: None,
        temperature_c: None,
        default_scope: None,
        foreign: None,
    });
    record
}

fn status(by: &str, second: i64, activity: Activity) -> Record {
    Record {
        message: message(START_MS + second * 1_000),
        observer: Some(observer(by, activity)),
        body: Body::Status(Box::new(StatusRow { about: Default::default() })),
    }
}

fn dropped(by: &str, second: i64) -> Record {
    Record {
        message: message(START_MS + second * 1_000),
        observer: Some(observer(by, Activity::Packet)),
        body: Body::Dropped(Box::new(DroppedRow {
            hash: "0123456789abcdef".into(),
            raw_hex: "1100".into(),
            reason: "invalid signature".into(),
            node_pubkey: Some("ab".into()),
            node_name: Some("Eve".into()),
        })),
    }
}

fn row(record: &mut Record) -> &mut PacketRow {
    match &mut record.body {
        Body::Packet(row) => row,
        _ => panic!("no packet"),
    }
}

fn node(record: &mut Record) -> &mut NodeRow {
    row(record).node.as_mut().unwrap()
}

fn about(record: &mut Record) -> &mut meshbox::envelope::About {
    match &mut record.body {
        Body::Status(row) => &mut row.about,
        _ => panic!("no status"),
    }
}

/// A change to a record, in an expression.
fn with(mut record: Record, change: impl FnOnce(&mut Record)) -> Record {
    change(&mut record);
    record
}

/// A mailbox for receipts.
struct Mailbox {
    sender: UnboundedSender<Completion>,
    inbox: UnboundedReceiver<Completion>,
}

impl Mailbox {
    #[expect(clippy::disallowed_methods, reason = "one completion per receipt")]
    fn new() -> Self {
        let (sender, inbox) = unbounded_channel();
        Self { sender, inbox }
    }

    /// The record with a receipt of this serial number.
    fn awaits(&self, mut record: Record, serial: u64) -> Record {
        record.message.receipt = Receipt::new(self.sender.clone(), 0, serial);
        record
    }

    fn next(&mut self) -> Completion {
        eventually("a completion", || self.inbox.try_recv().ok())
    }

    fn is_empty(&mut self) -> bool {
        self.inbox.try_recv().is_err()
    }
}
