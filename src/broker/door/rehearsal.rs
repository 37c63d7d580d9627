//! A connection without socket, clock, queue and router, for whoever wants to ask it a million times:
//! the codecs, the login and the protocol as [`super::serve`] has them, fed by hand.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::sync::mpsc;

use super::session::{Session, Step};
use crate::broker::access::Nearness;
use crate::broker::frame::{
    Connect, Extras, Flags, Frame, Frames, Limits, Packet, Properties, Version, Welcome, Writer,
};
use crate::broker::identity::Who;
use crate::broker::login::{self, Admitted, Refusal};
use crate::broker::reason;
use crate::config::Access;
use crate::message::{Completion, MAX_PAYLOAD, Outcome, Receipt};

/// A rehearsed connection, from loopback, on a listener for the LAN.
pub struct Rehearsal {
    frames: Frames,
    session: Option<Session>,
    inbox: Option<mpsc::UnboundedReceiver<Completion>>,
    receipts: Vec<Receipt>,
    out: BytesMut,
    /// What was said of the message that was handed on last.
    said: Option<Arc<Properties>>,
    will: Option<(u32, usize)>,
    /// The identifier that was given last.
    mark: Option<NonZeroU32>,
    /// It has ended, for a reason of this name.
    pub ended: Option<&'static str>,
    /// What was taken in, in this order.
    pub taken: Vec<Taken>,
}

/// A packet that was taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A PUBLISH: QoS and packet id.
    Publish(u8, u16),
    /// A PUBLISH that was handed on: topic and bytes of payload. Follows the one that it was.
    Handed(String, usize),
    /// A PUBREL.
    Release(u16),
    /// A SUBSCRIBE: packet id and number of filters.
    Subscribe(u16, usize),
    /// An UNSUBSCRIBE: packet id and number of filters.
    Unsubscribe(u16, usize),
    /// A PINGREQ.
    Ping,
    /// Anything else, which is not answered.
    Other,
}

impl Default for Rehearsal {
    fn default() -> Self {
        Self {
            frames: Frames::default(),
            session: None,
            inbox: None,
            receipts: Vec::new(),
            out: BytesMut::new(),
            said: None,
            will: None,
            mark: None,
            ended: None,
            taken: Vec::new(),
        }
    }
}

