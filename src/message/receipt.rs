//! Receipts: how a sender learns that its message is stored.
//!
//! A connection makes one receipt for each QoS 1 or 2 publish it hands on, with a serial number of
//! its own and the connection's generation. Wherever the message ends, the receipt ends with it,
//! exactly once, as a [`Completion`] in the connection's mailbox. The connection alone acknowledges,
//! in the order of receipt (MQTT-4.6.0-2), and drops completions of an earlier generation: after a
//! reconnect the same packet id may stand for another message.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

/// How a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its rows are committed, or there was nothing to store: acknowledge.
    Stored,
    /// It can never be stored, is counted and kept by name: acknowledge, or it would come for ever.
    Refused,
    /// It could not be stored now: close the connection, so that the sender sends it again.
    Failed,
}

/// What a connection finds in its mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The generation of the connection that made the receipt.
    pub generation: u64,
    /// The serial number that the connection gave to the message.
    pub serial: u64,
    /// How it ended.
    pub outcome: Outcome,
}

/// The promise to tell a connection how its message ended.
///
/// Dropping a receipt that was not completed says [`Outcome::Failed`]: a message that is lost on
/// the way is neither acknowledged nor waited for in vain.
#[derive(Debug)]
pub struct Receipt(Option<Part>);

#[derive(Debug)]
enum Part {
    Whole(Waiting),
    Half(Arc<Halves>),
}

/// Ends with its last half.
#[derive(Debug)]
struct Halves {
    waiting: Option<Waiting>,
    failed: AtomicBool,
}

#[derive(Debug)]
struct Waiting {
    mailbox: mpsc::UnboundedSender<Completion>,
    generation: u64,
    serial: u64,
}

impl Receipt {
    /// For a message that nobody waits for (QoS 0).
    pub fn none() -> Self {
        Self(None)
    }

    /// A receipt whose completion goes to `mailbox`.
    ///
    /// Completing must never block the writer, so the mailbox has no bound of its own: it holds at
    /// most one completion per receipt, and a connection makes no more receipts than its in-flight
    /// limit allows.
    pub fn new(mailbox: mpsc::UnboundedSender<Completion>, generation: u64, serial: u64) -> Self {
        Self(Some(Part::Whole(Waiting { mailbox, generation, serial })))
    }

    /// One receipt for two things that both have to be done: it ends when both halves have, and has
    /// failed if one of them has.
    pub fn halves(self) -> (Self, Self) {
        let mut this = self;
        let half = match this.0.take() {
            None => return (Self(None), Self(None)),
            Some(Part::Half(halves)) => halves,
            Some(Part::Whole(waiting)) => {
                Arc::new(Halves { waiting: Some(waiting), failed: AtomicBool::new(false) })
            }
        };
        (Self(Some(Part::Half(Arc::clone(&half)))), Self(Some(Part::Half(half))))
    }

    /// Whether somebody waits for it: such a record is committed sooner.
    pub fn is_awaited(&self) -> bool {
        self.0.is_some()
    }

    /// Ends the receipt. A connection that is gone does not mind.
    pub fn complete(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    fn end(&mut self, outcome: Outcome) {
        match self.0.take() {
            None => {}
            Some(Part::Whole(waiting)) => waiting.end(outcome),
            Some(Part::Half(halves)) if outcome == Outcome::Failed => {
                halves.failed.store(true, Ordering::Release);
            }
            Some(Part::Half(_)) => {}
        }
    }
}

impl Waiting {
    fn end(self, outcome: Outcome) {
        let Self { mailbox, generation, serial } = self;
        // The receiver is gone when the connection is: then there is nobody to acknowledge to.
        let _ = mailbox.send(Completion { generation, serial, outcome });
    }
}

impl Drop for Halves {
    fn drop(&mut self) {
        let failed = self.failed.load(Ordering::Acquire);
        let outcome = if failed { Outcome::Failed } else { Outcome::Stored };
        self.waiting.take().into_iter().for_each(|waiting| waiting.end(outcome));
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.end(Outcome::Failed);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a mailbox holds one completion per receipt")]
mod tests {
    use super::*;

    #[test]
    fn a_completed_receipt_speaks_once() {
        let (mailbox, mut inbox) = mpsc::unbounded_channel();
        Receipt::new(mailbox, 3, 7).complete(Outcome::Stored);
        let expected = Completion { generation: 3, serial: 7, outcome: Outcome::Stored };
        assert_eq!(inbox.try_recv(), Ok(expected));
        assert!(inbox.try_recv().is_err());
    }

    #[test]
    fn a_dropped_receipt_says_failed() {
        let (mailbox, mut inbox) = mpsc::unbounded_channel();
        drop(Receipt::new(mailbox, 0, 1));
        assert_eq!(inbox.try_recv().map(|c| c.outcome), Ok(Outcome::Failed));
    }

    #[test]
    fn halves_end_together_and_fail_if_one_does() {
        for (first, second, expected) in [
            (Outcome::Stored, Outcome::Stored, Outcome::Stored),
            (Outcome::Refused, Outcome::Stored, Outcome::Stored),
            (Outcome::Failed, Outcome::Stored, Outcome::Failed),
            (Outcome::Stored, Outcome::Failed, Outcome::Failed),
        ] {
            let (mailbox, mut inbox) = mpsc::unbounded_channel();
            let (one, other) = Receipt::new(mailbox, 3, 7).halves();
            one.complete(first);
            assert!(inbox.try_recv().is_err(), "one half is not enough");
            other.complete(second);
            let completion = Completion { generation: 3, serial: 7, outcome: expected };
            assert_eq!(inbox.try_recv(), Ok(completion));
            assert!(inbox.try_recv().is_err());
        }
        let (one, other) = Receipt::none().halves();
        assert!(!one.is_awaited() && !other.is_awaited());
    }

    #[test]
    fn completing_after_the_connection_has_gone_does_nothing() {
        let (mailbox, inbox) = mpsc::unbounded_channel();
        drop(inbox);
        Receipt::new(mailbox, 0, 1).complete(Outcome::Stored);
    }
}
