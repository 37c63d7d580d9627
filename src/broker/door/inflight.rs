//! What was received with QoS 1 or 2 and is not yet acknowledged, in the order of receipt.

use std::collections::{HashSet, VecDeque};

use bytes::BytesMut;

use crate::broker::frame::{AckKind, RECEIVE_MAXIMUM, Version, Writer};
use crate::broker::reason::Reason;
use crate::message::{Completion, Outcome};

/// The acknowledgement that a PUBLISH waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ack {
    /// QoS 1.
    Puback(u16),
    /// QoS 2, first half.
    Pubrec(u16),
}

/// The publishes that wait for their receipts. Acknowledgements leave in the order of receipt
/// (MQTT-4.6.0-2, MQTT-4.6.0-3) whatever the order of the completions.
#[derive(Debug)]
pub(super) struct Inflight {
    generation: u64,
    first: u64,
    /// With the answer, once there is one.
    waiting: VecDeque<(Ack, Option<Reason>)>,
    /// Packet ids of QoS 2 that were received and not released.
    held: HashSet<u16>,
}

/// A message could not be stored: the connection has to end, so that it is sent again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failed;

/// At so many unacknowledged publishes the connection is not read any further: one whole batch of
/// the writer, so that a single fast sender can fill it.
pub(super) const MAX_WAITING: usize = 2_000;

/// A client that leaves so many QoS 2 packet ids unreleased has lost count of them.
pub(super) const MAX_HELD: usize = RECEIVE_MAXIMUM as usize;

impl Inflight {
    /// For a connection of this generation.
    pub(super) fn new(generation: u64) -> Self {
        Self { generation, first: 0, waiting: VecDeque::new(), held: HashSet::new() }
    }

    /// Whether no more should be taken in.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_WAITING
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Notes a publish that waits for its receipt, and returns the receipt's serial number.
    pub(super) fn open(&mut self, ack: Ack) -> u64 {
        self.waiting.push_back((ack, None));
        self.first + self.waiting.len() as u64 - 1
    }

    /// Notes a publish that is to be acknowledged in its turn without being handed on.
    pub(super) fn settle(&mut self, ack: Ack, answer: Reason) {
        self.waiting.push_back((ack, Some(answer)));
    }

    /// Says why the one that was opened last will be refused.
    pub(super) fn refuse_last(&mut self, answer: Reason) {
        if let Some((_, done)) = self.waiting.back_mut() {
            *done = Some(answer);
        }
    }

    /// Ends one. Completions of another generation, and serials that are not open, mean nothing.
    ///
    /// # Errors
    /// [`Failed`], and nothing after it may be acknowledged.
    pub(super) fn complete(&mut self, completion: Completion) -> Result<(), Failed> {
        if completion.generation != self.generation {
            return Ok(());
        }
        let place = completion.serial.checked_sub(self.first);
        let place = place.and_then(|p| usize::try_from(p).ok());
        let Some((_, done)) = place.and_then(|p| self.waiting.get_mut(p)) else { return Ok(()) };
        match completion.outcome {
            Outcome::Stored | Outcome::Refused => {
                done.get_or_insert(Reason::Success);
            }
            Outcome::Failed => return Err(Failed),
        }
        Ok(())
    }

    /// Writes the acknowledgements whose turn has come.
    pub(super) fn drain_into(&mut self, writer: Writer, out: &mut BytesMut) {
        while let Some((ack, Some(answer))) = self.waiting.front() {
            let (ack, answer) = (*ack, *answer);
            match ack {
                Ack::Puback(pkid) => writer.ack(out, AckKind::Stored, pkid, answer),
                Ack::Pubrec(pkid) => {
                    writer.ack(out, AckKind::Received, pkid, answer);
                    if answer.is_failure() && writer.version() == Version::V5 {
                        // It ends the exchange: no PUBREL will come (MQTT 5 §4.3.3).
                        self.release(pkid);
                    }
                }
            }
            self.waiting.pop_front();
            self.first += 1;
        }
        if self.waiting.is_empty() && self.waiting.capacity() > 64 {
            self.waiting = VecDeque::new();
        }
    }

    /// Takes a QoS 2 packet id. False: it is held already, so this is the same message again.
    pub(super) fn hold(&mut self, pkid: u16) -> bool {
        self.held.insert(pkid)
    }

