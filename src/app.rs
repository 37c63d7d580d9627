//! The only file that knows every room: builds them in order, supervises them, stops them in
//! reverse.
//!
//! ```text
//! start:  data directory → writer → pipeline → broker → bridge, uplinks → control socket
//! stop:   bridge and broker take nothing more in → the pipeline drains → the writer commits and
//!         checkpoints → the connections acknowledge and close, the uplinks write what waits →
//!         control socket → data directory
//! ```

mod timekeeper;
mod watch;

use self::timekeeper::Timekeeper;
use self::watch::{LOOK_EVERY, Watch, Watched};
use crate::bridge::{self, Bridge, Uplinks};
use crate::broker::{self, Broker, Desk};
use crate::clock::{Clock, Trust};
use crate::config::{self, ChannelKey, Config, ContentHash, Ingest};
use crate::control::{self, Instance, Server, StatsFile};
use crate::counters::{Counters, Listening, QueueState, Snapshot};
use crate::crypto::channel::{Keyring, hashtag_key};
use crate::crypto::peer::NodeKey;
use crate::crypto::scope::Regions;
use crate::message::feed::{Feed, feed};
use crate::message::queue::{Bounds, Meter, queue};
use crate::packet::hash::Formula;
use crate::record::{Observers, Recorder, Rules, SourceRules};
use crate::store::{self, Unfinished, Writer};
use crate::{ingest, message::Inlet};

use anyhow::{Context, bail};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long a stop may take in all, in seconds; the writer gets most of it.
pub const STOP_WITHIN: Duration = Duration::from_secs(10);

/// What is left of [`STOP_WITHIN`] for the pipeline to run dry once nothing more is taken in.
const DRAIN: Duration = Duration::from_secs(4);

/// What is left of it for acknowledging and closing once the writer is done.
const FAREWELL: Duration = Duration::from_secs(1);

/// The part that the hub and `meshbox replay` share: queue, pipeline and writer.
#[derive(Debug)]
pub struct Pipeline {
    meter: Meter,
    thread: JoinHandle<()>,
    /// Fires when that thread has ended.
    ended: CancellationToken,
    writer: Writer,
    // Dropped last: nobody else may write while the writer is still there.
    _instance: Instance,
}

impl Pipeline {
    /// Takes the data directory, opens the database and starts the writer and the pipeline. It ends
    /// when every clone of the inlet is dropped. `feed` gets a copy of what is taken.
    ///
    /// # Errors
    /// When the data directory is taken, the database cannot be opened, or a key is none.
    pub fn start(
        config: &Config,
        clock: &Clock,
        trust: &Trust,
        counters: &Arc<Counters>,
        feed: Option<Feed>,
    ) -> anyhow::Result<(Inlet, Self)> {
        let mut recorder = Recorder::new(rules(config)?);
        let instance = Instance::take(control::data_dir(&config.db_path))?;
        introduce(&mut recorder, &config.db_path);
        let options = store::Options {
            path: config.db_path.clone(),
            commit_interval: config.commit_interval,
            sample_interval: config.sample_interval,
            retention: config.retention.clone(),
            observer_blacklist: config.filters.observer_blacklist.clone(),
            wal_max_bytes: config.wal_max_bytes,
            trust: trust.clone(),
        };
        let (sink, writer) = store::start(options, clock.clone(), Arc::clone(counters))?;
        let Ingest { messages, bytes } = config.ingest;
        let (inlet, outlet) = queue(Bounds { messages, bytes });
        let meter = inlet.meter();
        let ended = CancellationToken::new();
        let counters = Arc::clone(counters);
        let thread =
            ingest::start(outlet, recorder, sink, feed, trust.clone(), counters, ended.clone())
                .context("cannot start the pipeline's thread")?;
        Ok((inlet, Self { meter, thread, ended, writer, _instance: instance }))
    }

    /// Waits until everything that was received is committed and the database is closed. Every inlet
    /// must be dropped before. `held` tells how many messages wait for room in the queue that nobody
    /// will send again.
    ///
    /// # Errors
    /// [`Unfinished`] at the deadline, with all that was received and not committed.
    pub fn finish(self, deadline: Instant, held: impl FnOnce() -> u64) -> Result<(), Unfinished> {
        let meter = self.meter;
        let count = || (held(), meter.depth().messages as u64, meter.awaited() as u64);
        let finished = self.writer.finish_or(deadline, count);
        if let Err((_, (held, queued, unacknowledged))) = finished {
            let records = queued + held;
            let lost = records.saturating_sub(unacknowledged);
            return Err(Unfinished { records, unacknowledged, lost });
        }
        // The writer ends after the pipeline has dropped its sink, so this does not wait; a panic
        // of the thread has been logged by the panic hook.
        let _ = self.thread.join();
        Ok(())
    }
}

