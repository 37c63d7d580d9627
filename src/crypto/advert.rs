//! Advert signatures: Ed25519 over public key ‖ timestamp ‖ app data (firmware `src/Mesh.cpp`).

use super::peer::NodeKey;

use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};

/// Whether `signature` is the key's own over `signed` (public key ‖ timestamp LE ‖ app data).
///
/// The rules are those of RFC 8032 without the cofactor, as CoreScope's: an S that is not reduced
/// is refused, a point of small order is not. An advert that either of them takes is taken here.
pub fn verify(public_key: &[u8; 32], signature: &[u8; 64], signed: &[u8]) -> bool {
    VerifyingKey::from_bytes(public_key)
        .is_ok_and(|key| key.verify(signed, &Signature::from_bytes(signature)).is_ok())
}

/// A node that signs its own adverts. `Debug` shows its public key only.
#[derive(Clone)]
pub struct Identity(SigningKey);

impl Identity {
    /// The identity that follows from 32 secret bytes (RFC 8032 §5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The node's public key.
    pub fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// The signature over `signed` (public key ‖ timestamp LE ‖ app data).
    pub fn sign(&self, signed: &[u8]) -> [u8; 64] {
        self.0.sign(signed).to_bytes()
    }

    /// The same node's key for packets between two nodes.
    pub fn node_key(&self) -> NodeKey {
        let mut expanded = [0; 64];
        super::copy_start(&mut expanded, &self.0.to_scalar_bytes());
        NodeKey::from_expanded(&expanded)
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", hex::encode(self.public_key()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Payloads of adverts as they were heard on air, of three repeaters.
    const HEARD: [&str; 3] = [
        "7E7662676F7F0850A8A355BAAFBFC1EB7B4174C340442D7D7161C9474A2C94006CE7CF682E58408DD8FCC51906ECA98EBF94A037886BDADE7ECD09FD92B839491DF3809C9454F5286D1D3370AC31A34593D569E9A042A3B41FD331DFFB7E18599CE1E60992A076D50238C5B8F85757375354522F50756765744D65736820436F75676172",
        "46D62DE27D4C5194D7821FC5A34A45565DCC2537B300B9AB6275255CEFB65D840CE5C169C94C9AED39E8BCB6CB6EB0335497A198B33A1A610CD3B03D8DCFC160900E5244280323EE0B44CACAB8F02B5B38B91CFA18BD067B0B5E63E94CFC85F758A8530B9240933402E0E6B8F84D5252322D52",
        "8A91F89957E6D30CA51F36E28790228971C473B755F244F718754CF5EE4A2FD58D944466E42CDED140C66D0CC590183E32BAF40F112BE8F3F2BDF6012B4B2793C52F1D36F69EE054D9A05593286F78453E56C0EC4A3EB95DDA2A7543FCCC00B939CACC009278603902FC12BCF84B706120526F6F6620536F6C6172",
    ];

    /// Key, signature and signed bytes of an advert payload.
    fn parts(payload: &str) -> ([u8; 32], [u8; 64], Vec<u8>) {
        let bytes = hex::decode(payload).unwrap();
        let signed = [&bytes[..36], &bytes[100..]].concat();
        (bytes[..32].try_into().unwrap(), bytes[36..100].try_into().unwrap(), signed)
    }

    #[test]
    fn adverts_heard_on_air_have_valid_signatures() {
        for payload in HEARD {
            let (key, signature, signed) = parts(payload);
            assert!(verify(&key, &signature, &signed), "{payload}");
        }
    }

    #[test]
    fn one_changed_bit_anywhere_makes_it_invalid() {
        let (key, signature, signed) = parts(HEARD[1]);
        for at in 0..signed.len() {
            let mut other = signed.clone();
            other[at] ^= 1;
            assert!(!verify(&key, &signature, &other), "signed byte {at}");
        }
        for at in 0..64 {
            let mut other = signature;
            other[at] ^= 1;
            assert!(!verify(&key, &other, &signed), "signature byte {at}");
        }
        assert!(!verify(&[0xFF; 32], &signature, &signed), "not a point of the curve");
    }

    #[test]
    fn a_scalar_that_is_not_reduced_is_refused() {
        // S + L names the same scalar; Go and RFC 8032 §5.1.7 refuse it.
        const L: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
        let (key, mut signature, signed) = parts(HEARD[1]);
        let mut carry = 0u16;
        for (s, l) in signature[32..].iter_mut().zip(hex::decode(L).unwrap()) {
            let sum = u16::from(*s) + u16::from(l) + carry;
            [*s, _] = sum.to_le_bytes();
            carry = sum >> 8;
        }
        assert!(!verify(&key, &signature, &signed));
    }

    #[test]
    fn a_key_of_small_order_is_judged_as_go_judges_it() {
        // The neutral element as key and R, S = 0: every message verifies in Go and here,
        // and would not under `verify_strict`.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(verify(&neutral, &signature, b"anything"));
    }
}
