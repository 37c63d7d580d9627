//! One subscriber at QoS 1, or one session that is kept.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::mqttbytes::matches;
use tokio::sync::Notify;

use super::kept::Kept;
use super::queue::Queue;
use crate::broker::copy::Copy;
use crate::broker::grant::Grant;
use crate::broker::identity::{Author, Identity};
use crate::broker::sessions::Key;
use crate::counters::QueueState;

/// A queue with all that is known of whose it is.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) identity: Identity,
    pub(super) client_id: String,
    author: Author,
    pub(super) filters: BTreeMap<String, Grant>,
    pub(super) queue: Queue,
    pub(super) ring: Arc<Notify>,
    /// How long the session outlives its connection; `None`: it ends with it.
    pub(super) keep: Option<Duration>,
    /// The connection that has it: each gets a number of its own. 0: nobody.
    pub(super) holder: u64,
    /// When its client left, in milliseconds since the Unix epoch.
    pub(super) away_since_ms: Option<i64>,
    /// Copies that it has lost since the start.
    pub(super) lost: u64,
    /// The file does not know its present state.
    pub(super) changed: bool,
}

impl Slot {
    /// For nobody yet; kept for so long after each of its connections, if at all.
    pub(super) fn new((identity, client_id): Key, keep: Option<Duration>) -> Self {
        let author = Author::of(&identity, &client_id);
        Self {
            author,
            identity,
            client_id,
            filters: BTreeMap::new(),
            queue: Queue::default(),
            ring: Arc::default(),
            keep,
            holder: 0,
            away_since_ms: None,
            lost: 0,
            changed: true,
        }
    }

    /// How a copy comes to this subscriber, once however many of its filters match: whether with the
    /// retain flag, and by which identifiers; `None`: it does not.
    pub(super) fn takes(&self, copy: &Copy<'_>) -> Option<(bool, Vec<NonZeroU32>)> {
        let own = copy.author == self.author;
        let mut taken = None;
        for (filter, grant) in &self.filters {
            if grant.is_routed() || (own && grant.no_local) || !matches(copy.topic, filter) {
                continue;
            }
            let (retain, ids) = taken.get_or_insert((false, Vec::new()));
            *retain |= copy.retain && grant.retain_as_published;
            ids.extend(grant.id);
        }
        taken
    }

    /// How many of its filters have their copies here.
    pub(super) fn queued_filters(&self) -> usize {
        self.filters.values().filter(|grant| !grant.is_routed()).count()
    }

    /// Whether its client has been away for too long.
    pub(super) fn is_over(&self, now_ms: i64) -> bool {
        let (Some(keep), Some(since)) = (self.keep, self.away_since_ms) else { return false };
        now_ms - since > millis(keep)
    }

    /// For the file, if it is kept.
    pub(super) fn kept(&self) -> Option<Kept> {
        let key = (self.identity.clone(), self.client_id.clone());
        let (filters, away_since_ms) = (self.filters.clone(), self.away_since_ms);
        self.keep.map(|keep| Kept { key, filters, away_since_ms, keep })
    }

    /// For people.
    pub(super) fn state(&self) -> QueueState {
        let away = self.away_since_ms.filter(|_| self.holder == 0);
        QueueState {
            identity: self.identity.to_string(),
            client_id: self.client_id.clone(),
            connected: self.holder != 0,
            kept: self.keep.is_some(),
            away_since_ms: away,
            kept_until_ms: self
                .keep
                .zip(away)
                .map(|(keep, since_ms)| since_ms.saturating_add(millis(keep))),
            messages: self.queue.len() as u64,
            bytes: self.queue.bytes() as u64,
            lost: self.lost,
        }
    }
}

/// Milliseconds, as the clock counts them.
pub(super) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
