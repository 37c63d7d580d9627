//! What the writer's thread and the handles to it share: the pulse, what is held, the order to
//! give up.

use crate::record::Record;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Tells how long ago the writer last moved, idle, busy or trying again. A stuck one stands still.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<Shared>);

impl Pulse {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// How long ago the last move was; less than three seconds while all is well. A commit or a
    /// checkpoint counts as one move for three minutes: a slow SD card may need them.
    pub fn age(&self) -> Duration {
        let beat = Duration::from_millis(self.0.beat_ms.load(Ordering::Relaxed));
        self.0.since.elapsed().saturating_sub(beat)
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    since: Instant,
    /// Of the last beat, in milliseconds after `since`; ahead of time while a long step is allowed.
    beat_ms: AtomicU64,
    /// Records handed in and not yet committed or refused, and how many of them are waited for.
    records: AtomicU64,
    awaited: AtomicU64,
    drained: AtomicBool,
    stopping: AtomicBool,
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
            drained: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
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

    /// The next step may take so long: the pulse stands still only after that.
    pub(super) fn allow(&self, step: Duration) {
        let ms = u64::try_from((self.since.elapsed() + step).as_millis()).unwrap_or(u64::MAX);
        self.beat_ms.store(ms, Ordering::Relaxed);
    }

    /// Every sink is gone and everything is committed; only the checkpoint is left to do.
    pub(super) fn drained(&self) {
        self.drained.store(true, Ordering::Release);
    }

    pub(super) fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Acquire)
    }

    /// Nothing more comes: what can wait for the next start is to be left.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pulse_of_a_stuck_writer_ages_and_a_long_step_is_allowed_for() {
        let shared = Arc::new(Shared::default());
        let pulse = Pulse::new(Arc::clone(&shared));
        let old = Duration::from_millis(3);
        while pulse.age() < old {
            shared.pause(Duration::from_millis(1));
        }
        shared.allow(Duration::from_secs(60));
        assert_eq!(pulse.age(), Duration::ZERO);
        shared.beat();
        assert!(pulse.age() < Duration::from_secs(1));
    }

    #[test]
    fn a_pause_ends_when_the_writer_is_to_give_up() {
        let shared = Shared::default();
        shared.abandon();
        let started = Instant::now();
        shared.pause(Duration::from_secs(3_600));
        assert!(started.elapsed() < Duration::from_secs(60));
    }
}
