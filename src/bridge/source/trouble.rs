//! What a source says and does when something stands in its way.

use super::super::failure::{Failure, PATTERN, Step};
use super::super::link::{Link, Progress};
use super::super::stall::Silence;
use super::{Ended, Source, broken};

use std::ops::ControlFlow;
use std::time::Duration;
use tokio::time::Instant;
use tracing::warn;

impl Source {
    /// The queue and the side buffer are full.
    pub(super) fn say_no_room(&self) {
        if let Some(times) = self.counters.reasons.note("source_queue_full", self.clock.now_ms()) {
            warn!(
                "source {}: the queue is full and {} messages wait beside it; letting the \
                 connection go until they have room ({times} time(s))",
                self.name,
                self.intake.waiting()
            );
        }
    }

    /// A message had no room anywhere, and nobody sends it again.
    pub(super) fn say_lost(&self, now_ms: i64) {
        if let Some(times) = self.counters.reasons.note("source_message_lost", now_ms) {
            warn!(
                "source {}: lost {times} message(s) that had no room and that {} does not send \
                 again; the database has to keep up, or the source needs QoS 1 and a kept session",
                self.name, self.broker
            );
        }
    }

    /// Nobody takes messages any more, and nobody told us to stop.
    pub(super) fn say_pipeline_ended(&self) {
        let words = "stopped: the pipeline behind it has ended";
        warn!("source {}: {words}", self.name);
        self.state(|s| s.last_error = words.into());
    }

    /// Nothing has come for so long that it is worth a word, and perhaps a new connection.
    pub(super) fn on_silence(&mut self, link: &Link) -> ControlFlow<Ended> {
        let Some(silence) = self.stall.judge(Instant::now()) else {
            return ControlFlow::Continue(());
        };
        self.state(|s| s.silent = true);
        match silence {
            Silence::Stalled(silent) => {
                self.counters.reasons.note("source_stalled", self.clock.now_ms());
                let words = format!("nothing came for {} s", silent.as_secs());
                ControlFlow::Break(broken(link, Failure::new(Step::Receiving, words)))
            }
            Silence::NeverReceived(silent) => {
                self.counters.reasons.note("source_never_received", self.clock.now_ms());
                let words = format!(
                    "connected for {} s and never received anything; check topics ({}) and \
                     permissions",
                    silent.as_secs(),
                    self.filters.join(" ")
                );
                warn!("source {}: {words}", self.name);
                self.state(|s| s.last_error = words);
                ControlFlow::Continue(())
            }
        }
    }

    /// The connection is over, whatever ended it.
    pub(super) fn hung_up(&mut self, link: &Link, ended: &Ended) {
        let now = self.clock.now_ms();
        self.stall.hung_up(Instant::now());
        let held = link.up_since.is_some_and(|up| up.elapsed() >= self.limits.stable_after);
        if held {
            self.backoff.reset();
            self.series.reset();
        }
        if link.progress != Progress::Dialling {
            self.shaky = !held && !link.brought && *ended != Ended::Again;
        }
        let silent_ms = i64::try_from(link.heard.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.state(|s| {
            if s.connected {
                s.connected = false;
                s.since_ms = now;
            }
            // A connection that is found half-open has been away for longer than it is closed.
            s.away_since_ms.get_or_insert(now.saturating_sub(silent_ms));
        });
    }

    /// A connection has held, after one that had not.
    pub(super) fn on_steady(&mut self) {
        self.shaky = false;
        self.state(|s| s.away_since_ms = None);
    }

    /// Notes a failure, says it, and returns how long to wait.
    pub(super) fn judge(&mut self, failure: &Failure) -> Duration {
        let third = self.series.note(failure);
        let wait = self.backoff.wait(self.random.number());
        let (step, reason) = (failure.step.as_str(), &failure.reason);
        let (name, attempt, broker) = (&self.name, self.attempt, &self.broker);
        let seconds = wait.as_secs_f32();
        if failure.step == Step::Receiving {
            warn!(
                "source {name}: disconnected from {broker}: {reason}; next attempt in {seconds:.1} s"
            );
        } else {
            warn!(
                "source {name}: attempt {attempt} to {broker} failed at {step}: {reason}; next \
                 attempt in {seconds:.1} s"
            );
        }
        let mut words = format!("{step}: {reason}");
        if self.series.is_pattern() {
            words = format!("{words}; {}", failure.step.advice(&self.credentials));
        }
        if third {
            warn!("source {name}: failed {PATTERN} times in a row at {words}");
        }
        self.state(|s| {
            s.step = step.into();
            s.last_error = words;
        });
        self.forget_session_if_poisoned();
        wait
    }

    /// A broker that keeps our session sends a message that cannot be read again on each connection,
    /// and nothing behind it ever arrives. Then the session has to go, with what waits in it.
    fn forget_session_if_poisoned(&mut self) {
        if !self.series.is_poisoned() || !self.settings.persistent_session {
            return;
        }
        self.discard = true;
        self.counters.reasons.note("source_session_discarded", self.clock.now_ms());
        warn!(
            "source {}: {} sent what cannot be read {PATTERN} times in a row; the next connection \
             asks it to forget our session and all that waits there",
            self.name, self.broker
        );
    }
}
