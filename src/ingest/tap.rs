//! What the uplinks are told of a message.

use crate::message::{Heard, Message};
use crate::record::{Body, Record, Unrecorded};

/// Not stored, and yet of use to other brokers.
const PASSED_ON: &str = "neighbors_topic";

/// A copy of a live message; a broker's replay of what it has retained is no news.
pub(super) fn copy(message: &Message) -> Option<Heard> {
    (!message.retained).then(|| Heard {
        topic: message.topic.clone(),
        payload: message.payload.clone(),
        origin: message.origin.clone(),
        payload_type: None,
        position: None,
        presence: None,
        at_ms: message.received_at_ms,
    })
}

/// The copy with what the pipeline found; `None` for what it did not take.
pub(super) fn finished(mut copy: Heard, record: &Result<Record, Unrecorded>) -> Option<Heard> {
    match record {
        Ok(Record { body: Body::Packet(packet), .. }) => {
            copy.payload_type = Some(packet.payload_type);
            let node = packet.node.as_ref();
            copy.position = node.and_then(|node| node.lat.zip(node.lon));
            Some(copy)
        }
        Ok(Record { body: Body::Status(_), .. }) => Some(copy),
        Ok(Record { body: Body::Dropped(_), .. }) => None,
        Err(unrecorded) => (unrecorded.reason == PASSED_ON).then_some(copy),
    }
}
