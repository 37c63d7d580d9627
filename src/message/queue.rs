//! The bounded queue between the doors and the pipeline.
//!
//! Bounded by count and by bytes, whichever comes first. A message keeps its [`Place`] until its
//! record is committed or refused, so the bound holds for all that was received and is not yet
//! stored, not for one channel of several.
//!
//! When it is full nothing is dropped: [`Inlet::send`] waits, the door stops reading its sockets
//! and TCP slows the senders down; a source goes on polling into its side buffer.

use super::Message;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// How much may be received and not yet committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Messages (`ingestBufferSize`).
    pub messages: usize,
    /// Bytes of topics, payloads and overhead (`ingestBufferMB`).
    pub bytes: usize,
}

/// Where messages go in. Clones share one queue; the pipeline ends when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Inlet {
    bounds: Bounds,
    count: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    awaited: Arc<AtomicUsize>,
    given_back: Arc<AtomicU64>,
    sender: mpsc::Sender<Message>,
}

/// Where the pipeline takes messages out, in the order in which they came in.
#[derive(Debug)]
pub struct Outlet {
    receiver: mpsc::Receiver<Message>,
}

/// Tells how full the queue is, without keeping it open.
#[derive(Clone, Debug)]
pub struct Meter {
    bounds: Bounds,
    count: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    awaited: Arc<AtomicUsize>,
    given_back: Arc<AtomicU64>,
}

/// A message's share of the bounds; dropping it gives the share back.
#[derive(Debug)]
pub struct Place {
    _count: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
    awaited: Option<Arc<AtomicUsize>>,
    given_back: Arc<AtomicU64>,
}

/// The pipeline has ended: the message comes back, its receipt still open.
#[derive(Debug, thiserror::Error)]
#[error("the pipeline has ended")]
pub struct Closed(pub Box<Message>);

/// Why [`Inlet::try_send`] did not take a message; it comes back, its receipt still open.
#[derive(Debug, thiserror::Error)]
pub enum TrySendError {
    /// The queue is at one of its bounds.
    #[error("the queue is full")]
    Full(Box<Message>),
    /// The pipeline has ended.
    #[error("the pipeline has ended")]
    Closed(Box<Message>),
}

/// Makes a queue with these bounds. A message larger than the byte bound counts as the bound, so
/// that it can pass alone.
pub fn queue(bounds: Bounds) -> (Inlet, Outlet) {
    let bounds = Bounds {
        messages: bounds.messages.clamp(1, Semaphore::MAX_PERMITS),
        bytes: bounds.bytes.clamp(1, u32::MAX as usize),
    };
    let (sender, receiver) = mpsc::channel(bounds.messages);
    let inlet = Inlet {
        bounds,
        count: Arc::new(Semaphore::new(bounds.messages)),
        bytes: Arc::new(Semaphore::new(bounds.bytes)),
        awaited: Arc::default(),
        given_back: Arc::default(),
        sender,
    };
    (inlet, Outlet { receiver })
}

impl Inlet {
    /// Hands a message on; waits while the queue is full.
    ///
    /// Cancelling the future before it is done drops the message, and with it its receipt: hold
    /// the future, or use [`Inlet::place`] and [`Inlet::try_send`] in a `select!`.
    ///
    /// # Errors
    /// [`Closed`] when the pipeline has ended.
    pub async fn send(&self, mut message: Message) -> Result<(), Closed> {
        if let Some(place) = self.place(message.cost()).await {
            message.place = Some(self.marked(place, &message));
            self.sender.send(message).await.map_err(|back| Closed(Box::new(back.0)))
        } else {
            Err(Closed(Box::new(message)))
        }
    }

    /// Waits until a message of this cost has room, and returns its place; `None` when the pipeline
    /// has ended. Cancel-safe: give the place to [`Message::place`] and call [`Inlet::try_send`].
    pub async fn place(&self, cost: usize) -> Option<Place> {
        let count = Arc::clone(&self.count).acquire_owned().await.ok()?;
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(self.charge(cost)).await.ok()?;
        Some(self.taken(count, bytes))
    }

    /// Hands a message on if there is room now.
    ///
    /// # Errors
    /// The message, when the queue is full or the pipeline has ended.
    pub fn try_send(&self, mut message: Message) -> Result<(), TrySendError> {
        let Some(place) = message.place.take().or_else(|| self.try_place(message.cost())) else {
            return Err(TrySendError::Full(Box::new(message)));
        };
        message.place = Some(self.marked(place, &message));
        // A place guarantees a slot: the channel is as long as the count bound.
        self.sender.try_send(message).map_err(|e| match e {
            mpsc::error::TrySendError::Full(m) => TrySendError::Full(Box::new(m)),
            mpsc::error::TrySendError::Closed(m) => TrySendError::Closed(Box::new(m)),
        })
    }

    /// A look at the queue that does not keep it open.
    pub fn meter(&self) -> Meter {
        Meter {
            bounds: self.bounds,
            count: Arc::clone(&self.count),
            bytes: Arc::clone(&self.bytes),
            awaited: Arc::clone(&self.awaited),
            given_back: Arc::clone(&self.given_back),
        }
    }

    /// The pipeline takes nothing more: senders that wait for room are told so.
    pub fn close(&self) {
        self.count.close();
        self.bytes.close();
    }

