//! Payloads: one file a type, each in the same order: layout and firmware source, struct, parse,
//! emit, Display, tests.
//!
//! To add a type: a file here, a variant of [`Payload`], its lines in [`Payload::parse`] and
//! [`Payload::emit`], its JSON in `record::decoded`, a fixture.

pub mod ack;
pub mod advert;
pub mod anon_request;
pub mod app_data;
pub mod control;
pub mod group;
pub mod multipart;
pub mod name;
pub mod peer;
pub mod trace;

pub use ack::Ack;
pub use advert::Advert;
pub use anon_request::AnonRequest;
pub use app_data::AppData;
pub use control::Control;
pub use group::Group;
pub use multipart::Multipart;
pub use peer::Peer;
pub use trace::Trace;

use super::cursor::Cursor;
use super::error::Undecodable;
use super::frame::Frame;
use super::header::PayloadType;
use super::hex::Hex;
use super::sink::{Count, Sink};

use std::fmt;

/// What a packet carries. Nothing is lost: emitting it gives the bytes that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// REQ.
    Request(Peer<'a>),
    /// RESPONSE.
    Response(Peer<'a>),
    /// TXT_MSG.
    Text(Peer<'a>),
    /// ACK.
    Ack(Ack<'a>),
    /// ADVERT.
    Advert(Advert<'a>),
    /// GRP_TXT.
    GroupText(Group<'a>),
    /// GRP_DATA.
    GroupData(Group<'a>),
    /// ANON_REQ.
    AnonRequest(AnonRequest<'a>),
    /// PATH.
    Path(Peer<'a>),
    /// TRACE.
    Trace(Trace<'a>),
    /// MULTIPART.
    Multipart(Multipart<'a>),
    /// CONTROL.
    Control(Control<'a>),
    /// One of the reserved types, as bytes.
    Reserved(PayloadType, &'a [u8]),
    /// RAW_CUSTOM: an application's own bytes.
    RawCustom(&'a [u8]),
    /// A payload that is not what its header says; kept as bytes.
    Undecoded {
        /// What the header says it is.
        payload_type: PayloadType,
        /// All of it.
        bytes: &'a [u8],
        /// Why it was not read.
        why: Undecodable,
    },
}

impl<'a> Payload<'a> {
    /// Reads a frame's payload. What cannot be read is kept, with the reason.
    pub fn parse(frame: &Frame<'a>) -> Self {
        let Frame { header, body: bytes, body_at, .. } = *frame;
        let payload_type = header.payload_type;
        let read = match header.version {
            0 => Self::read(payload_type, &mut Cursor::starting_at(bytes, body_at)),
            reserved => Err(Undecodable::Version(reserved)),
        };
        read.unwrap_or_else(|why| Self::Undecoded { payload_type, bytes, why })
    }

    fn read(payload_type: PayloadType, bytes: &mut Cursor<'a>) -> Result<Self, Undecodable> {
        Ok(match payload_type {
            PayloadType::Request => Self::Request(Peer::parse(bytes)?),
            PayloadType::Response => Self::Response(Peer::parse(bytes)?),
            PayloadType::Text => Self::Text(Peer::parse(bytes)?),
            PayloadType::Ack => Self::Ack(Ack::parse(bytes)?),
            PayloadType::Advert => Self::Advert(Advert::parse(bytes)?),
            PayloadType::GroupText => Self::GroupText(Group::parse(bytes)?),
            PayloadType::GroupData => Self::GroupData(Group::parse(bytes)?),
            PayloadType::AnonRequest => Self::AnonRequest(AnonRequest::parse(bytes)?),
            PayloadType::Path => Self::Path(Peer::parse(bytes)?),
            PayloadType::Trace => Self::Trace(Trace::parse(bytes)?),
            PayloadType::Multipart => Self::Multipart(Multipart::parse(bytes)?),
            PayloadType::Control => Self::Control(Control::parse(bytes)?),
            PayloadType::Reserved12 | PayloadType::Reserved13 | PayloadType::Reserved14 => {
                Self::Reserved(payload_type, bytes.rest())
            }
            PayloadType::RawCustom => Self::RawCustom(bytes.rest()),
        })
    }

    /// The type that the header says.
    pub fn payload_type(&self) -> PayloadType {
        match self {
            Self::Request(_) => PayloadType::Request,
            Self::Response(_) => PayloadType::Response,
            Self::Text(_) => PayloadType::Text,
            Self::Ack(_) => PayloadType::Ack,
            Self::Advert(_) => PayloadType::Advert,
            Self::GroupText(_) => PayloadType::GroupText,
            Self::GroupData(_) => PayloadType::GroupData,
            Self::AnonRequest(_) => PayloadType::AnonRequest,
            Self::Path(_) => PayloadType::Path,
            Self::Trace(_) => PayloadType::Trace,
            Self::Multipart(_) => PayloadType::Multipart,
            Self::Control(_) => PayloadType::Control,
            Self::RawCustom(_) => PayloadType::RawCustom,
            Self::Reserved(payload_type, _) | Self::Undecoded { payload_type, .. } => *payload_type,
        }
    }

    /// Writes the payload.
    pub fn emit(&self, out: &mut impl Sink) {
        match self {
            Self::Request(peer) | Self::Response(peer) | Self::Text(peer) | Self::Path(peer) => {
                peer.emit(out);
            }
            Self::Ack(ack) => ack.emit(out),
            Self::Advert(advert) => advert.emit(out),
            Self::GroupText(group) | Self::GroupData(group) => group.emit(out),
            Self::AnonRequest(request) => request.emit(out),
            Self::Trace(trace) => trace.emit(out),
            Self::Multipart(part) => part.emit(out),
            Self::Control(control) => control.emit(out),
            Self::Reserved(_, bytes) | Self::RawCustom(bytes) => {
                out.field(
                    "bytes",
                    bytes,
                    format_args!("{} of no known layout", Count(bytes.len(), "byte")),
                );
            }
            Self::Undecoded { bytes, why, .. } => out.field("bytes", bytes, format_args!("{why}")),
        }
    }
}

impl fmt::Display for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.payload_type())?;
        match self {
            Self::Request(peer) | Self::Response(peer) | Self::Text(peer) | Self::Path(peer) => {
                peer.fmt(f)
            }
            Self::Ack(ack) => ack.fmt(f),
            Self::Advert(advert) => advert.fmt(f),
            Self::GroupText(group) | Self::GroupData(group) => group.fmt(f),
            Self::AnonRequest(request) => request.fmt(f),
            Self::Trace(trace) => trace.fmt(f),
            Self::Multipart(part) => part.fmt(f),
            Self::Control(control) => control.fmt(f),
            Self::Reserved(_, bytes) | Self::RawCustom(bytes) => Hex(bytes).fmt(f),
            Self::Undecoded { why, .. } => why.fmt(f),
        }
    }
}

/// The payload's fixed part must be there as a whole: the error then speaks of the payload, not of
/// the one field that is missing.
fn at_least(needed: usize, cursor: &Cursor<'_>) -> Result<(), Undecodable> {
    let (had, at) = (cursor.remaining(), cursor.at());
    if had < needed { Err(Undecodable::TooShort { needed, had, at }) } else { Ok(()) }
}

fn emit_sealed(mac: &[u8; 2], ciphertext: &[u8], out: &mut impl Sink) {
    out.field("mac", mac, format_args!("start of the HMAC over the ciphertext"));
    let bytes = ciphertext.len();
    match bytes % 16 {
        0 => out.field(
            "ciphertext",
            ciphertext,
            format_args!("{} of 16", Count(bytes / 16, "block")),
        ),
        _ => out.field(
            "ciphertext",
            ciphertext,
            format_args!("{}, no whole blocks", Count(bytes, "byte")),
        ),
    }
}

fn emit_rest(rest: &[u8], out: &mut impl Sink) {
    if !rest.is_empty() {
        out.field("rest", rest, format_args!("{} without meaning", Count(rest.len(), "byte")));
    }
}

/// A Unix time in seconds as people read it.
fn utc(seconds: u32) -> impl fmt::Display {
    // Every u32 is a time that can be written: the last one is in 2106.
    jiff::Timestamp::from_second(i64::from(seconds)).unwrap_or_default()
}
