//! MeshCore's cipher (firmware `src/Utils.cpp`): AES-128-ECB under the first 16 bytes of a key, and
//! over the ciphertext an HMAC-SHA256 under the whole key, of which two bytes go on air.

use super::{Mac, copy_start, keyed_mac};

use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes128Dec, Aes128Enc, Block};
use hmac::Mac as _;

/// A key of 16 or 32 bytes, ready for use: its HMAC state is built once and not for every message.
#[derive(Clone)]
pub(super) struct Cipher {
    key: [u8; 16],
    mac: Mac,
}

impl Cipher {
    pub(super) fn new(key: &[u8]) -> Self {
        let mut first = [0; 16];
        copy_start(&mut first, key);
        Self { key: first, mac: keyed_mac(key) }
    }

    /// The plaintext, zeros at its end included, if the MAC holds and there are whole blocks; the MAC
    /// comes first, as in the firmware's `Utils::MACThenDecrypt`.
    pub(super) fn open(&self, mac: [u8; 2], ciphertext: &[u8]) -> Option<Vec<u8>> {
        let ours = self.mac.clone().chain_update(ciphertext);
        ours.verify_truncated_left(&mac).ok()?;
        let mut plain = ciphertext.to_vec();
        let (blocks, rest) = Block::slice_as_chunks_mut(&mut plain);
        if !rest.is_empty() {
            return None;
        }
        Aes128Dec::new(&Array(self.key)).decrypt_blocks(blocks);
        Some(plain)
    }

    /// MAC and ciphertext, as a node makes them: the last block filled up with zeros.
    pub(super) fn seal(&self, plain: &[u8]) -> ([u8; 2], Vec<u8>) {
        let mut sealed = plain.to_vec();
        sealed.resize(plain.len().next_multiple_of(16), 0);
        let (blocks, _) = Block::slice_as_chunks_mut(&mut sealed);
        Aes128Enc::new(&Array(self.key)).encrypt_blocks(blocks);
        let mut mac = [0; 2];
        copy_start(&mut mac, &self.mac.clone().chain_update(&sealed).finalize().into_bytes());
        (mac, sealed)
    }
}
