//! SQLite: the schema, the one writer thread, retention, read-only queries.
//!
//! [`start`] opens the file (`open`, `schema`, `upgrade`) and starts the writer (`writer`), which
//! alone holds a connection that writes. Records go in through [`Sink::put`]; each is part of one
//! transaction (`batch`), in which `book` writes its rows and `tally` the sums of the batch. What
//! cannot be written now waits; what can never be written lands in `meshbox_refused` (`fault` tells
//! one from the other).
//!
//! A file of an older CoreScope is opened at once: `upgrade` adds what takes no time, `migrate` does
//! the rest between batches.
//!
//! What follows from records without standing in one comes from memory: the sums of `tally`, and
//! whose keys the hashes of a path begin (`neighbours`), which is read once at the start.
//!
//! A new column is a line in `schema`, and a place in `statements` that fills it.

mod backup;
mod batch;
mod blacklist;
mod book;
mod checkpoint;
mod export;
mod fault;
#[cfg(test)]
mod faults;
mod known;
mod migrate;
mod naive;
mod neighbours;
mod open;
mod packet;
mod past;
mod pin;
mod read_only;
mod recent;
mod report;
mod retention;
mod salvage;
mod schema;
mod shared;
mod stamp;
mod statements;
mod tally;
mod upgrade;
mod whereabouts;
mod writer;

pub use backup::{BackupError, Copied, back_up};
pub use export::{Cell, Export, What};
pub use known::known_nodes;
pub use open::OpenError;
pub use past::{Past, PastObservation, PastObserver};
pub use shared::Pulse;

use crate::clock::{Clock, Trust};
use crate::config::Retention;
use crate::counters::Counters;
use crate::record::Record;
use shared::Shared;

use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// How the store works.
#[derive(Clone, Debug)]
pub struct Options {
    /// The SQLite file; its directory is made if it is missing.
    pub path: PathBuf,
    /// How long a record waits for company before its batch is committed.
    pub commit_interval: Duration,
    /// One sample of an observer's metrics is kept in so long; whole seconds.
    pub sample_interval: Duration,
    /// How long things are kept; looked at hourly.
    pub retention: Retention,
    /// Observers of which nothing is taken: marked inactive at the start, whatever the case.
    pub observer_blacklist: Vec<String>,
    /// Bytes that the WAL may have in a burst before it goes into the file.
    pub wal_max_bytes: u64,
    /// Whether the clock can be believed when things are let go for their age.
    pub trust: Trust,
}

/// Where the pipeline puts its records. Clones share one writer, which drains and ends when the
/// last one is dropped.
#[derive(Clone, Debug)]
pub struct Sink {
    outbox: SyncSender<Record>,
    shared: Arc<Shared>,
}

/// The one thread that writes the database.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
}

/// The writer did not end in time.
#[derive(Debug, thiserror::Error)]
#[error(
    "the database did not take the last {records} messages in time ({unacknowledged} of them will be sent again, {lost} are lost)"
)]
pub struct Unfinished {
    /// Records that were not committed.
    pub records: u64,
    /// Those whose sender was not told, and will send them again.
    pub unacknowledged: u64,
    /// QoS 0 ones, which nobody will send again.
    pub lost: u64,
}

/// Records between the pipeline and the writer. The queue before the pipeline bounds what may wait
/// in all; this one only has to keep the writer busy during the pipeline's pauses, and the pipeline
/// during a commit.
const CHANNEL: usize = 1_024;

/// Opens (or makes) the database and starts its writer.
///
/// # Errors
/// [`OpenError`]; the file is untouched then.
pub fn start(
    options: Options,
    clock: Clock,
    counters: Arc<Counters>,
) -> Result<(Sink, Writer), OpenError> {
    let opened = open::open(&options.path)?;
    match blacklist::mark_inactive(&opened.conn, &options.observer_blacklist) {
        Ok(0) => {}
        Ok(marked) => tracing::info!("marked {marked} blacklisted observers inactive"),
        Err(error) => tracing::warn!(
            "blacklisted observers are not marked inactive before the next start: {error}"
        ),
    }
    if let Some(newest_ms) = known::newest_ms(&opened.conn) {
        options.trust.stored(newest_ms);
    }
    if options.retention.vacuum_on_startup {
        if opened.plan.steps.is_empty() {
            vacuum(&opened.conn, &options.path);
        } else {
            tracing::info!(
                "vacuumOnStartup: not before the file is up to date, at a start after that"
            );
        }
    }
    launch(opened, options, clock, counters)
}

