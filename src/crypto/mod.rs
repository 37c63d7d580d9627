//! Keys, MACs, signatures: channel messages, peers, adverts, region scopes. Pure: no I/O, no clock, no log,
//! no panic. Keys never appear in `Debug` output.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod advert;
pub mod channel;
mod cipher;
pub mod peer;
pub mod scope;
pub mod token;

use hmac::{Hmac, KeyInit};
use sha2::{Digest, Sha256};

/// HMAC-SHA256 with its key already taken in: cloning it costs less than building it.
type Mac = Hmac<Sha256>;

/// A MAC for a key of at most 64 bytes. HMAC itself fills a shorter key up with zeros (RFC 2104 §2),
/// so that filling it up here cannot fail and changes nothing.
fn keyed_mac(key: &[u8]) -> Mac {
    let mut block = [0; 64];
    copy_start(&mut block, key);
    Mac::new(&block.into())
}

/// The first 16 bytes of the SHA-256 of a name: how hashtag channels and regions get their keys.
fn name_key(name: &str) -> [u8; 16] {
    let mut key = [0; 16];
    copy_start(&mut key, &Sha256::digest(name));
    key
}

/// Copies as much of `from` as both have room for.
fn copy_start(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}
