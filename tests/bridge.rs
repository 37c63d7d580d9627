//! External brokers as sources: a real mosquitto, and brokers that misbehave.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at the first surprise")]

pub(crate) mod fake;
mod publisher;

mod failures;
mod full;
mod halfopen;
mod real;
mod receipts;
mod secured;
mod silence;
mod stopping;
mod tokens;
mod trouble;

use super::support::{PATIENCE, eventually_async};

use meshbox::bridge::{self, Bridge, Limits, Parts, Random};
use meshbox::clock::Clock;
use meshbox::config;
use meshbox::counters::{Counters, SourceState};
use meshbox::message::queue::{Bounds, queue};
use meshbox::message::{Message, Outcome, Outlet};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The hand clock of every bridge in these tests.
const NOW_MS: i64 = 1_790_000_000_000;

/// A bridge and the pipeline's end of its queue.
struct Box {
    bridge: Bridge,
    outlet: Outlet,
    counters: Arc<Counters>,
    clock: Clock,
    shutdown: CancellationToken,
}

/// Room for everything.
const WIDE: Bounds = Bounds { messages: 10_000, bytes: 1 << 24 };

/// What a test changes: short waits, else as the hub runs.
fn quick() -> Limits {
    Limits {
        patience: Duration::from_secs(3),
        backoff_first: Duration::from_millis(10),
        backoff_max: Duration::from_millis(50),
        ..Limits::default()
    }
}

fn source(name: &str, at: SocketAddr) -> config::Source {
    config::Source {
        connect_timeout: quick().patience,
        ..config::Source::new(name, config::Remote::mqtt(at.ip().to_string(), at.port()))
    }
}

fn account(username: &str, password: &str) -> config::Login {
    let password = Some(config::secret::Secret::new(password));
    config::Login::Account { username: Some(username.into()), password }
}

impl Box {
    fn start(sources: &[config::Source], data_dir: &Path) -> Self {
        Self::with(sources, data_dir, WIDE, quick())
    }

    fn with(sources: &[config::Source], dir: &Path, room: Bounds, limits: Limits) -> Self {
        let (inlet, outlet) = queue(room);
        let counters = Arc::new(Counters::default());
        let (clock, shutdown) = (Clock::by_hand(NOW_MS), CancellationToken::new());
        let parts = Parts {
            inlet,
            clock: clock.clone(),
            counters: Arc::clone(&counters),
            shutdown: shutdown.clone(),
            data_dir: dir.to_owned(),
            random: Random::system(),
            limits,
        };
        Self { bridge: bridge::start(sources, parts), outlet, counters, clock, shutdown }
    }

    fn state(&self, name: &str) -> SourceState {
        self.counters.sources().remove(name).unwrap_or_default()
    }

    /// Waits until a source's state is so.
    async fn until(
        &self,
        name: &str,
        what: &str,
        is: impl Fn(&SourceState) -> bool,
    ) -> SourceState {
        let found = || Some(self.state(name)).filter(|state| is(state));
        eventually_async(&format!("{name}: {what}"), found).await
    }

    async fn receiving(&self, name: &str) -> SourceState {
        self.until(name, "receives", |s| s.connected && s.step == "receiving").await
    }

    /// The next message; its receipt is still open.
    async fn next(&mut self) -> Message {
        let next = tokio::time::timeout(PATIENCE, self.outlet.next()).await;
        next.expect("gave up waiting for a message").expect("the inlets are gone")
    }

    /// The next message's payload as text; it is stored.
    async fn take(&mut self) -> String {
        let message = self.next().await;
        let text = text(&message);
        message.receipt.complete(Outcome::Stored);
        text
    }

    /// Takes messages until all of these have come, in whatever order and however often.
    async fn take_all(&mut self, wanted: &BTreeSet<String>) {
        let mut come = BTreeSet::new();
        while !wanted.is_subset(&come) {
            come.insert(self.take().await);
        }
    }

    /// Waits until the last inlet is dropped; fails if another message comes first.
    async fn inlets_are_gone(&mut self) {
        let next = tokio::time::timeout(PATIENCE, self.outlet.next()).await;
        assert!(next.expect("gave up waiting for the inlets to go").is_none());
    }

    /// Ends the bridge as the hub does, with a pipeline that stores what is left.
    async fn end(mut self) {
        let soon = Instant::now() + PATIENCE;
        assert_eq!(self.bridge.quiesce(soon).await, 0, "everything found room");
        let rest = async {
            while let Some(message) = self.outlet.next().await {
                message.receipt.complete(Outcome::Stored);
            }
        };
        tokio::time::timeout(PATIENCE, rest).await.expect("gave up waiting for the inlets to go");
        assert!(self.bridge.stop(soon).await, "the sources left in time");
    }
}

fn text(message: &Message) -> String {
    String::from_utf8(message.payload.to_vec()).unwrap()
}

fn numbered(prefix: &str, count: u32) -> BTreeSet<String> {
    (0..count).map(|n| format!("{prefix} {n}")).collect()
}
