//! Any bytes on a connection to the broker, in pieces, with receipts that come when they like.
//!
//! The first byte of an input says how it is played, the rest is what the client sends.

use bytes::BytesMut;
use meshbox::broker::{MAX_PROPERTIES, Rehearsal, Taken};
use meshbox::message::{MAX_PAYLOAD, Outcome};
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;
use std::collections::{BTreeMap, VecDeque};

/// How an input is played.
#[derive(Clone, Copy)]
struct Play {
    /// Bytes of a read.
    piece: usize,
    /// A CONNECT that is put before what is sent.
    greeting: &'static [u8],
    receipts: Receipts,
    /// A copy is delivered after each read.
    delivers: bool,
}

/// When a message is stored.
#[derive(Clone, Copy, PartialEq)]
enum Receipts {
    AtOnce,
    /// The last one first.
    Backwards,
    /// All but the first, until the end.
    FirstLast,
    /// Every fourth one fails.
    Failing,
}

const CONNECT_4: &[u8] = b"\x10\x0e\0\x04MQTT\x04\x02\0\x3c\0\x02me";
const CONNECT_5: &[u8] = b"\x10\x0f\0\x04MQTT\x05\x02\0\x3c\0\0\x02me";
/// Takes packets of up to 64 bytes, and wants no reasons.
const CONNECT_5_NARROW: &[u8] = b"\x10\x16\0\x04MQTT\x05\x02\0\x3c\x07\x27\0\0\0\x40\x17\0\0\x02me";

/// What holds for all bytes.
pub(crate) fn check(bytes: &[u8]) {
    let Some((how, sent)) = bytes.split_first() else { return };
    let play = Play {
        piece: [1, 7, 100, 100_000][usize::from(how & 3)],
        greeting: [&[][..], CONNECT_4, CONNECT_5, CONNECT_5_NARROW][usize::from(how >> 2 & 3)],
        receipts: [Receipts::AtOnce, Receipts::Backwards, Receipts::FirstLast, Receipts::Failing]
            [usize::from(how >> 4 & 3)],
        delivers: how & 0x40 != 0,
    };
    let mut stage = Stage::default();
    stage.receive(play.greeting, play);
    assert!(play.greeting.is_empty() || stage.rehearsal.is_in(), "a good CONNECT is let in");
    for piece in sent.chunks(play.piece) {
        stage.receive(piece, play);
    }
    stage.finish(play);
}

/// A connection, and what its client has read of it.
#[derive(Default)]
struct Stage {
    rehearsal: Rehearsal,
    seen: usize,
    sent: usize,
    answered: usize,
    copies: usize,
    /// Bytes that they may have taken.
    copied: usize,
    /// What was said of the message that the last one was made of.
    said: Vec<u8>,
    completed: usize,
    welcomed: bool,
    farewell: bool,
    expected: Expected,
}

/// The answers that have yet to come, in the order in which they are due.
#[derive(Default)]
struct Expected {
    pubacks: VecDeque<u16>,
    /// By packet id: messages taken, and PUBRECs. One is enough for a message that was sent again
    /// before its PUBREC.
    pubrecs: BTreeMap<u16, (usize, usize)>,
    /// Those that are due at once.
    others: VecDeque<Taken>,
    speaks_5: bool,
}

impl Stage {
    fn receive(&mut self, piece: &[u8], play: Play) {
        self.sent += piece.len();
        self.rehearsal.receive(piece);
        self.settle(play);
        if play.delivers && self.rehearsal.deliver("meshcore/x", b"a copy") {
            self.copies += 1;
            self.copied += 40 + self.rehearsal.passed_on().len();
            self.said = self.rehearsal.passed_on().to_vec();
        }
        self.settle(play);
    }

