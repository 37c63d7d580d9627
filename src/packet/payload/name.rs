//! Text from strangers: names made fit for a table and a page, and quotes fit for a terminal.

use std::fmt::{self, Write as _};

/// The longest name in bytes, as CoreScope cuts it; the firmware's own buffer has 32 with its end.
const MAX_NAME: usize = 32;

/// A name as CoreScope cleans it, cut at the last whole character within 32 bytes.
///
/// Control characters vanish, save tab and line feed; each byte that is no UTF-8 becomes one
/// U+FFFD (older firmware cuts names within a character).
pub fn clean(bytes: &[u8]) -> String {
    let mut name = String::with_capacity(MAX_NAME);
    for chunk in bytes.utf8_chunks() {
        let broken = chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER);
        for c in chunk.valid().chars().filter(|c| is_kept(*c)).chain(broken) {
            if name.len() + c.len_utf8() > MAX_NAME {
                return name;
            }
            name.push(c);
        }
    }
    name
}

fn is_kept(c: char) -> bool {
    matches!(c, '\t' | '\n') || (c >= ' ' && c != '\u{7f}')
}

/// A stranger's text in quotes, fit for a terminal or a log: what would move the cursor, break the
/// line or turn the direction of reading is escaped, all else stays as it is.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c.is_control() || turns_or_breaks(c) => write!(f, "{}", c.escape_default())?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// Marks of direction, and separators of lines and paragraphs.
fn turns_or_breaks(c: char) -> bool {
    matches!(c, '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_vanish_save_tab_and_line_feed() {
        assert_eq!(clean(b"a\x01\tb\r\nc\x7f"), "a\tb\nc");
    }

    #[test]
    fn each_byte_that_is_no_utf8_becomes_one_replacement() {
        assert_eq!(clean(b"a\xF0\x9F\x98b\xC3"), "a\u{fffd}\u{fffd}\u{fffd}b\u{fffd}");
    }

    #[test]
    fn a_long_name_is_cut_at_a_whole_character() {
        assert_eq!(clean(&[b'a'; 40]), "a".repeat(32));
        let pines = "🌲".repeat(9);
        assert_eq!(clean(format!("a{pines}").as_bytes()), format!("a{}", "🌲".repeat(7)));
    }

    #[test]
    fn a_quote_moves_no_cursor_and_keeps_its_emoji() {
        let quoted = Quoted("a\"b\\\n\u{1b}[31m\u{202e}☁\u{fe0f}").to_string();
        assert_eq!(quoted, "\"a\\\"b\\\\\\n\\u{1b}[31m\\u{202e}☁\u{fe0f}\"");
    }
}
