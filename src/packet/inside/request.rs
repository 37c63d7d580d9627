//! The inside of a REQ (firmware `examples/simple_repeater/MyMesh.cpp`, `BaseChatMesh::sendRequest`).
//!
//! ```text
//! tag | type | parameters
//!  4  |  1   |     n
//! ```

use super::without_filling;
use crate::packet::cursor::Cursor;

use std::fmt;

/// A request to a node that knows the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The sender's clock in Unix seconds, which the answer repeats.
    pub tag: u32,
    /// What is asked.
    pub kind: RequestKind,
    /// Parameters, often with random bytes at their end; zeros at the end are left out, since they
    /// cannot be told from filling.
    pub parameters: &'a [u8],
}

/// What a REQ asks for; no other is known (firmware 1.17.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// Battery, counters, uptime.
    Status,
    /// The client of a room is still there.
    KeepAlive,
    /// Measurements.
    Telemetry,
    /// A sensor's averages and extremes.
    Averages,
    /// Who may do what; for admins.
    AccessList,
    /// Whom a repeater hears.
    Neighbours,
    /// Firmware, name and owner.
    OwnerInfo,
}

const KINDS: [(RequestKind, &str); 7] = [
    (RequestKind::Status, "status"),
    (RequestKind::KeepAlive, "keep-alive"),
    (RequestKind::Telemetry, "telemetry"),
    (RequestKind::Averages, "averages"),
    (RequestKind::AccessList, "access list"),
    (RequestKind::Neighbours, "neighbours"),
    (RequestKind::OwnerInfo, "owner info"),
];

impl<'a> Request<'a> {
    pub(super) fn parse(plain: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(plain);
        let (tag, byte) = (cursor.u32().ok()?, cursor.u8().ok()?);
        let (kind, _) = KINDS.get(usize::from(byte).checked_sub(1)?)?;
        Some(Self { tag, kind: *kind, parameters: without_filling(cursor.rest()) })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.tag.to_le_bytes());
        let before = KINDS.iter().take_while(|(kind, _)| *kind != self.kind).count();
        out.push(u8::try_from(before + 1).unwrap_or_default());
        out.extend_from_slice(self.parameters);
    }
}

impl fmt::Display for RequestKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = KINDS.iter().find(|(kind, _)| kind == self).map(|(_, name)| *name);
        f.write_str(name.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_are_numbered_from_one() {
        let kind = |byte| Request::parse(&[1, 0, 0, 0, byte, 9, 0, 0]).map(|r| r.kind.to_string());
        assert_eq!(kind(1).as_deref(), Some("status"));
        assert_eq!(kind(7).as_deref(), Some("owner info"));
        assert_eq!((kind(0), kind(8)), (None, None));
    }

    #[test]
    fn zeros_at_the_end_are_no_parameters() {
        let request = Request::parse(&[1, 0, 0, 0, 2, 0, 7, 0, 0]).unwrap();
        assert_eq!((request.tag, request.parameters), (1, &[0, 7][..]));
        assert_eq!(Request::parse(&[1, 0, 0, 0]), None);
    }
}
