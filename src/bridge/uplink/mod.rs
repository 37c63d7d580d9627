//! What our gateways publish, passed on to other brokers.
//!
//! ```text
//! pipeline ──feed──> chooser ──> spool's lanes ──> a connection each ──> broker
//!                                     ^                │
//!                                     └─── done <──────┘ PUBACK
//! ```
//!
//! | file | what it does |
//! |---|---|
//! | `choose` | judges each message for each uplink (pure); `recent`: against circles; `voices`: presence |
//! | `lane` | one login: an account, or one observer with tokens of its own key |
//! | `connection`, `login`, `rate`, `suspect`, `advice` | what a lane knows of its connection, who it is, how fast it may be, what makes the broker hang up, what it says about it |
//!
//! Nothing here holds up the pipeline: a full feed loses copies, counted, and so does memory while the
//! spool's file cannot be written.

mod advice;
mod choose;
mod connection;
mod lane;
mod login;
mod rate;
mod recent;
mod suspect;
mod voices;

use self::choose::{Chooser, Stays, parts};
use self::lane::Lane;
use super::login::Credentials;
use super::spool::{Bounds, Entry, Keeper, Lane as Spooled, Plan};
use super::{Limits, Random};
use crate::clock::{Clock, Trust};
use crate::config;
use crate::counters::Counters;
use crate::message::{Fed, Heard};
use crate::supervise::{say, supervise};

use bytes::Bytes;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// The spool's file in the data directory.
const FILE: &str = "meshbox-spool.db";

/// How often the depth of the spool is put on the board.
const SHOW_EVERY: Duration = Duration::from_millis(500);

/// What the uplinks are given.
#[derive(Debug)]
pub struct UplinkParts {
    /// What is heard; its end is theirs.
    pub fed: Fed,
    /// The wall clock of tokens, ages and states, and whether it can be believed.
    pub trust: Trust,
    /// Where states and numbers go.
    pub counters: Arc<Counters>,
    /// Where the spool's file is.
    pub data_dir: PathBuf,
    /// For jitter and client ids.
    pub random: Random,
    /// Times and bounds.
    pub limits: Limits,
}

/// The running uplinks. Dropping it cuts them off; see [`Uplinks::stop`] for better.
#[derive(Debug)]
pub struct Uplinks {
    quiet: CancellationToken,
    chooser: Option<AbortOnDropHandle<()>>,
    lanes: JoinSet<()>,
    shown: Option<AbortOnDropHandle<()>>,
    keeper: Option<Arc<Keeper>>,
}

/// One uplink's way from the feed to the spool.
#[derive(Debug)]
struct Way {
    chooser: Arc<Chooser>,
    lanes: Vec<Spooled>,
    /// The lanes are an observer's each.
    own: bool,
}

/// Starts every uplink and returns at once; must be called within a tokio runtime. `sources` are
/// those that are taken in: what comes from an uplink's own broker does not go back there.
///
/// A spool that cannot be had is said, and nothing is passed on; the hub goes on.
pub fn start(
    uplinks: &[config::Uplink],
    sources: &[config::Source],
    parts: UplinkParts,
) -> Uplinks {
    let mut started = Uplinks {
        quiet: CancellationToken::new(),
        chooser: None,
        lanes: JoinSet::new(),
        shown: None,
        keeper: None,
    };
    let UplinkParts { fed, trust, counters, data_dir, random, limits } = parts;
    let lost = fed.lost();
    let logins: Vec<Vec<(String, Credentials)>> = uplinks.iter().map(logins).collect();
    let named = uplinks.iter().zip(&logins).flat_map(|(uplink, logins)| {
        let bounds = Bounds { bytes: uplink.spool_bytes, age: uplink.spool_age };
        logins.iter().map(move |(name, _)| (name.clone(), bounds))
    });
    let plan = Plan { path: data_dir.join(FILE), lanes: named.collect() };
    let names: Vec<String> = plan.lanes.iter().map(|(name, _)| name.clone()).collect();
    let (keeper, spooled) = match Keeper::start(plan, trust.clone()) {
        Ok(started) => started,
        Err(error) => {
            tracing::error!("nothing is passed on: {error}");
            for name in names {
                counters.uplink(&name, |state| state.last_error = error.to_string());
            }
            return started;
        }
    };
    let mut spooled = spooled.into_iter();
    let mut ways = Vec::new();
    for (uplink, logins) in uplinks.iter().zip(logins) {
        let settings = Arc::new(uplink.clone());
        let keys = keys(&logins);
        let own = keys.is_some();
        let chooser = Arc::new(Chooser::new(Arc::clone(&settings), echoes(uplink, sources), keys));
        let mut lanes = Vec::new();
        for (place, ((name, credentials), spool)) in
            logins.into_iter().zip(&mut spooled).enumerate()
        {
            lanes.push(spool.clone());
            let observer = observer(&settings, &credentials);
            if let Some((key, region)) = observer.as_ref().zip(spool.region()) {
                chooser.voices().recall(key, region);
            }
            let plan = lane::Plan {
                name: name.into(),
                place,
                settings: Arc::clone(&settings),
                credentials,
                observer,
                chooser: Arc::clone(&chooser),
                spool,
                limits,
                trust: trust.clone(),
                counters: Arc::clone(&counters),
                random: random.clone(),
                quiet: started.quiet.clone(),
            };
            let panicked = say("an uplink", Arc::clone(&counters), trust.clock());
            let make = move || Lane::new(plan.clone()).run();
            started.lanes.spawn(supervise(started.quiet.clone(), make, panicked));
        }
        ways.push(Way { chooser, lanes, own });
    }
    let keeper = Arc::new(keeper);
    started.chooser = Some(spread(fed, ways, &counters, trust.clock()));
    started.shown = Some(show(&keeper, names, &counters, lost));
    started.keeper = Some(keeper);
    started
}

