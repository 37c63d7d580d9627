//! What the router carries for us: the payload with a head before it that only we read, since the
//! router itself must not see what a publisher says of its message (a subscriber of MQTT 3.1.1 would
//! take a task of it down).
//!
//! ```text
//! | flags 1 | author 8 | [ arrival ms 8 | expiry s 4 | bytes 4 | properties ] | payload … |
//! ```
//!
//! The part in brackets is there if the publisher said something. Numbers are big-endian.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::broker::copy::Copy;
use crate::broker::frame::Properties;
use crate::broker::identity::Author;

/// A copy as it comes out of the router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parcel {
    pub(super) payload: Bytes,
    pub(super) retain: bool,
    pub(super) author: Author,
    /// What its publisher said of it, and when it arrived.
    pub(super) said: Option<(Arc<Properties>, i64)>,
}

/// It was published with the retain flag.
const RETAIN: u8 = 0b001;
/// Its publisher said something.
const SAID: u8 = 0b010;
/// It has an interval.
const EXPIRES: u8 = 0b100;

/// Bytes of the head where nothing was said.
const SHORT: usize = 9;

/// Bytes of it where something was, without that.
const LONG: usize = SHORT + 16;

/// Puts the head before the payload.
pub(super) fn seal(copy: &Copy<'_>) -> Bytes {
    let room = copy.said.map_or(SHORT, |said| LONG + said.passed_on.len());
    let mut out = BytesMut::with_capacity(room + copy.payload.len());
    let expiry_s = copy.said.and_then(|said| said.expiry_s);
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    out.put_u8(
        flag(copy.retain, RETAIN)
            | flag(copy.said.is_some(), SAID)
            | flag(expiry_s.is_some(), EXPIRES),
    );
    out.put_u64(copy.author.0);
    if let Some(said) = copy.said {
        out.put_i64(copy.at_ms);
        out.put_u32(expiry_s.unwrap_or(0));
        // Bounded far below that, where it is taken in.
        out.put_u32(u32::try_from(said.passed_on.len()).unwrap_or(0));
        out.put_slice(&said.passed_on);
    }
    out.put_slice(copy.payload);
    out.freeze()
}

/// Takes it off again. The payload is a part of `sealed`, not a copy. `None` for what we have not
/// sealed.
pub(super) fn open(mut sealed: Bytes) -> Option<Parcel> {
    let flags = sealed.try_get_u8().ok()?;
    let (retain, author) = (flags & RETAIN != 0, Author(sealed.try_get_u64().ok()?));
    let mut said = None;
    if flags & SAID != 0 {
        let at_ms = sealed.try_get_i64().ok()?;
        let expiry_s = sealed.try_get_u32().ok()?;
        let len = usize::try_from(sealed.try_get_u32().ok()?).ok()?;
        let passed_on = Box::from(sealed.get(..len)?);
        sealed.advance(len);
        let expiry_s = (flags & EXPIRES != 0).then_some(expiry_s);
        said = Some((Arc::new(Properties { passed_on, expiry_s }), at_ms));
    }
    Some(Parcel { payload: sealed, retain, author, said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_comes_out_as_it_was_and_any_cut_is_noticed() {
        let payload = Bytes::from_static(b"payload");
        let said =
            |bytes: &[u8], expiry_s| Arc::new(Properties { passed_on: Box::from(bytes), expiry_s });
        let author = Author(0x0102_0304_0506_0708);
        for said in [None, Some(said(b"", Some(0))), Some(said(b"\x26\0\x01a\0\x01b", None))] {
            for retain in [true, false] {
                let copy =
                    Copy { said: said.as_ref(), retain, author, ..Copy::ours("t", &payload, -5) };
                let sealed = seal(&copy);
                let head = sealed.len() - payload.len();
                assert_eq!(head == SHORT, said.is_none());
                let parcel = open(sealed.clone()).unwrap();
                let stamped = said.clone().map(|said| (said, -5));
                let expected = Parcel { payload: payload.clone(), retain, author, said: stamped };
                assert_eq!(parcel, expected);
                assert_eq!(parcel.payload.as_ptr(), sealed.slice(head..).as_ptr(), "not copied");
                for cut in 0..head {
                    assert_eq!(open(sealed.slice(..cut)), None, "{cut} bytes");
                }
            }
        }
    }
}
