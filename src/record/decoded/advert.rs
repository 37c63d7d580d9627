//! ADVERT.

use super::{Number, is_zero};
use crate::packet::hex::Hex;
use crate::packet::payload;
use crate::packet::payload::app_data;

use serde::Serialize;

/// An advert. Position, features, name and telemetry are there when they are.
#[derive(Serialize)]
pub(super) struct Advert<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "pubKey")]
    pub_key: Hex<'a>,
    #[serde(skip_serializing_if = "is_zero")]
    timestamp: u32,
    #[serde(rename = "timestampISO")]
    timestamp_iso: String,
    signature: Hex<'a>,
    #[serde(rename = "signatureValid", skip_serializing_if = "Option::is_none")]
    signature_valid: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<Flags>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lat: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lon: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    feat1: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    feat2: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    battery_mv: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature_c: Option<Number>,
}

impl<'a> Advert<'a> {
    pub(super) fn of(advert: &payload::Advert<'a>, signature_valid: Option<bool>) -> Self {
        let fields = advert.app_data.fields();
        let position = fields.and_then(|f| f.position);
        let telemetry = fields.and_then(app_data::Fields::telemetry);
        Self {
            kind: "ADVERT",
            pub_key: Hex(advert.public_key),
            timestamp: advert.timestamp,
            timestamp_iso: iso(advert.timestamp),
            signature: Hex(advert.signature),
            signature_valid,
            flags: advert.app_data.flags().map(Flags::of),
            lat: position.map(|p| Number(p.lat())),
            lon: position.map(|p| Number(p.lon())),
            name: fields.and_then(app_data::Fields::name),
            feat1: fields.and_then(|f| f.feature1),
            feat2: fields.and_then(|f| f.feature2),
            battery_mv: telemetry.and_then(|t| t.battery_mv),
            temperature_c: telemetry.and_then(|t| t.temperature_c()).map(Number),
        }
    }
}

/// With three zero decimals, always.
fn iso(timestamp: u32) -> String {
    let at = jiff::Timestamp::from_second(i64::from(timestamp)).unwrap_or_default();
    format!("{at:.3}")
}

/// The flags byte taken apart; all keys are always there.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Flags {
    raw: u8,
    #[serde(rename = "type")]
    kind: u8,
    chat: bool,
    repeater: bool,
    room: bool,
    sensor: bool,
    has_location: bool,
    has_feat1: bool,
    has_feat2: bool,
    has_name: bool,
}

impl Flags {
    fn of(flags: app_data::Flags) -> Self {
        let kind = flags.node_type().nibble();
        Self {
            raw: flags.0,
            kind,
            chat: kind == 1,
            repeater: kind == 2,
            room: kind == 3,
            sensor: kind == 4,
            has_location: flags.has_position(),
            has_feat1: flags.has_feature1(),
            has_feat2: flags.has_feature2(),
            has_name: flags.has_name(),
        }
    }
}
