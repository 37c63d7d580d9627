//! Advert signatures: Ed25519 over public key ‖ timestamp ‖ app data (firmware `src/Mesh.cpp`).

/// Whether `signature` is the key's own over `signed` (public key ‖ timestamp LE ‖ app data).
pub fn verify(public_key: &[u8; 32], signature: &[u8; 64], signed: &[u8]) -> bool {
    let _ = (public_key, signature, signed);
    false
}
