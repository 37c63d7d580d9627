//! The payloads that need no key: peers, ACK, TRACE, MULTIPART, CONTROL, RAW_CUSTOM.

use super::own::Own;
use super::{Number, is_empty, is_zero};
use crate::packet::Packet;
use crate::packet::hex::Hex;
use crate::packet::payload;
use crate::packet::payload::control::Subtype;

use serde::{Serialize, Serializer};

/// REQ, RESPONSE, TXT_MSG.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Peer<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    dest_hash: HexByte,
    src_hash: HexByte,
    mac: Hex<'a>,
    #[serde(skip_serializing_if = "is_empty")]
    encrypted_data: Hex<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meshbox: Option<Own<'a>>,
}

impl<'a> Peer<'a> {
    pub(super) fn of(
        kind: &'static str,
        peer: &'a payload::Peer<'a>,
        meshbox: Option<Own<'a>>,
    ) -> Self {
        Self {
            kind,
            dest_hash: HexByte(peer.dest),
            src_hash: HexByte(peer.source),
            mac: Hex(&peer.mac),
            encrypted_data: Hex(peer.ciphertext),
            meshbox,
        }
    }
}

/// PATH: the ciphertext is called `pathData`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Path<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    dest_hash: HexByte,
    src_hash: HexByte,
    mac: Hex<'a>,
    #[serde(skip_serializing_if = "is_empty")]
    path_data: Hex<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meshbox: Option<Own<'a>>,
}

impl<'a> Path<'a> {
    pub(super) fn of(peer: &'a payload::Peer<'a>, meshbox: Option<Own<'a>>) -> Self {
        Self {
            kind: "PATH",
            dest_hash: HexByte(peer.dest),
            src_hash: HexByte(peer.source),
            mac: Hex(&peer.mac),
            path_data: Hex(peer.ciphertext),
            meshbox,
        }
    }
}

/// ANON_REQ.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AnonRequest<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    dest_hash: HexByte,
    mac: Hex<'a>,
    #[serde(skip_serializing_if = "is_empty")]
    encrypted_data: Hex<'a>,
    ephemeral_pub_key: Hex<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meshbox: Option<Own<'a>>,
}

impl<'a> AnonRequest<'a> {
    pub(super) fn of(request: &'a payload::AnonRequest<'a>, meshbox: Option<Own<'a>>) -> Self {
        Self {
            kind: "ANON_REQ",
            dest_hash: HexByte(request.dest),
            mac: Hex(&request.mac),
            encrypted_data: Hex(request.ciphertext),
            ephemeral_pub_key: Hex(request.sender_key),
            meshbox,
        }
    }
}

/// ACK: `extraHash` is the code as a little-endian number, its bytes reversed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ack {
    #[serde(rename = "type")]
    kind: &'static str,
    extra_hash: String,
    ack_len: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    ack_attempt: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ack_rand: Option<u8>,
}

impl Ack {
    pub(super) fn of(ack: &payload::Ack<'_>) -> Self {
        Self {
            kind: "ACK",
            extra_hash: format!("{:08x}", ack.number()),
            ack_len: ack.meant_length(),
            ack_attempt: ack.attempt(),
            ack_rand: ack.random(),
        }
    }
}

/// TRACE.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Trace<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "is_empty")]
    path_data: Hex<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    snr_values: Vec<Number>,
    #[serde(skip_serializing_if = "is_zero")]
    tag: u32,
    #[serde(skip_serializing_if = "is_zero")]
    auth_code: u32,
    trace_flags: u8,
}

impl<'a> Trace<'a> {
    pub(super) fn of(trace: &payload::Trace<'a>, packet: &Packet<'_>) -> Self {
        // A path length with a hash size is none that a TRACE has: its bytes are no SNRs.
        let snrs = packet.snrs_db().map(|db| Number(f64::from(db)));
        let snr_values = if packet.path.size() == 1 { snrs.collect() } else { Vec::new() };
        Self {
            kind: "TRACE",
            path_data: Hex(trace.route),
            snr_values,
            tag: trace.tag,
            auth_code: trace.auth_code,
            trace_flags: trace.flags,
        }
    }
}

