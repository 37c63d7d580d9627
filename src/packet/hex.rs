//! Hex as observers write it, and as the database has it.

use serde::{Serialize, Serializer};
use std::fmt;

pub use super::error::HexError;

/// The bytes that `text` stands for: digits in any case, white space anywhere.
///
/// # Errors
/// [`HexError`]: the first character that is no digit, or a last byte with one digit only.
///
/// ```
/// use meshbox::packet::hex;
/// assert_eq!(hex::parse("0a 00\r\nD6"), Ok(vec![0x0A, 0x00, 0xD6]));
/// assert_eq!(hex::parse("0a0").unwrap_err().name(), "odd_hex");
/// assert_eq!(hex::parse("0x0a").unwrap_err().at(), 1);
/// ```
pub fn parse(text: &str) -> Result<Vec<u8>, HexError> {
    // Nearly all text is digits only; whatever is not is looked at character by character.
    let mut bytes = vec![0; text.len() / 2];
    if ::hex::decode_to_slice(text, &mut bytes).is_ok() {
        return Ok(bytes);
    }
    bytes.clear();
    let mut high = None;
    for (at, found) in text.chars().enumerate() {
        let Some(digit) = digit(found) else {
            if found.is_whitespace() {
                continue;
            }
            return Err(HexError::Digit { found, at });
        };
        high = match high {
            None => Some(digit),
            Some(high) => {
                bytes.push(high << 4 | digit);
                None
            }
        };
    }
    match high {
        None => Ok(bytes),
        Some(_) => Err(HexError::Odd { digits: bytes.len() * 2 + 1, at: text.chars().count() }),
    }
}

fn digit(found: char) -> Option<u8> {
    found.to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Bytes that print as lower-case hex (`{}`, `{:x}`) or upper-case hex (`{:X}`), and are lower-case hex
/// in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_digits(self.0, b"0123456789abcdef", f)
    }
}

impl fmt::LowerHex for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::UpperHex for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_digits(self.0, b"0123456789ABCDEF", f)
    }
}

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// Writes 32 bytes at a time: a payload is six writes, not 368.
fn write_digits(bytes: &[u8], digits: &[u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let digit = |nibble: u8| digits.get(usize::from(nibble)).copied().unwrap_or(b'?');
    for chunk in bytes.chunks(32) {
        let mut text = [0u8; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(chunk) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        let (text, _) = super::cursor::split(&text, chunk.len() * 2);
        f.write_str(std::str::from_utf8(text).map_err(|_| fmt::Error)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_of_any_kind_and_any_case_is_read() {
        assert_eq!(parse(" \t0Af\u{a0}F\n"), Ok(vec![0x0A, 0xFF]));
        assert_eq!(parse(""), Ok(vec![]));
    }

    #[test]
    fn errors_point_at_the_character() {
        assert_eq!(parse("0A 0G"), Err(HexError::Digit { found: 'G', at: 4 }));
        assert_eq!(parse("é"), Err(HexError::Digit { found: 'é', at: 0 }));
        assert_eq!(parse("0A 0 "), Err(HexError::Odd { digits: 3, at: 5 }));
    }

    #[test]
    fn hex_prints_in_both_cases_and_at_any_length() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(Hex(&bytes).to_string(), hex::encode(&bytes));
        assert_eq!(format!("{:X}", Hex(&bytes)), hex::encode_upper(&bytes));
        assert_eq!(Hex(&[]).to_string(), "");
    }
}
