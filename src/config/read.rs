//! [`Node`]s to structs, through serde, with errors that say where and what to do.
//!
//! The structs' own field lists decide which keys are known. Values are never quoted in an error:
//! one of them may be a password in the wrong place.

use std::fmt::Display;
use std::vec;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::nearest::nearest;
use super::tree::{At, Dialect, Node, Value};

/// A key that is unknown, or whose value has the wrong type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub at: At,
    /// What is wrong, and what to do.
    pub what: String,
}

/// Reads a tree into a struct whose fields are all optional.
pub(super) fn read<T: DeserializeOwned>(tree: &Node, dialect: Dialect) -> Result<T, Wrong> {
    T::deserialize(Reader { node: tree, dialect, at: At::default(), root: None })
}

struct Reader<'a> {
    node: &'a Node,
    dialect: Dialect,
    at: At,
    /// The keys of the root table, once they are known.
    root: Option<&'static [&'static str]>,
}

impl<'a> Reader<'a> {
    fn wrong(&self, what: impl Into<String>) -> Wrong {
        Wrong { at: self.at.clone(), what: what.into() }
    }

    fn below(&self, node: &'a Node, at: At) -> Self {
        Self { node, dialect: self.dialect, at, root: self.root }
    }

    /// Lends serde's error its place, unless a deeper one has one already.
    fn placed<T>(&self, result: Result<T, Wrong>) -> Result<T, Wrong> {
        result.map_err(|wrong| match wrong.at == At::default() {
            true => self.wrong(wrong.what),
            false => wrong,
        })
    }

    /// The keys and values of a table, each as one of `fields` where those are given.
    fn pairs(
        &self,
        fields: Option<&'static [&'static str]>,
    ) -> Result<Vec<(String, &'a Node)>, Wrong> {
        let Value::Table(entries) = &self.node.value else {
            return Err(self.wrong(mismatch("a table", kind(self.node))));
        };
        let mut pairs: Vec<(String, &Node)> = Vec::new();
        for entry in entries {
            let key = match fields {
                None => entry.key.as_str(),
                Some(fields) => {
                    match fields.iter().find(|field| self.dialect.same_key(&entry.key, field)) {
                        Some(field) => field,
                        None if self.dialect == Dialect::CoreScope => continue,
                        None => return Err(self.unknown(&entry.key, fields)),
                    }
                }
            };
            if entry.node.value != Value::Null {
                // Of a key that comes twice (JSON only), the later one counts.
                pairs.retain(|(known, _)| known != key);
                pairs.push((key.to_owned(), &entry.node));
            }
        }
        Ok(pairs)
    }

    fn unknown(&self, key: &str, fields: &[&'static str]) -> Wrong {
        let at = self.at.then(key);
        let at_the_top = self.root.unwrap_or_default().contains(&key);
        let what = if let Some(near) = nearest(key, fields.iter().copied()) {
            format!("unknown key; did you mean {near}")
        } else if at_the_top {
            "unknown key here; it belongs to the top of the file, above the first [table]".into()
        } else {
            "unknown key; remove it, `meshbox config example` shows every key".into()
        };
        Wrong { at, what }
    }
}

impl<'de> de::Deserializer<'de> for Reader<'_> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let read = match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(truth) => visitor.visit_bool(*truth),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Text(text) => visitor.visit_str(text),
            Value::Date => {
                Err(de::Error::invalid_type(Unexpected::Other("a date or time"), &visitor))
            }
            Value::List(nodes) => {
                let nodes = nodes.iter().enumerate().collect::<Vec<_>>().into_iter();
                visitor.visit_seq(Elements { reader: &self, nodes })
            }
            Value::Table(_) => {
                let pairs = self.pairs(None)?.into_iter();
                visitor.visit_map(Pairs { reader: &self, pairs, value: None })
            }
        };
        self.placed(read)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let pairs = self.pairs(Some(fields))?.into_iter();
        self.root = self.root.or(Some(fields));
        self.placed(visitor.visit_map(Pairs { reader: &self, pairs, value: None }))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Pairs<'r, 'a> {
    reader: &'r Reader<'a>,
    pairs: vec::IntoIter<(String, &'a Node)>,
    value: Option<(String, &'a Node)>,
}

impl<'de> MapAccess<'de> for Pairs<'_, '_> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Wrong> {
        self.value = self.pairs.next();
        let Some((key, _)) = &self.value else { return Ok(None) };
        let key: StrDeserializer<'_, Wrong> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        let Some((key, node)) = self.value.take() else {
            return Err(self.reader.wrong("has no value; give it one"));
        };
        seed.deserialize(self.reader.below(node, self.reader.at.then(&key)))
    }
}

struct Elements<'r, 'a> {
    reader: &'r Reader<'a>,
    nodes: vec::IntoIter<(usize, &'a Node)>,
}

impl<'de> SeqAccess<'de> for Elements<'_, '_> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Wrong> {
        let Some((index, node)) = self.nodes.find(|(_, node)| node.value != Value::Null) else {
            return Ok(None);
        };
        seed.deserialize(self.reader.below(node, self.reader.at.index(index))).map(Some)
    }
}

impl de::Error for Wrong {
    fn custom<T: Display>(what: T) -> Self {
        Self { at: At::default(), what: what.to_string() }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Bool(_) => "true or false",
            Unexpected::Signed(_) | Unexpected::Unsigned(_) => "a whole number",
            Unexpected::Float(_) => "a fractional number",
            Unexpected::Str(_) => "a string",
            Unexpected::Seq => "a list",
            Unexpected::Map => "a table",
            Unexpected::Other(other) => other,
            _ => "something else",
        };
        let expected = expected.to_string();
        let expected = match expected.as_str() {
            "a boolean" => "true or false",
            "i64" => "a whole number",
            "f64" => "a number",
            "a sequence" => "a list",
            "a map" => "a table",
            other => other,
        };
        Self::custom(mismatch(expected, found))
    }
}

impl Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}

impl std::error::Error for Wrong {}

/// What a node is, in the words of an error.
fn kind(node: &Node) -> &'static str {
    match node.value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a fractional number",
        Value::Text(_) => "a string",
        Value::Date => "a date or time",
        Value::List(_) => "a list",
        Value::Table(_) => "a table",
    }
}

/// What is wrong with the type, and what to do.
fn mismatch(expected: &str, found: &str) -> String {
    let advice = match (expected, found) {
        ("a list", "a table") => "write it as a list, in TOML with double brackets: [[…]]",
        ("a list", _) => "put it in [ ]",
        ("a string", "a list" | "a table") => "give one string in double quotes",
        ("a string", _) => "put it in double quotes",
        ("true or false", _) => "write true or false, without quotes",
        ("a table", "a list") => "give one table instead of a list of them",
        ("a table", _) => "give it keys of its own, `meshbox config example` shows them",
        (_, "a string") => "take the quotes away",
        ("a whole number", "a fractional number") => "leave the fraction out",
        _ => "`meshbox config example` shows how it is written",
    };
    format!("must be {expected}, and is {found}; {advice}")
}
