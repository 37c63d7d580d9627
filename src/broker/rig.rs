//! For tests: a house without sockets, and a client on an in-memory stream.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, Packet, Publish, Subscribe};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access::{Claims, Unclaimed};
use super::door::{self, Visitor};
use super::house::{House, Intake};
use super::identity::Who;
use super::outbox::Outboxes;
use super::register;
use super::router::Router;
use super::state::{Keepsakes, State};
use crate::clock::Clock;
use crate::config::{Access, Logins, Policy};
use crate::counters::Counters;
use crate::message::Outcome;
use crate::message::queue::{Bounds, queue};

/// Generous: machines are busy.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A house whose messages are stored at once.
pub(super) struct Rig {
    pub(super) house: Arc<House>,
    pub(super) intake: Intake,
    pub(super) stored: mpsc::Receiver<(String, bytes::Bytes)>,
    pub(super) doors: TaskTracker,
    stop: CancellationToken,
}

/// A client on an in-memory stream.
pub(super) struct Client {
    pub(super) stream: DuplexStream,
    buffer: BytesMut,
    pub(super) served: JoinHandle<()>,
}

/// Waits until a condition holds.
pub(super) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "gave up waiting: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Rig {
    pub(super) async fn new() -> Self {
        Self::with(Policy::default(), Arc::new(Unclaimed)).await
    }

    /// A house with rules, and with what is known of claimed keys.
    pub(super) async fn with(policy: Policy, claims: Arc<dyn Claims>) -> Self {
        let (counters, stop) = (Arc::new(Counters::default()), CancellationToken::new());
        let told = (Arc::clone(&counters), Clock::system());
        let router = Router::start(told, TaskTracker::new(), stop.clone()).await;
        let tokens = (CancellationToken::new(), CancellationToken::new());
        let known = register::Parts {
            clock: Clock::system(),
            clock_trusted: Arc::new(|| true),
            counters: Arc::clone(&counters),
            secret: [7; 32],
            remembered: register::Remembered::default(),
            keeper: Arc::new(|_| {}),
        };
        let register = Arc::new(register::Register::new(Logins::default(), known));
        let outboxes = Outboxes::new(crate::config::Sessions::default(), Arc::clone(&counters));
        let told = (Arc::clone(&counters), Clock::system());
        let memory = State::start(None, Keepsakes::new(outboxes, Arc::clone(&counters)), told);
        let kept = (memory.state(), register);
        let house = House::new(Clock::system(), counters, router.unwrap(), kept, tokens)
            .with_policy(policy, claims);
        let (inlet, mut outlet) = queue(Bounds { messages: 10_000, bytes: 16 << 20 });
        let (sender, stored) = mpsc::channel(10_000);
        tokio::spawn(async move {
            while let Some(message) = outlet.next().await {
                let _ = sender.send((message.topic, message.payload)).await;
                message.receipt.complete(Outcome::Stored);
            }
        });
        let intake = Intake::new(inlet, &TaskTracker::new());
        Self { house: Arc::new(house), intake, stored, doors: TaskTracker::new(), stop }
    }

    /// A stream that is being served.
    pub(super) fn dial(&self, visitor: Visitor) -> Client {
        let (stream, ours) = duplex(64 * 1024);
        let served = door::serve(ours, visitor, Arc::clone(&self.house), self.intake.clone());
        Client { stream, buffer: BytesMut::new(), served: tokio::spawn(served) }
    }

    /// A client from loopback that has been let in.
    pub(super) async fn client(&self, id: &str) -> Client {
        let mut client = self.dial(visitor("127.0.0.1", Access::Lan));
        client.send(&Packet::Connect(Connect::new(id))).await;
        assert!(matches!(client.packet().await, Some(Packet::ConnAck(_))));
        client
    }

    /// A client that has been let in as somebody, whatever it would take to log in so.
    pub(super) async fn client_as(&self, id: &str, who: Who) -> Client {
        let visitor = Visitor { posing_as: Some(who), ..visitor("127.0.0.1", Access::Lan) };
        let mut client = self.dial(visitor);
        client.send(&Packet::Connect(Connect::new(id))).await;
        assert!(matches!(client.packet().await, Some(Packet::ConnAck(_))));
        client
    }

    /// Shows that everything still works.
    pub(super) async fn still_works(&mut self) {
        let mut subscriber = self.client("good subscriber").await;
        subscriber.subscribe("meshcore/alive").await;
        let mut publisher = self.client("good publisher").await;
        publisher.publish("meshcore/alive", b"still here").await;
        let arrived = async { while self.stored.recv().await.unwrap().0 != "meshcore/alive" {} };
        tokio::time::timeout(PATIENCE, arrived).await.expect("it should be stored");
        let Some(Packet::Publish(copy)) = subscriber.packet().await else { panic!("no copy") };
        assert_eq!(copy.payload, "still here");
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(super) fn visitor(peer: &str, policy: Access) -> Visitor {
    let peer: IpAddr = peer.parse().unwrap();
    Visitor {
        listener: "test".into(),
        peer,
        outside: false,
        policy,
        turned_away: None,
        posing_as: None,
    }
}

impl Client {
    pub(super) async fn send(&mut self, packet: &Packet) {
        let mut out = BytesMut::new();
        packet.write(&mut out, usize::MAX).unwrap();
        self.stream.write_all(&out).await.unwrap();
    }

    pub(super) async fn publish(&mut self, topic: &str, payload: &[u8]) {
        self.send(&Packet::Publish(Publish::new(topic, QoS::AtMostOnce, payload))).await;
    }

    pub(super) async fn subscribe(&mut self, filter: &str) {
        let mut subscribe = Subscribe::new(filter, QoS::AtMostOnce);
        subscribe.pkid = 1;
        self.send(&Packet::Subscribe(subscribe)).await;
        assert!(matches!(self.packet().await, Some(Packet::SubAck(_))));
    }

    /// The next packet; `None` when the connection is closed.
    pub(super) async fn packet(&mut self) -> Option<Packet> {
        tokio::time::timeout(PATIENCE, async {
            loop {
                if let Ok(packet) = Packet::read(&mut self.buffer, usize::MAX) {
                    return Some(packet);
                }
                match self.stream.read_buf(&mut self.buffer).await {
                    Ok(n) if n > 0 => {}
                    _ => return None,
                }
            }
        })
        .await
        .expect("a packet or the end should come")
    }
}
