//! Topics: which region, which observer, and what is said there.
//!
//! The usual form is `meshcore/{region}/{key}/{kind}`; CoreScope goes by the places of the segments
//! and never looks at the first one, and so do we, but for the forms that would mislead.

use super::Unread;
use crate::message::topic::is_key;

/// A topic taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Topic<'a> {
    /// The region as sent, perhaps empty.
    pub(super) region: Option<&'a str>,
    /// The observer as sent, never empty.
    pub(super) key: Option<&'a str>,
    /// What is said there.
    pub(super) kind: Kind<'a>,
}

/// What is said on a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// Never read, whatever it carries: a companion bridge speaks of its own connection.
    Silent,
    /// An observer speaks of itself.
    Status,
    /// A companion bridge's channel message, with the index as sent, perhaps empty.
    Channel(&'a str),
    /// A companion bridge's direct message.
    Direct,
    /// A packet if it has a `raw`, else this.
    Other(Unread),
}

impl<'a> Topic<'a> {
    /// Takes a topic apart.
    pub(super) fn of(topic: &'a str) -> Self {
        let other = |kind| Self { region: None, key: None, kind };
        if matches!(topic, "meshcore/status" | "meshcore/events/connection") {
            return other(Kind::Silent);
        }
        if let Some(index) = topic.strip_prefix("meshcore/message/channel/") {
            return other(Kind::Channel(index.split('/').next().unwrap_or_default()));
        }
        if topic.starts_with("meshcore/message/direct/") {
            return other(Kind::Direct);
        }
        let mut segments = topic.split('/');
        let mut next = || segments.next();
        Self::of_segments([next(), next(), next(), next(), next()])
    }

    fn of_segments(segments: [Option<&'a str>; 5]) -> Self {
        match segments {
            // MeshRank: the third segment is a secret.
            [Some("meshrank"), Some("uplink"), _, key, kind] => Self::new(None, key, kind),
            [Some("meshcore"), Some("message"), ..] => {
                Self { region: None, key: None, kind: Kind::Other(Unread::BridgeEvent) }
            }
            // Clients and openhop's older form: the second segment is no region.
            [Some("meshcore"), Some("client" | "repeater"), key, kind @ Some(_), _] => {
                Self::new(None, key, kind)
            }
            [_, region, key, kind @ Some(_), _] => Self::new(region, key, kind),
            // Firmware templates of three segments, and uploaders that know no region.
            [_, Some(key), kind @ Some(_), None, _] if is_key(key) => {
                Self::new(None, Some(key), kind)
            }
            [_, region, Some(last), None, _] if says(last).is_some() => {
                Self::new(region, None, Some(last))
            }
            [Some("meshcore"), Some(last), None, ..] if says(last).is_some() => {
                Self::new(None, None, Some(last))
            }
            [Some("meshcore"), Some(event), ..] if is_bridge_event(event) => {
                Self { region: None, key: None, kind: Kind::Other(Unread::BridgeEvent) }
            }
            [_, region, key, ..] => Self::new(region, key, None),
        }
    }

    fn new(region: Option<&'a str>, key: Option<&'a str>, kind: Option<&'a str>) -> Self {
        let key = key.filter(|k| !k.is_empty());
        let kind = kind.and_then(says).unwrap_or(Kind::Other(Unread::UnknownTopic));
        Self { region, key, kind }
    }
}

impl Kind<'_> {
    /// Where nobody promised a packet, a message without one is not bad input but the topic's own.
    pub(super) fn excuse(self, unread: Unread) -> Unread {
        match self {
            Self::Other(own) => match unread {
                Unread::NoRaw => own,
                Unread::NotJson | Unread::NotAnObject | Unread::RawNotText
                    if own != Unread::NoRaw =>
                {
                    own
                }
                unread => unread,
            },
            Self::Silent | Self::Status | Self::Channel(_) | Self::Direct => unread,
        }
    }
}

/// What the word at the end of a topic announces.
fn says(word: &str) -> Option<Kind<'static>> {
    Some(match word {
        "status" => Kind::Status,
        "packets" | "packet" => Kind::Other(Unread::NoRaw),
        "raw" => Kind::Other(Unread::RawTopic),
        "debug" => Kind::Other(Unread::DebugTopic),
        "decoded" => Kind::Other(Unread::DecodedTopic),
        "neighbors" => Kind::Other(Unread::NeighborsTopic),
        "config" => Kind::Other(Unread::ConfigTopic),
        "filter" => Kind::Other(Unread::FilterTopic),
        "internal" => Kind::Other(Unread::InternalTopic),
        "serial" => Kind::Other(Unread::SerialTopic),
        _ => return None,
    })
}

