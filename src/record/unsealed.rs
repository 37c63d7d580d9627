//! A payload that was sealed for a peer, opened.

use crate::packet::PayloadType;
use crate::packet::hex::Hex;
use crate::packet::inside::Contents;

use std::fmt;

/// A payload that was sealed between one of our nodes and another one, opened.
#[derive(Clone, PartialEq, Eq)]
pub struct Unsealed {
    /// The public key of our node.
    pub node: [u8; 32],
    /// The public key of the other end.
    pub peer: [u8; 32],
    /// Which way it went.
    pub direction: Direction,
    /// Whether more than the MAC says that the right key opened it: the shape of what is inside, or
    /// that both ends have written to each other before. Without that, one in 65,536 is a mistake
    /// for each node that was tried.
    pub certain: bool,
    pub(super) payload_type: PayloadType,
    /// Passwords may be in it: only [`Unsealed::contents`] knows where.
    pub(super) plain: Vec<u8>,
}

/// Which way a packet went, from our node's point of view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To our node.
    Received,
    /// From our node.
    Sent,
    /// Both keys begin with the same byte, and a packet tells no more.
    Unknown,
}

impl Unsealed {
    /// What is inside. There always is something.
    pub fn contents(&self) -> Option<Contents<'_>> {
        Contents::parse(self.payload_type, &self.plain)
    }

    /// The code of the ACK that this message asks for, if it is one and it is known who sent it.
    pub fn ack_code(&self) -> Option<[u8; 4]> {
        let (sender, receiver) = match self.direction {
            Direction::Received => (&self.peer, &self.node),
            Direction::Sent => (&self.node, &self.peer),
            Direction::Unknown => return None,
        };
        match self.contents() {
            Some(Contents::Text(text)) => text.ack_code(sender, receiver),
            _ => None,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Received => "received",
            Self::Sent => "sent",
            Self::Unknown => "unknown",
        })
    }
}

/// Without the plaintext as such: passwords are withheld in its contents.
impl fmt::Debug for Unsealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsealed")
            .field("node", &Hex(&self.node).to_string())
            .field("peer", &Hex(&self.peer).to_string())
            .field("direction", &self.direction)
            .field("certain", &self.certain)
            .field("contents", &self.contents())
            .finish()
    }
}
