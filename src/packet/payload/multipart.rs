//! MULTIPART: one of several packets (firmware `Mesh::createMultiAck`).
//!
//! ```text
//! remaining << 4 | inner type | inner payload
//!              1              |     rest
//! ```
//!
//! Only ACKs come in parts so far: the same ACK several times over a direct route, 300 ms apart.

use super::ack::Ack;
use crate::packet::cursor::Cursor;
use crate::packet::error::Undecodable;
use crate::packet::header::PayloadType;
use crate::packet::sink::{Count, Sink};

use std::fmt;

/// One of several packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multipart<'a> {
    /// How many are still to come: 0–15.
    pub remaining: u8,
    /// What is inside.
    pub inner_type: PayloadType,
    /// The payload inside.
    pub inner: &'a [u8],
}

impl<'a> Multipart<'a> {
    /// Reads the payload.
    ///
    /// # Errors
    /// [`Undecodable::TooShort`] when there is none.
    pub fn parse(cursor: &mut Cursor<'a>) -> Result<Self, Undecodable> {
        let first = cursor.u8()?;
        let inner_type = PayloadType::from_nibble(first);
        Ok(Self { remaining: first >> 4, inner_type, inner: cursor.rest() })
    }

    /// The ACK inside, if it is one.
    pub fn ack(&self) -> Option<Ack<'a>> {
        let is_ack = self.inner_type == PayloadType::Ack;
        is_ack.then(|| Ack::parse(&mut Cursor::new(self.inner)).ok()).flatten()
    }

    /// Writes the payload.
    pub fn emit(&self, out: &mut impl Sink) {
        let Self { remaining, inner_type, inner } = self;
        let first = remaining << 4 | inner_type.nibble();
        out.field("part", &[first], format_args!("{inner_type} inside, {remaining} more to come"));
        if let Some(ack) = self.ack() {
            out.open("inner", format_args!("{ack}"));
            ack.emit(out);
            out.close();
        } else if !inner.is_empty() {
            out.field("inner", inner, format_args!("{}", Count(inner.len(), "byte")));
        }
    }
}

impl fmt::Display for Multipart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { remaining, inner_type, inner } = self;
        write!(f, "{inner_type} inside, {remaining} more to come, ")?;
        match self.ack() {
            Some(ack) => ack.fmt(f),
            None => Count(inner.len(), "byte").fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ack_inside_is_found() {
        let part = Multipart::parse(&mut Cursor::new(&[0x33, 0xEF, 0xBE, 0xAD, 0xDE])).unwrap();
        assert_eq!((part.remaining, part.inner_type), (3, PayloadType::Ack));
        assert_eq!(part.ack().unwrap().number(), 0xDEAD_BEEF);
        assert_eq!(part.to_string(), "ACK inside, 3 more to come, code efbeadde");
    }

    #[test]
    fn another_type_or_half_an_ack_stays_bytes() {
        for bytes in [&[0x14, 1, 2, 3, 4][..], &[0x03, 1, 2, 3], &[0x03]] {
            assert_eq!(Multipart::parse(&mut Cursor::new(bytes)).unwrap().ack(), None);
        }
    }

    #[test]
    fn nothing_is_too_short() {
        assert!(Multipart::parse(&mut Cursor::new(&[])).is_err());
    }
}
