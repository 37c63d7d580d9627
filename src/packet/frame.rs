//! The envelope of a packet, its payload unread (firmware `Packet::readFrom`, `Packet::writeTo`).
//!
//! ```text
//! header | transport codes | path length | path | payload
//!   1    |  4, routes 0, 3 |      1      | 0–64 |  0–184
//! ```

use super::cursor::Cursor;
use super::error::Error;
use super::header::{Header, PayloadType, TransportCodes};
use super::path::Path;
use super::sink::Sink;

/// The most bytes a payload has (firmware `MAX_PACKET_PAYLOAD`).
pub const MAX_PAYLOAD: usize = 184;

/// A packet whose payload is still bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Route, payload type and version.
    pub header: Header,
    /// There on scoped routes ([`super::Route::has_codes`]), and only there.
    pub transport: Option<TransportCodes>,
    /// Hashes of repeaters, or SNRs in a TRACE.
    pub path: Path<'a>,
    /// The payload.
    pub body: &'a [u8],
    /// Where the payload starts, counted from the packet's first byte.
    pub body_at: usize,
}

impl<'a> Frame<'a> {
    /// Finds the payload.
    ///
    /// # Errors
    /// [`Error`]: the envelope is broken, and there is no telling where the payload begins.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(bytes);
        let too_short = Error::TooShort { had: bytes.len() };
        if bytes.len() < 2 {
            return Err(too_short);
        }
        let header = Header::from_byte(cursor.u8().map_err(|_| too_short)?);
        let transport = header.route.has_codes().then(|| codes(&mut cursor)).transpose()?;
        let path = Path::parse(&mut cursor)?;
        let body_at = cursor.at();
        let body = cursor.rest();
        if body.len() > MAX_PAYLOAD {
            return Err(Error::PayloadTooLong { bytes: body.len(), at: body_at });
        }
        Ok(Self { header, transport, path, body, body_at })
    }

    /// Whether the path holds SNRs instead of hashes.
    pub fn is_trace(&self) -> bool {
        self.header.payload_type == PayloadType::Trace && self.header.version == 0
    }
}

fn codes(cursor: &mut Cursor<'_>) -> Result<TransportCodes, Error> {
    let missing = Error::TransportCodesMissing { had: cursor.remaining(), at: cursor.at() };
    let codes = Cursor::array::<4>(cursor).map_err(|_| missing)?;
    let [a, b, c, d] = *codes;
    Ok(TransportCodes { scope: u16::from_le_bytes([a, b]), home: u16::from_le_bytes([c, d]) })
}

/// Writes everything before the payload.
pub(super) fn emit_envelope(
    header: Header,
    transport: Option<TransportCodes>,
    path: &Path<'_>,
    out: &mut impl Sink,
) {
    header.emit(out);
    if header.route.has_codes() {
        transport.unwrap_or_default().emit(out);
    }
    if header.payload_type == PayloadType::Trace && header.version == 0 {
        path.emit_as_snrs(out);
    } else {
        path.emit(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Route;

    #[test]
    fn a_flood_with_two_byte_hops_is_taken_apart() {
        let bytes = [0x11, 0x42, 0x7D, 0x1D, 0x1F, 0x5D, 0xAA, 0xBB];
        let frame = Frame::parse(&bytes).unwrap();
        assert_eq!(frame.header.route, Route::Flood);
        assert_eq!(frame.path.hops().collect::<Vec<_>>(), [&[0x7D, 0x1D], &[0x1F, 0x5D]]);
        assert_eq!((frame.body, frame.body_at), (&[0xAA, 0xBB][..], 6));
    }

    #[test]
    fn scoped_routes_have_codes_before_the_path() {
        let frame = Frame::parse(&[0x14, 0xFA, 0x1A, 0, 0, 0, 9]).unwrap();
        assert_eq!(frame.transport, Some(TransportCodes { scope: 0x1AFA, home: 0 }));
        assert_eq!(frame.body, &[9]);
    }

    #[test]
    fn an_empty_payload_is_a_frame() {
        assert_eq!(Frame::parse(&[0x0A, 0x00]).unwrap().body, &[] as &[u8]);
    }

    #[test]
    fn every_error_points_at_its_byte() {
        let long = [&[0x0A, 0x00][..], &[0; 185]].concat();
        for (bytes, name, at) in [
            (&[][..], "packet_too_short", 0),
            (&[0x0A], "packet_too_short", 1),
            (&[0x00, 1, 2, 3], "transport_codes_missing", 4),
            (&[0x00, 1, 2, 3, 4], "path_length_missing", 5),
            (&[0x01, 0xC0, 1], "hash_size_reserved", 1),
            (&[0x01, 0x61, 1], "path_too_long", 1),
            (&[0x01, 0x03, 1], "path_truncated", 3),
            (&long, "payload_too_long", 186),
        ] {
            let error = Frame::parse(bytes).unwrap_err();
            assert_eq!((error.name(), error.at()), (name, at), "{error}");
        }
    }

    #[test]
    fn the_largest_payload_is_taken() {
        let bytes = [&[0x0A, 0x00][..], &[0; 184]].concat();
        assert!(Frame::parse(&bytes).is_ok());
    }
}
