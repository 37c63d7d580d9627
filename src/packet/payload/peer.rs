//! REQ, RESPONSE, TXT_MSG and PATH: sealed for one peer (firmware `src/Mesh.cpp`,
//! `Mesh::createDatagram`, `Mesh::createPathReturn`).
//!
//! ```text
//! dest hash | source hash | MAC | ciphertext
//!     1     |      1      |  2  |  16 × k
//! ```
//!
//! The hashes are the first bytes of both public keys, one byte each whatever the path's hash size.
//! The MAC is the start of an HMAC-SHA256 over the ciphertext, the cipher AES-128-ECB
//! ([`crate::crypto`]). The least that is read is 4 bytes, as CoreScope does; the firmware never
//! sends an empty ciphertext.

use crate::packet::cursor::Cursor;
use crate::packet::error::Undecodable;
use crate::packet::hex::Hex;
use crate::packet::sink::{Count, Sink};

use std::fmt;

/// A payload that only its two ends can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer<'a> {
    /// First byte of the receiver's public key.
    pub dest: u8,
    /// First byte of the sender's public key.
    pub source: u8,
    /// First two bytes of the HMAC over the ciphertext.
    pub mac: [u8; 2],
    /// AES-128-ECB; a multiple of 16 bytes when it is whole.
    pub ciphertext: &'a [u8],
}

/// The bytes before the ciphertext.
const FIXED: usize = 4;

impl<'a> Peer<'a> {
    /// Reads the payload.
    ///
    /// # Errors
    /// [`Undecodable::TooShort`] under 4 bytes.
    pub fn parse(cursor: &mut Cursor<'a>) -> Result<Self, Undecodable> {
        super::at_least(FIXED, cursor)?;
        let (dest, source) = (cursor.u8()?, cursor.u8()?);
        Ok(Self { dest, source, mac: *cursor.array()?, ciphertext: cursor.rest() })
    }

    /// Writes the payload.
    pub fn emit(&self, out: &mut impl Sink) {
        out.field(
            "dest hash",
            &[self.dest],
            format_args!("for a key that starts {:02x}", self.dest),
        );
        let source = self.source;
        out.field("source hash", &[source], format_args!("from a key that starts {source:02x}"));
        super::emit_sealed(&self.mac, self.ciphertext, out);
    }
}

impl fmt::Display for Peer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dest, source, mac, ciphertext } = self;
        let sealed = Count(ciphertext.len(), "sealed byte");
        write!(f, "{source:02x} to {dest:02x}, mac {}, {sealed}", Hex(mac))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_fields_are_found() {
        let bytes = [0xD6, 0x9F, 0xD7, 0xA5, 1, 2, 3];
        let peer = Peer::parse(&mut Cursor::new(&bytes)).unwrap();
        let expected = Peer { dest: 0xD6, source: 0x9F, mac: [0xD7, 0xA5], ciphertext: &[1, 2, 3] };
        assert_eq!(peer, expected);
        assert_eq!(peer.to_string(), "9f to d6, mac d7a5, 3 sealed bytes");
    }

    #[test]
    fn three_bytes_are_too_short() {
        let error = Peer::parse(&mut Cursor::starting_at(&[1, 2, 3], 2)).unwrap_err();
        assert_eq!(error, Undecodable::TooShort { needed: 4, had: 3, at: 2 });
    }
}
