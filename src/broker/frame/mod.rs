//! Bytes ↔ packets of MQTT 3.1.1 and 5, without a socket.
//!
//! The fixed header, which both versions share, is looked at first: a PUBLISH whose payload is over
//! the limit is skipped without being kept, and comes out as [`Oversized`] so that it can be
//! acknowledged in its turn; anything else that is too long, or whose flags are wrong, is an error.
//! The rest is for the codec of the version that the connection speaks: `v4` (by `rumqttc`), `v5`
//! (our own). Both make the same [`Packet`]s, and [`Writer`] writes the answers: nobody else knows
//! versions apart. The buffer holds at most one packet and a read, grows only with what has really
//! arrived, and shrinks back.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod connect;
mod packet;
mod v4;
mod v5;
mod write;

pub(super) use self::packet::{
    Connect, Disconnect, Filter, Limits, Login, Packet, Publish, RetainHandling, SessionWish,
    Subscribe, Unsubscribe, Version, Will,
};
pub(super) use self::write::{AckKind, Flags, Welcome, Writer};

use bytes::buf::Limit;
use bytes::{Buf, BufMut, BytesMut};
use rumqttc::mqttbytes::QoS;

use crate::message::MAX_PAYLOAD;

/// What came in.
#[derive(Debug, PartialEq)]
pub(super) enum Frame {
    /// A packet.
    Packet(Packet),
    /// A PUBLISH that was too large and has been skipped.
    Oversized(Oversized),
}

/// What is known of a PUBLISH that was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Oversized {
    /// How it wants to be acknowledged.
    pub(super) qos: QoS,
    /// Its packet id; 0 for QoS 0.
    pub(super) pkid: u16,
    /// Bytes of its payload.
    pub(super) payload: usize,
}

/// The received bytes that are not yet packets.
#[derive(Debug)]
pub(super) struct Frames {
    buffer: BytesMut,
    version: Version,
    /// Bytes of an oversized PUBLISH that are still to come, and what to say when they have.
    skipping: Option<(usize, Oversized)>,
    chunk: usize,
    /// The largest payload that is taken in, in bytes.
    max_payload: usize,
}

/// The first byte and the length after it (MQTT 3.1.1 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The packet type, 0 to 15.
    pub(super) kind: u8,
    /// The four bits beside it.
    flags: u8,
    /// Bytes of the fixed header.
    pub(super) len: usize,
    /// Bytes that follow it.
    pub(super) remaining: usize,
}

/// The largest packet other than PUBLISH, in bytes after the fixed header.
const MAX_OTHER: usize = 64 * 1024;

/// The smallest and the largest read, in bytes: an idle connection costs the small one.
const CHUNKS: (usize, usize) = (2 * 1024, 64 * 1024);

/// Bytes of a PUBLISH before its payload: a larger one is skipped, whatever its payload.
const MAX_BEFORE_PAYLOAD: usize = 2 * 64 * 1024;

/// What a client of MQTT 5 is told that it may send beside the largest payload, in bytes: any topic
/// that reaches subscribers, and some properties. What is larger and not too large is taken in all the
/// same.
const BESIDE_PAYLOAD: usize = 2 * 1024;

/// How many QoS 1 and 2 messages a client of MQTT 5 is told to have unacknowledged. One of QoS 2 is so
/// until it is released: with more of those a client is closed.
pub(super) const RECEIVE_MAXIMUM: u16 = 1_000;

/// The packet types (MQTT 5 table 2-1); MQTT 3.1.1 has all but the last.
pub(super) const CONNECT: u8 = 1;
const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const PUBREC: u8 = 5;
const PUBREL: u8 = 6;
const PUBCOMP: u8 = 7;
const SUBSCRIBE: u8 = 8;
const SUBACK: u8 = 9;
const UNSUBSCRIBE: u8 = 10;
const UNSUBACK: u8 = 11;
const PINGREQ: u8 = 12;
const PINGRESP: u8 = 13;
const DISCONNECT: u8 = 14;
const AUTH: u8 = 15;

impl Default for Frames {
    fn default() -> Self {
        Self::new(MAX_PAYLOAD)
    }
}

impl Frames {
    /// Takes payloads of so many bytes, and skips larger ones.
    pub(super) fn new(max_payload: usize) -> Self {
        let (buffer, version, chunk) = (BytesMut::new(), Version::V4, CHUNKS.0);
        Self { buffer, version, skipping: None, chunk, max_payload }
    }

    /// Says which version the packets from now on are of.
    pub(super) fn speak(&mut self, version: Version) {
        self.version = version;
    }

