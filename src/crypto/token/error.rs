//! What can be wrong with a token: each in words for the person who set the uploader up, and with a
//! name to count it by.

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More than anybody needs.
    #[error("the token has {bytes} bytes, more than the {most} that are read")]
    TooLong {
        /// Its bytes.
        bytes: usize,
        /// How many may be.
        most: usize,
    },
    /// Not `header.claims.signature`.
    #[error(
        "the password is no token: it has {found} parts between dots and not 3; a user name that \
         begins with v1_ goes with a token, so set the uploader's login method to token"
    )]
    Parts {
        /// Parts between dots.
        found: usize,
    },
    /// A part that is not base64url without padding.
    #[error("the token's {part} is not base64url without padding")]
    Encoding {
        /// `header` or `claims`.
        part: &'static str,
    },
    /// A part that is no JSON object.
    #[error("the token's {part} is no JSON object")]
    Json {
        /// `header` or `claims`.
        part: &'static str,
    },
    /// Another kind of token.
    #[error(
        "the token says alg {} and typ {} and not \"Ed25519\" and \"JWT\"",
        shown(algorithm),
        shown(kind)
    )]
    Header {
        /// Its `alg`.
        algorithm: String,
        /// Its `typ`.
        kind: String,
    },
    /// A claim that is missing or of another type.
    #[error("the token's {claim} is missing or not {wanted}")]
    Claim {
        /// Its name.
        claim: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// A signature that is none.
    #[error("the token's signature has {digits} characters and not 128 hex digits")]
    SignatureForm {
        /// Its characters.
        digits: usize,
    },
    /// The token of another observer.
    #[error(
        "the token is for the key {} and the user name for {}",
        hex::encode_upper(found),
        hex::encode_upper(expected)
    )]
    OtherKey {
        /// The token's key.
        found: [u8; 32],
        /// The user name's.
        expected: [u8; 32],
    },
    /// Signed with another key, or changed on the way.
    #[error("the token's signature is not that of its key")]
    Signature,
    /// For another broker.
    #[error(
        "the token is for {}, and we are {}; set the uploader's token audience to one of these, or \
         add its name to broker.audience",
        listed(received),
        listed(expected)
    )]
    Audience {
        /// What it says; nothing for a token without audience.
        received: Vec<String>,
        /// What would be right.
        expected: Vec<String>,
    },
    /// From the future.
    #[error("the token is from {ahead_s} s in the future; is the gateway's clock right?")]
    NotYetValid {
        /// Seconds until it was issued.
        ahead_s: i64,
    },
    /// Too old.
    #[error("the token expired {ago_s} s ago; is the gateway's clock right?")]
    Expired {
        /// Seconds since it expired.
        ago_s: i64,
    },
}

impl Error {
    /// The name under which it is counted.
    pub fn name(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "token_too_long",
            Self::Parts { .. } | Self::Encoding { .. } | Self::Json { .. } => "token_malformed",
            Self::Header { .. } => "token_of_another_kind",
            Self::Claim { .. } => "token_claim_missing",
            Self::SignatureForm { .. } => "token_malformed",
            Self::OtherKey { .. } => "token_of_another_key",
            Self::Signature => "token_signature_wrong",
            Self::Audience { .. } => "token_audience_wrong",
            Self::NotYetValid { .. } => "token_from_the_future",
            Self::Expired { .. } => "token_expired",
        }
    }

    /// Whether the token is its owner's word, and only not for us or not for now: another one from
    /// the same uploader may be taken.
    pub fn is_genuine(&self) -> bool {
        matches!(self, Self::Audience { .. } | Self::NotYetValid { .. } | Self::Expired { .. })
    }
}

/// So much of a stranger's word is shown, in characters.
const SHOWN: usize = 100;

/// In quotes, with control characters escaped, so that it cannot end the line of a log.
fn shown(text: &str) -> String {
    let start: String = text.chars().take(SHOWN).collect();
    format!("{start:?}")
}

fn listed(names: &[String]) -> String {
    const NAMES: usize = 12;
    if names.is_empty() {
        return "no audience at all".to_owned();
    }
    let more = if names.len() > NAMES { ", …" } else { "" };
    let names: Vec<_> = names.iter().take(NAMES).map(|name| shown(name)).collect();
    format!("{}{more}", names.join(", "))
}
