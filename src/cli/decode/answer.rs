//! `meshbox decode --json`: one object a packet; every key is always there, `null` where there is
//! nothing to say.

use super::Fault;
use crate::packet::hash::{Digest, Formula};
use crate::packet::{Anomaly, TransportCodes};
use crate::record::{Decoded, Reading, Rules};

use serde::Serialize;

/// The object. The keys are a contract that tools rely on.
#[derive(Debug, Default, Serialize)]
pub(super) struct Answer<'a> {
    raw_hex: &'a str,
    ok: bool,
    error: Option<String>,
    route_type: Option<u8>,
    payload_type: Option<u8>,
    payload_version: Option<u8>,
    transport_codes: Option<[String; 2]>,
    path_json: Option<Vec<String>>,
    hash: Option<String>,
    hash_2026_04: Option<String>,
    decoded_json: Option<Decoded<'a>>,
    channel_hash: Option<String>,
    from_pubkey: Option<String>,
    scope_name: Option<String>,
    signature_valid: Option<bool>,
    anomaly: Option<String>,
}

/// What is told about a packet.
pub(super) fn of<'a>(raw_hex: &'a str, reading: &'a Reading<'a>, rules: &Rules) -> Answer<'a> {
    let (frame, packet) = (&reading.frame, &reading.packet);
    let hash = |formula| Digest::of(frame, formula).content_hash().to_string();
    let anomalies: Vec<&str> = packet.anomalies().into_iter().map(Anomaly::name).collect();
    Answer {
        raw_hex,
        ok: true,
        error: None,
        route_type: Some(packet.header.route.bits()),
        payload_type: Some(packet.header.payload_type.nibble()),
        payload_version: Some(packet.header.version),
        transport_codes: packet.transport.map(TransportCodes::wire_hex),
        path_json: Some(reading.hops()),
        hash: Some(hash(Formula::Firmware)),
        hash_2026_04: Some(hash(Formula::CoreScope202604)),
        decoded_json: Some(reading.decoded()),
        channel_hash: reading.channel_column(),
        from_pubkey: reading.from_pubkey(),
        scope_name: reading.scope_name(rules),
        signature_valid: reading.signature_valid(),
        anomaly: (!anomalies.is_empty()).then(|| anomalies.join(", ")),
    }
}

/// What is told about something that is no packet.
pub(super) fn of_fault<'a>(raw_hex: &'a str, fault: &Fault<'_>) -> Answer<'a> {
    Answer { raw_hex, error: Some(fault.to_string()), ..Answer::default() }
}
