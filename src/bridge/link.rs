//! One connection to an external broker, from the dial to its end.
//!
//! rumqttc's [`EventLoop`] lives in a task of its own, the poller, which polls it and does nothing
//! else: `poll()` must run at all times (it answers pings), and a `poll()` that is dropped half-way
//! and called again may have lost a request it had taken from its channel. When the link is dropped,
//! the poller and its event loop end together.
//!
//! Each connection has a new event loop. One that reconnects by itself would hand out, after the
//! CONNACK of the new connection, events it had read on the old one (`EventLoop::clean` leaves
//! `state.events` alone), and an acknowledgement for them would name another message.

use super::Limits;
use super::acks::{Ack, Acks};
use super::failure::Step;
use super::login::Credentials;
use super::tls;
use crate::config::{Remote, Scheme, Source as Settings};

use bytes::Bytes;
use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, Outgoing, Packet, Publish, QoS,
    SubscribeFilter, TlsConfiguration, Transport,
};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// The largest packet that is read at all: 16 MiB. What is larger than
/// [`crate::message::MAX_PAYLOAD`] is then counted, refused and acknowledged; if reading it broke the
/// connection instead, the broker would send it again on every connection. A packet beyond this
/// bound does break the connection: 256 MiB, MQTT's maximum, is more than a small machine has.
const MAX_PACKET: usize = 16 * 1024 * 1024;

/// Requests that wait for the poller. It can never be full: a broker has at most 65,535 packet ids
/// in flight, one acknowledgement each, and beside them there is one SUBSCRIBE and one DISCONNECT.
/// So no request ever waits, and the poll loop cannot be held up by its own requests (rumqttc #1025).
const REQUESTS: usize = 65_535 + 2;

/// Events between the poller and its source. When it is full the poller waits for the source, which
/// never waits for anything else while it has a link.
const EVENTS: usize = 8;

/// What the poller tells.
#[derive(Debug)]
pub(super) enum Polled {
    /// A packet from the broker.
    Packet(Packet),
    /// Our next PUBLISH has been sent, with this packet id.
    Published(u16),
    /// Our DISCONNECT has been sent, and everything before it.
    SaidGoodbye,
    /// There is no dialling, for this reason; the last thing the poller tells.
    Unready(String),
    /// The connection is over; the last thing the poller tells.
    Broken(Box<ConnectionError>),
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Until the CONNACK.
    Dialling,
    /// Until the SUBACK.
    Subscribing,
    /// From the SUBACK on.
    Receiving,
    /// The queue and the side buffer are full: only acknowledgements are still of use.
    Full,
    /// From our DISCONNECT on.
    Leaving(Leaving),
}

/// Why we leave a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// The queue and the side buffer are full.
    NoRoom,
    /// A message could not be stored: it must be sent again.
    Failed,
    /// Its token expires soon.
    Renewing,
    /// It was only opened to make the broker forget our session.
    Discarded,
    /// The hub stops.
    Stopping,
}

/// A connection and what waits for acknowledgement on it.
#[derive(Debug)]
pub(super) struct Link {
    client: AsyncClient,
    poller: Poller,
    /// Publishes that wait for their acknowledgement.
    pub(super) acks: Acks,
    /// How far it has come.
    pub(super) progress: Progress,
    /// When the broker was last heard.
    pub(super) heard: Instant,
    /// Whether it brought a message.
    pub(super) brought: bool,
    /// When it began to receive.
    pub(super) up_since: Option<Instant>,
    /// When the current step takes too long; the dial has rumqttc's own deadline.
    pub(super) deadline: Option<Instant>,
    /// It took a request no more.
    pub(super) stuck: bool,
    /// When the token of this connection is to be replaced by a new one.
    pub(super) renewal: Option<Instant>,
    patience: Duration,
}

/// The request channel is at its bound or closed: the connection cannot be used any more.
#[derive(Debug, thiserror::Error)]
#[error("the connection takes no more requests")]
pub(super) struct Stuck;

/// The task that an event loop lives in; dropping this ends both.
#[derive(Debug)]
pub(super) struct Poller {
    events: mpsc::Receiver<Polled>,
    _task: AbortOnDropHandle<()>,
}

