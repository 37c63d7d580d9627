//! Packets → bytes, as a server writes them, in the version that the client speaks.

use std::num::NonZeroU32;

use bytes::{BufMut, BytesMut};
use rumqttc::mqttbytes::QoS;

use super::packet::{Limits, Version};
use super::properties::Properties;
use super::{
    BESIDE_PAYLOAD, CONNACK, DISCONNECT, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC,
    RECEIVE_MAXIMUM, SUBACK, UNSUBACK,
};
use crate::broker::reason::{Answer, Reason};

/// Writes to one client.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::broker) struct Writer {
    version: Version,
    limits: Limits,
}

/// An answer that is a packet id, and in MQTT 5 perhaps a reason code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::broker) enum AckKind {
    /// PUBACK: a QoS 1 message is stored.
    Stored = PUBACK << 4,
    /// PUBREC: a QoS 2 message is stored.
    Received = PUBREC << 4,
    /// PUBCOMP: a QoS 2 message's packet id is free.
    Complete = PUBCOMP << 4,
}

/// What a client is granted that comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::broker) struct Welcome {
    /// The largest payload that is taken in, in bytes.
    pub(in crate::broker) max_payload: usize,
    /// Whether something was kept from its last connection.
    pub(in crate::broker) session_present: bool,
    /// For how many seconds its session is kept, where that is not what it asked for.
    pub(in crate::broker) expiry_s: Option<u32>,
    /// The client id that was chosen for it, if it had none.
    pub(in crate::broker) assigned_id: Option<String>,
}

impl Welcome {
    /// With nothing kept, nothing assigned, and payloads up to so many bytes.
    pub(in crate::broker) fn new(max_payload: usize) -> Self {
        Self { max_payload, session_present: false, expiry_s: None, assigned_id: None }
    }
}

/// How a PUBLISH goes out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::broker) struct Flags {
    /// Its packet id, for QoS 1; 0: QoS 0.
    pub(in crate::broker) pkid: u16,
    /// It was sent before (MQTT-3.3.1-1).
    pub(in crate::broker) dup: bool,
    /// It was there before the subscription (MQTT-3.3.1-8).
    pub(in crate::broker) retain: bool,
}

/// What a PUBLISH has in MQTT 5 beside its topic and payload.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::broker) struct Extras<'a> {
    /// What its publisher said of it.
    pub(in crate::broker) said: Option<&'a Properties>,
    /// Seconds for which it still means something.
    pub(in crate::broker) expiry_s: Option<u32>,
    /// The identifiers of the subscriptions that it comes by.
    pub(in crate::broker) subscriptions: &'a [NonZeroU32],
}

impl Extras<'_> {
    /// What the server itself adds to the properties.
    fn write(&self, out: &mut BytesMut) {
        if let Some(expiry_s) = self.expiry_s {
            out.put_u8(0x02);
            out.put_u32(expiry_s);
        }
        for id in self.subscriptions {
            out.put_u8(0x0B);
            put_variable(out, usize::try_from(id.get()).unwrap_or(0));
        }
    }
}

impl Writer {
    /// For a client that speaks this version and takes no more than this.
    pub(in crate::broker) fn new(version: Version, limits: Limits) -> Self {
        Self { version, limits }
    }

    /// The version that is spoken.
    pub(in crate::broker) fn version(self) -> Version {
        self.version
    }

    /// How many copies at QoS 1 the client takes unacknowledged.
    pub(in crate::broker) fn receive_maximum(self) -> u16 {
        self.limits.receive_maximum
    }

