//! Clients that others wrote, driven by the scripts in `tests/clients`: paho-mqtt (Python) and
//! MQTT.js (Node.js); and mosquitto's. All of them in MQTT 3.1.1 and MQTT 5.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use meshbox::config::{
    Access, AccountsFile, Broker, CertificateFiles, Listener, Logins, Transport,
};

use super::accounts::account;
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

const VERSIONS: [&str; 2] = ["3.1.1", "5"];

/// A broker with a listener of each transport that wants no login, and one that does.
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
        let accounts = dir.path().join("accounts.toml");
        std::fs::write(&accounts, account("somebody", "right", "role = 'publisher'")).unwrap();
        let accounts = AccountsFile::load(&accounts).unwrap();
        let logins = Logins { accounts, ..Logins::default() };
        let config = Broker { logins, ..Broker::with(listeners) };
        let (house, stored) = rig::storing_as(config).await;
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
type Run = Box<dyn Fn(&Ours, Transport, &str, bool, &str) -> Script>;

fn paho() -> Option<Run> {
    let python = installed("venv/bin/python")?.join("venv/bin/python");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/pahomqtt.py");
    Some(Box::new(move |ours, transport, version, closed, action| {
        let carrier = if transport.is_websocket() { "websockets" } else { "tcp" };
        let port = ours.address(transport, closed).port().to_string();
        let mut command = Command::new(&python);
        command
            .arg(&script)
            .args([&port, carrier, version])
            .arg(ours.ca(transport))
            .args([action, TOPIC]);
        Script::start(command)
    }))
}

fn mqttjs() -> Option<Run> {
    let folder = installed("node_modules/mqtt")?;
    let node = program("node")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/mqttjs.mjs");
    Some(Box::new(move |ours, transport, version, closed, action| {
        let scheme = match transport {
            Transport::Tcp => "mqtt",
            Transport::Tls => "mqtts",
            Transport::Ws => "ws",
            Transport::Wss => "wss",
        };
        let port = ours.address(transport, closed).port();
        let mut command = Command::new(&node);
        command.arg(&script).arg(&folder).arg(format!("{scheme}://localhost:{port}/mqtt"));
        command.arg(version).arg(ours.ca(transport)).args([action, TOPIC]);
        Script::start(command)
    }))
}

/// Publish, subscribe, will, takeover, and a wrong password, on every transport.
async fn everything(run: Run, version: &str, name: &str) {
    let mut ours = Ours::new().await;
    for transport in ALL {
        let publisher = run(&ours, transport, version, false, "publish");
        publisher.says("acknowledged").await;
        assert_eq!(ours.stored.next().await.payload, format!("from {name}"), "{transport}");

        let echo = run(&ours, transport, version, false, "echo");
        echo.says(&format!("received {TOPIC} from {name}")).await;
        echo.says("disconnected").await;
        ours.stored.next().await;

        let first = run(&ours, transport, version, false, "stay");
        first.says("subscribed").await;
        let takeovers = ours.house.counters.broker_takeovers.get();
        let second = run(&ours, transport, version, false, "stay");
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

        let refused = run(&ours, transport, version, true, "password");
        assert!(names_the_password(&refused.says("refused").await), "{transport} {version}");
    }
    assert_eq!(ours.house.reason("password_wrong"), 4);
}

/// Whether a client that was refused says that name or password are wrong, as each spells it.
fn names_the_password(words: &str) -> bool {
    words.to_lowercase().replace(' ', "").contains("badusernameorpassword")
}

#[tokio::test]
async fn paho_does_everything_in_both_versions_over_tcp_tls_and_websockets() {
    for version in VERSIONS {
        let Some(run) = paho() else { return };
        everything(run, version, "paho").await;
    }
}

#[tokio::test]
async fn mqttjs_does_everything_in_both_versions_over_tcp_tls_and_websockets() {
    for version in VERSIONS {
        let Some(run) = mqttjs() else { return };
        everything(run, version, "MQTT.js").await;
    }
}