    /// The version that is spoken.
    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// Where the next read goes, and how much of it.
    ///
    /// The buffer is not asked to grow by itself: it would double, and keep the room of what was read
    /// long ago for as long as the end of a read is never the end of a packet, which is all through a
    /// burst. And a read that fills whatever room there is asks for more the next time.
    pub(super) fn space(&mut self) -> Limit<&mut BytesMut> {
        if !self.buffer.try_reclaim(self.chunk) {
            let waiting = self.buffer.len();
            // In steps of its own size, so that a large packet in small pieces is not copied for each.
            let mut larger = BytesMut::with_capacity(waiting + self.chunk.max(waiting / 2));
            larger.extend_from_slice(&self.buffer);
            self.buffer = larger;
        }
        (&mut self.buffer).limit(self.chunk)
    }

    /// Says that a read brought `n` bytes: the next one is as large as the traffic wants it.
    pub(super) fn filled(&mut self, n: usize) {
        if n >= self.chunk {
            self.chunk = (self.chunk * 2).min(CHUNKS.1);
        } else if n < self.chunk / 4 {
            self.chunk = (self.chunk / 2).max(CHUNKS.0);
        }
    }

    /// Bytes that the packet which is arriving needs in memory before it is taken in or skipped.
    pub(super) fn wants(&self) -> usize {
        // Of one that will be skipped only what is before the payload has to arrive.
        let most = self.max_payload + MAX_BEFORE_PAYLOAD;
        match self.head() {
            Ok(Some(head)) if !self.is_skipping() => (head.len + head.remaining).min(most),
            _ => 0,
        }
    }

    /// Whether an oversized PUBLISH is being skipped.
    pub(super) fn is_skipping(&self) -> bool {
        self.skipping.is_some()
    }

    /// The next packet, `None` if it has not wholly arrived.
    ///
    /// # Errors
    /// The name of what is wrong; the connection cannot go on (MQTT-4.8.0-1).
    pub(super) fn next(&mut self) -> Result<Option<Frame>, &'static str> {
        if let Some(skipped) = self.skip() {
            return Ok(skipped.map(Frame::Oversized));
        }
        let Some(head) = self.head()? else {
            self.shrink();
            return Ok(None);
        };
        check_flags(head)?;
        if head.kind == PUBLISH {
            if let Some(limit) = self.oversized(head)? {
                return Ok(limit);
            }
        } else if head.remaining > MAX_OTHER {
            return Err("packet_too_large");
        }
        if self.buffer.len() < head.len + head.remaining {
            return Ok(None);
        }
        let whole = self.take(head);
        let packet = match self.version {
            Version::V4 => v4::read(whole),
            Version::V5 => v5::read(whole, head),
        };
        packet.map(|packet| Some(Frame::Packet(packet)))
    }

    /// Takes off and reads a CONNECT that has wholly arrived.
    ///
    /// # Errors
    /// The name of what is wrong.
    pub(super) fn take_connect(&mut self, head: Head) -> Result<Connect, &'static str> {
        let whole = self.take(head);
        connect::read(whole.get(head.len..).unwrap_or_default(), self.version)
    }

    /// The fixed header of the packet that comes next, once it has arrived.
    ///
    /// # Errors
    /// Its length is malformed.
    pub(super) fn head(&self) -> Result<Option<Head>, &'static str> {
        let mut bytes = self.buffer.iter().copied();
        let Some(first) = bytes.next() else { return Ok(None) };
        let (mut remaining, mut len) = (0, 1);
        for byte in bytes.take(4) {
            remaining |= usize::from(byte & 0x7F) << (7 * (len - 1));
            len += 1;
            if byte & 0x80 == 0 {
                return Ok(Some(Head { kind: first >> 4, flags: first & 0x0F, len, remaining }));
            }
        }
        if len == 5 { Err("malformed_length") } else { Ok(None) }
    }

    /// The first byte that waits, and all that has arrived.
    pub(super) fn waiting(&self) -> &[u8] {
        &self.buffer
    }

    /// Takes a packet off without looking at more than its length.
    fn take(&mut self, head: Head) -> BytesMut {
        let whole = (head.len + head.remaining).min(self.buffer.len());
        self.buffer.split_to(whole)
    }

    /// Goes on skipping. The outer `Some` says that a skip is under way; the inner one that it ended.
    fn skip(&mut self) -> Option<Option<Oversized>> {
        let (left, what) = self.skipping?;
        let here = left.min(self.buffer.len());
        self.buffer.advance(here);
        self.skipping = (here < left).then_some((left - here, what));
        self.shrink();
        Some(self.skipping.is_none().then_some(what))
    }

    /// Begins to skip a PUBLISH whose payload is too large. `None`: it is not; `Some(None)`: not
    /// known yet, or not skipped yet.
    fn oversized(&mut self, head: Head) -> Result<Option<Option<Frame>>, &'static str> {
        if head.remaining <= self.max_payload {
            return Ok(None);
        }
        let qos = qos((head.flags >> 1) & 0b11).ok_or("malformed_packet")?;
        let body = self.buffer.get(head.len..).unwrap_or_default();
        let before = match self.version {
            Version::V4 => before_payload(body, qos),
            Version::V5 => v5::before_payload(body, qos)?,
        };
        let Some(before) = before else { return Ok(Some(None)) };
        let payload = head.remaining.checked_sub(before).ok_or("malformed_packet")?;
        if payload <= self.max_payload && before <= MAX_BEFORE_PAYLOAD {
            return Ok(None);
        }
        let pkid = if qos == QoS::AtMostOnce { 0 } else { packet_id(body) };
        if qos != QoS::AtMostOnce && pkid == 0 {
            return Err("packet_id_0");
        }
        let what = Oversized { qos, pkid, payload };
        self.skipping = Some((head.len + head.remaining, what));
        Ok(Some(self.skip().flatten().map(Frame::Oversized)))
    }

    /// What reads bring, as many as it takes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(CHUNKS.0) {
            self.space().put_slice(piece);
        }
    }

    /// Gives a large buffer back once it is empty.
    fn shrink(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() > 2 * self.chunk {
            self.buffer = BytesMut::new();
        }
    }
}

