//! What all connections of a broker share.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::access;
use super::frame::Will;
use super::identity::Identity;
use super::neighbourhood::Surroundings;
use super::retained::{Retained, Shelf};
use super::router::Router;
use super::sessions::Sessions;
use crate::clock::Clock;
use crate::counters::Counters;
use crate::message::{Inlet, Message};

/// The shared state of one broker.
pub(super) struct House {
    pub(super) clock: Clock,
    pub(super) counters: Arc<Counters>,
    pub(super) router: Router,
    pub(super) sessions: Sessions,
    pub(super) surroundings: Surroundings,
    /// Fires when nothing more is to be accepted or read.
    pub(super) quiet: CancellationToken,
    /// Fires when no receipt will be completed any more.
    pub(super) closing: CancellationToken,
    shelf: Mutex<Shelf>,
    wills: Arc<Semaphore>,
    large: Arc<Semaphore>,
    unknown_names: Mutex<HashSet<String>>,
    generations: AtomicU64,
}

/// The way into the pipeline. The broker knows when the last one is gone: nothing more will come.
#[derive(Clone)]
pub(super) struct Intake {
    pub(super) inlet: Inlet,
    /// Counts this intake as open.
    _open: TaskTrackerToken,
}

impl Intake {
    /// An intake that `open` waits for.
    pub(super) fn new(inlet: Inlet, open: &TaskTracker) -> Self {
        Self { inlet, _open: open.token() }
    }
}

/// Bytes of all wills together: 4 MiB, two thousand of the largest that gateways send.
const WILL_BYTES: usize = 4 << 20;

/// Bytes of all large packets that have begun and not wholly arrived, or that wait for the queue:
/// 8 MiB, thirty-two of the largest. Without it a thousand clients that each begin one and go on
/// slowly would take 400 MB.
const LARGE_BYTES: usize = 8 << 20;

/// A packet up to this size counts for nothing: the largest that gateways are known to send has
/// 10 KiB.
const LARGE: usize = 16 * 1024;

/// Unknown names that are said in the log; further ones are not.
const UNKNOWN_NAMES: usize = 100;

impl House {
    /// A house without guests.
    pub(super) fn new(
        clock: Clock,
        counters: Arc<Counters>,
        router: Router,
        (quiet, closing): (CancellationToken, CancellationToken),
    ) -> Self {
        Self {
            clock,
            counters,
            router,
            sessions: Sessions::default(),
            surroundings: Surroundings::default(),
            quiet,
            closing,
            shelf: Mutex::default(),
            wills: Arc::new(Semaphore::new(WILL_BYTES)),
            large: Arc::new(Semaphore::new(LARGE_BYTES)),
            unknown_names: Mutex::default(),
            generations: AtomicU64::new(1),
        }
    }

    /// The number of a new connection.
    pub(super) fn next_generation(&self) -> u64 {
        self.generations.fetch_add(1, Ordering::Relaxed)
    }

    /// A client id that nobody else has or had: for a client of MQTT 5 without one (MQTT-3.1.3-6).
    pub(super) fn client_id(&self) -> String {
        format!("meshbox-{:x}-{:x}", self.clock.now_ms(), self.next_generation())
    }

    /// Counts a reason, and says so in the log at most once a minute.
    pub(super) fn note(&self, reason: &'static str, what: impl FnOnce() -> String) {
        if let Some(times) = self.counters.reasons.note(reason, self.clock.now_ms()) {
            tracing::warn!(reason, times, "{}", what());
        }
    }

    /// Notes that a message which nobody will send again found no room until the end.
    pub(super) fn note_lost(&self, message: &Message) {
        let from = &message.origin.name;
        self.note("message_lost_at_shutdown", || {
            format!("a message from {from} was lost: the queue stayed full to the end")
        });
    }

    /// Notes, once for each name, that a client gave credentials while there are no accounts.
    pub(super) fn note_unknown_name(&self, name: &str, identity: &Identity) {
        let mut names = lock(&self.unknown_names);
        if names.len() < UNKNOWN_NAMES && names.insert(name.to_owned()) {
            tracing::info!(
                "{name:?} from {identity} enters as anonymous: there are no accounts yet"
            );
        }
    }

    /// Room for a will in the budget of all wills; counted when there is none.
    pub(super) fn room_for_will(&self, will: &Will) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(will.topic.len() + will.payload.len()).ok()?;
        let room = Arc::clone(&self.wills).try_acquire_many_owned(bytes).ok();
        if room.is_none() {
            self.note("will_without_room", || "a will was not kept: there are too many".to_owned());
        }
        room
    }

    /// Room for a packet of so many bytes in the budget of all large packets; `None` for one that is
    /// not large.
    ///
    /// # Errors
    /// The budget is used up.
    pub(super) fn room_for_packet(
        &self,
        bytes: usize,
    ) -> Result<Option<OwnedSemaphorePermit>, TryAcquireError> {
        if bytes <= LARGE {
            return Ok(None);
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Arc::clone(&self.large).try_acquire_many_owned(bytes).map(Some)
    }

    /// Passes a copy of an allowed publish to subscribers, and retains it if it is to be retained.
    pub(super) fn copy(&self, topic: &str, payload: &Bytes, retain: bool) {
        if !access::routable(topic) {
            // Nobody can have subscribed to it by name, and the router must not see it.
            self.note("topic_not_for_subscribers", || {
                "a message was stored but not copied to subscribers: its topic is not plain ASCII \
                 of at most 1024 bytes"
                    .to_owned()
            });
            return;
        }
        if retain {
            let kept = lock(&self.shelf).keep(topic, payload, self.clock.now_ms());
            if kept.is_err() {
                self.note("retained_without_room", || format!("{topic} was not retained: no room"));
            }
        }
        self.router.offer(topic, payload);
    }

    /// The retained messages that match any of these filters.
    pub(super) fn retained(&self, filters: &[String]) -> Vec<Retained> {
        let shelf = lock(&self.shelf);
        filters.iter().flat_map(|filter| shelf.matching(filter)).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
