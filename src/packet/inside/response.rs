//! The inside of a RESPONSE (firmware `examples/simple_repeater/MyMesh.cpp`).
//!
//! ```text
//! tag | body
//!  4  |  n
//! ```
//!
//! What the body means depends on the request, which the tag names; after a login the four bytes
//! are the server's clock instead.

use super::without_filling;
use crate::packet::cursor::Cursor;

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// The request's tag, or the server's clock in Unix seconds.
    pub tag: u32,
    /// The answer, without zeros at its end.
    pub body: &'a [u8],
}

impl<'a> Response<'a> {
    pub(super) fn parse(plain: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(plain);
        let tag = cursor.u32().ok()?;
        Some(Self { tag, body: without_filling(cursor.rest()) })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.tag.to_le_bytes());
        out.extend_from_slice(self.body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_a_tag_and_bytes() {
        let response = Response::parse(&[1, 0, 0, 0, 5, 0, 6, 0]).unwrap();
        assert_eq!(response, Response { tag: 1, body: &[5, 0, 6] });
        assert_eq!(Response::parse(&[1, 2, 3]), None);
    }
}