    fn try_place(&self, cost: usize) -> Option<Place> {
        let count = Arc::clone(&self.count).try_acquire_owned().ok()?;
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(self.charge(cost)).ok()?;
        Some(self.taken(count, bytes))
    }

    fn taken(&self, count: OwnedSemaphorePermit, bytes: OwnedSemaphorePermit) -> Place {
        let given_back = Arc::clone(&self.given_back);
        Place { _count: count, _bytes: bytes, awaited: None, given_back }
    }

    /// The place, counted for as long as it lasts if somebody waits for the message.
    fn marked(&self, mut place: Place, message: &Message) -> Place {
        if place.awaited.is_none() && message.receipt.is_awaited() {
            self.awaited.fetch_add(1, Ordering::Relaxed);
            place.awaited = Some(Arc::clone(&self.awaited));
        }
        place
    }

    fn charge(&self, cost: usize) -> u32 {
        u32::try_from(cost.min(self.bounds.bytes)).unwrap_or(u32::MAX)
    }
}

impl Meter {
    /// Messages and bytes that are received and not yet committed.
    pub fn depth(&self) -> Bounds {
        Bounds {
            messages: self.bounds.messages - self.count.available_permits(),
            bytes: self.bounds.bytes - self.bytes.available_permits(),
        }
    }

    /// How many of them somebody waits for (QoS 1 and 2).
    pub fn awaited(&self) -> usize {
        self.awaited.load(Ordering::Relaxed)
    }

    /// How many places were given back since the start: the queue moves as long as this grows.
    pub fn given_back(&self) -> u64 {
        self.given_back.load(Ordering::Relaxed)
    }

    /// The bounds in force.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(awaited) = self.awaited.take() {
            awaited.fetch_sub(1, Ordering::Relaxed);
        }
        self.given_back.fetch_add(1, Ordering::Relaxed);
    }
}

impl Outlet {
    /// The next message, waiting for one on a plain thread; `None` once every inlet is gone and the
    /// queue is empty.
    pub fn recv(&mut self) -> Option<Message> {
        self.receiver.blocking_recv()
    }

    /// The next message, waiting for one in a task; `None` once every inlet is gone and the queue is
    /// empty.
    pub async fn next(&mut self) -> Option<Message> {
        self.receiver.recv().await
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Origin, OriginKind, Receipt};
    use super::*;
    use bytes::Bytes;

    fn message(payload: usize) -> Message {
        Message {
            topic: "t".into(),
            payload: Bytes::from(vec![0; payload]),
            origin: Origin { kind: OriginKind::Replay, name: "test".into() },
            received_at_ms: 0,
            retained: false,
            receipt: Receipt::none(),
            place: None,
        }
    }

    #[tokio::test]
    async fn the_count_bound_holds_until_the_message_is_dropped_not_until_it_is_taken_out() {
        let (inlet, mut outlet) = queue(Bounds { messages: 2, bytes: 1 << 20 });
        inlet.send(message(1)).await.unwrap();
        inlet.send(message(1)).await.unwrap();
        let taken = outlet.next().await.unwrap();
        assert!(matches!(inlet.try_send(message(1)), Err(TrySendError::Full(_))));
        drop(taken);
        assert!(inlet.try_send(message(1)).is_ok());
    }

    #[tokio::test]
    async fn the_byte_bound_holds_too_and_gives_back_what_it_took() {
        let (inlet, mut outlet) = queue(Bounds { messages: 100, bytes: 10_000 });
        inlet.send(message(6_000)).await.unwrap();
        assert!(matches!(inlet.try_send(message(6_000)), Err(TrySendError::Full(_))));
        assert_eq!(inlet.meter().depth().messages, 1);
        drop(outlet.next().await);
        assert_eq!(inlet.meter().depth(), Bounds { messages: 0, bytes: 0 });
        assert!(inlet.try_send(message(6_000)).is_ok());
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "a mailbox holds one completion per receipt")]
    async fn the_meter_tells_how_many_are_waited_for() {
        let (inlet, mut outlet) = queue(Bounds { messages: 4, bytes: 10_000 });
        let meter = inlet.meter();
        let (mailbox, _inbox) = mpsc::unbounded_channel();
        let waiting = Message { receipt: Receipt::new(mailbox, 0, 1), ..message(1) };
        inlet.send(waiting).await.unwrap();
        inlet.try_send(message(1)).unwrap();
        assert_eq!((meter.depth().messages, meter.awaited()), (2, 1));
        assert_eq!(meter.given_back(), 0);
        drop(outlet.next().await);
        assert_eq!((meter.depth().messages, meter.awaited()), (1, 0));
        assert_eq!(meter.given_back(), 1);
    }

    #[tokio::test]
    async fn a_message_larger_than_the_byte_bound_passes_alone() {
        let (inlet, mut outlet) = queue(Bounds { messages: 4, bytes: 1_000 });
        inlet.send(message(5_000)).await.unwrap();
        assert!(matches!(inlet.try_send(message(1)), Err(TrySendError::Full(_))));
        drop(outlet.next().await);
        assert!(inlet.try_send(message(1)).is_ok());
    }

    #[tokio::test]
    async fn the_outlet_ends_after_the_last_inlet() {
        let (inlet, mut outlet) = queue(Bounds { messages: 4, bytes: 10_000 });
        inlet.send(message(1)).await.unwrap();
        drop(inlet);
        assert!(outlet.next().await.is_some());
        assert!(outlet.next().await.is_none());
    }
}
