//! Sees that the parts go on that everything depends on: the pipeline and the writer.

use super::tell_systemd;
use crate::counters::Counters;

use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The watch, in a task of its own until it is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    stop: CancellationToken,
    broken: CancellationToken,
    defect: Arc<OnceLock<String>>,
}

/// What is watched.
pub(super) struct Watched<Age> {
    /// How long ago the writer moved; what it may take its time over does not count.
    pub(super) age: Age,
    /// Fires when the pipeline's thread has ended.
    pub(super) ended: CancellationToken,
    /// How often to look; under systemd, twice in each period of its watchdog.
    pub(super) every: Duration,
    /// Where trouble is shown.
    pub(super) counters: Arc<Counters>,
}

/// How often a hub looks.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A writer that has not moved for so long is shown as trouble, and after the second it is stuck:
/// only another process can help.
const SLOW_AFTER: Duration = Duration::from_secs(15);
const STUCK_AFTER: Duration = Duration::from_secs(120);

impl Watch {
    /// Begins to watch; under systemd its watchdog is fed as long as the writer moves.
    pub(super) fn begin(watched: Watched<impl Fn() -> Duration + Send + Sync + 'static>) -> Self {
        let watch = Self {
            stop: CancellationToken::new(),
            broken: CancellationToken::new(),
            defect: Arc::default(),
        };
        let (stop, broken) = (watch.stop.clone(), watch.broken.clone());
        let defect = Arc::clone(&watch.defect);
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = watched.ended.cancelled() => {
                    let _ = defect.set("the pipeline's thread has ended".to_owned());
                    broken.cancel();
                }
                stuck = watched.watch() => {
                    let _ = defect.set(stuck);
                    broken.cancel();
                }
            }
        });
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

impl<Age: Fn() -> Duration> Watched<Age> {
    async fn watch(&self) -> String {
        let period = sd_notify::watchdog_enabled();
        let mut tick = tokio::time::interval(period.map_or(self.every, |p| p / 2));
        loop {
            tick.tick().await;
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
            ended: ended.clone(),
            every: Duration::from_millis(1),
            counters: Arc::clone(&counters),
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
    async fn a_pipeline_that_ends_by_itself_is_a_defect() {
        let (watch, _age, ended, _counters) = watch(0);
        ended.cancel();
        assert_eq!(watch.broken().await, "the pipeline's thread has ended");
    }
}
