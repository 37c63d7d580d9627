//! What is seen of a connection from outside, and what it may see.

use std::num::NonZeroU32;

use bytes::Bytes;

use super::super::events::End;
use super::super::session::{Publication, Session};
use super::Connection;
use crate::broker::access::{Binding, Lane, Speech, View};
use crate::broker::board::{Flag, Said, Seat, Sort};
use crate::broker::frame::{Extras, Flags, Properties};
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
    pub(super) fn emit(&mut self, copy: &Emission<'_>) -> bool {
        emit(&self.house, &mut self.session, (&self.seat, &self.origin.name), copy)
    }

    /// Shows on the board what waits.
    pub(super) fn report(&self) {
        let copies = self.subscriber.as_ref().map_or(0, |s| s.deliveries.len());
        let queue = self.outbox.as_ref().map(Outbox::number);
        let copies = copies + self.backlog.messages.len();
        self.seat.waits(copies, queue, self.session.unacknowledged());
    }
}

/// A copy on its way to the client.
pub(super) struct Emission<'a> {
    pub(super) topic: &'a [u8],
    pub(super) payload: &'a Bytes,
    /// What its publisher said of it, and when it arrived.
    pub(super) said: Option<(&'a Properties, i64)>,
    pub(super) subscriptions: &'a [NonZeroU32],
    pub(super) flags: Flags,
}

/// Writes a copy, as much of it as the client may see. False: nothing of it.
pub(super) fn emit(
    house: &House,
    session: &mut Session,
    (seat, name): (&Seat, &str),
    copy: &Emission<'_>,
) -> bool {
    let Emission { topic, payload, said, subscriptions, flags } = *copy;
    let Some((payload, whole)) = visible(house, session.who(), topic, payload) else {
        house.counters.broker_withheld.increment();
        return false;
    };
    let now_ms = said.map_or(0, |_| house.clock.now_ms());
    let expiry_s = said.and_then(|(said, at_ms)| said.left_s(at_ms, now_ms));
    // Nobody can tell what they say of what a limited reader must not see.
    let said = said.map(|(said, _)| said).filter(|_| whole);
    if !session.deliver(topic, &payload, (flags, Extras { said, expiry_s, subscriptions })) {
        too_large(house, name);
        return false;
    }
    house.counters.broker_deliveries.increment();
    seat.sent();
    true
}

/// Counts a copy that was larger than its client takes.
fn too_large(house: &House, name: &str) {
    house.note("copy_larger_than_client_takes", || {
        format!("{name} takes no packets as large as a copy for it was")
    });
}

/// What of a copy a client may see, and whether that is all; `None` where it is nothing.
fn visible(house: &House, who: &Who, topic: &[u8], payload: &Bytes) -> Option<(Bytes, bool)> {
    let topic = std::str::from_utf8(topic).ok()?;
    match house.gate.view(who, topic) {
        View::Whole => Some((payload.clone(), true)),
        View::Redacted => house.redacted.of(payload).map(|payload| (payload, false)),
        View::Nothing => None,
    }
}
