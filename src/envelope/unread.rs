//! Why a message is no envelope.

macro_rules! unread {
    ($($(#[$doc:meta])* $variant:ident $name:literal $noise:ident $text:literal,)*) => {
        /// Why a message is no envelope. Every name is a counter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
        pub enum Unread {
            $($(#[$doc])* #[error($text)] $variant,)*
        }

        impl Unread {
            /// Every reason there is.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The reason's name in the counters.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// True for what belongs on a MeshCore broker and is not for us, or is nothing at all:
            /// counted, not logged. False for bad input.
            pub fn is_noise(self) -> bool {
                match self { $(Self::$variant => unread!($noise),)* }
            }
        }
    };
    (noise) => { true };
    (bad) => { false };
}

unread! {
    /// The payload is not JSON, on a topic where JSON belongs.
    NotJson "not_json" bad "the payload is not JSON",
    /// The payload is JSON, but neither an object nor `null`.
    NotAnObject "not_an_object" bad "the payload is JSON, but not an object",
    /// Nothing at all: how a retained message is deleted (MQTT-3.3.1-10).
    EmptyPayload "empty_payload" noise "the payload is empty",
    /// A packet topic without `raw`, or with `null` or nothing in it: Home Assistant's raw mode, and
    /// uploaders that had no packet line.
    NoRaw "no_raw" noise "the message has no raw packet",
    /// `raw` is there, and is not a text.
    RawNotText "raw_not_text" bad "raw is not a text",
    /// A companion bridge's message without a `text`.
    NoText "no_text" noise "the message has no text",
    /// A status whose topic names no observer.
    StatusWithoutKey "status_without_key" bad "the status topic names no observer",
    /// `…/raw` with the packet under `data`: the same as on `…/packets`, without its reception.
    RawTopic "raw_topic" noise "raw topic without a raw field",
    /// `…/debug`: log lines.
    DebugTopic "debug_topic" noise "debug topic",
    /// `…/decoded`: what an uploader itself made of a packet.
    DecodedTopic "decoded_topic" noise "decoded topic",
    /// `…/neighbors`: the reports of who hears whom.
    NeighborsTopic "neighbors_topic" noise "neighbors topic",
    /// `…/config`: an uploader's settings.
    ConfigTopic "config_topic" noise "config topic",
    /// `…/filter`: an uploader's filter counts.
    FilterTopic "filter_topic" noise "filter topic",
    /// `…/internal`: a broker's own notes on its clients.
    InternalTopic "internal_topic" noise "internal topic",
    /// `…/serial/…`: remote control of an observer.
    SerialTopic "serial_topic" noise "serial topic",
    /// A companion bridge's notices: `meshcore/status`, `meshcore/events/connection`,
    /// `meshcore/battery`, `meshcore/advertisement` and their kind.
    BridgeEvent "bridge_event" noise "a companion bridge's notice",
    /// Anything else, from whoever else uses the broker.
    UnknownTopic "unknown_topic" noise "unknown topic",
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_reason_has_a_name_of_its_own_in_snake_case() {
        let names: BTreeSet<_> = Unread::ALL.iter().map(|u| u.name()).collect();
        assert_eq!(names.len(), Unread::ALL.len());
        let is_snake = |n: &&str| n.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        assert!(names.iter().all(is_snake));
    }
}
