//! Playing a script toward a broker: one MQTT connection a gateway.

use super::gateway::Publication;
use super::mesh::Mesh;
use super::script::{Script, Told};
use crate::bridge;
use crate::clock::Clock;
use crate::config::secret::Secret;

use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, LastWill, MqttOptions, Outgoing, Packet, QoS,
};
use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Where and how it is played.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) qos: QoS,
    /// Publishes of one gateway that wait for their PUBACK.
    pub(super) inflight: u16,
    /// Waits for no scene's time.
    pub(super) fast: bool,
}

/// How it went.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) told: Told,
    /// Publishes that left, statuses and farewells included.
    pub(super) sent: u64,
    /// PUBACKs that came for them.
    pub(super) acknowledged: u64,
    pub(super) took: Duration,
    /// Why it ended early, if it did.
    pub(super) trouble: Option<String>,
}

/// How long the broker may take for a login, and for the last acknowledgements.
const PATIENCE: Duration = Duration::from_secs(10);

/// Requests that wait at a gateway's connection; the script waits while they do.
const REQUESTS: usize = 64;

/// What all connections count.
#[derive(Debug, Default)]
struct Counts {
    connected: AtomicU64,
    sent: AtomicU64,
    acknowledged: AtomicU64,
}

/// Somebody's wish that it ends; a second one ends it at once.
#[derive(Debug)]
pub(super) struct Signals(Signal, Signal);

