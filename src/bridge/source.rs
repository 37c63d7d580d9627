//! One external broker: dials, takes its messages in, acknowledges what is stored, dials again.
//!
//! ```text
//!  broker ──> poller ──events──> source ──> queue (or side buffer) ──> pipeline ──> commit
//!    ^          │                  │  ^                                               │
//!    └──────────┘<──requests───────┘  └──────────────── mailbox: completions <────────┘
//! ```
//!
//! The source waits for nothing but the next of: an event, a completion, room in the queue, a
//! deadline, the end. So the poller is never held up, and pings are answered while the queue is full.
//!
//! # Receipts
//! Each connection is a generation. A completion of an earlier one is dropped: its packet id means
//! another message now, and the broker sends the message again on the new connection.
//!
//! # When the queue is full
//! Messages wait in the side buffer. When that is full too, the connection is let go. First, for a
//! while, what was taken in is still acknowledged as it is stored, and what else comes is ignored:
//! the broker keeps it and sends it again. If the connection were cut off at once, a broker with a
//! large window could send the same messages on each connection, none of which would ever be
//! acknowledged. A message that the broker would not send again is still taken in, and ends the
//! waiting.
//!
//! What waits in the side buffer stays there, in order, and the broker is dialled again once all of it
//! has found room.

mod packets;
mod trouble;

use super::backoff::Backoff;
use super::failure::{Failure, Series, Step};
use super::intake::Intake;
use super::link::{Leaving, Link, Polled, Progress, is_valid_filter};
use super::login::Credentials;
use super::stall::Stall;
use super::{Limits, Phases, Random};
use crate::clock::Clock;
use crate::config::Source as Settings;
use crate::counters::{Counters, SourceState};
use crate::message::{Completion, Inlet};

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// What a source is made of; kept by its supervisor, to make it again.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) settings: Arc<Settings>,
    pub(super) client_id: Arc<str>,
    pub(super) credentials: Credentials,
    pub(super) limits: Limits,
    pub(super) clock: Clock,
    pub(super) counters: Arc<Counters>,
    pub(super) random: Random,
    pub(super) phases: Phases,
    pub(super) inlet: Inlet,
    pub(super) left_over: mpsc::Sender<u64>,
}

/// A source at work.
#[derive(Debug)]
pub(super) struct Source {
    settings: Arc<Settings>,
    client_id: Arc<str>,
    credentials: Credentials,
    limits: Limits,
    clock: Clock,
    counters: Arc<Counters>,
    random: Random,
    phases: Phases,
    name: Arc<str>,
    /// For people: the URL without credentials.
    broker: String,
    /// The topics that may be subscribed to, and those that may not.
    filters: Vec<String>,
    bad_filters: Vec<String>,
    intake: Intake,
    mailbox: mpsc::UnboundedSender<Completion>,
    inbox: mpsc::UnboundedReceiver<Completion>,
    generation: u64,
    attempt: u64,
    backoff: Backoff,
    series: Series,
    stall: Stall,
    /// The last connection that came as far as the login neither held nor brought anything: the next
    /// one has to show that it is better.
    shaky: bool,
    /// The next connection only makes the broker forget our session.
    discard: bool,
    /// Nothing new is taken in.
    quiet: bool,
}

/// What a source waits for.
#[derive(Debug)]
enum Happened {
    Polled(Option<Polled>),
    Completed(Completion),
    Drained,
    TimeUp,
    Silent,
    Renew,
    Steady,
    Quiet,
    Abandoned,
}

/// Why a connection is over.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// The source has nothing more to do.
    Finished,
    /// It is made anew at once: the broker has forgotten our session, or the token expires soon.
    Again,
    /// The queue and the side buffer are full.
    NoRoom,
    /// It broke, or was broken off.
    Broken(Failure),
}

