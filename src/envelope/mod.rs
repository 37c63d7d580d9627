//! What publishers really send: topic rules, and the JSON around a packet or a status.
//!
//! [`read`] turns a topic and a payload into an [`Envelope`], or says by name why it is none.
//! Pure: no clock, no log, no panic. The rules are those of CoreScope's ingestor (April 2026 with
//! the changes of July 2026); the forms are those that deployed uploaders send. The payload decides,
//! not the topic: whatever carries a non-empty `raw` text is a packet, also on a topic that nobody
//! has heard of.
//!
//! Where this room deliberately does better than CoreScope:
//! - the first *usable* spelling of a value counts (`SNR`, then `snr`), and a `null` in `stats` does
//!   not hide the value beside it; CoreScope stops at the first spelling that exists;
//! - NaN and infinities are no numbers, an empty text is no text, scores are whole;
//! - topics whose second part is no region (`meshcore/client/…`, `meshcore/message/…`) give none,
//!   and the token in `meshrank/uplink/TOKEN/KEY/…` is not taken for an observer;
//! - a status without a key makes no observer with an empty name; `packets_received` and `recv`
//!   count as `packets_recv`; a lone surrogate or a broken byte costs one character.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod companion;
mod json;
mod number;
mod packet;
mod stamp;
mod status;
mod topic;
mod unread;

pub use companion::{Companion, CompanionTo};
pub use packet::Heard;
pub use stamp::Stamp;
pub use status::{About, Status};
pub use unread::Unread;

use crate::message::Message;
use crate::message::topic::{canonical_key, is_key};
use json::Scalar;
use topic::{Kind, Topic};

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

/// Reads a message. `default_iata` is the source's region, used where neither payload nor topic
/// has one.
///
/// # Errors
/// The named reason why there is nothing to store.
pub fn read(message: &Message, default_iata: Option<&str>) -> Result<Envelope, Unread> {
    let context =
        Context { topic: Topic::of(&message.topic), default_iata, retained: message.retained };
    if context.topic.kind == Kind::Silent {
        return Err(Unread::BridgeEvent);
    }
    if message.payload.is_empty() {
        return Err(Unread::EmptyPayload);
    }
    let read = match context.read(&message.payload) {
        // Most payloads are sound, so soundness is not looked at before it is missed.
        Err(Unread::NotJson) => match json::mended(&message.payload) {
            Some(mended) => context.read(mended.as_bytes()),
            None => Err(Unread::NotJson),
        },
        read => read,
    };
    read.map_err(|unread| context.topic.kind.excuse(unread))
}

/// The observer that a topic names, as sent; `None` where it has no place for one.
pub fn observer_of(topic: &str) -> Option<&str> {
    Topic::of(topic).key
}

/// What a reader needs to know beside the payload.
#[derive(Debug)]
struct Context<'a> {
    topic: Topic<'a>,
    default_iata: Option<&'a str>,
    retained: bool,
}

impl Context<'_> {
    fn read(&self, payload: &[u8]) -> Result<Envelope, Unread> {
        match self.topic.kind {
            Kind::Status => status::read(self, payload).map(Envelope::Status),
            Kind::Channel(_) | Kind::Direct => match packet::read(self, payload) {
                Err(Unread::NoRaw | Unread::RawNotText) => {
                    companion::read(self, payload).map(Envelope::Companion)
                }
                read => read.map(Envelope::Packet),
            },
            Kind::Silent | Kind::Other(_) => packet::read(self, payload).map(Envelope::Packet),
        }
    }

    /// The topic's observer; `None` when the topic has no key.
    fn observer(&self, origin: &Scalar<'_>, region: &Scalar<'_>) -> Option<Observer> {
        let id = canonical_key(self.topic.key?).into_owned();
        let named = [region.text(), self.topic.region, self.default_iata];
        let iata = named.into_iter().flatten().map(str::trim).find(|r| !r.is_empty());
        let name = origin.text().map(ToOwned::to_owned);
        Some(Observer { id, name, iata: iata.map(str::to_uppercase) })
    }

    /// Whether `origin_id` is a key, and another one than the topic's.
    fn origin_id_differs(&self, origin_id: &Scalar<'_>) -> bool {
        let claimed = origin_id.text().map(str::trim).filter(|id| is_key(id));
        match (claimed, self.topic.key) {
            (Some(claimed), Some(key)) => !claimed.eq_ignore_ascii_case(key),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
