//! What the clients of our own broker may do beside what their login says, and how much.

use super::error::Error;
use super::judge::Judge;
use super::topics::{self, covers};
use super::tree::At;

/// What clients may do, and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Topic filters outside `meshcore/` that the box's other users may use: printable ASCII, and
    /// none of them matches anything of `meshcore/`.
    pub allow_topics: Vec<String>,
    /// Whether a forbidden publish ends the connection.
    pub strict: bool,
    /// Whether an account without a key gets the first that it publishes for.
    pub bind_first_key: bool,
    /// The largest payload, in bytes.
    pub max_payload: usize,
    /// What happens to observers that send too much, or everything twice.
    pub watch: Watch,
}

/// What happens to an observer that sends too much, or everything twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// It is counted.
    Count,
    /// What is too much is counted and not taken.
    Mute,
}

/// KiB; six times the largest that gateways are known to send (ecosystem §1.8: 10,240 bytes).
const MAX_PAYLOAD_KB: i64 = 64;

/// KiB; what the pipeline takes at all ([`crate::message::MAX_PAYLOAD`]).
const MOST_PAYLOAD_KB: i64 = 256;

/// The longest filter, in bytes: as long as the router takes.
const LONGEST: usize = 1024;

impl Default for Policy {
    fn default() -> Self {
        Self {
            allow_topics: Vec::new(),
            strict: false,
            bind_first_key: false,
            max_payload: bytes(MAX_PAYLOAD_KB),
            watch: Watch::Count,
        }
    }
}

pub(super) fn judge(judge: &Judge<'_>) -> Result<Policy, Error> {
    let at = At::key("broker");
    let Some(written) = judge.written.file.broker.as_ref() else { return Ok(Policy::default()) };
    let kib = judge.whole_at(
        &at.then("maxPayloadKB"),
        written.max_payload_kb,
        MAX_PAYLOAD_KB,
        1..=MOST_PAYLOAD_KB,
    )?;
    let words = [("count", Watch::Count), ("mute", Watch::Mute)];
    let watch = judge.word(&at.then("watch"), written.watch.as_deref(), &words, Watch::Count)?;
    Ok(Policy {
        allow_topics: allow_topics(judge, &at.then("allowTopics"), &written.allow_topics)?,
        strict: written.strict.unwrap_or(false),
        bind_first_key: written.bind_first_key.unwrap_or(false),
        max_payload: bytes(kib),
        watch,
    })
}

fn allow_topics(
    judge: &Judge<'_>,
    at: &At,
    written: &Option<Vec<String>>,
) -> Result<Vec<String>, Error> {
    let written = written.as_deref().unwrap_or_default();
    let given: Vec<String> = written.iter().map(|filter| filter.trim().to_owned()).collect();
    for (index, filter) in given.iter().enumerate() {
        if let Some(fault) = topics::fault(filter).or_else(|| unfit(filter)) {
            return Err(judge.error(&at.index(index), format!("{filter:?} {fault}")));
        }
    }
    Ok(topics::merged(&given))
}

/// What is wrong with a filter for the box's other users.
fn unfit(filter: &str) -> Option<&'static str> {
    let first = filter.split('/').next().unwrap_or_default();
    if matches!(first, "#" | "+") {
        return Some("begins with a wildcard; name the tree, such as homeassistant/#");
    }
    if covers("meshcore/#", filter) {
        return Some("is in meshcore/, which has rules of its own; name another tree");
    }
    if first.starts_with('$') {
        return Some("begins with $, which is kept for brokers; name another tree");
    }
    if filter.len() > LONGEST || !filter.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        return Some("is not plain ASCII of at most 1024 bytes; name another tree");
    }
    None
}

fn bytes(kib: i64) -> usize {
    usize::try_from(kib).unwrap_or(1).saturating_mul(1024)
}
