//! Packets as observers report them.

use super::json::{self, Fields, Scalar};
use super::{Context, Observer, Stamp, Unread, number};

use serde::de::MapAccess;

/// A packet as an observer reports it.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// `None` when the topic has no key.
    pub observer: Option<Observer>,
    /// `raw` as sent: hex in any case, perhaps with white space, perhaps no hex at all.
    pub raw: String,
    /// Signal-to-noise ratio in dB; always finite.
    pub snr_db: Option<f64>,
    /// Signal strength in dBm; always finite.
    pub rssi_dbm: Option<f64>,
    /// The uploader's own score, rounded.
    pub score: Option<i64>,
    /// `rx` or `tx`, as sent.
    pub direction: Option<String>,
    /// The message's own clock.
    pub stamp: Option<Stamp>,
    /// True when `origin_id` names another key than the topic; the topic wins.
    pub origin_id_differs: bool,
}

/// Reads a packet message. Everything but `raw` is optional; what an uploader decoded itself
/// (`hash`, `path`, `route`, `len` …) is not looked at, because some are wrong.
pub(super) fn read(context: &Context<'_>, payload: &[u8]) -> Result<Heard, Unread> {
    let body: Body<'_> = json::object(payload)?;
    let raw = match body.raw {
        Scalar::Text(raw) if !raw.is_empty() => raw.into_owned(),
        Scalar::Text(_) | Scalar::Absent => return Err(Unread::NoRaw),
        Scalar::Bool(_) | Scalar::Number(_) | Scalar::Other => return Err(Unread::RawNotText),
    };
    Ok(Heard {
        observer: context.observer(&body.origin, &body.region),
        raw,
        snr_db: body.signal.snr_db(),
        rssi_dbm: body.signal.rssi_dbm(),
        score: body.signal.score(),
        direction: body.signal.direction(),
        stamp: Stamp::read(&body.timestamp),
        origin_id_differs: context.origin_id_differs(&body.origin_id),
    })
}

#[derive(Default)]
struct Body<'a> {
    raw: Scalar<'a>,
    origin: Scalar<'a>,
    origin_id: Scalar<'a>,
    region: Scalar<'a>,
    timestamp: Scalar<'a>,
    signal: Signal<'a>,
}

impl<'de> Fields<'de> for Body<'de> {
    fn take<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let field = match key {
            "raw" => &mut self.raw,
            "origin" => &mut self.origin,
            "origin_id" => &mut self.origin_id,
            "region" => &mut self.region,
            "timestamp" => &mut self.timestamp,
            _ => return self.signal.take(key, map),
        };
        *field = map.next_value()?;
        Ok(())
    }
}

/// How something was received, in both spellings: the first usable one counts.
#[derive(Default)]
pub(super) struct Signal<'a> {
    snr: [Option<f64>; 2],
    rssi: [Option<f64>; 2],
    score: [Option<f64>; 2],
    direction: [Scalar<'a>; 2],
}

impl Signal<'_> {
    /// `SNR`, else `snr`, in dB.
    pub(super) fn snr_db(&self) -> Option<f64> {
        self.snr.into_iter().flatten().next()
    }

    /// `RSSI`, else `rssi`, in dBm.
    pub(super) fn rssi_dbm(&self) -> Option<f64> {
        self.rssi.into_iter().flatten().next()
    }

    /// `score`, else `Score`, as a whole number: CoreScope's server scans an integer there.
    pub(super) fn score(&self) -> Option<i64> {
        self.score.into_iter().flatten().find_map(number::whole)
    }

    /// `direction`, else `Direction`, as sent.
    pub(super) fn direction(&self) -> Option<String> {
        self.direction.iter().find_map(Scalar::text).map(ToOwned::to_owned)
    }
}

impl<'de> Fields<'de> for Signal<'de> {
    fn take<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let number = match (key, self) {
            ("SNR", Self { snr: [first, _], .. }) => first,
            ("snr", Self { snr: [_, second], .. }) => second,
            ("RSSI", Self { rssi: [first, _], .. }) => first,
            ("rssi", Self { rssi: [_, second], .. }) => second,
            ("score", Self { score: [first, _], .. }) => first,
            ("Score", Self { score: [_, second], .. }) => second,
            ("direction", Self { direction: [first, _], .. }) => {
                *first = map.next_value()?;
                return Ok(());
            }
            ("Direction", Self { direction: [_, second], .. }) => {
                *second = map.next_value()?;
                return Ok(());
            }
            _ => return json::skip(map),
        };
        *number = json::take_number(map)?;
        Ok(())
    }
}
