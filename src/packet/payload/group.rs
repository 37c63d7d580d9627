//! GRP_TXT and GRP_DATA: sealed with a channel's key (firmware `Mesh::createGroupDatagram`).
//!
//! ```text
//! channel hash | MAC | ciphertext
//!       1      |  2  |  16 × k
//! ```
//!
//! The channel hash is the first byte of SHA-256 of the channel's key, so several channels share
//! one. What is inside, and how it is opened: [`crate::crypto::channel`]. The least that is read is
//! 3 bytes, as CoreScope does.

use crate::packet::cursor::Cursor;
use crate::packet::error::Undecodable;
use crate::packet::hex::Hex;
use crate::packet::sink::{Count, Sink};

use std::fmt;

/// A payload that the members of a channel can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group<'a> {
    /// First byte of SHA-256 of the channel's key.
    pub channel_hash: u8,
    /// First two bytes of the HMAC over the ciphertext.
    pub mac: [u8; 2],
    /// AES-128-ECB; a multiple of 16 bytes when it is whole.
    pub ciphertext: &'a [u8],
}

/// The bytes before the ciphertext.
const FIXED: usize = 3;

impl<'a> Group<'a> {
    /// Reads the payload.
    ///
    /// # Errors
    /// [`Undecodable::TooShort`] under 3 bytes.
    pub fn parse(cursor: &mut Cursor<'a>) -> Result<Self, Undecodable> {
        super::at_least(FIXED, cursor)?;
        let channel_hash = cursor.u8()?;
        Ok(Self { channel_hash, mac: *cursor.array()?, ciphertext: cursor.rest() })
    }

    /// Writes the payload.
    pub fn emit(&self, out: &mut impl Sink) {
        let hash = self.channel_hash;
        out.field(
            "channel hash",
            &[hash],
            format_args!("a channel whose key hashes to {hash:02X}"),
        );
        super::emit_sealed(&self.mac, self.ciphertext, out);
    }
}

impl fmt::Display for Group<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { channel_hash, mac, ciphertext } = self;
        let sealed = Count(ciphertext.len(), "sealed byte");
        write!(f, "channel {channel_hash:02X}, mac {}, {sealed}", Hex(mac))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_fields_are_found() {
        let group = Group::parse(&mut Cursor::new(&[0xAA, 0xBB, 0xCC, 0xDD, 0xEE])).unwrap();
        let expected = Group { channel_hash: 0xAA, mac: [0xBB, 0xCC], ciphertext: &[0xDD, 0xEE] };
        assert_eq!(group, expected);
        assert_eq!(group.to_string(), "channel AA, mac bbcc, 2 sealed bytes");
    }

    #[test]
    fn two_bytes_are_too_short() {
        assert!(Group::parse(&mut Cursor::new(&[1, 2])).is_err());
    }
}
