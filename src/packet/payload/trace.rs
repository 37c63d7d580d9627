//! TRACE: a route is walked, and each hop notes how well it heard (firmware `Mesh::createTrace`,
//! `Mesh::onRecvPacket`).
//!
//! ```text
//! payload:  tag | auth code | flags | route          path:  one SNR a hop done, i8 in ¼ dB
//!            4  |     4     |   1   | hops × 2^(flags & 3)
//! ```
//!
//! The hash size is 1, 2, 4 or 8: an exponent, not the path length's `size − 1`. The SNR at place
//! `i` is the one at which hop `i` heard the packet; the last listener's own is not in the packet.
//! A TRACE always goes along its route; one that floods is an anomaly.

use crate::packet::cursor::Cursor;
use crate::packet::error::Undecodable;
use crate::packet::hex::Hex;
use crate::packet::sink::{Count, Sink};

use std::fmt;

/// A route that is being measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace<'a> {
    /// The sender's number for this trace; copies at different hops share it.
    pub tag: u32,
    /// An authentication code, 0 from stock firmware.
    pub auth_code: u32,
    /// Bits 0–1: the exponent of the hash size; the others are unused.
    pub flags: u8,
    /// The hashes of the hops to visit.
    pub route: &'a [u8],
}

/// The bytes before the route.
const FIXED: usize = 9;

impl<'a> Trace<'a> {
    /// Reads the payload.
    ///
    /// # Errors
    /// [`Undecodable::TooShort`] under 9 bytes; the firmware reads them unchecked.
    pub fn parse(cursor: &mut Cursor<'a>) -> Result<Self, Undecodable> {
        super::at_least(FIXED, cursor)?;
        let (tag, auth_code) = (cursor.u32()?, cursor.u32()?);
        Ok(Self { tag, auth_code, flags: cursor.u8()?, route: cursor.rest() })
    }

    /// How many bytes a hop's hash has: 1, 2, 4 or 8.
    pub fn hash_size(&self) -> usize {
        1 << (self.flags & 3)
    }

    /// The hops to visit, in order; bytes that make no whole hash are left out.
    pub fn hops(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        self.route.chunks_exact(self.hash_size())
    }

    /// The bytes of the route that make no whole hash.
    pub fn leftover(&self) -> &'a [u8] {
        self.route.chunks_exact(self.hash_size()).remainder()
    }

    /// Writes the payload.
    pub fn emit(&self, out: &mut impl Sink) {
        let Self { tag, auth_code, flags, .. } = self;
        out.field("tag", &tag.to_le_bytes(), format_args!("{tag}"));
        out.field("auth code", &auth_code.to_le_bytes(), format_args!("{auth_code}"));
        let size = self.hash_size();
        out.field("flags", &[*flags], format_args!("{size}-byte hashes"));
        if !self.route.is_empty() {
            let count = self.hops().len();
            out.open("route", format_args!("{} to visit", Count(count, "hop")));
            for (index, hop) in self.hops().enumerate() {
                out.field("hop", hop, format_args!("{} of {count}", index + 1));
            }
            super::emit_rest(self.leftover(), out);
            out.close();
        }
    }
}

impl fmt::Display for Trace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tag {}, route", self.tag)?;
        self.hops().try_for_each(|hop| write!(f, " {:X}", Hex(hop)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXED_PART: [u8; 8] = [0x11, 0x6A, 0x23, 0xA8, 0, 0, 0, 0];

    fn hops(flags: u8, route: &[u8]) -> (Vec<Vec<u8>>, usize) {
        let bytes = [&FIXED_PART[..], &[flags], route].concat();
        let trace = Trace::parse(&mut Cursor::new(&bytes)).unwrap();
        (trace.hops().map(<[u8]>::to_vec).collect(), trace.leftover().len())
    }

    #[test]
    fn the_flags_hold_an_exponent() {
        let route = [0xC0, 0xDE, 0x10, 0x00, 0xDE, 0xDE, 0x01, 0x02, 0x03];
        assert_eq!(hops(0, &route).0.len(), 9);
        assert_eq!(hops(1, &route).0[1], [0x10, 0x00]);
        assert_eq!(hops(2, &route), (vec![route[..4].to_vec(), route[4..8].to_vec()], 1));
        assert_eq!(hops(3, &route), (vec![route[..8].to_vec()], 1));
        assert_eq!(hops(0xFD, &route), hops(1, &route));
    }

    #[test]
    fn it_prints_its_route() {
        let bytes = [&FIXED_PART[..], &[1, 0xC0, 0xDE, 0x10, 0x00]].concat();
        let trace = Trace::parse(&mut Cursor::new(&bytes)).unwrap();
        assert_eq!(trace.to_string(), "tag 2820893201, route C0DE 1000");
    }

    #[test]
    fn eight_bytes_are_too_short() {
        assert!(Trace::parse(&mut Cursor::new(&FIXED_PART)).is_err());
    }
}