/// Rewrites the file where that frees space; without room for it the file stays as it is.
fn vacuum(conn: &Connection, path: &Path) {
    tracing::info!("vacuumOnStartup: looking whether to rewrite {}", path.display());
    match retention::vacuum::whole(conn) {
        Ok(true) => tracing::info!("the file is rewritten"),
        Ok(false) => tracing::info!("there is little to gain: the file stays as it is"),
        Err(error) => {
            tracing::warn!("the file could not be rewritten and stays as it is: {error}");
        }
    }
}

fn launch(
    opened: open::Opened,
    options: Options,
    clock: Clock,
    counters: Arc<Counters>,
) -> Result<(Sink, Writer), OpenError> {
    let (outbox, inbox) = sync_channel(CHANNEL);
    let (ending, ended) = sync_channel(0);
    let shared = Arc::new(Shared::default());
    counters.writer(|w| {
        w.database = options.path.display().to_string();
        w.migration = migrate::state(&opened.plan, clock.now_ms());
    });
    let theirs = Arc::clone(&shared);
    std::thread::Builder::new()
        .name("writer".into())
        .spawn(move || {
            // Dropped last, when the file is closed: that is what `finish` waits for.
            let _ending: SyncSender<()> = ending;
            writer::work(opened, inbox, &options, clock, counters, theirs);
        })
        .map_err(OpenError::Thread)?;
    Ok((Sink { outbox, shared: Arc::clone(&shared) }, Writer { shared, ended }))
}

impl Sink {
    /// Hands a record to the writer; waits on this thread while 1,024 of them are waiting.
    ///
    /// # Errors
    /// The record, when the writer has ended.
    pub fn put(&self, record: Record) -> Result<(), Box<Record>> {
        self.shared.began(&record);
        self.outbox.send(record).map_err(|back| {
            self.shared.ended(&back.0);
            Box::new(back.0)
        })
    }
}

impl Writer {
    /// For watchdogs: tells how long ago the writer last moved.
    pub fn pulse(&self) -> Pulse {
        Pulse::new(Arc::clone(&self.shared))
    }

    /// Nothing that can wait for the next start is begun any more, and what is under way is broken off:
    /// room for what was received comes first.
    pub fn hurry(&self) {
        self.shared.stop();
    }

    /// Waits until everything handed in is committed, and for the checkpoint and the closing of the
    /// file as far as the deadline allows. All sinks must be dropped before. After the deadline the
    /// writer gives up: what it still holds is not acknowledged.
    ///
    /// # Errors
    /// [`Unfinished`] at the deadline, with what was not committed.
    pub fn finish(self, deadline: Instant) -> Result<(), Unfinished> {
        self.finish_or(deadline, || ()).map_err(|(unfinished, ())| unfinished)
    }

    /// The same, and looks at something at the deadline, before the writer gives up: what it lets go
    /// of makes room for what waits elsewhere, so that afterwards nobody can count it any more.
    ///
    /// # Errors
    /// [`Unfinished`] at the deadline, with what was not committed, and what was seen.
    pub fn finish_or<T>(
        self,
        deadline: Instant,
        look: impl FnOnce() -> T,
    ) -> Result<(), (Unfinished, T)> {
        self.shared.stop();
        let left = deadline.saturating_duration_since(Instant::now());
        let ended = self.ended.recv_timeout(left);
        let (records, unacknowledged) = self.shared.held();
        // A checkpoint that takes too long loses nothing: its pages are safe in the WAL.
        let done = ended == Err(RecvTimeoutError::Disconnected) || self.shared.is_drained();
        if done && records == 0 {
            return Ok(());
        }
        let seen = look();
        self.shared.abandon();
        let lost = records.saturating_sub(unacknowledged);
        Err((Unfinished { records, unacknowledged, lost }, seen))
    }
}
