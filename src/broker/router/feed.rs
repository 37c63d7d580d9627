//! The link through which copies of publishes reach the router.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;
use rumqttd::local::LinkTx;

use super::link;

/// The feed: bounded on our side of the router, since its own end of a link has no bound.
pub(super) struct Feed {
    link: Option<LinkTx>,
    /// Bytes given to the link since its buffer was last seen empty.
    unread_bytes: usize,
    /// Copies that wait for the next router.
    waiting: VecDeque<(Bytes, Bytes)>,
    waiting_bytes: usize,
    seen: HashSet<u64>,
    hasher: RandomState,
}

/// Most copies, and most bytes of them, that the router has not looked at yet, or that wait for it.
const MAX_UNREAD: (usize, usize) = (1_000, 2 << 20);

/// A router that has seen so many distinct topics is replaced: it never forgets one. Until it is, it
/// gets at most as many again.
pub(super) const MAX_TOPICS: usize = 10_000;

impl Feed {
    /// A feed through this link.
    pub(super) fn new(link: LinkTx) -> Self {
        Self {
            link: Some(link),
            unread_bytes: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            seen: HashSet::new(),
            hasher: RandomState::new(),
        }
    }

    /// Passes a copy on, or lets it wait while there is no router. Returns how many were lost.
    pub(super) fn offer(&mut self, topic: &str, payload: Bytes) -> u64 {
        let topic_hash = self.hasher.hash_one(topic);
        if self.seen.len() >= 2 * MAX_TOPICS && !self.seen.contains(&topic_hash) {
            return 1;
        }
        self.seen.insert(topic_hash);
        if self.link.is_some() {
            return self.push_raw(topic, payload);
        }
        let cost = topic.len() + payload.len();
        if self.waiting.len() >= MAX_UNREAD.0 || self.waiting_bytes + cost > MAX_UNREAD.1 {
            return 1;
        }
        self.waiting_bytes += cost;
        self.waiting.push_back((Bytes::copy_from_slice(topic.as_bytes()), payload));
        0
    }

    /// Distinct topics that this router has seen.
    pub(super) fn topics(&self) -> usize {
        self.seen.len()
    }

    /// Takes the link away: copies wait from now on.
    pub(super) fn pause(&mut self) -> Option<LinkTx> {
        self.link.take()
    }

    /// Goes on through a new link, with what has waited. Returns how many copies were lost.
    pub(super) fn resume(&mut self, link: LinkTx) -> u64 {
        self.link = Some(link);
        self.unread_bytes = 0;
        self.seen = HashSet::new();
        self.waiting_bytes = 0;
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().map(|(topic, payload)| self.push(topic, payload)).sum()
    }

    /// Asks the router for a sign of life.
    pub(super) fn ping(&mut self) -> Result<(), link::Gone> {
        self.link.as_mut().map_or(Ok(()), link::ping)
    }

    /// Passes a copy on without a look at it.
    pub(super) fn push_raw(&mut self, topic: &str, payload: Bytes) -> u64 {
        self.push(Bytes::copy_from_slice(topic.as_bytes()), payload)
    }

    fn push(&mut self, topic: Bytes, payload: Bytes) -> u64 {
        let Some(link) = self.link.as_mut() else { return 1 };
        let unread = link.buffer().len();
        if unread == 0 {
            self.unread_bytes = 0;
        }
        let cost = topic.len() + payload.len();
        if unread >= MAX_UNREAD.0 || self.unread_bytes + cost > MAX_UNREAD.1 {
            return 1;
        }
        self.unread_bytes += cost;
        match link.try_publish(topic, payload) {
            // With a full event queue the copy is in the buffer, and an earlier event is on its way.
            Err(e) if !link::is_full(&e) => 1,
            _ => 0,
        }
    }
}
