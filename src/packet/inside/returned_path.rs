//! The inside of a PATH: how to reach the sender (firmware `Mesh::createPathReturn`).
//!
//! ```text
//! path length | path | extra type | extra
//!      1      | 0–64 |     1      |   n
//! ```
//!
//! The extra saves a packet: type 3 is the ACK, type 1 the RESPONSE for which the path was asked;
//! type 15 means nothing, and four random bytes make the packet distinct. The type's upper four bits
//! are reserved.

use super::response::Response;
use super::without_filling;
use crate::packet::cursor::{Cursor, split};
use crate::packet::path::Path;
use crate::packet::payload::Ack;

/// The way back to the sender of a flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnedPath<'a> {
    /// The repeaters that the flood came through, first hop first.
    pub path: Path<'a>,
    /// What comes with it.
    pub extra: Extra<'a>,
}

/// What comes with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra<'a> {
    /// The ACK of the message that came by flood.
    Ack(Ack<'a>),
    /// The answer to the request that came by flood.
    Response(Response<'a>),
    /// Nothing.
    Nothing {
        /// What makes the packet distinct.
        random: [u8; 4],
    },
}

const ACK: u8 = 3;
const RESPONSE: u8 = 1;
const NOTHING: u8 = 0xFF;

impl<'a> ReturnedPath<'a> {
    pub(super) fn parse(plain: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(plain);
        let path = Path::parse(&mut cursor).ok()?;
        let extra = match cursor.u8().ok()? & 0x0F {
            ACK => Extra::Ack(ack(&mut cursor)?),
            RESPONSE => Extra::Response(Response::parse(cursor.rest())?),
            0x0F => {
                let random = *cursor.array().ok()?;
                let filling = without_filling(cursor.rest());
                filling.is_empty().then_some(Extra::Nothing { random })?
            }
            _ => return None,
        };
        Some(Self { path, extra })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.push(self.path.length_byte());
        out.extend_from_slice(self.path.bytes());
        match &self.extra {
            Extra::Ack(ack) => {
                out.push(ACK);
                ack.emit(out);
            }
            Extra::Response(response) => {
                out.push(RESPONSE);
                response.emit(out);
            }
            Extra::Nothing { random } => {
                out.push(NOTHING);
                out.extend_from_slice(random);
            }
        }
    }
}

/// Four to six bytes, then zeros: an attempt and a random byte of zero cannot be told from filling.
fn ack<'a>(cursor: &mut Cursor<'a>) -> Option<Ack<'a>> {
    let code = *cursor.array().ok()?;
    let (extra, filling) = split(cursor.rest(), 2);
    let extra = without_filling(extra);
    without_filling(filling).is_empty().then_some(Ack { code, extra })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(plain: &[u8]) -> Option<ReturnedPath<'_>> {
        ReturnedPath::parse(plain)
    }

    #[test]
    fn an_ack_comes_with_the_path() {
        let plain = [0x42, 0xAA, 0xBB, 0xCC, 0xDD, 3, 1, 2, 3, 4, 0, 9, 0, 0, 0, 0];
        let returned = parse(&plain).unwrap();
        assert_eq!((returned.path.size(), returned.path.count()), (2, 2));
        let Extra::Ack(ack) = returned.extra else { panic!("{returned:?}") };
        assert_eq!((ack.code, ack.attempt(), ack.random()), ([1, 2, 3, 4], Some(0), Some(9)));
    }

    #[test]
    fn the_reserved_bits_of_the_type_do_not_matter() {
        let plain = [0, 0xF1, 7, 0, 0, 0, 5];
        assert_eq!(parse(&plain).unwrap().extra, Extra::Response(Response { tag: 7, body: &[5] }));
    }

    #[test]
    fn what_no_node_writes_is_no_path() {
        for plain in [
            // A reserved hash size, a path beyond the end, no extra type, an unknown one.
            &[0xC0, 3, 1, 2, 3, 4][..],
            &[0x45, 1, 2, 3],
            &[0x01, 0xAA],
            &[0x00, 2, 1, 2, 3, 4],
            // An ACK that is cut, one that is too long, more than random bytes.
            &[0x00, 3, 1, 2, 3],
            &[0x00, 3, 1, 2, 3, 4, 5, 6, 7],
            &[0x00, 0xFF, 1, 2, 3, 4, 5],
            &[],
        ] {
            assert_eq!(parse(plain), None, "{plain:?}");
        }
    }
}
