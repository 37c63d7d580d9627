//! Why bytes are no packet, or a payload keeps its secret.
//!
//! [`Error`] means that there is no packet at all: the envelope is broken, and where the payload
//! begins cannot be known. [`Undecodable`] means that the envelope is sound and the payload is not:
//! the packet is kept with its bytes.

use super::cursor::Truncated;

/// Why bytes are no packet. The bounds are the firmware's (`Packet::isValidPathLen`,
/// `Packet::readFrom`, `Dispatcher::tryParsePacket`); CoreScope has them since its issue #1211.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not even a header and a path length.
    #[error("a packet has at least 2 bytes, a header and a path length; this one has {had}")]
    TooShort {
        /// How many bytes there are.
        had: usize,
    },
    /// A scoped route without its four bytes of transport codes.
    #[error("the transport codes need 4 bytes at offset {at}, there are {had}")]
    TransportCodesMissing {
        /// How many bytes there are.
        had: usize,
        /// Where the codes start.
        at: usize,
    },
    /// Nothing after the transport codes.
    #[error("the path length is missing at offset {at}, where the packet ends")]
    PathLengthMissing {
        /// Where it should be.
        at: usize,
    },
    /// Size code 3 (four-byte hashes), whatever the count.
    #[error("path length 0x{byte:02X} at offset {at} has the reserved hash size 4")]
    HashSizeReserved {
        /// The path length byte.
        byte: u8,
        /// Where it is.
        at: usize,
    },
    /// More than 64 bytes of path.
    #[error("path length 0x{byte:02X} at offset {at} means {bytes} bytes, a path has at most 64")]
    PathTooLong {
        /// The path length byte.
        byte: u8,
        /// How many bytes it stands for.
        bytes: usize,
        /// Where it is.
        at: usize,
    },
    /// The path does not end within the packet.
    #[error("the path needs {needed} bytes at offset {at}, there are {had}")]
    PathTruncated {
        /// How many bytes the path length stands for.
        needed: usize,
        /// How many there are.
        had: usize,
        /// Where the path starts.
        at: usize,
    },
    /// More than 184 bytes of payload.
    #[error("the payload at offset {at} has {bytes} bytes, a payload has at most 184")]
    PayloadTooLong {
        /// How many bytes it has.
        bytes: usize,
        /// Where it starts.
        at: usize,
    },
}

impl Error {
    /// The error's name in the counters.
    pub fn name(&self) -> &'static str {
        match self {
            Self::TooShort { .. } => "packet_too_short",
            Self::TransportCodesMissing { .. } => "transport_codes_missing",
            Self::PathLengthMissing { .. } => "path_length_missing",
            Self::HashSizeReserved { .. } => "hash_size_reserved",
            Self::PathTooLong { .. } => "path_too_long",
            Self::PathTruncated { .. } => "path_truncated",
            Self::PayloadTooLong { .. } => "payload_too_long",
        }
    }

    /// The offset of the offending byte; the packet's length when a byte is missing at its end.
    pub fn at(&self) -> usize {
        match *self {
            Self::TooShort { had } => had,
            Self::TransportCodesMissing { at, had } | Self::PathTruncated { at, had, .. } => {
                at + had
            }
            Self::PathLengthMissing { at }
            | Self::HashSizeReserved { at, .. }
            | Self::PathTooLong { at, .. } => at,
            // The first byte that is one too many.
            Self::PayloadTooLong { at, .. } => at + super::MAX_PAYLOAD,
        }
    }
}

/// Why a payload is kept as bytes only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// It ends before its fixed part does.
    #[error("the payload at offset {at} has {had} bytes and needs {needed}")]
    TooShort {
        /// The least that a payload of this type has.
        needed: usize,
        /// How many bytes it has.
        had: usize,
        /// Where it starts.
        at: usize,
    },
    /// A payload version other than 0: reserved, and the firmware drops such a packet unread
    /// (`Dispatcher::tryParsePacket`).
    #[error("payload version {0} is reserved, its layout is unknown")]
    Version(u8),
}

impl Undecodable {
    /// The reason's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::TooShort { .. } => "payload_too_short",
            Self::Version(_) => "version_reserved",
        }
    }

    /// The offset of the offending byte: where the payload ends too early, or the header.
    pub fn at(&self) -> usize {
        match *self {
            Self::TooShort { had, at, .. } => at + had,
            Self::Version(_) => 0,
        }
    }
}

impl From<Truncated> for Undecodable {
    fn from(Truncated { needed, had, at }: Truncated) -> Self {
        Self::TooShort { needed, had, at }
    }
}

/// Why text is no hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HexError {
    /// A character that is neither a hex digit nor white space.
    #[error("{found:?} at character {at} is not a hex digit")]
    Digit {
        /// The character.
        found: char,
        /// How many characters are before it.
        at: usize,
    },
    /// Half a byte is left over.
    #[error("{digits} hex digits do not make whole bytes, one is missing at character {at}")]
    Odd {
        /// How many digits there are.
        digits: usize,
        /// How many characters the text has.
        at: usize,
    },
}

impl HexError {
    /// The error's name in the counters.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Digit { .. } => "bad_hex",
            Self::Odd { .. } => "odd_hex",
        }
    }

    /// How many characters are before the offending one.
    pub fn at(&self) -> usize {
        match *self {
            Self::Digit { at, .. } | Self::Odd { at, .. } => at,
        }
    }
}
