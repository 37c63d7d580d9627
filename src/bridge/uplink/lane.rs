//! One login at another broker: dials, publishes what the spool has, dials again.
//!
//! Messages go out in order at QoS 1, at most [`WINDOW`] of them unacknowledged. The spool forgets
//! one once it is acknowledged; what is under way when a connection ends goes out again on the next.
//! After such an end they go one by one, so that a message that makes the broker hang up is found.

use super::super::backoff::Backoff;
use super::super::failure::{Failure, PATTERN, Series, Step, is_hang_up};
use super::super::link::{Polled, Poller, address};
use super::super::login::Credentials;
use super::super::spool::{Ended as SpoolEnded, Entry, Lane as Spooled};
use super::super::{Limits, Random};
use super::rate::Rate;
use crate::clock::Clock;
use crate::config::Uplink;
use crate::counters::{Counters, UplinkState};

use rumqttc::{AsyncClient, MqttOptions, Packet, QoS};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Messages under way at once.
const WINDOW: usize = 20;

/// Messages that are read from the spool at once.
const READ: usize = 64;

/// Requests that wait for the poller: the window, and a DISCONNECT.
const REQUESTS: usize = WINDOW + 8;

/// A message that was alone under way so often when the broker hung up is set aside.
const STRIKES: u32 = 3;

/// How often the spool is looked at without being told to: after an error of its file.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long we wait at the end for what is under way.
const FAREWELL: Duration = Duration::from_millis(1_500);

/// What a lane is made of; kept by its supervisor, to make it again.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) name: Arc<str>,
    pub(super) settings: Arc<Uplink>,
    pub(super) credentials: Credentials,
    pub(super) spool: Spooled,
    pub(super) wake: Arc<Notify>,
    pub(super) limits: Limits,
    pub(super) clock: Clock,
    pub(super) counters: Arc<Counters>,
    pub(super) random: Random,
    pub(super) quiet: CancellationToken,
}

/// A lane at work.
#[derive(Debug)]
pub(super) struct Lane {
    plan: Plan,
    broker: String,
    client_id: String,
    backoff: Backoff,
    series: Series,
    rate: Rate,
    /// So many messages go one by one.
    careful: usize,
    /// The message that was alone under way at the last hang-up, and how often.
    suspect: (u64, u32),
}

/// One connection.
struct Connection {
    client: AsyncClient,
    poller: Poller,
    connected: bool,
    /// Read from the spool, not yet given to the client.
    ready: VecDeque<Entry>,
    /// The last number that was read.
    after: u64,
    /// Given to the client, without a packet id yet.
    asked: VecDeque<u64>,
    /// By packet id.
    under_way: HashMap<u16, u64>,
    /// The spool had nothing more.
    idle: bool,
    /// When the rate allows the next one.
    slow: Option<Instant>,
    /// Nothing new goes out; until then.
    leaving: Option<Instant>,
    said_goodbye: bool,
}

/// Why a connection is over.
enum Ended {
    /// We left it, as we meant to.
    Left,
    /// It broke; whether the broker hung up.
    Broken(Failure, bool),
}

impl From<SpoolEnded> for Ended {
    fn from(_: SpoolEnded) -> Self {
        Self::Broken(Failure::new(Step::Receiving, "the spool has ended"), false)
    }
}

impl Connection {
    fn in_flight(&self) -> usize {
        self.asked.len() + self.under_way.len()
    }
}

impl Lane {
    /// A lane that has not dialled yet.
    pub(super) fn new(plan: Plan) -> Self {
        let now = plan.clock.now_ms();
        let broker = plan.settings.remote.to_string();
        plan.counters.uplink(&plan.name, |state| {
            state.broker.clone_from(&broker);
            state.since_ms = now;
            state.connected = false;
        });
        Self {
            broker,
            client_id: format!("meshbox{:016x}", plan.random.number()),
            backoff: Backoff::new(plan.limits.backoff_first, plan.limits.backoff_max),
            series: Series::default(),
            rate: Rate::new(plan.settings.rate, Instant::now().into_std()),
            careful: 0,
            suspect: (0, 0),
            plan,
        }
    }

