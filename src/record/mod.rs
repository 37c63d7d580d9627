//! From a message to the rows to be: envelope, packet and opened channel come together here.
//!
//! A [`Record`] owns its [`Message`], and with it the receipt and the place in the queue, so both
//! end when the record does: after the commit.

use crate::crypto::channel::Keyring;
use crate::crypto::scope::Regions;
use crate::envelope::About;
use crate::message::Message;
use crate::packet::hash::Formula;

use std::collections::HashMap;
use std::sync::Arc;

/// What decides how messages become records; built once by `app` from the configuration.
#[derive(Debug, Default)]
pub struct Rules {
    /// Channel keys.
    pub keyring: Keyring,
    /// Regions whose scope codes are recognised.
    pub regions: Regions,
    /// How packets are hashed.
    pub formula: Formula,
    /// Whether adverts with a bad signature are dropped.
    pub validate_signatures: bool,
    /// What is special about a source, by its name.
    pub sources: HashMap<Arc<str>, SourceRules>,
}

/// What is special about an external broker's messages.
#[derive(Clone, Debug, Default)]
pub struct SourceRules {
    /// Regions (the topic's second segment) whose packets are taken; empty: all. Never applied to
    /// a status (CoreScope #694).
    pub iata_filter: Vec<String>,
    /// The region where neither payload nor topic has one.
    pub region: Option<String>,
}

/// Makes records of messages. Holds what must be remembered from one message to the next: the
/// verdict on an advert's signature, so that it is computed once per transmission and not once per
/// observation; bounded.
#[derive(Debug, Default)]
pub struct Recorder {
    rules: Rules,
}

/// A message that became no record: it comes back whole, its receipt still open.
#[derive(Debug)]
pub struct Unrecorded {
    /// The message.
    pub message: Box<Message>,
    /// The reason's name in the counters.
    pub reason: &'static str,
    /// The reason in words, with numbers, for the log.
    pub detail: String,
    /// True where there is simply nothing to store ([`crate::envelope::Unread::is_noise`], a region
    /// that is filtered out): counted, not logged. False for bad input.
    pub noise: bool,
}

impl Recorder {
    /// A recorder with these rules.
    pub fn new(rules: Rules) -> Self {
        Self { rules }
    }

    /// Reads the message, decodes its packet and makes the rows to be.
    ///
    /// # Errors
    /// The message and the named reason why there is nothing to store.
    pub fn record(&mut self, message: Message) -> Result<Record, Unrecorded> {
        let _ = &self.rules;
        let message = Box::new(message);
        Err(Unrecorded { message, reason: "not_json", detail: String::new(), noise: false })
    }

    /// How many messages so far had an `origin_id` that contradicted the topic's key; the topic won.
    pub fn origin_id_mismatches(&self) -> u64 {
        0
    }
}

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
    /// The packet as sent by the observer; empty for a companion bridge's message.
    pub raw_hex: String,
    /// 0–3; see [`crate::packet`].
    pub route_type: u8,
    /// 0–15.
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

/// An advert's row in `nodes`.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeRow {
    /// Lower-case hex.
    pub public_key: String,
    /// A new name; `None` keeps the old one.
    pub name: Option<String>,
    /// `repeater`, `companion`, `room`, `sensor`, `none`, `type-N`.
    pub role: String,
    /// Degrees north.
    pub lat: Option<f64>,
    /// Degrees east.
    pub lon: Option<f64>,
    /// Millivolts.
    pub battery_mv: Option<i64>,
    /// Degrees Celsius.
    pub temperature_c: Option<f64>,
    /// The region of a scoped advert; `None` keeps the old one.
    pub default_scope: Option<String>,
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
