//! Packets between two nodes, opened with the private key of one of them.
//!
//! Both ends derive the same secret: X25519 of the own private key and the other's public key, taken
//! from Ed25519 to Montgomery form (firmware `lib/ed25519/key_exchange.c`). The 32 bytes are the key
//! of the cipher as they are, without a derivation step.

use super::cipher::Cipher;

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};

/// The private key of a node that is ours. `Debug` shows its public key only.
#[derive(Clone)]
pub struct NodeKey {
    scalar: [u8; 32],
    public: [u8; 32],
}

/// The secret that two nodes share, ready to open what one of them sent to the other.
#[derive(Clone)]
pub struct SharedSecret(Cipher);

impl NodeKey {
    /// A key in MeshCore's own form: 64 bytes, the clamped scalar and the signing prefix, not a seed
    /// (firmware `src/Identity.cpp`).
    pub fn from_expanded(private: &[u8; 64]) -> Self {
        let mut scalar = [0; 32];
        super::copy_start(&mut scalar, private);
        let public = EdwardsPoint::mul_base_clamped(scalar).compress().to_bytes();
        Self { scalar, public }
    }

    /// The node's public key; its first byte is the node's hash in payloads.
    pub fn public_key(&self) -> &[u8; 32] {
        &self.public
    }

    /// The secret shared with another node; `None` when its public key is no point of the curve.
    pub fn shared_secret(&self, peer: &[u8; 32]) -> Option<SharedSecret> {
        let peer = CompressedEdwardsY(*peer).decompress()?.to_montgomery();
        Some(SharedSecret(Cipher::new(&peer.mul_clamped(self.scalar).to_bytes())))
    }
}

impl std::fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NodeKey({})", hex::encode(self.public))
    }
}

impl SharedSecret {
    /// The plaintext of a REQ, RESPONSE, TXT_MSG, PATH or ANON_REQ, zeros at its end included; `None`
    /// when the MAC does not hold: another pair of nodes with the same hash bytes.
    pub fn open(&self, mac: [u8; 2], ciphertext: &[u8]) -> Option<Vec<u8>> {
        self.0.open(mac, ciphertext)
    }

    /// MAC and ciphertext of a plaintext, as [`SharedSecret::open`] takes them.
    pub fn seal(&self, plain: &[u8]) -> ([u8; 2], Vec<u8>) {
        self.0.seal(plain)
    }
}

impl std::fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Keys that the firmware publishes in src/Identity.cpp.
    const A: &str = "1ec77175b0918ed206f9ae04ec136d6d5d4315bb26305427f645b492e9350c10";
    const B: &str = "4852b69364572b52efa1b6bb3e6d0abed4f389a1cbfbb60a9bba2cce649caf0e";
    const B_PRIVATE: &str = "18469d6140447f77de13cd8d761e605431f52269fbff43b0925752ed9e6745435dc6a86d2568af8b70d3365db3f88234760c8ecc645ce469829bc45b65f1d5d5";

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        hex::decode(hex).unwrap().try_into().unwrap()
    }

    #[test]
    fn the_public_key_follows_from_the_private_one() {
        let key = NodeKey::from_expanded(&bytes(B_PRIVATE));
        assert_eq!(hex::encode(key.public_key()), B);
    }

    #[test]
    fn a_text_message_opens_with_the_secret_of_its_two_nodes() {
        let key = NodeKey::from_expanded(&bytes(B_PRIVATE));
        let secret = key.shared_secret(&bytes(A)).unwrap();
        let ciphertext: [u8; 16] = bytes("b1012703546b881173f1e7223f000000");
        assert_eq!(secret.open([0x6a, 0x62], &ciphertext), None, "a changed ciphertext");
        // 0a00 48 1e 886a 6206b3b1012703546b881173f1e7223f: to B, from A, MAC, one block.
        let ciphertext: [u8; 16] = bytes("6206b3b1012703546b881173f1e7223f");
        let plain = secret.open([0x88, 0x6a], &ciphertext).unwrap();
        assert_eq!(plain[..4], 1_772_919_297u32.to_le_bytes());
        assert_eq!(&plain[4..], b"\0hello\0\0\0\0\0\0");
    }

    #[test]
    fn a_key_that_is_no_point_has_no_secret() {
        let key = NodeKey::from_expanded(&bytes(B_PRIVATE));
        // y = 2 has no x on the curve.
        let mut no_point = [0; 32];
        no_point[0] = 2;
        assert!(key.shared_secret(&no_point).is_none());
    }

    #[test]
    fn no_secret_is_ever_printed() {
        let key = NodeKey::from_expanded(&bytes(B_PRIVATE));
        let secret = key.shared_secret(&bytes(A)).unwrap();
        let shown = format!("{key:?} {secret:?}");
        assert_eq!(shown, format!("NodeKey({B}) SharedSecret(…)"));
    }
}
