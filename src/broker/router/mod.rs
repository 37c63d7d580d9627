//! Subscriptions and fan-out, done by rumqttd's `Router` behind links; its listeners are not used.
//!
//! ```text
//! door ── offer() ──> Feed ── one link ──> Router thread ── one link a subscriber ──> Pump ──> door
//!                                 ^ Keeper: heartbeat, rebuilds it
//! ```
//!
//! What it carries for us is a [`parcel`]: the payload with a head that only we read. To it a message
//! has a topic, a payload and nothing else.
//!
//! Copies only: nothing that is stored or acknowledged depends on what happens here. The router is
//! treated as something that may die at any time, and has memory that it never frees (filters,
//! topics, client names). So: it only sees printable ASCII, names of links come from a pool,
//! subscriptions are QoS 0 and clean, and the [`keeper`] builds a new one when it dies, hangs, or has
//! seen too much. Subscribers' pumps notice by the generation and subscribe again.

mod feed;
mod keeper;
mod link;
mod parcel;
mod subscriber;
#[cfg(test)]
mod tests;
mod watched;

pub(super) use subscriber::{Delivery, Subscriber};

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::feed::Feed;
use self::link::Generation;
use super::copy::Copy;
use super::identity::Author;
use crate::clock::Clock;
use crate::counters::Counters;
use crate::supervise::{say, supervise};

/// The door's handle on the router; clones share it.
#[derive(Clone)]
pub(super) struct Router(Arc<Shared>);

struct Shared {
    feed: Mutex<Feed>,
    generations: watch::Sender<Arc<Generation>>,
    /// Pumps that live now.
    pumps: AtomicUsize,
    /// Filters of all of them together.
    filters: AtomicUsize,
    slots: Mutex<Slots>,
    /// Rings when the router has seen too much.
    enough: Notify,
    /// Routers that were built; each thread's name has its number.
    built: AtomicUsize,
    /// Makes the keeper panic at its next look.
    #[cfg(test)]
    defect: std::sync::atomic::AtomicBool,
    counters: Arc<Counters>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Filters of all subscribers together: each has a log of its own, of 256 KiB and more.
const MAX_LIVE_FILTERS: usize = keeper::MAX_FILTERS / 2;

/// The pool of link names: the router remembers every name for ever, so they are used again.
#[derive(Default)]
struct Slots {
    free: BTreeSet<usize>,
    made: usize,
}

/// A link name out of the pool; goes back when dropped.
struct Slot {
    shared: Arc<Shared>,
    number: usize,
}

/// The router could not be started.
#[derive(Debug, thiserror::Error)]
#[error("the router's thread cannot be started: {0}")]
pub(super) struct StartError(String);

impl Router {
    /// Builds the first router and starts its keeper. Everything ends, and is awaited by `tasks`,
    /// when `stop` is cancelled and the subscribers are gone.
    ///
    /// # Errors
    /// The system gives us no thread.
    pub(super) async fn start(
        (counters, clock): (Arc<Counters>, Clock),
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, StartError> {
        let (generation, link) = link::build(0).await.map_err(|e| StartError(e.to_string()))?;
        let (sender, receiver) = link;
        let shared = Arc::new(Shared {
            feed: Mutex::new(Feed::new(sender)),
            generations: watch::Sender::new(Arc::new(generation)),
            pumps: AtomicUsize::new(0),
            filters: AtomicUsize::new(0),
            slots: Mutex::default(),
            enough: Notify::new(),
            built: AtomicUsize::new(1),
            #[cfg(test)]
            defect: false.into(),
            counters: Arc::clone(&counters),
            tasks: tasks.clone(),
            stop: stop.clone(),
        });
        let (mut receiver, theirs) = (Some(receiver), Arc::clone(&shared));
        let keep = move || keeper::Keeper::new(Arc::clone(&theirs), receiver.take()).run();
        tasks.spawn(supervise(stop, keep, say("the router's keeper", counters, clock)));
        Ok(Self(shared))
    }

    /// Offers a copy of a publish to whoever has subscribed. Never waits: a copy for which there is
    /// no room is lost and counted.
    ///
    /// The topic must be [`super::access::routable`].
    pub(super) fn offer(&self, copy: &Copy<'_>) {
        if self.0.pumps.load(Ordering::Acquire) > 0 {
            let sealed = parcel::seal(copy);
            let mut feed = self.0.feed();
            let lost = feed.offer(copy.topic, sealed);
            if feed.topics() >= feed::MAX_TOPICS {
                self.0.enough.notify_one();
            }
            drop(feed);
            self.0.counters.broker_copies_lost.add(lost);
        }
    }

    /// Whether so many more filters fit in.
    pub(super) fn has_room_for(&self, filters: usize) -> bool {
        self.0.filters.load(Ordering::Acquire) + filters <= MAX_LIVE_FILTERS
    }

    /// A new subscriber without subscriptions; its client publishes as `author`.
    pub(super) fn subscriber(&self, author: Author) -> Subscriber {
        subscriber::open(&self.0, author)
    }

    /// Kills the router as one of its own panics would.
    #[cfg(test)]
    pub(super) fn kill(&self) {
        self.0.feed().push_raw("é", bytes::Bytes::from_static(b"x"));
    }

    /// Makes the keeper panic.
    #[cfg(test)]
    pub(super) fn harm_keeper(&self) {
        self.0.defect.store(true, Ordering::Relaxed);
        self.0.enough.notify_one();
    }
}

impl Shared {
    fn feed(&self) -> MutexGuard<'_, Feed> {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn take(shared: &Arc<Shared>) -> Self {
        let mut slots = shared.slots();
        let number = slots.free.pop_first().unwrap_or_else(|| {
            slots.made += 1;
            slots.made
        });
        drop(slots);
        Self { shared: Arc::clone(shared), number }
    }

    fn name(&self) -> String {
        format!("slot-{}", self.number)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.shared.slots().free.insert(self.number);
    }
}
