//! Which publishes of one connection wait for their acknowledgement, in the order of receipt.

use crate::message::Outcome;

use rumqttc::QoS;
use std::collections::VecDeque;

/// Acknowledges in the order of receipt (MQTT-4.6.0-2), whatever the order of the commits.
///
/// A broker has at most 65,535 packet ids in flight, so this cannot grow without bound.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// Serial number of the first that waits.
    first: u64,
    waiting: VecDeque<Waiting>,
    failed: bool,
}

#[derive(Debug)]
struct Waiting {
    ack: Ack,
    outcome: Option<Outcome>,
}

/// What must be acknowledged: QoS 1 by PUBACK, QoS 2 by PUBREC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ack {
    /// The broker's packet id.
    pub(super) packet_id: u16,
    /// The publish's QoS.
    pub(super) qos: QoS,
}

/// What is due now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Acknowledge this.
    Acknowledge(Ack),
    /// The next in order could not be stored: this connection acknowledges nothing more.
    Failed,
}

impl Acks {
    /// Notes a publish; the serial number is for its receipt.
    pub(super) fn expect(&mut self, ack: Ack) -> u64 {
        self.waiting.push_back(Waiting { ack, outcome: None });
        self.first + self.waiting.len() as u64 - 1
    }

    /// Notes how the publish with this serial number ended; an unknown one is ignored.
    pub(super) fn complete(&mut self, serial: u64, outcome: Outcome) {
        let index = serial.checked_sub(self.first).and_then(|i| usize::try_from(i).ok());
        if let Some(waiting) = index.and_then(|i| self.waiting.get_mut(i)) {
            waiting.outcome = Some(outcome);
        }
    }

    /// Takes what is due. [`Due::Failed`] comes once; after it, nothing is due any more: the broker
    /// sends that message and all behind it again on the next connection.
    pub(super) fn next(&mut self) -> Option<Due> {
        if self.failed {
            return None;
        }
        let outcome = self.waiting.front()?.outcome?;
        if outcome == Outcome::Failed {
            self.failed = true;
            return Some(Due::Failed);
        }
        let waiting = self.waiting.pop_front()?;
        self.first += 1;
        Some(Due::Acknowledge(waiting.ack))
    }

    /// Whether nothing can become due any more.
    pub(super) fn is_settled(&self) -> bool {
        self.failed || self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(packet_id: u16) -> Ack {
        Ack { packet_id, qos: QoS::AtLeastOnce }
    }

    fn due(acks: &mut Acks) -> Vec<Due> {
        std::iter::from_fn(|| acks.next()).collect()
    }

    #[test]
    fn acknowledgements_follow_the_order_of_receipt_not_of_commit() {
        let mut acks = Acks::default();
        let serials: Vec<u64> = [7, 8, 9].into_iter().map(|id| acks.expect(ack(id))).collect();
        acks.complete(serials[2], Outcome::Stored);
        acks.complete(serials[1], Outcome::Refused);
        assert_eq!(due(&mut acks), []);
        acks.complete(serials[0], Outcome::Stored);
        assert_eq!(due(&mut acks), [7, 8, 9].map(|id| Due::Acknowledge(ack(id))));
        assert!(acks.is_settled());
        let later = acks.expect(ack(7));
        acks.complete(later, Outcome::Stored);
        assert_eq!(due(&mut acks), [Due::Acknowledge(ack(7))]);
    }

    #[test]
    fn a_failed_message_holds_back_all_behind_it_and_is_told_once() {
        let mut acks = Acks::default();
        let serials: Vec<u64> = [1, 2, 3].into_iter().map(|id| acks.expect(ack(id))).collect();
        acks.complete(serials[1], Outcome::Failed);
        assert!(!acks.is_settled());
        acks.complete(serials[0], Outcome::Stored);
        acks.complete(serials[2], Outcome::Stored);
        assert_eq!(due(&mut acks), [Due::Acknowledge(ack(1)), Due::Failed]);
        assert_eq!(due(&mut acks), []);
        assert!(acks.is_settled());
    }

    #[test]
    fn a_completion_that_was_not_asked_for_is_ignored() {
        let mut acks = Acks::default();
        acks.complete(0, Outcome::Stored);
        let serial = acks.expect(ack(1));
        acks.complete(serial, Outcome::Stored);
        assert_eq!(due(&mut acks).len(), 1);
        acks.complete(serial, Outcome::Failed);
        acks.complete(99, Outcome::Failed);
        assert_eq!(due(&mut acks), []);
        assert!(acks.is_settled());
    }
}
