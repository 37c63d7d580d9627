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
    use crate::clock::Clock;
    use crate::config;
    use crate::counters::Counters;
    use crate::message::queue::{Bounds, queue};
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
