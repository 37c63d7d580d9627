//! What a token says, as uploaders write it and as it is read.

use core::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::error::Error;

/// What a token says beside its key. `Debug` and logs leave out owner and email: they are personal.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// `iat`: seconds since the Unix epoch.
    pub issued_at_s: i64,
    /// `exp`; `None`: it does not expire.
    pub expires_at_s: Option<i64>,
    /// `aud`: the host names or addresses of the brokers it is for; usually one.
    pub audience: Vec<String>,
    /// `owner`: the public key of a companion, in hex.
    pub owner: Option<String>,
    /// `email` of the owner.
    pub email: Option<String>,
    /// `client`: the program that made it, with its version.
    pub client: Option<String>,
}

/// The claims in the order in which meshcoretomqtt writes them.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(rename = "publicKey")]
    public_key: String,
    iat: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty", serialize_with = "one_or_many")]
    aud: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
}

impl Claims {
    /// Reads the key and the claims. Those that are not known are left alone, those that are only
    /// said to inform do not spoil a token by being of another type.
    pub(super) fn read(object: &Map<String, Value>) -> Result<([u8; 32], Self), Error> {
        let key = object.get("publicKey").and_then(Value::as_str);
        let key = key.and_then(|digits| hex::decode(digits).ok()?.try_into().ok());
        let key = key.ok_or(Error::Claim { claim: "publicKey", wanted: "64 hex digits" })?;
        let issued = seconds(object, "iat")?;
        let wanted = "seconds since 1970";
        let claims = Self {
            issued_at_s: issued.ok_or(Error::Claim { claim: "iat", wanted })?,
            expires_at_s: seconds(object, "exp")?,
            audience: audience(object)?,
            owner: text(object, "owner"),
            email: text(object, "email"),
            client: text(object, "client"),
        };
        Ok((key, claims))
    }

    /// The JSON that is signed.
    pub(super) fn written(&self, public_key: &[u8; 32]) -> String {
        let written = Written {
            public_key: hex::encode_upper(public_key),
            iat: self.issued_at_s,
            exp: self.expires_at_s,
            aud: &self.audience,
            owner: self.owner.as_deref(),
            email: self.email.as_deref(),
            client: self.client.as_deref(),
        };
        // Strings and integers always are JSON.
        serde_json::to_string(&written).unwrap_or_default()
    }
}

impl std::fmt::Debug for Claims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claims")
            .field("issued_at_s", &self.issued_at_s)
            .field("expires_at_s", &self.expires_at_s)
            .field("audience", &self.audience)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

/// Some uploaders always send owner and email, empty where there is none.
fn text(object: &Map<String, Value>, claim: &str) -> Option<String> {
    let text = object.get(claim)?.as_str().filter(|text| !text.is_empty())?;
    Some(text.to_owned())
}

/// A time; fractions, as of a clock that was not rounded, are cut off.
fn seconds(object: &Map<String, Value>, claim: &'static str) -> Result<Option<i64>, Error> {
    let number = match object.get(claim) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number,
        Some(_) => return Err(Error::Claim { claim, wanted: "seconds since 1970" }),
    };
    let fraction = || Duration::try_from_secs_f64(number.as_f64()?).ok().map(|it| it.as_secs());
    let whole = number.as_i64().or_else(|| {
        let unsigned = number.as_u64().or_else(fraction)?;
        Some(i64::try_from(unsigned).unwrap_or(i64::MAX))
    });
    whole.map(Some).ok_or(Error::Claim { claim, wanted: "seconds since 1970" })
}

/// A name, or a list of names (RFC 7519 §4.1.3).
fn audience(object: &Map<String, Value>) -> Result<Vec<String>, Error> {
    let wrong = || Error::Claim { claim: "aud", wanted: "a host name" };
    match object.get("aud") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(name)) => Ok(vec![name.clone()]),
        Some(Value::Array(names)) => {
            let name = |name: &Value| name.as_str().map(str::to_owned).ok_or_else(wrong);
            names.iter().map(name).collect()
        }
        Some(_) => Err(wrong()),
    }
}

fn one_or_many<S: Serializer>(names: &[String], out: S) -> Result<S::Ok, S::Error> {
    match names {
        [name] => out.serialize_str(name),
        names => names.serialize(out),
    }
}
