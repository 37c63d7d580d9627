//! What observers say of themselves.

use super::json::{self, Fields, Object, Scalar};
use super::{Context, Observer, Stamp, Unread, number};

use serde::de::MapAccess;

/// What an observer says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Who says it; a status without a key is no envelope.
    pub observer: Observer,
    /// True for `status: "offline"`: a will, or a farewell. Not activity.
    pub offline: bool,
    /// True for a copy from a retained store. Not activity.
    pub retained: bool,
    /// Everything else, each `None` when absent.
    pub about: About,
    /// The message's own clock.
    pub stamp: Option<Stamp>,
    /// True when `origin_id` names another key than the topic; the topic wins.
    pub origin_id_differs: bool,
}

/// The metadata and statistics of a status message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    /// Board.
    pub model: Option<String>,
    /// Firmware version.
    pub firmware: Option<String>,
    /// Uploader and version.
    pub client_version: Option<String>,
    /// `frequency MHz,bandwidth kHz,spreading factor,coding rate`.
    pub radio: Option<String>,
    /// Whether the observer relays.
    pub can_relay: Option<bool>,
    /// Battery in millivolts.
    pub battery_mv: Option<i64>,
    /// Uptime in seconds.
    pub uptime_secs: Option<i64>,
    /// Noise floor in dBm.
    pub noise_floor_dbm: Option<f64>,
    /// Time spent sending, in seconds.
    pub tx_air_secs: Option<i64>,
    /// Time spent receiving, in seconds.
    pub rx_air_secs: Option<i64>,
    /// Receive errors.
    pub recv_errors: Option<i64>,
    /// Packets sent (`packets_sent` or `sent`).
    pub packets_sent: Option<i64>,
    /// Packets received (`packets_recv`, `packets_received` or `recv`).
    pub packets_recv: Option<i64>,
}

impl About {
    /// Whether nothing at all was said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Reads a status message; an empty object is one too, and says that its observer lives.
pub(super) fn read(context: &Context<'_>, payload: &[u8]) -> Result<Status, Unread> {
    let body: Body<'_> = json::object(payload)?;
    let observer = context.observer(&body.origin, &body.region).ok_or(Unread::StatusWithoutKey)?;
    Ok(Status {
        observer,
        offline: body.status.text().is_some_and(|s| s.trim().eq_ignore_ascii_case("offline")),
        retained: context.retained,
        about: body.about(),
        stamp: Stamp::read(&body.timestamp),
        origin_id_differs: context.origin_id_differs(&body.origin_id),
    })
}

#[derive(Default)]
struct Body<'a> {
    status: Scalar<'a>,
    origin: Scalar<'a>,
    origin_id: Scalar<'a>,
    region: Scalar<'a>,
    timestamp: Scalar<'a>,
    model: Scalar<'a>,
    radio: Scalar<'a>,
    repeat: Scalar<'a>,
    firmware: Scalar<'a>,
    firmware_version: Scalar<'a>,
    client_version: Scalar<'a>,
    client_version_camel: Scalar<'a>,
    /// Under `stats`, where they belong.
    nested: Stats,
    /// Beside it, where some publishers have them.
    flat: Stats,
}

impl<'de> Fields<'de> for Body<'de> {
    fn take<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let field = match key {
            "status" => &mut self.status,
            "origin" => &mut self.origin,
            "origin_id" => &mut self.origin_id,
            "region" => &mut self.region,
            "timestamp" => &mut self.timestamp,
            "model" => &mut self.model,
            "radio" => &mut self.radio,
            "repeat" => &mut self.repeat,
            "firmware" => &mut self.firmware,
            "firmware_version" => &mut self.firmware_version,
            "client_version" => &mut self.client_version,
            "clientVersion" => &mut self.client_version_camel,
            "stats" => {
                self.nested = map.next_value::<Object<Stats, false>>()?.0;
                return Ok(());
            }
            _ => return self.flat.take(key, map),
        };
        *field = map.next_value()?;
        Ok(())
    }
}

impl Body<'_> {
    fn about(&self) -> About {
        let text = |s: &Scalar<'_>| s.text().map(ToOwned::to_owned);
        let number = |of: fn(&Stats) -> Option<f64>| of(&self.nested).or_else(|| of(&self.flat));
        let whole = |of: fn(&Stats) -> Option<f64>| number(of).and_then(number::whole);
        About {
            model: text(&self.model),
            firmware: text(&self.firmware_version).or_else(|| text(&self.firmware)),
            client_version: text(&self.client_version_camel).or_else(|| text(&self.client_version)),
            radio: text(&self.radio),
            can_relay: yes_or_no(&self.repeat),
            battery_mv: whole(|s| s.battery_mv),
            uptime_secs: whole(|s| s.uptime_secs),
            noise_floor_dbm: number(|s| s.noise_floor),
            tx_air_secs: whole(|s| s.tx_air_secs),
            rx_air_secs: whole(|s| s.rx_air_secs),
            recv_errors: whole(|s| s.recv_errors),
            packets_sent: whole(|s| s.packets_sent.or(s.sent)),
            packets_recv: whole(|s| s.packets_recv.or(s.packets_received).or(s.recv)),
        }
    }
}

/// `repeat` as publishers write it (CoreScope #1290): a boolean, a number, or a word.
fn yes_or_no(value: &Scalar<'_>) -> Option<bool> {
    match value {
        Scalar::Bool(yes) => Some(*yes),
        Scalar::Number(n) => Some(*n != 0.0),
        Scalar::Text(word) => match word.trim().to_ascii_lowercase().as_str() {
            "on" | "true" | "1" | "yes" => Some(true),
            "off" | "false" | "0" | "no" => Some(false),
            _ => None,
        },
        Scalar::Absent | Scalar::Other => None,
    }
}

#[derive(Default)]
struct Stats {
    battery_mv: Option<f64>,
    uptime_secs: Option<f64>,
    noise_floor: Option<f64>,
    tx_air_secs: Option<f64>,
    rx_air_secs: Option<f64>,
    recv_errors: Option<f64>,
    packets_sent: Option<f64>,
    sent: Option<f64>,
    packets_recv: Option<f64>,
    packets_received: Option<f64>,
    recv: Option<f64>,
}

impl<'de> Fields<'de> for Stats {
    fn take<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let number = match key {
            "battery_mv" => &mut self.battery_mv,
            "uptime_secs" => &mut self.uptime_secs,
            "noise_floor" => &mut self.noise_floor,
            "tx_air_secs" => &mut self.tx_air_secs,
            "rx_air_secs" => &mut self.rx_air_secs,
            "recv_errors" => &mut self.recv_errors,
            "packets_sent" => &mut self.packets_sent,
            "sent" => &mut self.sent,
            "packets_recv" => &mut self.packets_recv,
            "packets_received" => &mut self.packets_received,
            "recv" => &mut self.recv,
            _ => return json::skip(map),
        };
        *number = json::take_number(map)?;
        Ok(())
    }
}
