//! Sees that the parts go on that everything depends on: the pipeline and the writer.

use super::tell_systemd;
use crate::clock::Clock;
use crate::counters::Counters;
use crate::supervise::{say, supervise};

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The watch, in a task of its own until it is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    stop: CancellationToken,
    broken: CancellationToken,
    defect: Arc<OnceLock<String>>,
}

/// What is watched.
pub(super) struct Watched<Age, Queue> {
    /// How long ago the writer moved; what it may take its time over does not count.
    pub(super) age: Age,
    /// How many messages are received and not yet committed, and how many ever were.
    pub(super) queue: Queue,
    /// How long a message may wait for its commit when all is well.
    pub(super) commit_interval: Duration,
    /// Fires when the pipeline's thread has ended.
    pub(super) ended: CancellationToken,
    /// How often to look; under systemd, twice in each period of its watchdog.
    pub(super) every: Duration,
    /// Where trouble is shown.
    pub(super) counters: Arc<Counters>,
    /// The time, for the log.
    pub(super) clock: Clock,
}

/// How often a hub looks.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A writer that has not moved for so long is shown as trouble, and after the second it is stuck:
/// only another process can help.
const SLOW_AFTER: Duration = Duration::from_secs(15);
const STUCK_AFTER: Duration = Duration::from_secs(120);

/// Messages that wait for so long, with none of them stored, are shown as trouble: a slow SD card
/// takes nearly as long to copy the write-ahead log.
const STANDS_AFTER: Duration = Duration::from_secs(30);

impl Watch {
    /// Begins to watch; under systemd its watchdog is fed as long as the writer moves.
    pub(super) fn begin(
        watched: Watched<
            impl Fn() -> Duration + Send + Sync + 'static,
            impl Fn() -> (usize, u64) + Send + Sync + 'static,
        >,
    ) -> Self {
        let watch = Self {
            stop: CancellationToken::new(),
            broken: CancellationToken::new(),
            defect: Arc::default(),
        };
        let panicked = say("the watch", Arc::clone(&watched.counters), watched.clock.clone());
        let (stop, broken) = (watch.stop.clone(), watch.broken.clone());
        let (watched, defect) = (Arc::new(watched), Arc::clone(&watch.defect));
        let make = move || {
            let (stop, broken) = (stop.clone(), broken.clone());
            let (watched, defect) = (Arc::clone(&watched), Arc::clone(&defect));
            async move {
                let found = tokio::select! {
                    () = stop.cancelled() => return,
                    () = watched.ended.cancelled() => "the pipeline's thread has ended".to_owned(),
                    stuck = watched.watch() => stuck,
                };
                let _ = defect.set(found);
                broken.cancel();
            }
        };
        tokio::spawn(supervise(watch.stop.clone(), make, panicked));
        watch
    }

