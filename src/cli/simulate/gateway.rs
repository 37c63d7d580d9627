//! A gateway of the simulated mesh, and its messages as the most common uploader sends them
//! (Cisien/meshcoretomqtt).

use super::dice::Dice;
use super::node;
use crate::packet::hash::{Digest, Formula};
use crate::packet::hex::Hex;
use crate::packet::{Frame, Route};

use jiff::Timestamp;

/// An observer: it hears packets, and publishes each.
#[derive(Clone, Debug)]
pub struct Gateway {
    number: usize,
    /// The part of its topics that is always the same.
    topic: String,
    key: String,
    name: String,
    /// The repeaters that it hears.
    near: Vec<usize>,
    started_ms: Option<i64>,
    packets: u64,
}

/// A message for a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Which gateway sends it.
    pub gateway: usize,
    /// Where it is published.
    pub topic: String,
    /// JSON.
    pub payload: String,
    /// Whether the broker is to keep it.
    pub retain: bool,
}

/// A packet at a gateway's antenna.
pub(super) struct Heard<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) now_ms: i64,
}

/// How many repeaters a gateway hears.
const NEAR: usize = 6;

impl Gateway {
    pub(super) fn new(number: usize, region: &str, repeaters: &[usize], dice: &mut Dice) -> Self {
        let key = format!("{:X}", Hex(&node::identity(dice).public_key()));
        let near = dice.choose(NEAR, repeaters.len());
        Self {
            number,
            topic: format!("meshcore/{region}/{key}"),
            key,
            name: format!("Sim gateway {number}"),
            near: near.into_iter().map(|n| repeaters[n]).collect(),
            started_ms: None,
            packets: 0,
        }
    }

    /// Its public key: 64 hex digits in upper case, as in its topics.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// One of the repeaters that it hears.
    pub(super) fn near(&self, dice: &mut Dice) -> usize {
        self.near[dice.below(self.near.len())]
    }

    pub(super) fn packet(&mut self, heard: &Heard<'_>, dice: &mut Dice) -> Publication {
        self.packets += 1;
        let bytes = heard.bytes;
        let (Self { key, name, .. }, raw) = (&*self, Hex(bytes));
        let (packet_type, route, body) = Frame::parse(bytes).map_or((0, "F", 0), |frame| {
            let route = if is_flood(frame.header.route) { "F" } else { "D" };
            (frame.header.payload_type.nibble(), route, frame.body.len())
        });
        let snr = dice.between(-10, 14);
        let rssi = dice.between(-119, -59);
        let score = dice.below(1_000);
        let now = at(heard.now_ms);
        let payload = format!(
            r#"{{"origin":"{name}","origin_id":"{key}","timestamp":"{}","type":"PACKET","direction":"rx","time":"{}","date":"{}","len":"{}","packet_type":"{packet_type}","route":"{route}","payload_len":"{body}","raw":"{raw:X}","SNR":"{snr}","RSSI":"{rssi}","score":"{score}","duration":"{}","hash":"{}"}}"#,
            stamp(now),
            now.strftime("%H:%M:%S"),
            now.strftime("%-d/%-m/%Y"),
            bytes.len(),
            50 + 4 * bytes.len(),
            hash(bytes),
        );
        self.publication("packets", payload, false)
    }

    pub(super) fn online(&mut self, dice: &mut Dice, now_ms: i64, retain: bool) -> Publication {
        let started = *self.started_ms.get_or_insert(now_ms);
        let uptime = (now_ms - started) / 1_000;
        let (battery, noise) = (3_900 + dice.below(300), 90 + dice.below(25));
        let Self { key, name, packets, .. } = self;
        let payload = format!(
            r#"{{"status":"online","timestamp":"{}","origin":"{name}","origin_id":"{key}","radio":"910.525,62.5,7,5","model":"Simulated","firmware_version":"v1.17.1","client_version":"meshbox/{}","repeat":"on","stats":{{"battery_mv":{battery},"uptime_secs":{uptime},"debug_flags":0,"queue_len":0,"noise_floor":-{noise},"tx_air_secs":{},"rx_air_secs":{},"recv_errors":0,"packets_received":{packets}}}}}"#,
            stamp(at(now_ms)),
            env!("CARGO_PKG_VERSION"),
            uptime / 100,
            uptime / 10,
        );
        self.publication("status", payload, retain)
    }

    /// What the broker is to say when the gateway is gone, retained as uploaders want it.
    pub fn offline(&self, now_ms: i64) -> Publication {
        let Self { key, name, .. } = self;
        let payload = format!(
            r#"{{"status":"offline","timestamp":"{}","origin":"{name}","origin_id":"{key}"}}"#,
            stamp(at(now_ms)),
        );
        self.publication("status", payload, true)
    }

    fn publication(&self, what: &str, payload: String, retain: bool) -> Publication {
        let topic = format!("{}/{what}", self.topic);
        Publication { gateway: self.number, topic, payload, retain }
    }
}

fn is_flood(route: Route) -> bool {
    !route.is_direct()
}

fn hash(bytes: &[u8]) -> String {
    let hash = |frame| Digest::of(&frame, Formula::Firmware).content_hash().to_string();
    Frame::parse(bytes).map_or_else(|_| "0".repeat(16), hash).to_ascii_uppercase()
}

fn at(now_ms: i64) -> Timestamp {
    Timestamp::from_millisecond(now_ms).unwrap_or_default()
}

fn stamp(at: Timestamp) -> impl std::fmt::Display {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00")
}
