//! One login at another broker: dials, publishes what the spool has, dials again.
//!
//! Messages go out in order at QoS 1, at most [`suspect::WINDOW`] of them unacknowledged. The spool
//! forgets one once it is acknowledged; what is under way when a connection ends goes out again on the
//! next. After such an end they go one by one, so that a message that makes the broker hang up is
//! found.

use super::super::backoff::Backoff;
use super::super::failure::{Failure, Series, Step, is_hang_up};
use super::super::link::{Polled, Poller};
use super::super::login::Credentials;
use super::super::spool::Lane as Spooled;
use super::super::{Limits, Random};
use super::advice;
use super::choose::{Chooser, Chosen};
use super::connection::{Connection, Taken, WORD, answered, at};
use super::login::{self, Times};
use super::rate::Rate;
use super::suspect::{self, Suspect};
use super::voices::Word;
use crate::clock::{Doubt, Trust};
use crate::config::Uplink;
use crate::counters::{Counters, UplinkState};

use rumqttc::{AsyncClient, LastWill, Packet, QoS};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Messages that are read from the spool's file at once.
const READ: usize = 64;

/// Requests that wait for the poller: the window, and a DISCONNECT.
const REQUESTS: usize = suspect::WINDOW + 8;

/// How often the spool is looked at without being told to: after an error of its file.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often a clock that is not trusted is looked at again.
const CLOCK_EVERY: Duration = Duration::from_secs(1);

/// A message that waited for longer may be back before it is gone; see [`super::recent`].
const WAITED_MS: i64 = 60_000;

/// What a lane is made of; kept by its supervisor, to make it again.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) name: Arc<str>,
    /// Its place among the uplink's logins.
    pub(super) place: usize,
    pub(super) settings: Arc<Uplink>,
    pub(super) credentials: Credentials,
    /// The only observer that it speaks for, in upper case; `None` where there may be others.
    pub(super) observer: Option<String>,
    pub(super) chooser: Arc<Chooser>,
    pub(super) spool: Spooled,
    pub(super) limits: Limits,
    pub(super) trust: Trust,
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
    suspect: Suspect,
    times: Times,
    /// A will of ours may have been published.
    will_fired: bool,
}

/// Why a connection is over.
enum Ended {
    /// We left it, as we meant to.
    Left,
    /// It broke; whether the broker hung up.
    Broken(Failure, bool),
}

