//! The protocol of one admitted connection: frames and completions in, bytes and [`Step`]s out.
//! No socket, no clock, no queue.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{self, Packet, SubAck, SubscribeReasonCode};
use tokio::sync::mpsc;

use super::inflight::{Ack, Inflight, MAX_HELD, emit_ack};
use crate::broker::access::{Denied, Gate, Permit};
use crate::broker::frame::{Frame, Oversized};
use crate::broker::identity::{ObserverKey, Who};
use crate::message::topic::normalised;
use crate::message::{Completion, Receipt};

/// One connection's side of the protocol.
#[derive(Debug)]
pub(super) struct Session {
    generation: u64,
    who: Who,
    gate: Arc<Gate>,
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
    Disconnect,
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
    pub(super) codes: Vec<SubscribeReasonCode>,
    /// The filters that were granted, with the QoS, those included that the connection had before.
    pub(super) granted: Vec<(String, QoS)>,
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
    /// For a connection whose receipts go to `mailbox`.
    pub(super) fn new(
        generation: u64,
        who: Who,
        gate: Arc<Gate>,
        mailbox: mpsc::UnboundedSender<Completion>,
    ) -> Self {
        Self {
            generation,
            who,
            gate,
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
        self.inflight.drain_into(&mut self.out);
        Ok(step)
    }

    /// Takes a completion in.
    ///
    /// # Errors
    /// A message could not be stored: close the connection, and it will be sent again.
    pub(super) fn complete(&mut self, completion: Completion) -> Result<(), &'static str> {
        self.inflight.complete(completion).map_err(|_| "message_not_stored")?;
        self.inflight.drain_into(&mut self.out);
        Ok(())
    }

    /// Answers a SUBSCRIBE.
    pub(super) fn subscribed(&mut self, pkid: u16, codes: Vec<SubscribeReasonCode>) {
        // The only error is a length that cannot be expressed; it was one of the client's own.
        let _ = SubAck::new(pkid, codes).write(&mut self.out);
    }

    /// Takes back what a SUBSCRIBE was granted: there is no room for it.
    pub(super) fn refuse(&mut self, subscription: &mut Subscription) {
        for (filter, _) in subscription.granted.drain(..) {
            self.subscriptions.remove(&filter);
        }
        subscription.replaced.clear();
        subscription.codes.fill(SubscribeReasonCode::Failure);
    }

    fn packet(&mut self, packet: Packet) -> Result<Step, &'static str> {
        match packet {
            Packet::Publish(publish) => self.publish(publish),
            Packet::PubRel(release) => {
                // An unknown one too: the client has lost count, and asks for ever (MQTT-4.3.3-2).
                self.inflight.release(release.pkid);
                emit_ack(&mut self.out, 0x70, release.pkid);
                Ok(Step::Nothing)
            }
            Packet::Subscribe(subscribe) => self.subscribe(subscribe),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(unsubscribe),
            Packet::PingReq => {
                self.out.put_slice(&[0xD0, 0]);
                Ok(Step::Nothing)
            }
            Packet::Disconnect => Ok(Step::Disconnect),
            Packet::PubAck(ack) => Ok(Step::Acknowledged(ack.pkid)),
            // Copies go out with QoS 1 at the most, so nothing waits for these.
            Packet::PubRec(_) | Packet::PubComp(_) => Ok(Step::Nothing),
            Packet::Connect(_) => Err("second_connect"),
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                Err("packet_that_only_a_server_sends")
            }
        }
    }

    fn publish(&mut self, publish: v4::Publish) -> Result<Step, &'static str> {
        if publish.topic.contains('\0') {
            // MQTT-1.5.3-2.
            return Err("nul_in_topic");
        }
        let Some(ack) = self.acknowledgement(publish.qos, publish.pkid)? else {
            return Ok(Step::Nothing);
        };
        let (topic, permit) = match self.gate.publish(&self.who, publish.topic) {
            Ok(allowed) => allowed,
            Err(denied) => {
                ack.into_iter().for_each(|ack| self.inflight.settle(ack));
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

    fn oversized(&mut self, what: Oversized) -> Result<Step, &'static str> {
        if let Some(ack) = self.acknowledgement(what.qos, what.pkid)? {
            ack.into_iter().for_each(|ack| self.inflight.settle(ack));
        }
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
                    self.inflight.settle(Ack::Pubrec(pkid));
                }
                Ok(None)
            }
        }
    }

    fn subscribe(&mut self, subscribe: v4::Subscribe) -> Result<Step, &'static str> {
        if subscribe.pkid == 0 {
            return Err("packet_id_0");
        }
        let (mut codes, mut granted, mut denied) = (Vec::new(), Vec::new(), Vec::new());
        let mut replaced = Vec::new();
        for filter in subscribe.filters {
            // As the topics are that it shall match.
            let path = normalised(&filter.path).into_owned();
            match self.may_have(&path) {
                Ok(()) => {
                    // QoS 2 is granted as 1 (MQTT-3.8.4-6): a copy may come twice after a break.
                    let qos = match filter.qos {
                        QoS::AtMostOnce => QoS::AtMostOnce,
                        QoS::AtLeastOnce | QoS::ExactlyOnce => QoS::AtLeastOnce,
                    };
                    let before = self.subscriptions.insert(path.clone(), qos);
                    if before.is_some_and(|before| before != qos) {
                        replaced.push(path.clone());
                    }
                    granted.push((path, qos));
                    codes.push(SubscribeReasonCode::Success(qos));
                }
                Err(reason) => {
                    denied.push(Denied { reason, topic: path });
                    codes.push(SubscribeReasonCode::Failure);
                }
            }
        }
        let pkid = subscribe.pkid;
        Ok(Step::Subscribe(Subscription { pkid, codes, granted, replaced, denied }))
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
    fn unsubscribe(&mut self, unsubscribe: v4::Unsubscribe) -> Result<Step, &'static str> {
        if unsubscribe.pkid == 0 {
            return Err("packet_id_0");
        }
        if unsubscribe.topics.is_empty() {
            return Err("unsubscribe_from_nothing");
        }
        let normal = |filter: String| normalised(&filter).into_owned();
        let mut had: Vec<String> = unsubscribe.topics.into_iter().map(normal).collect();
        had.retain(|filter| self.subscriptions.remove(filter).is_some());
        emit_ack(&mut self.out, 0xB0, unsubscribe.pkid);
        Ok(Step::Unsubscribe(had))
    }
}

#[cfg(test)]
mod tests;
