//! Retained messages: the last word on a topic, for subscribers that come later.
//!
//! The door owns them, not the router, whose own store has no bound and lets any empty message
//! delete one. Bounded by count and by bytes; when it is full a new topic is refused, and what is
//! there stays and can still be replaced by something no larger, or deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rumqttc::mqttbytes::matches;

/// Most retained messages.
const MAX_MESSAGES: usize = 2_000;

/// Most bytes of topics, payloads and [`OVERHEAD`]: 8 MiB, several hundred gateways with a status,
/// a configuration and a neighbour report each.
const MAX_BYTES: usize = 8 << 20;

/// What an entry costs beside its topic and payload, in bytes.
const OVERHEAD: usize = 200;

/// One retained message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Retained {
    /// Where it was published: printable ASCII.
    pub(super) topic: Arc<str>,
    /// What was published, never empty.
    pub(super) payload: Bytes,
    /// Our clock when it arrived, in milliseconds since the Unix epoch.
    pub(super) at_ms: i64,
}

/// The retained messages by topic.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    messages: BTreeMap<Arc<str>, Retained>,
    bytes: usize,
}

/// The shelf has no room for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Shelf {
    /// Keeps a message in place of the topic's last one; an empty payload deletes (MQTT-3.3.1-10).
    ///
    /// # Errors
    /// [`Full`]: the topic's last message, if there was one, stays.
    pub(super) fn keep(&mut self, topic: &str, payload: &Bytes, at_ms: i64) -> Result<(), Full> {
        let old = self.messages.get(topic).map_or(0, cost);
        if payload.is_empty() {
            self.messages.remove(topic);
            self.bytes -= old;
            return Ok(());
        }
        let new = topic.len() + payload.len() + OVERHEAD;
        let more = old == 0 && self.messages.len() >= MAX_MESSAGES;
        if more || self.bytes - old + new > MAX_BYTES {
            return Err(Full);
        }
        let topic: Arc<str> = topic.into();
        let message = Retained { topic: Arc::clone(&topic), payload: payload.clone(), at_ms };
        self.messages.insert(topic, message);
        self.bytes = self.bytes - old + new;
        Ok(())
    }

    /// What a new subscription to `filter` gets (MQTT-3.3.1-6). The payloads are shared, not copied.
    pub(super) fn matching(&self, filter: &str) -> impl Iterator<Item = Retained> {
        self.messages.values().filter(move |m| matches(&m.topic, filter)).cloned()
    }
}

fn cost(message: &Retained) -> usize {
    message.topic.len() + message.payload.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(shelf: &Shelf, filter: &str) -> Vec<String> {
        shelf.matching(filter).map(|m| m.topic.to_string()).collect()
    }

    #[test]
    fn the_last_message_stays_and_an_empty_one_deletes_it() {
        let mut shelf = Shelf::default();
        shelf.keep("a/b", &Bytes::from_static(b"1"), 5).unwrap();
        shelf.keep("a/b", &Bytes::from_static(b"22"), 6).unwrap();
        let kept: Vec<_> = shelf.matching("a/+").collect();
        assert_eq!(kept.len(), 1);
        assert_eq!((&kept[0].payload[..], kept[0].at_ms), (&b"22"[..], 6));
        shelf.keep("a/b", &Bytes::new(), 7).unwrap();
        assert_eq!(topics(&shelf, "#"), Vec::<String>::new());
        assert_eq!(shelf.bytes, 0);
    }

    #[test]
    fn filters_choose_among_them() {
        let mut shelf = Shelf::default();
        for topic in ["meshcore/A/1/status", "meshcore/B/2/status", "meshcore/A/1/config"] {
            shelf.keep(topic, &Bytes::from_static(b"x"), 0).unwrap();
        }
        assert_eq!(topics(&shelf, "meshcore/A/#").len(), 2);
        assert_eq!(topics(&shelf, "meshcore/+/+/status").len(), 2);
        assert_eq!(topics(&shelf, "other/#").len(), 0);
    }

    #[test]
    fn a_full_shelf_refuses_new_topics_and_keeps_the_old_ones() {
        let mut shelf = Shelf::default();
        for n in 0..MAX_MESSAGES {
            shelf.keep(&format!("t/{n}"), &Bytes::from_static(b"x"), 0).unwrap();
        }
        assert_eq!(shelf.keep("t/new", &Bytes::from_static(b"x"), 0), Err(Full));
        assert_eq!(shelf.keep("t/7", &Bytes::from_static(b"y"), 0), Ok(()));
        shelf.keep("t/8", &Bytes::new(), 0).unwrap();
        assert_eq!(shelf.keep("t/new", &Bytes::from_static(b"x"), 0), Ok(()));
    }

    #[test]
    fn the_byte_bound_holds() {
        let mut shelf = Shelf::default();
        let big = Bytes::from(vec![0; MAX_BYTES / 4]);
        let kept = (0..10).filter(|n| shelf.keep(&format!("t/{n}"), &big, 0).is_ok()).count();
        assert_eq!(kept, 3);
        assert!(shelf.bytes <= MAX_BYTES);
        assert_eq!(shelf.keep("t/0", &Bytes::from(vec![0; MAX_BYTES]), 0), Err(Full));
        assert_eq!(topics(&shelf, "t/0").len(), 1);
    }
}