    /// Waits until a part that must not end has ended, or stands still; what it is.
    pub(super) async fn broken(&self) -> String {
        self.broken.cancelled().await;
        self.defect.get().cloned().unwrap_or_default()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl<Age: Fn() -> Duration, Queue: Fn() -> (usize, u64)> Watched<Age, Queue> {
    async fn watch(&self) -> String {
        let mut progress = Progress::default();
        let period = sd_notify::watchdog_enabled();
        let mut tick = tokio::time::interval(period.map_or(self.every, |p| p / 2));
        loop {
            tick.tick().await;
            self.look_at_queue(&mut progress);
            let age = (self.age)();
            if period.is_some_and(|p| age < p) {
                tell_systemd(sd_notify::NotifyState::Watchdog);
            }
            let stands = format!("the writer has not moved for {} s", age.as_secs());
            if age >= STUCK_AFTER {
                return stands;
            }
            if age >= SLOW_AFTER {
                // Its next commit takes this back.
                self.counters.writer(|w| w.trouble = Some(stands));
            }
        }
    }

    /// Shows when messages wait and none of them is stored. A migration may hold them up while an
    /// index is built, and tells of itself.
    fn look_at_queue(&self, progress: &mut Progress) {
        let (waiting, done) = (self.queue)();
        let migrates = self.counters.writer_state().migration.is_some();
        let stands = progress.stands(waiting > 0 && !migrates, done, Instant::now());
        let trouble = stands.filter(|it| *it >= STANDS_AFTER + self.commit_interval).map(|it| {
            format!("{waiting} received and waiting, and nothing was stored for {} s", it.as_secs())
        });
        self.counters.ingest(|ingest| ingest.trouble = trouble);
    }
}

/// Since when messages wait without any of them being stored.
#[derive(Debug, Default)]
struct Progress {
    done: u64,
    since: Option<Instant>,
}

impl Progress {
    fn stands(&mut self, waiting: bool, done: u64, now: Instant) -> Option<Duration> {
        if !waiting || done != self.done {
            self.since = None;
        }
        self.done = done;
        if !waiting {
            return None;
        }
        Some(now - *self.since.get_or_insert(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn watch(age_s: u64) -> (Watch, Arc<AtomicU64>, CancellationToken, Arc<Counters>) {
        let (ended, counters) = (CancellationToken::new(), Arc::new(Counters::default()));
        let now = Arc::new(AtomicU64::new(age_s));
        let theirs = Arc::clone(&now);
        let watched = Watched {
            age: move || Duration::from_secs(theirs.load(Ordering::Relaxed)),
            queue: || (0, 0),
            commit_interval: Duration::ZERO,
            ended: ended.clone(),
            every: Duration::from_millis(1),
            counters: Arc::clone(&counters),
            clock: Clock::by_hand(5),
        };
        (Watch::begin(watched), now, ended, counters)
    }

    #[tokio::test]
    async fn a_writer_that_stands_still_is_shown_and_then_called_stuck() {
        let (watch, age_s, _ended, counters) = watch(14);
        let short = Duration::from_millis(20);
        assert!(tokio::time::timeout(short, watch.broken()).await.is_err());
        assert_eq!(counters.writer_state().trouble, None);
        age_s.store(60, Ordering::Relaxed);
        while counters.writer_state().trouble.is_none() {
            assert!(tokio::time::timeout(short, watch.broken()).await.is_err());
        }
        assert!(counters.writer_state().trouble.is_some_and(|t| t.contains("60 s")));
        age_s.store(120, Ordering::Relaxed);
        assert_eq!(watch.broken().await, "the writer has not moved for 120 s");
    }

    #[tokio::test]
    async fn a_watch_that_panics_is_counted_and_watches_on() {
        let (looked, counters) = (AtomicU64::new(0), Arc::new(Counters::default()));
        let watched = Watched {
            age: move || {
                assert!(looked.fetch_add(1, Ordering::Relaxed) > 0, "a defect");
                STUCK_AFTER
            },
            queue: || (0, 0),
            commit_interval: Duration::ZERO,
            ended: CancellationToken::new(),
            every: Duration::from_millis(1),
            counters: Arc::clone(&counters),
            clock: Clock::by_hand(5),
        };
        let watch = Watch::begin(watched);
        assert_eq!(watch.broken().await, "the writer has not moved for 120 s");
        assert_eq!(counters.reasons.count("task_panic"), 1);
    }

    #[test]
    fn messages_that_wait_and_are_not_stored_are_a_standstill_from_the_first_look_on() {
        let (mut progress, start) = (Progress::default(), Instant::now());
        let mut at = |secs, waiting, done| {
            let now = start + Duration::from_secs(secs);
            progress.stands(waiting, done, now).map(|it| it.as_secs())
        };
        assert_eq!([at(0, false, 0), at(5, true, 0), at(10, true, 0)], [None, Some(0), Some(5)]);
        assert_eq!(at(15, true, 1), Some(0), "one was stored");
        assert_eq!([at(20, true, 1), at(25, false, 1), at(30, true, 1)], [Some(5), None, Some(0)]);
    }

    #[tokio::test]
    async fn a_queue_that_stands_still_is_shown_until_it_moves() {
        let counters = Arc::new(Counters::default());
        let watched = Watched {
            age: || Duration::ZERO,
            queue: || (7, 3),
            commit_interval: Duration::from_secs(1),
            ended: CancellationToken::new(),
            every: LOOK_EVERY,
            counters: Arc::clone(&counters),
            clock: Clock::by_hand(5),
        };
        let ago = |secs| Instant::now().checked_sub(Duration::from_secs(secs));
        let trouble = || counters.snapshot(0, 0).ingest.trouble;
        watched.look_at_queue(&mut Progress { done: 3, since: ago(30) });
        assert_eq!(trouble(), None);
        watched.look_at_queue(&mut Progress { done: 3, since: ago(32) });
        assert_eq!(
            trouble().as_deref(),
            Some("7 received and waiting, and nothing was stored for 32 s")
        );
        assert!(!counters.snapshot(0, 0).ok);
        counters.writer(|w| w.migration = Some(crate::counters::MigrationState::default()));
        watched.look_at_queue(&mut Progress { done: 3, since: ago(32) });
        assert_eq!(trouble(), None, "an index is built");
        counters.writer(|w| w.migration = None);
        watched.look_at_queue(&mut Progress { done: 2, since: ago(32) });
        assert_eq!(trouble(), None, "it moves");
    }

    #[tokio::test]
    async fn a_pipeline_that_ends_by_itself_is_a_defect() {
        let (watch, _age, ended, _counters) = watch(0);
        ended.cancel();
        assert_eq!(watch.broken().await, "the pipeline's thread has ended");
    }
}