impl Source {
    /// A source that has not dialled yet.
    #[expect(clippy::disallowed_methods, reason = "a mailbox holds one completion per receipt")]
    pub(super) fn new(plan: Plan) -> Self {
        let (mailbox, inbox) = mpsc::unbounded_channel();
        let topics = plan.settings.topics.iter().cloned();
        let (filters, bad_filters) = topics.partition(|topic| is_valid_filter(topic));
        let limits = plan.limits;
        Self {
            name: plan.settings.name.as_str().into(),
            broker: plan.settings.remote.to_string(),
            stall: Stall::new(plan.settings.stall),
            filters,
            bad_filters,
            intake: Intake::new(plan.inlet, plan.left_over, limits.side_buffer),
            mailbox,
            inbox,
            generation: 0,
            attempt: 0,
            backoff: Backoff::new(limits.backoff_first, limits.backoff_max),
            series: Series::default(),
            shaky: false,
            discard: false,
            quiet: false,
            credentials: plan.credentials,
            settings: plan.settings,
            client_id: plan.client_id,
            limits,
            clock: plan.clock,
            counters: plan.counters,
            random: plan.random,
            phases: plan.phases,
        }
    }

    /// Runs until the phases say that it is over, or the pipeline ends.
    pub(super) async fn run(mut self) {
        while self.wants_more() {
            match self.connection().await {
                Ended::Finished => break,
                Ended::Again => {}
                Ended::NoRoom => {
                    // A queue that is only just kept up with must not make us dial all the time. The
                    // broker is well, and longer waits would only draw out a backlog.
                    self.backoff.reset();
                    let wait = self.backoff.wait(self.random.number());
                    self.state(|s| s.step = "waiting".into());
                    self.rest(Some(wait)).await;
                    self.rest(None).await;
                }
                Ended::Broken(_) if !self.wants_more() => break,
                Ended::Broken(failure) => {
                    let wait = self.judge(&failure);
                    self.rest(Some(wait)).await;
                    if self.intake.is_full() {
                        self.rest(None).await;
                    }
                }
            }
        }
        if !self.phases.quiet.is_cancelled() {
            self.say_pipeline_ended();
        }
        self.hand_over().await;
        self.state(|s| s.step = "stopped".into());
    }

    fn wants_more(&self) -> bool {
        self.intake.is_open() && !self.phases.quiet.is_cancelled()
    }

    /// One connection, from the dial to its end.
    async fn connection(&mut self) -> Ended {
        self.generation += 1;
        self.counters.bridge_attempts.increment();
        let mut attempt = 0;
        self.state(|s| {
            s.attempts += 1;
            s.step = Step::Connecting.as_str().into();
            attempt = s.attempts;
        });
        self.attempt = attempt;
        let login = (&self.credentials, self.clock.now_ms());
        let mut link =
            Link::dial(&self.settings, &self.client_id, login, &self.limits, self.discard);
        loop {
            let happened = self.next(&mut link).await;
            let mut flow = self.handle(&mut link, happened);
            if flow.is_continue() {
                flow = self.settle(&mut link);
            }
            if let ControlFlow::Break(ended) = flow {
                self.hung_up(&link, &ended);
                return ended;
            }
        }
    }

    async fn next(&mut self, link: &mut Link) -> Happened {
        let (deadline, silent) = (link.deadline, self.stall.due());
        let (quiet, open) = (self.quiet, self.intake.is_open());
        let steady = link.up_since.filter(|_| self.shaky).map(|up| up + self.limits.stable_after);
        let renewal = link.renewal.filter(|_| link.progress == Progress::Receiving);
        tokio::select! {
            polled = link.next() => Happened::Polled(polled),
            Some(completion) = self.inbox.recv() => Happened::Completed(completion),
            () = self.intake.drain() => Happened::Drained,
            () = at(deadline) => Happened::TimeUp,
            () = at(silent), if deadline.is_none() => Happened::Silent,
            () = at(steady) => Happened::Steady,
            () = at(renewal), if !quiet => Happened::Renew,
            () = self.phases.quiet.cancelled(), if !quiet => Happened::Quiet,
            () = self.phases.abandon.cancelled(), if open => Happened::Abandoned,
        }
    }

