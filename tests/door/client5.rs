//! A client of MQTT 5 that says what it is told, and keeps the copies that come meanwhile.

use std::collections::VecDeque;

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Connect, ConnectProperties, Disconnect, DisconnectProperties, DisconnectReasonCode,
    Filter, LastWill, Login, Packet, PingReq, PubAck, PubAckReason, PubRel, Publish,
    PublishProperties, Subscribe, SubscribeProperties, SubscribeReasonCode, Unsubscribe,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::rig::House;
use crate::support::PATIENCE;

/// The password of every account of these tests.
pub(super) const PASSWORD: &str = "hunter2";

pub(super) struct Client {
    stream: TcpStream,
    buffer: BytesMut,
    copies: VecDeque<Publish>,
    pkid: u16,
}

/// What a client wants when it logs in.
pub(super) struct Wish {
    /// The account; empty: none.
    pub(super) name: &'static str,
    pub(super) client_id: &'static str,
    pub(super) clean_start: bool,
    pub(super) expiry_s: Option<u32>,
    pub(super) keep_alive: u16,
    pub(super) will: Option<LastWill>,
    pub(super) asked: ConnectProperties,
}

impl Wish {
    /// A new session that ends with the connection.
    pub(super) fn new(name: &'static str) -> Self {
        let asked = ConnectProperties::new();
        Self {
            name,
            client_id: name,
            clean_start: true,
            expiry_s: None,
            keep_alive: 60,
            will: None,
            asked,
        }
    }

    /// The session that was there, kept for so long.
    pub(super) fn kept(name: &'static str, expiry_s: u32) -> Self {
        Self { clean_start: false, expiry_s: Some(expiry_s), ..Self::new(name) }
    }
}

pub(super) fn said(user: &[(&str, &str)]) -> PublishProperties {
    let user_properties = user.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    PublishProperties { user_properties, ..PublishProperties::default() }
}

impl Client {
    pub(super) async fn dial(house: &House) -> Self {
        let stream = TcpStream::connect(house.address()).await.unwrap();
        Self { stream, buffer: BytesMut::new(), copies: VecDeque::new(), pkid: 0 }
    }

    /// Logs in and returns the CONNACK.
    pub(super) async fn log_in(house: &House, wish: Wish) -> (Self, ConnAck) {
        let mut client = Self::dial(house).await;
        let Wish { name, client_id, clean_start, expiry_s, keep_alive, will, asked } = wish;
        let properties = ConnectProperties { session_expiry_interval: expiry_s, ..asked };
        let connect = Connect {
            keep_alive,
            client_id: client_id.to_owned(),
            clean_start,
            properties: Some(properties),
        };
        let login = (!name.is_empty()).then(|| Login::new(name, PASSWORD));
        client.send(Packet::Connect(connect, will, login)).await;
        match client.packet().await {
            Packet::ConnAck(ack) => (client, ack),
            other => panic!("a CONNACK should come, not {other:?}"),
        }
    }

    /// The same with a new session.
    pub(super) async fn new(house: &House, name: &'static str) -> Self {
        Self::log_in(house, Wish::new(name)).await.0
    }

    pub(super) async fn send(&mut self, packet: Packet) {
        let mut out = BytesMut::new();
        packet.write(&mut out, None).unwrap();
        self.bytes(&out).await;
    }

    pub(super) async fn bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next packet; `None` at the end.
    async fn read(&mut self) -> Option<Packet> {
        loop {
            if let Ok(packet) = Packet::read(&mut self.buffer, None) {
                return Some(packet);
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(n) if n > 0 => {}
                _ => return None,
            }
        }
    }

    pub(super) async fn packet(&mut self) -> Packet {
        let packet = tokio::time::timeout(PATIENCE, self.read()).await;
        packet.expect("a packet should come").expect("the connection should stay open")
    }

    /// The next packet that is no copy; copies are kept for later.
    async fn answer(&mut self) -> Packet {
        loop {
            match self.packet().await {
                Packet::Publish(copy) => self.copies.push_back(copy),
                other => return other,
            }
        }
    }

    /// The DISCONNECT with which the broker closes.
    pub(super) async fn told_at_the_end(&mut self) -> DisconnectReasonCode {
        let Packet::Disconnect(told) = self.answer().await else { panic!("no DISCONNECT") };
        let end = tokio::time::timeout(PATIENCE, self.read()).await;
        assert_eq!(end.expect("the connection should be closed"), None);
        told.reason_code
    }

    /// Waits for the end, and returns how many copies came before it.
    pub(super) async fn closed(&mut self) -> usize {
        let all = async {
            while let Some(packet) = self.read().await {
                if let Packet::Publish(copy) = packet {
                    self.copies.push_back(copy);
                }
            }
        };
        tokio::time::timeout(PATIENCE, all).await.expect("the connection should be closed");
        self.copies.len()
    }

