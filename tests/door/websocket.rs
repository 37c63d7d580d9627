//! WebSocket listeners, frame by frame: the forms in which uploaders and browsers speak it.

use std::net::SocketAddr;

use bytes::BytesMut;
use meshbox::config::{Access, Listener, Transport};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{ConnAck, ConnectReturnCode, Packet, PubAck};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::rig::{self, House, Stored, TOPIC, bytes_of, connect, publish};
use crate::support::{PATIENCE, eventually_async};

pub(crate) fn ws(access: Access) -> Listener {
    let plain = Listener::tcp("127.0.0.1:0".parse().unwrap(), access);
    Listener { transport: Transport::Ws, ..plain }
}

async fn open() -> (House, Stored) {
    rig::storing_on(vec![ws(Access::Lan)]).await
}

/// A request with these further header lines, each ended with a line break.
pub(crate) fn request(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:8083\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\n{more}\r\n"
    )
}

pub(crate) const MQTT: &str = "Sec-WebSocket-Protocol: mqtt\r\n";

pub(crate) const BINARY: u8 = 0x82;

/// A masked frame.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match u16::try_from(payload.len()) {
        Ok(short @ 0..=125) => bytes.push(0x80 | short.to_be_bytes()[1]),
        Ok(middle) => {
            bytes.push(0x80 | 126);
            bytes.extend(middle.to_be_bytes());
        }
        Err(_) => {
            bytes.push(0x80 | 127);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    let mask = [0x11, 0x22, 0x33, 0x44];
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    bytes
}

/// A client that frames as it is told.
pub(crate) struct Client {
    stream: TcpStream,
    /// What it was answered before the first frame.
    pub(crate) head: String,
    raw: BytesMut,
    mqtt: BytesMut,
}

impl Client {
    pub(crate) async fn dial(address: SocketAddr, path: &str, more: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request(path, more).as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tokio::time::timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        Self { stream, head, raw: BytesMut::new(), mqtt: BytesMut::new() }
    }

    /// One that has been let in.
    pub(crate) async fn log_in(house: &House, id: &str) -> Self {
        let mut client = Self::dial(house.address(), "/mqtt", MQTT).await;
        client.send(BINARY, &bytes_of(&Packet::Connect(connect(id)))).await;
        let welcome = ConnAck::new(ConnectReturnCode::Success, false);
        assert_eq!(client.packet().await, Packet::ConnAck(welcome));
        client
    }

    pub(crate) async fn send(&mut self, first: u8, payload: &[u8]) {
        self.stream.write_all(&frame(first, payload)).await.unwrap();
    }

    /// The next frame: its first byte and its payload; `None` at the end.
    pub(crate) async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some((header, len)) = self.header().filter(|(h, n)| self.raw.len() >= h + n) {
                let bytes = self.raw.split_to(header + len);
                return Some((bytes[0], bytes[header..].to_vec()));
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.raw)).await;
            if !matches!(read.expect("a frame or the end should come"), Ok(n) if n > 0) {
                return None;
            }
        }
    }

    fn header(&self) -> Option<(usize, usize)> {
        let length = *self.raw.get(1)?;
        assert_eq!(length & 0x80, 0, "servers do not mask");
        match length {
            126 => {
                let bytes = self.raw.get(2..4)?;
                Some((4, usize::from(u16::from_be_bytes(bytes.try_into().unwrap()))))
            }
            127 => panic!("a frame of ours is at most 16 KiB"),
            short => Some((2, usize::from(short))),
        }
    }

    /// The next MQTT packet; frames of other kinds are a failure.
    pub(crate) async fn packet(&mut self) -> Packet {
        loop {
            if let Ok(packet) = Packet::read(&mut self.mqtt, usize::MAX) {
                return packet;
            }
            let (first, payload) = self.frame().await.expect("the connection should stay open");
            assert_eq!(first, BINARY);
            self.mqtt.extend_from_slice(&payload);
        }
    }
}