impl Lane {
    /// A lane that has not dialled yet.
    pub(super) fn new(plan: Plan) -> Self {
        let now = plan.trust.said_ms();
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
            suspect: Suspect::default(),
            times: Times::default(),
            will_fired: false,
            plan,
        }
    }

    /// Runs until it is told to be quiet.
    pub(super) async fn run(mut self) {
        while !self.plan.quiet.is_cancelled() {
            let wait = match self.times.doubt(&self.plan.credentials, &self.plan.trust) {
                Some(doubt) => self.wait_for_clock(doubt),
                None => {
                    let mut connection = self.dial();
                    let began = Instant::now();
                    let ended = self.serve(&mut connection).await;
                    self.hung_up(&connection, &ended, began);
                    match ended {
                        Ended::Left => continue,
                        Ended::Broken(failure, _) => self.judge(&failure),
                    }
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.plan.quiet.cancelled() => {}
            }
        }
    }

    fn wait_for_clock(&mut self, doubt: Doubt) -> Duration {
        let words = format!(
            "waits for this machine's clock, which is not trusted ({doubt}): a token with a wrong \
             time would be refused"
        );
        let now = self.plan.trust.said_ms();
        if self.plan.counters.reasons.note("uplink_waits_for_clock", now).is_some() {
            tracing::warn!("uplink {}: {words}", self.plan.name);
        }
        self.state(|state| state.last_error = words);
        CLOCK_EVERY
    }

    fn dial(&mut self) -> Connection {
        self.plan.counters.bridge_attempts.increment();
        self.state(|state| state.attempts += 1);
        let (settings, now_ms) = (&self.plan.settings, self.plan.trust.said_ms());
        let mut options = login::options(settings, &self.plan.credentials, &self.client_id, now_ms);
        let will = self.will(now_ms);
        let has_will = will.is_some();
        if let Some(Chosen { topic, payload, retain, .. }) = will {
            options.set_last_will(LastWill::new(topic, payload, QoS::AtLeastOnce, retain));
        }
        let (client, mut event_loop) = AsyncClient::new(options, REQUESTS);
        let patience = self.plan.limits.patience.as_secs().max(1);
        event_loop.network_options.set_connection_timeout(patience);
        let poller = Poller::start(event_loop, settings.remote.clone());
        Connection::new(client, poller, has_will)
    }

    /// What that broker is to say when we vanish: where this connection is one observer's own.
    fn will(&self, now_ms: i64) -> Option<Chosen> {
        let word = self.plan.chooser.voices().will(self.plan.observer.as_deref()?)?;
        self.plan.chooser.say(&word, now_ms)
    }

    async fn serve(&mut self, link: &mut Connection) -> Ended {
        let renewal = self.plan.credentials.renewal().map(|after| Instant::now() + after);
        let patience = self.plan.limits.patience * 2;
        loop {
            if let Err(ended) = self.fill(link) {
                return ended;
            }
            if link.has_left() && !link.say_goodbye() {
                return Ended::Left;
            }
            let look = link.idle.then(|| Instant::now() + LOOK_EVERY);
            let staying = link.leaving.is_none();
            let (overdue, slow, leaving) = (link.overdue(patience), link.slow, link.leaving);
            tokio::select! {
                polled = link.poller.next() => {
                    if let Some(ended) = self.on_polled(link, polled) {
                        return ended;
                    }
                }
                read = answered(&mut link.reading) => match read {
                    Ok(read) => link.read(read),
                    Err(_) => return broken(Step::Receiving, "the spool has ended"),
                },
                () = self.plan.spool.woken(), if link.idle => link.idle = false,
                () = at(look) => link.idle = false,
                () = at(slow) => link.slow = None,
                () = at(overdue), if staying => {
                    let seconds = patience.as_secs();
                    let words = format!("the broker acknowledged nothing for {seconds} s");
                    return broken(Step::Receiving, words);
                }
                () = at(leaving) => {
                    if link.said_goodbye || !link.say_goodbye() {
                        return Ended::Left;
                    }
                }
                () = at(renewal), if staying => link.leave(),
                () = self.plan.quiet.cancelled(), if staying => self.say_farewell(link),
            }
        }
    }

    /// Hands to the client what the window and the rate allow.
    fn fill(&mut self, link: &mut Connection) -> Result<(), Ended> {
        while link.may_send(self.suspect.window()) {
            match link.take(|after| self.plan.spool.next(after)) {
                Taken::Ready => {}
                Taken::Stored => {
                    link.reading = Some(self.plan.spool.read(link.after, READ));
                    return Ok(());
                }
                Taken::Nothing => return Ok(()),
            }
            let Some(entry) = link.ready.front() else { return Ok(()) };
            if entry.number != WORD {
                if let Err(at) = self.rate.take(Instant::now().into_std()) {
                    link.slow = Some(at.into());
                    return Ok(());
                }
                let now_ms = self.plan.trust.said_ms();
                if now_ms - entry.at_ms > WAITED_MS {
                    self.plan.chooser.waited(&entry.topic, &entry.payload, entry.at_ms, now_ms);
                }
            }
            if let Err(error) = link.send() {
                return Err(broken(Step::Receiving, error.to_string()));
            }
        }
        Ok(())
    }

    fn on_polled(&mut self, link: &mut Connection, polled: Option<Polled>) -> Option<Ended> {
        let step = if link.connected { Step::Receiving } else { Step::Connecting };
        match polled {
            Some(Polled::Packet(Packet::ConnAck(_))) => self.connected(link),
            Some(Polled::Packet(Packet::PubAck(ack))) => {
                if let Some(number) = link.acknowledged(ack.pkid) {
                    self.acknowledged(number);
                }
            }
            Some(Polled::Published(id)) => link.published(id),
            Some(Polled::Packet(_)) => {}
            Some(Polled::SaidGoodbye) => return Some(Ended::Left),
            Some(Polled::Unready(reason)) => return Some(broken(Step::Tls, reason)),
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
        let now = self.plan.trust.said_ms();
        tracing::info!("uplink {}: connected to {}", self.plan.name, self.broker);
        self.state(|state| {
            state.connected = true;
            state.since_ms = now;
            state.last_error.clear();
        });
        if std::mem::take(&mut self.will_fired) {
            let observer = self.plan.observer.as_deref();
            let greeting = observer.and_then(|key| self.plan.chooser.voices().greeting(key));
            self.say(link, greeting.into_iter());
        }
    }

    /// Says that those who were there are not, and leaves.
    fn say_farewell(&self, link: &mut Connection) {
        link.leave();
        if link.connected {
            let words = self.plan.chooser.voices().farewell();
            self.say(link, words.into_iter());
        }
    }

    fn say(&self, link: &mut Connection, words: impl DoubleEndedIterator<Item = Word>) {
        let now_ms = self.plan.trust.said_ms();
        let chosen = words.filter_map(|word| self.plan.chooser.say(&word, now_ms));
        link.say(chosen.filter(|it| it.lane == self.plan.place), now_ms);
    }

    fn acknowledged(&mut self, number: u64) {
        self.suspect.acknowledged();
        if number == WORD {
            return;
        }
        self.plan.spool.done(number);
        let now = self.plan.trust.said_ms();
        self.state(|state| {
            state.sent += 1;
            state.last_sent_ms = Some(now);
        });
    }

    /// The connection is over: what is to be learnt from what was under way?
    fn hung_up(&mut self, link: &Connection, ended: &Ended, began: Instant) {
        if link.connected {
            let now = self.plan.trust.said_ms();
            self.state(|state| {
                state.connected = false;
                state.since_ms = now;
            });
            if began.elapsed() >= self.plan.limits.stable_after {
                self.backoff.reset();
                self.series.reset();
            }
            self.will_fired |= link.has_will && !link.said_goodbye;
        }
        let Ended::Broken(_, by_the_broker) = ended else { return };
        let alone = link.alone().filter(|_| *by_the_broker);
        if let Some(number) = self.suspect.broke(link.in_flight(), alone) {
            self.set_aside(number);
        }
    }

    fn set_aside(&mut self, number: u64) {
        let strikes = suspect::STRIKES;
        let reason = format!("the broker hung up on it {strikes} times");
        self.plan.counters.reasons.note("uplink_set_aside", self.plan.trust.said_ms());
        tracing::warn!(
            "uplink {}: {} hung up {strikes} times on message {number}; it is set aside in the \
             spool and not sent again",
            self.plan.name,
            self.broker
        );
        self.plan.spool.set_aside(number, reason);
    }

    /// Notes a failure, says it, and returns how long to wait.
    fn judge(&mut self, failure: &Failure) -> Duration {
        self.series.note(failure);
        if failure.step == Step::Login {
            self.times.refused(&self.plan.trust);
        }
        let wait = self.backoff.wait(self.plan.random.number());
        let everything = self.suspect.is_innocent();
        let insists = self.series.is_pattern();
        let words = advice::words(failure, &self.plan.settings.login, insists, everything);
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

fn broken(step: Step, words: impl Into<String>) -> Ended {
    Ended::Broken(Failure::new(step, words), false)
}
