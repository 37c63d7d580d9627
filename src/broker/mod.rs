//! Our own MQTT broker: MQTT 3.1.1 and 5 from the first byte to the acknowledgement after the commit.
//!
//! | file | what it does |
//! |---|---|
//! | `listener` | sockets; one task a connection |
//! | `login` | the CONNECT: who may come in, and with which code is one turned away (pure) |
//! | `identity` | who a client is to us |
//! | `addresses` | how many connections each address has |
//! | `access` | who may do what (pure), by the facts of `neighbourhood` |
//! | `door` | one connection: `session` (protocol), `inflight` (acknowledgements), `deadlines`, all pure, and the task |
//! | `frame` | bytes ↔ packets, in both versions of MQTT; nobody else knows them apart |
//! | `reason` | from the name of what went wrong to what the client is told (pure) |
//! | `sessions`, `retained` | who holds which session; the last word on each topic |
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
mod door;
mod frame;
mod house;
mod identity;
mod listener;
mod login;
mod neighbourhood;
mod reason;
mod retained;
#[cfg(test)]
mod rig;
mod router;
mod sessions;

#[doc(hidden)]
pub use door::{Rehearsal, Taken};
pub use listener::BindError;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::addresses::Addresses;
use self::house::{House, Intake};
use self::listener::{MAX_CONNECTIONS, MAX_REFUSALS, Reception};
use self::router::Router;
use crate::clock::Clock;
use crate::config::{self, Access, Transport};
use crate::counters::{Counters, Listening};
use crate::message::Inlet;

/// What a broker is made of.
pub struct Parts {
    /// Where messages go.
    pub inlet: Inlet,
    /// The time.
    pub clock: Clock,
    /// Where everything is counted.
    pub counters: Arc<Counters>,
    /// Cancelling it begins what [`Broker::quiesce`] does.
    pub shutdown: CancellationToken,
}

/// A running broker. Dropping it ends everything at once.
pub struct Broker {
    listening: Vec<Listening>,
    quiet: CancellationToken,
    closing: CancellationToken,
    kill: CancellationToken,
    router: CancellationToken,
    intakes: TaskTracker,
    doors: TaskTracker,
    attendants: TaskTracker,
    _guards: [DropGuard; 4],
}

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The router cannot run.
    #[error("the broker cannot start: {0}")]
    Router(String),
}

/// How long the router's tasks may take to end; they only wait for the router's own thread.
const ATTENDANTS_WITHIN: Duration = Duration::from_secs(2);

/// Starts a broker: binds every listener first, then lets clients in. Without a listener it does
/// nothing and holds no inlet.
///
/// Must be called inside a tokio runtime with I/O and time.
///
/// # Errors
/// [`StartError`]: one line that names the address and says what to do. Nothing is left running.
pub async fn start(config: &config::Broker, parts: Parts) -> Result<Broker, StartError> {
    let listeners = if config.enabled { &config.listeners[..] } else { &[] };
    let bound = bind_all(listeners)?;
    let mut broker = Broker::idle(parts.shutdown.child_token());
    if bound.is_empty() {
        return Ok(broker);
    }
    let counters = Arc::clone(&parts.counters);
    let reception = broker.reception(parts).await?;
    for (listener, access, name) in bound {
        counters.listening(name.clone());
        broker.listening.push(name);
        broker.doors.spawn(listener::watch(listener, access, reception.clone()));
    }
    Ok(broker)
}

/// What was bound, who may come in there, and how it is shown.
type Bound = (TcpListener, Access, Listening);

fn bind_all(listeners: &[config::Listener]) -> Result<Vec<Bound>, BindError> {
    let mut bound = Vec::new();
    for wanted in listeners {
        let Transport::Tcp = wanted.transport;
        let other = |l: &config::Listener| {
            l.bind.ip().is_unspecified()
                && l.bind.port() == wanted.bind.port()
                && l.bind.is_ipv4() != wanted.bind.is_ipv4()
        };
        // With port 0 they get a port each, and each may have both families.
        let beside = wanted.bind.port() != 0 && listeners.iter().any(other);
        let (listener, address) = listener::bind(wanted.bind, beside)?;
        bound.push((listener, wanted.access, named(wanted, address.to_string())));
    }
    Ok(bound)
}

fn named(listener: &config::Listener, address: String) -> Listening {
    let access = match listener.access {
        Access::Anyone => "anyone",
        Access::Lan => "lan",
        Access::Local => "local",
        Access::Accounts => "accounts",
    };
    let transport = match listener.transport {
        Transport::Tcp => "tcp",
    };
    Listening {
        service: "mqtt".to_owned(),
        transport: transport.to_owned(),
        address,
        access: access.to_owned(),
    }
}

impl Broker {
    fn idle(quiet: CancellationToken) -> Self {
        let [closing, kill, router] = std::array::from_fn(|_| CancellationToken::new());
        let [intakes, doors, attendants] = std::array::from_fn(|_| TaskTracker::new());
        let guards = [&quiet, &closing, &kill, &router].map(|token| token.clone().drop_guard());
        let listening = Vec::new();
        Self {
            listening,
            quiet,
            closing,
            kill,
            router,
            intakes,
            doors,
            attendants,
            _guards: guards,
        }
    }

    /// Builds what all connections share.
    async fn reception(&self, parts: Parts) -> Result<Reception, StartError> {
        let Parts { inlet, clock, counters, .. } = parts;
        let attendants = self.attendants.clone();
        let told = (Arc::clone(&counters), clock.clone());
        let router = Router::start(told, attendants, self.router.clone());
        let router = router.await.map_err(|e| StartError::Router(e.to_string()))?;
        let house = House::new(clock, counters, router, (self.quiet.clone(), self.closing.clone()));
        Ok(Reception {
            house: Arc::new(house),
            intake: Intake::new(inlet, &self.intakes),
            doors: self.doors.clone(),
            kill: self.kill.clone(),
            room: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
            addresses: Addresses::default(),
        })
    }

    /// What listens where, with the ports that the system gave, in the order of the configuration.
    pub fn listening(&self) -> &[Listening] {
        &self.listening
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
    pub async fn stop(self, deadline: Instant) -> bool {
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
        in_time
    }
}
