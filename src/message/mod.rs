//! What arrives: a topic, a payload, who sent it and when, and the receipt that it waits for.
//!
//! A [`Message`] is made by the door ([`crate::broker`]), by a source ([`crate::bridge`]) or by
//! `meshbox replay`, goes through the bounded queue of [`queue`], and ends when its record is
//! committed or refused. Nothing of it flows back but the [`Receipt`].

pub mod feed;
pub mod queue;
pub mod receipt;
pub mod topic;

pub use feed::{Fed, Feed, Heard, Presence, WeakFeed};
pub use queue::{Inlet, Meter, Outlet, Place};
pub use receipt::{Completion, Outcome, Receipt};

use bytes::Bytes;
use std::sync::Arc;

/// One MQTT publish, as it arrived.
#[derive(Debug)]
pub struct Message {
    /// The topic as sent: any UTF-8 that MQTT allows.
    pub topic: String,
    /// The payload as sent: any bytes, at most [`MAX_PAYLOAD`] of them.
    pub payload: Bytes,
    /// Who brought it.
    pub origin: Origin,
    /// Our clock when it arrived, in milliseconds since the Unix epoch.
    pub received_at_ms: i64,
    /// True for a copy that a remote broker replayed from its retained store: not news. A live
    /// publish that merely carries the RETAIN bit is news, and false here.
    pub retained: bool,
    /// Ends exactly once; [`Receipt::none`] for QoS 0.
    pub receipt: Receipt,
    /// The message's place in the bounded queue, filled by [`Inlet::send`]; it is given back when
    /// the message, or the record that owns it, is dropped.
    pub place: Option<Place>,
}

/// The largest payload that is taken in, in bytes: 256 KiB, twenty-five times the largest message
/// that a publisher is known to send (a `neighbors` report of 10,240 bytes).
pub const MAX_PAYLOAD: usize = 256 * 1024;

/// What a message costs beside its topic and payload: the structs that carry it to its commit,
/// in bytes (measured with a margin; see `message_overhead_is_not_understated`).
pub const OVERHEAD: usize = 512;

impl Message {
    /// What the message counts against the byte bound of the queue.
    pub fn cost(&self) -> usize {
        self.topic.len() + self.payload.len() + OVERHEAD
    }
}

/// Who brought a message: kept for the record (`meshbox_origins`) and for per-source rules.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Which door it came through.
    pub kind: OriginKind,
    /// The identity or, for an anonymous client, its IP address; the source's name; the file's
    /// name for a replay.
    pub name: Arc<str>,
}

/// Which door a message came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OriginKind {
    /// A client of our own broker without a login.
    Anonymous,
    /// A client of our own broker that logged in.
    Account,
    /// An external broker (`mqttSources`).
    Source,
    /// `meshbox replay`.
    Replay,
}

impl OriginKind {
    /// The word for it in `meshbox_origins.kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Account => "account",
            Self::Source => "source",
            Self::Replay => "replay",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_overhead_is_not_understated() {
        assert!(size_of::<Message>() * 2 <= OVERHEAD);
    }
}
