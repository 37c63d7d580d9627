//! The protocol of one admitted connection: frames and completions in, bytes and [`Step`]s out.
//! No socket, no clock, no queue.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod publishing;
mod subscribing;
#[cfg(test)]
mod tests;

pub(super) use self::publishing::Publication;
pub(super) use self::subscribing::Subscription;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::sync::mpsc;

use super::inflight::Inflight;
use crate::broker::access::{Denied, Gate};
use crate::broker::frame::{AckKind, Disconnect, Extras, Flags, Frame, Packet, Writer};
use crate::broker::grant::Grant;
use crate::broker::identity::{ObserverKey, Who};
use crate::broker::reason::Reason;
use crate::message::Completion;

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
    /// With what was granted.
    subscriptions: BTreeMap<String, Grant>,
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
    /// A publish was too large, for a reason of this name: it is acknowledged and otherwise ignored.
    TooLarge(&'static str),
    /// Subscribe, and then call [`Session::subscribed`].
    Subscribe(Subscription),
    /// Unsubscribe; the answer is written already.
    Unsubscribe(Vec<String>),
    /// The client has a copy that was sent at QoS 1.
    Acknowledged(u16),
    /// The client says goodbye.
    Disconnect(Disconnect),
}

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

    /// Writes a copy for the client; false if it takes none of this size.
    pub(super) fn deliver(
        &mut self,
        topic: &[u8],
        payload: &[u8],
        how: (Flags, Extras<'_>),
    ) -> bool {
        self.writer.publish(&mut self.out, topic, payload, how)
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
}
