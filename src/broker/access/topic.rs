//! What a topic says about who speaks there.

use crate::broker::identity::ObserverKey;
use crate::message::topic::is_key;

/// Longest topic or filter that goes to the router, in bytes: it never forgets one before it is
/// rebuilt, so ten thousand of them must stay small.
pub(in crate::broker) const LONGEST_ROUTED: usize = 1024;

/// Regions that uploaders send as long as nobody has set one (ecosystem: meshcoretomqtt `XXX`,
/// meshcore-packet-capture `LOC`, Home Assistant's integration `XYZ`).
const PLACEHOLDERS: [&str; 3] = ["XXX", "LOC", "XYZ"];

/// What a gateway says under its own key: `serial/responses` answers remote commands, `decoded` and
/// `filter` come from meshcore-packet-capture and from observer firmwares.
const SUBTOPICS: [&str; 9] = [
    "packets",
    "status",
    "neighbors",
    "config",
    "raw",
    "debug",
    "decoded",
    "filter",
    "serial/responses",
];

/// A topic of a gateway: `meshcore/{region}/{key}/{subtopic}`, or `meshcore/{key}/{subtopic}` from
/// uploaders that know no region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) struct Speech<'a> {
    /// The region, if the topic has a place for one.
    pub(in crate::broker) region: Option<&'a str>,
    /// For which observer.
    pub(in crate::broker) key: ObserverKey,
    /// What follows the key.
    pub(in crate::broker) subtopic: &'a str,
}

impl<'a> Speech<'a> {
    /// Takes a topic apart; `None` where no gateway speaks.
    pub(in crate::broker) fn of(topic: &'a str) -> Option<Self> {
        let rest = topic.strip_prefix("meshcore/")?;
        let (first, after) = rest.split_once('/')?;
        if let Some(key) = key(first) {
            return Some(Self { region: None, key, subtopic: after });
        }
        let (second, subtopic) = after.split_once('/')?;
        let region = (!matches!(first, "client" | "repeater" | "message")).then_some(first);
        Some(Self { region, key: key(second)?, subtopic })
    }

    /// Whether that is something that gateways say.
    pub(in crate::broker) fn is_known(&self) -> bool {
        SUBTOPICS.contains(&self.subtopic)
    }

    /// Whether the region is one that nobody has set.
    pub(in crate::broker) fn has_placeholder(&self) -> bool {
        self.region.is_some_and(|region| PLACEHOLDERS.contains(&region))
    }
}

/// A level that is a public key.
pub(super) fn key(level: &str) -> Option<ObserverKey> {
    if !is_key(level) {
        return None;
    }
    let mut bytes = [0; 32];
    hex::decode_to_slice(level, &mut bytes).ok()?;
    Some(ObserverKey(bytes))
}

/// Every key in a topic: however the pipeline reads it, the observer is one of them.
pub(super) fn keys(topic: &str) -> impl Iterator<Item = ObserverKey> {
    topic.split('/').filter_map(key)
}

/// Whether a topic outside `meshcore/` is a gateway's all the same, as MeshRank's
/// `meshrank/uplink/{token}/{key}/packets` and firmware templates such as `mynetwork/{key}/status`.
pub(super) fn is_foreign_gateway(topic: &str) -> bool {
    let mut levels = topic.rsplit('/');
    matches!(levels.next(), Some("packets" | "status")) && levels.next().is_some_and(is_key)
}

/// Whether a topic belongs to `meshcore/`.
pub(super) fn is_meshcore(topic: &str) -> bool {
    topic == "meshcore" || topic.starts_with("meshcore/")
}

/// Whether a level is `internal`: what a broker says of its clients (ecosystem §1.2).
pub(super) fn is_internal(topic: &str) -> bool {
    topic.split('/').any(|level| level == "internal")
}

/// Whether it is about a gateway's serial console.
pub(super) fn is_serial(topic: &str) -> bool {
    topic.split('/').any(|level| level == "serial")
}

/// Whether it carries commands to a gateway's serial console.
pub(super) fn is_serial_commands(topic: &str) -> bool {
    let after = topic.split('/').skip(1);
    topic.split('/').zip(after).any(|pair| pair == ("serial", "commands"))
}

/// Whether a topic or a filter may reach the router: printable ASCII, and not too long.
///
/// The router slices topics by bytes and panics inside a wider character (rumqttd 0.20
/// `protocol/mod.rs`, `matches`).
pub(in crate::broker) fn routable(name: &str) -> bool {
    name.len() <= LONGEST_ROUTED && name.bytes().all(|b| (b' '..=b'~').contains(&b))
}