/// One of mosquitto's programs, told where and how to connect. Version 2.0 of them speaks no
/// WebSocket.
fn mosquitto(
    ours: &Ours,
    name: &str,
    transport: Transport,
    version: &str,
    closed: bool,
) -> Option<Command> {
    let mut command = Command::new(program(name)?);
    let port = ours.address(transport, closed).port().to_string();
    let version = if version == "5" { "mqttv5" } else { "mqttv311" };
    command.args(["-h", "localhost", "-p", &port, "-V", version, "-q", "1", "-t", TOPIC]);
    if transport.is_encrypted() {
        command.arg("--cafile").arg(&ours.files.certificate);
    }
    Some(command)
}

async fn output(mut command: Command) -> Output {
    let done = tokio::task::spawn_blocking(move || command.output());
    tokio::time::timeout(PATIENCE, done).await.unwrap().unwrap().unwrap()
}

/// Until so many of those who are connected have subscribed.
async fn subscribed(ours: &Ours, count: usize) {
    let subscribers = || {
        let rows = ours.house.broker.desk().clients(0).connections;
        (rows.iter().filter(|row| !row.subscriptions.is_empty()).count() == count).then_some(())
    };
    eventually_async("they have subscribed", subscribers).await;
}

#[tokio::test]
async fn mosquitto_does_everything_in_both_versions_over_tcp_and_tls() {
    let mut ours = Ours::new().await;
    for (transport, version) in [Transport::Tcp, Transport::Tls]
        .into_iter()
        .flat_map(|transport| VERSIONS.map(|version| (transport, version)))
    {
        let client = |name, closed| mosquitto(&ours, name, transport, version, closed);
        let (Some(mut reader), Some(mut pen)) =
            (client("mosquitto_sub", false), client("mosquitto_pub", false))
        else {
            return;
        };
        // Publish and subscribe.
        reader.args(["-C", "1", "-N"]);
        let reader = tokio::spawn(output(reader));
        subscribed(&ours, 1).await;
        pen.args(["-m", "from mosquitto"]);
        assert!(output(pen).await.status.success(), "{transport} {version}");
        assert_eq!(ours.stored.next().await.payload, "from mosquitto");
        assert_eq!(reader.await.unwrap().stdout, b"from mosquitto", "{transport} {version}");

        // Takeover, and with it the will of the one that is replaced.
        let client = |name, closed| mosquitto(&ours, name, transport, version, closed);
        let mut stays = client("mosquitto_sub", false).unwrap();
        stays.args(["-i", "same", "--will-topic", TOPIC, "--will-qos", "1"]);
        stays.args(["--will-payload", "mosquitto has gone"]);
        let stays = Script::start(stays);
        subscribed(&ours, 1).await;
        let takeovers = ours.house.counters.broker_takeovers.get();
        let mut pen = client("mosquitto_pub", false).unwrap();
        pen.args(["-i", "same", "-m", "in its place"]);
        assert!(output(pen).await.status.success(), "{transport} {version}");
        assert!(ours.house.counters.broker_takeovers.get() > takeovers);
        assert_eq!(ours.stored.next().await.payload, "mosquitto has gone");
        assert_eq!(ours.stored.next().await.payload, "in its place");
        drop(stays);
        let left = || (ours.house.counters.broker_connections.get() == 0).then_some(());
        eventually_async("all have left", left).await;
        // It may have come back for a moment.
        while !ours.stored.nothing_more() {}

        let mut right = mosquitto(&ours, "mosquitto_pub", transport, version, true).unwrap();
        right.args(["-u", "somebody", "-P", "right", "-m", "by name"]);
        assert!(output(right).await.status.success(), "{transport} {version}");
        assert_eq!(*ours.stored.next().await.origin.name, *"somebody");
        let mut wrong = mosquitto(&ours, "mosquitto_pub", transport, version, true).unwrap();
        wrong.args(["-u", "somebody", "-P", "wrong", "-m", "x"]);
        let refused = output(wrong).await;
        let words = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && names_the_password(&words), "{version}: {words}");
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
        let done = output(command).await;
        assert!(done.status.success(), "{version}: {done:?}");
        assert_eq!(ours.stored.next().await.payload, version);
    }
}
