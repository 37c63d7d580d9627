//! Looks at the clock every second, and says when it begins to be trusted, or ceases to be.

use crate::clock::{Clock, Doubt, Trust};
use crate::counters::Counters;
use crate::supervise::{say, supervise};

use std::mem::{Discriminant, discriminant};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::{CancellationToken, DropGuard};

/// So often that a jump is seen before anybody goes by the time after it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Keeps the judgement of the clock up to date, in the log and in the health snapshot, in a task of
/// its own until it is dropped.
#[derive(Debug)]
pub(super) struct Timekeeper {
    look: Arc<Look>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Look {
    trust: Trust,
    counters: Arc<Counters>,
    doubted: Mutex<Option<(Instant, Discriminant<Doubt>)>>,
}

impl Timekeeper {
    pub(super) fn start(trust: Trust, counters: Arc<Counters>, clock: Clock) -> Self {
        let stop = CancellationToken::new();
        let panicked = say("the timekeeper", Arc::clone(&counters), clock);
        let look = Arc::new(Look { trust, counters, doubted: Mutex::new(None) });
        look.look();
        let (theirs, quiet) = (Arc::clone(&look), stop.clone());
        let make = move || {
            let (look, quiet) = (Arc::clone(&theirs), quiet.clone());
            async move {
                let mut tick = tokio::time::interval(LOOK_EVERY);
                loop {
                    tokio::select! {
                        () = quiet.cancelled() => return,
                        _ = tick.tick() => look.look(),
                    }
                }
            }
        };
        tokio::spawn(supervise(stop.clone(), make, panicked));
        Self { look, _stop: stop.drop_guard() }
    }

    /// Looks now, for a health snapshot that is not a second old.
    pub(super) fn look(&self) -> impl Fn() + Send + Sync + use<> {
        let look = Arc::clone(&self.look);
        move || look.look()
    }
}

impl Look {
    fn look(&self) {
        let doubt = self.trust.look().err();
        let mut doubted = self.doubted.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *doubted;
        *doubted = doubt.map(|doubt| {
            (before.map_or_else(Instant::now, |(since, _)| since), discriminant(&doubt))
        });
        let since = doubted.map(|(since, _)| since);
        match (doubt, before) {
            (Some(doubt), before) if before.map(|(_, kind)| kind) != Some(discriminant(&doubt)) => {
                let line = format!(
                    "the clock is not trusted: {doubt}. Until then nothing is let go for its age, \
                     and no observer's clock is judged"
                );
                match doubt {
                    // After every start.
                    Doubt::Unsettled { .. } => tracing::info!("{line}"),
                    _ => tracing::warn!("{line}"),
                }
            }
            (None, Some(_)) => tracing::info!("the clock is trusted now"),
            _ => {}
        }
        drop(doubted);
        self.counters.clock(|state| {
            state.doubt = doubt.map(|doubt| doubt.to_string());
            state.doubted_secs = since.map_or(0, |since| since.elapsed().as_secs());
        });
    }
}