/// What the configuration means for the record room.
fn rules(config: &Config) -> anyhow::Result<Rules> {
    let keys = config.channel_keys.iter().map(|key| match key {
        ChannelKey::Hashtag(name) => (name.clone(), hashtag_key(name).to_vec()),
        ChannelKey::Given(name, bytes) => (name.clone(), bytes.clone()),
    });
    let sources = config.sources.iter().map(|source| {
        let rules =
            SourceRules { iata_filter: source.iata_filter.clone(), region: source.region.clone() };
        (Arc::from(source.name.as_str()), rules)
    });
    let filters = &config.filters;
    Ok(Rules {
        keyring: Keyring::new(keys)?,
        node_keys: node_keys(&config.node_keys)?,
        regions: Regions::new(config.hash_regions.iter().cloned()),
        formula: match config.content_hash {
            ContentHash::Firmware => Formula::Firmware,
            ContentHash::CoreScope202604 => Formula::CoreScope202604,
        },
        validate_signatures: config.validate_signatures,
        home: filters.home.clone(),
        observers: Observers::new(&filters.observer_blacklist, &filters.observer_regions),
        sources: sources.collect(),
    })
}

/// How many nodes of the database are known from the start, where it matters to know any.
const INTRODUCED: u32 = 4_096;

/// Tells the recorder of the nodes that were heard before, so that after a restart packets between
/// them and ours are opened at once. Without them it knows each again when it is heard.
fn introduce(recorder: &mut Recorder, db_path: &Path) {
    if !recorder.opens_peer_packets() {
        return;
    }
    match store::known_nodes(db_path, INTRODUCED) {
        Ok(nodes) => nodes.iter().for_each(|node| recorder.hear(node)),
        Err(error) => tracing::warn!(
            "the nodes of {} cannot be read ({error}); packets of nodeKeys open once their other \
             end is heard",
            db_path.display()
        ),
    }
}

/// The keys of nodes, ready for use.
///
/// # Errors
/// A file whose public key is not the one that follows from its private key.
pub fn node_keys(keys: &[config::NodeKey]) -> anyhow::Result<Vec<NodeKey>> {
    let ready = |key: &config::NodeKey| {
        let ready = NodeKey::from_expanded(key.private.reveal());
        match key.public {
            Some(public) if public != *ready.public_key() => bail!(
                "{}: public_key is not that of private_key, which is {}; export the node again",
                key.file.display(),
                hex::encode(ready.public_key())
            ),
            _ => Ok(ready),
        }
    };
    keys.iter().map(ready).collect()
}

/// The keys with which sources and uplinks make tokens.
///
/// # Errors
/// As [`node_keys`].
pub fn login_keys(config: &Config) -> anyhow::Result<Vec<NodeKey>> {
    let sources = config.sources.iter().map(|source| &source.login);
    let logins = sources.chain(config.uplinks.iter().map(|uplink| &uplink.login));
    let keys = logins.map(|login| match login {
        config::Login::Account { .. } => Ok(Vec::new()),
        config::Login::Token { keys, .. } => node_keys(keys),
    });
    Ok(keys.collect::<anyhow::Result<Vec<_>>>()?.concat())
}

/// A running hub.
pub struct Hub {
    counters: Arc<Counters>,
    health: control::server::Health,
    pipeline: Pipeline,
    broker: Broker,
    bridge: Bridge,
    uplinks: Option<Uplinks>,
    control: Server,
    stats: Option<StatsFile>,
    watch: Watch,
    timekeeper: Timekeeper,
}

impl Hub {
    /// Builds every room and returns when all of them work.
    ///
    /// # Errors
    /// The first thing that cannot work, in one line; what was started before it is stopped again.
    pub async fn start(config: &Config, clock: Clock) -> anyhow::Result<Self> {
        login_keys(config)?;
        let counters = Arc::new(Counters::default());
        let trust = Trust::judge(clock.clone());
        let (feed, fed) = (!config.uplinks.is_empty()).then(feed).unzip();
        let presence_feed = feed.as_ref().map(Feed::downgrade);
        let (inlet, pipeline) = Pipeline::start(config, &clock, &trust, &counters, feed)?;
        let timekeeper = Timekeeper::start(trust.clone(), Arc::clone(&counters), clock.clone());
        let shutdown = CancellationToken::new();
        let broker = broker::start(
            &config.broker,
            broker::Parts {
                inlet: inlet.clone(),
                clock: clock.clone(),
                counters: Arc::clone(&counters),
                state_file: Some(control::data_dir(&config.db_path).join(broker::STATE_FILE)),
                clock_trusted: Arc::new({
                    let trust = trust.clone();
                    move || trust.now_ms().is_ok()
                }),
                shutdown: shutdown.child_token(),
            },
        )
        .await?;
        let desk = broker.desk();
        let look = (timekeeper.look(), desk.clone());
        let health = health(&counters, pipeline.meter.clone(), clock.clone(), look);
        if let Some(feed) = presence_feed {
            broker.presence().tell(feed);
        }
        let bridge = bridge::start(
            &config.sources,
            bridge::Parts {
                inlet,
                clock: clock.clone(),
                counters: Arc::clone(&counters),
                data_dir: control::data_dir(&config.db_path).to_owned(),
                shutdown: shutdown.child_token(),
                random: bridge::Random::system(),
                limits: bridge::Limits::default(),
            },
        );
        let uplinks = fed.map(|fed| {
            let parts = bridge::UplinkParts {
                fed,
                trust: trust.clone(),
                counters: Arc::clone(&counters),
                data_dir: control::data_dir(&config.db_path).to_owned(),
                random: bridge::Random::system(),
                limits: bridge::Limits::default(),
            };
            bridge::start_uplinks(&config.uplinks, &config.sources, parts)
        });
        let control = Server::start(
            &config.db_path,
            control::server::Parts {
                health: Arc::clone(&health),
                clients: guests(desk.clone(), clock.clone()),
                claims: claims(desk),
                counters: Arc::clone(&counters),
                clock: clock.clone(),
            },
        )?;
        let stats = config.stats_file.clone();
        let stats = stats.map(|path| StatsFile::start(path, Arc::clone(&counters), clock.clone()));
        let (pulse, meter) = (pipeline.writer.pulse(), pipeline.meter.clone());
        let watch = Watch::begin(Watched {
            age: move || pulse.age(),
            queue: move || (meter.depth().messages, meter.given_back()),
            commit_interval: config.commit_interval,
            ended: pipeline.ended.clone(),
            every: LOOK_EVERY,
            counters: Arc::clone(&counters),
            clock,
        });
        Ok(Self {
            counters,
            health,
            pipeline,
            broker,
            bridge,
            uplinks,
            control,
            stats,
            watch,
            timekeeper,
        })
    }

