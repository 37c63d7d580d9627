//! A broker, something that takes its messages, and a client that says exactly what it is told.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use meshbox::broker::{self, Broker, Parts};
use meshbox::clock::Clock;
use meshbox::config::{self, Access, Listener, Policy};
use meshbox::counters::Counters;
use meshbox::message::queue::{Bounds, queue};
use meshbox::message::{Inlet, Message, Origin, Outcome, Outlet};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, LastWill, Packet, Publish, Subscribe,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::support::PATIENCE;

/// Room for anything.
pub(crate) const ROOMY: Bounds = Bounds { messages: 50_000, bytes: 16 << 20 };

/// The policy that lets everyone in.
pub(crate) const ANYONE: Access = Access::Anyone;

/// The topic that most tests publish to.
pub(crate) const TOPIC: &str = "meshcore/SJC/AB12/packets";

/// A broker on loopback whose outlet is the test's.
pub(crate) struct House {
    pub(crate) broker: Broker,
    pub(crate) counters: Arc<Counters>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) addresses: Vec<SocketAddr>,
}

/// What arrived, for tests in which everything is stored at once.
pub(crate) struct Stored {
    messages: mpsc::Receiver<Arrival>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Arrival {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) origin: Origin,
    pub(crate) retained: bool,
    pub(crate) awaited: bool,
}

pub(crate) fn listener(bind: &str, access: Access) -> Listener {
    Listener::tcp(bind.parse().unwrap(), access)
}

/// Starts a broker on these listeners; the test takes the messages itself.
pub(crate) async fn open_with(listeners: Vec<Listener>, bounds: Bounds) -> (House, Outlet) {
    let (inlet, outlet) = queue(bounds);
    (open_into(listeners, inlet).await, outlet)
}

pub(crate) async fn open_into(listeners: Vec<Listener>, inlet: Inlet) -> House {
    open_as(config::Broker::with(listeners), inlet).await
}

pub(crate) async fn open_as(config: config::Broker, inlet: Inlet) -> House {
    let (counters, shutdown) = (Arc::new(Counters::default()), CancellationToken::new());
    let parts = Parts {
        inlet,
        clock: Clock::system(),
        counters: Arc::clone(&counters),
        state_file: None,
        clock_trusted: Arc::new(|| true),
        shutdown: shutdown.clone(),
    };
    let broker = broker::start(&config, parts).await.unwrap();
    let addresses = broker.listening().iter().map(|l| l.address.parse().unwrap()).collect();
    House { broker, counters, shutdown, addresses }
}

/// A broker on one loopback listener; the test takes the messages itself.
pub(crate) async fn open(bounds: Bounds) -> (House, Outlet) {
    open_with(vec![listener("127.0.0.1:0", Access::Lan)], bounds).await
}

/// A broker on one loopback listener that stores everything at once.
pub(crate) async fn storing() -> (House, Stored) {
    storing_on(vec![listener("127.0.0.1:0", Access::Lan)]).await
}

pub(crate) async fn storing_on(listeners: Vec<Listener>) -> (House, Stored) {
    storing_as(config::Broker::with(listeners)).await
}

/// The same with a policy.
pub(crate) async fn storing_by(policy: Policy, listeners: Vec<Listener>) -> (House, Stored) {
    storing_as(config::Broker { policy, ..config::Broker::with(listeners) }).await
}

pub(crate) async fn storing_as(config: config::Broker) -> (House, Stored) {
    let (inlet, mut outlet) = queue(ROOMY);
    let house = open_as(config, inlet).await;
    let (sender, messages) = mpsc::channel(100_000);
    tokio::spawn(async move {
        while let Some(message) = outlet.next().await {
            let Message { topic, payload, origin, retained, receipt, .. } = message;
            let awaited = receipt.is_awaited();
            let _ = sender.send(Arrival { topic, payload, origin, retained, awaited }).await;
            receipt.complete(Outcome::Stored);
        }
    });
    (house, Stored { messages })
}

impl Stored {
    pub(crate) async fn next(&mut self) -> Arrival {
        let arrival = tokio::time::timeout(PATIENCE, self.messages.recv()).await;
        arrival.expect("a message should arrive").expect("the pipeline should live")
    }

    pub(crate) fn nothing_more(&mut self) -> bool {
        self.messages.try_recv().is_err()
    }
}

/// The next message that arrives at the test's own outlet.
pub(crate) async fn arrival(outlet: &mut Outlet) -> Message {
    let message = tokio::time::timeout(PATIENCE, outlet.next()).await;
    message.expect("a message should arrive").expect("the broker should live")
}

impl House {
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub(crate) fn port(&self) -> u16 {
        self.address().port()
    }

    pub(crate) fn reason(&self, name: &str) -> u64 {
        self.counters.reasons.count(name)
    }

    /// A client that has been let in.
    pub(crate) async fn client(&self, id: &str) -> Raw {
        let mut raw = Raw::dial(self.address()).await;
        raw.log_in(&connect(id)).await;
        raw
    }

    /// Shows that the broker still does everything for a well-behaved client.
    pub(crate) async fn still_serves(&self, stored: &mut Stored) {
        let mut subscriber = self.client("good-subscriber").await;
        subscriber.subscribe("meshcore/alive/#").await;
        let mut publisher = self.client("good-publisher").await;
        publisher.publish("meshcore/alive/x", b"still here", QoS::AtLeastOnce, 1).await;
        assert_eq!(publisher.packet().await, Packet::PubAck(rumqttc::PubAck::new(1)));
        while stored.next().await.topic != "meshcore/alive/x" {}
        assert_eq!(subscriber.delivery().await.payload, "still here");
    }
}

