//! Numbers that people and programs watch: counters, gauges, reasons, and the health snapshot.
//!
//! One [`Counters`] is made by `app` and handed to every room. `meshbox status`, the control socket
//! and the page read the same [`Snapshot`].

mod sources;
mod state;

pub use sources::SourceState;
pub use state::{ClockState, IngestState, Pinned, QueueState, Reader, UplinkState};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds one.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one off.
    pub fn decrement(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident: $kind:ident,)*) => {
        /// Every counter and gauge, and what else the snapshot tells.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: $kind,)*
            /// What was refused, ignored or skipped, by name.
            pub reasons: Reasons,
            sources: Mutex<BTreeMap<String, SourceState>>,
            uplinks: Mutex<BTreeMap<String, UplinkState>>,
            listeners: Mutex<Vec<Listening>>,
            ingest: Mutex<IngestState>,
            writer: Mutex<WriterState>,
            clock: Mutex<ClockState>,
            state_file: Mutex<StateFile>,
        }

        impl Counters {
            /// Every number by its name.
            pub fn numbers(&self) -> BTreeMap<String, u64> {
                BTreeMap::from([$((stringify!($name).to_owned(), self.$name.get()),)*])
            }
        }
    };
}

numbers! {
    /// Clients that are connected to our broker now.
    broker_connections: Gauge,
    /// Connections that were accepted since the start.
    broker_accepted: Counter,
    /// Connections that were refused, with a CONNACK code or before one; the reasons tell why.
    broker_refused: Counter,
    /// Logins by account or token that were right.
    broker_logins: Counter,
    /// Logins that were wrong; the reasons tell why.
    broker_logins_failed: Counter,
    /// Passwords that had to be hashed; those found right before are not.
    broker_passwords_hashed: Counter,
    /// How often the accounts were read anew because their file had changed.
    broker_accounts_reloads: Counter,
    /// PUBLISH packets received by our broker.
    broker_publishes: Counter,
    /// Messages of other topic trees (`broker.allowTopics`), handed to subscribers and not stored.
    broker_passed: Counter,
    /// Messages beyond the rate of their observer; `broker.watch` says what becomes of them.
    broker_over_rate: Counter,
    /// Packets that an observer sent again within five minutes.
    broker_duplicates: Counter,
    /// Copies that a subscriber may not have, although it has a filter for them.
    broker_withheld: Counter,
    /// Wills that were published for a client that vanished.
    broker_wills: Counter,
    /// Connections that were closed because the same session connected again.
    broker_takeovers: Counter,
    /// Copies handed to subscribers.
    broker_deliveries: Counter,
    /// Copies that the router, a slow subscriber or a full queue of a kept session lost; nothing that
    /// is stored depends on them.
    broker_copies_lost: Counter,
    /// Copies and retained messages that were not delivered because their message expiry interval had
    /// passed.
    broker_messages_expired: Counter,
    /// QoS 0 messages and wills that wait at the door because the queue is full. After a stop: those
    /// that found no room, and are lost.
    broker_held: Gauge,
    /// Publishes whose RETAIN flag was ignored: no last word is kept on such a topic.
    broker_retain_ignored: Counter,
    /// Wills that subscribers did not get: another connection spoke for the observer.
    broker_stale_wills: Counter,
    /// Commits to the state file.
    state_commits: Counter,
    /// How often the router was built again.
    broker_router_rebuilds: Counter,
    /// Messages received from external brokers.
    bridge_messages: Counter,
    /// Dial attempts to external brokers.
    bridge_attempts: Counter,
    /// Messages that the pipeline took out of the queue.
    ingest_messages: Counter,
    /// Messages that became a record for the store.
    ingest_records: Counter,
    /// Messages on which the pipeline panicked; each was caught.
    ingest_panics: Counter,
    /// Observers whose `origin_id` contradicted the topic's key; the topic won.
    origin_id_mismatches: Counter,
    /// New rows in `transmissions`.
    tx_inserted: Counter,
    /// Packets whose transmission was known.
    tx_dupes: Counter,
    /// New rows in `observations`.
    obs_inserted: Counter,
    /// Nodes written.
    node_upserts: Counter,
    /// Observers written.
    observer_upserts: Counter,
    /// Adverts with a bad signature.
    sig_drops: Counter,
    /// Records that could not be stored, kept in `meshbox_refused`.
    records_refused: Counter,
    /// Statements or commits that failed.
    write_errors: Counter,
    /// Transactions committed.
    commits: Counter,
    /// Records in those transactions.
    records_committed: Counter,
    /// Nodes moved to `inactive_nodes`.
    nodes_retired: Counter,
    /// Rows that left a table, or were marked, because of their age or of the file's size.
    rows_pruned: Counter,
    /// How often all tables were looked at for what is old.
    retention_rounds: Counter,
    /// Messages received and not yet committed.
    queue_messages: Gauge,
    /// Their bytes.
    queue_bytes: Gauge,
}

impl Counters {
    /// Puts a source's state on the board, or changes it.
    pub fn source(&self, name: &str, change: impl FnOnce(&mut SourceState)) {
        let mut sources = lock(&self.sources);
        match sources.get_mut(name) {
            Some(state) => change(state),
            None => change(sources.entry(name.to_owned()).or_default()),
        }
    }