    /// Writes the CONNACK of a client that may come in.
    pub(in crate::broker) fn welcome(self, out: &mut BytesMut, welcome: &Welcome) {
        let flags = u8::from(welcome.session_present);
        if self.version == Version::V4 {
            return out.put_slice(&[CONNACK << 4, 2, flags, 0]);
        }
        let mut properties = BytesMut::with_capacity(64);
        if let Some(expiry_s) = welcome.expiry_s {
            properties.put_u8(0x11);
            properties.put_u32(expiry_s);
        }
        if let Some(id) = &welcome.assigned_id {
            put_text(&mut properties, 0x12, id);
        }
        properties.put_u8(0x21);
        properties.put_u16(RECEIVE_MAXIMUM);
        properties.put_u8(0x27);
        let packet = welcome.max_payload.saturating_add(BESIDE_PAYLOAD);
        properties.put_u32(u32::try_from(packet).unwrap_or(u32::MAX));
        // No shared subscriptions. What is not said has its default: QoS 2, retained messages,
        // wildcards, subscription identifiers, no topic aliases, the client's own keepalive.
        properties.put_slice(&[0x2A, 0]);
        self.put(out, CONNACK << 4, &[flags, 0], Some(&properties), &[]);
    }

    /// Writes the CONNACK of a client that is turned away; false: there is none for this answer in
    /// its version, the connection is to be closed without a word.
    pub(in crate::broker) fn turn_away(
        self,
        out: &mut BytesMut,
        answer: Answer,
        reason: &str,
    ) -> bool {
        match self.version {
            Version::V4 => {
                let Some(code) = answer.v3() else { return false };
                out.put_slice(&[CONNACK << 4, 2, 0, code]);
            }
            Version::V5 => {
                self.put_said(out, CONNACK << 4, &[0, answer.v5().code()], reason, &[]);
            }
        }
        true
    }

    /// Writes a PUBACK, PUBREC or PUBCOMP.
    pub(in crate::broker) fn ack(self, out: &mut BytesMut, kind: AckKind, pkid: u16, why: Reason) {
        let [high, low] = pkid.to_be_bytes();
        if self.version == Version::V4 || why == Reason::Success {
            out.put_slice(&[kind as u8, 2, high, low]);
        } else {
            out.put_slice(&[kind as u8, 3, high, low, why.code()]);
        }
    }

    /// Writes a SUBACK; `reason`: why one of the filters was refused.
    pub(in crate::broker) fn suback(
        self,
        out: &mut BytesMut,
        pkid: u16,
        codes: &[Result<QoS, Reason>],
        reason: Option<&str>,
    ) {
        let code = |code: &Result<QoS, Reason>| match (code, self.version) {
            (Ok(qos), _) => *qos as u8,
            (Err(_), Version::V4) => 0x80,
            (Err(reason), Version::V5) => reason.code(),
        };
        let codes: Vec<u8> = codes.iter().map(code).collect();
        self.put_answer(out, SUBACK << 4, pkid, reason.unwrap_or_default(), &codes);
    }

    /// Writes an UNSUBACK.
    pub(in crate::broker) fn unsuback(self, out: &mut BytesMut, pkid: u16, codes: &[Reason]) {
        let codes: Vec<u8> = match self.version {
            Version::V4 => Vec::new(),
            Version::V5 => codes.iter().map(|code| code.code()).collect(),
        };
        self.put_answer(out, UNSUBACK << 4, pkid, "", &codes);
    }

    /// Writes a PINGRESP.
    pub(in crate::broker) fn pong(self, out: &mut BytesMut) {
        out.put_slice(&[PINGRESP << 4, 0]);
    }

