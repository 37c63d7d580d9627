//! A broker of which the test plays every packet.

use crate::support::PATIENCE;

use bytes::BytesMut;
use rumqttc::mqttbytes::Error;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, Packet, PubAck, Publish, SubAck, SubscribeReasonCode,
};
use std::net::{Ipv4Addr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Listens on a port that the system chose.
pub(crate) struct Fake {
    listener: TcpListener,
    pub(crate) at: SocketAddr,
}

/// One connection of a client.
pub(crate) struct Client {
    stream: TcpStream,
    read: BytesMut,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        Self { listener, at }
    }

    /// The next connection, and nothing said on it.
    pub(crate) async fn accept(&self) -> Client {
        let accepted = tokio::time::timeout(PATIENCE, self.listener.accept()).await;
        let (stream, _) = accepted.expect("gave up waiting for a connection").unwrap();
        Client { stream, read: BytesMut::new() }
    }

    /// The next connection, logged in.
    pub(crate) async fn log_in(&self, session_present: bool) -> (Client, Connect) {
        let mut client = self.accept().await;
        let connect = client.connect().await;
        client.send(&[connack(ConnectReturnCode::Success, session_present)]).await;
        (client, connect)
    }

    /// The next connection, logged in and subscribed.
    pub(crate) async fn subscribed(&self) -> Client {
        let (mut client, _) = self.log_in(true).await;
        client.grant().await;
        client
    }
}

impl Client {
    /// The next packet; `None` when the client has closed the connection.
    pub(crate) async fn packet(&mut self) -> Option<Packet> {
        loop {
            match Packet::read(&mut self.read, 1 << 20) {
                Ok(packet) => return Some(packet),
                Err(Error::InsufficientBytes(_)) => {}
                Err(error) => panic!("the client sent what is not MQTT: {error}"),
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await;
            match read.expect("gave up waiting for a packet") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    pub(crate) async fn connect(&mut self) -> Connect {
        match self.packet().await {
            Some(Packet::Connect(connect)) => connect,
            other => panic!("no CONNECT but {other:?}"),
        }
    }

    /// Reads a SUBSCRIBE, grants all of it, and returns its filters.
    pub(crate) async fn grant(&mut self) -> Vec<String> {
        self.answer_subscribe(SubscribeReasonCode::Success(QoS::AtLeastOnce)).await
    }

    pub(crate) async fn answer_subscribe(&mut self, code: SubscribeReasonCode) -> Vec<String> {
        let Some(Packet::Subscribe(subscribe)) = self.packet().await else {
            panic!("no SUBSCRIBE")
        };
        assert!(subscribe.filters.iter().all(|f| f.qos == QoS::AtLeastOnce));
        let codes = vec![code; subscribe.filters.len()];
        self.send(&[Packet::SubAck(SubAck::new(subscribe.pkid, codes))]).await;
        subscribe.filters.into_iter().map(|f| f.path).collect()
    }

    /// The packet ids of the next PUBACKs.
    pub(crate) async fn pubacks(&mut self, count: usize) -> Vec<u16> {
        let mut ids = Vec::new();
        while ids.len() < count {
            match self.packet().await {
                Some(Packet::PubAck(PubAck { pkid })) => ids.push(pkid),
                other => panic!("no PUBACK but {other:?}"),
            }
        }
        ids
    }

    /// Sends packets in one write.
    pub(crate) async fn send(&mut self, packets: &[Packet]) {
        let mut bytes = BytesMut::new();
        for packet in packets {
            packet.write(&mut bytes, usize::MAX).unwrap();
        }
        self.send_bytes(&bytes).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }
}

pub(crate) fn connack(code: ConnectReturnCode, session_present: bool) -> Packet {
    Packet::ConnAck(ConnAck::new(code, session_present))
}

/// A QoS 1 publish, or with packet id 0 a QoS 0 one.
pub(crate) fn publish(packet_id: u16, payload: &str) -> Packet {
    let qos = if packet_id == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
    let mut publish = Publish::new("meshcore/SJC/K/packets", qos, payload);
    publish.pkid = packet_id;
    Packet::Publish(publish)
}
