//! CONTROL: nodes find each other (firmware `Mesh::onControlDataRecv`, `MyMesh` of the repeater and
//! sensor examples).
//!
//! ```text
//! DISCOVER_REQ    0x8p | filter | tag | since        p: bit 0 = answer with a key prefix only
//!                  1   |   1    |  4  | 0 or 4       filter: bit n = nodes of advert type n
//! DISCOVER_RESP   0x9t | SNR | tag | public key      t: advert type of the node that answers
//!                  1   |  1  |  4  | 32 or 8         SNR: i8 in ¼ dB, how it heard the request
//! ```
//!
//! With bit 7 of the first byte set it is heard at first hand only: DIRECT with no hops, never
//! forwarded. Other kinds are kept as bytes.

use super::app_data::NodeType;
use crate::packet::cursor::Cursor;
use crate::packet::error::Undecodable;
use crate::packet::hex::Hex;
use crate::packet::sink::{Count, Sink};

use std::fmt;

/// A control packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control<'a> {
    /// Who is there?
    DiscoverRequest {
        /// The low nibble of the first byte; bit 0 asks for key prefixes only.
        low: u8,
        /// Bit n asks nodes of advert type n.
        filter: u8,
        /// Comes back in the answers.
        tag: u32,
        /// Only nodes that changed since then, Unix seconds; absent means 0.
        since: Option<u32>,
        /// What follows; nothing, from stock firmware.
        rest: &'a [u8],
    },
    /// I am.
    DiscoverResponse {
        /// Who answers: repeater, sensor, …
        node_type: NodeType,
        /// The SNR at which the request was heard, in ¼ dB.
        snr_quarter_db: i8,
        /// The tag of the request.
        tag: u32,
        /// The node's public key, 32 bytes, or its first 8.
        key: &'a [u8],
    },
    /// Anything else, or one of those two cut short.
    Other {
        /// The first byte.
        first: u8,
        /// What follows.
        body: &'a [u8],
    },
}

/// What the high nibble of the first byte means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subtype {
    /// 0x8.
    DiscoverRequest,
    /// 0x9.
    DiscoverResponse,
    /// Everything else.
    Unknown,
}

impl<'a> Control<'a> {
    /// Reads the payload.
    ///
    /// # Errors
    /// [`Undecodable::TooShort`] when there is none.
    pub fn parse(cursor: &mut Cursor<'a>) -> Result<Self, Undecodable> {
        let first = cursor.u8()?;
        let mut body = *cursor;
        let known = match Subtype::of(first) {
            Subtype::DiscoverRequest => Self::request(first & 15, &mut body),
            Subtype::DiscoverResponse => Self::response(first & 15, &mut body),
            Subtype::Unknown => None,
        };
        Ok(known.unwrap_or(Self::Other { first, body: cursor.rest() }))
    }

    fn request(low: u8, body: &mut Cursor<'a>) -> Option<Self> {
        let (filter, tag) = (body.u8().ok()?, body.u32().ok()?);
        let since = body.u32().ok();
        Some(Self::DiscoverRequest { low, filter, tag, since, rest: body.rest() })
    }

    fn response(low: u8, body: &mut Cursor<'a>) -> Option<Self> {
        let [snr] = *body.array().ok()?;
        let tag = body.u32().ok()?;
        Some(Self::DiscoverResponse {
            node_type: NodeType::from_nibble(low),
            snr_quarter_db: i8::from_le_bytes([snr]),
            tag,
            key: body.rest(),
        })
    }

    /// The first byte.
    pub fn first_byte(&self) -> u8 {
        match self {
            Self::DiscoverRequest { low, .. } => 0x80 | (low & 15),
            Self::DiscoverResponse { node_type, .. } => 0x90 | node_type.nibble(),
            Self::Other { first, .. } => *first,
        }
    }

    /// What kind of control packet it is, also when it is cut short.
    pub fn subtype(&self) -> Subtype {
        Subtype::of(self.first_byte())
    }

    /// Whether it may only be heard at first hand.
    pub fn is_zero_hop(&self) -> bool {
        self.first_byte() & 0x80 != 0
    }