    /// Completes what is to be completed now, and reads what comes of it.
    fn settle(&mut self, play: Play) {
        loop {
            let before = (self.rehearsal.open(), self.rehearsal.taken.len());
            self.read();
            let keep = usize::from(play.receipts == Receipts::FirstLast);
            while self.rehearsal.open() > keep {
                let fails = play.receipts == Receipts::Failing && self.completed % 4 == 3;
                let outcome = if fails { Outcome::Failed } else { Outcome::Stored };
                let last = self.rehearsal.open() - 1;
                let nth = if play.receipts == Receipts::Backwards { last } else { keep };
                self.rehearsal.complete(nth, outcome);
                self.completed += 1;
                self.read();
            }
            self.rehearsal.work();
            if before == (self.rehearsal.open(), self.rehearsal.taken.len()) {
                break;
            }
        }
        let most = MAX_PAYLOAD + 128 * 1024 + 100_000 + 5;
        let stuck = self.rehearsal.ended.is_some() || self.rehearsal.open() > 0;
        assert!(stuck || self.rehearsal.buffered() <= most, "a packet and a read are kept");
    }

    /// At the end everything is answered, or the connection is closed.
    fn finish(&mut self, play: Play) {
        let at_once = Play { receipts: Receipts::AtOnce, ..play };
        self.settle(at_once);
        assert!(
            self.answered <= 8 * self.sent + self.copied + 256,
            "{} bytes make {}",
            self.sent,
            self.answered
        );
        if self.rehearsal.ended.is_some() {
            return;
        }
        assert!(self.expected.pubacks.is_empty(), "unacknowledged: {:?}", self.expected.pubacks);
        let unanswered = |(_, answered): &(usize, usize)| *answered == 0;
        assert!(!self.expected.pubrecs.values().any(unanswered), "a QoS 2 message has no PUBREC");
        assert!(self.expected.others.is_empty(), "unanswered: {:?}", self.expected.others);
        assert_eq!(self.copies, 0, "a copy was lost");
    }

    /// Reads what was written as a client would.
    fn read(&mut self) {
        self.expected.speaks_5 = self.rehearsal.speaks_5();
        let new = self.rehearsal.taken[self.seen..].to_vec();
        self.seen = self.rehearsal.taken.len();
        new.into_iter().for_each(|taken| self.expected.take(taken));
        assert!(self.rehearsal.passed_on().len() <= MAX_PROPERTIES);
        if let Some((delay_s, passed_on)) = self.rehearsal.will() {
            let speaks_5 = self.rehearsal.speaks_5();
            assert!(
                speaks_5 || (delay_s, passed_on) == (0, 0),
                "MQTT 3.1.1 says nothing of a will"
            );
            assert!(passed_on <= self.sent, "a will says no more than was sent");
        }
        let mut out = self.rehearsal.written();
        self.answered += out.len();
        assert!(out.len() <= 200_000, "{} bytes are written at once", out.len());
        while !out.is_empty() {
            assert!(!self.farewell, "after the last word");
            let (first, whole) = (out[0], out.clone());
            let said = if self.rehearsal.speaks_5() {
                Said::read_5(&mut out)
            } else {
                Said::read_4(&mut out)
            };
            if matches!(said, Said::Copy) {
                self.compare(&whole[..whole.len() - out.len()]);
            }
            self.hear(said, first);
        }
    }

    /// A copy says byte for byte what its publisher said, and in MQTT 3.1.1 nothing.
    fn compare(&self, copy: &[u8]) {
        let has = |bytes: &[u8]| copy.windows(bytes.len().max(1)).any(|part| part == bytes);
        if self.rehearsal.speaks_5() {
            assert!(self.said.is_empty() || has(&self.said), "what was said was changed");
        } else {
            assert_eq!(copy, b"\x30\x12\0\x0ameshcore/xa copy");
        }
    }