/// The only observer that a login speaks for.
fn observer(settings: &config::Uplink, credentials: &Credentials) -> Option<String> {
    credentials.observer().or_else(|| match &settings.observers[..] {
        [only] => Some(only.clone()),
        _ => None,
    })
}

/// The names and credentials of an uplink's logins.
fn logins(uplink: &config::Uplink) -> Vec<(String, Credentials)> {
    let named = |credentials: Credentials| {
        let observer = credentials.observer().map(|key| format!("/{key}")).unwrap_or_default();
        (format!("{}{observer}", uplink.name), credentials)
    };
    Credentials::of(&uplink.login, &uplink.remote).into_iter().map(named).collect()
}

/// The observers that have a login of their own, in the order of the logins.
fn keys(logins: &[(String, Credentials)]) -> Option<Vec<String>> {
    logins.iter().map(|(_, credentials)| credentials.observer()).collect()
}

/// The sources that are the uplink's own broker: its host, through the same port or another protocol.
fn echoes(uplink: &config::Uplink, sources: &[config::Source]) -> Vec<Arc<str>> {
    let host = |remote: &config::Remote| remote.host.trim_end_matches('.').to_ascii_lowercase();
    let same = |source: &&config::Source| {
        let (theirs, ours) = (&source.remote, &uplink.remote);
        host(theirs) == host(ours) && (theirs.port == ours.port || theirs.scheme != ours.scheme)
    };
    sources.iter().filter(same).map(|source| Arc::from(source.name.as_str())).collect()
}

/// From the feed to the lanes, until the feed ends.
fn spread(
    fed: Fed,
    ways: Vec<Way>,
    counters: &Arc<Counters>,
    clock: Clock,
) -> AbortOnDropHandle<()> {
    let panicked = say("the choice for uplinks", Arc::clone(counters), clock);
    let shared = Arc::new(Mutex::new((fed, ways)));
    let counters = Arc::clone(counters);
    let make = move || {
        let (shared, counters) = (Arc::clone(&shared), Arc::clone(&counters));
        async move {
            let mut shared = shared.lock().await;
            let (fed, ways) = &mut *shared;
            while let Some(heard) = fed.next().await {
                for way in &*ways {
                    way.take(&heard, &counters);
                }
            }
        }
    };
    AbortOnDropHandle::new(tokio::spawn(supervise(CancellationToken::new(), make, panicked)))
}

impl Way {
    fn take(&self, heard: &Heard, counters: &Counters) {
        let chosen = match self.chooser.choose(heard) {
            Ok(chosen) => chosen,
            Err(Stays::Filtered) => return,
            Err(Stays::Refused(reason)) => {
                counters.reasons.note(reason, heard.at_ms);
                return;
            }
        };
        for chosen in chosen {
            let Some(spool) = self.lanes.get(chosen.lane) else { continue };
            if let Some((region, ..)) = parts(&heard.topic).filter(|_| self.own) {
                spool.remember(region);
            }
            let entry = Entry {
                number: 0,
                topic: chosen.topic.into(),
                // A part of a larger buffer would keep all of that in memory.
                payload: Bytes::copy_from_slice(&chosen.payload),
                retain: chosen.retain,
                at_ms: heard.at_ms,
            };
            spool.append(entry, heard.at_ms);
        }
    }
}

/// Puts the depth of the spool on the board, again and again.
fn show(
    keeper: &Arc<Keeper>,
    names: Vec<String>,
    counters: &Arc<Counters>,
    lost: Arc<AtomicU64>,
) -> AbortOnDropHandle<()> {
    let (keeper, counters) = (Arc::clone(keeper), Arc::clone(counters));
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut tick = tokio::time::interval(SHOW_EVERY);
        loop {
            tick.tick().await;
            let lost = lost.load(Ordering::Relaxed);
            for (name, depth) in names.iter().zip(keeper.depths()) {
                counters.uplink(name, |state| {
                    state.waiting = depth.messages;
                    state.waiting_bytes = depth.bytes;
                    state.unwritten = depth.unwritten;
                    state.waiting_since_ms = depth.since_ms;
                    state.expired = depth.expired;
                    state.lost = depth.lost + lost;
                    state.set_aside = depth.set_aside;
                });
            }
        }
    }))
}

impl Uplinks {
    /// Takes what is left in the feed, which has to have ended, waits a moment for what is under way,
    /// writes the rest to the spool's file and leaves; at the latest at `deadline`. Returns whether
    /// all of it was in time.
    pub async fn stop(mut self, deadline: Instant) -> bool {
        let mut in_time = true;
        if let Some(chooser) = self.chooser.take() {
            in_time &= tokio::time::timeout_at(deadline.into(), chooser).await.is_ok();
        }
        self.quiet.cancel();
        let all = async { while self.lanes.join_next().await.is_some() {} };
        in_time &= tokio::time::timeout_at(deadline.into(), all).await.is_ok();
        self.lanes.shutdown().await;
        if let Some(shown) = self.shown.take() {
            shown.abort();
            let _ = shown.await;
        }
        if let Some(keeper) = self.keeper.take().and_then(Arc::into_inner) {
            // A disk that hangs must not keep the hub; what was written before stays.
            let joined = tokio::task::spawn_blocking(move || keeper.finish());
            in_time &= tokio::time::timeout_at(deadline.into(), joined).await.is_ok();
        }
        in_time
    }
}
