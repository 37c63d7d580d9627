//! ANON_REQ: a request from a node that the receiver need not know (firmware
//! `Mesh::createAnonDatagram`).
//!
//! ```text
//! dest hash | sender's public key | MAC | ciphertext
//!     1     |         32          |  2  |  16 × k
//! ```
//!
//! The key is the sender's identity, in clear: CoreScope calls it ephemeral, it is not. The least
//! that is read is 35 bytes, as CoreScope does.

use crate::packet::cursor::Cursor;
use crate::packet::error::Undecodable;
use crate::packet::hex::Hex;
use crate::packet::sink::{Count, Sink};

use std::fmt;

/// A request that introduces its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnonRequest<'a> {
    /// First byte of the receiver's public key.
    pub dest: u8,
    /// The sender's Ed25519 public key.
    pub sender_key: &'a [u8; 32],
    /// First two bytes of the HMAC over the ciphertext.
    pub mac: [u8; 2],
    /// AES-128-ECB; a multiple of 16 bytes when it is whole.
    pub ciphertext: &'a [u8],
}

/// The bytes before the ciphertext.
const FIXED: usize = 35;

impl<'a> AnonRequest<'a> {
    /// Reads the payload.
    ///
    /// # Errors
    /// [`Undecodable::TooShort`] under 35 bytes.
    pub fn parse(cursor: &mut Cursor<'a>) -> Result<Self, Undecodable> {
        super::at_least(FIXED, cursor)?;
        let (dest, sender_key) = (cursor.u8()?, cursor.array()?);
        Ok(Self { dest, sender_key, mac: *cursor.array()?, ciphertext: cursor.rest() })
    }

    /// Writes the payload.
    pub fn emit(&self, out: &mut impl Sink) {
        out.field(
            "dest hash",
            &[self.dest],
            format_args!("for a key that starts {:02x}", self.dest),
        );
        out.field("sender key", self.sender_key, format_args!("the sender's public key"));
        super::emit_sealed(&self.mac, self.ciphertext, out);
    }
}

impl fmt::Display for AnonRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, sealed) = (Hex(self.sender_key), Count(self.ciphertext.len(), "sealed byte"));
        write!(f, "{key} to {:02x}, {sealed}", self.dest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_senders_whole_key_is_found() {
        let mut bytes = [7; 40];
        bytes[0] = 0x57;
        let request = AnonRequest::parse(&mut Cursor::new(&bytes)).unwrap();
        assert_eq!((request.dest, request.sender_key), (0x57, &[7; 32]));
        assert_eq!(request.ciphertext.len(), 5);
    }

    #[test]
    fn thirty_four_bytes_are_too_short() {
        let error = AnonRequest::parse(&mut Cursor::starting_at(&[0; 34], 2)).unwrap_err();
        assert_eq!(error, Undecodable::TooShort { needed: 35, had: 34, at: 2 });
    }
}
