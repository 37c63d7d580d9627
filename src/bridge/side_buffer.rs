//! What a source holds beside the full queue, so that it can go on reading.

use crate::message::Message;
use crate::message::queue::Bounds;

use std::collections::VecDeque;

/// Room for what is under way while a connection is let go.
const SLACK: usize = 4;

/// Messages in the order of their arrival, bounded by count and bytes.
///
/// The bound says when the source must let its connection go; it does not refuse a message that is
/// already here, because a QoS 0 message would then be lost. What had been read when the source let
/// go still comes in, up to [`SLACK`] times the bound: a broker that does not stop sending must not
/// fill the memory.
#[derive(Debug)]
pub(super) struct SideBuffer {
    bounds: Bounds,
    messages: VecDeque<Message>,
    bytes: usize,
}

impl SideBuffer {
    /// An empty buffer; [`Message::cost`] counts against `bounds.bytes`.
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, messages: VecDeque::new(), bytes: 0 }
    }

    /// Puts a message at the end.
    pub(super) fn push(&mut self, message: Message) {
        self.bytes += message.cost();
        self.messages.push_back(message);
    }

    /// Puts a message that was popped back to the front.
    pub(super) fn put_back(&mut self, message: Message) {
        self.bytes += message.cost();
        self.messages.push_front(message);
    }

    /// Takes the oldest message.
    pub(super) fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.cost();
        Some(message)
    }

    /// What the oldest message counts against the queue's byte bound.
    pub(super) fn front_cost(&self) -> Option<usize> {
        self.messages.front().map(Message::cost)
    }

    /// How many messages wait.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether nothing more may come in at all.
    pub(super) fn is_overfull(&self) -> bool {
        self.messages.len() >= self.bounds.messages.saturating_mul(SLACK)
            || self.bytes >= self.bounds.bytes.saturating_mul(SLACK)
    }

    /// Whether one of the bounds is reached.
    pub(super) fn is_full(&self) -> bool {
        self.messages.len() >= self.bounds.messages || self.bytes >= self.bounds.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{OVERHEAD, Origin, OriginKind, Receipt};
    use bytes::Bytes;

    fn message(topic: &str, payload: usize) -> Message {
        Message {
            topic: topic.into(),
            payload: Bytes::from(vec![0; payload]),
            origin: Origin { kind: OriginKind::Source, name: "test".into() },
            received_at_ms: 0,
            retained: false,
            receipt: Receipt::none(),
            place: None,
        }
    }

    #[test]
    fn messages_come_out_in_the_order_in_which_they_went_in() {
        let mut side = SideBuffer::new(Bounds { messages: 10, bytes: 1 << 20 });
        for topic in ["a", "b", "c"] {
            side.push(message(topic, 1));
        }
        let first = side.pop().unwrap();
        side.put_back(first);
        let order: Vec<String> = std::iter::from_fn(|| side.pop()).map(|m| m.topic).collect();
        assert_eq!(order, ["a", "b", "c"]);
        assert!(side.is_empty() && side.bytes == 0);
    }

    #[test]
    fn it_is_full_at_its_count() {
        let mut side = SideBuffer::new(Bounds { messages: 2, bytes: 1 << 20 });
        side.push(message("a", 1));
        assert!(!side.is_full());
        side.push(message("b", 1));
        assert!(side.is_full());
        side.pop();
        assert!(!side.is_full() && side.len() == 1);
    }

    #[test]
    fn it_is_full_at_its_bytes_and_counts_what_comes_past_them() {
        let mut side = SideBuffer::new(Bounds { messages: 100, bytes: 2 * OVERHEAD });
        side.push(message("a", 1));
        assert!(!side.is_full());
        side.push(message("b", 1));
        side.push(message("c", 1));
        assert!(side.is_full() && side.len() == 3);
        side.pop();
        side.pop();
        assert!(!side.is_full());
    }
}
