//! What waits for subscribers at QoS 1, and for clients that are away.

use std::time::Duration;

use super::error::Error;
use super::judge::Judge;
use super::tree::At;

/// Bounds of what waits (`broker.session`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sessions {
    /// Messages for one client.
    pub messages: usize,
    /// Bytes of topics, payloads and overhead for all clients together.
    pub bytes: usize,
    /// How long a session, and what waits in it, is kept.
    pub keep: Duration,
}

/// As many as mosquitto keeps: at everyday traffic some minutes of a whole region.
const MAX_MESSAGES: i64 = 1_000;

/// A thousand messages of a packet each for a dozen clients, on a machine that has little.
const MAX_MB: i64 = 8;

/// A program that was away for longer needs the database, not a queue.
const MAX_HOURS: i64 = 24;

/// The defaults.
impl Default for Sessions {
    fn default() -> Self {
        Self::new(MAX_MESSAGES, MAX_MB, MAX_HOURS)
    }
}

impl Sessions {
    fn new(messages: i64, mib: i64, hours: i64) -> Self {
        let size = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            messages: size(messages),
            bytes: size(mib).saturating_mul(1 << 20),
            keep: Duration::from_secs(hours.unsigned_abs().saturating_mul(3_600)),
        }
    }
}

/// `broker.session`.
pub(super) fn judge(judge: &Judge<'_>) -> Result<Sessions, Error> {
    let section = judge.written.file.broker.as_ref().and_then(|broker| broker.session.as_ref());
    let at = At::key("broker").then("session");
    let whole = |key: &str, written, default, most| {
        judge.whole_at(&at.then(key), written, default, 1..=most)
    };
    let messages =
        whole("maxMessages", section.and_then(|s| s.max_messages), MAX_MESSAGES, 100_000)?;
    let mib = whole("maxMB", section.and_then(|s| s.max_mb), MAX_MB, 1_024)?;
    let hours = whole("maxHours", section.and_then(|s| s.max_hours), MAX_HOURS, 24 * 30)?;
    Ok(Sessions::new(messages, mib, hours))
}
