//! Messages from companion bridges: text without a packet.

use super::json::{self, Fields};
use super::packet::Signal;
use super::topic::Kind;
use super::{Context, Unread};

use serde::de::MapAccess;
use serde_json::Value;

/// A companion bridge's message (`meshcore/message/channel/…`, `meshcore/message/direct/…`).
#[derive(Clone, Debug, PartialEq)]
pub struct Companion {
    /// Where it was said.
    pub to: CompanionTo,
    /// The text before the first `": "` at byte 1–49, else empty.
    pub sender: String,
    /// The whole text, as sent; never empty.
    pub text: String,
    /// `sender_timestamp` as sent, any JSON type; `null` where it was.
    pub sender_timestamp: Option<Value>,
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
    /// A channel, by index: `channel_idx` if it is a number or a text, else the topic's, which may
    /// be empty.
    Channel(String),
    /// A direct message.
    Direct,
}

/// Reads a companion bridge's message. Older bridges wrap it in `payload`, and keep the channel in
/// `attributes`.
pub(super) fn read(context: &Context<'_>, payload: &[u8]) -> Result<Companion, Unread> {
    let mut body: Body<'_> = json::object(payload)?;
    let inner = body.payload.take().filter(|_| body.text().is_none());
    if let Some(Value::Object(inner)) = inner {
        for (field, name) in [
            (&mut body.text, "text"),
            (&mut body.sender_timestamp, "sender_timestamp"),
            (&mut body.channel_idx, "channel_idx"),
            (&mut body.attributes, "attributes"),
        ] {
            *field = inner.get(name).cloned().or(field.take());
        }
    }
    let text = body.text().ok_or(Unread::NoText)?.to_owned();
    let to = match context.topic.kind {
        Kind::Channel(index) => {
            CompanionTo::Channel(body.channel_index().unwrap_or_else(|| index.to_owned()))
        }
        _ => CompanionTo::Direct,
    };
    Ok(Companion {
        to,
        sender: sender(&text).to_owned(),
        text,
        snr_db: body.signal.snr_db(),
        rssi_dbm: body.signal.rssi_dbm(),
        score: body.signal.score(),
        direction: body.signal.direction(),
        sender_timestamp: body.sender_timestamp,
    })
}

/// The text before the first `": "`, if that stands at byte 1–49; here, unlike in a GRP_TXT,
/// CoreScope lets the name have brackets.
fn sender(text: &str) -> &str {
    match text.split_once(": ") {
        Some((sender, _)) if sender.len() < 50 => sender,
        _ => "",
    }
}

#[derive(Default)]
struct Body<'a> {
    text: Option<Value>,
    sender_timestamp: Option<Value>,
    channel_idx: Option<Value>,
    attributes: Option<Value>,
    payload: Option<Value>,
    signal: Signal<'a>,
}

impl Body<'_> {
    fn text(&self) -> Option<&str> {
        self.text.as_ref().and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    fn channel_index(&self) -> Option<String> {
        let inner = self.attributes.as_ref().and_then(|a| a.get("channel_idx"));
        match self.channel_idx.as_ref().or(inner)? {
            Value::Number(index) => Some(index.to_string()),
            Value::String(index) => Some(index.clone()),
            _ => None,
        }
    }
}

impl<'de> Fields<'de> for Body<'de> {
    fn take<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let field = match key {
            "text" => &mut self.text,
            "sender_timestamp" => &mut self.sender_timestamp,
            "channel_idx" => &mut self.channel_idx,
            "attributes" => &mut self.attributes,
            "payload" => &mut self.payload,
            _ => return self.signal.take(key, map),
        };
        *field = Some(map.next_value()?);
        Ok(())
    }
}