    /// The sources' states by name.
    pub fn sources(&self) -> BTreeMap<String, SourceState> {
        lock(&self.sources).clone()
    }

    /// The same with the counts of the last five minutes.
    pub fn sources_at(&self, now_ms: i64) -> BTreeMap<String, SourceState> {
        self.sources().into_iter().map(|(name, state)| (name, state.at(now_ms))).collect()
    }

    /// Puts an uplink's state on the board, or changes it.
    pub fn uplink(&self, name: &str, change: impl FnOnce(&mut UplinkState)) {
        change(lock(&self.uplinks).entry(name.to_owned()).or_default());
    }

    /// The uplinks' states by name.
    pub fn uplinks(&self) -> BTreeMap<String, UplinkState> {
        lock(&self.uplinks).clone()
    }

    /// Notes what listens where.
    pub fn listening(&self, listening: Listening) {
        lock(&self.listeners).push(listening);
    }

    /// Changes what is known of the way from the queue into the database.
    pub fn ingest(&self, change: impl FnOnce(&mut IngestState)) {
        change(&mut lock(&self.ingest));
    }

    /// Changes what is known of the writer.
    pub fn writer(&self, change: impl FnOnce(&mut WriterState)) {
        change(&mut lock(&self.writer));
    }

    /// What is known of the writer.
    pub fn writer_state(&self) -> WriterState {
        lock(&self.writer).clone()
    }

    /// Changes what is known of the clock.
    pub fn clock(&self, change: impl FnOnce(&mut ClockState)) {
        change(&mut lock(&self.clock));
    }

    /// Changes what is known of the state file.
    pub fn state_file(&self, change: impl FnOnce(&mut StateFile)) {
        change(&mut lock(&self.state_file));
    }

    /// Everything at once.
    pub fn snapshot(&self, started_at_ms: i64, now_ms: i64) -> Snapshot {
        let writer = self.writer_state();
        let sources = self.sources_at(now_ms);
        let ingest = lock(&self.ingest).clone();
        let state_file = lock(&self.state_file).clone();
        let clock = lock(&self.clock).clone();
        let uplinks = self.uplinks();
        Snapshot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_at_ms,
            now_ms,
            ok: writer.trouble.is_none()
                && ingest.trouble.is_none()
                && !writer.pinned.as_ref().is_some_and(Pinned::needs_you)
                && !clock.needs_you()
                && state_file.trouble.is_none()
                && writer.migration.as_ref().is_none_or(|m| m.trouble.is_none())
                && !sources.values().any(|source| source.needs_you(now_ms))
                && !uplinks.values().any(|it| it.needs_you(started_at_ms, now_ms)),
            listeners: lock(&self.listeners).clone(),
            sources,
            uplinks,
            ingest,
            writer,
            clock,
            state_file,
            queues: Vec::new(),
            counters: self.numbers(),
            reasons: self.reasons.all(),
        }
    }
}

/// The state of the hub at one moment: what `meshbox status --json` prints.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// The program's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started, in milliseconds since the Unix epoch.
    pub started_at_ms: i64,
    /// Now, by the same clock.
    pub now_ms: i64,
    /// False when something needs a person; the states below say what.
    pub ok: bool,
    /// What listens where.
    pub listeners: Vec<Listening>,
    /// External brokers by name.
    pub sources: BTreeMap<String, SourceState>,
    /// Brokers that traffic is passed on to, by name.
    #[serde(default)]
    pub uplinks: BTreeMap<String, UplinkState>,
    /// Whether what is received is stored.
    #[serde(default)]
    pub ingest: IngestState,
    /// The one that writes the database.
    pub writer: WriterState,
    /// Whether its own clock can be believed.
    #[serde(default)]
    pub clock: ClockState,
    /// The file of what must outlive a restart and is no packet.
    #[serde(default)]
    pub state_file: StateFile,
    /// Subscribers of our broker at QoS 1 for whom something waits or was lost, and sessions that are
    /// kept while their client is away. Whoever makes the snapshot fills it in.
    #[serde(default)]
    pub queues: Vec<QueueState>,
    /// Every counter and gauge by name.
    pub counters: BTreeMap<String, u64>,
    /// What was refused, ignored or skipped, by name.
    pub reasons: BTreeMap<String, u64>,
}

/// A listener that is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// `mqtt`, later `web`.
    pub service: String,
    /// `tcp`, later `tls`, `ws`, `wss`, `http`.
    pub transport: String,
    /// The address it got, with the real port.
    pub address: String,
    /// The access policy's name.
    pub access: String,
}

/// What is known of the writer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WriterState {
    /// The database file.
    pub database: String,
    /// When it last committed, in milliseconds since the Unix epoch.
    pub last_commit_ms: Option<i64>,
    /// Records in the last commit.
    pub last_batch: u64,
    /// How long the last commit took, in milliseconds.
    pub last_commit_took_ms: u64,
    /// What stops it now (disk full, database locked), in words.
    pub trouble: Option<String>,
    /// A program that reads and keeps the write-ahead log from going into the file.
    pub pinned: Option<Pinned>,
    /// What is being done to the file of an older CoreScope; `None` when there is nothing to do.
    pub migration: Option<MigrationState>,
}

