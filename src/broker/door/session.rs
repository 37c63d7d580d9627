//! The protocol of one admitted connection: frames and completions in, bytes and [`Step`]s out.
//! No socket, no clock, no queue.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::QoS;
use tokio::sync::mpsc;

use super::inflight::{Ack, Inflight, MAX_HELD};
use crate::broker::access;
use crate::broker::frame::{
    AckKind, Copy, Disconnect, Filter, Frame, Oversized, Packet, Publish, RetainHandling,
    Subscribe, Unsubscribe, Writer,
};
use crate::broker::identity::Who;
use crate::broker::reason::{self, Reason};
use crate::message::{Completion, Receipt};

/// One connection's side of the protocol.
#[derive(Debug)]
pub(super) struct Session {
    generation: u64,
    who: Who,
    writer: Writer,
    /// Whether its session outlives the connection.
    keeps: bool,
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
    Disconnect(Disconnect),
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
    pub(super) codes: Vec<Result<QoS, Reason>>,
    /// The filters that were granted, those included that the connection had before.
    pub(super) granted: Vec<String>,
    /// Those of them that want the retained messages.
    pub(super) retained: Vec<String>,
    /// The names of the refusals.
    pub(super) denied: Vec<&'static str>,
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
        mailbox: mpsc::UnboundedSender<Completion>,
    ) -> Self {
        Self {
            generation,
            who,
            writer,
            keeps,
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
        self.writer.suback(&mut self.out, *pkid, codes, denied.first().copied());
    }

    /// Takes back what a SUBSCRIBE was granted, for a reason of this name.
    pub(super) fn refuse(&mut self, subscription: &mut Subscription, reason: &'static str) {
        for filter in subscription.granted.drain(..) {
            self.subscriptions.remove(&filter);
        }
        subscription.retained.clear();
        subscription.denied.push(reason);
        subscription.codes.fill(Err(reason::of_subscribe(reason)));
    }

    /// Writes a copy for the client; false if it takes none of this size.
    pub(super) fn deliver(&mut self, topic: &[u8], payload: &[u8], retain: bool) -> bool {
        let copy = Copy { topic, payload, qos: QoS::AtMostOnce, pkid: 0, retain, dup: false };
        self.writer.publish(&mut self.out, &copy)
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
            // Copies go out with QoS 0, so nothing waits for these.
            Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubComp(_) => Ok(Step::Nothing),
            Packet::Connect => Err("second_connect"),
            Packet::Auth => Err("auth_without_method"),
            Packet::OfServer => Err("packet_that_only_a_server_sends"),
        }
    }

    fn publish(&mut self, publish: Publish) -> Result<Step, &'static str> {
        let Some(ack) = self.acknowledgement(publish.qos, publish.pkid)? else {
            return Ok(Step::Nothing);
        };
        if let Err(reason) = access::may_publish(&self.who, &publish.topic) {
            return Ok(self.deny(ack, reason));
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

    /// Acknowledges a publish in its turn without handing it on.
    fn deny(&mut self, ack: Option<Ack>, reason: &'static str) -> Step {
        if let Some(ack) = ack {
            self.inflight.settle(ack, reason::of_publish(reason));
        }
        Step::Denied(reason)
    }

    fn oversized(&mut self, what: Oversized) -> Result<Step, &'static str> {
        let ack = self.acknowledgement(what.qos, what.pkid)?.flatten();
        Ok(self.deny(ack, "publish_too_large"))
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
            denied: Vec::new(),
        };
        for filter in subscribe.filters {
            match self.may_have(&filter) {
                Ok(()) => {
                    let new = self.subscriptions.insert(filter.path.clone());
                    let retained = match filter.retained {
                        RetainHandling::Always => true,
                        RetainHandling::IfNew => new,
                        RetainHandling::Never => false,
                    };
                    if retained {
                        answer.retained.push(filter.path.clone());
                    }
                    answer.granted.push(filter.path);
                    answer.codes.push(Ok(QoS::AtMostOnce));
                }
                Err(reason) => {
                    answer.denied.push(reason);
                    answer.codes.push(Err(reason::of_subscribe(reason)));
                }
            }
        }
        Ok(Step::Subscribe(answer))
    }

    fn may_have(&self, filter: &Filter) -> Result<(), &'static str> {
        let path = filter.path.as_str();
        if path.contains('\0') {
            return Err("subscribe_to_malformed_filter");
        }
        access::may_subscribe(&self.who, path)?;
        if filter.no_local {
            // The router does not say whose message a copy is of.
            return Err("subscribe_without_own_messages");
        }
        if self.subscriptions.len() >= MAX_FILTERS && !self.subscriptions.contains(path) {
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
            if self.subscriptions.remove(&filter) {
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
