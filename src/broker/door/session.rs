//! The protocol of one admitted connection: frames and completions in, bytes and [`Step`]s out.
//! No socket, no clock, no queue.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{self, Packet, SubAck, SubscribeReasonCode};
use tokio::sync::mpsc;

use super::inflight::{Ack, Inflight, MAX_HELD, emit_ack};
use crate::broker::access;
use crate::broker::frame::{Frame, Oversized};
use crate::broker::identity::Who;
use crate::broker::register::Claims;
use crate::message::{Completion, Receipt};

/// One connection's side of the protocol.
#[derive(Debug)]
pub(super) struct Session {
    generation: u64,
    who: Who,
    claims: Arc<Claims>,
    mailbox: mpsc::UnboundedSender<Completion>,
    inflight: Inflight,
    subscriptions: BTreeSet<String>,
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
    /// A publish was not allowed or not possible: it is acknowledged and otherwise ignored.
    Denied(&'static str),
    /// Subscribe, and then call [`Session::subscribed`].
    Subscribe(Subscription),
    /// Unsubscribe; the answer is written already.
    Unsubscribe(Vec<String>),
    /// The client says goodbye.
    Disconnect,
}

/// A publish that may be handed on.
#[derive(Debug)]
pub(super) struct Publication {
    /// Judged and allowed.
    pub(super) topic: String,
    /// A copy of its own, not a part of the read buffer.
    pub(super) payload: Bytes,
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
    /// The filters that were granted, those included that the connection had before.
    pub(super) granted: Vec<String>,
    /// The names of the refusals.
    pub(super) denied: Vec<&'static str>,
}

/// Filters that one connection may have.
const MAX_FILTERS: usize = 100;

/// While so many bytes wait to be written nothing more is taken in and no copy is delivered.
const OUT_IS_FULL: usize = 64 * 1024;

impl Session {
    /// For a connection whose receipts go to `mailbox`.
    pub(super) fn new(
        generation: u64,
        (who, claims): (Who, Arc<Claims>),
        mailbox: mpsc::UnboundedSender<Completion>,
    ) -> Self {
        Self {
            generation,
            who,
            claims,
            mailbox,
            inflight: Inflight::new(generation),
            subscriptions: BTreeSet::new(),
            out: BytesMut::new(),
        }
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
        for filter in subscription.granted.drain(..) {
            self.subscriptions.remove(&filter);
        }
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
            // Copies go out with QoS 0, so nothing waits for these.
            Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubComp(_) => Ok(Step::Nothing),
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
        let allowed = access::may_publish(&self.who, &publish.topic)
            .and_then(|()| self.claims.may_speak(&mut self.who, &publish.topic));
        if let Err(reason) = allowed {
            ack.into_iter().for_each(|ack| self.inflight.settle(ack));
            return Ok(Step::Denied(reason));
        }
        let receipt = ack.map_or_else(Receipt::none, |ack| {
            let serial = self.inflight.open(ack);
            Receipt::new(self.mailbox.clone(), self.generation, serial)
        });
        Ok(Step::Publish(Publication {
            topic: publish.topic,
            payload: Bytes::copy_from_slice(&publish.payload),
            retain: publish.retain,
            receipt,
        }))
    }

    fn oversized(&mut self, what: Oversized) -> Result<Step, &'static str> {
        if let Some(ack) = self.acknowledgement(what.qos, what.pkid)? {
            ack.into_iter().for_each(|ack| self.inflight.settle(ack));
        }
        Ok(Step::Denied("publish_too_large"))
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
        for filter in subscribe.filters {
            match self.may_have(&filter.path) {
                Ok(()) => {
                    self.subscriptions.insert(filter.path.clone());
                    granted.push(filter.path);
                    codes.push(SubscribeReasonCode::Success(QoS::AtMostOnce));
                }
                Err(reason) => {
                    denied.push(reason);
                    codes.push(SubscribeReasonCode::Failure);
                }
            }
        }
        Ok(Step::Subscribe(Subscription { pkid: subscribe.pkid, codes, granted, denied }))
    }

    fn may_have(&self, filter: &str) -> Result<(), &'static str> {
        if filter.contains('\0') {
            return Err("subscribe_to_malformed_filter");
        }
        access::may_subscribe(&self.who, filter)?;
        if self.subscriptions.len() >= MAX_FILTERS && !self.subscriptions.contains(filter) {
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
        let mut had = unsubscribe.topics;
        had.retain(|filter| self.subscriptions.remove(filter));
        emit_ack(&mut self.out, 0xB0, unsubscribe.pkid);
        Ok(Step::Unsubscribe(had))
    }
}

#[cfg(test)]
mod tests;
