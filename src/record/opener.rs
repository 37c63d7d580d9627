//! Opens what was sealed between two nodes of which one is ours (`nodeKeys`).
//!
//! A packet names both ends by the first byte of their keys. One end must be a node whose private
//! key we have; the other is any node that was heard and whose key begins so ([`Peers`]), or another
//! one of ours. The MAC decides, and with two bytes it errs once in 65,536 keys, so what is inside
//! must also be something that a node writes ([`crate::packet::inside`]).

mod peers;
mod secrets;

use self::peers::Peers;
use self::secrets::Secrets;
use super::inside::Inside;
use super::unsealed::{Direction, Unsealed};
use crate::crypto::peer::NodeKey;
use crate::packet::inside::Contents;
use crate::packet::payload::{AnonRequest, Peer};
use crate::packet::{Packet, Payload, PayloadType};

/// Our nodes' private keys, and whom they may have written to or heard from. All it remembers is
/// bounded: some 2 MB in all.
#[derive(Debug)]
pub struct Opener {
    keys: Vec<NodeKey>,
    peers: Peers,
    secrets: Secrets,
}

/// The sealed part of a payload and who its ends may be.
struct Letter<'a> {
    payload_type: PayloadType,
    dest: u8,
    sender: Sender<'a>,
    mac: [u8; 2],
    ciphertext: &'a [u8],
}

enum Sender<'a> {
    /// Its key begins so.
    Hash(u8),
    /// An ANON_REQ names it in full.
    Key(&'a [u8; 32]),
}

impl Opener {
    /// `None` without any key: there is nothing to open then.
    pub fn new(keys: Vec<NodeKey>) -> Option<Self> {
        let (peers, secrets) = (Peers::default(), Secrets::default());
        (!keys.is_empty()).then_some(Self { keys, peers, secrets })
    }

    /// A node that may be the other end of a conversation, heard now.
    pub fn hear(&mut self, public_key: &[u8; 32]) {
        self.peers.hear(public_key);
    }

    /// Learns the key that a packet shows, and opens what it has sealed between one of our nodes and
    /// another. Adverts whose signature is known to be bad are not for here.
    pub fn take(&mut self, packet: &Packet<'_>, inside: &mut Inside) {
        match &packet.payload {
            Payload::Advert(advert) => self.hear(advert.public_key),
            Payload::Request(peer)
            | Payload::Response(peer)
            | Payload::Text(peer)
            | Payload::Path(peer) => {
                self.open_into(inside, &Letter::of(packet.payload.payload_type(), peer));
            }
            Payload::AnonRequest(request) => {
                self.hear(request.sender_key);
                self.open_into(inside, &Letter::of_anonymous(request));
            }
            _ => {}
        }
    }

    fn open_into(&mut self, inside: &mut Inside, letter: &Letter<'_>) {
        if let Some(unsealed) = self.open(letter) {
            *inside = Inside::Unsealed(Box::new(unsealed));
        }
    }

    /// The first reading that is certain, else the first one. Nodes with whom ours have written
    /// before are tried first.
    fn open(&mut self, letter: &Letter<'_>) -> Option<Unsealed> {
        let Self { keys, peers, secrets } = self;
        let mut found = None;
        for (index, key) in keys.iter().enumerate() {
            let Some((direction, other)) = letter.other_end(key.public_key()) else { continue };
            let others = match other {
                Sender::Key(other) => vec![(*other, false)],
                Sender::Hash(hash) => candidates(keys, peers, hash, key.public_key()),
            };
            for (peer, known) in others {
                let secret = secrets.of((index, peer), || key.shared_secret(&peer));
                let Some(plain) = secret.and_then(|s| s.open(letter.mac, letter.ciphertext)) else {
                    continue;
                };
                let Some(contents) = Contents::parse(letter.payload_type, &plain) else { continue };
                let telling = contents.is_telling(&plain);
                if telling {
                    peers.prove(&peer);
                }
                let unsealed = Unsealed {
                    node: *key.public_key(),
                    peer,
                    direction,
                    certain: telling || known,
                    payload_type: letter.payload_type,
                    plain,
                };
                if unsealed.certain {
                    return Some(unsealed);
                }
                found = found.or(Some(unsealed));
            }
        }
        found
    }
}

/// Who may be the other end, the likeliest first, and whether one of our nodes and it have written
/// to each other before.
fn candidates(keys: &[NodeKey], peers: &Peers, hash: u8, not: &[u8; 32]) -> Vec<([u8; 32], bool)> {
    let ours = keys.iter().map(|key| (*key.public_key(), true));
    let ours = ours.filter(|(key, _)| key.first() == Some(&hash) && key != not);
    let mut all: Vec<_> = ours.collect();
    for (peer, known) in peers.of(hash) {
        if peer != *not && all.iter().all(|(key, _)| *key != peer) {
            all.push((peer, known));
        }
    }
    all
}

impl<'a> Letter<'a> {
    fn of(payload_type: PayloadType, peer: &Peer<'a>) -> Self {
        let Peer { dest, source, mac, ciphertext } = *peer;
        Self { payload_type, dest, sender: Sender::Hash(source), mac, ciphertext }
    }

    fn of_anonymous(request: &AnonRequest<'a>) -> Self {
        let AnonRequest { dest, sender_key, mac, ciphertext } = *request;
        let payload_type = PayloadType::AnonRequest;
        Self { payload_type, dest, sender: Sender::Key(sender_key), mac, ciphertext }
    }

    /// Which way the letter goes if this key is one end of it, and what is known of the other end;
    /// `None` if it is not.
    fn other_end(&self, ours: &[u8; 32]) -> Option<(Direction, Sender<'a>)> {
        let [hash, ..] = ours;
        let received = self.dest == *hash;
        match self.sender {
            Sender::Key(key) if key == ours => Some((Direction::Sent, Sender::Hash(self.dest))),
            Sender::Key(key) => received.then_some((Direction::Received, Sender::Key(key))),
            // Both ends begin alike: the secret is the same in both directions.
            Sender::Hash(source) if received && source == *hash => {
                Some((Direction::Unknown, Sender::Hash(source)))
            }
            Sender::Hash(source) if received => Some((Direction::Received, Sender::Hash(source))),
            Sender::Hash(source) => {
                (source == *hash).then_some((Direction::Sent, Sender::Hash(self.dest)))
            }
        }
    }
}

#[cfg(test)]
mod tests;
