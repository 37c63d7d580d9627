//! What a connection says about the observers it speaks for.

use std::sync::Arc;

use bytes::Bytes;

use super::super::house::House;
use super::super::identity::ObserverKey;
use super::super::presence::{self, Voice};

/// A connection's voice in [`presence`]. Dropped, the observers that nobody else speaks for are
/// offline.
pub(super) struct Speaker {
    voice: Voice,
    house: Arc<House>,
    /// The status topic of a will that has said it.
    said: Option<String>,
}

impl Speaker {
    /// For the connection of this generation, whose client is known to be the observer `own`.
    pub(super) fn new(house: &Arc<House>, generation: u64, own: Option<ObserverKey>) -> Self {
        let voice = house.presence().voice(generation).of(own);
        Self { voice, house: Arc::clone(house), said: None }
    }

    /// The client has a will on this topic, which it may publish to.
    pub(super) fn has_will(&mut self, topic: &str) {
        let (house, now_ms) = (&self.house, self.house.clock.now_ms());
        let known = self.voice.has_will(topic, now_ms, |a| house.announce(a));
        self.note(known);
    }

    /// The client is known to be this observer, and nobody else is.
    pub(super) fn is(&mut self, own: ObserverKey) {
        self.voice.learns(own);
        let (house, now_ms) = (&self.house, self.house.clock.now_ms());
        house.presence().belongs(own, now_ms, |a| house.announce(a));
    }

    /// The client takes over the session of the connection of this generation.
    pub(super) fn inherits(&mut self, generation: u64) {
        self.voice.inherits(generation);
    }

    /// The client has published this, and was allowed to.
    pub(super) fn published(&mut self, topic: &str, payload: &Bytes) {
        let (house, now_ms) = (&self.house, self.house.clock.now_ms());
        let known = self.voice.publishes((topic, payload), now_ms, |a| house.announce(a));
        self.note(known);
    }

    /// Passes the will on with `publish`, unless it lies.
    pub(super) fn wills(&mut self, topic: &str, payload: &Bytes, publish: impl FnOnce()) {
        if !self.voice.wills(topic, publish) {
            self.house.counters.broker_stale_wills.increment();
        } else if presence::says_offline(payload) {
            self.said = Some(topic.to_owned());
        }
    }

    fn note(&self, known: Result<(), &'static str>) {
        if let Err(reason) = known {
            self.house.note(reason, || "an observer's presence is not told: no room".to_owned());
        }
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        let house = &self.house;
        // At our own end nobody has left.
        let (said, quietly) = (self.said.as_deref(), house.quiet.is_cancelled());
        self.voice.ends(said, quietly, house.clock.now_ms(), |a| house.announce(a));
    }
}