/// How far an older file is on its way to today's schema.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MigrationState {
    /// The step it is at, in words.
    pub step: String,
    /// How far the step is, of `total`, in ids of the table that it walks through; both 0 where it
    /// cannot tell, such as while an index is built.
    pub done: u64,
    /// See `done`.
    pub total: u64,
    /// Steps that are not done, this one included.
    pub steps_left: u64,
    /// When the first step began, in milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// What keeps the step from going on, in words; it is tried again.
    #[serde(default)]
    pub trouble: Option<String>,
}

/// What is known of the broker's state file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StateFile {
    /// The file; empty where there is none.
    pub file: String,
    /// What keeps it from being written, in words.
    pub trouble: Option<String>,
}

/// How often each thing was refused, ignored or skipped, and when the log last said so.
///
/// Names are fixed in the program, never taken from outside, so the map cannot grow.
#[derive(Debug, Default)]
pub struct Reasons(Mutex<BTreeMap<&'static str, Reason>>);

#[derive(Debug, Default)]
struct Reason {
    count: u64,
    counted_when_said: u64,
    said_at_ms: Option<i64>,
}

/// A reason is said in the log at most once in this many milliseconds.
const SAY_EVERY_MS: i64 = 60_000;

impl Reasons {
    /// Counts one. Returns how many there were since the log last spoke of it, if it is time to
    /// speak: the first time, then at most once a minute.
    pub fn note(&self, name: &'static str, now_ms: i64) -> Option<u64> {
        let mut reasons = lock(&self.0);
        let reason = reasons.entry(name).or_default();
        reason.count += 1;
        // A clock that jumped back must not silence a reason for as long as it jumped.
        let due = reason.said_at_ms.is_none_or(|at| (now_ms - at).abs() >= SAY_EVERY_MS);
        due.then(|| {
            let since = reason.count - reason.counted_when_said;
            reason.counted_when_said = reason.count;
            reason.said_at_ms = Some(now_ms);
            since
        })
    }

    /// How often this was noted.
    pub fn count(&self, name: &str) -> u64 {
        lock(&self.0).get(name).map_or(0, |r| r.count)
    }

    /// Every reason with its count.
    pub fn all(&self) -> BTreeMap<String, u64> {
        lock(&self.0).iter().map(|(name, r)| ((*name).to_owned(), r.count)).collect()
    }
}

/// A panic elsewhere must not take the numbers with it: each holder leaves them whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_counted_each_time_and_said_once_a_minute() {
        let reasons = Reasons::default();
        assert_eq!(reasons.note("not_json", 0), Some(1));
        assert_eq!(reasons.note("not_json", 10), None);
        assert_eq!(reasons.note("not_json", 59_999), None);
        assert_eq!(reasons.note("not_json", 60_000), Some(3));
        assert_eq!(reasons.count("not_json"), 4);
        assert_eq!(reasons.count("unheard_of"), 0);
    }

    #[test]
    fn a_clock_that_jumps_back_does_not_silence_a_reason() {
        let reasons = Reasons::default();
        reasons.note("not_json", 10_000_000_000);
        assert_eq!(reasons.note("not_json", 5_000), Some(1));
    }

    #[test]
    fn all_is_well_until_the_writer_has_trouble_or_a_source_is_away_for_a_minute() {
        let counters = Counters::default();
        let ok = |now_ms| counters.snapshot(0, now_ms).ok;
        counters.source("region", |s| s.away_since_ms = Some(1_000));
        assert!(ok(61_000));
        assert!(!ok(61_001));
        counters.source("region", |s| s.away_since_ms = None);
        assert!(ok(61_001));
        counters.ingest(|i| i.trouble = Some("it stands still".into()));
        assert!(!ok(61_001));
        counters.ingest(|i| i.trouble = None);
        counters.writer(|w| w.trouble = Some("the disk is full".into()));
        assert!(!ok(61_001));
        counters.writer(|w| w.trouble = None);
        counters.state_file(|s| s.trouble = Some("the disk is full".into()));
        assert!(!ok(61_001));
    }

    #[test]
    fn a_clock_may_be_doubted_for_a_while_before_a_person_is_needed() {
        let counters = Counters::default();
        let ok = |secs| {
            counters.clock(|c| c.doubted_secs = secs);
            counters.snapshot(0, 0).ok
        };
        assert_eq!((ok(7_200), ok(7_201), ok(0)), (true, false, true));
    }

    #[test]
    fn the_snapshot_survives_json() {
        let counters = Counters::default();
        counters.tx_inserted.add(3);
        counters.source("region", |s| s.connected = true);
        let text = serde_json::to_string(&counters.snapshot(1, 2)).unwrap();
        let back: Snapshot = serde_json::from_str(&text).unwrap();
        assert_eq!(back.counters["tx_inserted"], 3);
        assert!(back.sources["region"].connected);
    }
}
