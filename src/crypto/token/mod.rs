//! Login tokens: how the holder of a MeshCore private key shows a broker that it is one.
//!
//! ```text
//! user name   v1_ + 64 hex digits: the public key
//! password    b64url(header) . b64url(claims) . hex(signature)        no padding
//!
//! header      {"alg":"Ed25519","typ":"JWT"}
//! claims      {"publicKey":"…","iat":s,"exp":s,"aud":"host",…}
//! signature   Ed25519 over the ASCII of `header.claims`, 128 hex digits of either case
//! ```
//!
//! The form is that of `@michaelhart/meshcore-decoder` (`src/utils/auth-token.ts`), which uploaders
//! and public brokers share. Reading and judging are apart, so that a person can be shown what is in
//! a token that is refused.

mod claims;
mod error;
mod mint;
#[cfg(test)]
mod tests;

pub use claims::Claims;
pub use error::Error;
pub use mint::{SigningKey, mint};

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::{Map, Value};

/// The longest token that is read, in bytes. Those of all known uploaders have 400 to 600, with room
/// for 768 in the observer firmwares.
pub const LONGEST: usize = 4 * 1024;

/// What the user name of a token login begins with.
const PREFIX: &str = "v1_";

/// `alg` and `typ`: the reference takes no others.
const ALGORITHM: &str = "Ed25519";
const TYPE: &str = "JWT";

/// A token that has the right form; what it says is not yet believed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The key that it claims to be signed with.
    pub public_key: [u8; 32],
    /// What else it claims.
    pub claims: Claims,
    signed: Vec<u8>,
    signature: [u8; 64],
}

/// What a token is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The key of the user name; `None`: any.
    pub public_key: Option<&'a [u8; 32]>,
    /// The names of which the audience has to be one, compared without regard to case; empty: any.
    pub audiences: &'a [String],
    /// Seconds since the Unix epoch; `None` while the clock cannot be trusted: times are not judged.
    pub now_s: Option<i64>,
    /// How far the clocks of the two ends may be apart, in seconds.
    pub skew_s: i64,
}

/// Whether a user name announces a token: `v1_`, whatever follows. No account has such a name.
pub fn is_announced_by(username: &str) -> bool {
    username.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// The public key in a user name `v1_…`, its hex digits in either case.
pub fn key_in(username: &str) -> Option<[u8; 32]> {
    let digits = username.get(PREFIX.len()..).filter(|_| is_announced_by(username))?;
    hex::decode(digits).ok()?.try_into().ok()
}

/// The user name that goes with a key's tokens.
pub fn username(public_key: &[u8; 32]) -> String {
    format!("{PREFIX}{}", hex::encode_upper(public_key))
}

impl Token {
    /// Takes a token apart. White space around it, as it comes with copying, is not a part of it.
    ///
    /// # Errors
    /// [`Error`], those of form.
    pub fn parse(token: &[u8]) -> Result<Self, Error> {
        let token = token.trim_ascii();
        if token.len() > LONGEST {
            return Err(Error::TooLong { bytes: token.len(), most: LONGEST });
        }
        let parts: Vec<&[u8]> = token.split(|byte| *byte == b'.').collect();
        let [header, claims, signature] = parts[..] else {
            return Err(Error::Parts { found: parts.len() });
        };
        check_header(&object("header", header)?)?;
        let (public_key, read) = Claims::read(&object("claims", claims)?)?;
        let digits = Error::SignatureForm { digits: signature.len() };
        let signature = hex::decode(signature).ok().and_then(|bytes| bytes.try_into().ok());
        let signature = signature.ok_or(digits)?;
        let signed = [header, b".", claims].concat();
        Ok(Self { public_key, claims: read, signed, signature })
    }

    /// Judges it: the key, the signature, the audience, the times, in this order, so that nothing of
    /// a forged token is reported as if its owner had said it.
    ///
    /// Small-order keys are refused here, other than in adverts: anybody can sign for them.
    ///
    /// # Errors
    /// The first thing that is wrong, with what was found and what was expected.
    pub fn judge(&self, expected: &Expected<'_>) -> Result<(), Error> {
        if let Some(key) = expected.public_key.filter(|key| **key != self.public_key) {
            return Err(Error::OtherKey { found: self.public_key, expected: *key });
        }
        let key = VerifyingKey::from_bytes(&self.public_key).map_err(|_| Error::Signature)?;
        let signature = Signature::from_bytes(&self.signature);
        key.verify_strict(&self.signed, &signature).map_err(|_| Error::Signature)?;
        self.judge_audience(expected.audiences)?;
        expected.now_s.map_or(Ok(()), |now_s| self.judge_times(now_s, expected.skew_s))
    }

    fn judge_audience(&self, expected: &[String]) -> Result<(), Error> {
        let received = &self.claims.audience;
        let ours = |name: &String| expected.iter().any(|expected| same_host(expected, name));
        if expected.is_empty() || received.iter().any(ours) {
            return Ok(());
        }
        Err(Error::Audience { received: received.clone(), expected: expected.to_vec() })
    }

    fn judge_times(&self, now_s: i64, skew_s: i64) -> Result<(), Error> {
        let Claims { issued_at_s, expires_at_s, .. } = self.claims;
        let ahead_s = issued_at_s.saturating_sub(now_s);
        if ahead_s > skew_s {
            return Err(Error::NotYetValid { ahead_s });
        }
        let ago_s = expires_at_s.map(|at| now_s.saturating_sub(at));
        match ago_s.filter(|ago_s| *ago_s > skew_s) {
            Some(ago_s) => Err(Error::Expired { ago_s }),
            None => Ok(()),
        }
    }
}

/// The token itself is a secret for as long as it is valid.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({})", hex::encode_upper(self.public_key))
    }
}

/// Host names and addresses are compared without regard to case and to the final dot.
fn same_host(a: &str, b: &str) -> bool {
    let bare = |name: &str| name.trim().trim_end_matches('.').to_ascii_lowercase();
    bare(a) == bare(b)
}

fn object(part: &'static str, encoded: &[u8]) -> Result<Map<String, Value>, Error> {
    let json = BASE64URL_NOPAD.decode(encoded).map_err(|_| Error::Encoding { part })?;
    match serde_json::from_slice(&json) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(Error::Json { part }),
    }
}

fn check_header(header: &Map<String, Value>) -> Result<(), Error> {
    let word = |key| header.get(key).and_then(Value::as_str).unwrap_or_default();
    let (algorithm, kind) = (word("alg"), word("typ"));
    if algorithm == ALGORITHM && kind == TYPE {
        return Ok(());
    }
    Err(Error::Header { algorithm: algorithm.to_owned(), kind: kind.to_owned() })
}