impl Signals {
    /// SIGINT and SIGTERM.
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self(signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

/// Plays a script to its end, or until a signal.
pub(super) async fn play(
    script: &mut Script,
    stage: &Stage,
    clock: &Clock,
    mut stop: Signals,
) -> Played {
    let began = Instant::now();
    let mut company = Company::gather(script.mesh(), stage, clock);
    let mut trouble = None;
    tokio::select! {
        ended = company.perform(script, stage, clock) => trouble = ended.err(),
        () = stop.next() => {}
    }
    let took = began.elapsed();
    if trouble.is_none() {
        tokio::select! {
            ended = company.leave(script.mesh(), stage, clock) => trouble = ended.err(),
            () = stop.next() => {}
        }
    }
    let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let (sent, acknowledged) = (load(&company.counts.sent), load(&company.counts.acknowledged));
    Played { told: script.told(), sent, acknowledged, took, trouble }
}

/// The gateways' connections.
struct Company {
    clients: Vec<AsyncClient>,
    /// Each ends with its connection.
    pollers: JoinSet<Result<(), String>>,
    counts: Arc<Counts>,
    /// Bumped whenever a count has changed.
    changed: watch::Receiver<()>,
    asked: u64,
}

impl Company {
    fn gather(mesh: &Mesh, stage: &Stage, clock: &Clock) -> Self {
        let (bell, changed) = watch::channel(());
        let (bell, counts) = (Arc::new(bell), Arc::new(Counts::default()));
        let mut pollers = JoinSet::new();
        let clients = mesh.gateways().iter().map(|gateway| {
            let mut options = options(stage, gateway.key());
            let will = gateway.offline(clock.now_ms());
            options.set_last_will(LastWill::new(will.topic, will.payload, stage.qos, true));
            let (client, mut events) = AsyncClient::new(options, REQUESTS);
            events.network_options.set_connection_timeout(PATIENCE.as_secs());
            pollers.spawn(poll(events, Arc::clone(&counts), Arc::clone(&bell)));
            client
        });
        Self { clients: clients.collect(), pollers, counts, changed, asked: 0 }
    }

    async fn perform(
        &mut self,
        script: &mut Script,
        stage: &Stage,
        clock: &Clock,
    ) -> Result<(), String> {
        let all = self.clients.len() as u64;
        self.until(|counts| counts.connected.load(Ordering::Relaxed) == all).await?;
        let began = tokio::time::Instant::now();
        loop {
            if !stage.fast {
                let due = began + script.due();
                self.unless_broken(tokio::time::sleep_until(due)).await?;
            }
            let Some(scene) = script.next(clock.now_ms()) else { return Ok(()) };
            for publication in scene.publications {
                self.publish(publication, stage.qos).await?;
            }
        }
    }

    /// Says goodbye with every gateway once all is acknowledged.
    async fn leave(&mut self, mesh: &Mesh, stage: &Stage, clock: &Clock) -> Result<(), String> {
        for gateway in mesh.gateways() {
            self.publish(gateway.offline(clock.now_ms()), stage.qos).await?;
        }
        if stage.qos != QoS::AtMostOnce {
            let asked = self.asked;
            let all = |counts: &Counts| counts.acknowledged.load(Ordering::Relaxed) >= asked;
            let in_time = tokio::time::timeout(PATIENCE, self.until(all)).await;
            in_time.map_err(|_| {
                let missing = asked - self.counts.acknowledged.load(Ordering::Relaxed).min(asked);
                format!("{missing} messages were not acknowledged within {} s", PATIENCE.as_secs())
            })??;
        }
        for client in &self.clients {
            // One that has ended meanwhile tells why below.
            let _ = client.disconnect().await;
        }
        while let Some(ended) = self.pollers.join_next().await {
            ended.map_err(|e| e.to_string())??;
        }
        Ok(())
    }

    async fn publish(&mut self, publication: Publication, qos: QoS) -> Result<(), String> {
        let Publication { gateway, topic, payload, retain } = publication;
        self.asked += 1;
        let client = self.clients[gateway].clone();
        // It ends only with its poller, which tells why.
        let publish = async move {
            if client.publish(topic, qos, retain, payload).await.is_err() {
                pending::<()>().await;
            }
        };
        self.unless_broken(publish).await
    }

    /// Waits until the counts are so.
    async fn until(&mut self, so: impl Fn(&Counts) -> bool) -> Result<(), String> {
        let (counts, mut changed) = (Arc::clone(&self.counts), self.changed.clone());
        let wait = async move {
            while !so(&counts) {
                if changed.changed().await.is_err() {
                    return pending().await;
                }
            }
        };
        self.unless_broken(wait).await
    }

    async fn unless_broken(&mut self, work: impl Future<Output = ()>) -> Result<(), String> {
        tokio::select! {
            biased;
            () = work => Ok(()),
            Some(ended) = self.pollers.join_next() => {
                ended.map_err(|e| e.to_string())?.and(Err("a connection ended by itself".into()))
            }
        }
    }
}

fn options(stage: &Stage, key: &str) -> MqttOptions {
    // As meshcoretomqtt makes it: at most 23 characters.
    let id = format!("meshcore_{}", &key[..14.min(key.len())]);
    let host =
        if stage.host.contains(':') { format!("[{}]", stage.host) } else { stage.host.clone() };
    let mut options = MqttOptions::new(id, host, stage.port);
    options.set_keep_alive(Duration::from_secs(60)).set_inflight(stage.inflight);
    if let Some(username) = &stage.username {
        let password = stage.password.as_ref().map_or("", Secret::reveal);
        options.set_credentials(username, password);
    }
    options
}

/// Drives one connection until its DISCONNECT has left.
async fn poll(
    mut events: EventLoop,
    counts: Arc<Counts>,
    bell: Arc<watch::Sender<()>>,
) -> Result<(), String> {
    let mut connected = false;
    loop {
        let count = match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                connected = true;
                &counts.connected
            }
            Ok(Event::Incoming(Packet::PubAck(_))) => &counts.acknowledged,
            Ok(Event::Outgoing(Outgoing::Publish(_))) => &counts.sent,
            Ok(Event::Outgoing(Outgoing::Disconnect)) => return Ok(()),
            Ok(_) => continue,
            Err(error) => return Err(in_words(&error, connected)),
        };
        count.fetch_add(1, Ordering::Relaxed);
        bell.send_replace(());
    }
}

fn in_words(error: &ConnectionError, connected: bool) -> String {
    let reason = bridge::in_words(error, !connected, PATIENCE);
    if connected { reason } else { format!("{reason}; is it running? --broker names another") }
}