impl Rehearsal {
    /// Receives bytes and takes in what is there, as far as there is room.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.frames.push(bytes);
        self.frames.filled(bytes.len());
        self.work();
    }

    /// Takes in what is there, as far as there is room.
    pub fn work(&mut self) {
        if self.session.is_none() && self.ended.is_none() {
            self.greet();
        }
        while self.ended.is_none() && self.session.as_ref().is_some_and(Session::has_room) {
            match self.frames.next() {
                Ok(Some(frame)) => self.take_in(frame),
                Ok(None) => break,
                Err(name) => self.end(name),
            }
        }
    }

    /// What goes on, byte for byte, of what was said of the message that was handed on last.
    pub fn passed_on(&self) -> &[u8] {
        self.said.as_ref().map_or(&[], |said| &said.passed_on)
    }

    /// The will of a client that was let in: its delay in seconds, and bytes of what goes on of what it
    /// says of it.
    pub fn will(&self) -> Option<(u32, usize)> {
        self.will
    }

    /// Whether it was let in.
    pub fn is_in(&self) -> bool {
        self.session.is_some()
    }

    /// Whether it speaks MQTT 5.
    pub fn speaks_5(&self) -> bool {
        self.frames.version() == Version::V5
    }

    /// How many messages wait for their receipts.
    pub fn open(&self) -> usize {
        self.receipts.len()
    }

    /// Ends one of the messages that wait, modulo their number.
    pub fn complete(&mut self, nth: usize, outcome: Outcome) {
        let Some(nth) = nth.checked_rem(self.receipts.len()) else { return };
        self.receipts.remove(nth).complete(outcome);
        let (Some(session), Some(inbox)) = (&mut self.session, &mut self.inbox) else { return };
        while let Ok(completion) = inbox.try_recv() {
            if self.ended.is_some() {
                continue;
            }
            if let Err(name) = session.complete(completion) {
                session.goodbye(reason::of_end(name), name);
                self.ended = Some(name);
            }
        }
    }

    /// Writes a copy of the last message that was handed on, or of nothing, for the client, if there is
    /// room for one. Whether it was written.
    pub fn deliver(&mut self, topic: &str, payload: &[u8]) -> bool {
        let expiry_s = self.said.as_ref().and_then(|said| said.left_s(0, 1_000));
        let subscriptions = self.mark.as_slice();
        let extras = Extras { said: self.said.as_deref(), expiry_s, subscriptions };
        let how = (Flags::default(), extras);
        let session = self.session.as_mut().filter(|s| self.ended.is_none() && s.can_deliver());
        session.is_some_and(|session| session.deliver(topic.as_bytes(), payload, how))
    }

    /// Takes what was written.
    pub fn written(&mut self) -> BytesMut {
        let mut out = self.out.split();
        if let Some(session) = &mut self.session {
            out.unsplit(session.out.split());
        }
        out
    }

    /// Bytes of memory for what has arrived and is no packet yet.
    pub fn buffered(&mut self) -> usize {
        self.frames.waiting().len()
    }

    fn greet(&mut self) {
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let judged = match login::read_connect(&mut self.frames) {
            Ok(None) => return,
            Ok(Some(connect)) => judge(connect, peer),
            Err(refusal) => Err(refusal),
        };
        match judged {
            Ok(admitted) => self.welcome(&admitted),
            Err(refusal) => {
                let writer = Writer::new(self.frames.version(), Limits::default());
                if let Some(answer) = refusal.code {
                    writer.turn_away(&mut self.out, answer, refusal.reason);
                }
                self.ended = Some(refusal.reason);
            }
        }
    }

    fn welcome(&mut self, admitted: &Admitted) {
        #[expect(clippy::disallowed_methods, reason = "one completion per receipt")]
        let (mailbox, inbox) = mpsc::unbounded_channel();
        let assigned_id = admitted.client_id.is_empty().then(|| "assigned".to_owned());
        let welcome = Welcome { assigned_id, ..Welcome::new(MAX_PAYLOAD) };
        let writer = admitted.writer();
        writer.welcome(&mut self.out, &welcome);
        self.will = admitted.will.as_ref().map(|will| {
            let passed_on = will.said.as_ref().map_or(0, |said| said.passed_on.len());
            (will.delay_s, passed_on)
        });
        let keeps = admitted.session.expiry_s > 0;
        let (who, gate) = (admitted.who.clone(), Arc::default());
        self.session = Some(Session::new(1, who, (writer, keeps), gate, mailbox));
        self.inbox = Some(inbox);
    }

    fn take_in(&mut self, frame: Frame) {
        self.taken.push(Taken::from(&frame));
        let Some(session) = &mut self.session else { return };
        match session.frame(frame) {
            Ok(Step::Publish(publication)) => {
                let len = publication.payload.len();
                self.said = publication.said;
                self.taken.push(Taken::Handed(publication.topic, len));
                if publication.receipt.is_awaited() {
                    self.receipts.push(publication.receipt);
                }
            }
            Ok(Step::Subscribe(subscription)) => {
                self.mark = subscription.granted.first().and_then(|(_, grant)| grant.id);
                session.subscribed(&subscription);
            }
            Ok(Step::Disconnect(_)) => self.ended = Some("disconnect"),
            Ok(
                Step::Nothing
                | Step::Denied(_)
                | Step::TooLarge(_)
                | Step::Unsubscribe(_)
                | Step::Acknowledged(_),
            ) => {}
            Err(name) => self.end(name),
        }
    }

    fn end(&mut self, name: &'static str) {
        self.ended = Some(name);
        if let Some(session) = &mut self.session {
            session.goodbye(reason::of_end(name), name);
        }
    }
}

/// Without accounts: whoever gives no token is let in by the address.
fn judge(connect: Connect, peer: IpAddr) -> Result<Admitted, Refusal> {
    let from = Nearness::Loopback;
    login::check(&connect)?;
    login::way(connect.login.as_ref(), Access::Lan, from, false)?;
    Ok(Admitted::new(connect, Who::anonymous(peer, from), None))
}

impl From<&Frame> for Taken {
    fn from(frame: &Frame) -> Self {
        match frame {
            Frame::Oversized(what) => Self::Publish(what.qos as u8, what.pkid),
            Frame::Packet(Packet::Publish(p)) => Self::Publish(p.qos as u8, p.pkid),
            Frame::Packet(Packet::PubRel(release)) => Self::Release(release.pkid),
            Frame::Packet(Packet::Subscribe(s)) => Self::Subscribe(s.pkid, s.filters.len()),
            Frame::Packet(Packet::Unsubscribe(u)) => Self::Unsubscribe(u.pkid, u.filters.len()),
            Frame::Packet(Packet::PingReq) => Self::Ping,
            Frame::Packet(_) => Self::Other,
        }
    }
}
