//! The bytes of a connection that have arrived and are no packets yet.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::buf::Limit;
use bytes::{Buf, BufMut, BytesMut};
use rumqttc::mqttbytes::QoS;

use super::head::{self, Head};
use super::packet::{Connect, Version};
use super::{Frame, Oversized, PUBLISH, connect, qos, v4, v5};
use crate::message::MAX_PAYLOAD;

/// The received bytes that are not yet packets.
#[derive(Debug)]
pub(in crate::broker) struct Frames {
    pub(super) buffer: BytesMut,
    version: Version,
    /// Bytes of an oversized PUBLISH that are still to come, and what to say when they have.
    skipping: Option<(usize, Oversized)>,
    chunk: usize,
    /// The largest payload that is taken in, in bytes.
    max_payload: usize,
}

/// The largest packet other than PUBLISH, in bytes after the fixed header.
const MAX_OTHER: usize = 64 * 1024;

/// The smallest and the largest read, in bytes: an idle connection costs the small one.
pub(super) const CHUNKS: (usize, usize) = (2 * 1024, 64 * 1024);

/// Bytes of a PUBLISH before its payload: a larger one is skipped, whatever its payload.
const MAX_BEFORE_PAYLOAD: usize = 2 * 64 * 1024;

impl Default for Frames {
    fn default() -> Self {
        Self::new(MAX_PAYLOAD)
    }
}

impl Frames {
    /// Takes payloads of so many bytes, and skips larger ones.
    pub(in crate::broker) fn new(max_payload: usize) -> Self {
        let (buffer, version, chunk) = (BytesMut::new(), Version::V4, CHUNKS.0);
        Self { buffer, version, skipping: None, chunk, max_payload }
    }

    /// Says which version the packets from now on are of.
    pub(in crate::broker) fn speak(&mut self, version: Version) {
        self.version = version;
    }

    /// The version that is spoken.
    pub(in crate::broker) fn version(&self) -> Version {
        self.version
    }

    /// Where the next read goes, and how much of it.
    ///
    /// The buffer is not asked to grow by itself: it would double, and keep the room of what was read
    /// long ago for as long as the end of a read is never the end of a packet, which is all through a
    /// burst. And a read that fills whatever room there is asks for more the next time.
    pub(in crate::broker) fn space(&mut self) -> Limit<&mut BytesMut> {
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
    pub(in crate::broker) fn filled(&mut self, n: usize) {
        if n >= self.chunk {
            self.chunk = (self.chunk * 2).min(CHUNKS.1);
        } else if n < self.chunk / 4 {
            self.chunk = (self.chunk / 2).max(CHUNKS.0);
        }
    }

    /// Bytes that the packet which is arriving needs in memory before it is taken in or skipped.
    pub(in crate::broker) fn wants(&self) -> usize {
        // Of one that will be skipped only what is before the payload has to arrive.
        let most = self.max_payload + MAX_BEFORE_PAYLOAD;
        match self.head() {
            Ok(Some(head)) if !self.is_skipping() => (head.len + head.remaining).min(most),
            _ => 0,
        }
    }

    /// Whether an oversized PUBLISH is being skipped.
    pub(in crate::broker) fn is_skipping(&self) -> bool {
        self.skipping.is_some()
    }

    /// The next packet, `None` if it has not wholly arrived.
    ///
    /// # Errors
    /// The name of what is wrong; the connection cannot go on (MQTT-4.8.0-1).
    pub(in crate::broker) fn next(&mut self) -> Result<Option<Frame>, &'static str> {
        if let Some(skipped) = self.skip() {
            return Ok(skipped.map(Frame::Oversized));
        }
        let Some(head) = self.head()? else {
            self.shrink();
            return Ok(None);
        };
        head.check_flags()?;
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
    pub(in crate::broker) fn take_connect(&mut self, head: Head) -> Result<Connect, &'static str> {
        let whole = self.take(head);
        connect::read(whole.get(head.len..).unwrap_or_default(), self.version)
    }

    /// The fixed header of the packet that comes next, once it has arrived.
    ///
    /// # Errors
    /// Its length is malformed.
    pub(in crate::broker) fn head(&self) -> Result<Option<Head>, &'static str> {
        Head::read(&self.buffer)
    }

    /// The first byte that waits, and all that has arrived.
    pub(in crate::broker) fn waiting(&self) -> &[u8] {
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
            Version::V4 => head::before_payload(body, qos),
            Version::V5 => v5::before_payload(body, qos)?,
        };
        let Some(before) = before else { return Ok(Some(None)) };
        let payload = head.remaining.checked_sub(before).ok_or("malformed_packet")?;
        if payload <= self.max_payload && before <= MAX_BEFORE_PAYLOAD {
            return Ok(None);
        }
        let pkid = if qos == QoS::AtMostOnce { 0 } else { head::packet_id(body) };
        if qos != QoS::AtMostOnce && pkid == 0 {
            return Err("packet_id_0");
        }
        let what = Oversized { qos, pkid, payload };
        self.skipping = Some((head.len + head.remaining, what));
        Ok(Some(self.skip().flatten().map(Frame::Oversized)))
    }

    /// What reads bring, as many as it takes.
    pub(in crate::broker) fn push(&mut self, bytes: &[u8]) {
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
