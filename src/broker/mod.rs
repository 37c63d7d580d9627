//! Our own MQTT broker: MQTT 3.1.1 and 5 from the first byte to the acknowledgement after the commit.
//!
//! | file | what it does |
//! |---|---|
//! | `socket` | what the system has to do: bind, accept |
//! | `listener` | one task a connection, and how many of them |
//! | `arrival` | from the socket to MQTT: `proxy` (PROXY protocol), `tls`, `websocket`, and `forwarded`: whose connection it is |
//! | `login` | the CONNECT: who may come in, and with which code is one turned away (pure) |
//! | `register` | accounts and tokens, live; `claims`: who speaks for which observer; `throttle`: who failed too often |
//! | `identity` | who a client is to us |
//! | `addresses` | how many connections each address has |
//! | `access` | who may do what (pure), by the facts of `neighbourhood` |
//! | `limits` | who sends too much, or everything twice (pure) |
//! | `board` | who is connected, who was refused and why: what people ask |
//! | `desk` | where they ask it, and take back claims |
//! | `door` | one connection: `session` (protocol), `inflight` (acknowledgements), `deadlines`, all pure, and the task: `greeting`, `connection`, `farewell`, `wills` |
//! | `frame` | bytes ↔ packets, in both versions of MQTT; nobody else knows them apart |
//! | `copy`, `grant` | a publish as its subscribers will see it; what one of them was granted |
//! | `reason` | from the name of what went wrong to what the client is told (pure) |
//! | `sessions`, `retained` | who holds which session; the last word on each topic, and what may have one |
//! | `outbox` | copies for subscribers at QoS 1, and sessions that are kept while their client is away |
//! | `presence` | which observers are there, and what subscribers are told of it |
//! | `wills` | wills that wait for their clients to come back |
//! | `state` | the file of what must outlive a restart |
//! | `router` | subscriptions and fan-out, by rumqttd's router |
//! | `house` | what all connections share |
//!
//! # Stopping
//!
//! 1. [`Broker::quiesce`] (or cancelling [`Parts::shutdown`]): nothing more is accepted. Each
//!    connection reads what has been received for it already, at most 1 MiB, hands that on, and drops
//!    its inlet. When `quiesce` returns the broker holds no inlet: once the other inlets are
//!    gone, too, the pipeline runs dry and ends.
//! 2. Meanwhile connections go on acknowledging what is committed, and close once nothing of theirs
//!    is left in the pipeline.
//! 3. [`Broker::stop`], after the pipeline has ended: the last acknowledgements are written, and what
//!    is still open is closed. Wills are not published at our own end: the clients have not vanished.

mod access;
mod addresses;
mod arrival;
pub mod board;
mod copy;
mod desk;
mod door;
mod forwarded;
mod frame;
mod grant;
mod house;
mod identity;
mod limits;
mod listener;
mod login;
mod neighbourhood;
mod outbox;
pub mod presence;
mod proxy;
mod reason;
mod register;
mod retained;
#[cfg(test)]
mod rig;
mod router;
mod sessions;
mod socket;
mod state;
mod throttle;
mod tls;
mod websocket;
mod wills;

pub use desk::{ClaimsError, Desk, claims_in, release_in};
#[doc(hidden)]
pub use door::{Rehearsal, Taken};
#[doc(hidden)]
pub use frame::MAX_PROPERTIES;
pub use register::ClockTrusted;
pub use socket::BindError;
pub use state::FILE as STATE_FILE;
pub use tls::{Certificate, CertificateError};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::addresses::Addresses;
use self::arrival::Site;
use self::board::Board;
use self::house::{House, Intake};
use self::identity::Identity;
use self::listener::{MAX_REFUSALS, Reception};
use self::outbox::Outboxes;
use self::presence::Presence;
use self::register::{News, Register, Remembered};
use self::router::Router;
use self::state::{Keepsakes, State};
use self::tls::Shown;
use crate::clock::Clock;
use crate::config;
use crate::counters::{Counters, Listening};
use crate::message::Inlet;
use crate::supervise::{say, supervise};

/// What a broker is made of.
pub struct Parts {
    /// Where messages go.
    pub inlet: Inlet,
    /// The time.
    pub clock: Clock,
    /// Where everything is counted.
    pub counters: Arc<Counters>,
    /// What must outlive a restart and is no packet ([`STATE_FILE`] beside the database); without a
    /// path it is in memory only.
    pub state_file: Option<PathBuf>,
    /// Whether the time can be believed, so that tokens may be judged by it.
    pub clock_trusted: ClockTrusted,
    /// Cancelling it begins what [`Broker::quiesce`] does.
    pub shutdown: CancellationToken,
}

/// A running broker. Dropping it ends everything at once.
pub struct Broker {
    listening: Vec<Listening>,
    desk: Desk,
    quiet: CancellationToken,
    closing: CancellationToken,
    kill: CancellationToken,
    router: CancellationToken,
    intakes: TaskTracker,
    doors: TaskTracker,
    attendants: TaskTracker,
    /// What is remembered, and the thread that writes it; none without a listener.
    memory: Option<(Keepsakes, state::Writer)>,
    _guards: [DropGuard; 4],
}

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A certificate cannot be shown.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// TLS does not work on this machine.
    #[error("TLS does not work here: {0}")]
    Tls(String),
    /// The router cannot run.
    #[error("the broker cannot start: {0}")]
    Router(String),
    /// The system gives no random numbers.
    #[error("the broker cannot start: the system gives no random numbers: {0}")]
    Random(String),
}