    fn hear(&mut self, said: Said, first: u8) {
        let was_first = !std::mem::replace(&mut self.welcomed, true);
        assert_eq!(
            was_first,
            matches!(said, Said::Welcome(_)),
            "the CONNACK is the first and only"
        );
        match said {
            Said::Welcome(well) => {
                assert_eq!(well, self.rehearsal.is_in());
                self.farewell = !well;
            }
            Said::PubAck(pkid) => assert_eq!(self.expected.pubacks.pop_front(), Some(pkid)),
            Said::PubRec(pkid) => {
                let due = self.expected.pubrecs.get_mut(&pkid);
                let (taken, answered) = due.expect("a PUBREC is for a QoS 2 message");
                *answered += 1;
                assert!(answered <= taken, "more PUBRECs than messages");
            }
            Said::Copy => self.copies -= 1,
            Said::Goodbye => self.farewell = true,
            Said::Answer(answer) => {
                assert_eq!(self.expected.others.pop_front(), Some(answer), "{first:#x}");
            }
        }
    }
}

impl Expected {
    fn take(&mut self, taken: Taken) {
        match taken {
            Taken::Publish(0, _) | Taken::Other => {}
            Taken::Publish(1, pkid) => self.pubacks.push_back(pkid),
            Taken::Publish(_, pkid) => self.pubrecs.entry(pkid).or_default().0 += 1,
            Taken::Handed(topic, payload) => {
                assert!(topic.starts_with("meshcore"), "{topic:?}");
                assert!(!topic.contains(['\0', '+', '#']), "{topic:?}");
                assert!(payload <= MAX_PAYLOAD);
            }
            Taken::Unsubscribe(pkid, _) if !self.speaks_5 => {
                self.others.push_back(Taken::Unsubscribe(pkid, 0));
            }
            answered => self.others.push_back(answered),
        }
    }
}

/// What the broker said.
enum Said {
    /// A CONNACK, and whether it lets the client in.
    Welcome(bool),
    PubAck(u16),
    PubRec(u16),
    /// A PUBLISH.
    Copy,
    /// A DISCONNECT.
    Goodbye,
    /// What answers this.
    Answer(Taken),
}

impl Said {
    fn read_4(out: &mut BytesMut) -> Self {
        match v4::Packet::read(out, usize::MAX).expect("MQTT 3.1.1") {
            v4::Packet::ConnAck(ack) => Self::Welcome(ack.code == v4::ConnectReturnCode::Success),
            v4::Packet::PubAck(ack) => Self::PubAck(ack.pkid),
            v4::Packet::PubRec(ack) => Self::PubRec(ack.pkid),
            v4::Packet::Publish(_) => Self::Copy,
            v4::Packet::PubComp(ack) => Self::Answer(Taken::Release(ack.pkid)),
            v4::Packet::SubAck(ack) => {
                Self::Answer(Taken::Subscribe(ack.pkid, ack.return_codes.len()))
            }
            // MQTT 3.1.1 does not say how many filters it is for.
            v4::Packet::UnsubAck(ack) => Self::Answer(Taken::Unsubscribe(ack.pkid, 0)),
            v4::Packet::PingResp => Self::Answer(Taken::Ping),
            other => panic!("a server does not say {other:?}"),
        }
    }

    fn read_5(out: &mut BytesMut) -> Self {
        match v5::Packet::read(out, None).expect("MQTT 5") {
            v5::Packet::ConnAck(ack) => Self::Welcome(ack.code == v5::ConnectReturnCode::Success),
            v5::Packet::PubAck(ack) => Self::PubAck(ack.pkid),
            v5::Packet::PubRec(ack) => Self::PubRec(ack.pkid),
            v5::Packet::Publish(_) => Self::Copy,
            v5::Packet::PubComp(ack) => Self::Answer(Taken::Release(ack.pkid)),
            v5::Packet::SubAck(ack) => {
                Self::Answer(Taken::Subscribe(ack.pkid, ack.return_codes.len()))
            }
            v5::Packet::UnsubAck(ack) => {
                Self::Answer(Taken::Unsubscribe(ack.pkid, ack.reasons.len()))
            }
            v5::Packet::PingResp(_) => Self::Answer(Taken::Ping),
            v5::Packet::Disconnect(_) => Self::Goodbye,
            other => panic!("a server does not say {other:?}"),
        }
    }
}
