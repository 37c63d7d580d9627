//! The rows to be: what one message means for the database.

use crate::envelope::About;
use crate::message::Message;
use crate::packet::{PayloadType, Route};

/// What one message means for the database.
#[derive(Debug)]
pub struct Record {
    /// The message it was made of.
    pub message: Message,
    /// The observer to write, before anything that refers to it.
    pub observer: Option<ObserverRow>,
    /// What else to write.
    pub body: Body,
}

/// What a record writes beside its observer.
#[derive(Debug)]
pub enum Body {
    /// A transmission with one observation, perhaps a node.
    Packet(Box<PacketRow>),
    /// An observer's metadata and metrics.
    Status(Box<StatusRow>),
    /// An advert with a bad signature, for `dropped_packets`.
    Dropped(Box<DroppedRow>),
}

/// An observer's identity as this message has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObserverRow {
    /// `observers.id`.
    pub id: String,
    /// A new name; `None` keeps the old one.
    pub name: Option<String>,
    /// A new region; `None` keeps the old one.
    pub iata: Option<String>,
    /// What this message says about the observer being alive.
    pub activity: Activity,
    /// How many seconds its clock is ahead of ours, where that is a fault
    /// ([`Stamp::skew_seconds`](crate::envelope::Stamp::skew_seconds)); `None` where it is none,
    /// cannot be told, or is not to be judged.
    pub skew_seconds: Option<i64>,
}

/// What a message says about its observer being alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It reports a packet: moves `last_seen` and `last_packet_at`, counts.
    Packet,
    /// A live status: moves `last_seen`, counts.
    Status,
    /// A retained or `offline` status: fills metadata of a known observer, creates none, moves
    /// nothing, counts nothing.
    None,
}

/// A packet's rows in `transmissions`, `observations` and `nodes`.
#[derive(Clone, Debug, PartialEq)]
pub struct PacketRow {
    /// `transmissions.hash`: 16 lower-case hex digits.
    pub hash: String,
    /// The packet as the observer sent it, without white space; empty for a companion bridge's
    /// message.
    pub raw_hex: String,
    /// 0–3; see [`crate::packet::Route`].
    pub route_type: u8,
    /// 0–15; see [`crate::packet::PayloadType`].
    pub payload_type: u8,
    /// 0–3.
    pub payload_version: u8,
    /// CoreScope's `decoded_json`.
    pub decoded_json: String,
    /// The advertiser's key in lower-case hex, for adverts.
    pub from_pubkey: Option<String>,
    /// For GRP_TXT: the channel's name, or `enc_` and the hash in hex.
    pub channel_hash: Option<String>,
    /// `None`: unscoped; empty: scoped by a region we do not know; else `#name`.
    pub scope_name: Option<String>,
    /// JSON array of upper-case hex hops.
    pub path_json: String,
    /// dB.
    pub snr_db: Option<f64>,
    /// dBm.
    pub rssi_dbm: Option<f64>,
    /// The uploader's score.
    pub score: Option<i64>,
    /// `rx` or `tx`, as sent.
    pub direction: Option<String>,
    /// The advertiser, when the packet is an advert that may write one.
    pub node: Option<NodeRow>,
}

impl PacketRow {
    /// Whether its path tells who has forwarded it; on a direct route it tells who still has to.
    pub fn is_flood(&self) -> bool {
        !Route::from_bits(self.route_type).is_direct()
    }

    /// Whether a node speaks of itself.
    pub fn is_advert(&self) -> bool {
        self.payload_type == PayloadType::Advert.nibble()
    }

    /// Whether its path is the route that a TRACE is to take.
    pub fn is_trace(&self) -> bool {
        self.payload_type == PayloadType::Trace.nibble()
    }
}

/// An advert's row in `nodes`.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeRow {
    /// Lower-case hex.
    pub public_key: String,
    /// A new name; `None` keeps the old one.
    pub name: Option<String>,
    /// `repeater`, `companion`, `room`, `sensor`, `none`, `type-N`.
    pub role: String,
    /// Degrees north; `None` keeps the old one, as for an advert at 0/0, which has no position.
    pub lat: Option<f64>,
    /// Degrees east.
    pub lon: Option<f64>,
    /// Millivolts.
    pub battery_mv: Option<i64>,
    /// Degrees Celsius.
    pub temperature_c: Option<f64>,
    /// The region of a scoped advert; `None` keeps the old one.
    pub default_scope: Option<String>,
    /// Whether its position is outside of the area that is at home; `None` keeps the old word, as
    /// without a position or without such an area.
    pub foreign: Option<bool>,
}

/// A status message's columns in `observers` and its sample in `observer_metrics`.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusRow {
    /// Each `None` keeps the old value.
    pub about: About,
}

/// A row of `dropped_packets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedRow {
    /// The content hash.
    pub hash: String,
    /// The packet as sent.
    pub raw_hex: String,
    /// `invalid signature`.
    pub reason: String,
    /// The advertiser's key in lower-case hex.
    pub node_pubkey: Option<String>,
    /// The advertiser's name, unproven.
    pub node_name: Option<String>,
}
