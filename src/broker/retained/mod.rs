//! Retained messages: the last word on a topic, for subscribers that come later.
//!
//! The door owns them, not the router, whose own store has no bound and lets any empty message
//! delete one. Bounded by count and by bytes, for all and for each identity; when it is full a new
//! topic is refused, and what is there stays and can still be replaced by something no larger, or
//! deleted. What may be retained at all is [`policy`]'s to say; presence puts its own truth here.

pub(super) mod policy;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use bytes::Bytes;
use rumqttc::mqttbytes::{QoS, matches};

use super::frame::Properties;
use super::grant::Grant;
use super::identity::{Author, Identity};
use crate::counters::Counters;

/// Most retained messages.
const MAX_MESSAGES: usize = 4_000;

/// Most bytes of topics, payloads, properties and [`OVERHEAD`]: 8 MiB, several hundred gateways with a
/// configuration and a neighbour report each, and Home Assistant's tree.
const MAX_BYTES: usize = 8 << 20;

/// One identity may have this part of either: it takes four of them to keep everyone else out.
const PART_OF_ALL: usize = 4;

/// All who have logged in by token have one such part together, since anybody can make keys, and each
/// of them this part of it: a configuration and a neighbour report in each of a few regions.
const PART_OF_TOKENS: usize = 20;

/// What an entry costs beside its topic, payload and properties, in bytes.
const OVERHEAD: usize = 200;

/// One retained message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Retained {
    /// Where it was published: printable ASCII.
    pub(super) topic: Arc<str>,
    /// What was published, never empty.
    pub(super) payload: Bytes,
    /// What its publisher said of it.
    pub(super) said: Option<Arc<Properties>>,
    /// How it was published: 0 or 1.
    pub(super) qos: QoS,
    /// Who published it; `None`: this program did.
    pub(super) owner: Option<Identity>,
    /// The same with its client id.
    pub(super) author: Author,
    /// Our clock when it arrived, in milliseconds since the Unix epoch.
    pub(super) at_ms: i64,
}

/// The retained messages by topic.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    messages: BTreeMap<Arc<str>, Retained>,
    total: Share,
    shares: HashMap<Holder, Share>,
    /// Topics of which the file does not know the present state.
    changed: BTreeSet<Arc<str>>,
    counters: Arc<Counters>,
}

/// Who has a share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Holder {
    /// An owner.
    One(Identity),
    /// Everyone who has logged in by token.
    Tokens,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Share {
    messages: usize,
    bytes: usize,
}

/// There is no room for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// On the shelf.
    All,
    /// In the publisher's own part of it.
    Own,
}

/// Topics with what stands there now; `None`: nothing.
pub(super) type Changes = Vec<(Arc<str>, Option<Retained>)>;

