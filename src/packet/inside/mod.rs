//! What is inside a payload that was sealed for one peer, once it is opened.
//!
//! The cipher fills the last block up with zeros and does not say how many (firmware
//! `Utils::encrypt`), so every reading here bears zeros at its end, and `emit` leaves them out. A
//! MAC has two bytes: one in 65,536 wrong keys passes it. Reading is therefore strict, and a
//! plaintext that no node would write is none ([`Contents::parse`] gives `None`).

mod anonymous;
mod request;
mod response;
mod returned_path;
mod text;
mod withheld;

pub use anonymous::{Anonymous, Asked, Query};
pub use request::{Request, RequestKind};
pub use response::Response;
pub use returned_path::{Extra, ReturnedPath};
pub use text::{Said, TextMessage};
pub use withheld::Withheld;

use super::header::PayloadType;

/// The inside of a REQ, RESPONSE, TXT_MSG, PATH or ANON_REQ.
///
/// ```
/// use meshbox::packet::PayloadType;
/// use meshbox::packet::inside::{Contents, Said};
///
/// let plain = b"\x81\x9a\xac\x69\x00hello\0\0\0\0\0\0";
/// let Some(Contents::Text(text)) = Contents::parse(PayloadType::Text, plain) else { panic!() };
/// assert_eq!((text.timestamp, text.said), (1_772_919_425, Said::Plain("hello")));
/// assert_eq!(Contents::parse(PayloadType::Text, b"\x81\x9a\xac\x69\xC0hello\0\0\0\0\0\0"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents<'a> {
    /// Of a TXT_MSG.
    Text(TextMessage<'a>),
    /// Of a REQ.
    Request(Request<'a>),
    /// Of a RESPONSE.
    Response(Response<'a>),
    /// Of a PATH.
    Path(ReturnedPath<'a>),
    /// Of an ANON_REQ.
    Anonymous(Anonymous<'a>),
}

impl<'a> Contents<'a> {
    /// Reads what a payload of this type had inside; `None` when no node would write it, or the type
    /// is not one that is sealed for a peer.
    pub fn parse(payload_type: PayloadType, plain: &'a [u8]) -> Option<Self> {
        match payload_type {
            PayloadType::Text => TextMessage::parse(plain).map(Self::Text),
            PayloadType::Request => Request::parse(plain).map(Self::Request),
            PayloadType::Response => Response::parse(plain).map(Self::Response),
            PayloadType::Path => ReturnedPath::parse(plain).map(Self::Path),
            PayloadType::AnonRequest => Anonymous::parse(plain).map(Self::Anonymous),
            _ => None,
        }
    }

    /// Writes it as it is before it is sealed, without the zeros that fill up the last block.
    pub fn emit(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => text.emit(out),
            Self::Request(request) => request.emit(out),
            Self::Response(response) => response.emit(out),
            Self::Path(path) => path.emit(out),
            Self::Anonymous(anonymous) => anonymous.emit(out),
        }
    }

    /// Whether the shape alone makes it as good as certain that the right key opened `plain`, which
    /// this was read from. A RESPONSE may be any bytes, and then only the MAC speaks for the key.
    pub fn is_telling(&self, plain: &[u8]) -> bool {
        match self {
            Self::Text(_) | Self::Anonymous(_) => true,
            Self::Response(_) | Self::Path(ReturnedPath { extra: Extra::Response(_), .. }) => false,
            // Few values of one or two bytes are left to chance, so the filling must speak as well.
            Self::Request(_) | Self::Path(_) => plain.ends_with(&[0, 0]),
        }
    }
}

/// Bytes without the zeros at their end.
fn without_filling(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    super::cursor::split(bytes, end).0
}

/// Bytes as a text that a person could have typed: UTF-8, and no control characters but those that
/// move to the next line or column.
fn readable(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let typed = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    text.chars().all(typed).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Path;
    use crate::packet::payload::Ack;

    use proptest::prelude::*;

    const SEALED: [PayloadType; 5] = [
        PayloadType::Text,
        PayloadType::Request,
        PayloadType::Response,
        PayloadType::Path,
        PayloadType::AnonRequest,
    ];

    /// Emits, fills up the last block, and reads again.
    fn again(contents: &Contents<'_>, payload_type: PayloadType) {
        let mut plain = Vec::new();
        contents.emit(&mut plain);
        plain.resize(plain.len().next_multiple_of(16), 0);
        assert_eq!(Contents::parse(payload_type, &plain).as_ref(), Some(contents));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = |said, attempt| Contents::Text(TextMessage { timestamp: 7, attempt, said });
        let hops = Path::new(2, &[0xAB, 0xCD, 0xEF, 0x01]).unwrap();
        let path = |extra| Contents::Path(ReturnedPath { path: hops, extra });
        let body = Response { tag: 9, body: &[1, 0, 2] };
        let asked = |asked| Contents::Anonymous(Anonymous { tag: 3, asked });
        for (contents, payload_type) in [
            (text(Said::Plain("hello"), 0), PayloadType::Text),
            (text(Said::Plain("exactly 11."), 3), PayloadType::Text),
            (text(Said::Plain(""), 4), PayloadType::Text),
            (text(Said::Plain("again"), 77), PayloadType::Text),
            (text(Said::Command(Withheld::new(b"reboot")), 1), PayloadType::Text),
            (text(Said::Signed { author: &[0, 1, 0, 2], text: "🌲" }, 2), PayloadType::Text),
            (
                Contents::Request(Request {
                    tag: 1,
                    kind: RequestKind::Status,
                    parameters: &[0, 0, 0, 0, 5, 6],
                }),
                PayloadType::Request,
            ),
            (Contents::Response(body), PayloadType::Response),
            (path(Extra::Ack(Ack { code: [1, 2, 3, 4], extra: &[] })), PayloadType::Path),
            (path(Extra::Ack(Ack { code: [1, 2, 3, 0], extra: &[0, 9] })), PayloadType::Path),
            (path(Extra::Response(body)), PayloadType::Path),
            (path(Extra::Nothing { random: [9, 8, 7, 0] }), PayloadType::Path),
            (asked(Asked::Login(Withheld::new(b"hunter2"))), PayloadType::AnonRequest),
            (asked(Asked::Login(Withheld::new(b""))), PayloadType::AnonRequest),
            (asked(Asked::Query(Query::Owner, hops)), PayloadType::AnonRequest),
        ] {
            again(&contents, payload_type);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_and_what_is_read_is_read_again(
            plain in prop::collection::vec(prop_oneof![any::<u8>(), 0_u8..8, Just(0)], 0..176)
        ) {
            for payload_type in SEALED {
                if let Some(contents) = Contents::parse(payload_type, &plain) {
                    let mut emitted = Vec::new();
                    contents.emit(&mut emitted);
                    emitted.resize(plain.len().max(emitted.len()), 0);
                    prop_assert_eq!(Contents::parse(payload_type, &emitted), Some(contents));
                }
            }
        }
    }

    #[test]
    fn random_bytes_hardly_ever_pass_for_what_a_node_writes() {
        // Deterministic: a hash of the number.
        use sha2::{Digest, Sha256};
        let passes = |payload_type| {
            let blocks = (0..20_000u32).map(|n| Sha256::digest(n.to_le_bytes()));
            let telling = blocks.filter(|plain| {
                Contents::parse(payload_type, plain).is_some_and(|c| c.is_telling(plain))
            });
            telling.count()
        };
        for payload_type in SEALED {
            assert_eq!(passes(payload_type), 0, "{payload_type}");
        }
    }

    #[test]
    fn other_payloads_have_nothing_inside_for_a_peer() {
        assert_eq!(Contents::parse(PayloadType::Advert, &[0; 16]), None);
        assert_eq!(Contents::parse(PayloadType::GroupText, &[0; 16]), None);
    }
}