/// How long the router's tasks may take to end; they only wait for the router's own thread.
const ATTENDANTS_WITHIN: Duration = Duration::from_secs(2);

/// How long the last commit of the state file may take.
const WRITTEN_WITHIN: Duration = Duration::from_secs(2);

/// Starts a broker: binds every listener first, then lets clients in. Without a listener it does
/// nothing and holds no inlet.
///
/// Must be called inside a tokio runtime with I/O and time.
///
/// # Errors
/// [`StartError`]: one line that names the address and says what to do. Nothing is left running.
pub async fn start(config: &config::Broker, parts: Parts) -> Result<Broker, StartError> {
    let listeners = if config.enabled { &config.listeners[..] } else { &[] };
    let bound = bind_all(listeners, &config.trusted_proxies)?;
    let mut broker = Broker::idle(parts.shutdown.child_token());
    if bound.is_empty() {
        return Ok(broker);
    }
    let (counters, clock) = (Arc::clone(&parts.counters), parts.clock.clone());
    let reception = broker.reception(config, parts).await?;
    for Bound { socket, site, shown, listening } in bound {
        counters.listening(listening.clone());
        let at = format!("{} {}", listening.transport, listening.address).into();
        broker.listening.push(listening);
        let reception = Reception { listener: at, ..reception.clone() };
        if let Some(shown) = shown {
            broker.doors.spawn(tls::keep_fresh(shown, clock.clone(), broker.quiet.clone()));
        }
        broker.doors.spawn(listener::watch(socket, Arc::new(site), reception));
    }
    Ok(broker)
}

/// A listener that is ready.
struct Bound {
    socket: TcpListener,
    site: Site,
    shown: Option<Arc<Shown>>,
    /// How it is shown to people.
    listening: Listening,
}

fn bind_all(
    listeners: &[config::Listener],
    trusted: &[config::Network],
) -> Result<Vec<Bound>, StartError> {
    let bind = |wanted: &config::Listener| {
        let other = |l: &config::Listener| {
            l.bind.ip().is_unspecified()
                && l.bind.port() == wanted.bind.port()
                && l.bind.is_ipv4() != wanted.bind.is_ipv4()
        };
        // With port 0 they get a port each, and each may have both families.
        let beside = wanted.bind.port() != 0 && listeners.iter().any(other);
        let shown = wanted.certificate.clone().map(Shown::load).transpose()?.map(Arc::new);
        let site = Site::of(wanted, trusted, shown.clone());
        let site = site.map_err(|error| StartError::Tls(error.to_string()))?;
        let (socket, address) = socket::bind(wanted.bind, beside)?;
        let listening = Listening {
            service: "mqtt".to_owned(),
            transport: wanted.transport.to_string(),
            address: address.to_string(),
            access: wanted.access.to_string(),
        };
        Ok(Bound { socket, site, shown, listening })
    };
    listeners.iter().map(bind).collect()
}

impl Broker {
    fn idle(quiet: CancellationToken) -> Self {
        let [closing, kill, router] = std::array::from_fn(|_| CancellationToken::new());
        let [intakes, doors, attendants] = std::array::from_fn(|_| TaskTracker::new());
        let guards = [&quiet, &closing, &kill, &router].map(|token| token.clone().drop_guard());
        let listening = Vec::new();
        Self {
            listening,
            desk: Desk::default(),
            quiet,
            closing,
            kill,
            router,
            intakes,
            doors,
            attendants,
            memory: None,
            _guards: guards,
        }
    }

