//! The fixed header, which both versions share (MQTT 3.1.1 §2.2, MQTT 5 §2.1), and what can be known of
//! a PUBLISH before it has wholly arrived.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use rumqttc::mqttbytes::QoS;

use super::{PUBLISH, PUBREL, SUBSCRIBE, UNSUBSCRIBE};

/// The first byte and the length after it (MQTT 3.1.1 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) struct Head {
    /// The packet type, 0 to 15.
    pub(in crate::broker) kind: u8,
    /// The four bits beside it.
    pub(super) flags: u8,
    /// Bytes of the fixed header.
    pub(in crate::broker) len: usize,
    /// Bytes that follow it.
    pub(in crate::broker) remaining: usize,
}

impl Head {
    /// Reads the fixed header at the start of these bytes, once it has arrived.
    ///
    /// # Errors
    /// Its length is malformed.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>, &'static str> {
        let mut bytes = bytes.iter().copied();
        let Some(first) = bytes.next() else { return Ok(None) };
        let (mut remaining, mut len) = (0, 1);
        for byte in bytes.take(4) {
            remaining |= usize::from(byte & 0x7F) << (7 * (len - 1));
            len += 1;
            if byte & 0x80 == 0 {
                return Ok(Some(Self { kind: first >> 4, flags: first & 0x0F, len, remaining }));
            }
        }
        if len == 5 { Err("malformed_length") } else { Ok(None) }
    }

    /// Flags are fixed for every packet but PUBLISH, and a wrong one ends the connection
    /// (MQTT-2.2.2-2).
    pub(super) fn check_flags(self) -> Result<(), &'static str> {
        let expected = match self.kind {
            PUBLISH => return Ok(()),
            PUBREL | SUBSCRIBE | UNSUBSCRIBE => 0b0010,
            _ => 0,
        };
        if self.flags == expected { Ok(()) } else { Err("malformed_flags") }
    }
}

/// The bytes before an MQTT 3.1.1 PUBLISH's payload, once they have arrived.
pub(super) fn before_payload(body: &[u8], qos: QoS) -> Option<usize> {
    let (topic_len, _) = body.split_first_chunk()?;
    let id_len = if qos == QoS::AtMostOnce { 0 } else { 2 };
    let before = 2 + usize::from(u16::from_be_bytes(*topic_len)) + id_len;
    (body.len() >= before).then_some(before)
}

/// The packet id of a PUBLISH of QoS 1 or 2, in either version; it has arrived.
pub(super) fn packet_id(body: &[u8]) -> u16 {
    let id = || {
        let (topic_len, rest) = body.split_first_chunk()?;
        let rest = rest.get(usize::from(u16::from_be_bytes(*topic_len))..)?;
        rest.first_chunk().map(|id| u16::from_be_bytes(*id))
    };
    id().unwrap_or(0)
}
