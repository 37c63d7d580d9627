//! What holds for every input: asked by the fuzz targets of inputs that nobody has thought of, and by
//! `cargo test` of all that is kept in `corpus/`. Each panics with what does not hold.

pub(crate) mod door;
pub(crate) mod envelope;
mod inside;
pub(crate) mod packet;
mod rows;
mod rules;
mod sealing;
pub(crate) mod topic;

use serde_json::Value;

/// Text that goes to logs, terminals and pages.
fn assert_printable(text: &str) {
    assert!(!text.is_empty());
    assert!(!text.contains(char::is_control), "control characters in {text:?}");
}

/// A name in the counters.
fn assert_name(name: &str) {
    let snake = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    assert!(!name.is_empty() && name.bytes().all(snake), "{name:?} is no name");
}

/// Lower-case hex of so many bytes.
fn assert_hex(text: &str, bytes: usize) {
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    assert!(text.len() == 2 * bytes && text.bytes().all(digit), "{text:?} has no {bytes} bytes");
}

/// `decoded_json`: one object with a type, on one line.
fn decoded(json: &str) -> Value {
    assert!(!json.contains('\n'));
    let value: Value = serde_json::from_str(json).expect("decoded_json is JSON");
    assert!(value["type"].is_string(), "{json}");
    value
}
