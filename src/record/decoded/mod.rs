//! CoreScope's `decoded_json`: the payload as one JSON object, with the keys, types and omissions of
//! July 2026. What we add stands under one key of our own, `meshbox`, and only where a packet of
//! one of our nodes was opened (`own.rs`).
//!
//! Most keys vanish when their value is zero or empty (a channel hash, tag or timestamp of 0 does),
//! some only when there is no value at all: the structs say which. All hex is lower-case, save
//! `channelHashHex` and `firstByteTag`. What differs from CoreScope follows from how the packet is
//! read, not from how it is written here:
//!
//! - a payload of a reserved version is `UNKNOWN` with its bytes, not read as version 0;
//! - app data counts up to its 32nd byte, and not at all when its flags promise more than it holds
//!   (then `flags` stands alone); names are cut between characters;
//! - a channel message opens only with a key of its channel hash, and only as plain text.

mod advert;
mod channel;
mod own;
mod small;

use super::inside::Inside;
use crate::packet::error::Undecodable;
use crate::packet::hex::Hex;
use crate::packet::{Packet, Payload, PayloadType};

use serde::{Serialize, Serializer};

/// A packet's payload, ready to be written as CoreScope writes it.
///
/// ```
/// use meshbox::packet::{Packet, hex};
/// use meshbox::record::{Decoded, Inside};
///
/// let bytes = hex::parse("0D04B891647EBB40BA70").unwrap();
/// let packet = Packet::parse(&bytes).unwrap();
/// let decoded = Decoded { packet: &packet, inside: &Inside::Nothing };
/// assert_eq!(decoded.to_json(), r#"{"type":"ACK","extraHash":"70ba40bb","ackLen":4}"#);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Decoded<'a> {
    /// The packet.
    pub packet: &'a Packet<'a>,
    /// What keys tell about it.
    pub inside: &'a Inside,
}

impl Decoded<'_> {
    /// The JSON, on one line.
    pub fn to_json(&self) -> String {
        // Strings and numbers into memory: there is nothing that could fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Serialize for Decoded<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let name = self.packet.header.payload_type.name();
        match (&self.packet.payload, self.inside) {
            (Payload::Request(peer) | Payload::Response(peer) | Payload::Text(peer), inside) => {
                small::Peer::of(name, peer, own(inside)).serialize(to)
            }
            (Payload::Path(peer), inside) => small::Path::of(peer, own(inside)).serialize(to),
            (Payload::AnonRequest(request), inside) => {
                small::AnonRequest::of(request, own(inside)).serialize(to)
            }
            (Payload::Ack(ack), _) => small::Ack::of(ack).serialize(to),
            (Payload::Trace(trace), _) => small::Trace::of(trace, self.packet).serialize(to),
            (Payload::Multipart(part), _) => small::Multipart::of(part).serialize(to),
            (Payload::Control(control), _) => small::Control::of(control, to),
            (Payload::RawCustom(bytes), _) => small::RawCustom::of(bytes).serialize(to),
            (Payload::Advert(advert), Inside::Signature(valid)) => {
                advert::Advert::of(advert, *valid).serialize(to)
            }
            (Payload::Advert(advert), _) => advert::Advert::of(advert, None).serialize(to),
            (Payload::GroupText(group), Inside::Text(opened)) => {
                channel::text(group, opened).serialize(to)
            }
            (Payload::GroupData(group), Inside::Data(opened)) => {
                channel::data(group, opened).serialize(to)
            }
            (Payload::GroupText(group) | Payload::GroupData(group), _) => {
                channel::sealed(name, group, "no_key").serialize(to)
            }
            (Payload::Reserved(_, bytes), _) => Kept::unknown(bytes).serialize(to),
            (Payload::Undecoded { payload_type, bytes, why }, _) => {
                Kept::undecoded(*payload_type, bytes, why).serialize(to)
            }
        }
    }
}

fn own(inside: &Inside) -> Option<own::Own<'_>> {
    match inside {
        Inside::Unsealed(unsealed) => own::Own::of(unsealed),
        _ => None,
    }
}

/// A payload that is kept as bytes.
#[derive(Serialize)]
struct Kept<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "is_empty")]
    raw: Hex<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

impl<'a> Kept<'a> {
    fn unknown(bytes: &'a [u8]) -> Self {
        Self { kind: "UNKNOWN", raw: Hex(bytes), error: None }
    }

    fn undecoded(payload_type: PayloadType, bytes: &'a [u8], why: &Undecodable) -> Self {
        match why {
            Undecodable::Version(_) => Self::unknown(bytes),
            Undecodable::TooShort { .. } => {
                let advert = payload_type == PayloadType::Advert;
                let error = if advert { "too short for advert" } else { "too short" };
                Self { kind: payload_type.name(), raw: Hex(bytes), error: Some(error) }
            }
        }
    }
}

fn is_empty(hex: &Hex<'_>) -> bool {
    hex.0.is_empty()
}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A number that is written without a fraction when it has none, as Go does.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[expect(clippy::cast_possible_truncation, reason = "whole and small, checked just here")]
        match self.0 {
            whole if whole.fract() == 0.0 && whole.abs() < 1e15 => to.serialize_i64(whole as i64),
            fraction => to.serialize_f64(fraction),
        }
    }
}
