//! The inside of an ANON_REQ: a login, or a question that needs none (firmware
//! `BaseChatMesh::sendLogin`, `examples/simple_repeater/MyMesh.cpp`).
//!
//! ```text
//! tag | password                                      repeater, sensor
//!  4  |  0–15
//! tag | sync since | password                         room server
//!  4  |     4      |  0–15
//! tag | question, 1–3 | path length | path            question
//!  4  |       1       |      1      | 0–64
//! ```
//!
//! Which of the first two it is only the server knows. A password is withheld ([`Withheld`]).

use super::withheld::Withheld;
use super::{readable, without_filling};
use crate::packet::cursor::{Cursor, split};
use crate::packet::path::Path;

use std::fmt;

/// What a node sends that the receiver need not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anonymous<'a> {
    /// The sender's clock in Unix seconds, which the answer repeats.
    pub tag: u32,
    /// What it wants.
    pub asked: Asked<'a>,
}

/// What an ANON_REQ wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    /// To be let in: everything behind the tag, the password included.
    Login(Withheld<'a>),
    /// An answer, along this path.
    Query(Query, Path<'a>),
}

/// A question that needs no login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// The regions that a repeater serves.
    Regions,
    /// Its name and owner.
    Owner,
    /// Its clock and features.
    Clock,
}

/// The longest password in bytes (firmware `BaseChatMesh::sendLogin`).
const MAX_PASSWORD: usize = 15;

impl<'a> Anonymous<'a> {
    pub(super) fn parse(plain: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(plain);
        let tag = cursor.u32().ok()?;
        let rest = cursor.rest();
        let asked = match query(rest) {
            Some((query, path)) => Asked::Query(query, path),
            None => Asked::Login(login(without_filling(rest))?),
        };
        Some(Self { tag, asked })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.tag.to_le_bytes());
        match &self.asked {
            Asked::Login(secret) => secret.emit(out),
            Asked::Query(query, path) => {
                out.extend_from_slice(&[query.number(), path.length_byte()]);
                out.extend_from_slice(path.bytes());
            }
        }
    }
}

impl Query {
    fn number(self) -> u8 {
        match self {
            Self::Regions => 1,
            Self::Owner => 2,
            Self::Clock => 3,
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Regions => "regions",
            Self::Owner => "owner",
            Self::Clock => "clock",
        })
    }
}

fn query(rest: &[u8]) -> Option<(Query, Path<'_>)> {
    let mut cursor = Cursor::new(rest);
    let query = match cursor.u8().ok()? {
        1 => Query::Regions,
        2 => Query::Owner,
        3 => Query::Clock,
        _ => return None,
    };
    let path = Path::parse(&mut cursor).ok()?;
    without_filling(cursor.rest()).is_empty().then_some((query, path))
}

/// A password, or the four bytes of a room's client and then a password.
fn login(rest: &[u8]) -> Option<Withheld<'_>> {
    let (_, behind_the_time) = split(rest, 4);
    let fits = |text: &[u8]| text.len() <= MAX_PASSWORD && readable(text).is_some();
    (fits(rest) || fits(behind_the_time)).then_some(Withheld::new(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(rest: &[u8]) -> Option<Asked<'_>> {
        // The tag is of no matter here.
        match query(rest) {
            Some((query, path)) => Some(Asked::Query(query, path)),
            None => login(without_filling(rest)).map(Asked::Login),
        }
    }

    #[test]
    fn a_login_shows_no_password() {
        for rest in [&b"hunter2\0\0\0\0\0"[..], b"\x01\x02\x03\x69hunter2\0", b"\0\0\0\0hunter2"] {
            let Some(Asked::Login(secret)) = asked(rest) else { panic!("{rest:?}") };
            assert!(!format!("{secret:?}{secret}").contains("hunter2"));
        }
        assert!(matches!(asked(&[0; 12]), Some(Asked::Login(_))), "without a password");
    }

    #[test]
    fn a_question_names_the_path_of_the_answer() {
        let Some(Asked::Query(query, path)) = asked(&[2, 2, 0xAA, 0xBB, 0, 0]) else { panic!() };
        assert_eq!((query, path.bytes()), (Query::Owner, &[0xAA, 0xBB][..]));
        assert_eq!(query.to_string(), "owner");
    }

    #[test]
    fn what_no_node_writes_is_neither() {
        assert_eq!(asked(b"a password that is too long to be one"), None);
        assert_eq!(asked(b"\xFF\xFE\xFD\xFC\xFB\xFA"), None);
        assert_eq!(asked(b"\x01\xC0\xFF\xFE\xFD\xFC\xFB"), None);
        assert_eq!(Anonymous::parse(&[1, 2, 3]), None);
    }
}
