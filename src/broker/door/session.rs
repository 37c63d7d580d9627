//! The protocol of one admitted connection: frames and completions in, bytes and [`Step`]s out.
//! No socket, no clock, no queue.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::QoS;
use tokio::sync::mpsc;

use super::inflight::{Ack, Inflight, MAX_HELD};
use crate::broker::access::{Denied, Gate, Permit};
use crate::broker::frame::{
    AckKind, Disconnect, Filter, Flags, Frame, Oversized, Packet, Publish, RetainHandling,
    Subscribe, Unsubscribe, Writer,
};
use crate::broker::identity::{ObserverKey, Who};
use crate::broker::reason::{self, Reason};
use crate::message::topic::normalised;
use crate::message::{Completion, Receipt};

/// One connection's side of the protocol.
#[derive(Debug)]
pub(super) struct Session {
    generation: u64,
    who: Who,
    gate: Arc<Gate>,
    writer: Writer,
    /// Whether its session outlives the connection.
    keeps: bool,
    mailbox: mpsc::UnboundedSender<Completion>,
    inflight: Inflight,
    /// With the QoS that was granted.
    subscriptions: BTreeMap<String, QoS>,
    /// What is to be written to the client.
    pub(super) out: BytesMut,
}

/// What a frame asks the connection to do.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing beyond what is in [`Session::out`].
    Nothing,
    /// Hand a message on.
    Publish(Publication),
    /// A publish was not allowed: it is acknowledged and otherwise ignored.
    Denied(Denied),
    /// A publish was too large: it is acknowledged and otherwise ignored.
    Oversized,
    /// Subscribe, and then call [`Session::subscribed`].
    Subscribe(Subscription),
    /// Unsubscribe; the answer is written already.
    Unsubscribe(Vec<String>),
    /// The client has a copy that was sent at QoS 1.
    Acknowledged(u16),
    /// The client says goodbye.
    Disconnect(Disconnect),
}

/// A publish that may be handed on.
#[derive(Debug)]
pub(super) struct Publication {
    /// Normalised, judged and allowed.
    pub(super) topic: String,
    /// Where it goes.
    pub(super) permit: Permit,
    /// A copy of its own, not a part of the read buffer.
    pub(super) payload: Bytes,
    /// How sure the client wants to be.
    pub(super) qos: QoS,
    /// Whether it is to be retained.
    pub(super) retain: bool,
    /// What the acknowledgement waits for.
    pub(super) receipt: Receipt,
}

/// A SUBSCRIBE that has been judged.
#[derive(Debug, PartialEq)]
pub(super) struct Subscription {
    /// Its packet id.
    pub(super) pkid: u16,
    /// The answer to each of its filters.
    pub(super) codes: Vec<Result<QoS, Reason>>,
    /// The filters that were granted, with the QoS, those included that the connection had before.
    pub(super) granted: Vec<(String, QoS)>,
    /// Those of them that want the retained messages.
    pub(super) retained: Vec<(String, QoS)>,
    /// Those of them that it had with another QoS: that subscription is replaced (MQTT-3.8.4-3).
    pub(super) replaced: Vec<String>,
    /// The filters that were refused, and why.
    pub(super) denied: Vec<Denied>,
}

/// Filters that one connection may have.
const MAX_FILTERS: usize = 100;

/// While so many bytes wait to be written nothing more is taken in and no copy is delivered.
const OUT_IS_FULL: usize = 64 * 1024;

impl Session {
    /// For a connection whose receipts go to `mailbox`; `keeps`: its session outlives it.
    pub(super) fn new(
        generation: u64,
        who: Who,
        (writer, keeps): (Writer, bool),
        gate: Arc<Gate>,
        mailbox: mpsc::UnboundedSender<Completion>,
    ) -> Self {
        Self {
            generation,
            who,
            gate,
            writer,
            keeps,
            mailbox,
            inflight: Inflight::new(generation),
            subscriptions: BTreeMap::new(),
            out: BytesMut::new(),
        }
    }

