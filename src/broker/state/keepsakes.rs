//! What must outlive a restart, where it lives while the hub runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::claims::{self, Claims};
use crate::broker::outbox::{self, Outboxes};
use crate::broker::presence::Presence;
use crate::broker::retained::{self, Shelf};
use crate::counters::Counters;

/// The memory that the file is a copy of; clones share it. Each part notes what has changed in it, so
/// that a value which changes ten times between two commits is written once.
#[derive(Clone, Debug)]
pub(in crate::broker) struct Keepsakes {
    /// Retained messages.
    pub(in crate::broker) shelf: Arc<Mutex<Shelf>>,
    /// Sessions.
    pub(in crate::broker) outboxes: Outboxes,
    /// Observers; what is retained about them is on the shelf.
    pub(in crate::broker) presence: Presence,
    pub(super) claims: Arc<Mutex<Claims>>,
}

/// What the file does not know yet.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) retained: retained::Changes,
    pub(super) outboxes: outbox::Changes,
    pub(super) claims: claims::Changes,
}

impl Keepsakes {
    /// Nothing to remember yet.
    pub(in crate::broker) fn new(outboxes: Outboxes, counters: Arc<Counters>) -> Self {
        let shelf = Arc::new(Mutex::new(Shelf::new(counters)));
        let (presence, claims) = (Presence::default(), Arc::default());
        Self { shelf, outboxes, presence, claims }
    }

    /// The retained messages.
    pub(in crate::broker) fn shelf(&self) -> MutexGuard<'_, Shelf> {
        lock(&self.shelf)
    }

    pub(super) fn claims(&self) -> MutexGuard<'_, Claims> {
        lock(&self.claims)
    }

    /// What has changed since the last call or, `whole`, everything. What is too old goes.
    pub(super) fn changes(&self, whole: bool, now_ms: i64) -> Changes {
        if whole {
            return Changes {
                retained: self.shelf().everything(now_ms),
                outboxes: self.outboxes.everything(now_ms),
                claims: self.claims().everything(),
            };
        }
        Changes {
            retained: self.shelf().changes(now_ms),
            outboxes: self.outboxes.changes(now_ms),
            claims: self.claims().changes(),
        }
    }
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.retained.is_empty()
            && self.outboxes == outbox::Changes::default()
            && self.claims == claims::Changes::default()
    }
}

/// Each holder leaves these whole, so a panic of one of them does not matter to the next.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