fn message(pkid: u16) -> Vec<u8> {
    bytes_of(&Packet::Publish(publish(TOPIC, b"framed", QoS::AtLeastOnce, pkid))).to_vec()
}

#[tokio::test]
async fn row_1_any_path_and_the_subprotocol_mqtt_open_a_connection() {
    let (house, mut stored) = open().await;
    for path in ["/", "/mqtt", "/ws", "/any/thing?at=all"] {
        for (more, echoed) in [(MQTT, true), ("", false)] {
            let mut client = Client::dial(house.address(), path, more).await;
            assert!(client.head.starts_with("HTTP/1.1 101 "), "{}", client.head);
            assert_eq!(client.head.contains("Sec-WebSocket-Protocol: mqtt\r\n"), echoed);
            client.send(BINARY, &bytes_of(&Packet::Connect(connect("")))).await;
            client.packet().await;
            client.send(BINARY, &message(1)).await;
            assert_eq!(client.packet().await, Packet::PubAck(PubAck::new(1)));
            assert_eq!(stored.next().await.payload, "framed");
        }
    }
    assert_eq!(house.broker.listening()[0].transport, "ws");
}

#[tokio::test]
async fn frames_are_no_packets() {
    let (house, mut stored) = open().await;
    let mut client = Client::log_in(&house, "framer").await;
    // Two packets in a frame.
    client.send(BINARY, &[message(1), message(2)].concat()).await;
    // A packet in three fragments of one message, with a ping between them.
    let packet = message(3);
    client.send(0x02, &packet[..5]).await;
    client.send(0x89, b"still there?").await;
    client.send(0x00, &packet[5..6]).await;
    client.send(0x80, &packet[6..]).await;
    // A packet over several messages, byte by byte.
    for byte in message(4) {
        client.send(BINARY, &[byte]).await;
    }
    client.send(BINARY, b"").await;
    let (mut acknowledged, mut pongs, mut mqtt) = (0, Vec::new(), BytesMut::new());
    while acknowledged < 4 || pongs.is_empty() {
        let (first, payload) = client.frame().await.unwrap();
        match first {
            0x8A => pongs.push(payload),
            _ => mqtt.extend_from_slice(&payload),
        }
        while let Ok(packet) = Packet::read(&mut mqtt, usize::MAX) {
            acknowledged += 1;
            assert_eq!(packet, Packet::PubAck(PubAck::new(acknowledged)));
        }
    }
    assert_eq!(pongs, [b"still there?"]);
    for _ in 0..4 {
        assert_eq!(stored.next().await.payload, "framed");
    }
}

#[tokio::test]
async fn a_frame_that_is_too_large_is_skipped_without_being_kept_and_acknowledged() {
    let (house, mut stored) = open().await;
    let mut client = Client::log_in(&house, "large").await;
    for (pkid, len, fits) in [(1, 20_000, true), (2, 3_000_000, false), (3, 10, true)] {
        let packet = Packet::Publish(publish(TOPIC, &vec![b'x'; len], QoS::AtLeastOnce, pkid));
        client.send(BINARY, &bytes_of(&packet)).await;
        assert_eq!(client.packet().await, Packet::PubAck(PubAck::new(pkid)));
        if fits {
            assert_eq!(stored.next().await.payload.len(), len);
        }
    }
    assert_eq!(house.reason("publish_too_large"), 1);
}

#[tokio::test]
async fn a_subscriber_gets_copies_in_frames_of_bounded_size() {
    let (house, mut stored) = open().await;
    let mut client = Client::log_in(&house, "reader").await;
    let mut subscribe = rumqttc::mqttbytes::v4::Subscribe::new("meshcore/#", QoS::AtMostOnce);
    subscribe.pkid = 1;
    client.send(BINARY, &bytes_of(&Packet::Subscribe(subscribe))).await;
    assert!(matches!(client.packet().await, Packet::SubAck(_)));
    let packet = Packet::Publish(publish(TOPIC, &vec![b'x'; 50_000], QoS::AtMostOnce, 0));
    client.send(BINARY, &bytes_of(&packet)).await;
    stored.next().await;
    let Packet::Publish(copy) = client.packet().await else { panic!("no copy") };
    assert_eq!(copy.payload.len(), 50_000);
}

