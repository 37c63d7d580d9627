//! Other brokers: `source` takes their traffic in, `uplink` passes ours on.
//!
//! Each source is a task of its own under a supervisor: it dials for itself, waits for itself, fails
//! for itself. One that is down holds up neither another nor the start, and a panic in one is caught,
//! counted and followed by a new start.
//!
//! # The end, in two phases
//! 1. [`Bridge::quiesce`]: nothing new is taken in. What waits in the side buffers goes into the queue
//!    while there is room and time; then every inlet is dropped, so that the pipeline can end. The
//!    connections stay, and acknowledge what is committed meanwhile.
//! 2. [`Bridge::stop`]: each source ends as soon as nothing of its connection can be acknowledged any
//!    more, with a DISCONNECT behind the last acknowledgement; those that have not ended in time are
//!    cut off. What is not acknowledged comes again from a broker that keeps our session.

mod acks;
mod backoff;
mod client_id;
mod failure;
mod handshake;
mod intake;
mod link;
mod login;
mod random;
mod side_buffer;
mod source;
mod spool;
mod stall;
mod supervisor;
mod tls;
mod uplink;

pub use random::Random;
pub use uplink::{UplinkParts, Uplinks, start as start_uplinks};

use self::client_id::ClientIds;
use self::login::Credentials;
use self::source::{Plan, Source};
use self::supervisor::panicked;
use crate::clock::Clock;
use crate::config;
use crate::counters::Counters;
use crate::message::Inlet;
use crate::message::queue::Bounds;
use crate::supervise::supervise;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// What went wrong on a connection to a broker, in words for a person: `before` its CONNACK, or
/// after.
pub fn in_words(error: &rumqttc::ConnectionError, before: bool, patience: Duration) -> String {
    let at = if before { failure::Step::Connecting } else { failure::Step::Receiving };
    failure::Failure::of(error, at, patience).reason
}

/// What the bridge is given.
#[derive(Debug)]
pub struct Parts {
    /// Where messages go; every clone is dropped at the end of [`Bridge::quiesce`].
    pub inlet: Inlet,
    /// The wall clock of arrival times and states.
    pub clock: Clock,
    /// Where states and numbers go.
    pub counters: Arc<Counters>,
    /// When it is cancelled, the bridge takes nothing more in, as [`Bridge::quiesce`] does.
    pub shutdown: CancellationToken,
    /// Where the client ids are kept (`meshbox-clients.json`).
    pub data_dir: PathBuf,
    /// For jitter and new client ids.
    pub random: Random,
    /// Times and bounds.
    pub limits: Limits,
}

/// Times and bounds of a source. [`Limits::default`] is what the hub runs with; tests shorten it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a SUBACK, and our own leaving, may take.
    pub patience: Duration,
    /// MQTT keep-alive, in whole seconds: a broker that does not answer is given up after one to two
    /// of them.
    pub keep_alive: Duration,
    /// The wait after a first failure; it doubles with each further one.
    pub backoff_first: Duration,
    /// The longest wait: a broker that is back is found within it.
    pub backoff_max: Duration,
    /// A connection that received for so long was a good one: after it, failures are counted anew.
    pub stable_after: Duration,
    /// What waits beside the full queue before the connection is let go.
    pub side_buffer: Bounds,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(10),
            keep_alive: Duration::from_secs(30),
            backoff_first: Duration::from_secs(1),
            backoff_max: Duration::from_secs(30),
            stable_after: Duration::from_secs(30),
            side_buffer: Bounds { messages: 1_000, bytes: 4 * 1024 * 1024 },
        }
    }
}

/// The two signals of the end.
#[derive(Clone, Debug)]
struct Phases {
    /// Take nothing more in.
    quiet: CancellationToken,
    /// Wait no longer for room in the queue.
    abandon: CancellationToken,
}

/// The running bridge. Dropping it cuts every source off; see the module's "The end" for better.
#[derive(Debug)]
pub struct Bridge {
    phases: Phases,
    tasks: JoinSet<()>,
    /// Each source reports once how many messages it could not hand over, then lets its end go.
    left_over: mpsc::Receiver<u64>,
}

/// Starts every source side by side and returns at once; must be called within a tokio runtime.
///
/// A broker that is down, a wrong password, a file of client ids that cannot be read: nothing stops
/// the start; the log and each source's state tell.
pub fn start(sources: &[config::Source], parts: Parts) -> Bridge {
    let Parts { inlet, clock, counters, shutdown, data_dir, random, limits } = parts;
    let phases = Phases { quiet: shutdown.child_token(), abandon: CancellationToken::new() };
    let names = sources.iter().map(|s| s.name.as_str());
    let clients = ClientIds::load(&data_dir, names, &random);
    for trouble in &clients.troubles {
        warn!("{trouble}");
    }
    let (report, left_over) = mpsc::channel(sources.len().max(1));
    let mut tasks = JoinSet::new();
    for settings in sources {
        // One login has one.
        let Some(credentials) = Credentials::of(&settings.login, &settings.remote).pop() else {
            continue;
        };
        let now = clock.now_ms();
        counters.source(&settings.name, |s| {
            s.broker = settings.remote.to_string();
            s.since_ms = now;
            s.away_since_ms = Some(now);
        });
        let plan = Plan {
            settings: Arc::new(settings.clone()),
            client_id: clients.of(&settings.name),
            credentials,
            limits,
            clock: clock.clone(),
            counters: Arc::clone(&counters),
            random: random.clone(),
            phases: phases.clone(),
            inlet: inlet.clone(),
            left_over: report.clone(),
        };
        let (quiet, panicked) = (phases.quiet.clone(), panicked(&plan));
        tasks.spawn(supervise(quiet, move || Source::new(plan.clone()).run(), panicked));
    }
    drop(inlet);
    Bridge { phases, tasks, left_over }
}

impl Bridge {
    /// The first phase of the end. Returns when every inlet is dropped, soon after `deadline` at the
    /// latest: how many messages found no room in the queue until then and are sent again by nobody
    /// (QoS 0, or the broker does not keep our session).
    pub async fn quiesce(&mut self, deadline: Instant) -> u64 {
        self.phases.quiet.cancel();
        let (phases, mut lost) = (&self.phases, 0);
        let mut late = std::pin::pin!(tokio::time::sleep_until(deadline.into()));
        loop {
            tokio::select! {
                report = self.left_over.recv() => match report {
                    Some(more) => lost += more,
                    None => return lost,
                },
                () = &mut late, if !phases.abandon.is_cancelled() => phases.abandon.cancel(),
            }
        }
    }

    /// The second phase of the end, once the pipeline has been told to end: returns when every source
    /// has acknowledged what was committed and has left, at the latest at `deadline`. Returns whether
    /// all of them left in time.
    pub async fn stop(mut self, deadline: Instant) -> bool {
        self.phases.quiet.cancel();
        self.phases.abandon.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let in_time = tokio::time::timeout_at(deadline.into(), all).await.is_ok();
        self.tasks.shutdown().await;
        in_time
    }
}
