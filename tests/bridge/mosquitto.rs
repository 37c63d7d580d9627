//! A real mosquitto as a child, and a client that publishes to it.

use crate::support::{PATIENCE, program};

use rumqttc::{AsyncClient, Event, EventLoop, Incoming, MqttOptions, Outgoing, QoS};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ends with the test, whichever way the test ends.
pub(super) struct Mosquitto {
    child: Option<Child>,
    config: PathBuf,
    pub(super) at: SocketAddr,
}

impl Mosquitto {
    /// Starts one without persistence and with these further lines in its configuration; `None` (said
    /// aloud) where mosquitto is not installed.
    pub(super) fn start(dir: &Path, more: &str) -> Option<Self> {
        let program = program("mosquitto")?;
        // Somebody else may take the port between our letting go of it and mosquitto's taking it.
        for _ in 0..5 {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let at = free.local_addr().unwrap();
            drop(free);
            let config = dir.join("mosquitto.conf");
            let text = format!(
                "listener {} 127.0.0.1\nallow_anonymous true\nuser root\npersistence false\n\
                 max_queued_messages 0\nlog_dest none\n{more}\n",
                at.port()
            );
            std::fs::write(&config, text).unwrap();
            let mut broker = Self { child: None, config, at };
            if broker.launch(&program) {
                return Some(broker);
            }
        }
        panic!("mosquitto does not start");
    }

    /// Ends it; what it had in memory is gone.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again on the same port.
    pub(super) fn start_again(&mut self) {
        let program = program("mosquitto").unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !self.launch(&program) {
            assert!(Instant::now() < deadline, "mosquitto does not get its port again");
        }
    }

    fn launch(&mut self, program: &Path) -> bool {
        let mut command = Command::new(program);
        command.arg("-c").arg(&self.config).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.child = Some(child);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.child.as_mut().is_some_and(|c| c.try_wait().unwrap().is_some()) {
                return false;
            }
            if TcpStream::connect(self.at).is_ok() {
                return true;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        false
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Publishes these payloads to one topic as a client of its own, and returns when the broker has
/// them.
pub(super) async fn publish(
    at: SocketAddr,
    topic: &str,
    qos: QoS,
    retain: bool,
    payloads: impl IntoIterator<Item = String>,
) {
    let payloads: Vec<String> = payloads.into_iter().collect();
    let id = format!("publisher{}", payloads.len());
    let mut options = MqttOptions::new(id, at.ip().to_string(), at.port());
    options.set_max_packet_size(1 << 20, 1 << 20);
    let (client, mut events) = AsyncClient::new(options, payloads.len() + 1);
    let count = payloads.len();
    for payload in payloads {
        client.try_publish(topic, qos, retain, payload).unwrap();
    }
    until(&mut events, count, |event| match qos {
        QoS::AtMostOnce => matches!(event, Event::Outgoing(Outgoing::Publish(_))),
        _ => matches!(event, Event::Incoming(Incoming::PubAck(_))),
    })
    .await;
    client.try_disconnect().unwrap();
    until(&mut events, 1, |event| matches!(event, Event::Outgoing(Outgoing::Disconnect))).await;
}

async fn until(events: &mut EventLoop, mut count: usize, counts: impl Fn(&Event) -> bool) {
    let wait = async {
        while count > 0 {
            count -= usize::from(counts(&events.poll().await.unwrap()));
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("gave up waiting for the broker");
}
