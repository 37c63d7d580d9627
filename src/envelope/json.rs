//! JSON objects, read in one pass into the few fields that matter: unknown ones are skipped without
//! being built, texts are borrowed from the payload, the last of several equal keys wins.

use super::{Unread, number};

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The fields that a reader wants of an object.
pub(super) trait Fields<'de>: Default {
    /// Takes the value of `key` out of `map`, wanted or not.
    fn take<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error>;
}

/// Reads a payload: an object, or `null`, which is an empty one (as in Go).
pub(super) fn object<'de, F: Fields<'de>>(payload: &'de [u8]) -> Result<F, Unread> {
    match serde_json::from_slice::<Object<F, true>>(payload) {
        Ok(object) => Ok(object.0),
        Err(e) if e.is_data() => Err(Unread::NotAnObject),
        Err(_) => Err(Unread::NotJson),
    }
}

/// The payload with U+FFFD for every broken byte and every lone surrogate, as Go reads them; `None`
/// if it has neither.
pub(super) fn mended(payload: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(payload);
    match without_lone_surrogates(&text) {
        Some(mended) => Some(mended),
        None => match text {
            Cow::Owned(text) => Some(text),
            Cow::Borrowed(_) => None,
        },
    }
}

fn without_lone_surrogates(text: &str) -> Option<String> {
    let mut mended = String::new();
    let mut rest = text;
    let mut found = false;
    while let Some((before, escape)) = rest.find('\\').and_then(|at| rest.split_at_checked(at)) {
        mended.push_str(before);
        let (kept, len) = match (surrogate(escape), escape.get(6..).and_then(surrogate)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => (escape, 12),
            (Some(_), _) => {
                found = true;
                ("\\ufffd", 6)
            }
            // The character behind the backslash belongs to it, or `\\ud800` would look like one.
            (None, _) => (escape, 1 + escape.chars().nth(1).map_or(0, char::len_utf8)),
        };
        mended.push_str(kept.get(..len).unwrap_or(kept));
        rest = escape.get(len..).unwrap_or_default();
    }
    mended.push_str(rest);
    found.then_some(mended)
}

/// The code unit of an escape such as `\uD83D` at the start of `text`, if it is a surrogate.
fn surrogate(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok().filter(|unit| (0xD800..=0xDFFF).contains(unit))
}

/// A value as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Scalar<'a> {
    /// Not there, or `null`.
    #[default]
    Absent,
    Bool(bool),
    /// Always finite: JSON has no other numbers.
    Number(f64),
    Text(Cow<'a, str>),
    /// An array or an object.
    Other,
}

impl Scalar<'_> {
    /// A text that is not empty.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// A number, or a text that is one, with or without a unit.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Number(n) => Some(*n),
            Self::Text(text) => number::from_text(text),
            Self::Absent | Self::Bool(_) | Self::Other => None,
        }
    }
}

/// An object read into its fields; `STRICT` ones refuse everything else but `null`.
pub(super) struct Object<F, const STRICT: bool>(pub(super) F);

impl<'de, F: Fields<'de>, const STRICT: bool> Deserialize<'de> for Object<F, STRICT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<F, const STRICT: bool>(PhantomData<F>);

impl<F: Default, const STRICT: bool> ObjectVisitor<F, STRICT> {
    fn other<E: serde::de::Error>() -> Result<Object<F, STRICT>, E> {
        if STRICT { Err(E::custom("not an object")) } else { Ok(Object(F::default())) }
    }
}

impl<'de, F: Fields<'de>, const STRICT: bool> Visitor<'de> for ObjectVisitor<F, STRICT> {
    type Value = Object<F, STRICT>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = F::default();
        while let Some(key) = map.next_key::<Key<'de>>()? {
            fields.take(&key.0, &mut map)?;
        }
        Ok(Object(fields))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Object(F::default()))
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<Self::Value, E> {
        Self::other()
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Self::Value, E> {
        Self::other()
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<Self::Value, E> {
        Self::other()
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Self::Value, E> {
        Self::other()
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Self::Value, E> {
        Self::other()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Self::other()
    }
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Absent)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Bool(value))
    }

    #[expect(clippy::cast_precision_loss, reason = "JSON numbers are f64 to every publisher")]
    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(value as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "JSON numbers are f64 to every publisher")]
    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}

/// A key, borrowed where it has no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(value)))
            }

            fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(value.to_owned())))
            }
        }

        deserializer.deserialize_str(KeyVisitor)
    }
}

/// Takes a value that is a number, or a text that is one.
pub(super) fn take_number<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<f64>, A::Error> {
    Ok(map.next_value::<Scalar<'de>>()?.number())
}

/// Skips a value that nobody wants.
pub(super) fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(|_| ())
}