impl Shelf {
    /// An empty one that counts there.
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self { counters, ..Self::default() }
    }

    /// Keeps a message in place of the topic's last one; an empty payload deletes (MQTT-3.3.1-10).
    /// What this program itself says is not measured: whoever says it has bounds of its own.
    ///
    /// # Errors
    /// [`Full`]: the topic's last message, if there was one, stays.
    pub(super) fn keep(&mut self, message: Retained) -> Result<(), Full> {
        if message.payload.is_empty() {
            self.remove(&message.topic);
            return Ok(());
        }
        if let Err(full) = self.has_room_for(&message) {
            // What is too old makes room, before anything is refused.
            self.expire(message.at_ms);
            self.has_room_for(&message).map_err(|_| full)?;
        }
        self.take_off(&message.topic);
        self.changed.insert(Arc::clone(&message.topic));
        self.put(message);
        Ok(())
    }

    /// Takes a topic's message off.
    pub(super) fn remove(&mut self, topic: &str) {
        if let Some(old) = self.take_off(topic) {
            self.changed.insert(old.topic);
        }
    }

    /// What new subscriptions of `reader` to `filters` get (MQTT-3.3.1-6): each message once, at its
    /// own QoS or at the highest that one of the filters grants, whichever is less. The payloads are
    /// shared, not copied.
    pub(super) fn matching(
        &self,
        filters: &[(String, Grant)],
        reader: Author,
        now_ms: i64,
    ) -> Vec<Retained> {
        let granted = |message: &Retained| {
            let own = message.author == reader;
            let mut best = None;
            for (filter, grant) in filters {
                if !(own && grant.no_local) && matches(&message.topic, filter) {
                    best = best.max(Some(grant.qos as u8));
                }
            }
            best
        };
        let here = self.messages.values().filter(|m| !is_over(m, now_ms));
        let here = here.filter_map(|m| granted(m).map(|best| (m, best)));
        here.map(|(m, best)| match best {
            0 => Retained { qos: QoS::AtMostOnce, ..m.clone() },
            _ => m.clone(),
        })
        .collect()
    }

    /// What the file does not know yet. What is too old goes now.
    pub(super) fn changes(&mut self, now_ms: i64) -> Changes {
        self.expire(now_ms);
        let changed = std::mem::take(&mut self.changed).into_iter();
        changed.map(|topic| (Arc::clone(&topic), self.messages.get(&topic).cloned())).collect()
    }

    /// Everything, for a file that is written anew.
    pub(super) fn everything(&mut self, now_ms: i64) -> Changes {
        self.expire(now_ms);
        self.changed.clear();
        self.messages.iter().map(|(t, m)| (Arc::clone(t), Some(m.clone()))).collect()
    }

    /// Whether something is retained there.
    pub(super) fn has(&self, topic: &str) -> bool {
        self.messages.contains_key(topic)
    }

    /// Puts back what the file had. What finds no room is left out, and the file will know.
    pub(super) fn restore(&mut self, message: Retained, now_ms: i64) {
        if self.messages.contains_key(&message.topic) {
            // What is in memory is newer.
            return;
        }
        if is_over(&message, now_ms) || self.has_room_for(&message).is_err() {
            self.changed.insert(message.topic);
        } else {
            self.put(message);
        }
    }

    fn has_room_for(&self, message: &Retained) -> Result<(), Full> {
        let Some(owner) = &message.owner else { return Ok(()) };
        let new = Share { messages: 1, bytes: cost(message) };
        let old = self.messages.get(&message.topic).filter(|old| old.owner.is_some());
        let less = |share: Share, old: Option<&Retained>| Share {
            messages: share.messages - usize::from(old.is_some()),
            bytes: share.bytes - old.map_or(0, cost),
        };
        let fits = |share: Share, part: usize| {
            share.messages + new.messages <= MAX_MESSAGES / part
                && share.bytes + new.bytes <= MAX_BYTES / part
        };
        for (holder, part) in holders(owner) {
            let share = self.shares.get(&holder).copied().unwrap_or_default();
            let counts = |old: &&Retained| {
                old.owner.as_ref().is_some_and(|owner| holders(owner).any(|(it, _)| it == holder))
            };
            if !fits(less(share, old.filter(counts)), part) {
                return Err(Full::Own);
            }
        }
        if fits(less(self.total, old), 1) { Ok(()) } else { Err(Full::All) }
    }

    fn put(&mut self, message: Retained) {
        if let Some(owner) = &message.owner {
            let add = |share: &mut Share| {
                share.messages += 1;
                share.bytes += cost(&message);
            };
            add(&mut self.total);
            holders(owner).for_each(|(holder, _)| add(self.shares.entry(holder).or_default()));
        }
        self.messages.insert(Arc::clone(&message.topic), message);
    }

    fn take_off(&mut self, topic: &str) -> Option<Retained> {
        let old = self.messages.remove(topic)?;
        if let Some(owner) = &old.owner {
            self.total.messages -= 1;
            self.total.bytes -= cost(&old);
            for (holder, _) in holders(owner) {
                let Some(share) = self.shares.get_mut(&holder) else { continue };
                share.messages -= 1;
                share.bytes -= cost(&old);
                if share.messages == 0 {
                    self.shares.remove(&holder);
                }
            }
        }
        Some(old)
    }

    fn expire(&mut self, now_ms: i64) {
        let over = self.messages.values().filter(|m| is_over(m, now_ms));
        let said =
            over.clone().filter(|m| m.said.as_ref().is_some_and(|s| s.are_over(m.at_ms, now_ms)));
        self.counters.broker_messages_expired.add(said.count() as u64);
        let over: Vec<_> = over.map(|m| Arc::clone(&m.topic)).collect();
        over.iter().for_each(|topic| self.remove(topic));
    }
}

/// An age of nothing, or of less, means a clock that was set back: nothing is over then.
fn is_over(message: &Retained, now_ms: i64) -> bool {
    if message.said.as_ref().is_some_and(|said| said.are_over(message.at_ms, now_ms)) {
        return true;
    }
    policy::lifetime(&message.topic).is_some_and(|limit| {
        u128::try_from(now_ms - message.at_ms).unwrap_or(0) > limit.as_millis()
    })
}

fn cost(message: &Retained) -> usize {
    let said = message.said.as_ref().map_or(0, |said| said.cost());
    message.topic.len() + message.payload.len() + said + OVERHEAD
}

/// In whose shares a message of this owner counts, and which part of all each of them is.
fn holders(owner: &Identity) -> impl Iterator<Item = (Holder, usize)> {
    let by_token = matches!(owner, Identity::Observer(_));
    let own = if by_token { PART_OF_ALL * PART_OF_TOKENS } else { PART_OF_ALL };
    let one = (Holder::One(place(owner)), own);
    std::iter::once(one).chain(by_token.then_some((Holder::Tokens, PART_OF_ALL)))
}

/// What counts as one owner: of IPv6 the first 64 bits, since every host of such a network can take
/// as many addresses as it likes.
fn place(owner: &Identity) -> Identity {
    match owner {
        Identity::Anonymous(IpAddr::V6(v6)) => {
            let network = Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64));
            Identity::Anonymous(IpAddr::V6(network))
        }
        other => other.clone(),
    }
}