    fn next_pkid(&mut self) -> u16 {
        self.pkid += 1;
        self.pkid
    }

    /// Subscribes and returns the codes.
    pub(super) async fn subscribe(
        &mut self,
        filters: Vec<Filter>,
        id: Option<usize>,
    ) -> Vec<SubscribeReasonCode> {
        let properties = id.map(|id| SubscribeProperties { id: Some(id), user_properties: vec![] });
        let mut subscribe = Subscribe::new_many(filters, properties);
        subscribe.pkid = self.next_pkid();
        self.send(Packet::Subscribe(subscribe)).await;
        let Packet::SubAck(ack) = self.answer().await else { panic!("no SUBACK") };
        ack.return_codes
    }

    /// Subscribes to one filter, which is granted.
    pub(super) async fn listen(&mut self, filter: &str, qos: QoS) {
        let codes = self.subscribe(vec![Filter::new(filter, qos)], None).await;
        assert!(matches!(codes[..], [SubscribeReasonCode::Success(_)]), "{codes:?}");
    }

    pub(super) async fn unsubscribe(&mut self, filter: &str) {
        let mut unsubscribe = Unsubscribe::new(filter, None);
        unsubscribe.pkid = self.next_pkid();
        self.send(Packet::Unsubscribe(unsubscribe)).await;
        assert!(matches!(self.answer().await, Packet::UnsubAck(_)));
    }

    /// Publishes, and goes through what its QoS takes.
    pub(super) async fn publish(&mut self, topic: &str, payload: &str, qos: QoS) {
        let reason = self.say(Publish::new(topic, qos, payload.to_owned(), None)).await;
        assert_eq!(reason, PubAckReason::Success);
    }

    /// The same with all that can be said of a message.
    pub(super) async fn say(&mut self, mut publish: Publish) -> PubAckReason {
        let qos = publish.qos;
        publish.pkid = if qos == QoS::AtMostOnce { 0 } else { self.next_pkid() };
        let pkid = publish.pkid;
        self.send(Packet::Publish(publish)).await;
        match qos {
            QoS::AtMostOnce => PubAckReason::Success,
            QoS::AtLeastOnce => {
                let Packet::PubAck(ack) = self.answer().await else { panic!("no PUBACK") };
                assert_eq!(ack.pkid, pkid);
                ack.reason
            }
            QoS::ExactlyOnce => {
                assert!(matches!(self.answer().await, Packet::PubRec(rec) if rec.pkid == pkid));
                self.send(Packet::PubRel(PubRel::new(pkid, None))).await;
                assert!(matches!(self.answer().await, Packet::PubComp(comp) if comp.pkid == pkid));
                PubAckReason::Success
            }
        }
    }

    /// The next copy, acknowledged.
    pub(super) async fn copy(&mut self) -> Publish {
        let copy = self.unacknowledged().await;
        if copy.qos == QoS::AtLeastOnce {
            self.send(Packet::PubAck(PubAck::new(copy.pkid, None))).await;
        }
        copy
    }

    /// The next copy.
    pub(super) async fn unacknowledged(&mut self) -> Publish {
        if let Some(copy) = self.copies.pop_front() {
            return copy;
        }
        match self.packet().await {
            Packet::Publish(copy) => copy,
            other => panic!("a copy should come, not {other:?}"),
        }
    }

    /// The payloads of the next copies.
    pub(super) async fn payloads(&mut self, count: usize) -> Vec<String> {
        let mut payloads = Vec::new();
        for _ in 0..count {
            payloads.push(String::from_utf8(self.copy().await.payload.to_vec()).unwrap());
        }
        payloads
    }

    /// Shows that no copy has come: what the broker says of itself, it says in order.
    pub(super) async fn has_nothing(&mut self) {
        self.send(Packet::PingReq(PingReq)).await;
        assert!(matches!(self.answer().await, Packet::PingResp(_)));
        assert!(self.copies.is_empty(), "{:?}", self.copies);
    }

    /// Says goodbye and waits for the end.
    pub(super) async fn leave(self) {
        self.leave_keeping(None).await;
    }

    /// The same with another expiry of the session.
    pub(super) async fn leave_keeping(mut self, expiry_s: Option<u32>) {
        let properties = expiry_s.map(|s| DisconnectProperties {
            session_expiry_interval: Some(s),
            reason_string: None,
            user_properties: Vec::new(),
            server_reference: None,
        });
        let reason_code = DisconnectReasonCode::NormalDisconnection;
        self.send(Packet::Disconnect(Disconnect { reason_code, properties })).await;
        self.closed().await;
    }
}
