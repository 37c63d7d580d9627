//! MQTT 5 over real sockets: what a client is granted, told, and kept for.

use bytes::BytesMut;
use meshbox::config::Access;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Connect, ConnectProperties, ConnectReturnCode, Disconnect, DisconnectReasonCode,
    Filter, Login, Packet, PubAckReason, Publish, Subscribe, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::accounts;
use super::rig::{self, TOPIC};
use crate::support::PATIENCE;

/// A client that says exactly what it is told.
struct Raw {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Raw {
    async fn dial(house: &rig::House) -> Self {
        let stream = TcpStream::connect(house.address()).await.unwrap();
        Self { stream, buffer: BytesMut::new() }
    }

    async fn send(&mut self, packet: Packet) {
        let mut out = BytesMut::new();
        packet.write(&mut out, None).unwrap();
        self.stream.write_all(&out).await.unwrap();
    }

    async fn packet(&mut self) -> Packet {
        let read = async {
            loop {
                if let Ok(packet) = Packet::read(&mut self.buffer, None) {
                    return packet;
                }
                assert!(self.stream.read_buf(&mut self.buffer).await.unwrap() > 0, "closed");
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("a packet should come")
    }

    async fn is_closed(&mut self) {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
        assert_eq!(read.expect("the connection should be closed").unwrap(), 0);
    }

    /// Logs in; `expiry_s`: for how long its session is to be kept.
    async fn log_in(&mut self, id: &str, name: Option<&str>, expiry_s: Option<u32>) -> ConnAck {
        let properties = expiry_s.map(|s| ConnectProperties {
            session_expiry_interval: Some(s),
            ..ConnectProperties::new()
        });
        let login =
            name.map(|name| Login { username: name.to_owned(), password: "hunter2".to_owned() });
        let (client_id, clean_start) = (id.to_owned(), false);
        let connect = Connect { keep_alive: 60, client_id, clean_start, properties };
        self.send(Packet::Connect(connect, None, login)).await;
        match self.packet().await {
            Packet::ConnAck(ack) => ack,
            other => panic!("a CONNACK should come, not {other:?}"),
        }
    }

    async fn publish(&mut self, payload: &str, pkid: u16) {
        let mut publish = Publish::new(TOPIC, QoS::AtLeastOnce, payload.to_owned(), None);
        publish.pkid = pkid;
        self.send(Packet::Publish(publish)).await;
    }
}

#[tokio::test]
async fn a_client_without_a_name_is_given_one_and_told_what_it_may_send() {
    let (house, _stored) = rig::storing().await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let ack = Raw::dial(&house).await.log_in("", None, Some(300)).await;
        assert_eq!((ack.code, ack.session_present), (ConnectReturnCode::Success, false));
        let granted = ack.properties.unwrap();
        assert_eq!(granted.receive_max, Some(1_000));
        assert_eq!(granted.max_packet_size, Some(70 * 1024));
        assert_eq!(granted.session_expiry_interval, Some(0), "nobody is kept by address");
        assert_eq!(granted.shared_subscription_available, Some(0));
        ids.push(granted.assigned_client_identifier.unwrap());
    }
    assert!(ids[0] != ids[1] && ids[0].starts_with("meshbox-"), "{ids:?}");
}

#[tokio::test]
async fn a_client_whose_session_is_taken_over_is_told_so() {
    let (house, _stored) = rig::storing().await;
    let mut first = Raw::dial(&house).await;
    first.log_in("same", None, None).await;
    let mut second = Raw::dial(&house).await;
    second.log_in("same", None, None).await;
    let Packet::Disconnect(told) = first.packet().await else { panic!("no DISCONNECT") };
    assert_eq!(told.reason_code, DisconnectReasonCode::SessionTakenOver);
}

#[tokio::test]
async fn the_session_of_an_account_is_kept_for_as_long_as_it_asks_within_our_bound() {
    let file = [
        accounts::account("ha", "hunter2", "role = 'reader'"),
        accounts::account("roof", "hunter2", "role = 'publisher'"),
    ];
    let mut place = accounts::open(&file.concat(), Access::Lan, true).await;
    let mut reader = Raw::dial(&place.house).await;
    let ack = reader.log_in("desk", Some("ha"), Some(600)).await;
    assert!(!ack.session_present);
    assert_eq!(ack.properties.unwrap().session_expiry_interval, None, "as it was asked");
    let mut subscribe = Subscribe::new(Filter::new("meshcore/#", QoS::ExactlyOnce), None);
    subscribe.pkid = 1;
    reader.send(Packet::Subscribe(subscribe)).await;
    let Packet::SubAck(ack) = reader.packet().await else { panic!("no SUBACK") };
    assert_eq!(ack.return_codes, [SubscribeReasonCode::Success(QoS::AtLeastOnce)]);
    drop(reader);

    let mut gateway = Raw::dial(&place.house).await;
    gateway.log_in("roof", Some("roof"), None).await;
    gateway.publish("while it was away", 7).await;
    let message = place.outlet.next().await.unwrap();
    assert_eq!(message.payload, "while it was away");

    let mut reader = Raw::dial(&place.house).await;
    let ack = reader.log_in("desk", Some("ha"), Some(u32::MAX)).await;
    assert!(ack.session_present);
    assert_eq!(ack.properties.unwrap().session_expiry_interval, Some(24 * 3_600));
    let Packet::Publish(copy) = reader.packet().await else { panic!("no PUBLISH") };
    assert_eq!((copy.payload, copy.qos), ("while it was away".into(), QoS::AtLeastOnce));

    // Said at the end, it counts for more than what was said at the start.
    let goodbye = rumqttc::v5::mqttbytes::v5::DisconnectProperties {
        session_expiry_interval: Some(0),
        reason_string: None,
        user_properties: Vec::new(),
        server_reference: None,
    };
    let reason_code = DisconnectReasonCode::NormalDisconnection;
    reader.send(Packet::Disconnect(Disconnect { reason_code, properties: Some(goodbye) })).await;
    reader.is_closed().await;
    let mut reader = Raw::dial(&place.house).await;
    assert!(!reader.log_in("desk", Some("ha"), None).await.session_present);
}

#[tokio::test]
async fn a_client_library_of_version_5_publishes_with_qos_1() {
    let (house, mut stored) = rig::storing().await;
    let mut options = MqttOptions::new("library", "127.0.0.1", house.port());
    options.set_connection_timeout(5);
    let (client, mut events) = AsyncClient::new(options, 10);
    client.publish(TOPIC, QoS::AtLeastOnce, false, "x").await.unwrap();
    let acknowledged = async {
        loop {
            if let Event::Incoming(Packet::PubAck(ack)) = events.poll().await.unwrap() {
                return ack.reason;
            }
        }
    };
    let reason = tokio::time::timeout(PATIENCE, acknowledged).await.expect("a PUBACK");
    assert_eq!(reason, PubAckReason::Success);
    let arrival = stored.next().await;
    assert!(arrival.awaited && arrival.payload == "x");
}
