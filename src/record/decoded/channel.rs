//! GRP_TXT (`CHAN` once it is opened) and GRP_DATA.

use super::{is_empty, is_zero};
use crate::crypto::channel::{GroupData, GroupText, Opened};
use crate::packet::hex::Hex;
use crate::packet::payload::Group;

use serde::{Serialize, Serializer};

/// A channel message, opened or not.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Channel<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "is_empty")]
    mac: Hex<'a>,
    #[serde(skip_serializing_if = "is_empty")]
    encrypted_data: Hex<'a>,
    #[serde(skip_serializing_if = "is_zero")]
    channel_hash: u8,
    channel_hash_hex: UpperHexByte,
    decryption_status: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_type: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_len: Option<u8>,
    #[serde(skip_serializing_if = "is_empty")]
    decrypted_blob: Hex<'a>,
    #[serde(skip_serializing_if = "String::is_empty")]
    text: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    sender: &'a str,
    #[serde(rename = "sender_timestamp", skip_serializing_if = "is_zero")]
    sender_timestamp: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

/// A GRP_TXT.
pub(super) fn text<'a>(group: &'a Group<'a>, opened: &'a Opened<GroupText>) -> Channel<'a> {
    let Opened::With { channel, content } = opened else {
        return sealed("GRP_TXT", group, opened.status());
    };
    let sender = content.sender.as_deref().unwrap_or_default();
    let text = match content.message.as_str() {
        message if sender.is_empty() || message.is_empty() => message.to_owned(),
        message => format!("{sender}: {message}"),
    };
    let sender_timestamp = content.timestamp;
    Channel { text, sender, sender_timestamp, ..open("CHAN", group, channel) }
}

/// A GRP_DATA.
pub(super) fn data<'a>(group: &'a Group<'a>, opened: &'a Opened<GroupData>) -> Channel<'a> {
    let Opened::With { channel, content } = opened else {
        return sealed("GRP_DATA", group, opened.status());
    };
    Channel {
        data_type: Some(content.data_type),
        data_len: Some(content.data_len),
        decrypted_blob: Hex(content.data.as_deref().unwrap_or_default()),
        error: content.data.is_none().then_some("inner data_len exceeds buffer"),
        ..open("GRP_DATA", group, channel)
    }
}

/// One that stays closed.
pub(super) fn sealed<'a>(
    kind: &'static str,
    group: &'a Group<'a>,
    decryption_status: &'static str,
) -> Channel<'a> {
    let (mac, encrypted_data) = (Hex(&group.mac), Hex(group.ciphertext));
    Channel { mac, encrypted_data, decryption_status, ..open(kind, group, "") }
}

fn open<'a>(kind: &'static str, group: &'a Group<'a>, channel: &'a str) -> Channel<'a> {
    Channel {
        kind,
        mac: Hex(&[]),
        encrypted_data: Hex(&[]),
        channel_hash: group.channel_hash,
        channel_hash_hex: UpperHexByte(group.channel_hash),
        decryption_status: "decrypted",
        channel,
        data_type: None,
        data_len: None,
        decrypted_blob: Hex(&[]),
        text: String::new(),
        sender: "",
        sender_timestamp: 0,
        error: None,
    }
}

/// One byte as two upper-case digits.
struct UpperHexByte(u8);

impl Serialize for UpperHexByte {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{:02X}", self.0))
    }
}