#[tokio::test]
async fn a_close_is_answered_and_what_is_no_mqtt_is_refused_with_a_code() {
    let (house, mut stored) = open().await;
    let mut client = Client::log_in(&house, "leaving").await;
    client.send(0x88, &1000_u16.to_be_bytes()).await;
    assert_eq!(client.frame().await, Some((0x88, 1000_u16.to_be_bytes().to_vec())));
    assert_eq!(client.frame().await, None);
    let cases = [
        (frame(0x81, b"{}"), 1003_u16, "websocket_text_frame"),
        (b"\x82\x01x".to_vec(), 1002, "websocket_unmasked_frame"),
        (frame(0xC2, b"deflated"), 1002, "websocket_malformed_frame"),
    ];
    for (bytes, code, reason) in cases {
        let mut client = Client::log_in(&house, "wrong").await;
        client.stream.write_all(&bytes).await.unwrap();
        assert_eq!(client.frame().await, Some((0x88, code.to_be_bytes().to_vec())), "{reason}");
        assert_eq!(client.frame().await, None);
        eventually_async(reason, || (house.reason(reason) == 1).then_some(())).await;
    }
    let mut client = Client::log_in(&house, "good").await;
    client.send(BINARY, &message(1)).await;
    stored.next().await;
}

/// What is answered to these bytes.
async fn answer(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(PATIENCE, read).await.expect("the end should come").unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn what_opens_no_websocket_is_answered_politely_or_named() {
    let (house, mut stored) = open().await;
    let page = answer(house.address(), b"GET / HTTP/1.1\r\nHost: pi\r\n\r\n").await;
    assert!(page.starts_with("HTTP/1.1 426 ") && page.contains("an MQTT broker"), "{page}");
    let chat = request("/", "Sec-WebSocket-Protocol: chat\r\n");
    assert!(answer(house.address(), chat.as_bytes()).await.starts_with("HTTP/1.1 400 "));
    let endless = format!("GET /{} HTTP/1.1\r\n", "x".repeat(9_000));
    assert!(answer(house.address(), endless.as_bytes()).await.starts_with("HTTP/1.1 431 "));
    assert_eq!(answer(house.address(), &bytes_of(&Packet::Connect(connect("x")))).await, "");
    assert_eq!(answer(house.address(), b"\x16\x03\x01\x02\0\x01\0").await, "");
    for reason in [
        "http_without_upgrade",
        "websocket_subprotocol_unknown",
        "websocket_request_too_large",
        "mqtt_without_websocket",
        "tls_on_plain_listener",
    ] {
        eventually_async(reason, || (house.reason(reason) == 1).then_some(())).await;
    }
    assert_eq!(house.counters.broker_refused.get(), 5);
    let mut client = Client::log_in(&house, "good").await;
    client.send(BINARY, &message(1)).await;
    stored.next().await;
}

#[tokio::test]
async fn a_page_of_another_host_counts_as_outside_and_a_listed_one_does_not() {
    let origins = vec!["map.example.org".to_owned()];
    let listener = Listener { origins, ..ws(Access::Lan) };
    let (house, _stored) = rig::storing_on(vec![listener]).await;
    let cases = [
        ("http://127.0.0.1:8080", ConnectReturnCode::Success),
        ("https://map.example.org", ConnectReturnCode::Success),
        ("https://evil.example", ConnectReturnCode::NotAuthorized),
        ("null", ConnectReturnCode::NotAuthorized),
    ];
    for (origin, code) in cases {
        let more = format!("{MQTT}Origin: {origin}\r\n");
        let mut client = Client::dial(house.address(), "/", &more).await;
        client.send(BINARY, &bytes_of(&Packet::Connect(connect("page")))).await;
        assert_eq!(client.packet().await, Packet::ConnAck(ConnAck::new(code, false)), "{origin}");
    }
    assert_eq!(house.reason("page_of_another_host"), 2);
}
