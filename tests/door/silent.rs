//! Slow-loris: clients that connect and say nothing, or a little, and keep everyone waiting.

use std::sync::Arc;
use std::time::{Duration, Instant};

use meshbox::config::{Broker, Transport};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, PubAck};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::version::TLS13;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::rig::{self, House, Raw, TOPIC, bytes_of, connect, publish};
use super::tls::{certificate, dial, secure, trusting};
use super::websocket::{BINARY, MQTT, frame, request};
use crate::support::eventually_async;

const SILENT: usize = 500;

/// Both ends of every socket are in this process.
pub(super) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Publishes on this listener, and tells how long that took from the first packet of TCP on.
async fn good_client(house: &House, index: usize, tls: &Arc<rustls::ClientConfig>) {
    let transport = house.broker.listening()[index].transport.clone();
    let started = Instant::now();
    let mut client = match transport.as_str() {
        "tls" | "wss" => Raw::over(dial(house, index, tls).await.unwrap()),
        _ => Raw::dial(house.addresses[index]).await,
    };
    let login = bytes_of(&Packet::Connect(connect("good")));
    let message = bytes_of(&Packet::Publish(publish(TOPIC, b"x", QoS::AtLeastOnce, 1)));
    if transport.starts_with("ws") {
        client.bytes(request("/mqtt", MQTT).as_bytes()).await;
        client.bytes(&[frame(BINARY, &login), frame(BINARY, &message)].concat()).await;
        let acknowledged = bytes_of(&Packet::PubAck(PubAck::new(1)));
        client.reads_until(&acknowledged).await;
    } else {
        client.bytes(&[&login[..], &message].concat()).await;
        assert!(matches!(client.packet().await, Packet::ConnAck(_)));
        assert_eq!(client.packet().await, Packet::PubAck(PubAck::new(1)));
    }
    assert!(started.elapsed() < Duration::from_secs(1), "{transport}: {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_silent_sockets_on_each_listener_keep_nobody_out_and_are_closed() {
    raise_file_limit();
    let dir = tempfile::tempdir().unwrap();
    let files = certificate(dir.path());
    let all = [Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];
    let listeners = all.iter().map(|it| secure(*it, &files)).collect();
    let config = Broker { max_connections: 4_000, ..Broker::with(listeners) };
    let (house, _stored) = rig::storing_as(config).await;
    let tls = Arc::new(trusting(&files.certificate, &[&TLS13]));
    let half_hello = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03";
    let half_request = b"GET /mqtt HTTP/1.1\r\nHost: pi\r\nUpgr";
    // Listener, and what is said before the silence.
    let cases: [(usize, &[u8]); 7] = [
        (0, b""),
        (0, b"\x10\x0d\0\x04MQ"),
        (1, b""),
        (1, half_hello),
        (2, b""),
        (2, half_request),
        (3, half_hello),
    ];
    let mut silent = Vec::new();
    for (index, said) in cases {
        for _ in 0..SILENT {
            let mut socket = TcpStream::connect(house.addresses[index]).await.unwrap();
            socket.write_all(said).await.unwrap();
            silent.push(socket);
        }
        good_client(&house, index, &tls).await;
    }
    let out = || {
        let late = house.reason("no_connect_in_time") + house.reason("handshake_too_slow");
        (late == (SILENT * cases.len()) as u64).then_some(())
    };
    eventually_async("all of them are out", out).await;
    for index in 0..all.len() {
        good_client(&house, index, &tls).await;
    }
}
