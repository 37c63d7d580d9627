//! A source's way into the queue: straight while there is room, through the side buffer while not.

use super::side_buffer::SideBuffer;
use crate::message::queue::{Bounds, TrySendError};
use crate::message::{Inlet, Message, Place};

use std::fmt;
use std::pin::Pin;
use tokio::sync::mpsc;

/// Keeps the order of arrival: while anything waits in the side buffer, what comes goes behind it.
#[derive(Debug)]
pub(super) struct Intake {
    open: Option<Open>,
    side: SideBuffer,
}

struct Open {
    inlet: Inlet,
    /// The wait for room, kept across calls so that it does not lose its turn among the doors.
    room: Option<Pin<Box<dyn Future<Output = Option<Place>> + Send>>>,
    left_over: mpsc::Sender<u64>,
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open").field("inlet", &self.inlet).finish_non_exhaustive()
    }
}

impl Intake {
    /// An open way in. `left_over` hears once, at [`Intake::close`].
    pub(super) fn new(inlet: Inlet, left_over: mpsc::Sender<u64>, side: Bounds) -> Self {
        let open = Some(Open { inlet, room: None, left_over });
        Self { open, side: SideBuffer::new(side) }
    }

    /// Hands a message on, or keeps it beside the queue. When the way in is closed, or the pipeline
    /// has ended, the message is dropped and its receipt fails.
    pub(super) fn take_in(&mut self, message: Message) {
        let Some(open) = &self.open else { return };
        if !self.side.is_empty() {
            self.side.push(message);
            return;
        }
        match open.inlet.try_send(message) {
            Ok(()) => {}
            Err(TrySendError::Full(message)) => self.side.push(*message),
            Err(TrySendError::Closed(_)) => self.shut(),
        }
    }

    /// Waits until the oldest message of the side buffer has room, and hands on as many as have;
    /// waits for ever when there is none. Cancel-safe.
    pub(super) async fn drain(&mut self) {
        let (Some(open), Some(cost)) = (&mut self.open, self.side.front_cost()) else {
            return std::future::pending().await;
        };
        let inlet = &open.inlet;
        let room = open.room.get_or_insert_with(|| {
            let inlet = inlet.clone();
            Box::pin(async move { inlet.place(cost).await })
        });
        let place = room.as_mut().await;
        open.room = None;
        match place {
            Some(place) => self.hand_on(place),
            None => self.shut(),
        }
    }

    fn hand_on(&mut self, place: Place) {
        let mut place = Some(place);
        while let (Some(open), Some(mut message)) = (&self.open, self.side.pop()) {
            message.place = place.take();
            match open.inlet.try_send(message) {
                Ok(()) => {}
                Err(TrySendError::Full(message)) => return self.side.put_back(*message),
                Err(TrySendError::Closed(_)) => self.shut(),
            }
        }
    }

    /// Lets go of the queue and of what waits in the side buffer, and reports how many of those
    /// nobody sends again: all of them, or, if the broker keeps our session, those without a receipt.
    pub(super) fn close(&mut self, session_is_kept: bool) {
        let Some(open) = self.open.take() else { return };
        let mut lost = 0;
        while let Some(message) = self.side.pop() {
            lost += u64::from(!(session_is_kept && message.receipt.is_awaited()));
        }
        // One report a source; the channel has a slot for each, and its reader may be gone.
        let _ = open.left_over.try_send(lost);
    }

    /// The pipeline has ended: what waits has nowhere to go.
    fn shut(&mut self) {
        self.close(false);
    }

    /// Whether messages are taken in.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// How many messages wait in the side buffer.
    pub(super) fn waiting(&self) -> usize {
        self.side.len()
    }

    /// Whether the side buffer can take nothing more.
    pub(super) fn is_overfull(&self) -> bool {
        self.side.is_overfull()
    }

    /// Whether the side buffer is full.
    pub(super) fn is_full(&self) -> bool {
        self.side.is_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::queue::queue;
    use crate::message::{Origin, OriginKind, Outlet, Receipt};
    use bytes::Bytes;

    fn message(topic: u32, receipt: Receipt) -> Message {
        Message {
            topic: topic.to_string(),
            payload: Bytes::new(),
            origin: Origin { kind: OriginKind::Source, name: "test".into() },
            received_at_ms: 0,
            retained: false,
            receipt,
            place: None,
        }
    }

    fn intake(room: usize) -> (Intake, Outlet, mpsc::Receiver<u64>) {
        let (inlet, outlet) = queue(Bounds { messages: room, bytes: 1 << 20 });
        let (left_over, report) = mpsc::channel(1);
        let side = Bounds { messages: 3, bytes: 1 << 20 };
        (Intake::new(inlet, left_over, side), outlet, report)
    }

    #[tokio::test]
    async fn what_waited_beside_the_queue_goes_in_before_what_comes_later() {
        let (mut intake, mut outlet, _report) = intake(2);
        for topic in 0..5 {
            intake.take_in(message(topic, Receipt::none()));
        }
        assert!(intake.is_full() && intake.waiting() == 3);
        let mut order = Vec::new();
        order.extend(outlet.next().await.map(|m| m.topic.clone()));
        // There is room for one now, and the newcomer must not take it.
        intake.take_in(message(5, Receipt::none()));
        while order.len() < 6 {
            tokio::select! {
                biased;
                () = intake.drain() => {}
                Some(message) = outlet.next() => order.push(message.topic.clone()),
            }
        }
        assert_eq!(order, ["0", "1", "2", "3", "4", "5"]);
        assert_eq!(intake.waiting(), 0);
    }

    #[tokio::test]
    async fn closing_reports_what_nobody_sends_again() {
        #[expect(clippy::disallowed_methods, reason = "a mailbox holds one completion per receipt")]
        let (mailbox, _inbox) = mpsc::unbounded_channel();
        for (session_is_kept, lost) in [(true, 1), (false, 2)] {
            let (mut intake, _outlet, mut report) = intake(1);
            intake.take_in(message(0, Receipt::none()));
            intake.take_in(message(1, Receipt::none()));
            intake.take_in(message(2, Receipt::new(mailbox.clone(), 1, 0)));
            intake.close(session_is_kept);
            assert!(!intake.is_open());
            assert_eq!(report.recv().await, Some(lost));
            assert_eq!(report.recv().await, None, "the queue is let go");
        }
    }

    #[tokio::test]
    async fn a_pipeline_that_ended_closes_the_way_in() {
        let (mut intake, outlet, _report) = intake(1);
        drop(outlet);
        intake.take_in(message(0, Receipt::none()));
        assert!(!intake.is_open() && intake.waiting() == 0);
    }
}
