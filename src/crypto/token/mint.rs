//! Making tokens, with the private key of a node.

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use sha2::Sha512;

use super::{ALGORITHM, Claims, TYPE};

/// A node's private key, ready to sign. `Debug` shows its public key only.
pub struct SigningKey {
    expanded: ExpandedSecretKey,
    public: VerifyingKey,
}

impl SigningKey {
    /// A key in MeshCore's own form: 64 bytes, the clamped scalar and the signing prefix, not a seed
    /// (firmware `src/Identity.cpp`).
    pub fn from_expanded(private: &[u8; 64]) -> Self {
        let expanded = ExpandedSecretKey::from_bytes(private);
        let public = VerifyingKey::from(&expanded);
        Self { expanded, public }
    }

    /// The node's public key.
    pub fn public_key(&self) -> &[u8; 32] {
        self.public.as_bytes()
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", hex::encode_upper(self.public_key()))
    }
}

/// A token of this key; the user name that goes with it is [`super::username`]. The same key and
/// claims always give the same token.
pub fn mint(key: &SigningKey, claims: &Claims) -> String {
    let header = format!(r#"{{"alg":"{ALGORITHM}","typ":"{TYPE}"}}"#);
    let claims = claims.written(key.public_key());
    let [header, claims] = [header, claims].map(|part| BASE64URL_NOPAD.encode(part.as_bytes()));
    let signed = format!("{header}.{claims}");
    let signature = raw_sign::<Sha512>(&key.expanded, signed.as_bytes(), &key.public);
    format!("{signed}.{}", hex::encode_upper(signature.to_bytes()))
}
