//! Names that nodes give themselves: bytes from strangers, made fit for a table and a page.

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
}
