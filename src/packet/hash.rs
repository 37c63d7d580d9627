//! Content hashes: what makes two receptions one transmission.
//!
//! ```text
//! firmware  SHA-256( type 0–15 │ TRACE only: path length, 00 │ payload )   first 8 bytes
//! 2026-04   SHA-256( header byte                             │ payload )   first 8 bytes
//! ```
//!
//! Path and transport codes are in neither, so the copies of one message that reach several
//! observers over several paths are one. The firmware's formula leaves the route out as well: the
//! flooded, the direct and the scoped copy of a message are one. A TRACE is another one at each hop.

use super::frame::Frame;
use super::header::PayloadType;

use sha2::{Digest as _, Sha256};
use std::fmt;

/// How packets are hashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Formula {
    /// The firmware's (`Packet::calculatePacketHash`), also CoreScope's of July 2026.
    #[default]
    Firmware,
    /// CoreScope's of April 2026: the whole header byte, no special case for TRACE.
    CoreScope202604,
}

/// The whole digest. Only its first eight bytes are the content hash; the rest is for those who
/// must not be fooled by two packets made to share a content hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Hashes a packet.
    ///
    /// ```
    /// use meshbox::packet::{Frame, hash::{Digest, Formula}, hex};
    /// let bytes = hex::parse("0A00D69FD7A5A7475DB07337749AE61FA53A4788E976").unwrap();
    /// let frame = Frame::parse(&bytes).unwrap();
    /// let hash = |formula| Digest::of(&frame, formula).content_hash().to_string();
    /// assert_eq!(hash(Formula::Firmware), "b1f07307cbc01ce5");
    /// assert_eq!(hash(Formula::CoreScope202604), "08b87f6518bc03b1");
    /// ```
    pub fn of(frame: &Frame<'_>, formula: Formula) -> Self {
        let mut sha = Sha256::new();
        match formula {
            Formula::Firmware => {
                sha.update([frame.header.payload_type.nibble()]);
                if frame.header.payload_type == PayloadType::Trace {
                    sha.update([frame.path.length_byte(), 0]);
                }
            }
            Formula::CoreScope202604 => sha.update([frame.header.to_byte()]),
        }
        sha.update(frame.body);
        Self(sha.finalize().into())
    }

    /// The content hash.
    pub fn content_hash(&self) -> ContentHash {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        ContentHash([a, b, c, d, e, f, g, h])
    }
}

/// Eight bytes that name a transmission; prints as 16 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContentHash(pub [u8; 8]);

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::hex::Hex(&self.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::hex;

    fn hashes(text: &str) -> (String, String) {
        let bytes = hex::parse(text).unwrap();
        let frame = Frame::parse(&bytes).unwrap();
        let hash = |formula| Digest::of(&frame, formula).content_hash().to_string();
        (hash(Formula::CoreScope202604), hash(Formula::Firmware))
    }

    #[test]
    fn a_trace_has_another_hash_at_each_hop_by_the_firmware_and_one_by_the_old_formula() {
        for (envelope, firmware) in [
            ("2600", "84d56cecd765df0e"),
            ("260130", "5ffae4803966ac8f"),
            ("2602302D", "1be37361d29bd567"),
            ("2603302D0D", "5ebd4ed87c61a57f"),
            ("2604302D0D23", "af081a2c41281b1e"),
        ] {
            let (old, new) = hashes(&format!("{envelope}59FEE7B100000000006733D63367"));
            assert_eq!((old.as_str(), new.as_str()), ("2625543edccad0be", firmware));
        }
    }

    #[test]
    fn the_route_matters_to_the_old_formula_only_and_the_path_to_neither() {
        let body = "B4FB207D44D93E3ABBEE913076978C95126F7D2CDCE78E1DCB97";
        let plain = hashes(&format!("1500{body}"));
        let relayed = hashes(&format!("1582010203040506{body}"));
        let direct = hashes(&format!("1600{body}"));
        assert_eq!(plain, relayed);
        assert_eq!(plain.1, direct.1);
        assert_ne!(plain.0, direct.0);
    }
}