/// The notices of the companion bridge `meshcore-mqtt`.
fn is_bridge_event(segment: &str) -> bool {
    matches!(
        segment,
        "advertisement" | "battery" | "events" | "new_contact" | "self_info" | "traceroute"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "7e7662676F7F0850A8A355BAAFBFC1EB7B4174C340442D7D7161C9474A2C9400";

    fn check(topic: &str, region: Option<&str>, key: Option<&str>, kind: Kind<'_>) {
        let topic = topic.replace("KEY", KEY);
        assert_eq!(Topic::of(&topic), Topic { region, key, kind }, "{topic}");
    }

    #[test]
    fn the_usual_form_names_region_observer_and_kind() {
        let packets = Kind::Other(Unread::NoRaw);
        check("meshcore/SJC/KEY/packets", Some("SJC"), Some(KEY), packets);
        check("meshcore/SJC/KEY/packets/deep/er", Some("SJC"), Some(KEY), packets);
        check("other/ sjc /x/packets", Some(" sjc "), Some("x"), packets);
        check("meshcore/SJC/KEY/status", Some("SJC"), Some(KEY), Kind::Status);
        check("meshcore/SJC/KEY/status/extra", Some("SJC"), Some(KEY), Kind::Status);
        check("meshcore//KEY/packets", Some(""), Some(KEY), packets);
        check("meshcore/SJC//packets", Some("SJC"), None, packets);
        check("meshcore/SJC//status", Some("SJC"), None, Kind::Status);
    }

    #[test]
    fn every_other_word_has_its_own_reason() {
        for (word, unread) in [
            ("raw", Unread::RawTopic),
            ("debug", Unread::DebugTopic),
            ("decoded", Unread::DecodedTopic),
            ("neighbors", Unread::NeighborsTopic),
            ("config", Unread::ConfigTopic),
            ("filter", Unread::FilterTopic),
            ("internal", Unread::InternalTopic),
            ("serial/commands", Unread::SerialTopic),
            ("serial/responses", Unread::SerialTopic),
            ("regions", Unread::UnknownTopic),
        ] {
            let topic = format!("meshcore/SJC/KEY/{word}");
            check(&topic, Some("SJC"), Some(KEY), Kind::Other(unread));
        }
    }

    #[test]
    fn shorter_topics_name_what_they_have() {
        let unknown = Kind::Other(Unread::UnknownTopic);
        let packets = Kind::Other(Unread::NoRaw);
        check("meshcore/SJC/KEY", Some("SJC"), Some(KEY), unknown);
        check("meshcore/SJC", Some("SJC"), None, unknown);
        check("meshcore", None, None, unknown);
        check("", None, None, unknown);
        check("meshcore/packets", None, None, packets);
        check("meshcore/SJC/packets", Some("SJC"), None, packets);
        check("mynetwork/KEY/packets", None, Some(KEY), packets);
        check("mynetwork/KEY/status", None, Some(KEY), Kind::Status);
    }

    #[test]
    fn forms_without_a_region_give_none() {
        let packets = Kind::Other(Unread::NoRaw);
        check("meshcore/client/KEY/packets", None, Some(KEY), packets);
        check("meshcore/repeater/My Node/packet", None, Some("My Node"), packets);
    }

    #[test]
    fn the_secret_of_a_meshrank_topic_is_nobodys_name() {
        check("meshrank/uplink/s3cret/KEY/packets", None, Some(KEY), Kind::Other(Unread::NoRaw));
        check("meshrank/uplink/s3cret", None, None, Kind::Other(Unread::UnknownTopic));
    }

    #[test]
    fn companion_bridges_have_messages_and_notices() {
        check("meshcore/message/channel/2", None, None, Kind::Channel("2"));
        check("meshcore/message/channel/4/sub", None, None, Kind::Channel("4"));
        check("meshcore/message/channel/", None, None, Kind::Channel(""));
        check("meshcore/message/channel/status", None, None, Kind::Channel("status"));
        check("meshcore/message/direct/abcdef", None, None, Kind::Direct);
        check("meshcore/status", None, None, Kind::Silent);
        check("meshcore/events/connection", None, None, Kind::Silent);
        for topic in ["message/channel", "advertisement", "self_info", "traceroute/1", "battery"] {
            let topic = format!("meshcore/{topic}");
            check(&topic, None, None, Kind::Other(Unread::BridgeEvent));
        }
    }
}