    /// Builds what all connections share.
    async fn reception(
        &mut self,
        config: &config::Broker,
        parts: Parts,
    ) -> Result<Reception, StartError> {
        let Parts { inlet, clock, counters, state_file, clock_trusted, .. } = parts;
        let state = self.remember(config, state_file, (&counters, &clock)).await?;
        let attendants = self.attendants.clone();
        let told = (Arc::clone(&counters), clock.clone());
        let router = Router::start(told, attendants, self.router.clone());
        let router = router.await.map_err(|e| StartError::Router(e.to_string()))?;
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|e| StartError::Random(e.to_string()))?;
        let known = register::Parts {
            clock: clock.clone(),
            clock_trusted,
            counters: Arc::clone(&counters),
            secret,
            remembered: remembered(&state),
            keeper: keeper(state.clone()),
        };
        let register = Arc::new(Register::new(config.logins.clone(), known));
        let panicked = say("watching the accounts", Arc::clone(&counters), clock.clone());
        let (followed, quiet, kept) = (Arc::clone(&register), self.quiet.clone(), state.clone());
        let follow = move || {
            let kept = kept.clone();
            let recalled = move || kept.has_recalled().then(|| remembered(&kept));
            register::follow(Arc::clone(&followed), recalled, quiet.clone())
        };
        self.attendants.spawn(supervise(self.quiet.clone(), follow, panicked));
        let signals = (self.quiet.clone(), self.closing.clone());
        let (board, claims) = (Board::default(), Arc::clone(register.claims()));
        self.desk = Desk::new(board.clone(), state.clone(), Arc::clone(&register));
        let house = House::new(clock, counters, router, (state, register), signals)
            .with_policy(config.policy.clone(), claims)
            .with_board(board);
        let (house, intake) = (Arc::new(house), Intake::new(inlet, &self.intakes));
        self.publish_wills(&house, &intake);
        Ok(Reception {
            house,
            intake,
            doors: self.doors.clone(),
            kill: self.kill.clone(),
            listener: "".into(),
            room: Arc::new(Semaphore::new(config.max_connections)),
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
            addresses: Addresses::with_most(config.max_connections_per_address),
        })
    }

    /// Starts the task that publishes wills which have waited.
    fn publish_wills(&self, house: &Arc<House>, intake: &Intake) {
        let told = (Arc::clone(&house.counters), house.clock.clone());
        let panicked = say("publishing wills", told.0, told.1);
        let (house, intake) = (Arc::clone(house), intake.clone());
        let publish = move || door::publish_waiting(Arc::clone(&house), intake.clone());
        self.doors.spawn(supervise(self.quiet.clone(), publish, panicked));
    }

    /// Reads the state file and starts the thread that writes it.
    async fn remember(
        &mut self,
        config: &config::Broker,
        file: Option<PathBuf>,
        (counters, clock): (&Arc<Counters>, &Clock),
    ) -> Result<State, StartError> {
        let outboxes = Outboxes::new(config.sessions, Arc::clone(counters));
        let keepsakes = Keepsakes::new(outboxes, Arc::clone(counters));
        let (theirs, told) = (keepsakes.clone(), (Arc::clone(counters), clock.clone()));
        let read = tokio::task::spawn_blocking(move || State::start(file, theirs, told));
        let writer = read.await.map_err(|e| StartError::Router(e.to_string()))?;
        let state = writer.state();
        self.memory = Some((keepsakes, writer));
        Ok(state)
    }

    /// Who is there, for people and for the page.
    pub fn presence(&self) -> Presence {
        self.memory.as_ref().map(|(keepsakes, _)| keepsakes.presence.clone()).unwrap_or_default()
    }

    /// What listens where, with the ports that the system gave, in the order of the configuration.
    pub fn listening(&self) -> &[Listening] {
        &self.listening
    }

    /// Where people ask who is connected, what was refused and what waits.
    pub fn desk(&self) -> Desk {
        self.desk.clone()
    }

    /// Stops accepting and reading; returns when everything that was received is in the queue and
    /// the broker holds no [`Inlet`] any more. With a full queue that lasts as long as the pipeline
    /// takes: give it a deadline. Cancel-safe; may be called again.
    pub async fn quiesce(&self) {
        self.quiet.cancel();
        self.intakes.close();
        self.intakes.wait().await;
    }

    /// Writes the acknowledgements that are due and closes every connection. Call it when the
    /// pipeline has ended: a receipt that is completed later is not acknowledged. What is not done
    /// by `deadline` is cut off. True: nothing had to be.
    pub async fn stop(mut self, deadline: Instant) -> bool {
        self.quiet.cancel();
        self.closing.cancel();
        self.doors.close();
        let in_time = tokio::time::timeout_at(deadline.into(), self.doors.wait()).await.is_ok();
        self.kill.cancel();
        self.doors.wait().await;
        self.router.cancel();
        self.attendants.close();
        let attended = tokio::time::timeout(ATTENDANTS_WITHIN, self.attendants.wait()).await;
        if attended.is_err() {
            tracing::debug!("the router's tasks did not end in time");
        }
        let memory = self.memory.take();
        let written = tokio::task::spawn_blocking(move || memory.map(|(_, w)| w.finish()));
        if tokio::time::timeout(WRITTEN_WITHIN, written).await.is_err() {
            tracing::warn!("the state file was not written in time: its last changes are lost");
        }
        in_time
    }
}

/// What the state file has of claims.
fn remembered(state: &State) -> Remembered {
    let sessions = state.keepsakes().outboxes.accounts();
    Remembered { claims: state.claims(), bindings: state.bindings(), sessions }
}

/// Keeps what is new about claims in the state file.
fn keeper(state: State) -> register::Keeper {
    Arc::new(move |news| {
        let kept = match news {
            News::Claimed(claim) => state.claim(claim),
            News::Bound(binding) => state.bind(binding),
            News::Forgotten(account) => {
                state.forget(&account);
                Ok(())
            }
            News::Released(key, holder) => {
                state.release(key, &holder);
                Ok(())
            }
            News::Dismissed(account) => {
                state.keepsakes().outboxes.dismiss(&Identity::Account(account));
                state.changed();
                Ok(())
            }
        };
        if let Err(error) = kept {
            tracing::warn!("a claim is not remembered over a restart: {error}");
        }
    })
}