    /// Runs until it is told to be quiet.
    pub(super) async fn run(mut self) {
        while !self.plan.quiet.is_cancelled() {
            let mut connection = self.dial();
            let began = Instant::now();
            let ended = self.serve(&mut connection).await;
            self.hung_up(&connection, &ended, began).await;
            let wait = match ended {
                Ended::Left => continue,
                Ended::Broken(failure, _) => self.judge(&failure),
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.plan.quiet.cancelled() => {}
            }
        }
    }

    fn dial(&mut self) -> Connection {
        self.plan.counters.bridge_attempts.increment();
        self.state(|state| state.attempts += 1);
        let (client, mut event_loop) = AsyncClient::new(self.options(), REQUESTS);
        let patience = self.plan.limits.patience.as_secs().max(1);
        event_loop.network_options.set_connection_timeout(patience);
        Connection {
            client,
            poller: Poller::start(event_loop, self.plan.settings.remote.clone()),
            connected: false,
            ready: VecDeque::new(),
            after: 0,
            asked: VecDeque::new(),
            under_way: HashMap::new(),
            idle: false,
            slow: None,
            leaving: None,
            said_goodbye: false,
        }
    }

    fn options(&self) -> MqttOptions {
        let settings = &self.plan.settings;
        let remote = &settings.remote;
        let mut options = MqttOptions::new(&self.client_id, address(remote), remote.port);
        options
            .set_keep_alive(settings.keep_alive)
            .set_clean_session(true)
            .set_inflight(1_000)
            .set_max_packet_size(1 << 20, 1 << 20);
        self.plan.credentials.put(&mut options, self.plan.clock.now_ms());
        options
    }

    async fn serve(&mut self, link: &mut Connection) -> Ended {
        let renewal = self.plan.credentials.renewal().map(|after| Instant::now() + after);
        loop {
            if let Err(ended) = self.fill(link).await {
                return ended;
            }
            if link.leaving.is_some() && link.in_flight() == 0 && !link.said_goodbye {
                link.said_goodbye = true;
                if !link.connected || link.client.try_disconnect().is_err() {
                    return Ended::Left;
                }
            }
            let look = link.idle.then(|| Instant::now() + LOOK_EVERY);
            tokio::select! {
                polled = link.poller.next() => {
                    if let Some(ended) = self.on_polled(link, polled).await {
                        return ended;
                    }
                }
                () = self.plan.wake.notified(), if link.idle => link.idle = false,
                () = at(look) => link.idle = false,
                () = at(link.slow) => link.slow = None,
                () = at(link.leaving) => return Ended::Left,
                () = at(renewal), if link.leaving.is_none() => leave(link),
                () = self.plan.quiet.cancelled(), if link.leaving.is_none() => leave(link),
            }
        }
    }

    /// Hands to the client what the window and the rate allow.
    async fn fill(&mut self, link: &mut Connection) -> Result<(), Ended> {
        let window = if self.careful > 0 { 1 } else { WINDOW };
        while link.connected
            && link.leaving.is_none()
            && !link.idle
            && link.slow.is_none()
            && link.in_flight() < window
        {
            if link.ready.is_empty() {
                link.ready = self.plan.spool.next(link.after, READ).await?.into();
            }
            if link.ready.is_empty() {
                link.idle = true;
                return Ok(());
            }
            if let Err(at) = self.rate.take(Instant::now().into_std()) {
                link.slow = Some(at.into());
                return Ok(());
            }
            let Some(entry) = link.ready.pop_front() else { return Ok(()) };
            link.after = entry.number;
            let payload = entry.payload.to_vec();
            let asked =
                link.client.try_publish(entry.topic, QoS::AtLeastOnce, entry.retain, payload);
            if let Err(error) = asked {
                let failure = Failure::new(Step::Receiving, error.to_string());
                return Err(Ended::Broken(failure, false));
            }
            link.asked.push_back(entry.number);
        }
        Ok(())
    }

