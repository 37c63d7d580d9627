//! The mesh itself: nodes that talk, gateways that hear them. Pure: the seed and the time come in as
//! arguments, so that tests and benchmarks make their traffic here too.

use super::dice::Dice;
use super::gateway::{Gateway, Heard, Publication};
use super::node::{Node, Role};
use crate::crypto::channel::{ChannelKey, GroupText, PUBLIC_KEY, hashtag_key};
use crate::packet::inside::{Contents, Said, TextMessage};
use crate::packet::payload::{Ack, Group, Peer, Trace};
use crate::packet::{Packet, Path, Payload};

use std::ops::RangeInclusive;

/// What a mesh is like.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Nodes that send, at least 2.
    pub nodes: usize,
    /// Gateways that hear them, at least 1.
    pub gateways: usize,
    /// The region in the gateways' topics.
    pub region: String,
    /// The channel that is written in: `Public`, or a hashtag channel with its `#`.
    pub channel: String,
    /// How many gateways hear a packet.
    pub ears: RangeInclusive<usize>,
}

impl Default for Shape {
    fn default() -> Self {
        Self { nodes: 50, gateways: 20, region: "SIM".into(), channel: PUBLIC.into(), ears: 1..=5 }
    }
}

/// The channel whose key every node has.
const PUBLIC: &str = "Public";

/// What a node sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A node presents itself, signed.
    Advert,
    /// A text in the channel, sealed with its key.
    Channel,
    /// A text from one node to another, sealed for both.
    Direct,
    /// The answer to the last direct text.
    Ack,
    /// A route is walked.
    Trace,
}

/// What is sent in turn: a fifth adverts, a third channel texts, and to each direct text its ACK.
const TURNS: [Kind; 15] = [
    Kind::Advert,
    Kind::Channel,
    Kind::Direct,
    Kind::Ack,
    Kind::Channel,
    Kind::Advert,
    Kind::Channel,
    Kind::Direct,
    Kind::Ack,
    Kind::Trace,
    Kind::Channel,
    Kind::Advert,
    Kind::Direct,
    Kind::Ack,
    Kind::Channel,
];

/// One packet on air, as every gateway that heard it publishes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmission {
    /// What it is.
    pub kind: Kind,
    /// A message from each gateway that heard it; no gateway twice.
    pub publications: Vec<Publication>,
}

/// Nodes, gateways, and what was said so far.
#[derive(Debug)]
pub struct Mesh {
    dice: Dice,
    nodes: Vec<Node>,
    gateways: Vec<Gateway>,
    /// Which nodes are repeaters.
    repeaters: Vec<usize>,
    channel: ChannelKey,
    ears: RangeInclusive<usize>,
    /// Transmissions so far.
    number: usize,
    /// What the next ACK says.
    ack: [u8; 4],
}

/// What goes on air, and how: the same for all who hear it, or with a path of its own for each.
struct Spoken {
    kind: Kind,
    /// The node's path hash size; a flooded packet reaches everybody over another path.
    flood: Option<u8>,
    bytes: Vec<u8>,
}

/// The most hops of a flooded packet, and of a route.
const HOPS: usize = 5;

impl Mesh {
    /// The mesh that follows from a seed: the same seed and shape, the same keys, names and places.
    pub fn new(seed: u64, shape: &Shape) -> Self {
        let mut dice = Dice::new(seed);
        let nodes: Vec<Node> = (0..shape.nodes.max(2)).map(|n| Node::new(n, &mut dice)).collect();
        let is_repeater = |n: &usize| nodes[*n].role == Role::Repeater;
        let repeaters: Vec<usize> = (0..nodes.len()).filter(is_repeater).collect();
        let gateway = |n| Gateway::new(n, &shape.region, &repeaters, &mut dice);
        let gateways = (0..shape.gateways.max(1)).map(gateway).collect();
        let channel = match shape.channel.as_str() {
            PUBLIC => ChannelKey::new(&PUBLIC_KEY),
            name => ChannelKey::new(&hashtag_key(name)),
        };
        let ears = shape.ears.clone();
        Self { dice, nodes, gateways, repeaters, channel, ears, number: 0, ack: [0; 4] }
    }