    /// Writes the payload.
    pub fn emit(&self, out: &mut impl Sink) {
        let first = [self.first_byte()];
        match self {
            Self::DiscoverRequest { low, filter, tag, since, rest } => {
                let prefix = if low & 1 == 1 { ", key prefixes are enough" } else { "" };
                out.field("control", &first, format_args!("DISCOVER_REQ{prefix}"));
                out.field("filter", &[*filter], format_args!("{}", Filter(*filter)));
                out.field("tag", &tag.to_le_bytes(), format_args!("{tag}"));
                if let Some(since) = since {
                    out.field(
                        "since",
                        &since.to_le_bytes(),
                        format_args!("{}", super::utc(*since)),
                    );
                }
                super::emit_rest(rest, out);
            }
            Self::DiscoverResponse { node_type, snr_quarter_db, tag, key } => {
                out.field("control", &first, format_args!("DISCOVER_RESP of a {node_type}"));
                let [snr] = snr_quarter_db.to_le_bytes();
                let db = f32::from(*snr_quarter_db) / 4.0;
                out.field("snr", &[snr], format_args!("{db} dB, how it heard the request"));
                out.field("tag", &tag.to_le_bytes(), format_args!("{tag}"));
                let whole = if key.len() == 32 { "public key" } else { "start of the public key" };
                out.field("key", key, format_args!("{whole}"));
            }
            Self::Other { body, .. } => {
                out.field("control", &first, format_args!("{}", self.subtype()));
                super::emit_rest(body, out);
            }
        }
    }
}

impl Subtype {
    fn of(first: u8) -> Self {
        match first >> 4 {
            0x8 => Self::DiscoverRequest,
            0x9 => Self::DiscoverResponse,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Subtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DiscoverRequest => "DISCOVER_REQ",
            Self::DiscoverResponse => "DISCOVER_RESP",
            Self::Unknown => "UNKNOWN",
        })
    }
}

struct Filter(u8);

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("asks nodes of type")?;
        (0..8)
            .filter(|bit| self.0 >> bit & 1 == 1)
            .try_for_each(|bit| write!(f, " {}", NodeType::from_nibble(bit)))
    }
}

impl fmt::Display for Control<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DiscoverRequest { tag, filter, .. } => {
                write!(f, "DISCOVER_REQ tag {tag}, {}", Filter(*filter))
            }
            Self::DiscoverResponse { node_type, tag, key, .. } => {
                write!(f, "DISCOVER_RESP tag {tag}, {node_type} {}", Hex(key))
            }
            Self::Other { first, body } => {
                write!(f, "{} 0x{first:02X}, {}", self.subtype(), Count(body.len(), "byte"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Control<'_> {
        Control::parse(&mut Cursor::new(bytes)).unwrap()
    }

    #[test]
    fn a_request_has_a_filter_a_tag_and_perhaps_a_date() {
        let whole = [0x80, 0x04, 1, 2, 3, 4, 0xDC, 0xBA, 0x98, 0x76];
        let request = |low, since, rest| Control::DiscoverRequest {
            low,
            filter: 4,
            tag: 67_305_985,
            since,
            rest,
        };
        assert_eq!(parse(&whole), request(0, Some(1_989_720_796), &[]));
        assert_eq!(parse(&[0x81, 0x04, 1, 2, 3, 4, 9]), request(1, None, &[9]));
        let text = parse(&whole).to_string();
        assert_eq!(text, "DISCOVER_REQ tag 67305985, asks nodes of type repeater");
    }

    #[test]
    fn a_response_has_an_snr_and_a_key() {
        let bytes = [0x92, 0xDC, 0x35, 0x33, 0x3E, 0x5B, 1, 2, 3, 4, 5, 6, 7, 8];
        let Control::DiscoverResponse { node_type, snr_quarter_db, tag, key } = parse(&bytes)
        else {
            panic!("{:?}", parse(&bytes));
        };
        assert_eq!((node_type.nibble(), snr_quarter_db, tag), (2, -36, 1_530_802_997));
        assert_eq!(key.len(), 8);
    }

    #[test]
    fn what_is_cut_short_or_unknown_stays_bytes_and_keeps_its_subtype() {
        assert_eq!(parse(&[0x92, 1, 2]), Control::Other { first: 0x92, body: &[1, 2] });
        assert_eq!(parse(&[0x92, 1, 2]).subtype(), Subtype::DiscoverResponse);
        assert_eq!(parse(&[0x41]).subtype(), Subtype::Unknown);
        assert!(!parse(&[0x41]).is_zero_hop());
    }
}