    /// Goes on with what an earlier connection had subscribed to. Returns what the client may not
    /// have any more.
    pub(super) fn resume(&mut self, subscriptions: Vec<(String, QoS)>) -> Vec<String> {
        let mut lost = Vec::new();
        for (filter, qos) in subscriptions {
            if self.may_have(&filter).is_ok() {
                self.subscriptions.insert(filter, qos);
            } else {
                lost.push(filter);
            }
        }
        lost
    }

    /// The filters that have been granted this QoS.
    pub(super) fn subscribed_at(&self, qos: QoS) -> Vec<String> {
        let with = self.subscriptions.iter().filter(|(_, granted)| **granted == qos);
        with.map(|(filter, _)| filter.clone()).collect()
    }

    /// Whether another frame may be taken in.
    pub(super) fn has_room(&self) -> bool {
        self.can_deliver() && !self.inflight.is_full()
    }

    /// Whether another copy may be written.
    pub(super) fn can_deliver(&self) -> bool {
        self.out.len() < OUT_IS_FULL
    }

    /// Whether nothing waits for a receipt.
    pub(super) fn is_settled(&self) -> bool {
        self.inflight.is_empty()
    }

    /// How many publishes wait for their receipts.
    pub(super) fn unacknowledged(&self) -> usize {
        self.inflight.len()
    }

    /// How many copies at QoS 1 the client takes unacknowledged.
    pub(super) fn receive_maximum(&self) -> u16 {
        self.writer.receive_maximum()
    }

    /// Who the client is.
    pub(super) fn who(&self) -> &Who {
        &self.who
    }

    /// Its account has a key now: it speaks for that one alone.
    pub(super) fn bound(&mut self, key: ObserverKey) {
        self.who.key = Some(key);
    }

    /// The filters that it has.
    pub(super) fn subscriptions(&self) -> impl Iterator<Item = &String> {
        self.subscriptions.keys()
    }

