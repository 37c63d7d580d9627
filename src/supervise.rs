//! Keeps a task running that must not end: a panic in it is caught, counted and followed by a new
//! start.

use crate::clock::Clock;
use crate::counters::Counters;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// How long most tasks rest after a panic: a defect that comes again at once must not keep the
/// machine busy.
const REST: Duration = Duration::from_secs(1);

/// Runs what `make` makes until it ends by itself. After a panic, `panicked` says so and how long to
/// rest, and it is made again. What must survive a panic, such as a socket, belongs to `make`.
///
/// Once `quiet` is cancelled nothing is made any more, and `make` is dropped with all that it holds;
/// what still runs is waited for. Dropping the future ends the task.
pub async fn supervise<F: Future<Output = ()> + Send + 'static>(
    quiet: CancellationToken,
    mut make: impl FnMut() -> F,
    mut panicked: impl FnMut() -> Duration,
) {
    loop {
        let mut task = AbortOnDropHandle::new(tokio::spawn(make()));
        let ended = tokio::select! {
            ended = &mut task => ended,
            () = quiet.cancelled() => {
                // `make` may hold an inlet, which would keep the pipeline from its end.
                drop(make);
                let _ = task.await;
                return;
            }
        };
        if ended.is_ok() {
            return;
        }
        let rest = panicked();
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = quiet.cancelled() => return,
        }
    }
}

/// What most tasks do about a panic: it is counted (`task_panic`), the log says so once a minute, and
/// the task rests for a second.
pub fn say(what: &'static str, counters: Arc<Counters>, clock: Clock) -> impl FnMut() -> Duration {
    move || {
        if let Some(times) = counters.reasons.note("task_panic", clock.now_ms()) {
            let seconds = REST.as_secs();
            tracing::error!(times, "{what} stopped over a defect and starts again in {seconds} s");
        }
        REST
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::mpsc;

    fn at_once() -> Duration {
        Duration::ZERO
    }

    #[tokio::test]
    async fn what_panics_is_made_again_until_it_ends_by_itself() {
        let (starts, panics) = (AtomicU32::new(0), AtomicU32::new(0));
        let make = || {
            let start = starts.fetch_add(1, Ordering::Relaxed);
            async move { assert!(start >= 2, "panics twice") }
        };
        let panicked = || {
            panics.fetch_add(1, Ordering::Relaxed);
            at_once()
        };
        supervise(CancellationToken::new(), make, panicked).await;
        assert_eq!((starts.into_inner(), panics.into_inner()), (3, 2));
    }

    #[tokio::test]
    async fn once_it_is_quiet_nothing_is_made_and_the_maker_is_gone() {
        let quiet = CancellationToken::new();
        let (held, mut holders) = mpsc::channel::<()>(1);
        let hold_on = Arc::new(tokio::sync::Notify::new());
        let released = Arc::clone(&hold_on);
        let make = move || {
            let _keeps = &held;
            let hold_on = Arc::clone(&hold_on);
            async move {
                hold_on.notified().await;
                panic!("at the very end");
            }
        };
        let supervisor = tokio::spawn(supervise(quiet.clone(), make, at_once));
        quiet.cancel();
        assert_eq!(holders.recv().await, None, "the task still runs, its maker is gone");
        released.notify_one();
        supervisor.await.unwrap();
    }

    #[test]
    fn a_panic_is_counted_and_followed_by_a_rest() {
        let counters = Arc::new(Counters::default());
        let mut panicked = say("the test", Arc::clone(&counters), Clock::by_hand(5));
        assert_eq!((panicked(), panicked()), (REST, REST));
        assert_eq!(counters.reasons.count("task_panic"), 2);
    }
}