    /// What listens where, with real ports.
    pub fn listening(&self) -> &[Listening] {
        self.broker.listening()
    }

    /// Every number.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// The health snapshot of this moment.
    pub fn health(&self) -> Snapshot {
        (self.health)()
    }

    /// Waits until a part has ended, or stands still, without which nothing is stored any more; what
    /// it is. Only another process can help then.
    pub async fn broken(&self) -> String {
        self.watch.broken().await
    }

    /// Stops accepting, drains, commits, checkpoints, acknowledges and closes.
    ///
    /// # Errors
    /// [`Unfinished`] when the database did not take everything by the deadline.
    pub async fn stop(mut self, deadline: Instant) -> Result<(), Unfinished> {
        self.pipeline.writer.hurry();
        let before = |left| deadline.checked_sub(left).unwrap_or(deadline);
        let quiet = before(DRAIN + FAREWELL);
        let (mut left_over, _) = tokio::join!(
            self.bridge.quiesce(quiet),
            tokio::time::timeout_at(quiet.into(), self.broker.quiesce()),
        );
        let pipeline = self.pipeline;
        let stored = before(FAREWELL);
        let counters = Arc::clone(&self.counters);
        let held = move || counters.broker_held.get();
        let finished = tokio::task::spawn_blocking(move || pipeline.finish(stored, held)).await;
        let finished = finished.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
        let uplinks = async {
            if let Some(uplinks) = self.uplinks {
                uplinks.stop(deadline).await;
            }
        };
        tokio::join!(self.bridge.stop(deadline), self.broker.stop(deadline), uplinks);
        if finished.is_ok() {
            // What found no room until the end.
            left_over += self.counters.broker_held.get();
        }
        if let Some(stats) = self.stats {
            stats.stop().await;
        }
        self.control.stop().await;
        drop((self.watch, self.timekeeper));
        match (finished, left_over) {
            (Ok(()), 0) => Ok(()),
            (Ok(()), lost) => Err(Unfinished { records: lost, unacknowledged: 0, lost }),
            (Err(mut unfinished), more) => {
                unfinished.records += more;
                unfinished.lost += more;
                Err(unfinished)
            }
        }
    }
}

/// The snapshot maker that the control socket and the page share.
fn health(
    counters: &Arc<Counters>,
    meter: Meter,
    clock: Clock,
    (look_at_clock, desk): (impl Fn() + Send + Sync + 'static, Desk),
) -> control::server::Health {
    let counters = Arc::clone(counters);
    let started_at_ms = clock.now_ms();
    Arc::new(move || {
        look_at_clock();
        let depth = meter.depth();
        counters.queue_messages.set(depth.messages as u64);
        counters.queue_bytes.set(depth.bytes as u64);
        let mut snapshot = counters.snapshot(started_at_ms, clock.now_ms());
        snapshot.queues = desk.queues().into_iter().filter(QueueState::is_news).collect();
        snapshot
    })
}

/// What the control socket tells of the broker's clients.
fn guests(desk: Desk, clock: Clock) -> control::server::Guests {
    Arc::new(move || desk.clients(clock.now_ms()))
}

/// What the control socket tells of claims, and does about them.
fn claims(desk: Desk) -> control::server::Claims {
    let theirs = desk.clone();
    control::server::Claims {
        list: Arc::new(move || desk.claims().map_err(|error| error.to_string())),
        release: Arc::new(move |key| {
            let desk = theirs.clone();
            Box::pin(async move { desk.release(&key).await.map_err(|error| error.to_string()) })
        }),
    }
}

/// Tells systemd, where there is one.
pub fn tell_systemd(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!("systemd was not told: {error}");
    }
}
