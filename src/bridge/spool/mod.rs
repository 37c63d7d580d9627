//! What could not be passed on yet, on disk: one SQLite file for all uplinks.
//!
//! The spool, not the MQTT client, owns what is not acknowledged. A *lane* is one connection's queue:
//! an uplink, or one identity of it. Each message has a number, growing within its lane, and stays
//! until its number is acknowledged or its bounds push it out, the oldest first.
//!
//! ```text
//! uplink ──append, done──> queues (memory) <──what is due, what is gone──> keeper's thread ──> file
//!    ^                          │                                              │
//!    └── from memory, or ───────┴─ by the keeper, from the file ───────────────┘
//! ```
//!
//! Nobody but the keeper waits for the disk: appending and acknowledging change memory alone, and what
//! is in memory goes out without asking the file.
//!
//! # What is written when
//! | | |
//! |---|---|
//! | a message that no connection has taken | after [`UNTAKEN`] |
//! | one that was taken and is not acknowledged | after [`UNACKNOWLEDGED`] |
//! | that a written message was acknowledged | after [`GROUP`], at once where [`MANY`] are |
//! | to the disk itself (fsync) | [`SYNC_EVERY`], while there is something to sync |
//!
//! An uplink that works costs no write. A kill -9 loses what came within [`UNTAKEN`], and what was
//! under way; it sends again at most [`MANY`] messages beside those under way. A power cut goes back by
//! [`SYNC_EVERY`] more.

mod file;
mod keeper;
mod open;
mod queue;
mod shared;
mod update;

pub(super) use keeper::Keeper;
pub(super) use queue::Next;

use self::shared::Shared;

use bytes::Bytes;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A message that no connection takes is written after this.
const UNTAKEN: Duration = Duration::from_millis(100);

/// A message that was taken and is not acknowledged is written after this.
const UNACKNOWLEDGED: Duration = Duration::from_secs(1);

/// Acknowledgements of what is in the file are written together.
const GROUP: Duration = Duration::from_millis(100);

/// So many of them are written at once, and nothing more is taken from the file until they are.
pub(super) const MANY: usize = 64;

/// How often at most the disk is asked to have it for good.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// One message to be passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its number within its lane, from 1.
    pub(super) number: u64,
    /// The topic at that broker.
    pub(super) topic: Arc<str>,
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
    /// Messages that wait or are under way, in the file and in memory.
    pub(super) messages: u64,
    /// Their cost in bytes.
    pub(super) bytes: u64,
    /// Those of them that are in memory alone.
    pub(super) unwritten: u64,
    /// Since when there are any, in milliseconds since the Unix epoch.
    pub(super) since_ms: Option<i64>,
    /// Messages that were pushed out by the bounds since the start.
    pub(super) expired: u64,
    /// Messages that memory did not hold while the file could not be written, since the start.
    pub(super) lost: u64,
    /// Messages that were set aside since the start.
    pub(super) set_aside: u64,
}

/// A lane's end of the spool.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    number: usize,
    shared: Arc<Shared>,
}

/// What the file has after a number.
#[derive(Debug)]
pub(super) struct Read {
    /// The next messages, in order.
    pub(super) entries: Vec<Entry>,
    /// The last number that was looked at; where it is the one that was asked for, the file could not
    /// be read.
    pub(super) upto: u64,
}

impl Lane {
    /// Keeps a message; its number is given by the spool.
    pub(super) fn append(&self, entry: Entry, now_ms: i64) {
        self.shared.with(self.number, |queue| queue.append(entry, now_ms, Instant::now()));
        self.shared.wake(self.number);
    }

    /// Forgets what is acknowledged.
    pub(super) fn done(&self, number: u64) {
        self.shared.with(self.number, |queue| queue.done(number, Instant::now()));
    }

    /// The next message after `after`, which is taken by this.
    pub(super) fn next(&self, after: u64) -> Next {
        let next = self.shared.with(self.number, |queue| queue.next(after, Instant::now()));
        next.unwrap_or(Next::Nothing)
    }

    /// The next messages that the file has after `after`, at most `limit` of them and 1 MiB. The
    /// answer comes once the disk has it; none: the spool has ended.
    pub(super) fn read(&self, after: u64, limit: usize) -> oneshot::Receiver<Read> {
        self.shared.read(self.number, after, limit)
    }

    /// Keeps a message for a person to look at, and passes it on no more.
    pub(super) fn set_aside(&self, number: u64, reason: String) {
        self.shared.set_aside(self.number, number, reason);
    }

    /// The region that was last remembered.
    pub(super) fn region(&self) -> Option<String> {
        self.shared.with(self.number, |queue| queue.region().map(str::to_owned)).flatten()
    }

    /// Remembers the region of the lane's observer, over restarts.
    pub(super) fn remember(&self, region: &str) {
        self.shared.with(self.number, |queue| queue.remember(region, Instant::now()));
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
