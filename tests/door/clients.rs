//! Clients that others wrote, driven by the scripts in `tests/clients`: paho-mqtt (Python) and
//! MQTT.js (Node.js), and mosquitto's over TLS.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use meshbox::config::{Access, CertificateFiles, Listener, Transport};

use super::rig::{self, House, Stored, TOPIC};
use super::tls::{certificate, secure};
use crate::support::{PATIENCE, eventually_async, program};

/// Where `tests/clients/install` has put them; says aloud when it was not run. Where
/// `MESHBOX_TEST_CLIENTS` is set, as in CI, they must be there.
fn installed(what: &str) -> Option<PathBuf> {
    let wanted = std::env::var_os("MESHBOX_TEST_CLIENTS").map(PathBuf::from);
    let must = wanted.is_some();
    let dir = wanted.unwrap_or_else(|| std::env::temp_dir().join("meshbox-test-clients"));
    if dir.join(what).exists() {
        return Some(dir);
    }
    assert!(!must, "{what} is not in {}", dir.display());
    eprintln!("SKIPPED: {what} is not in {}: run tests/clients/install", dir.display());
    None
}

const ALL: [Transport; 4] = [Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];

/// A broker with a listener of each transport, and one that wants accounts.
struct Ours {
    house: House,
    stored: Stored,
    files: CertificateFiles,
    _dir: tempfile::TempDir,
}

impl Ours {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = certificate(dir.path());
        let mut listeners: Vec<_> = ALL.iter().map(|it| secure(*it, &files)).collect();
        let closed = listeners.clone();
        let closed = closed.into_iter().map(|it| Listener { access: Access::Accounts, ..it });
        listeners.extend(closed);
        let (house, stored) = rig::storing_on(listeners).await;
        Self { house, stored, files, _dir: dir }
    }

    fn address(&self, transport: Transport, closed: bool) -> SocketAddr {
        let index = ALL.iter().position(|it| *it == transport).unwrap();
        self.house.addresses[index + if closed { ALL.len() } else { 0 }]
    }

    fn ca(&self, transport: Transport) -> &Path {
        if transport.is_encrypted() { &self.files.certificate } else { Path::new("none") }
    }
}

/// A client that runs, and what it has said.
struct Script {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Script {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (out, theirs) = (child.stdout.take().unwrap(), Arc::clone(&lines));
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                theirs.lock().unwrap().push(line);
            }
        });
        Self { child, lines }
    }

    async fn says(&self, beginning: &str) -> String {
        let said = || self.lines.lock().unwrap().iter().find(|l| l.starts_with(beginning)).cloned();
        eventually_async(&format!("it says {beginning:?}"), said).await
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the client said: {:?}", self.lines.lock().unwrap());
        }
    }
}

/// A client of one kind: what runs an action on a listener.
type Run = Box<dyn Fn(&Ours, Transport, bool, &str) -> Script>;

fn paho() -> Option<Run> {
    let python = installed("venv/bin/python")?.join("venv/bin/python");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/pahomqtt.py");
    Some(Box::new(move |ours, transport, closed, action| {
        let carrier = if transport.is_websocket() { "websockets" } else { "tcp" };
        let port = ours.address(transport, closed).port().to_string();
        let mut command = Command::new(&python);
        command.arg(&script).args([&port, carrier]).arg(ours.ca(transport)).args([action, TOPIC]);
        Script::start(command)
    }))
}

fn mqttjs() -> Option<Run> {
    let folder = installed("node_modules/mqtt")?;
    let node = program("node")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/mqttjs.mjs");
    Some(Box::new(move |ours, transport, closed, action| {
        let scheme = match transport {
            Transport::Tcp => "mqtt",
            Transport::Tls => "mqtts",
            Transport::Ws => "ws",
            Transport::Wss => "wss",
        };
        let port = ours.address(transport, closed).port();
        let mut command = Command::new(&node);
        command.arg(&script).arg(&folder).arg(format!("{scheme}://localhost:{port}/mqtt"));
        command.arg(ours.ca(transport)).args([action, TOPIC]);
        Script::start(command)
    }))
}

/// Publish, subscribe, will, takeover, and a login that is refused, on every transport.
async fn everything(run: Run, name: &str) {
    let mut ours = Ours::new().await;
    for transport in ALL {
        let publisher = run(&ours, transport, false, "publish");
        publisher.says("acknowledged").await;
        assert_eq!(ours.stored.next().await.payload, format!("from {name}"), "{transport}");

        let echo = run(&ours, transport, false, "echo");
        echo.says(&format!("received {TOPIC} from {name}")).await;
        echo.says("disconnected").await;
        ours.stored.next().await;

        let first = run(&ours, transport, false, "stay");
        first.says("subscribed").await;
        let takeovers = ours.house.counters.broker_takeovers.get();
        let second = run(&ours, transport, false, "stay");
        second.says("subscribed").await;
        first.says("disconnected").await;
        assert_eq!(ours.house.counters.broker_takeovers.get(), takeovers + 1);
        drop((first, second));
        // The first was replaced (its will may be published for that); the second was killed.
        let gone = tokio::time::timeout(PATIENCE, ours.stored.next()).await.unwrap();
        assert_eq!(gone.payload, format!("{name} has gone"));
        let left = || (ours.house.counters.broker_connections.get() == 0).then_some(());
        eventually_async("all have left", left).await;
        while !ours.stored.nothing_more() {}

        let refused = run(&ours, transport, true, "password");
        let words = refused.says("refused").await.to_lowercase();
        assert!(words.contains("authori"), "{words}");
    }
}

#[tokio::test]
async fn paho_does_everything_over_tcp_tls_and_websockets() {
    if let Some(run) = paho() {
        everything(run, "paho").await;
    }
}

#[tokio::test]
async fn mqttjs_does_everything_over_tcp_tls_and_websockets() {
    if let Some(run) = mqttjs() {
        everything(run, "MQTT.js").await;
    }
}

#[tokio::test]
async fn mosquitto_publishes_over_tls() {
    let Some(publisher) = program("mosquitto_pub") else { return };
    let mut ours = Ours::new().await;
    for version in ["tlsv1.2", "tlsv1.3"] {
        let mut command = Command::new(&publisher);
        let port = ours.address(Transport::Tls, false).port().to_string();
        command.args(["-h", "localhost", "-p", &port, "-q", "1", "-t", TOPIC, "-m", version]);
        command.args(["--tls-version", version, "--cafile"]).arg(&ours.files.certificate);
        let done = tokio::task::spawn_blocking(move || command.output());
        let output = tokio::time::timeout(PATIENCE, done).await.unwrap().unwrap().unwrap();
        assert!(output.status.success(), "{version}: {output:?}");
        assert_eq!(ours.stored.next().await.payload, version);
    }
}