    /// Writes a PUBLISH. False: the client does not take packets of its size (MQTT-3.1.2-24), and it
    /// is to be treated as if it had been sent (MQTT-3.1.2-25).
    pub(in crate::broker) fn publish(
        self,
        out: &mut BytesMut,
        topic: &[u8],
        payload: &[u8],
        (Flags { pkid, dup, retain }, extras): (Flags, Extras<'_>),
    ) -> bool {
        let confirmed = pkid != 0;
        let id = pkid.to_be_bytes();
        let id = if confirmed { &id[..] } else { &[][..] };
        // A topic that came in fits: its length was two bytes then, too.
        let topic_len = u16::try_from(topic.len()).unwrap_or(0).to_be_bytes();
        let mut added = BytesMut::new();
        let mut len = ([0; 4], 0);
        let mut passed_on = &[][..];
        if self.version == Version::V5 {
            extras.write(&mut added);
            passed_on = extras.said.map_or(&[][..], |said| &said.passed_on);
            len = variable(passed_on.len() + added.len());
        }
        let (len, digits) = (&len.0, len.1);
        let properties_len = len.get(..digits).unwrap_or_default();
        let parts = [&topic_len, topic, id, properties_len, passed_on, &added, payload];
        let remaining: usize = parts.iter().map(|part| part.len()).sum();
        if !self.fits(remaining) {
            return false;
        }
        let bits = u8::from(dup) << 3 | u8::from(confirmed) << 1 | u8::from(retain);
        out.reserve(5 + remaining);
        out.put_u8((PUBLISH << 4) | bits);
        put_variable(out, remaining);
        parts.iter().for_each(|part| out.put_slice(part));
        true
    }

    /// Writes a DISCONNECT with its reason; in MQTT 3.1.1 a server has none.
    pub(in crate::broker) fn goodbye(self, out: &mut BytesMut, why: Reason, reason: &str) {
        if self.version == Version::V5 {
            self.put_said(out, DISCONNECT << 4, &[why.code()], reason, &[]);
        }
    }

    fn fits(self, remaining: usize) -> bool {
        u32::try_from(1 + variable_len(remaining) + remaining)
            .is_ok_and(|n| n <= self.limits.packet)
    }

    /// A packet that begins with a packet id.
    fn put_answer(self, out: &mut BytesMut, first: u8, pkid: u16, reason: &str, rest: &[u8]) {
        let pkid = pkid.to_be_bytes();
        match self.version {
            Version::V4 => self.put(out, first, &pkid, None, rest),
            // MQTT-3.1.2-29: not here, if it was not asked for.
            Version::V5 if reason.is_empty() || !self.limits.problem_info => {
                self.put(out, first, &pkid, Some(&[]), rest);
            }
            Version::V5 => self.put_said(out, first, &pkid, reason, rest),
        }
    }

    /// A packet with a reason in words, as far as the client takes them (MQTT-3.2.2-19 and its like).
    fn put_said(self, out: &mut BytesMut, first: u8, start: &[u8], reason: &str, rest: &[u8]) {
        let mut said = BytesMut::with_capacity(3 + reason.len());
        put_text(&mut said, 0x1F, &reason.replace('_', " "));
        let remaining = start.len() + variable_len(said.len()) + said.len() + rest.len();
        let said = if reason.is_empty() || !self.fits(remaining) { &[][..] } else { &said };
        self.put(out, first, start, Some(said), rest);
    }

    fn put(
        self,
        out: &mut BytesMut,
        first: u8,
        start: &[u8],
        properties: Option<&[u8]>,
        rest: &[u8],
    ) {
        let of_properties = properties.map_or(0, |p| variable_len(p.len()) + p.len());
        out.put_u8(first);
        put_variable(out, start.len() + of_properties + rest.len());
        out.put_slice(start);
        if let Some(properties) = properties {
            put_variable(out, properties.len());
            out.put_slice(properties);
        }
        out.put_slice(rest);
    }
}

/// A property that is a text of ours: never longer than two bytes can say.
fn put_text(out: &mut BytesMut, id: u8, text: &str) {
    let len = u16::try_from(text.len()).unwrap_or(0);
    out.put_u8(id);
    out.put_u16(len);
    out.put_slice(text.get(..usize::from(len)).unwrap_or_default().as_bytes());
}

fn put_variable(out: &mut BytesMut, value: usize) {
    let (digits, len) = variable(value);
    out.put_slice(digits.get(..len).unwrap_or_default());
}

/// A Variable Byte Integer, and how many of these bytes it has.
fn variable(mut value: usize) -> ([u8; 4], usize) {
    let (mut bytes, mut len) = ([0; 4], 0);
    for byte in &mut bytes {
        *byte = u8::try_from(value % 128).unwrap_or(0);
        value /= 128;
        len += 1;
        if value == 0 {
            break;
        }
        *byte |= 0x80;
    }
    (bytes, len)
}

fn variable_len(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}
