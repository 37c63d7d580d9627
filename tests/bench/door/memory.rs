//! Memory of connections that have logged in and say nothing.

use crate::broker::Broker;
use crate::row;

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::Connect;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const CONNECTIONS: usize = 1_000;

/// How long a broker gets to come to rest.
const PAUSE: Duration = Duration::from_millis(500);

trait Wire: Read + Write {}

impl<S: Read + Write> Wire for S {}

/// A fresh broker for each transport: what earlier connections gave back would be used again.
pub(crate) fn run(dir: &Path) -> Vec<[String; 4]> {
    ["tcp", "tls", "ws"]
        .map(|transport| {
            let pair = [Broker::door(dir), Broker::mosquitto(dir).unwrap()];
            let [ours, theirs] = pair.each_ref().map(|broker| {
                // Once before: what is allocated once is not of any connection.
                let first = connections(broker, transport, 10);
                std::thread::park_timeout(PAUSE);
                let before = broker.resident_kib();
                let open = connections(broker, transport, CONNECTIONS);
                let each = (broker.resident_kib() - before) / CONNECTIONS as f64;
                drop((first, open));
                each
            });
            row(format!("memory of an idle connection, {transport}"), ours, theirs, |kib| {
                format!("{kib:.1} KiB")
            })
        })
        .into()
}

fn connections(broker: &Broker, transport: &str, count: usize) -> Vec<Box<dyn Wire>> {
    let tls = Arc::new(trusting(broker));
    (0..count)
        .map(|n| {
            let mut connect = Connect::new(format!("idle {n}"));
            connect.keep_alive = 600;
            let mut login = BytesMut::new();
            connect.write(&mut login).unwrap();
            match transport {
                "tls" => {
                    let name = ServerName::try_from("localhost").unwrap();
                    let client = ClientConnection::new(Arc::clone(&tls), name).unwrap();
                    let socket = dialled(broker.tls);
                    admitted(StreamOwned::new(client, socket), &login)
                }
                "ws" => admitted(upgraded(dialled(broker.ws)), &framed(&login)),
                _ => admitted(dialled(broker.tcp), &login),
            }
        })
        .collect()
}

fn dialled(at: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(at).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

fn trusting(broker: &Broker) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&broker.certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    builder.with_root_certificates(roots).with_no_client_auth()
}

/// Logs in, and waits for the answer.
fn admitted(mut stream: impl Wire + 'static, login: &[u8]) -> Box<dyn Wire> {
    stream.write_all(login).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(&[0x20, 2, 0, 0]) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    Box::new(stream)
}

fn upgraded(mut stream: TcpStream) -> TcpStream {
    let request = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Protocol: mqtt\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    stream
}

/// One short binary frame, masked with zeros.
fn framed(payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    assert!(length < 126);
    [&[0x82, 0x80 | length, 0, 0, 0, 0], payload].concat()
}
