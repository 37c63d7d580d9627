//! A packet and all that can be told about it: the same for the pipeline and for `meshbox decode`.

use super::decoded::Decoded;
use super::inside::Inside;
use super::rules::Rules;
use crate::crypto;
use crate::packet::hash::Digest;
use crate::packet::hex::Hex;
use crate::packet::payload::Advert;
use crate::packet::{Frame, Packet, Payload};

/// A packet and all that can be told about it with our keys and regions.
#[derive(Clone, Debug)]
pub struct Reading<'a> {
    /// The packet, its payload unread.
    pub frame: Frame<'a>,
    /// The packet.
    pub packet: Packet<'a>,
    /// Its hash by the formula of the rules.
    pub digest: Digest,
    /// What keys tell about it.
    pub inside: Inside,
}

impl<'a> Reading<'a> {
    /// Reads a frame's payload and opens it. `judge` is asked whether an advert's signature is good,
    /// and may remember the answer.
    pub fn of(
        frame: Frame<'a>,
        rules: &Rules,
        judge: impl FnOnce(&Advert<'a>, Digest) -> Option<bool>,
    ) -> Self {
        let packet = Packet::of(&frame);
        let digest = Digest::of(&frame, rules.formula);
        let inside = Inside::of(&packet, &rules.keyring, |advert| judge(advert, digest));
        Self { frame, packet, digest, inside }
    }

    /// CoreScope's `decoded_json`.
    pub fn decoded(&self) -> Decoded<'_> {
        Decoded { packet: &self.packet, inside: &self.inside }
    }

    /// The hops that the packet names, in upper-case hex.
    pub fn hops(&self) -> Vec<String> {
        self.packet.hops().map(|hop| format!("{:X}", Hex(hop))).collect()
    }

    /// The `path_json` column: the hops as a JSON array.
    pub fn path_json(&self) -> String {
        // Hex digits need no escaping.
        match self.hops().join("\",\"") {
            none if none.is_empty() => "[]".to_owned(),
            hops => format!("[\"{hops}\"]"),
        }
    }

    /// The `channel_hash` column.
    pub fn channel_column(&self) -> Option<String> {
        self.inside.channel_column(&self.packet)
    }

    /// The `from_pubkey` column: the advertiser, for an advert that can be read.
    pub fn from_pubkey(&self) -> Option<String> {
        self.advert().map(|advert| Hex(advert.public_key).to_string())
    }

    /// The `scope_name` column: `None` for a packet without a scope, empty for a scope of no region
    /// we know, else the region's `#name`. Code 1 of zero means "forward nowhere", which is no scope.
    pub fn scope_name(&self, rules: &Rules) -> Option<String> {
        let code = self.frame.transport?.scope;
        let payload_type = self.frame.header.payload_type.nibble();
        let name = || rules.regions.name_of(code, payload_type, self.frame.body);
        (code != 0).then(|| name().unwrap_or_default().to_owned())
    }

    /// The advert, if it is one.
    pub fn advert(&self) -> Option<&Advert<'a>> {
        match &self.packet.payload {
            Payload::Advert(advert) => Some(advert),
            _ => None,
        }
    }

    /// Whether an advert's signature is the node's own; `None` where nobody has checked.
    pub fn signature_valid(&self) -> Option<bool> {
        match self.inside {
            Inside::Signature(valid) => valid,
            _ => None,
        }
    }
}

/// Checks an advert's signature.
pub fn signature_is_good(advert: &Advert<'_>) -> bool {
    crypto::advert::verify(advert.public_key, advert.signature, &advert.signed())
}
