//! What is seen of a connection from outside, and what it may see.

use bytes::Bytes;

use super::super::events::End;
use super::super::session::Publication;
use super::Connection;
use crate::broker::access::{Binding, Lane, Speech, View};
use crate::broker::board::{Flag, Said, Sort};
use crate::broker::frame::Flags;
use crate::broker::house::House;
use crate::broker::identity::Who;
use crate::broker::limits::Subject;
use crate::broker::outbox::Outbox;
use crate::config::Watch;

impl<S> Connection<S> {
    /// Counts and lists a refusal.
    pub(super) fn refused(&self, sort: Sort, reason: &'static str, about: &str) {
        let now_ms = self.house.clock.now_ms();
        self.house.refuse(&self.seat.refused(sort, reason, about, now_ms));
    }

    /// Refuses a publish that is not allowed; where that is wanted, the connection ends.
    pub(super) fn forbidden(&self, reason: &'static str, topic: &str) -> Result<(), End> {
        self.refused(Sort::Publish, reason, topic);
        if self.house.policy.strict { Err(End::Forbidden(reason)) } else { Ok(()) }
    }

    /// Binds the client's account to the key that it speaks for, if it is to be. Returns why it
    /// cannot be.
    pub(super) fn learn_key(&mut self, publication: &Publication) -> Option<&'static str> {
        let key = publication.permit.binds?;
        let identity = self.session.who().identity.clone();
        if let Err(reason) = self.house.gate.claims.bind(&Binding { identity, key }) {
            return Some(reason);
        }
        self.session.bound(key);
        self.speaker.is(key);
        self.seat.bound(key.to_string());
        None
    }

    /// Looks at how much a client sends. Returns why a message is not taken; without `mute` all are.
    pub(super) fn too_much(&self, publication: &Publication) -> Option<&'static str> {
        if publication.permit.lane == Lane::Subscribers {
            return None;
        }
        let speech = Speech::of(&publication.topic);
        let who = self.session.who();
        let key = speech.as_ref().map(|speech| speech.key).or(who.key);
        let subject = key.map_or_else(|| Subject::Client(who.identity.clone()), Subject::Observer);
        let packet = speech.as_ref().filter(|speech| speech.subtopic == "packets");
        let excess = self.house.look(&subject, packet.map(|_| &publication.payload[..]));
        let region = speech.and_then(|speech| speech.region);
        self.seat.spoke(&subject, Said { at_ms: self.house.clock.now_ms(), region, excess });
        if speech.is_some_and(|speech| speech.has_placeholder()) {
            self.note_placeholder(region.unwrap_or_default());
        }
        if self.house.policy.watch == Watch::Count {
            return None;
        }
        // A copy that waits for an answer may be sent again because there was none.
        let repeated = excess.duplicate && !publication.receipt.is_awaited();
        match (excess.over_rate, repeated) {
            (true, _) => Some("publish_over_rate"),
            (false, true) => Some("publish_of_a_duplicate"),
            (false, false) => None,
        }
    }

    fn note_placeholder(&self, region: &str) {
        if self.seat.flag(Flag::PlaceholderRegion) {
            self.house.note("placeholder_region", || {
                let name = &self.origin.name;
                format!("{name} sends its packets from region {region}: set its region (iata)")
            });
        }
    }

    /// Writes a copy, as much of it as the client may see. False where that is nothing, or more than
    /// it takes: that counts as delivered (MQTT-3.1.2-25).
    pub(super) fn emit(&mut self, topic: &[u8], payload: &Bytes, flags: Flags) -> bool {
        let Some(payload) = visible(&self.house, self.session.who(), topic, payload) else {
            self.house.counters.broker_withheld.increment();
            return false;
        };
        if !self.session.deliver(topic, &payload, flags) {
            too_large(&self.house, &self.origin.name);
            return false;
        }
        self.house.counters.broker_deliveries.increment();
        self.seat.sent();
        true
    }

    /// Shows on the board what waits.
    pub(super) fn report(&self) {
        let copies = self.subscriber.as_ref().map_or(0, |s| s.deliveries.len());
        let queue = self.outbox.as_ref().map(Outbox::number);
        let copies = copies + self.backlog.messages.len();
        self.seat.waits(copies, queue, self.session.unacknowledged());
    }
}

/// Counts a copy that was larger than its client takes.
pub(super) fn too_large(house: &House, name: &str) {
    house.note("copy_larger_than_client_takes", || {
        format!("{name} takes no packets as large as a copy for it was")
    });
}

/// What of a copy a client may see; `None` where that is nothing.
pub(super) fn visible(house: &House, who: &Who, topic: &[u8], payload: &Bytes) -> Option<Bytes> {
    let topic = std::str::from_utf8(topic).ok()?;
    match house.gate.view(who, topic) {
        View::Whole => Some(payload.clone()),
        View::Redacted => house.redacted.of(payload),
        View::Nothing => None,
    }
}
