//! The inside of a GRP_TXT: timestamp, flags, `sender: text`, zeros.

/// The inside of a GRP_TXT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupText {
    /// The sender's clock, Unix seconds.
    pub timestamp: u32,
    /// The name before the first `": "`, by CoreScope's rule; unauthenticated.
    pub sender: Option<String>,
    /// The text after the sender, or the whole text.
    pub message: String,
}

impl GroupText {
    /// Reads a decrypted GRP_TXT: u32 LE timestamp, one byte of flags, text up to the first NUL.
    /// `None` when it is not plain text, and the key therefore the wrong one.
    pub(super) fn parse(plain: &[u8]) -> Option<Self> {
        let ([a, b, c, d, flags], text) = plain.split_first_chunk()?;
        // Bits 7–2 are the text type, bits 1–0 the attempt (firmware `TxtDataHelpers.h`).
        if flags >> 2 != 0 {
            return None;
        }
        let text = text.split(|b| *b == 0).next().and_then(|t| std::str::from_utf8(t).ok())?;
        if text.chars().filter(|c| is_bad(*c)).count() > MOST_BAD_CHARS {
            return None;
        }
        let (sender, message) = match split_sender(text) {
            Some((sender, message)) => (Some(sender.to_owned()), message),
            None => (None, text),
        };
        let timestamp = u32::from_le_bytes([*a, *b, *c, *d]);
        Some(Self { timestamp, sender, message: message.to_owned() })
    }

    /// The plaintext of a first attempt, before it is sealed ([`super::ChannelKey::seal`]).
    pub fn emit(&self) -> Vec<u8> {
        let mut plain = self.timestamp.to_le_bytes().to_vec();
        plain.push(0);
        if let Some(sender) = &self.sender {
            plain.extend_from_slice(sender.as_bytes());
            plain.extend_from_slice(b": ");
        }
        plain.extend_from_slice(self.message.as_bytes());
        plain
    }
}

/// How many characters a text may have that no text has, by CoreScope's rule.
const MOST_BAD_CHARS: usize = 2;

fn is_bad(c: char) -> bool {
    (c < ' ' && !matches!(c, '\n' | '\t')) || c == char::REPLACEMENT_CHARACTER
}

/// Splits at the first `": "` if it stands at byte 1–49 and nothing before it is `:`, `[` or `]`.
fn split_sender(text: &str) -> Option<(&str, &str)> {
    let (sender, message) = text.split_once(": ")?;
    let is_name = (1..50).contains(&sender.len()) && !sender.contains([':', '[', ']']);
    is_name.then_some((sender, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(flags: u8, text: &[u8]) -> Vec<u8> {
        [&1_700_000_000u32.to_le_bytes(), &[flags][..], text, &[0; 3]].concat()
    }

    fn read(text: &str) -> (Option<String>, String) {
        let parsed = GroupText::parse(&plain(0, text.as_bytes())).unwrap();
        assert_eq!(parsed.timestamp, 1_700_000_000);
        (parsed.sender, parsed.message)
    }

    #[test]
    fn the_sender_is_what_stands_before_the_first_colon_and_space() {
        let with = |s: &str, m: &str| (Some(s.to_owned()), m.to_owned());
        assert_eq!(read("Bob: hi: there"), with("Bob", "hi: there"));
        assert_eq!(read("Bob: "), with("Bob", ""));
        assert_eq!(read("🌲 Tree: ☁️"), with("🌲 Tree", "☁️"));
        assert_eq!(read(&format!("{}: x", "Y".repeat(49))), with(&"Y".repeat(49), "x"));
    }

    #[test]
    fn without_a_name_by_the_rule_the_whole_text_is_the_message() {
        let long = format!("{}: x", "Y".repeat(50));
        for text in ["no sender", ": leading", "[x]: bracket", "a]b: c", "a:b: weird", "a:b", &long]
        {
            assert_eq!(read(text), (None, text.to_owned()));
        }
        assert_eq!(read(""), (None, String::new()));
    }

    #[test]
    fn a_text_ends_at_the_first_nul() {
        assert_eq!(read("a: b\0c: d"), (Some("a".into()), "b".into()));
    }

    #[test]
    fn other_text_types_are_not_text_and_attempts_are() {
        for flags in 0..=255 {
            let parsed = GroupText::parse(&plain(flags, b"hi"));
            assert_eq!(parsed.is_some(), flags < 4, "flags {flags:#04x}");
        }
    }

    #[test]
    fn up_to_two_bad_characters_are_borne_and_line_feed_and_tab_are_good() {
        let parse = |text: &[u8]| GroupText::parse(&plain(0, text)).is_some();
        assert!(parse(b"a\n\n\n\t\t\tb\x7f\x7f\x7f"));
        assert!(parse(b"\x01\x02 fine"));
        assert!(!parse(b"\x01\x02\x03 not"));
        assert!(!parse(b"\r\r\r"));
        assert!(parse("\u{FFFD}\u{FFFD}".as_bytes()));
        assert!(!parse("\u{FFFD}\u{FFFD}\u{FFFD}".as_bytes()));
        assert!(!parse(b"broken \xC3"));
    }

    #[test]
    fn too_little_to_hold_a_text_is_none() {
        for len in 0..5 {
            assert_eq!(GroupText::parse(&[0; 5][..len]), None);
        }
        assert_eq!(GroupText::parse(&[0; 5]).unwrap().message, "");
    }
}
