//! What is odd about a packet that is kept nevertheless.

use super::Packet;
use super::error::Undecodable;
use super::header::PayloadType;
use super::payload::{AppData, Control, Payload};

use std::fmt;

/// What is odd about a packet. Stock firmware sends none of these; a corrupted reception, a
/// forgery or a firmware of the future does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Anomaly {
    /// The payload version is reserved; the payload is not read.
    VersionReserved,
    /// The payload ends before its fixed part does.
    PayloadTooShort,
    /// There is no payload at all (firmware `Packet::readFrom` refuses that).
    PayloadEmpty,
    /// Payload type 12–14.
    PayloadTypeReserved,
    /// A ciphertext that is empty or no multiple of 16 bytes.
    CiphertextNotBlocks,
    /// An ACK of more than 6 bytes.
    AckTooLong,
    /// An advert that says nothing about its node.
    AppDataAbsent,
    /// App data that ends before what its flags promise.
    AppDataTruncated,
    /// More than 32 bytes of app data.
    AppDataTooLong,
    /// A TRACE that floods.
    TraceNotDirect,
    /// A TRACE whose path length has a hash size.
    TraceWithHashSize,
    /// A TRACE whose route ends within a hash.
    TraceRouteUneven,
    /// A part of something that does not come in parts.
    MultipartNotAck,
    /// A CONTROL for first-hand listeners that has travelled.
    ControlNotZeroHop,
}

impl Anomaly {
    /// Every anomaly there is, the gravest first.
    pub const ALL: [Self; 14] = [
        Self::VersionReserved,
        Self::PayloadTooShort,
        Self::PayloadEmpty,
        Self::PayloadTypeReserved,
        Self::CiphertextNotBlocks,
        Self::AckTooLong,
        Self::AppDataAbsent,
        Self::AppDataTruncated,
        Self::AppDataTooLong,
        Self::TraceNotDirect,
        Self::TraceWithHashSize,
        Self::TraceRouteUneven,
        Self::MultipartNotAck,
        Self::ControlNotZeroHop,
    ];

    /// The anomaly's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::VersionReserved => "version_reserved",
            Self::PayloadTooShort => "payload_too_short",
            Self::PayloadEmpty => "payload_empty",
            Self::PayloadTypeReserved => "payload_type_reserved",
            Self::CiphertextNotBlocks => "ciphertext_not_blocks",
            Self::AckTooLong => "ack_too_long",
            Self::AppDataAbsent => "app_data_absent",
            Self::AppDataTruncated => "app_data_truncated",
            Self::AppDataTooLong => "app_data_too_long",
            Self::TraceNotDirect => "trace_not_direct",
            Self::TraceWithHashSize => "trace_with_hash_size",
            Self::TraceRouteUneven => "trace_route_uneven",
            Self::MultipartNotAck => "multipart_not_ack",
            Self::ControlNotZeroHop => "control_not_zero_hop",
        }
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Everything odd about a packet, the gravest first.
pub(super) fn of(packet: &Packet<'_>) -> Vec<Anomaly> {
    let direct = packet.header.route.is_direct();
    let mut found = Vec::new();
    let mut note = |is: bool, anomaly: Anomaly| {
        if is {
            found.push(anomaly);
        }
    };
    match &packet.payload {
        Payload::Undecoded { bytes, why, .. } => {
            note(matches!(why, Undecodable::Version(_)), Anomaly::VersionReserved);
            note(matches!(why, Undecodable::TooShort { .. }), Anomaly::PayloadTooShort);
            note(bytes.is_empty(), Anomaly::PayloadEmpty);
        }
        Payload::Reserved(_, bytes) => {
            note(true, Anomaly::PayloadTypeReserved);
            note(bytes.is_empty(), Anomaly::PayloadEmpty);
        }
        Payload::RawCustom(bytes) => note(bytes.is_empty(), Anomaly::PayloadEmpty),
        Payload::Advert(advert) => {
            note(advert.app_data == AppData::Absent, Anomaly::AppDataAbsent);
            let truncated = matches!(advert.app_data, AppData::Truncated(..));
            note(truncated, Anomaly::AppDataTruncated);
            note(!advert.beyond.is_empty(), Anomaly::AppDataTooLong);
        }
        Payload::Trace(trace) => {
            note(!direct, Anomaly::TraceNotDirect);
            note(packet.path.size() != 1, Anomaly::TraceWithHashSize);
            note(!trace.leftover().is_empty(), Anomaly::TraceRouteUneven);
        }
        Payload::Ack(ack) => note(ack.extra.len() > 2, Anomaly::AckTooLong),
        Payload::Multipart(part) => {
            note(part.inner_type != PayloadType::Ack, Anomaly::MultipartNotAck);
        }
        Payload::Control(control) => {
            note(has_travelled(control, packet), Anomaly::ControlNotZeroHop);
        }
        sealed => note(ciphertext_is_uneven(sealed), Anomaly::CiphertextNotBlocks),
    }
    found
}

fn has_travelled(control: &Control<'_>, packet: &Packet<'_>) -> bool {
    let first_hand = packet.header.route.is_direct() && packet.path.count() == 0;
    control.is_zero_hop() && !first_hand
}

fn ciphertext_is_uneven(payload: &Payload<'_>) -> bool {
    let ciphertext = match payload {
        Payload::Request(p) | Payload::Response(p) | Payload::Text(p) | Payload::Path(p) => {
            p.ciphertext
        }
        Payload::GroupText(group) | Payload::GroupData(group) => group.ciphertext,
        Payload::AnonRequest(request) => request.ciphertext,
        _ => return false,
    };
    ciphertext.is_empty() || ciphertext.len() % 16 != 0
}
