//! The inside of a TXT_MSG (firmware `BaseChatMesh::composeMsgPacket`, `TxtDataHelpers.h`).
//!
//! ```text
//! timestamp | text type, attempt | text                   0 plain, 1 command or its answer
//!     4     |  6 bits    2 bits  |  n
//! timestamp | text type, attempt | author's key | text    2 signed: a room passes a post on
//!     4     |  6 bits    2 bits  |      4       |  n
//! ```
//!
//! From the fifth attempt on, which two bits cannot tell, a zero and the whole attempt follow the
//! text.

use super::withheld::Withheld;
use super::{readable, without_filling};
use crate::packet::cursor::{Cursor, split};

use sha2::{Digest, Sha256};

/// A message from one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextMessage<'a> {
    /// The sender's clock, Unix seconds.
    pub timestamp: u32,
    /// How often it was sent before.
    pub attempt: u8,
    /// What it says.
    pub said: Said<'a>,
}

/// A text by its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// Of a person.
    Plain(&'a str),
    /// A command to a node's console, or the answer to one. Either may be a password (`password …`,
    /// `set prv.key …`, the answer to `get guest.password`), and an answer does not say to what.
    Command(Withheld<'a>),
    /// A post, passed on by a room server.
    Signed {
        /// The start of the author's public key.
        author: &'a [u8; 4],
        /// The post.
        text: &'a str,
    },
}

impl<'a> TextMessage<'a> {
    pub(super) fn parse(plain: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(plain);
        let (timestamp, flags) = (cursor.u32().ok()?, cursor.u8().ok()?);
        let author = if flags >> 2 == 2 { Some(cursor.array().ok()?) } else { None };
        let rest = cursor.rest();
        let text = rest.split(|byte| *byte == 0).next()?;
        let (_, behind) = split(rest, text.len());
        let attempt = attempt(flags & 3, without_filling(behind))?;
        let text = readable(text)?;
        let said = match (flags >> 2, author) {
            (0, _) => Said::Plain(text),
            (1, _) => Said::Command(Withheld::new(text.as_bytes())),
            (2, Some(author)) => Said::Signed { author, text },
            _ => return None,
        };
        Some(Self { timestamp, attempt, said })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        self.emit_acknowledged(out);
        if self.attempt > 3 {
            out.extend_from_slice(&[0, self.attempt]);
        }
    }

    /// The code of the ACK that this message asks for: of the sender's key in a plain one, of the
    /// receiver's in a signed one, none for commands (firmware `BaseChatMesh::onPeerDataRecv`).
    pub fn ack_code(&self, sender: &[u8; 32], receiver: &[u8; 32]) -> Option<[u8; 4]> {
        let key = match self.said {
            Said::Plain(_) => sender,
            Said::Signed { .. } => receiver,
            Said::Command(_) => return None,
        };
        let mut acknowledged = Vec::new();
        self.emit_acknowledged(&mut acknowledged);
        let digest = Sha256::digest([&acknowledged[..], key].concat());
        digest.first_chunk().copied()
    }

    /// What an ACK vouches for: everything up to the end of the text.
    fn emit_acknowledged(&self, out: &mut Vec<u8>) {
        let text_type = match self.said {
            Said::Plain(_) => 0,
            Said::Command(_) => 1,
            Said::Signed { .. } => 2,
        };
        out.extend_from_slice(&self.timestamp.to_le_bytes());
        out.push(text_type << 2 | (self.attempt & 3));
        match self.said {
            Said::Plain(text) => out.extend_from_slice(text.as_bytes()),
            Said::Command(text) => text.emit(out),
            Said::Signed { author, text } => {
                out.extend_from_slice(author);
                out.extend_from_slice(text.as_bytes());
            }
        }
    }
}

/// The attempt from its two bits and what follows the text; `None` when that can be no attempt.
fn attempt(bits: u8, behind: &[u8]) -> Option<u8> {
    match behind {
        [] => Some(bits),
        [0, whole] if *whole > 3 && whole & 3 == bits => Some(*whole),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        hex::decode(hex).unwrap().try_into().unwrap()
    }

    #[test]
    fn the_ack_of_a_message_follows_from_it_and_its_senders_key() {
        // wire-protocol §9 row 3b.
        let sender = bytes("1ec77175b0918ed206f9ae04ec136d6d5d4315bb26305427f645b492e9350c10");
        let plain = [&1_772_919_297u32.to_le_bytes()[..], b"\0hello\0\0\0\0\0\0"].concat();
        let message = TextMessage::parse(&plain).unwrap();
        assert_eq!(message.said, Said::Plain("hello"));
        assert_eq!(message.ack_code(&sender, &[0; 32]), Some(bytes("f28c9fa0")));
        assert_ne!(message.ack_code(&[0; 32], &sender), Some(bytes("f28c9fa0")));
        // A later attempt is acknowledged apart, by its two bits only.
        let again = TextMessage { attempt: 4, ..message };
        assert_eq!(again.ack_code(&sender, &sender), message.ack_code(&sender, &sender));
    }

    #[test]
    fn a_signed_message_is_acknowledged_with_the_receivers_key_and_a_command_not_at_all() {
        let said = Said::Signed { author: &[1, 2, 3, 4], text: "post" };
        let message = TextMessage { timestamp: 1, attempt: 0, said };
        let expected =
            Sha256::digest([b"\x01\0\0\0\x08\x01\x02\x03\x04post", &[7; 32][..]].concat());
        assert_eq!(message.ack_code(&[9; 32], &[7; 32]).unwrap(), expected[..4]);
        let command = TextMessage { said: Said::Command(Withheld::new(b"ver")), ..message };
        assert_eq!(command.ack_code(&[9; 32], &[7; 32]), None);
    }

    #[test]
    fn what_no_node_writes_is_no_message() {
        let parse = |flags: u8, rest: &[u8]| {
            TextMessage::parse(&[&[1, 2, 3, 4, flags], rest].concat()).map(|m| m.attempt)
        };
        assert_eq!(parse(0, b"hello\0\0"), Some(0));
        assert_eq!(parse(1, b"a\nb\tc"), Some(1));
        assert_eq!(parse(1, b"again\0\x05\0\0"), Some(5));
        for (flags, rest) in [
            (3 << 2, &b"unknown type"[..]),
            (0, b"broken \xC3"),
            (0, b"bell \x07"),
            (0, b"hello\0more"),
            (1, b"again\0\x06"),
            (1, b"again\0\x01"),
            (2 << 2, b"abc"),
        ] {
            assert_eq!(parse(flags, rest), None, "{flags} {rest:?}");
        }
        assert_eq!(TextMessage::parse(&[0; 4]), None);
    }
}