    /// The gateways, in the order of [`Publication::gateway`].
    pub fn gateways(&self) -> &[Gateway] {
        &self.gateways
    }

    /// The nodes' public keys.
    pub fn node_keys(&self) -> impl Iterator<Item = [u8; 32]> + '_ {
        self.nodes.iter().map(Node::public_key)
    }

    /// The next packet. `clock_s` is the nodes' clock in Unix seconds; a node that speaks twice in a
    /// second lets its own run ahead, since an advert that is not younger than the last one is none.
    /// `now_ms` is the gateways' clock.
    pub fn transmit(&mut self, clock_s: u32, now_ms: i64) -> Transmission {
        let spoken = match TURNS[self.number % TURNS.len()] {
            Kind::Advert => self.advert(clock_s),
            Kind::Channel => self.channel_text(clock_s),
            Kind::Direct => self.direct_text(clock_s),
            Kind::Ack => self.acknowledge(),
            Kind::Trace => self.trace(),
        };
        self.number += 1;
        self.hear(&spoken, now_ms)
    }

    /// What a gateway says of itself: when it connects (retained, as most uploaders do it), and now
    /// and then.
    pub fn online(&mut self, gateway: usize, now_ms: i64, retain: bool) -> Publication {
        self.gateways[gateway].online(&mut self.dice, now_ms, retain)
    }

    fn advert(&mut self, clock_s: u32) -> Spoken {
        let n = self.dice.below(self.nodes.len());
        let node = &mut self.nodes[n];
        let bytes = node.advert(clock_s);
        Spoken { kind: Kind::Advert, flood: Some(node.hash_size), bytes }
    }

    fn channel_text(&mut self, clock_s: u32) -> Spoken {
        let n = self.dice.below(self.nodes.len());
        let message = self.text();
        let node = &mut self.nodes[n];
        let sender = Some(node.name.clone());
        let plain = GroupText { timestamp: node.tick(clock_s), sender, message }.emit();
        let (mac, ciphertext) = self.channel.seal(&plain);
        let channel_hash = self.channel.channel_hash();
        let group = Group { channel_hash, mac, ciphertext: &ciphertext };
        let packet = Packet::flood(None, Path::EMPTY, Payload::GroupText(group));
        Spoken { kind: Kind::Channel, flood: Some(node.hash_size), bytes: packet.to_bytes() }
    }

    fn direct_text(&mut self, clock_s: u32) -> Spoken {
        let from = self.dice.below(self.nodes.len());
        // Somebody else.
        let to = (from + 1 + self.dice.below(self.nodes.len() - 1)) % self.nodes.len();
        let text = self.text();
        let timestamp = self.nodes[from].tick(clock_s);
        let (sender, receiver) = (&self.nodes[from], &self.nodes[to]);
        let said = Said::Plain(&text);
        let message = TextMessage { timestamp, attempt: 0, said };
        let (own, other) = (sender.public_key(), receiver.public_key());
        self.ack = message.ack_code(&own, &other).unwrap_or_default();
        let mut plain = Vec::new();
        Contents::Text(message).emit(&mut plain);
        let (mac, ciphertext) = sender.seal_for(receiver, &plain);
        let peer = Peer { dest: other[0], source: own[0], mac, ciphertext: &ciphertext };
        let (payload, size) = (Payload::Text(peer), sender.hash_size);
        // Once the way is known a text goes by it, and all who hear it hear the same hops to come.
        let (flood, packet) = if self.dice.below(2) == 0 {
            (Some(size), Packet::flood(None, Path::EMPTY, payload).to_bytes())
        } else {
            let hops = self.dice.below(HOPS);
            let route = self.route(hops, size, None);
            let path = Path::new(size, &route).unwrap_or_default();
            (None, Packet::direct(None, path, payload).to_bytes())
        };
        Spoken { kind: Kind::Direct, flood, bytes: packet }
    }

    fn acknowledge(&mut self) -> Spoken {
        // First attempt, and the byte that makes repeated ones distinct.
        let extra = [0, self.dice.byte()];
        let ack = Payload::Ack(Ack { code: self.ack, extra: &extra });
        let bytes = Packet::flood(None, Path::EMPTY, ack).to_bytes();
        Spoken { kind: Kind::Ack, flood: Some(1), bytes }
    }

    fn trace(&mut self) -> Spoken {
        let hops = 1 + self.dice.below(HOPS);
        let route = self.route(hops, 1, None);
        let done = 1 + self.dice.below(hops);
        let snrs: Vec<u8> = (0..done).map(|_| self.dice.byte() % 48).collect();
        // Counting makes it another one each time, whatever the dice say.
        let [low, next, ..] = self.number.to_le_bytes();
        let tag = u32::from_le_bytes([low, next, self.dice.byte(), self.dice.byte()]);
        let trace = Trace { tag, auth_code: 0, flags: 0, route: &route };
        let path = Path::new(1, &snrs).unwrap_or_default();
        let bytes = Packet::direct(None, path, Payload::Trace(trace)).to_bytes();
        Spoken { kind: Kind::Trace, flood: None, bytes }
    }

    /// Some hops' hashes; the last one is this repeater.
    fn route(&mut self, hops: usize, size: u8, last: Option<usize>) -> Vec<u8> {
        let mut route = Vec::with_capacity(hops * usize::from(size));
        for hop in 0..hops {
            let any = self.repeaters[self.dice.below(self.repeaters.len())];
            let repeater = last.filter(|_| hop + 1 == hops).unwrap_or(any);
            let key = self.nodes[repeater].public_key();
            route.extend_from_slice(&key[..usize::from(size)]);
        }
        route
    }

    /// Different each time.
    fn text(&mut self) -> String {
        const TEXTS: [&str; 8] = [
            "good morning from the valley",
            "anyone on this channel?",
            "testing the new antenna",
            "copy, five by five",
            "the repeater on the ridge is back",
            "net starts at eight",
            "what is your path to the coast?",
            "73",
        ];
        format!("{} ({})", TEXTS[self.dice.below(TEXTS.len())], self.number)
    }

    fn hear(&mut self, spoken: &Spoken, now_ms: i64) -> Transmission {
        let (least, most) = (*self.ears.start(), *self.ears.end());
        let ears = least + self.dice.below(most.saturating_sub(least) + 1);
        let chosen = self.dice.choose(ears, self.gateways.len());
        let publications = chosen.into_iter().map(|n| self.heard_by(n, spoken, now_ms)).collect();
        Transmission { kind: spoken.kind, publications }
    }

    fn heard_by(&mut self, gateway: usize, spoken: &Spoken, now_ms: i64) -> Publication {
        let near = self.gateways[gateway].near(&mut self.dice);
        let bytes = match spoken.flood {
            None => spoken.bytes.clone(),
            Some(size) => {
                let hops = self.dice.below(HOPS);
                let route = self.route(hops, size, Some(near));
                with_path(&spoken.bytes, size, &route)
            }
        };
        let heard = Heard { bytes: &bytes, now_ms };
        self.gateways[gateway].packet(&heard, &mut self.dice)
    }
}

/// A flooded packet after these hops.
fn with_path(bytes: &[u8], size: u8, route: &[u8]) -> Vec<u8> {
    match (Packet::parse(bytes), Path::new(size, route)) {
        (Ok(packet), Some(path)) => Packet { path, ..packet }.to_bytes(),
        _ => bytes.to_vec(),
    }
}
