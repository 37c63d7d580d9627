//! The header byte, and the transport codes of scoped routes (firmware `src/Packet.h`).
//!
//! ```text
//!  7 6 | 5 4 3 2 | 1 0
//! -----+---------+------
//!  ver |  type   | route
//! ```

use super::sink::Sink;

use std::fmt;

/// The first byte of every packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Bits 0–1: how the packet travels.
    pub route: Route,
    /// Bits 2–5: what the payload is.
    pub payload_type: PayloadType,
    /// Bits 6–7: the payload's version; 0 is the only one in use.
    pub version: u8,
}

impl Header {
    /// Reads the byte; every value means something.
    pub fn from_byte(byte: u8) -> Self {
        Self {
            route: Route::from_bits(byte),
            payload_type: PayloadType::from_nibble(byte >> 2),
            version: byte >> 6,
        }
    }

    /// The byte.
    pub fn to_byte(self) -> u8 {
        self.version << 6 | self.payload_type.nibble() << 2 | self.route.bits()
    }

    pub(super) fn emit(self, out: &mut impl Sink) {
        out.field("header", &[self.to_byte()], format_args!("{self}"));
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}, version {}", self.payload_type, self.route, self.version)
    }
}

/// How a packet travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// 0: flooded within a region scope; the packet carries [`TransportCodes`].
    TransportFlood,
    /// 1: flooded; each repeater appends its hash to the path.
    Flood,
    /// 2: along the path it carries; each repeater takes its hash off.
    Direct,
    /// 3: along the path, with [`TransportCodes`].
    TransportDirect,
}

impl Route {
    /// Every route, by its number.
    pub const ALL: [Self; 4] =
        [Self::TransportFlood, Self::Flood, Self::Direct, Self::TransportDirect];

    /// The route that the low two bits stand for.
    pub fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::TransportFlood,
            1 => Self::Flood,
            2 => Self::Direct,
            _ => Self::TransportDirect,
        }
    }

    /// 0–3.
    pub fn bits(self) -> u8 {
        match self {
            Self::TransportFlood => 0,
            Self::Flood => 1,
            Self::Direct => 2,
            Self::TransportDirect => 3,
        }
    }

    /// Whether the packet carries [`TransportCodes`].
    pub fn has_codes(self) -> bool {
        matches!(self, Self::TransportFlood | Self::TransportDirect)
    }

    /// Whether the packet follows a path instead of flooding.
    pub fn is_direct(self) -> bool {
        matches!(self, Self::Direct | Self::TransportDirect)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TransportFlood => "TRANSPORT_FLOOD",
            Self::Flood => "FLOOD",
            Self::Direct => "DIRECT",
            Self::TransportDirect => "TRANSPORT_DIRECT",
        })
    }
}

/// What a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PayloadType {
    /// 0 REQ: a request, sealed for a peer.
    Request,
    /// 1 RESPONSE: the answer, sealed for a peer.
    Response,
    /// 2 TXT_MSG: a direct message, sealed for a peer.
    Text,
    /// 3 ACK: an acknowledgement, in clear.
    Ack,
    /// 4 ADVERT: a node presents itself, signed.
    Advert,
    /// 5 GRP_TXT: a channel message, sealed with the channel's key.
    GroupText,
    /// 6 GRP_DATA: channel data, sealed with the channel's key.
    GroupData,
    /// 7 ANON_REQ: a request from a stranger, who sends its key along.
    AnonRequest,
    /// 8 PATH: a path for the way back, sealed for a peer.
    Path,
    /// 9 TRACE: a route to be measured, in clear.
    Trace,
    /// 10 MULTIPART: one of several packets.
    Multipart,
    /// 11 CONTROL: discovery, in clear.
    Control,
    /// 12: reserved.
    Reserved12,
    /// 13: reserved.
    Reserved13,
    /// 14: reserved.
    Reserved14,
    /// 15 RAW_CUSTOM: an application's own bytes.
    RawCustom,
}

impl PayloadType {
    /// Every type, by its number.
    pub const ALL: [Self; 16] = [
        Self::Request,
        Self::Response,
        Self::Text,
        Self::Ack,
        Self::Advert,
        Self::GroupText,
        Self::GroupData,
        Self::AnonRequest,
        Self::Path,
        Self::Trace,
        Self::Multipart,
        Self::Control,
        Self::Reserved12,
        Self::Reserved13,
        Self::Reserved14,
        Self::RawCustom,
    ];

    /// The type that the low four bits stand for.
    pub fn from_nibble(bits: u8) -> Self {
        Self::ALL.get(usize::from(bits & 15)).copied().unwrap_or(Self::RawCustom)
    }

    /// 0–15.
    pub fn nibble(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for PayloadType {
    /// The name as CoreScope writes it: 12–14 are `UNKNOWN`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PayloadType {
    /// The name as CoreScope writes it: 12–14 are `UNKNOWN`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "REQ",
            Self::Response => "RESPONSE",
            Self::Text => "TXT_MSG",
            Self::Ack => "ACK",
            Self::Advert => "ADVERT",
            Self::GroupText => "GRP_TXT",
            Self::GroupData => "GRP_DATA",
            Self::AnonRequest => "ANON_REQ",
            Self::Path => "PATH",
            Self::Trace => "TRACE",
            Self::Multipart => "MULTIPART",
            Self::Control => "CONTROL",
            Self::Reserved12 | Self::Reserved13 | Self::Reserved14 => "UNKNOWN",
            Self::RawCustom => "RAW_CUSTOM",
        }
    }
}

/// Two numbers that scoped routes carry between header and path length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TransportCodes {
    /// Code 1: a keyed hash of the payload that tells the region ([`crate::crypto::scope`]); 0 on a
    /// contact shared with "forward nowhere" (`BaseChatMesh::shareContactZeroHop`), which is no scope.
    pub scope: u16,
    /// Code 2: reserved for the sender's home region, 0 so far.
    pub home: u16,
}

impl TransportCodes {
    pub(super) fn emit(self, out: &mut impl Sink) {
        let Self { scope, home } = self;
        match scope {
            0 => out.field("code 1", &[0, 0], format_args!("no scope: forward nowhere")),
            _ => out.field("code 1", &scope.to_le_bytes(), format_args!("scope 0x{scope:04X}")),
        }
        out.field("code 2", &home.to_le_bytes(), format_args!("0x{home:04X}, reserved"));
    }

    /// Both codes as CoreScope prints them: upper-case hex in the order of the wire.
    pub fn wire_hex(self) -> [String; 2] {
        [self.scope, self.home].map(|code| format!("{:X}", super::hex::Hex(&code.to_le_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_a_header_and_comes_back() {
        for byte in 0..=255 {
            assert_eq!(Header::from_byte(byte).to_byte(), byte);
        }
    }

    #[test]
    fn an_advert_by_flood_is_0x11() {
        let header = Header::from_byte(0x11);
        assert_eq!((header.route, header.payload_type), (Route::Flood, PayloadType::Advert));
        assert_eq!(header.to_string(), "ADVERT by FLOOD, version 0");
    }

    #[test]
    fn codes_print_in_the_order_of_the_wire() {
        let codes = TransportCodes { scope: 0x1AFA, home: 0 };
        assert_eq!(codes.wire_hex(), ["FA1A", "0000"]);
    }
}
