//! What the writer's thread and the handles to it share: the pulse, what is held, the order to
//! give up.

use crate::record::Record;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Tells how long ago the writer last moved, idle, busy or trying again. A stuck one stands still.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<Shared>);

impl Pulse {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// How long ago the last move was. A healthy writer moves at least every few seconds: the
    /// longest step is one commit or one checkpoint.
    pub fn age(&self) -> Duration {
        let beat = Duration::from_millis(self.0.beat_ms.load(Ordering::Relaxed));
        self.0.since.elapsed().saturating_sub(beat)
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    since: Instant,
    /// Of the last beat, in milliseconds after `since`.
    beat_ms: AtomicU64,
    /// Records handed in and not yet committed or refused, and how many of them are waited for.
    records: AtomicU64,
    awaited: AtomicU64,
    abandoned: Mutex<bool>,
    abandoning: Condvar,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            beat_ms: AtomicU64::new(0),
            records: AtomicU64::new(0),
            awaited: AtomicU64::new(0),
            abandoned: Mutex::new(false),
            abandoning: Condvar::new(),
        }
    }
}

impl Shared {
    pub(super) fn beat(&self) {
        let ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat_ms.store(ms, Ordering::Relaxed);
    }

    /// A record is handed in.
    pub(super) fn began(&self, record: &Record) {
        self.records.fetch_add(1, Ordering::Relaxed);
        self.awaited.fetch_add(u64::from(record.message.receipt.is_awaited()), Ordering::Relaxed);
    }

    /// A record is committed, refused, or handed back.
    pub(super) fn ended(&self, record: &Record) {
        self.records.fetch_sub(1, Ordering::Relaxed);
        self.awaited.fetch_sub(u64::from(record.message.receipt.is_awaited()), Ordering::Relaxed);
    }

    /// Records held, and how many of them are waited for.
    pub(super) fn held(&self) -> (u64, u64) {
        (self.records.load(Ordering::Relaxed), self.awaited.load(Ordering::Relaxed))
    }

    /// Tells the writer to give up what it holds.
    pub(super) fn abandon(&self) {
        *self.abandoned.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.abandoning.notify_all();
    }

    pub(super) fn abandoned(&self) -> bool {
        *self.abandoned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits before another attempt; ends early when the writer is to give up.
    pub(super) fn pause(&self, pause: Duration) {
        let guard = self.abandoned.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.abandoning.wait_timeout_while(guard, pause, |abandoned| !*abandoned);
        drop(waited);
    }
}