    fn handle(&mut self, link: &mut Link, happened: Happened) -> ControlFlow<Ended> {
        match happened {
            Happened::Polled(Some(Polled::Packet(packet))) => return self.on_packet(link, packet),
            // A source publishes nothing.
            Happened::Polled(Some(Polled::Published(_))) => {}
            Happened::Polled(Some(Polled::SaidGoodbye)) => link.said_goodbye(),
            Happened::Polled(Some(Polled::Unready(reason))) => {
                return ControlFlow::Break(broken(link, Failure::new(Step::Tls, reason)));
            }
            Happened::Polled(Some(Polled::Broken(error))) => {
                let failure = Failure::of(&error, link.step(), self.settings.connect_timeout);
                return ControlFlow::Break(broken(link, failure));
            }
            Happened::Polled(None) => {
                self.counters.reasons.note("source_panic", self.clock.now_ms());
                return ControlFlow::Break(broken(link, Failure::panicked(link.step())));
            }
            Happened::Completed(completion) => self.on_completion(link, completion),
            Happened::TimeUp if link.progress == Progress::Full => link.leave(Leaving::NoRoom),
            Happened::TimeUp => {
                let words = match link.stuck {
                    true => "the connection takes no more requests".to_owned(),
                    false => format!("no answer in {} s", self.limits.patience.as_secs()),
                };
                return ControlFlow::Break(broken(link, Failure::new(link.step(), words)));
            }
            Happened::Silent => return self.on_silence(link),
            // What is not acknowledged by then comes again on the next connection.
            Happened::Renew => link.leave(Leaving::Renewing),
            Happened::Steady => self.on_steady(),
            Happened::Drained => self.show_waiting(),
            Happened::Quiet => self.quiet = true,
            Happened::Abandoned => self.intake.close(self.settings.persistent_session),
        }
        ControlFlow::Continue(())
    }

    /// After each event: lets go of the queue, or of the connection, when the time has come.
    fn settle(&mut self, link: &mut Link) -> ControlFlow<Ended> {
        let leaving = matches!(link.progress, Progress::Leaving(_));
        // A pipeline that ended under us is as good as being told to be quiet.
        self.quiet |= !self.intake.is_open();
        if self.quiet {
            if self.intake.waiting() == 0 {
                self.intake.close(self.settings.persistent_session);
            }
            if link.progress == Progress::Dialling {
                return ControlFlow::Break(Ended::Finished);
            }
            if !leaving && !self.intake.is_open() && link.acks.is_settled() {
                link.leave(Leaving::Stopping);
            }
            return ControlFlow::Continue(());
        }
        if !leaving && link.progress != Progress::Full && self.intake.is_full() {
            self.say_no_room();
            link.full();
        }
        if link.progress == Progress::Full && link.acks.is_settled() {
            link.leave(Leaving::NoRoom);
        }
        ControlFlow::Continue(())
    }

    /// Between connections: for this long, or until the side buffer is empty.
    async fn rest(&mut self, wait: Option<Duration>) {
        let until = wait.map(|w| Instant::now() + w);
        if until.is_none() {
            self.state(|s| s.step = "waiting".into());
        }
        while until.is_some() || self.intake.waiting() > 0 {
            tokio::select! {
                () = self.intake.drain() => self.show_waiting(),
                // Of an earlier generation, all of them.
                Some(_) = self.inbox.recv() => {}
                () = at(until) => return,
                () = self.phases.quiet.cancelled() => return,
            }
        }
    }

    /// At the end, without a connection: what waits goes into the queue while there is time.
    async fn hand_over(&mut self) {
        while self.intake.waiting() > 0 && !self.phases.abandon.is_cancelled() {
            tokio::select! {
                () = self.intake.drain() => self.show_waiting(),
                Some(_) = self.inbox.recv() => {}
                () = self.phases.abandon.cancelled() => {}
            }
        }
        self.intake.close(self.settings.persistent_session);
    }

    fn show_waiting(&self) {
        let waiting = self.intake.waiting() as u64;
        self.state(|s| s.side_buffer = waiting);
    }

    fn state(&self, change: impl FnOnce(&mut SourceState)) {
        self.counters.source(&self.name, change);
    }
}

/// How a connection ends that we leave.
fn left(link: &Link) -> Ended {
    match link.progress {
        Progress::Leaving(Leaving::NoRoom) => Ended::NoRoom,
        Progress::Leaving(Leaving::Discarded | Leaving::Renewing) => Ended::Again,
        Progress::Leaving(Leaving::Failed) => Ended::Broken(Failure::new(
            Step::Receiving,
            "a message could not be stored and is asked for again",
        )),
        _ => Ended::Finished,
    }
}

/// How a connection ends that breaks; one that we were leaving anyway ends as if we had left.
fn broken(link: &Link, failure: Failure) -> Ended {
    match link.progress {
        Progress::Leaving(_) => left(link),
        _ => Ended::Broken(failure),
    }
}

/// Waits until then; for ever without a time.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
