//! What keys tell about a packet: opened messages, judged signatures.

use super::unsealed::Unsealed;
use crate::crypto::channel::{GroupData, GroupText, Keyring, Opened, Sealed};
use crate::packet::payload::{Advert, Group};
use crate::packet::{Packet, Payload};

/// What keys tell about a packet, beside what its bytes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inside {
    /// The payload has no secret that a hub could know.
    Nothing,
    /// A GRP_TXT.
    Text(Opened<GroupText>),
    /// A GRP_DATA.
    Data(Opened<GroupData>),
    /// An ADVERT, and whether its signature is the node's own; `None` where nobody has checked.
    Signature(Option<bool>),
    /// A REQ, RESPONSE, TXT_MSG, PATH or ANON_REQ of one of our nodes ([`super::Opener`]).
    Unsealed(Box<Unsealed>),
}

impl Inside {
    /// Opens a channel message with our keys; `judge` finds out about an advert's signature.
    pub fn of<'a>(
        packet: &Packet<'a>,
        keyring: &Keyring,
        judge: impl FnOnce(&Advert<'a>) -> Option<bool>,
    ) -> Self {
        match &packet.payload {
            Payload::GroupText(group) => Self::Text(keyring.open_text(sealed(group))),
            Payload::GroupData(group) => Self::Data(keyring.open_data(sealed(group))),
            Payload::Advert(advert) => Self::Signature(judge(advert)),
            _ => Self::Nothing,
        }
    }

    /// CoreScope's `channel_hash` column: of a GRP_TXT the channel's name, or `enc_` and the channel
    /// hash in hex.
    pub fn channel_column(&self, packet: &Packet<'_>) -> Option<String> {
        match (&packet.payload, self) {
            (_, Self::Text(Opened::With { channel, .. })) => Some(channel.clone()),
            (Payload::GroupText(group), _) => Some(format!("enc_{:02X}", group.channel_hash)),
            _ => None,
        }
    }
}

fn sealed<'a>(group: &Group<'a>) -> Sealed<'a> {
    let Group { channel_hash, mac, ciphertext } = *group;
    Sealed { channel_hash, mac, ciphertext }
}
