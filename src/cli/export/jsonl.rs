//! JSON lines: one object a row, every column in each.

use crate::store::Cell;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use std::io::{self, Write};

/// One row.
pub(super) fn line(names: &[&str], row: &[Cell], out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &Object(names, row)).map_err(io::Error::from)?;
    out.write_all(b"\n")
}

struct Object<'a>(&'a [&'a str], &'a [Cell]);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.1.len()))?;
        for (name, cell) in self.0.iter().zip(self.1) {
            match cell {
                Cell::Null => map.serialize_entry(name, &())?,
                Cell::Integer(number) => map.serialize_entry(name, number)?,
                Cell::Real(number) => map.serialize_entry(name, number)?,
                Cell::Text(text) => map.serialize_entry(name, text)?,
                Cell::Json(text) => match json(text) {
                    Some(json) => map.serialize_entry(name, &json)?,
                    // It is what the column holds, so it is shown.
                    None => map.serialize_entry(name, text)?,
                },
            }
        }
        map.end()
    }
}

/// The JSON of a column as it is, on one line; `None` if it is none.
fn json(text: &str) -> Option<Box<RawValue>> {
    if text.contains(['\n', '\r']) {
        let value: Value = serde_json::from_str(text).ok()?;
        return serde_json::value::to_raw_value(&value).ok();
    }
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoded_json_is_an_object_in_its_own_order_and_broken_json_a_text() {
        let row = [
            Cell::Json(r#"{"z":1,"a":[2]}"#.into()),
            Cell::Json("{broken".into()),
            Cell::Json("{\n\"a\":1}".into()),
            Cell::Null,
            Cell::Real(-7.5),
            Cell::Text("two\nlines".into()),
        ];
        let mut out = Vec::new();
        line(&["a", "b", "c", "d", "e", "f"], &row, &mut out).unwrap();
        let expected =
            r#"{"a":{"z":1,"a":[2]},"b":"{broken","c":{"a":1},"d":null,"e":-7.5,"f":"two\nlines"}"#;
        assert_eq!(String::from_utf8(out).unwrap(), format!("{expected}\n"));
    }
}
