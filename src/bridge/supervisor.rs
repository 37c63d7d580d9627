//! What a source does about a panic in it: it is counted, shown, and followed by a new start.

use super::backoff::Backoff;
use super::source::Plan;

use std::sync::Arc;
use std::time::Duration;
use tracing::warn;

/// For [`crate::supervise`]: notes a panic of this plan's source, and says how long to rest.
pub(super) fn panicked(plan: &Plan) -> impl FnMut() -> Duration + use<> {
    let name = plan.settings.name.clone();
    let (random, clock) = (plan.random.clone(), plan.clock.clone());
    let counters = Arc::clone(&plan.counters);
    let mut backoff = Backoff::new(plan.limits.backoff_first, plan.limits.backoff_max);
    move || {
        let now = clock.now_ms();
        counters.reasons.note("source_panic", now);
        let wait = backoff.wait(random.number());
        warn!("source {name}: panicked, starts again in {:.1} s", wait.as_secs_f32());
        counters.source(&name, |s| {
            s.connected = false;
            s.since_ms = now;
            s.away_since_ms.get_or_insert(now);
            s.last_error = "a defect of this program stopped the source; it starts again".into();
        });
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::super::login::Credentials;
    use super::super::{Limits, Phases, Random};
    use super::*;
    use crate::bridge::source::Source;
    use crate::clock::Clock;
    use crate::config;
    use crate::counters::Counters;
    use crate::message::queue::{Bounds, queue};
    use crate::supervise::supervise;
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    fn plan(counters: &Arc<Counters>) -> Plan {
        let settings = config::Source::new("test", config::Remote::mqtt("localhost", 1883));
        Plan {
            settings: Arc::new(settings),
            client_id: "test".into(),
            credentials: Credentials::Account(None, None),
            limits: Limits::default(),
            clock: Clock::by_hand(5),
            counters: Arc::clone(counters),
            random: Random::seeded(1),
            phases: Phases { quiet: CancellationToken::new(), abandon: CancellationToken::new() },
            inlet: queue(Bounds { messages: 1, bytes: 1 }).0,
            left_over: mpsc::channel(1).0,
        }
    }

    #[tokio::test]
    async fn after_a_panic_the_source_dials_again() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let counters = Arc::new(Counters::default());
        let mut plan = plan(&counters);
        let port = listener.local_addr().unwrap().port();
        plan.settings =
            Arc::new(config::Source::new("test", config::Remote::mqtt("127.0.0.1", port)));
        plan.limits.backoff_first = Duration::from_millis(1);
        let mut starts = 0;
        let (quiet, panicked) = (plan.phases.quiet.clone(), panicked(&plan));
        let make = move || {
            starts += 1;
            let (first, source) = (starts == 1, Source::new(plan.clone()));
            async move {
                assert!(!first, "a defect");
                source.run().await;
            }
        };
        let running = tokio::spawn(supervise(quiet.clone(), make, panicked));
        let patience = Duration::from_secs(20);
        tokio::time::timeout(patience, listener.accept()).await.expect("it dials").unwrap();
        assert_eq!(counters.reasons.count("source_panic"), 1);
        quiet.cancel();
        tokio::time::timeout(patience, running).await.expect("it ends").unwrap();
    }

    #[test]
    fn a_source_that_panics_is_counted_shown_and_rests_longer_each_time() {
        let counters = Arc::new(Counters::default());
        let mut panicked = panicked(&plan(&counters));
        let first = panicked();
        assert!(panicked() > first);
        assert_eq!(counters.reasons.count("source_panic"), 2);
        assert!(counters.sources()["test"].last_error.contains("starts again"));
    }
}