/// Flags are fixed for every packet but PUBLISH, and a wrong one ends the connection (MQTT-2.2.2-2).
fn check_flags(head: Head) -> Result<(), &'static str> {
    let expected = match head.kind {
        PUBLISH => return Ok(()),
        PUBREL | SUBSCRIBE | UNSUBSCRIBE => 0b0010,
        _ => 0,
    };
    if head.flags == expected { Ok(()) } else { Err("malformed_flags") }
}

/// A QoS; three is none.
fn qos(bits: u8) -> Option<QoS> {
    match bits {
        0 => Some(QoS::AtMostOnce),
        1 => Some(QoS::AtLeastOnce),
        2 => Some(QoS::ExactlyOnce),
        _ => None,
    }
}

/// The bytes before an MQTT 3.1.1 PUBLISH's payload, once they have arrived.
fn before_payload(body: &[u8], qos: QoS) -> Option<usize> {
    let (topic_len, _) = body.split_first_chunk()?;
    let id_len = if qos == QoS::AtMostOnce { 0 } else { 2 };
    let before = 2 + usize::from(u16::from_be_bytes(*topic_len)) + id_len;
    (body.len() >= before).then_some(before)
}

/// The packet id of a PUBLISH of QoS 1 or 2, in either version; it has arrived.
fn packet_id(body: &[u8]) -> u16 {
    let id = || {
        let (topic_len, rest) = body.split_first_chunk()?;
        let rest = rest.get(usize::from(u16::from_be_bytes(*topic_len))..)?;
        rest.first_chunk().map(|id| u16::from_be_bytes(*id))
    };
    id().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::mqttbytes::v4::{self, PubAck, Publish, Subscribe};

    fn publish(qos: QoS, pkid: u16, payload: usize) -> Vec<u8> {
        let mut packet = Publish::new("a/b", qos, vec![7; payload]);
        packet.pkid = pkid;
        let mut out = BytesMut::new();
        packet.write(&mut out).unwrap();
        out.to_vec()
    }

    /// Feeds bytes in pieces, and returns the frames and the largest buffer on the way.
    fn feed(bytes: &[u8], piece: usize) -> (Vec<Frame>, usize) {
        let (mut frames, mut seen, mut largest) = (Frames::default(), Vec::new(), 0);
        for chunk in bytes.chunks(piece) {
            frames.push(chunk);
            frames.filled(chunk.len());
            largest = largest.max(frames.buffer.capacity());
            while let Some(frame) = frames.next().unwrap() {
                seen.push(frame);
            }
        }
        (seen, largest)
    }

    #[test]
    fn packets_come_out_whole_however_the_bytes_are_cut() {
        let mut bytes = publish(QoS::AtLeastOnce, 5, 300);
        bytes.extend([0xC0, 0x00]);
        bytes.extend(publish(QoS::AtMostOnce, 0, 0));
        for piece in [1, 2, 3, 7, 100, 10_000] {
            let (seen, _) = feed(&bytes, piece);
            assert_eq!(seen.len(), 3, "in pieces of {piece}");
            assert_eq!(seen[1], Frame::Packet(Packet::PingReq));
        }
    }

    #[test]
    fn an_oversized_publish_is_skipped_without_being_kept() {
        for (qos, pkid) in [(QoS::AtMostOnce, 0), (QoS::AtLeastOnce, 9), (QoS::ExactlyOnce, 10)] {
            let mut bytes = publish(qos, pkid, MAX_PAYLOAD * 8);
            bytes.extend([0xC0, 0x00]);
            let (seen, largest) = feed(&bytes, 5_000);
            let what = Oversized { qos, pkid, payload: MAX_PAYLOAD * 8 };
            assert_eq!(seen, [Frame::Oversized(what), Frame::Packet(Packet::PingReq)]);
            assert!(largest < 100_000, "{largest}");
        }
    }

    #[test]
    fn the_limit_is_the_payloads_not_the_packets() {
        let (seen, _) = feed(&publish(QoS::AtLeastOnce, 1, MAX_PAYLOAD), 60_000);
        assert!(
            matches!(&seen[..], [Frame::Packet(Packet::Publish(p))] if p.payload.len() == MAX_PAYLOAD)
        );
        let (seen, _) = feed(&publish(QoS::AtLeastOnce, 1, MAX_PAYLOAD + 1), 1);
        assert!(matches!(&seen[..], [Frame::Oversized(_)]));
    }

    #[test]
    fn a_promised_length_takes_no_memory() {
        let mut frames = Frames::default();
        frames.push(&[0x30, 0xFF, 0xFF, 0x0F, 0, 3]);
        assert_eq!(frames.next(), Ok(None));
        assert!(frames.buffer.capacity() <= 2 * CHUNKS.0);
    }

    #[test]
    fn the_buffer_shrinks_after_a_large_packet() {
        let mut frames = Frames::default();
        for chunk in publish(QoS::AtMostOnce, 0, MAX_PAYLOAD).chunks(1000) {
            frames.push(chunk);
            frames.filled(chunk.len());
        }
        assert!(matches!(frames.next(), Ok(Some(Frame::Packet(_)))));
        assert_eq!(frames.next(), Ok(None));
        assert!(frames.space().get_ref().capacity() <= 2 * CHUNKS.0);
    }

    #[test]
    fn a_burst_that_never_ends_with_a_packet_does_not_make_the_buffer_grow() {
        let packet = publish(QoS::AtMostOnce, 0, 700);
        let stream = packet.repeat(20_000);
        let (mut frames, mut at, mut seen, mut largest) = (Frames::default(), 0, 0, 0);
        while at < stream.len() {
            // As a socket does it: whatever room there is, it fills.
            let mut space = frames.space();
            let n = space.remaining_mut().min(stream.len() - at);
            space.put_slice(&stream[at..at + n]);
            at += n;
            frames.filled(n);
            largest = largest.max(frames.buffer.capacity());
            // The queue is full for a moment: a look at the room while nearly all still waits.
            let _ = frames.space();
            while frames.next().unwrap().is_some() {
                seen += 1;
                let _ = frames.space();
            }
            largest = largest.max(frames.buffer.capacity());
        }
        assert_eq!(seen, 20_000);
        assert!(largest <= 4 * CHUNKS.1, "{largest}");
    }

    #[test]
    fn what_mqtt_forbids_is_named() {
        let cases: [(&[u8], &str); 8] = [
            (&[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], "malformed_length"),
            (&[0x80, 0x02, 0, 1], "malformed_flags"),
            (&[0x60, 0x02, 0, 1], "malformed_flags"),
            (&[0xC1, 0x00], "malformed_flags"),
            (&[0x82, 0x80, 0x80, 0x08], "packet_too_large"),
            (&[0x36, 0x04, 0, 1, b'a', 0], "malformed_packet"),
            (&[0x36, 0x80, 0x80, 0x40, 0, 1], "malformed_packet"),
            (&[0x30, 0x03, 0, 9, b'a'], "malformed_packet"),
        ];
        for (bytes, expected) in cases {
            let mut frames = Frames::default();
            frames.push(bytes);
            assert_eq!(frames.next(), Err(expected), "{bytes:x?}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for len in [0, 1, 100, 200, 20_000, 200_000] {
            let mut out = BytesMut::new();
            for pkid in [0, 77] {
                let flags = Flags { pkid, dup: pkid == 77, retain: len == 1 };
                let payload = vec![1; len];
                assert!(Writer::default().publish(&mut out, b"meshcore/x", &payload, flags));
                let Ok(v4::Packet::Publish(p)) = v4::Packet::read(&mut out, usize::MAX) else {
                    panic!()
                };
                assert_eq!(
                    (p.topic.as_str(), p.payload.len(), p.retain, p.dup, p.pkid, p.qos as u8),
                    ("meshcore/x", len, len == 1, pkid == 77, pkid, u8::from(pkid == 77))
                );
                assert!(out.is_empty());
            }
        }
    }

    #[test]
    fn other_packets_are_left_to_the_codec() {
        let mut out = BytesMut::new();
        Subscribe::new("a/#", QoS::AtLeastOnce).write(&mut out).unwrap();
        PubAck::new(3).write(&mut out).unwrap();
        let (seen, _) = feed(&out, 4);
        assert!(matches!(
            seen[..],
            [Frame::Packet(Packet::Subscribe(_)), Frame::Packet(Packet::PubAck(_))]
        ));
    }
}
