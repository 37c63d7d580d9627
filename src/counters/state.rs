//! States of the hub that a person may have to look at.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A write-ahead log that cannot go into the database file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pinned {
    /// How large it is now.
    pub wal_bytes: u64,
    /// What it may have in a burst (`walMaxMB`); beyond it a person should look.
    pub limit_bytes: u64,
    /// For how long it has been kept, when that was last looked at.
    pub for_secs: u64,
    /// Who reads; empty where the system does not tell.
    pub readers: Vec<Reader>,
}

/// A program that reads the database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reader {
    /// Its process id.
    pub pid: u32,
    /// Its name, as far as the system tells.
    pub command: String,
}

/// What is known of a login at a broker that traffic is passed on to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UplinkState {
    /// Its URL without credentials.
    pub broker: String,
    /// Whether a session is up.
    pub connected: bool,
    /// When `connected` last changed, in milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// Dial attempts since the start.
    pub attempts: u64,
    /// Messages acknowledged by that broker since the start.
    pub sent: u64,
    /// When the last one was, in milliseconds since the Unix epoch.
    pub last_sent_ms: Option<i64>,
    /// Messages that wait or are under way, in memory and on disk.
    pub waiting: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Those of them that are not on disk: a kill -9 would lose them.
    #[serde(default)]
    pub unwritten: u64,
    /// Since when there are any, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub waiting_since_ms: Option<i64>,
    /// Messages that grew too old or found no room.
    pub expired: u64,
    /// Messages that memory did not hold: the hub was too busy, or its disk took nothing.
    #[serde(default)]
    pub lost: u64,
    /// Messages that ended the connection again and again.
    pub set_aside: u64,
    /// The last error, in words, without credentials; empty while all is well.
    pub last_error: String,
}

/// What waits for a subscriber of our broker at QoS 1.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueState {
    /// Whose: the account, the key, or the address.
    pub identity: String,
    /// What the client calls itself.
    pub client_id: String,
    /// Whether it is connected.
    pub connected: bool,
    /// Whether the session is kept while it is not.
    pub kept: bool,
    /// When its client left, in milliseconds since the Unix epoch; `None` while it is connected.
    pub away_since_ms: Option<i64>,
    /// Until when it is kept then; `None` while it is connected.
    pub kept_until_ms: Option<i64>,
    /// Copies that wait or are not acknowledged.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Copies that it has lost since the hub started: too many or too old.
    pub lost: u64,
}

/// Whether what is received makes its way into the database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IngestState {
    /// That it does not, in words; `None` while it does, or while nothing waits.
    pub trouble: Option<String>,
}

/// An uplink that is away, or has acknowledged nothing while something waited, for longer needs a
/// person: longer than a dial and a wait between two of them take.
const MAY_BE_STUCK_MS: i64 = 45_000;

impl UplinkState {
    /// Whether it passes nothing on although it should, in a hub that started then.
    pub(super) fn needs_you(&self, started_at_ms: i64, now_ms: i64) -> bool {
        let since = |at_ms: i64| now_ms - at_ms.max(started_at_ms) > MAY_BE_STUCK_MS;
        let stuck = |waits_ms: i64| since(waits_ms.max(self.last_sent_ms.unwrap_or(waits_ms)));
        !self.connected && since(self.since_ms) || self.waiting_since_ms.is_some_and(stuck)
    }
}

/// Whether our own clock can be believed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClockState {
    /// Why it is not, in words; `None` while it is. Until then nothing ages, and no observer's clock
    /// is judged by it.
    pub doubt: Option<String>,
    /// For how long.
    pub doubted_secs: u64,
}

/// A clock that is doubted for longer needs a person. Most are believed after ten minutes; one that
/// was saved before a power cut is an hour behind.
const MAY_BE_DOUBTED_SECS: u64 = 2 * 3_600;

impl QueueState {
    /// Whether there is anything to tell of it.
    pub fn is_news(&self) -> bool {
        !self.connected || self.messages > 0 || self.lost > 0
    }
}

impl Pinned {
    /// Whether it is larger than it may be.
    pub(super) fn needs_you(&self) -> bool {
        self.wal_bytes > self.limit_bytes
    }
}

impl ClockState {
    /// Whether it is doubted for longer than it may be.
    pub(super) fn needs_you(&self) -> bool {
        self.doubted_secs > MAY_BE_DOUBTED_SECS
    }
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |r: &Reader| format!("{} (pid {})", r.command, r.pid);
        let readers: Vec<String> = self.readers.iter().map(named).collect();
        let who = if readers.is_empty() { "another program".into() } else { readers.join(", ") };
        write!(f, "{who} reads and keeps {} MB in the write-ahead log", self.wal_bytes >> 20)
    }
}
