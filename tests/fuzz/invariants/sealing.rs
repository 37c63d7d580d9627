//! Sealing, as nodes do: what is behind a MAC would hardly ever be reached else.

use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Block};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// MAC and ciphertext of at least one block and at most so many.
pub(super) fn seal(key: &[u8], plain: &[u8], most: usize) -> ([u8; 2], Vec<u8>) {
    let mut ciphertext = plain.to_vec();
    ciphertext.resize(plain.len().div_ceil(16).clamp(1, most) * 16, 0);
    let (blocks, _) = Block::slice_as_chunks_mut(&mut ciphertext);
    Aes128::new(&Array(key[..16].try_into().expect("16 bytes"))).encrypt_blocks(blocks);
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    let mac = mac.chain_update(&ciphertext).finalize().into_bytes();
    ([mac[0], mac[1]], ciphertext)
}