/// MULTIPART.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Multipart<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    remaining: u8,
    inner_type: u8,
    inner_type_name: &'static str,
    #[serde(flatten)]
    ack: Option<InnerAck>,
    #[serde(skip_serializing_if = "is_empty")]
    inner_payload: Hex<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InnerAck {
    inner_ack_crc: String,
    inner_ack_len: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    inner_ack_attempt: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inner_ack_rand: Option<u8>,
}

impl<'a> Multipart<'a> {
    pub(super) fn of(part: &payload::Multipart<'a>) -> Self {
        let ack = part.ack();
        Self {
            kind: "MULTIPART",
            remaining: part.remaining,
            inner_type: part.inner_type.nibble(),
            inner_type_name: part.inner_type.name(),
            inner_payload: Hex(if ack.is_some() { &[] } else { part.inner }),
            ack: ack.map(|ack| InnerAck {
                inner_ack_crc: format!("{:08x}", ack.number()),
                inner_ack_len: ack.meant_length(),
                inner_ack_attempt: ack.attempt(),
                inner_ack_rand: ack.random(),
            }),
        }
    }
}

/// CONTROL.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Control<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    raw: Hex<'a>,
    ctrl_flags: HexByte,
    ctrl_zero_hop: bool,
    ctrl_length: usize,
    ctrl_subtype: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ctrl_filter: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ctrl_tag: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ctrl_since: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ctrl_node_type: Option<u8>,
    #[serde(rename = "ctrlSNR", skip_serializing_if = "Option::is_none")]
    ctrl_snr: Option<i8>,
    #[serde(skip_serializing_if = "is_empty")]
    ctrl_pub_key: Hex<'a>,
}

impl Control<'_> {
    /// Serializes at once: `raw` is the emitted payload, which has to live somewhere.
    pub(super) fn of<S: Serializer>(
        control: &payload::Control<'_>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let mut raw = Vec::new();
        control.emit(&mut raw);
        Control::shape(control, &raw).serialize(to)
    }
}

impl<'a> Control<'a> {
    fn shape(control: &payload::Control<'a>, raw: &'a [u8]) -> Self {
        let first = control.first_byte();
        let mut shape = Self {
            kind: "CONTROL",
            raw: Hex(raw),
            ctrl_flags: HexByte(first),
            ctrl_zero_hop: control.is_zero_hop(),
            ctrl_length: raw.len(),
            ctrl_subtype: control.subtype().to_string(),
            ctrl_filter: None,
            ctrl_tag: None,
            ctrl_since: None,
            ctrl_node_type: None,
            ctrl_snr: None,
            ctrl_pub_key: Hex(&[]),
        };
        match *control {
            payload::Control::DiscoverRequest { filter, tag, since, .. } => {
                (shape.ctrl_filter, shape.ctrl_tag) = (Some(filter), Some(tag));
                shape.ctrl_since = since;
            }
            payload::Control::DiscoverResponse { node_type, snr_quarter_db, tag, key } => {
                shape.ctrl_node_type = Some(node_type.nibble());
                (shape.ctrl_snr, shape.ctrl_tag) = (Some(snr_quarter_db), Some(tag));
                shape.ctrl_pub_key = Hex(whole_key(key));
            }
            // One that is cut short still says which type of node answers.
            payload::Control::Other { first, .. } => {
                let response = control.subtype() == Subtype::DiscoverResponse;
                shape.ctrl_node_type = response.then_some(first & 15);
            }
        }
        shape
    }
}

/// CoreScope takes 32 bytes where there are as many, else 8, else none.
fn whole_key(key: &[u8]) -> &[u8] {
    key.get(..32).or(key.get(..8)).unwrap_or_default()
}

/// RAW_CUSTOM.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawCustom<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "is_empty")]
    raw: Hex<'a>,
    raw_length: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_byte_tag: Option<String>,
}

impl<'a> RawCustom<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self {
            kind: "RAW_CUSTOM",
            raw: Hex(bytes),
            raw_length: bytes.len(),
            first_byte_tag: bytes.first().map(|byte| format!("{byte:02X}")),
        }
    }
}

/// One byte as two digits.
struct HexByte(u8);

impl Serialize for HexByte {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Hex(&[self.0]).serialize(to)
    }
}
