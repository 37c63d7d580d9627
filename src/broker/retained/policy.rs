//! What may be retained, and for how long: pure rules by topic.

use std::time::Duration;

/// What becomes of a publish that asks to be retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) enum Keep {
    /// It is kept, for so long if there is a limit.
    Yes(Option<Duration>),
    /// It is passed on as if it did not ask. Most uploaders ask for it on their status, and a
    /// subscriber that comes later would take a months-old "online" for the truth.
    Status,
    /// It is passed on as if it did not ask: old packets are no news.
    No,
}

/// A neighbour report is a day old at the most where uploaders keep to their defaults; after two it
/// says nothing about the mesh of today.
const NEIGHBORS: Duration = Duration::from_secs(48 * 3600);

/// An observer's configuration is published when it changes or when its uploader starts.
const CONFIG: Duration = Duration::from_secs(30 * 24 * 3600);

/// What this program itself keeps about an observer's presence; then the observer is forgotten.
pub(in crate::broker) const PRESENCE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Whether, and how long, a publish to this topic is retained. Outside `meshcore/` stands what the
/// box's other users keep there, such as Home Assistant's discovery, which has no age.
pub(in crate::broker) fn keep(topic: &str) -> Keep {
    let mut levels = topic.split('/');
    if !levels.next().is_some_and(|first| first.eq_ignore_ascii_case("meshcore")) {
        return Keep::Yes(None);
    }
    match levels.next_back().unwrap_or_default() {
        "status" => Keep::Status,
        "neighbors" => Keep::Yes(Some(NEIGHBORS)),
        "config" => Keep::Yes(Some(CONFIG)),
        _ => Keep::No,
    }
}

/// How long what stands on this topic is kept.
pub(super) fn lifetime(topic: &str) -> Option<Duration> {
    match keep(topic) {
        Keep::Yes(limit) => limit,
        Keep::Status => Some(PRESENCE),
        Keep::No => Some(Duration::ZERO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_13_the_retain_policy_of_each_subtopic() {
        let days = |n: u64| Keep::Yes(Some(Duration::from_secs(n * 24 * 3600)));
        let cases = [
            ("meshcore/SJC/AB/status", Keep::Status),
            ("meshcore/status", Keep::Status),
            ("meshcore/SJC/AB/neighbors", days(2)),
            ("meshcore/SJC/AB/config", days(30)),
            ("meshcore/SJC/AB/packets", Keep::No),
            ("meshcore/SJC/AB/raw", Keep::No),
            ("meshcore/SJC/AB/debug", Keep::No),
            ("meshcore/SJC/AB/filter", Keep::No),
            ("meshcore/SJC/AB/serial/responses", Keep::No),
            ("meshcore/SJC/AB/internal", Keep::No),
            ("meshcore/message/channel/0", Keep::No),
            ("meshcore", Keep::No),
            ("homeassistant/sensor/x/config", Keep::Yes(None)),
            ("homeassistant/status", Keep::Yes(None)),
            ("zigbee2mqtt/bridge/state", Keep::Yes(None)),
            ("meshcored/x/packets", Keep::Yes(None)),
        ];
        for (topic, expected) in cases {
            assert_eq!(keep(topic), expected, "{topic}");
        }
    }
}