/// A CONNECT with a clean session and a long keepalive.
pub(crate) fn connect(id: &str) -> Connect {
    let mut connect = Connect::new(id);
    connect.keep_alive = 600;
    connect
}

pub(crate) fn with_will(id: &str, topic: &str, payload: &str, retain: bool) -> Connect {
    let mut connect = connect(id);
    connect.last_will = Some(LastWill::new(topic, payload, QoS::AtLeastOnce, retain));
    connect
}

pub(crate) fn bytes_of(packet: &Packet) -> BytesMut {
    let mut out = BytesMut::new();
    packet.write(&mut out, usize::MAX).unwrap();
    out
}

pub(crate) fn publish(topic: &str, payload: &[u8], qos: QoS, pkid: u16) -> Publish {
    let mut publish = Publish::new(topic, qos, payload);
    publish.pkid = pkid;
    publish
}

/// What a client speaks on.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Wire for S {}

/// A client that says exactly what it is told.
pub(crate) struct Raw {
    pub(crate) stream: Box<dyn Wire>,
    buffer: BytesMut,
}

impl Raw {
    pub(crate) async fn dial(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    /// Speaks on a stream that is there already.
    pub(crate) fn over(stream: impl Wire + 'static) -> Self {
        Self { stream: Box::new(stream), buffer: BytesMut::new() }
    }

    /// Dials from a loopback address of one's own.
    pub(crate) async fn dial_from(from: IpAddr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from, 0)).unwrap();
        Self::over(socket.connect(address).await.unwrap())
    }

    pub(crate) async fn log_in(&mut self, connect: &Connect) {
        self.send(&Packet::Connect(connect.clone())).await;
        let expected = ConnAck::new(ConnectReturnCode::Success, false);
        assert_eq!(self.packet().await, Packet::ConnAck(expected));
    }

    pub(crate) async fn send(&mut self, packet: &Packet) {
        self.bytes(&bytes_of(packet)).await;
    }

    pub(crate) async fn bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    pub(crate) async fn publish(&mut self, topic: &str, payload: &[u8], qos: QoS, pkid: u16) {
        self.send(&Packet::Publish(publish(topic, payload, qos, pkid))).await;
    }

    /// Subscribes and returns the answer's codes as bytes.
    pub(crate) async fn subscribe(&mut self, filter: &str) -> Vec<u8> {
        self.subscribe_at(filter, QoS::AtMostOnce).await
    }

    /// The same at this QoS.
    pub(crate) async fn subscribe_at(&mut self, filter: &str, qos: QoS) -> Vec<u8> {
        let mut subscribe = Subscribe::new(filter, qos);
        subscribe.pkid = 7;
        self.send(&Packet::Subscribe(subscribe)).await;
        let Packet::SubAck(ack) = self.packet().await else { panic!("no SUBACK") };
        assert_eq!(ack.pkid, 7);
        let code = |c| match c {
            rumqttc::SubscribeReasonCode::Success(qos) => qos as u8,
            rumqttc::SubscribeReasonCode::Failure => 0x80,
        };
        ack.return_codes.into_iter().map(code).collect()
    }

    /// The next packet.
    pub(crate) async fn packet(&mut self) -> Packet {
        let packet = tokio::time::timeout(PATIENCE, self.read()).await;
        packet.expect("a packet should come").expect("the connection should stay open")
    }

    /// The next packet, which is a PUBLISH.
    pub(crate) async fn delivery(&mut self) -> Publish {
        match self.packet().await {
            Packet::Publish(publish) => publish,
            other => panic!("a PUBLISH should come, not {other:?}"),
        }
    }

    /// Waits for the broker to close the connection, and returns what it said before.
    pub(crate) async fn closed(&mut self) -> Vec<Packet> {
        let mut said = Vec::new();
        let all = async {
            while let Some(packet) = self.read().await {
                said.push(packet);
            }
        };
        tokio::time::timeout(PATIENCE, all).await.expect("the connection should be closed");
        said
    }

    /// Reads until these bytes have come, whatever comes before them.
    pub(crate) async fn reads_until(&mut self, wanted: &[u8]) {
        let all = async {
            while !self.buffer.windows(wanted.len()).any(|bytes| bytes == wanted) {
                assert!(self.stream.read_buf(&mut self.buffer).await.unwrap() > 0);
            }
        };
        tokio::time::timeout(PATIENCE, all).await.expect("they should come");
    }

    /// Waits for the broker to close the connection, and returns its last bytes.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let all = tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await;
        all.expect("the connection should be closed").unwrap();
        rest
    }

    /// Shows that nothing has been said: the answer to a PINGREQ comes first.
    pub(crate) async fn nothing_said(&mut self) {
        self.send(&Packet::PingReq).await;
        assert_eq!(self.packet().await, Packet::PingResp);
    }

    /// Shows that nothing comes for so long.
    pub(crate) async fn silent_for(&mut self, time: Duration) {
        let read = tokio::time::timeout(time, self.read()).await;
        assert!(read.is_err(), "nothing should come, not {read:?}");
    }

    async fn read(&mut self) -> Option<Packet> {
        loop {
            match Packet::read(&mut self.buffer, usize::MAX) {
                Ok(packet) => return Some(packet),
                Err(rumqttc::mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(e) => panic!("the broker spoke no MQTT: {e}"),
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(n) if n > 0 => {}
                _ => return None,
            }
        }
    }
}
