//! What the file is told of queues and sessions.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Item;
use crate::broker::grant::Grant;
use crate::broker::sessions::Key;

/// A session for the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::broker) struct Kept {
    /// Whose.
    pub(in crate::broker) key: Key,
    /// What it has subscribed to, and what was granted.
    pub(in crate::broker) filters: BTreeMap<String, Grant>,
    /// When its client left, in milliseconds since the Unix epoch.
    pub(in crate::broker) away_since_ms: Option<i64>,
    /// How long it outlives its connection.
    pub(in crate::broker) keep: Duration,
}

/// What the file does not know yet.
#[derive(Debug, Default, PartialEq)]
pub(in crate::broker) struct Changes {
    /// Sessions by number; `None`: it has ended, and its copies with it.
    pub(in crate::broker) sessions: Vec<(u64, Option<Kept>)>,
    /// Copies by session and serial.
    pub(in crate::broker) queued: Vec<(u64, u64, Item)>,
    /// Copies that were delivered or lost.
    pub(in crate::broker) taken: Vec<(u64, u64)>,
}
