//! The way of a message from its connection into the queue, and what is left when there is no room.

use super::super::events::{End, Waiting};
use super::super::session::Publication;
use super::Connection;
use crate::broker::access::Lane;
use crate::broker::board::Sort;
use crate::broker::copy::Copy;
use crate::message::queue::TrySendError;
use crate::message::{Message, Outcome, Place, Receipt};

impl<S> Connection<S> {
    pub(super) fn hand_on(&mut self, publication: Publication) -> Result<(), End> {
        if let Some(reason) = self.learn_key(&publication) {
            let Publication { topic, receipt, .. } = publication;
            self.turn_back(receipt, reason);
            return self.forbidden(reason, &topic);
        }
        if let Some(reason) = self.too_much(&publication) {
            self.refused(Sort::Publish, reason, &publication.topic);
            self.turn_back(publication.receipt, reason);
            return Ok(());
        }
        let Publication { topic, payload, said, qos, retain, mut receipt, permit } = publication;
        let (now_ms, said) = (self.house.clock.now_ms(), said.as_ref());
        let (from, author) = (Some(&self.called.0), self.author);
        let copy = Copy {
            topic: &topic,
            payload: &payload,
            said,
            qos,
            retain,
            from,
            author,
            at_ms: now_ms,
        };
        if self.house.copy(&copy) {
            // Retained, or queued for a session that is kept: that has to be committed, too.
            let half;
            (receipt, half) = receipt.halves();
            self.house.state.changed_for(half);
        }
        if self.session.who().is_gateway() {
            self.speaker.published(&topic, &payload);
        }
        if permit.lane == Lane::Subscribers {
            self.house.counters.broker_passed.increment();
            receipt.complete(Outcome::Stored);
            return Ok(());
        }
        self.send(Message {
            topic,
            payload,
            origin: self.origin.clone(),
            received_at_ms: now_ms,
            retained: false,
            receipt,
            place: None,
        })
    }

    /// Acknowledges the publish that was taken in last, in its turn, as one that was refused.
    fn turn_back(&mut self, receipt: Receipt, reason: &str) {
        if receipt.is_awaited() {
            self.session.refuse_last(reason);
        }
        receipt.complete(Outcome::Refused);
    }

    fn send(&mut self, message: Message) -> Result<(), End> {
        let Some(intake) = &self.intake else { return Err(End::Closed("pipeline_ended")) };
        match intake.inlet.try_send(message) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(End::Closed("pipeline_ended")),
            Err(TrySendError::Full(message)) if self.replaced && message.receipt.is_awaited() => {
                Err(End::TakenOver)
            }
            Err(TrySendError::Full(message)) => {
                if !message.receipt.is_awaited() {
                    self.house.counters.broker_held.increment();
                }
                let (inlet, cost) = (intake.inlet.clone(), message.cost());
                // Kept until it is done, whatever else happens: its turn in the queue must not be lost.
                let place = Box::pin(async move { inlet.place(cost).await });
                self.waiting = Some(Waiting::Place(message, place));
                Ok(())
            }
        }
    }

    pub(super) fn placed(&mut self, place: Option<Place>) -> Result<(), End> {
        let Some(Waiting::Place(mut message, _)) = self.waiting.take() else { return Ok(()) };
        if place.is_none() {
            return Err(End::Closed("pipeline_ended"));
        }
        message.place = place;
        let held = !message.receipt.is_awaited();
        self.send(*message)?;
        if held {
            self.house.counters.broker_held.decrement();
        }
        Ok(())
    }

    /// Takes the message that waits for the queue, if it will not be sent again.
    pub(super) fn unsent(&mut self) -> Option<Message> {
        match self.waiting.take() {
            Some(Waiting::Place(message, _)) if !message.receipt.is_awaited() => Some(*message),
            _ => None,
        }
    }
}
