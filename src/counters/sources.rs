//! What is known of an external broker that is taken in.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// What is known of an external broker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceState {
    /// Its URL without credentials.
    pub broker: String,
    /// Whether a session is up.
    pub connected: bool,
    /// The step it is at or failed at: `resolving`, `connecting`, `tls`, `websocket`, `login`,
    /// `subscribing`, `receiving`; or `waiting` for room in the queue, or `stopped`.
    pub step: String,
    /// When `connected` last changed, in milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// When the broker was last heard, while messages cannot be relied on to come: there is no
    /// connection, or none has held yet after one that did not. `None` while all is well.
    #[serde(default)]
    pub away_since_ms: Option<i64>,
    /// Dial attempts since the start.
    pub attempts: u64,
    /// Those that led to a session.
    #[serde(default)]
    pub connects: u64,
    /// Messages received since the start.
    pub messages: u64,
    /// Those of the last five minutes.
    #[serde(default, rename = "messagesLast5m")]
    pub messages_last_5m: u64,
    /// When the last message came, in milliseconds since the Unix epoch.
    pub last_message_ms: Option<i64>,
    /// When one of its messages was last committed, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub last_commit_ms: Option<i64>,
    /// Messages that wait beside the full queue.
    pub side_buffer: u64,
    /// Nothing came for longer than `stallSec`, and nothing has come since.
    #[serde(default)]
    pub silent: bool,
    /// The last error, in words, without credentials; empty while all is well.
    pub last_error: String,
    #[serde(skip)]
    recent: Recent,
}

/// Twice the longest wait between two attempts: who is away for longer needs a person.
pub(super) const MAY_BE_AWAY_MS: i64 = 60_000;

impl SourceState {
    /// A message came.
    pub fn heard(&mut self, now_ms: i64) {
        self.messages += 1;
        self.last_message_ms = Some(now_ms);
        self.recent.note(now_ms);
    }

    /// For how long messages cannot be relied on to come, in milliseconds.
    pub fn away_ms(&self, now_ms: i64) -> Option<i64> {
        self.away_since_ms.map(|since| now_ms.saturating_sub(since))
    }

    /// Whether a person should look. After a clock went back nobody knows how long it is away.
    pub(super) fn needs_you(&self, now_ms: i64) -> bool {
        let away = self.away_ms(now_ms).is_some_and(|ms| !(0..=MAY_BE_AWAY_MS).contains(&ms));
        self.silent || away
    }

    /// The state as it is told now.
    pub(super) fn at(mut self, now_ms: i64) -> Self {
        self.messages_last_5m = self.recent.count(now_ms);
        self
    }
}

/// Counts of the last five minutes, in slots of ten seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Recent(VecDeque<(i64, u64)>);

const SLOT_MS: i64 = 10_000;
const SLOTS: i64 = 30;

impl Recent {
    fn note(&mut self, now_ms: i64) {
        let now = now_ms.div_euclid(SLOT_MS);
        // Of before the clock went back.
        if self.0.back().is_some_and(|(slot, _)| *slot > now) {
            self.0.clear();
        }
        match self.0.back_mut() {
            Some((slot, count)) if *slot == now => *count += 1,
            _ => self.0.push_back((now, 1)),
        }
        while self.0.front().is_some_and(|(slot, _)| *slot <= now - SLOTS) {
            self.0.pop_front();
        }
    }

    fn count(&self, now_ms: i64) -> u64 {
        let now = now_ms.div_euclid(SLOT_MS);
        let recent = self.0.iter().filter(|(slot, _)| (now - SLOTS + 1..=now).contains(slot));
        recent.map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_of_five_minutes_are_counted_and_then_forgotten() {
        let mut state = SourceState::default();
        for second in 0..600 {
            state.heard(second * 1_000);
        }
        let at = |ms| state.clone().at(ms).messages_last_5m;
        assert_eq!((state.messages, at(599_000)), (600, 300));
        assert_eq!((at(749_000), at(900_000), at(0)), (150, 0, 0));
        assert!(state.recent.0.len() <= 30);
        state.heard(5_000);
        let at = |ms| state.clone().at(ms).messages_last_5m;
        assert_eq!(at(5_000), 1, "a clock that went back begins anew");
    }

    #[test]
    fn a_source_that_is_away_for_a_minute_or_silent_needs_you() {
        let mut state = SourceState::default();
        assert!(!state.needs_you(1 << 40));
        state.away_since_ms = Some(1_000);
        let need = |s: &SourceState| [1_000, 61_000, 61_001, 999].map(|now| s.needs_you(now));
        assert_eq!(need(&state), [false, false, true, true]);
        state.away_since_ms = None;
        state.silent = true;
        assert!(state.needs_you(0));
    }
}