    /// Whether the PUBREC for a QoS 2 packet id has yet to be sent.
    pub(super) fn awaits_pubrec(&self, pkid: u16) -> bool {
        self.waiting.iter().any(|(ack, _)| *ack == Ack::Pubrec(pkid))
    }

    /// How many QoS 2 packet ids are held.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Lets a QoS 2 packet id go; false: it was not held.
    pub(super) fn release(&mut self, pkid: u16) -> bool {
        let known = self.held.remove(&pkid);
        if self.held.is_empty() && self.held.capacity() > 64 {
            self.held = HashSet::new();
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::frame::Limits;

    fn stored(serial: u64) -> Completion {
        Completion { generation: 7, serial, outcome: Outcome::Stored }
    }

    fn drained(inflight: &mut Inflight) -> Vec<u8> {
        let mut out = BytesMut::new();
        inflight.drain_into(Writer::default(), &mut out);
        out.to_vec()
    }

    #[test]
    fn acknowledgements_leave_in_the_order_of_receipt() {
        let mut inflight = Inflight::new(7);
        let a = inflight.open(Ack::Puback(10));
        let b = inflight.open(Ack::Pubrec(11));
        inflight.settle(Ack::Puback(12), Reason::Success);
        let d = inflight.open(Ack::Puback(13));
        inflight.complete(stored(d)).unwrap();
        inflight.complete(stored(b)).unwrap();
        assert!(drained(&mut inflight).is_empty());
        inflight.complete(stored(a)).unwrap();
        let expected = [0x40, 2, 0, 10, 0x50, 2, 0, 11, 0x40, 2, 0, 12, 0x40, 2, 0, 13];
        assert_eq!(drained(&mut inflight), expected);
        assert!(inflight.is_empty());
    }

    #[test]
    fn refused_is_acknowledged_and_failed_is_not() {
        let mut inflight = Inflight::new(7);
        let a = inflight.open(Ack::Puback(1));
        let b = inflight.open(Ack::Puback(2));
        let refused = Completion { outcome: Outcome::Refused, ..stored(a) };
        assert_eq!(inflight.complete(refused), Ok(()));
        assert_eq!(drained(&mut inflight), [0x40, 2, 0, 1]);
        let failed = Completion { outcome: Outcome::Failed, ..stored(b) };
        assert_eq!(inflight.complete(failed), Err(Failed));
        assert!(drained(&mut inflight).is_empty());
    }

    #[test]
    fn one_that_is_turned_back_says_why_in_version_5_and_in_its_turn() {
        let writer = |version| Writer::new(version, Limits::default());
        for (version, answer) in
            [(Version::V4, &[0x40, 2, 0, 2][..]), (Version::V5, &[0x40, 3, 0, 2, 0x97])]
        {
            let (mut inflight, mut out) = (Inflight::new(7), BytesMut::new());
            let a = inflight.open(Ack::Puback(1));
            let b = inflight.open(Ack::Puback(2));
            inflight.refuse_last(Reason::Quota);
            let refused = Completion { outcome: Outcome::Refused, ..stored(b) };
            inflight.complete(refused).unwrap();
            inflight.drain_into(writer(version), &mut out);
            assert!(out.is_empty());
            inflight.complete(stored(a)).unwrap();
            inflight.drain_into(writer(version), &mut out);
            assert_eq!(out, [&[0x40, 2, 0, 1], answer].concat());
        }
    }

    #[test]
    fn a_completion_of_another_generation_is_ignored_whatever_it_says() {
        let mut inflight = Inflight::new(7);
        let a = inflight.open(Ack::Puback(1));
        for outcome in [Outcome::Stored, Outcome::Refused, Outcome::Failed] {
            let stale = Completion { generation: 6, serial: a, outcome };
            assert_eq!(inflight.complete(stale), Ok(()));
        }
        assert!(drained(&mut inflight).is_empty());
    }

    #[test]
    fn a_serial_that_is_not_open_is_ignored() {
        let mut inflight = Inflight::new(7);
        let a = inflight.open(Ack::Puback(1));
        inflight.complete(stored(a)).unwrap();
        drained(&mut inflight);
        for serial in [a, 1, 2, u64::MAX] {
            let failed = Completion { outcome: Outcome::Failed, ..stored(serial) };
            assert_eq!(inflight.complete(failed), Ok(()));
        }
    }
}