impl Poller {
    /// Begins to dial.
    pub(super) fn start(mut event_loop: EventLoop, remote: Remote) -> Self {
        let (tell, events) = mpsc::channel(EVENTS);
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            match transport(remote).await {
                Ok(transport) => {
                    event_loop.mqtt_options.set_transport(transport);
                    poll(event_loop, tell).await;
                }
                // Nobody listens any more: then nobody has to know.
                Err(reason) => drop(tell.send(Polled::Unready(reason)).await),
            }
        }));
        Self { events, _task: task }
    }

    /// What it tells next; `None` when it panicked. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Polled> {
        self.events.recv().await
    }
}

impl Link {
    /// Begins to dial. `discard` asks the broker to forget our session.
    pub(super) fn dial(
        settings: &Settings,
        client_id: &str,
        login: (&Credentials, i64),
        limits: &Limits,
        discard: bool,
    ) -> Self {
        let mut options = options(settings, client_id, limits, discard);
        let (credentials, now_ms) = login;
        credentials.put(&mut options, now_ms);
        let (client, mut event_loop) = AsyncClient::new(options, REQUESTS);
        // Whole seconds, and 0 would mean at once.
        event_loop
            .network_options
            .set_connection_timeout(settings.connect_timeout.as_secs().max(1));
        Self {
            client,
            poller: Poller::start(event_loop, settings.remote.clone()),
            acks: Acks::default(),
            progress: Progress::Dialling,
            heard: Instant::now(),
            brought: false,
            up_since: None,
            deadline: None,
            stuck: false,
            renewal: credentials.renewal().map(|after| Instant::now() + after),
            patience: limits.patience,
        }
    }

    /// What the poller tells next; `None` when it panicked. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Polled> {
        self.poller.next().await
    }

    /// The step for messages to people.
    pub(super) fn step(&self) -> Step {
        match self.progress {
            Progress::Dialling => Step::Connecting,
            Progress::Subscribing => Step::Subscribing,
            Progress::Receiving | Progress::Full | Progress::Leaving(_) => Step::Receiving,
        }
    }

    /// Subscribes to these filters with QoS 1, in one packet.
    pub(super) fn subscribe(&mut self, filters: &[String]) -> Result<(), Stuck> {
        let filters = filters.iter().map(|f| SubscribeFilter::new(f.clone(), QoS::AtLeastOnce));
        self.progress = Progress::Subscribing;
        self.deadline = Some(Instant::now() + self.patience);
        self.client.try_subscribe_many(filters).map_err(|_| Stuck)
    }

    /// The broker answered the SUBSCRIBE.
    pub(super) fn receiving(&mut self) {
        self.progress = Progress::Receiving;
        self.up_since = Some(Instant::now());
        self.deadline = None;
    }

    /// Acknowledges a publish of this connection. One that has just broken takes nothing any more;
    /// the poller tells why, and if it does not, the connection is given up soon.
    pub(super) fn acknowledge(&mut self, ack: Ack) {
        let publish = Publish {
            dup: false,
            qos: ack.qos,
            retain: false,
            topic: String::new(),
            pkid: ack.packet_id,
            payload: Bytes::new(),
        };
        if self.client.try_ack(&publish).is_err() && !self.stuck {
            self.stuck = true;
            let soon = Instant::now() + FAREWELL;
            self.deadline = Some(self.deadline.map_or(soon, |at| at.min(soon)));
        }
    }

    /// Begins to wait for the last acknowledgements.
    pub(super) fn full(&mut self) {
        self.progress = Progress::Full;
        self.deadline = Some(Instant::now() + self.patience);
    }

    /// Sends a DISCONNECT behind everything that waits to be sent, and goes on reading: no QoS 0
    /// message that was under way is lost by leaving.
    pub(super) fn leave(&mut self, why: Leaving) {
        self.progress = Progress::Leaving(why);
        let asked = self.client.try_disconnect().is_ok();
        let patience = if asked { self.patience } else { Duration::ZERO };
        self.deadline = Some(Instant::now() + patience);
    }

    /// The DISCONNECT is out. The broker closes the connection now (MQTT-3.14.4-2); if we did, with
    /// something of its still unread, the reset could overtake our last acknowledgements.
    pub(super) fn said_goodbye(&mut self) {
        self.deadline = Some(Instant::now() + self.patience.min(FAREWELL));
    }
}

