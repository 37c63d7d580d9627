//! MeshCore packets: bytes to values and back. Pure: no I/O, no clock, no log, no panic.
//!
//! ```text
//! header | transport codes | path length | path | payload
//!   1    |  4, routes 0, 3 |      1      | 0–64 |  0–184
//! ```
//!
//! Every number on the air is little-endian. The layouts are the firmware's (meshcore-dev/MeshCore
//! 1.17.1); each file names the source file that it follows.
//!
//! | to know | read |
//! |---|---|
//! | the header byte, routes, payload types, transport codes | [`header`] |
//! | the path and its length byte | [`path`] |
//! | where the payload begins, and what makes a packet unreadable | [`frame`], [`error`] |
//! | a payload's layout | its file in [`payload`] |
//! | what is inside one that was sealed for a peer | [`inside`] |
//! | when two receptions are one transmission | [`hash`] |
//! | what is odd about a packet | [`anomaly`] |
//! | names, offsets and meanings of all fields, for people | [`sink::Outline`] |
//!
//! # Reading
//!
//! [`Packet::parse`] takes any bytes. It errs when the envelope is broken ([`Error`], with the offset
//! of the offending byte); a payload that is not what its header says is kept as
//! [`Payload::Undecoded`], with its bytes and the reason.
//!
//! ```
//! use meshbox::packet::{Packet, Payload, hex};
//!
//! let bytes = hex::parse("0D04 B891647E BB40BA70").unwrap();
//! let packet = Packet::parse(&bytes).unwrap();
//! assert_eq!(packet.path.hops().last(), Some(&[0x7E][..]));
//! let Payload::Ack(ack) = packet.payload else { panic!("{packet}") };
//! assert_eq!(ack.code, [0xBB, 0x40, 0xBA, 0x70]);
//! assert_eq!(packet.to_bytes(), bytes);
//! ```
//!
//! # Writing
//!
//! [`Packet::to_bytes`] gives back the bytes that were read, and puts together what was built by
//! hand; [`Packet::outline`] gives the same fields with names, offsets and meanings.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod anomaly;
pub mod cursor;
pub mod error;
pub mod frame;
pub mod hash;
pub mod header;
pub mod hex;
pub mod inside;
pub mod path;
pub mod payload;
pub mod sink;

pub use anomaly::Anomaly;
pub use error::{Error, HexError, Undecodable};
pub use frame::{Frame, MAX_PAYLOAD};
pub use header::{Header, PayloadType, Route, TransportCodes};
pub use path::Path;
pub use payload::Payload;
pub use sink::{Outline, Sink};

use sink::Count;
use std::fmt;

/// A packet, read or built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Route, payload type and version.
    pub header: Header,
    /// There on scoped routes ([`Route::has_codes`]), and only there.
    pub transport: Option<TransportCodes>,
    /// Hashes of repeaters, or SNRs in a TRACE.
    pub path: Path<'a>,
    /// What it carries.
    pub payload: Payload<'a>,
}

impl<'a> Packet<'a> {
    /// Reads a packet.
    ///
    /// # Errors
    /// [`Error`]: the envelope is broken. A broken payload is no error.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        Frame::parse(bytes).map(|frame| Self::of(&frame))
    }

    /// Reads a frame's payload.
    pub fn of(frame: &Frame<'a>) -> Self {
        let Frame { header, transport, path, .. } = *frame;
        Self { header, transport, path, payload: Payload::parse(frame) }
    }

    /// Puts a packet together; `transport` makes its route a scoped one.
    ///
    /// ```
    /// use meshbox::packet::{Packet, Path, Payload, payload::Ack};
    /// let ack = Payload::Ack(Ack { code: [1, 2, 3, 4], extra: &[] });
    /// let packet = Packet::flood(None, Path::EMPTY, ack);
    /// assert_eq!(packet.to_bytes(), [0x0D, 0x00, 1, 2, 3, 4]);
    /// ```
    pub fn flood(transport: Option<TransportCodes>, path: Path<'a>, payload: Payload<'a>) -> Self {
        let route = if transport.is_some() { Route::TransportFlood } else { Route::Flood };
        Self::with_route(route, transport, path, payload)
    }

    /// Puts a packet together that goes along its path; `transport` makes its route a scoped one.
    pub fn direct(transport: Option<TransportCodes>, path: Path<'a>, payload: Payload<'a>) -> Self {
        let route = if transport.is_some() { Route::TransportDirect } else { Route::Direct };
        Self::with_route(route, transport, path, payload)
    }

    fn with_route(
        route: Route,
        transport: Option<TransportCodes>,
        path: Path<'a>,
        payload: Payload<'a>,
    ) -> Self {
        let header = Header { route, payload_type: payload.payload_type(), version: 0 };
        Self { header, transport, path, payload }
    }

    /// Writes the packet.
    pub fn emit(&self, out: &mut impl Sink) {
        frame::emit_envelope(self.header, self.transport, &self.path, out);
        out.open("payload", format_args!("{}", self.payload.payload_type()));
        self.payload.emit(out);
        out.close();
    }

    /// The packet as it goes on air.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        self.emit(&mut bytes);
        bytes
    }

    /// The packet's fields with names, offsets and meanings.
    pub fn outline(&self) -> Outline {
        let mut outline = Outline::default();
        self.emit(&mut outline);
        outline
    }

    /// The hops that the packet names: of its route for a TRACE, else of its path.
    pub fn hops(&self) -> Box<dyn Iterator<Item = &'a [u8]> + 'a> {
        match self.payload {
            Payload::Trace(trace) => Box::new(trace.hops()),
            _ if self.path_holds_snrs() => Box::new(std::iter::empty()),
            _ => Box::new(self.path.hops()),
        }
    }

    /// How many bytes the hashes of its hops have; `None` where the packet does not tell: a direct
    /// packet without hops has the path length 0x00 whatever its sender uses.
    pub fn hash_size(&self) -> Option<usize> {
        match self.payload {
            Payload::Trace(trace) => Some(trace.hash_size()),
            _ if self.header.route.is_direct() && self.path.count() == 0 => None,
            _ => Some(usize::from(self.path.size())),
        }
    }

    /// The SNRs in dB that a TRACE has gathered, one a hop done.
    pub fn snrs_db(&self) -> impl Iterator<Item = f32> + use<'a> {
        let bytes = if self.path_holds_snrs() { self.path.bytes() } else { &[] };
        bytes.iter().map(|byte| quarter_db(*byte))
    }

    /// Everything odd about it, the gravest first.
    pub fn anomalies(&self) -> Vec<Anomaly> {
        anomaly::of(self)
    }

    fn path_holds_snrs(&self) -> bool {
        self.header.payload_type == PayloadType::Trace && self.header.version == 0
    }
}

impl fmt::Display for Packet<'_> {
    /// One line: what it carries and how it travels.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hops = Count(self.path.count().into(), "hop");
        write!(f, "{} by {}, {hops}", self.payload, self.header.route)
    }
}

/// A signed byte of quarter decibels, in dB.
fn quarter_db(byte: u8) -> f32 {
    f32::from(i8::from_le_bytes([byte])) / 4.0
}

#[cfg(test)]
mod properties;
