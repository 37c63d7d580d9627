//! Text to [`Node`]s: TOML, and JSON as CoreScope's file is written.

use std::str::FromStr;

use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::tree::{Entry, Lines, Node, Value};

/// A text that does not follow its grammar: the line, and what is wrong there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    pub line: usize,
    pub what: String,
}

/// Reads TOML.
pub(super) fn toml(text: &str) -> Result<Node, Malformed> {
    let lines = Lines::of(text);
    let table = DeTable::parse(text).map_err(|error| Malformed {
        line: error.span().map_or(1, |span| lines.at(span.start)),
        what: format!("not TOML: {}", one_line(error.message())),
    })?;
    Ok(Node { line: 1, value: toml_table(table.get_ref(), &lines) })
}

fn toml_table(table: &DeTable<'_>, lines: &Lines) -> Value {
    let mut keys: Vec<_> = table.iter().collect();
    keys.sort_by_key(|(key, _)| key.span().start);
    let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| Entry {
        key: ToString::to_string(key.get_ref()),
        line: lines.at(key.span().start),
        node: toml_value(value, lines),
    };
    Value::Table(keys.into_iter().map(entry).collect())
}

fn toml_value(value: &Spanned<DeValue<'_>>, lines: &Lines) -> Node {
    let line = lines.at(value.span().start);
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Boolean(truth) => Value::Bool(*truth),
        DeValue::Datetime(_) => Value::Date,
        DeValue::Integer(number) => Value::Integer(
            i64::from_str_radix(number.as_str(), number.radix())
                .unwrap_or(if number.as_str().starts_with('-') { i64::MIN } else { i64::MAX }),
        ),
        DeValue::Float(number) => Value::Float(f64::from_str(number.as_str()).unwrap_or(f64::NAN)),
        DeValue::Array(list) => {
            Value::List(list.iter().map(|node| toml_value(node, lines)).collect())
        }
        DeValue::Table(table) => toml_table(table, lines),
    };
    Node { line, value }
}

/// Reads JSON: no comments, no trailing commas, and one value only, as CoreScope does.
pub(super) fn json(text: &str) -> Result<Node, Malformed> {
    let malformed = |error: &serde_json::Error| Malformed {
        line: error.line().max(1),
        what: format!("not JSON: {}", without_place(error)),
    };
    // This pass judges the whole text, its depth included (128); the next one finds the lines.
    serde_json::from_str::<serde_json::Value>(text).map_err(|e| malformed(&e))?;
    let raw: &RawValue = serde_json::from_str(text).map_err(|e| malformed(&e))?;
    json_value(raw, text, &Lines::of(text)).map_err(|e| malformed(&e))
}

fn json_value(raw: &RawValue, text: &str, lines: &Lines) -> Result<Node, serde_json::Error> {
    let raw = raw.get();
    let value = match raw.bytes().next() {
        Some(b'{') => {
            let Pairs(pairs) = serde_json::from_str(raw)?;
            let entry = |(key, raw): (String, &RawValue)| {
                let node = json_value(raw, text, lines)?;
                Ok(Entry { key, line: node.line, node })
            };
            Value::Table(pairs.into_iter().map(entry).collect::<Result<_, _>>()?)
        }
        Some(b'[') => {
            let list: Vec<&RawValue> = serde_json::from_str(raw)?;
            let node = |raw: &RawValue| json_value(raw, text, lines);
            Value::List(list.into_iter().map(node).collect::<Result<_, _>>()?)
        }
        _ => match serde_json::from_str(raw)? {
            serde_json::Value::String(text) => Value::Text(text),
            serde_json::Value::Bool(truth) => Value::Bool(truth),
            serde_json::Value::Number(number) if number.is_u64() => {
                Value::Integer(number.as_i64().unwrap_or(i64::MAX))
            }
            serde_json::Value::Number(number) => number
                .as_i64()
                .map_or_else(|| Value::Float(number.as_f64().unwrap_or(f64::NAN)), Value::Integer),
            _ => Value::Null,
        },
    };
    // The slice is a part of the text: the distance of their addresses is its offset.
    let offset = (raw.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    Ok(Node { line: lines.at(offset), value })
}

/// A JSON object in the order of the file, a key that comes twice included.
struct Pairs<'a>(Vec<(String, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// serde_json's message without its ` at line 3 column 7`.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    one_line(text.get(..end).unwrap_or(&text))
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::tree::{At, Dialect};
    use super::*;

    #[test]
    fn every_toml_value_knows_its_line() {
        let text =
            "a = 1\n\n[t]\nlist = [\n  \"x\",\n  { y = 0x10 },\n]\n[[s]]\n[[s]]\nz = 1979-05-27\n";
        let tree = toml(text).unwrap();
        let line = |at: &At| tree.line_of(at, Dialect::Toml);
        assert_eq!(line(&At::key("a")), 1);
        assert_eq!(line(&At::key("t")), 3);
        assert_eq!(line(&At::key("t").then("list")), 4);
        assert_eq!(line(&At::key("t").then("list").index(1).then("y")), 6);
        assert_eq!(line(&At::key("s").index(1)), 9);
        assert_eq!(line(&At::key("s").index(1).then("absent")), 9);
        assert_eq!(line(&At::key("s").index(1).then("z")), 10);
    }

    #[test]
    fn every_json_value_knows_its_line_and_a_key_that_comes_twice_counts_where_it_comes_last() {
        let tree = json("{\"a\": 1,\n \"s\": [\n {},\n {\"B\":\n2}],\n\"A\": 2}").unwrap();
        let line = |at: &At| tree.line_of(at, Dialect::CoreScope);
        assert_eq!(line(&At::key("s").index(1).then("b")), 5);
        assert_eq!(line(&At::key("a")), 6);
    }

    #[test]
    fn what_follows_no_grammar_is_named_with_its_line_and_without_quoting_it() {
        let cases = [
            (toml("a = 1\nb = \n"), 2),
            (toml("a = 1\na = 2\n"), 2),
            (toml("password = \"hunter2\n"), 1),
            (json("{\"a\": 1,\n}"), 2),
            (json("{}\n{}"), 2),
            (json(""), 1),
            (json("{\"password\": \"hunter2}"), 1),
            (json(&"[".repeat(100_000)), 1),
        ];
        for (result, line) in cases {
            let malformed = result.err().unwrap();
            assert_eq!(malformed.line, line, "{malformed:?}");
            assert!(malformed.what.starts_with("not "), "{malformed:?}");
            assert!(!malformed.what.contains('\n') && !malformed.what.contains("hunter2"));
        }
    }

    #[test]
    fn a_number_too_large_for_us_is_the_largest_that_we_have() {
        for tree in [
            toml("n = 99999999999999999999").unwrap(),
            json("{\"n\": 9999999999999999999}").unwrap(),
        ] {
            let Value::Table(entries) = tree.value else { panic!("a table") };
            assert!(entries[0].node.value == Value::Integer(i64::MAX));
        }
    }
}