/// How long a broker has to close the connection after our DISCONNECT.
const FAREWELL: Duration = Duration::from_millis(500);

/// Whether a filter may be sent to a broker; rumqttc refuses to send any of a SUBSCRIBE that has one
/// that may not.
pub(super) fn is_valid_filter(filter: &str) -> bool {
    rumqttc::valid_filter(filter)
}

fn options(settings: &Settings, client_id: &str, limits: &Limits, discard: bool) -> MqttOptions {
    let remote = &settings.remote;
    let mut options = MqttOptions::new(client_id, address(remote), remote.port);
    options
        .set_keep_alive(limits.keep_alive)
        .set_clean_session(discard || !settings.persistent_session)
        .set_manual_acks(true)
        .set_max_packet_size(MAX_PACKET, MAX_PACKET);
    options
}

/// What rumqttc wants for an address: the host, or for WebSocket the URL.
pub(super) fn address(remote: &Remote) -> String {
    match remote.scheme {
        Scheme::Tcp | Scheme::Tls => remote.bracketed().into_owned(),
        Scheme::Ws | Scheme::Wss => remote.url(),
    }
}

/// What MQTT goes through; reads the files of TLS, off the runtime.
async fn transport(remote: Remote) -> Result<Transport, String> {
    let secured = match remote.scheme {
        Scheme::Tcp => return Ok(Transport::tcp()),
        Scheme::Ws => return Ok(Transport::Ws),
        Scheme::Tls => Transport::Tls,
        Scheme::Wss => Transport::Wss,
    };
    let made = tokio::task::spawn_blocking(move || tls::client(&remote.tls)).await;
    let config = made.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
    Ok(secured(TlsConfiguration::Rustls(config)))
}

/// Polls until the connection breaks or nobody listens. Never dropped and polled again.
async fn poll(mut event_loop: EventLoop, tell: mpsc::Sender<Polled>) {
    loop {
        let told = match event_loop.poll().await {
            Ok(Event::Incoming(packet)) => tell.send(Polled::Packet(packet)).await,
            Ok(Event::Outgoing(Outgoing::Disconnect)) => tell.send(Polled::SaidGoodbye).await,
            Ok(Event::Outgoing(Outgoing::Publish(id))) => tell.send(Polled::Published(id)).await,
            Ok(Event::Outgoing(_)) => Ok(()),
            Err(error) => {
                // Read in the batch that broke the connection: a QoS 0 message comes only once, and a
                // refused SUBSCRIBE may be why the broker hung up.
                for event in event_loop.state.events.drain(..) {
                    if let Event::Incoming(packet) = event {
                        let _ = tell.send(Polled::Packet(packet)).await;
                    }
                }
                let _ = tell.send(Polled::Broken(Box::new(error))).await;
                return;
            }
        };
        if told.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(host: &str) -> Settings {
        Settings::new("test", Remote::mqtt(host, 1883))
    }

    #[test]
    fn the_session_is_kept_unless_the_source_or_a_discard_says_otherwise() {
        let limits = Limits::default();
        let kept = settings("broker.example");
        assert!(!options(&kept, "id", &limits, false).clean_session());
        assert!(options(&kept, "id", &limits, true).clean_session());
        let clean = Settings { persistent_session: false, ..kept };
        assert!(options(&clean, "id", &limits, false).clean_session());
    }

    #[test]
    fn an_ipv6_address_gets_brackets_and_a_name_does_not() {
        let limits = Limits::default();
        for (host, dialled) in [("::1", "[::1]"), ("a.example", "a.example")] {
            let options = options(&settings(host), "id", &limits, false);
            assert_eq!(options.broker_address(), (dialled.to_owned(), 1883));
        }
    }
}