    /// Takes a frame in.
    ///
    /// # Errors
    /// The name of a breach of protocol after which MQTT wants the connection closed.
    pub(super) fn frame(&mut self, frame: Frame) -> Result<Step, &'static str> {
        let step = match frame {
            Frame::Oversized(what) => self.oversized(what)?,
            Frame::Packet(packet) => self.packet(packet)?,
        };
        self.inflight.drain_into(self.writer, &mut self.out);
        Ok(step)
    }

    /// Takes a completion in.
    ///
    /// # Errors
    /// A message could not be stored: close the connection, and it will be sent again.
    pub(super) fn complete(&mut self, completion: Completion) -> Result<(), &'static str> {
        self.inflight.complete(completion).map_err(|_| "message_not_stored")?;
        self.inflight.drain_into(self.writer, &mut self.out);
        Ok(())
    }

    /// Answers a SUBSCRIBE.
    pub(super) fn subscribed(&mut self, subscription: &Subscription) {
        let Subscription { pkid, codes, denied, .. } = subscription;
        let reason = denied.first().map(|denied| denied.reason);
        self.writer.suback(&mut self.out, *pkid, codes, reason);
    }

    /// Takes back what a SUBSCRIBE was granted, for a reason of this name.
    pub(super) fn refuse(&mut self, subscription: &mut Subscription, reason: &'static str) {
        for (filter, _) in subscription.granted.drain(..) {
            self.subscriptions.remove(&filter);
        }
        subscription.retained.clear();
        subscription.replaced.clear();
        subscription.denied.push(Denied { reason, topic: String::new() });
        subscription.codes.fill(Err(reason::of_subscribe(reason)));
    }

    /// Says why the publish that was taken in last will be refused.
    pub(super) fn refuse_last(&mut self, reason: &str) {
        self.inflight.refuse_last(reason::of_publish(reason));
    }

    /// Writes a copy for the client; false if it takes none of this size.
    pub(super) fn deliver(&mut self, topic: &[u8], payload: &[u8], flags: Flags) -> bool {
        self.writer.publish(&mut self.out, topic, payload, flags)
    }

    /// Says why the connection ends, to a client that can be told.
    pub(super) fn goodbye(&mut self, why: Reason, reason: &str) {
        self.writer.goodbye(&mut self.out, why, reason);
    }

    fn packet(&mut self, packet: Packet) -> Result<Step, &'static str> {
        match packet {
            Packet::Publish(publish) => self.publish(publish),
            Packet::PubRel(release) => {
                // An unknown one too: the client has lost count, and asks for ever (MQTT-4.3.3-2).
                let known = self.inflight.release(release.pkid);
                let answer = if known { Reason::Success } else { Reason::UnknownId };
                self.writer.ack(&mut self.out, AckKind::Complete, release.pkid, answer);
                Ok(Step::Nothing)
            }
            Packet::Subscribe(subscribe) => self.subscribe(subscribe),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(unsubscribe),
            Packet::PingReq => {
                self.writer.pong(&mut self.out);
                Ok(Step::Nothing)
            }
            Packet::Disconnect(goodbye) => {
                // MQTT 5 §3.14.2.2.2.
                let too_late = !self.keeps && goodbye.expiry_s.is_some_and(|s| s > 0);
                if too_late {
                    Err("session_expiry_too_late")
                } else {
                    Ok(Step::Disconnect(goodbye))
                }
            }
            Packet::PubAck(ack) => Ok(Step::Acknowledged(ack.pkid)),
            // Copies go out with QoS 1 at the most, so nothing waits for these.
            Packet::PubRec(_) | Packet::PubComp(_) => Ok(Step::Nothing),
            Packet::Connect => Err("second_connect"),
            Packet::Auth => Err("auth_without_method"),
            Packet::OfServer => Err("packet_that_only_a_server_sends"),
        }
    }

    fn publish(&mut self, publish: Publish) -> Result<Step, &'static str> {
        let Some(ack) = self.acknowledgement(publish.qos, publish.pkid)? else {
            return Ok(Step::Nothing);
        };
        let (topic, permit) = match self.gate.publish(&self.who, publish.topic) {
            Ok(allowed) => allowed,
            Err(denied) => {
                self.settle_denied(ack, denied.reason);
                return Ok(Step::Denied(denied));
            }
        };
        let receipt = ack.map_or_else(Receipt::none, |ack| {
            let serial = self.inflight.open(ack);
            Receipt::new(self.mailbox.clone(), self.generation, serial)
        });
        Ok(Step::Publish(Publication {
            topic,
            permit,
            payload: Bytes::copy_from_slice(&publish.payload),
            qos: publish.qos,
            retain: publish.retain,
            receipt,
        }))
    }

    /// Acknowledges a publish in its turn without handing it on.
    fn settle_denied(&mut self, ack: Option<Ack>, reason: &str) {
        if let Some(ack) = ack {
            self.inflight.settle(ack, reason::of_publish(reason));
        }
    }

    fn oversized(&mut self, what: Oversized) -> Result<Step, &'static str> {
        let ack = self.acknowledgement(what.qos, what.pkid)?.flatten();
        self.settle_denied(ack, "publish_too_large");
        Ok(Step::Oversized)
    }

    /// How a publish is to be acknowledged; `None` for a QoS 2 message that is here already, which
    /// is not handed on twice (MQTT-4.3.3-2).
    fn acknowledgement(
        &mut self,
        qos: QoS,
        pkid: u16,
    ) -> Result<Option<Option<Ack>>, &'static str> {
        match qos {
            QoS::AtMostOnce => Ok(Some(None)),
            QoS::AtLeastOnce => Ok(Some(Some(Ack::Puback(pkid)))),
            QoS::ExactlyOnce if self.inflight.hold(pkid) => {
                if self.inflight.held() > MAX_HELD {
                    return Err("too_many_unreleased_packet_ids");
                }
                Ok(Some(Some(Ack::Pubrec(pkid))))
            }
            QoS::ExactlyOnce => {
                if !self.inflight.awaits_pubrec(pkid) {
                    self.inflight.settle(Ack::Pubrec(pkid), Reason::Success);
                }
                Ok(None)
            }
        }
    }

    fn subscribe(&mut self, subscribe: Subscribe) -> Result<Step, &'static str> {
        if subscribe.pkid == 0 {
            return Err("packet_id_0");
        }
        let mut answer = Subscription {
            pkid: subscribe.pkid,
            codes: Vec::new(),
            granted: Vec::new(),
            retained: Vec::new(),
            replaced: Vec::new(),
            denied: Vec::new(),
        };
        for filter in subscribe.filters {
            // As the topics are that it shall match.
            let path = normalised(&filter.path).into_owned();
            match self.may_have_as(&path, &filter) {
                Ok(()) => self.grant(path, &filter, &mut answer),
                Err(reason) => {
                    answer.denied.push(Denied { reason, topic: path });
                    answer.codes.push(Err(reason::of_subscribe(reason)));
                }
            }
        }
        Ok(Step::Subscribe(answer))
    }

    fn grant(&mut self, path: String, filter: &Filter, answer: &mut Subscription) {
        // QoS 2 is granted as 1 (MQTT-3.8.4-6): a copy may come twice after a break.
        let qos = match filter.qos {
            QoS::AtMostOnce => QoS::AtMostOnce,
            QoS::AtLeastOnce | QoS::ExactlyOnce => QoS::AtLeastOnce,
        };
        let before = self.subscriptions.insert(path.clone(), qos);
        if before.is_some_and(|before| before != qos) {
            answer.replaced.push(path.clone());
        }
        let retained = match filter.retained {
            RetainHandling::Always => true,
            RetainHandling::IfNew => before.is_none(),
            RetainHandling::Never => false,
        };
        if retained {
            answer.retained.push((path.clone(), qos));
        }
        answer.granted.push((path, qos));
        answer.codes.push(Ok(qos));
    }

    fn may_have_as(&self, path: &str, filter: &Filter) -> Result<(), &'static str> {
        self.may_have(path)?;
        // Neither the router nor the queues say whose message a copy is of.
        if filter.no_local { Err("subscribe_without_own_messages") } else { Ok(()) }
    }

    fn may_have(&self, filter: &str) -> Result<(), &'static str> {
        if filter.contains('\0') {
            return Err("subscribe_to_malformed_filter");
        }
        self.gate.subscribe(&self.who, filter)?;
        if self.subscriptions.len() >= MAX_FILTERS && !self.subscriptions.contains_key(filter) {
            return Err("subscribe_to_too_many_filters");
        }
        Ok(())
    }

    /// Always answered, also for what was never subscribed (MQTT-3.10.4-5).
    fn unsubscribe(&mut self, unsubscribe: Unsubscribe) -> Result<Step, &'static str> {
        let Unsubscribe { pkid, filters } = unsubscribe;
        if pkid == 0 {
            return Err("packet_id_0");
        }
        if filters.is_empty() {
            return Err("unsubscribe_from_nothing");
        }
        let (mut had, mut codes) = (Vec::new(), Vec::new());
        for filter in filters {
            let filter = normalised(&filter).into_owned();
            if self.subscriptions.remove(&filter).is_some() {
                had.push(filter);
                codes.push(Reason::Success);
            } else {
                codes.push(Reason::NoSubscription);
            }
        }
        self.writer.unsuback(&mut self.out, pkid, &codes);
        Ok(Step::Unsubscribe(had))
    }
}

#[cfg(test)]
mod tests;
