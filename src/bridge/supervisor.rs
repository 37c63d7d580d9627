//! Keeps a source running: a panic in it is caught, counted and followed by a new start.

use super::backoff::Backoff;
use super::random::Random;
use super::source::Plan;
use crate::clock::Clock;
use crate::counters::Counters;

use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

/// What a supervisor needs beside the way to make its source.
pub(super) struct Watch {
    name: String,
    quiet: CancellationToken,
    backoff: Backoff,
    random: Random,
    counters: Arc<Counters>,
    clock: Clock,
}

impl Watch {
    /// Watches over the source of this plan.
    pub(super) fn of(plan: &Plan) -> Self {
        Self {
            name: plan.settings.name.clone(),
            quiet: plan.phases.quiet.clone(),
            backoff: Backoff::new(plan.limits.backoff_first, plan.limits.backoff_max),
            random: plan.random.clone(),
            counters: Arc::clone(&plan.counters),
            clock: plan.clock.clone(),
        }
    }
}

/// Runs what `make` makes until it ends by itself; after a panic it is made again.
pub(super) async fn supervise<F: Future<Output = ()> + Send + 'static>(
    mut watch: Watch,
    make: impl Fn() -> F,
) {
    loop {
        let mut task = AbortOnDropHandle::new(tokio::spawn(make()));
        let ended = tokio::select! {
            ended = &mut task => ended,
            () = watch.quiet.cancelled() => {
                // `make` holds an inlet, which would keep the pipeline from its end.
                drop(make);
                let _ = task.await;
                return;
            }
        };
        if ended.is_ok() {
            return;
        }
        let now = watch.clock.now_ms();
        watch.counters.reasons.note("source_panic", now);
        let wait = watch.backoff.wait(watch.random.number());
        warn!("source {}: panicked, starts again in {:.1} s", watch.name, wait.as_secs_f32());
        watch.counters.source(&watch.name, |s| {
            s.connected = false;
            s.since_ms = now;
            s.last_error = "a defect of this program stopped the source; it starts again".into();
        });
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = watch.quiet.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;
    use tokio::sync::mpsc;

    fn watch(counters: &Arc<Counters>) -> Watch {
        Watch {
            name: "test".into(),
            quiet: CancellationToken::new(),
            backoff: Backoff::new(Duration::from_millis(1), Duration::from_millis(1)),
            random: Random::seeded(1),
            counters: Arc::clone(counters),
            clock: Clock::by_hand(5),
        }
    }

    #[tokio::test]
    async fn a_source_that_panics_is_counted_and_started_again() {
        let counters = Arc::new(Counters::default());
        let starts = Arc::new(AtomicU32::new(0));
        supervise(watch(&counters), || {
            let start = starts.fetch_add(1, Ordering::Relaxed);
            async move { assert!(start >= 2, "panics twice") }
        })
        .await;
        assert_eq!(starts.load(Ordering::Relaxed), 3);
        assert_eq!(counters.reasons.count("source_panic"), 2);
        assert!(counters.sources()["test"].last_error.contains("starts again"));
    }

    #[tokio::test]
    async fn a_supervisor_that_is_told_to_be_quiet_lets_go_of_what_makes_sources() {
        let counters = Arc::new(Counters::default());
        let watch = watch(&counters);
        let quiet = watch.quiet.clone();
        let (held, mut holders) = mpsc::channel::<()>(1);
        let hold_on = Arc::new(tokio::sync::Notify::new());
        let released = Arc::clone(&hold_on);
        let make = move || {
            let _keeps = &held;
            let hold_on = Arc::clone(&hold_on);
            async move { hold_on.notified().await }
        };
        let supervisor = tokio::spawn(supervise(watch, make));
        quiet.cancel();
        assert_eq!(holders.recv().await, None, "the source still runs, its maker is gone");
        released.notify_one();
        supervisor.await.unwrap();
    }
}
