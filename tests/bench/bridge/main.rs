//! Passing on, as users have it: the release program as a process, a real mosquitto beside it. Prints a
//! table for README "Numbers".
//!
//! `cargo bench --bench bridge`. What is compared is measured in the same run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark ends at the first surprise"
)]
#![allow(clippy::cast_precision_loss, reason = "numbers for people")]

#[path = "../hub/child.rs"]
#[allow(dead_code, reason = "the other benchmark uses the rest")]
mod child;
#[path = "../hub/traffic.rs"]
#[allow(dead_code, reason = "the other benchmark uses the rest")]
mod traffic;

use crate::child::{Hub, Use};
use crate::traffic::Traffic;

use meshbox::counters::UplinkState;
use rumqttc::mqttbytes::QoS;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Messages of a measurement, and how many a second there are live.
const MESSAGES: usize = 20_000;
const WAITING: usize = 100_000;
const LIVE: usize = 3_000;
const LIVE_RATE: f64 = 300.0;

fn main() {
    // `cargo test --benches` asks for nothing that takes long.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    println!("| figure | measured |\n|---|---|");
    let alone = live(None);
    let Some(mut broker) = Mosquitto::start() else {
        eprintln!("skipped: mosquitto is not installed");
        return;
    };
    let with = live(Some(broker.at));
    line(
        "live, 300 messages/s: processor time a message, with an uplink and without",
        &format!("{:.0} µs and {:.0} µs", micros(with, LIVE), micros(alone, LIVE)),
    );
    line(
        "… written a message, with an uplink and without",
        &format!("{:.0} and {:.0} bytes", bytes(with, LIVE), bytes(alone, LIVE)),
    );
    burst(broker.at);
    broker.stop();
    outage(&mut broker);
}

fn line(figure: &str, measured: &str) {
    println!("| {figure} | {measured} |");
}

fn uplink(at: SocketAddr) -> String {
    format!(
        "[[uplinks]]\nname = \"up\"\nbroker = \"mqtt://{at}\"\nrate = 100000\ntypes = \
         [\"packets\"]\nspoolMaxMB = 1024\n"
    )
}

fn state(hub: &Hub) -> UplinkState {
    hub.status().uplinks.remove("up").unwrap_or_default()
}

fn until(hub: &Hub, is: impl Fn(&UplinkState) -> bool) -> UplinkState {
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        let state = state(hub);
        if is(&state) {
            return state;
        }
        assert!(Instant::now() < deadline, "{state:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Everyday traffic, faster: what the hub used for it.
fn live(to: Option<SocketAddr>) -> Use {
    let dir = folder();
    let hub = Hub::start(dir.path(), &to.map(uplink).unwrap_or_default());
    if to.is_some() {
        until(&hub, |it| it.connected);
    }
    let traffic = Traffic::new(LIVE, QoS::AtMostOnce);
    let before = hub.used();
    traffic.trickle(hub.mqtt, LIVE_RATE);
    hub.committed(LIVE as u64);
    if to.is_some() {
        until(&hub, |it| it.sent == LIVE as u64);
    }
    less(hub.used(), before)
}

/// All at once, as fast as it goes.
fn burst(to: SocketAddr) {
    let dir = folder();
    let hub = Hub::start(dir.path(), &uplink(to));
    until(&hub, |it| it.connected);
    let traffic = Traffic::new(MESSAGES, QoS::AtLeastOnce);
    let (began, _) = traffic.burst(hub.mqtt, 20, &Default::default());
    let state = until(&hub, |it| it.sent + it.lost == MESSAGES as u64);
    let rate = MESSAGES as f64 / began.elapsed().as_secs_f64();
    line(
        "a burst of 20,000 at QoS 1: from the first byte to the last acknowledgement there",
        &format!("{rate:.0}/s, lost {}", state.lost),
    );
}

/// What waiting costs, and how fast it goes out afterwards.
fn outage(broker: &mut Mosquitto) {
    let used = |more: &str| {
        let dir = folder();
        let hub = Hub::start(dir.path(), more);
        let before = hub.used();
        let traffic = Traffic::new(WAITING, QoS::AtLeastOnce);
        traffic.burst(hub.mqtt, 20, &Default::default());
        if !more.is_empty() {
            let all = WAITING as u64;
            until(&hub, |it| it.waiting + it.lost == all && it.unwritten == 0);
        }
        let used = less(hub.used(), before);
        (dir, hub, used)
    };
    let (_, _, alone) = used("");
    let (_dir, hub, with) = used(&uplink(broker.at));
    line(
        "an outage, 100,000 messages: processor time and bytes written for each message that waits",
        &format!(
            "{:.0} µs, {:.0} bytes",
            micros(with, WAITING) - micros(alone, WAITING),
            bytes(with, WAITING) - bytes(alone, WAITING)
        ),
    );
    let before = hub.used();
    broker.run();
    until(&hub, |it| it.sent > 0);
    let (began, first) = (Instant::now(), state(&hub).sent);
    let end = until(&hub, |it| it.waiting == 0);
    let took = began.elapsed().as_secs_f64();
    let used = less(hub.used(), before);
    line(
        "catching up with them without a cap (`rate`, 50/s by default)",
        &format!(
            "{:.0}/s, {:.0} µs, {:.0} bytes a message; memory at most {:.1} MB",
            (end.sent - first) as f64 / took,
            micros(used, WAITING),
            bytes(used, WAITING),
            hub.memory_mb("VmHWM")
        ),
    );
}

fn less(after: Use, before: Use) -> Use {
    Use {
        cpu: after.cpu.saturating_sub(before.cpu),
        wchar: after.wchar - before.wchar,
        write_bytes: after.write_bytes - before.write_bytes,
    }
}

fn micros(used: Use, messages: usize) -> f64 {
    used.cpu.as_secs_f64() * 1e6 / messages as f64
}

fn bytes(used: Use, messages: usize) -> f64 {
    used.wchar as f64 / messages as f64
}

/// A folder on the disk that the build is on: /tmp may be memory.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// A mosquitto that comes and goes.
struct Mosquitto {
    child: Option<Child>,
    program: String,
    dir: tempfile::TempDir,
    at: SocketAddr,
}

impl Mosquitto {
    fn start() -> Option<Self> {
        let dirs = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/opt/homebrew/sbin"];
        let mut programs = dirs.iter().map(|dir| format!("{dir}/mosquitto"));
        let program = programs.find(|program| Path::new(program).exists())?;
        let at = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let mut broker = Self { child: None, program, dir: folder(), at };
        broker.run();
        Some(broker)
    }

    fn run(&mut self) {
        let config = self.dir.path().join("mosquitto.conf");
        let port = self.at.port();
        let text = format!("user root\nlistener {port} 127.0.0.1\nallow_anonymous true\n");
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(config).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(self.at).is_err() {
            assert!(Instant::now() < deadline, "mosquitto starts");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.stop();
    }
}
