//! Bytes ↔ packets of MQTT 3.1.1 and 5, without a socket.
//!
//! The fixed header ([`head`]), which both versions share, is looked at first: a PUBLISH whose payload
//! is over the limit is skipped without being kept, and comes out as [`Oversized`] so that it can be
//! acknowledged in its turn; anything else that is too long, or whose flags are wrong, is an error.
//! The rest is for the codec of the version that the connection speaks: `v4` (by `rumqttc`), `v5`
//! (our own). Both make the same [`Packet`]s, and [`Writer`] writes the answers: nobody else knows
//! versions apart. The buffer ([`Frames`]) holds at most one packet and a read, grows only with what
//! has really arrived, and shrinks back.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod connect;
mod frames;
mod head;
mod packet;
mod properties;
#[cfg(test)]
mod tests;
mod v4;
mod v5;
mod write;

pub(super) use self::frames::Frames;
pub(super) use self::packet::{
    Connect, Disconnect, Filter, Limits, Login, Packet, Publish, RetainHandling, SessionWish,
    Subscribe, Unsubscribe, Version, Will,
};
pub use self::properties::MAX_PROPERTIES;
pub(super) use self::properties::Properties;
pub(super) use self::write::{AckKind, Extras, Flags, Welcome, Writer};

use rumqttc::mqttbytes::QoS;

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

/// What a client of MQTT 5 is told that it may send beside the largest payload, in bytes: any topic
/// that reaches subscribers, and the properties that a message may have.
const BESIDE_PAYLOAD: usize = 2 * 1024 + MAX_PROPERTIES;

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

/// A QoS; three is none.
fn qos(bits: u8) -> Option<QoS> {
    match bits {
        0 => Some(QoS::AtMostOnce),
        1 => Some(QoS::AtLeastOnce),
        2 => Some(QoS::ExactlyOnce),
        _ => None,
    }
}