    async fn on_polled(&mut self, link: &mut Connection, polled: Option<Polled>) -> Option<Ended> {
        let step = if link.connected { Step::Receiving } else { Step::Connecting };
        match polled {
            Some(Polled::Packet(Packet::ConnAck(_))) => self.connected(link),
            Some(Polled::Packet(Packet::PubAck(ack))) => {
                if let Some(number) = link.under_way.remove(&ack.pkid) {
                    return self.acknowledged(number).await.err().map(Ended::from);
                }
            }
            Some(Polled::Published(id)) => {
                if let Some(number) = link.asked.pop_front() {
                    link.under_way.insert(id, number);
                }
            }
            Some(Polled::Packet(_)) => {}
            Some(Polled::SaidGoodbye) => return Some(Ended::Left),
            Some(Polled::Unready(reason)) => {
                return Some(Ended::Broken(Failure::new(Step::Tls, reason), false));
            }
            Some(Polled::Broken(_)) if link.said_goodbye => return Some(Ended::Left),
            Some(Polled::Broken(error)) => {
                let failure = Failure::of(&error, step, self.plan.limits.patience);
                return Some(Ended::Broken(failure, is_hang_up(&error)));
            }
            None => return Some(Ended::Broken(Failure::panicked(step), false)),
        }
        None
    }

    fn connected(&mut self, link: &mut Connection) {
        link.connected = true;
        let now = self.plan.clock.now_ms();
        tracing::info!("uplink {}: connected to {}", self.plan.name, self.broker);
        self.state(|state| {
            state.connected = true;
            state.since_ms = now;
            state.last_error.clear();
        });
    }

    async fn acknowledged(&mut self, number: u64) -> Result<(), SpoolEnded> {
        self.plan.spool.done(vec![number]).await?;
        self.careful = self.careful.saturating_sub(1);
        let now = self.plan.clock.now_ms();
        self.state(|state| {
            state.sent += 1;
            state.last_sent_ms = Some(now);
        });
        Ok(())
    }

    /// The connection is over: what is to be learnt from what was under way?
    async fn hung_up(&mut self, link: &Connection, ended: &Ended, began: Instant) {
        if link.connected {
            let now = self.plan.clock.now_ms();
            self.state(|state| {
                state.connected = false;
                state.since_ms = now;
            });
            if began.elapsed() >= self.plan.limits.stable_after {
                self.backoff.reset();
                self.series.reset();
            }
        }
        let Ended::Broken(_, by_the_broker) = ended else { return };
        if link.in_flight() > 0 {
            self.careful = self.careful.max(link.in_flight());
        }
        let alone: Vec<u64> = link.under_way.values().copied().collect();
        let ([number], true, true) = (&alone[..], *by_the_broker, link.asked.is_empty()) else {
            return;
        };
        let strikes = if self.suspect.0 == *number { self.suspect.1 + 1 } else { 1 };
        self.suspect = (*number, strikes);
        if strikes >= STRIKES {
            self.set_aside(*number).await;
        }
    }

    async fn set_aside(&mut self, number: u64) {
        let reason = format!("the broker hung up on it {STRIKES} times");
        self.plan.counters.reasons.note("uplink_set_aside", self.plan.clock.now_ms());
        tracing::warn!(
            "uplink {}: {} hung up {STRIKES} times on message {number}; it is set aside in the \
             spool and not sent again",
            self.plan.name,
            self.broker
        );
        self.careful = self.careful.saturating_sub(1);
        // A spool that has ended is seen by whoever asks next.
        let _ = self.plan.spool.set_aside(number, reason).await;
    }

    /// Notes a failure, says it, and returns how long to wait.
    fn judge(&mut self, failure: &Failure) -> Duration {
        self.series.note(failure);
        let wait = self.backoff.wait(self.plan.random.number());
        let mut words = format!("{}: {}", failure.step.as_str(), failure.reason);
        if self.series.is_pattern() {
            words = format!("{words} ({PATTERN} times or more in a row)");
        }
        let seconds = wait.as_secs_f32();
        let (name, broker) = (&self.plan.name, &self.broker);
        tracing::warn!("uplink {name}: {broker}: {words}; next attempt in {seconds:.1} s");
        self.state(|state| state.last_error = words);
        wait
    }

    fn state(&self, change: impl FnOnce(&mut UplinkState)) {
        self.plan.counters.uplink(&self.plan.name, change);
    }
}

/// Begins to leave: what is under way has a moment to be acknowledged.
fn leave(link: &mut Connection) {
    link.leaving = Some(Instant::now() + FAREWELL);
}

/// Waits until then; for ever without a time.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
