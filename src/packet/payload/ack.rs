//! ACK: a message has arrived (firmware `Mesh::createAck`, `BaseChatMesh`).
//!
//! ```text
//! code | attempt | random
//!   4  |   0–1   |  0–1      both since firmware 1.16
//! ```
//!
//! The code is the start of a SHA-256 over the acknowledged message and the sender's key (the
//! firmware's documents call it a CRC). Receivers compare the code only; the random byte makes a
//! repeated ACK another packet to every hash.

use crate::packet::cursor::Cursor;
use crate::packet::error::Undecodable;
use crate::packet::hex::Hex;
use crate::packet::sink::Sink;

use std::fmt;

/// An acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// What is acknowledged.
    pub code: [u8; 4],
    /// The attempt, then a random byte; whatever follows means nothing.
    pub extra: &'a [u8],
}

/// The most bytes of an ACK that mean something.
const MEANT: usize = 6;

impl<'a> Ack<'a> {
    /// Reads the payload.
    ///
    /// # Errors
    /// [`Undecodable::TooShort`] under 4 bytes.
    pub fn parse(cursor: &mut Cursor<'a>) -> Result<Self, Undecodable> {
        Ok(Self { code: *cursor.array()?, extra: cursor.rest() })
    }

    /// The code as a little-endian number: what CoreScope prints as hex.
    pub fn number(&self) -> u32 {
        u32::from_le_bytes(self.code)
    }

    /// Which attempt of the message this acknowledges.
    pub fn attempt(&self) -> Option<u8> {
        self.extra.first().copied()
    }

    /// The random byte.
    pub fn random(&self) -> Option<u8> {
        self.extra.get(1).copied()
    }

    /// How many bytes mean something: 4, 5 or 6.
    pub fn meant_length(&self) -> usize {
        (self.code.len() + self.extra.len()).min(MEANT)
    }

    /// Writes the payload.
    pub fn emit(&self, out: &mut impl Sink) {
        out.field("code", &self.code, format_args!("start of a hash over message and key"));
        let mut cursor = Cursor::new(self.extra);
        if let Ok(attempt) = cursor.u8() {
            out.field("attempt", &[attempt], format_args!("{attempt}"));
        }
        if let Ok(random) = cursor.u8() {
            out.field("random", &[random], format_args!("makes a repeated ACK distinct"));
        }
        super::emit_rest(cursor.rest(), out);
    }
}

impl fmt::Display for Ack<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "code {}", Hex(&self.code))?;
        self.attempt().map_or(Ok(()), |attempt| write!(f, ", attempt {attempt}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_ack_has_a_code_only() {
        let ack = Ack::parse(&mut Cursor::new(&[0xBB, 0x40, 0xBA, 0x70])).unwrap();
        assert_eq!((ack.number(), ack.attempt(), ack.random()), (0x70BA_40BB, None, None));
        assert_eq!(ack.meant_length(), 4);
    }

    #[test]
    fn an_extended_ack_has_attempt_and_random_and_no_more() {
        let ack = Ack::parse(&mut Cursor::new(&[0xAA, 0xBB, 0xCC, 0xDD, 2, 90, 7, 7])).unwrap();
        assert_eq!((ack.attempt(), ack.random(), ack.meant_length()), (Some(2), Some(90), 6));
        assert_eq!(ack.to_string(), "code aabbccdd, attempt 2");
    }

    #[test]
    fn three_bytes_are_too_short() {
        assert!(Ack::parse(&mut Cursor::new(&[1, 2, 3])).is_err());
    }
}
