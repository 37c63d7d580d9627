//! One that reads every copy and does nothing else.

use crate::traffic;
use bytes::BytesMut;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::Subscribe;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A subscriber to everything of the gateways, at QoS 0.
pub(crate) struct Subscriber {
    socket: TcpStream,
    copies: Arc<AtomicUsize>,
    reader: Option<JoinHandle<()>>,
}

impl Subscriber {
    pub(crate) fn of(at: SocketAddr) -> Self {
        let mut socket = traffic::connect(at, "a subscriber to all");
        let mut subscribe = Subscribe::new("meshcore/#", QoS::AtMostOnce);
        subscribe.pkid = 1;
        let mut out = BytesMut::new();
        subscribe.write(&mut out).unwrap();
        socket.write_all(&out).unwrap();
        let mut answer = [0; 5];
        socket.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [0x90, 3, 0, 1, 0], "subscribed");
        let (copies, stream) = (Arc::new(AtomicUsize::new(0)), socket.try_clone().unwrap());
        let counted = Arc::clone(&copies);
        let reader = Some(std::thread::spawn(move || count(stream, &counted)));
        Self { socket, copies, reader }
    }

    /// Waits until it has `all` copies, or nothing more comes; how many it has had so far.
    pub(crate) fn settled(&self, all: usize) -> usize {
        let (mut last, mut since) = (0, Instant::now());
        while last < all && since.elapsed() < Duration::from_millis(300) {
            std::thread::park_timeout(Duration::from_millis(2));
            let now = self.copies.load(Ordering::Relaxed);
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        last
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
        self.reader.take().into_iter().for_each(|reader| reader.join().unwrap());
    }
}

/// Counts PUBLISH packets until the end.
fn count(mut stream: TcpStream, copies: &AtomicUsize) {
    let (mut buffer, mut held) = (vec![0; 256 * 1024], 0);
    while let Ok(n @ 1..) = stream.read(&mut buffer[held..]) {
        held += n;
        let (mut at, mut found) = (0, 0);
        while let Some(length) = packet(&buffer[at..held]) {
            found += usize::from(buffer[at] >> 4 == 3);
            at += length;
        }
        buffer.copy_within(at..held, 0);
        held -= at;
        copies.fetch_add(found, Ordering::Relaxed);
    }
}

/// The length of the packet that these bytes begin with, once it is all there.
fn packet(bytes: &[u8]) -> Option<usize> {
    let mut length = 0;
    for (n, byte) in bytes.get(1..)?.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * n);
        if byte & 0x80 == 0 {
            return Some(n + 2 + length).filter(|all| *all <= bytes.len());
        }
    }
    None
}
