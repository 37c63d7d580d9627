//! Ready-made traffic, and the clients that send it. The packets are those of `meshbox simulate`, and
//! put into bytes beforehand: on a machine with two cores the sender must cost next to nothing.

use bytes::BytesMut;
use meshbox::cli::simulate::mesh::{Mesh, Shape};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, Publish};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

/// Packets heard three times by 20 gateways: a fifth adverts, a third channel texts.
pub(crate) const EARS: usize = 3;
pub(crate) const GATEWAYS: usize = 20;
const NODES: usize = 500;

/// What one gateway sends.
#[derive(Clone, Default)]
pub(crate) struct Stream {
    pub(crate) key: String,
    /// PUBLISH packets, one behind the other, and where each ends.
    bytes: BytesMut,
    ends: Vec<usize>,
    /// The content hash of each.
    pub(crate) hashes: Vec<String>,
}

/// The whole traffic, a stream a gateway.
#[derive(Clone)]
pub(crate) struct Traffic {
    pub(crate) streams: Vec<Stream>,
    /// Which gateway's turn it is, message by message.
    pub(crate) order: Vec<usize>,
    pub(crate) packets: usize,
    qos: QoS,
}

/// Counts of the clients at work.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) acknowledged: AtomicUsize,
}

impl Traffic {
    /// So many messages; the same ones each time.
    pub(crate) fn new(messages: usize, qos: QoS) -> Self {
        let shape =
            Shape { nodes: NODES, gateways: GATEWAYS, ears: EARS..=EARS, ..Shape::default() };
        let mut mesh = Mesh::new(1, &shape);
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let now_s = u32::try_from(now_ms / 1_000).unwrap();
        let key = |gateway: &meshbox::cli::simulate::gateway::Gateway| Stream {
            key: gateway.key().to_owned(),
            ..Stream::default()
        };
        let mut streams: Vec<Stream> = mesh.gateways().iter().map(key).collect();
        let (mut order, mut packets) = (Vec::with_capacity(messages), 0);
        while order.len() < messages {
            packets += 1;
            let mut heard = mesh.transmit(now_s, now_ms).publications;
            heard.truncate(messages - order.len());
            for publication in heard {
                order.push(publication.gateway);
                let stream = &mut streams[publication.gateway];
                let json = &publication.payload;
                let hash = json.rsplit('"').nth(1).unwrap().to_ascii_lowercase();
                stream.hashes.push(hash);
                let mut publish = Publish::new(publication.topic, qos, publication.payload);
                publish.pkid = u16::try_from((stream.ends.len()) % 65_535).unwrap() + 1;
                publish.write(&mut stream.bytes).unwrap();
                stream.ends.push(stream.bytes.len());
            }
        }
        Self { streams, order, packets, qos }
    }

    pub(crate) fn messages(&self) -> usize {
        self.order.len()
    }

    /// Sends everything at once, a connection a gateway, at most so many of each unacknowledged at
    /// QoS 1. Returns when the first byte left, and for each gateway how many messages were
    /// acknowledged (QoS 1), or sent (QoS 0), when the broker was done or had hung up.
    pub(crate) fn burst(
        &self,
        at: SocketAddr,
        window: usize,
        progress: &Arc<Progress>,
    ) -> (Instant, Vec<usize>) {
        let gate = Barrier::new(self.streams.len() + 1);
        std::thread::scope(|scope| {
            let clients: Vec<_> = self
                .streams
                .iter()
                .map(|stream| {
                    let gate = &gate;
                    scope.spawn(move || {
                        let mut socket = connect(at, &stream.key);
                        gate.wait();
                        match self.qos {
                            QoS::AtMostOnce => stream.pour(&mut socket),
                            _ => stream.converse(&mut socket, window, progress),
                        }
                    })
                })
                .collect();
            gate.wait();
            let began = Instant::now();
            (began, clients.into_iter().map(|client| client.join().unwrap()).collect())
        })
    }

    /// Sends one after the other at this rate.
    pub(crate) fn trickle(&self, at: SocketAddr, a_second: f64) {
        let mut sockets: Vec<_> = self.streams.iter().map(|s| connect(at, &s.key)).collect();
        let mut next = vec![0; sockets.len()];
        let began = Instant::now();
        for (n, gateway) in self.order.iter().enumerate() {
            let due = Duration::from_secs_f64(n as f64 / a_second);
            while let Some(left) = due.checked_sub(began.elapsed()) {
                std::thread::park_timeout(left);
            }
            let message = self.streams[*gateway].messages(next[*gateway], 1);
            sockets[*gateway].write_all(message).unwrap();
            next[*gateway] += 1;
        }
    }
}

impl Stream {
    /// So many messages from the `first` on.
    fn messages(&self, first: usize, count: usize) -> &[u8] {
        let start = first.checked_sub(1).map_or(0, |n| self.ends[n]);
        let end = (first + count).checked_sub(1).map_or(0, |n| self.ends[n]);
        &self.bytes[start..end]
    }

    fn pour(&self, socket: &mut TcpStream) -> usize {
        // A broker that hangs up in the middle has its reasons; who asked for it looks at the rows.
        let sent = socket.write_all(&self.bytes);
        // What it answers comes after all that was sent.
        if sent.is_ok() && socket.write_all(&[0xC0, 0]).is_ok() {
            let _ = socket.read_exact(&mut [0; 2]);
        }
        self.ends.len()
    }

    fn converse(&self, socket: &mut TcpStream, window: usize, progress: &Progress) -> usize {
        let (mut sent, mut answered) = (0, 0);
        let mut answers = [0; 4_096];
        while answered / 4 < self.ends.len() {
            let room = window - (sent - answered / 4);
            let more = room.min(self.ends.len() - sent);
            if more > 0 && socket.write_all(self.messages(sent, more)).is_err() {
                // What was acknowledged before may still be under way.
                while let Ok(n @ 1..) = socket.read(&mut answers) {
                    answered += n;
                }
                break;
            }
            sent += more;
            match socket.read(&mut answers) {
                Ok(n @ 1..) => {
                    progress
                        .acknowledged
                        .fetch_add((answered + n) / 4 - answered / 4, Ordering::Relaxed);
                    answered += n;
                }
                _ => break,
            }
        }
        answered / 4
    }
}

pub(crate) fn connect(at: SocketAddr, key: &str) -> TcpStream {
    let greet = || -> io::Result<TcpStream> {
        let mut socket = TcpStream::connect(at)?;
        socket.set_nodelay(true)?;
        let mut connect = Connect::new(format!("meshcore_{}", &key[..14]));
        connect.keep_alive = 600;
        let mut out = BytesMut::new();
        connect.write(&mut out).map_err(io::Error::other)?;
        socket.write_all(&out)?;
        let mut answer = [0; 4];
        socket.read_exact(&mut answer)?;
        assert_eq!(answer, [0x20, 2, 0, 0], "let in");
        Ok(socket)
    };
    greet().unwrap()
}
