//! What could not be passed on yet, on disk: one SQLite file for all uplinks.
//!
//! The spool, not the MQTT client, owns what is not acknowledged. A *lane* is one connection's queue:
//! an uplink, or one identity of it. Each message has a number, growing within its lane, and stays
//! until its number is acknowledged or its bounds push it out, the oldest first.
//!
//! A message that is acknowledged within [`WRITE_AFTER`] never touches the disk: an uplink that works
//! costs no write. What waits longer is written, at most one commit a second for all lanes together.
//! So a kill -9 loses at most what came within the last second; a stop loses nothing.
//!
//! ```text
//! uplink ──Append, Done──> keeper's thread: fresh (memory) ──after a second──> file
//!    ^                         │
//!    └───── a batch ───<───────┘  Next: from the file, then from memory, in order
//! ```

mod file;
mod keeper;

pub(super) use keeper::Keeper;

use bytes::Bytes;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// A message that waits this long is written to the file.
const WRITE_AFTER: Duration = Duration::from_secs(1);

/// Commands between the uplinks and the keeper. When it is full an uplink waits, takes nothing more
/// in, and what it is fed is counted as lost; the pipeline never waits.
const COMMANDS: usize = 1_024;

/// One message to be passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its number within its lane, from 1.
    pub(super) number: u64,
    /// The topic at that broker.
    pub(super) topic: String,
    /// The payload at that broker.
    pub(super) payload: Bytes,
    /// Whether that broker is to retain it.
    pub(super) retain: bool,
    /// Our clock when it came, in milliseconds since the Unix epoch.
    pub(super) at_ms: i64,
}

/// How much of one lane is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Bytes of topics, payloads and [`OVERHEAD`] each.
    pub(super) bytes: u64,
    /// How old a message may get.
    pub(super) age: Duration,
}

/// What a row costs beside its topic and payload, in bytes: its share of the table and of its index.
const OVERHEAD: u64 = 40;

/// What is to be known of a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Depth {
    /// Messages that wait, in the file and in memory.
    pub(super) messages: u64,
    /// Their cost in bytes.
    pub(super) bytes: u64,
    /// Messages that were pushed out by the bounds since the start.
    pub(super) expired: u64,
    /// Messages that were set aside since the start.
    pub(super) set_aside: u64,
}

/// What the keeper is asked.
enum Command {
    /// Keep a message; its number is answered.
    Append { lane: usize, entry: Entry },
    /// These are acknowledged.
    Done { lane: usize, numbers: Vec<u64> },
    /// The next messages after this number, in order.
    Next { lane: usize, after: u64, limit: usize, answer: oneshot::Sender<Vec<Entry>> },
    /// This one ends every connection: keep it for a person to look at, and pass it on no more.
    SetAside { lane: usize, number: u64, reason: String },
}

/// A lane's end of the spool.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    number: usize,
    commands: mpsc::Sender<Command>,
}

/// The keeper has ended.
#[derive(Debug, thiserror::Error)]
#[error("the spool has ended")]
pub(super) struct Ended;

impl Lane {
    /// Keeps a message; its number is given by the spool. Waits while the spool is busy.
    pub(super) async fn append(&self, entry: Entry) -> Result<(), Ended> {
        self.ask(Command::Append { lane: self.number, entry }).await
    }

    /// Forgets what is acknowledged.
    pub(super) async fn done(&self, numbers: Vec<u64>) -> Result<(), Ended> {
        self.ask(Command::Done { lane: self.number, numbers }).await
    }

    /// The next messages after `after`, at most `limit` of them and 1 MiB, in order; none where
    /// nothing waits.
    pub(super) async fn next(&self, after: u64, limit: usize) -> Result<Vec<Entry>, Ended> {
        let (answer, answered) = oneshot::channel();
        self.ask(Command::Next { lane: self.number, after, limit, answer }).await?;
        answered.await.map_err(|_| Ended)
    }

    /// Takes a message out of the way.
    pub(super) async fn set_aside(&self, number: u64, reason: String) -> Result<(), Ended> {
        self.ask(Command::SetAside { lane: self.number, number, reason }).await
    }

    async fn ask(&self, command: Command) -> Result<(), Ended> {
        self.commands.send(command).await.map_err(|_| Ended)
    }
}

/// Where a spool is, and for whom.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The SQLite file.
    pub(super) path: PathBuf,
    /// The lanes' names, as they stand in the file, with their bounds.
    pub(super) lanes: Vec<(String, Bounds)>,
}
