//! ADVERT: a node presents itself (firmware `Mesh::createAdvert`, `Mesh::onRecvPacket`).
//!
//! ```text
//! public key | timestamp | signature | app data
//!     32     |     4     |    64     |   0–32
//! ```
//!
//! The Ed25519 signature is over public key ‖ timestamp ‖ app data ([`crate::crypto::advert`]). The
//! firmware takes the first 32 bytes of app data, to verify and to read; so do we, and what is
//! beyond them is kept but means nothing. The timestamp is the node's own clock, often wrong.

use super::app_data::AppData;
use super::name::Quoted;
use crate::packet::cursor::{Cursor, split};
use crate::packet::error::Undecodable;
use crate::packet::hex::Hex;
use crate::packet::sink::Sink;

use std::fmt;

/// A node presents itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advert<'a> {
    /// The node's identity.
    pub public_key: &'a [u8; 32],
    /// The node's clock, Unix seconds.
    pub timestamp: u32,
    /// The node's signature.
    pub signature: &'a [u8; 64],
    /// What it says about itself.
    pub app_data: AppData<'a>,
    /// Bytes beyond the 32 of app data that count.
    pub beyond: &'a [u8],
}

/// The bytes before the app data.
const FIXED: usize = 100;

/// The most app data that counts (firmware `MAX_ADVERT_DATA_SIZE`).
pub const MAX_APP_DATA: usize = 32;

impl<'a> Advert<'a> {
    /// Reads the payload.
    ///
    /// # Errors
    /// [`Undecodable::TooShort`] under 100 bytes.
    pub fn parse(cursor: &mut Cursor<'a>) -> Result<Self, Undecodable> {
        super::at_least(FIXED, cursor)?;
        let (public_key, timestamp) = (cursor.array()?, cursor.u32()?);
        let signature = cursor.array()?;
        let at = cursor.at();
        let (app_data, beyond) = split(cursor.rest(), MAX_APP_DATA);
        let app_data = AppData::parse(&mut Cursor::starting_at(app_data, at));
        Ok(Self { public_key, timestamp, signature, app_data, beyond })
    }

    /// What the signature is over.
    pub fn signed(&self) -> Vec<u8> {
        let mut signed = Vec::with_capacity(36 + MAX_APP_DATA);
        signed.extend_from_slice(self.public_key);
        signed.extend_from_slice(&self.timestamp.to_le_bytes());
        self.app_data.emit(&mut signed);
        signed
    }

    /// Writes the payload.
    pub fn emit(&self, out: &mut impl Sink) {
        out.field("public key", self.public_key, format_args!("the node's identity"));
        let timestamp = self.timestamp;
        out.field("timestamp", &timestamp.to_le_bytes(), format_args!("{}", super::utc(timestamp)));
        out.field("signature", self.signature, format_args!("over key, timestamp and app data"));
        self.app_data.emit(out);
        super::emit_rest(self.beyond, out);
    }
}

impl fmt::Display for Advert<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", Hex(self.public_key), super::utc(self.timestamp))?;
        let Some(fields) = self.app_data.fields() else {
            return Ok(());
        };
        write!(f, ", {}", fields.node_type)?;
        if let Some(name) = fields.name() {
            write!(f, " {}", Quoted(&name))?;
        }
        match fields.position {
            Some(position) => write!(f, " at {:.6} {:.6}", position.lat(), position.lon()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::payload::app_data::Flags;

    fn bytes(app_data: &[u8]) -> Vec<u8> {
        let timestamp = 1_774_314_764u32.to_le_bytes();
        [&[0x46; 32][..], &timestamp, &[0x5A; 64], app_data].concat()
    }

    #[test]
    fn a_repeater_presents_itself() {
        let bytes = bytes(b"\x82MRR2-R");
        let advert = Advert::parse(&mut Cursor::new(&bytes)).unwrap();
        let expected = format!("{} at 2026-03-24T01:12:44Z, repeater \"MRR2-R\"", "46".repeat(32));
        assert_eq!(advert.to_string(), expected);
    }

    #[test]
    fn the_signature_is_over_everything_but_itself() {
        let bytes = bytes(b"\x82MRR2-R");
        let advert = Advert::parse(&mut Cursor::new(&bytes)).unwrap();
        assert_eq!(advert.signed(), [&bytes[..36], &bytes[100..]].concat());
    }

    #[test]
    fn app_data_beyond_32_bytes_counts_for_nothing() {
        let long = [b"\x81".as_slice(), &[b'x'; 40]].concat();
        let bytes = bytes(&long);
        let advert = Advert::parse(&mut Cursor::new(&bytes)).unwrap();
        assert_eq!(advert.beyond.len(), 9);
        assert_eq!(advert.app_data.fields().unwrap().tail.len(), 31);
        assert_eq!(advert.signed(), [&bytes[..36], &bytes[100..132]].concat());
    }

    #[test]
    fn an_advert_without_app_data_is_one() {
        let bytes = bytes(&[]);
        let advert = Advert::parse(&mut Cursor::new(&bytes)).unwrap();
        assert_eq!(advert.app_data, AppData::Absent);
        assert_eq!(advert.app_data.flags(), None::<Flags>);
    }

    #[test]
    fn ninety_nine_bytes_are_too_short() {
        let error = Advert::parse(&mut Cursor::starting_at(&[0; 99], 2)).unwrap_err();
        assert_eq!(error, Undecodable::TooShort { needed: 100, had: 99, at: 2 });
    }
}
