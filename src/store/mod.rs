//! SQLite: the schema, the one writer thread, retention, read-only queries.

use crate::clock::Clock;
use crate::counters::Counters;
use crate::record::Record;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How the store works.
#[derive(Clone, Debug)]
pub struct Options {
    /// The SQLite file; its directory is made if it is missing.
    pub path: PathBuf,
    /// How long a record waits for company before its batch is committed.
    pub commit_interval: Duration,
    /// Nodes that were not heard for so long move to `inactive_nodes`, looked at hourly.
    pub node_retention: Duration,
}

/// Where the pipeline puts its records. Clones share one writer, which drains and ends when the
/// last one is dropped.
#[derive(Clone, Debug)]
pub struct Sink {}

/// The one thread that writes the database.
#[derive(Debug)]
pub struct Writer {}

/// Why the database could not be opened; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {}

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

/// Opens (or makes) the database and starts its writer.
///
/// # Errors
/// [`OpenError`]; the file is untouched then.
pub fn start(
    options: Options,
    clock: Clock,
    counters: Arc<Counters>,
) -> Result<(Sink, Writer), OpenError> {
    let _ = (options, clock, counters);
    Ok((Sink {}, Writer {}))
}

impl Sink {
    /// Hands a record to the writer; waits on this thread while 1,024 of them are waiting.
    ///
    /// # Errors
    /// The record, when the writer has ended.
    pub fn put(&self, record: Record) -> Result<(), Box<Record>> {
        Err(Box::new(record))
    }
}

impl Writer {
    /// For watchdogs.
    pub fn pulse(&self) -> Pulse {
        Pulse
    }

    /// Waits until everything handed in is committed and the file is checkpointed and closed. All
    /// sinks must be dropped before.
    ///
    /// # Errors
    /// [`Unfinished`] at the deadline, with what was not committed.
    pub fn finish(self, deadline: Instant) -> Result<(), Unfinished> {
        let _ = deadline;
        Ok(())
    }
}

/// x
pub struct Pulse;
impl Pulse {
    /// x
    pub fn age(&self) -> Duration {
        Duration::ZERO
    }
}
