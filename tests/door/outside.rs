//! Clients that others wrote: mosquitto's.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use meshbox::config::Access;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::Packet;

use super::rig::{self, House, ROOMY, TOPIC, listener};
use crate::support::{PATIENCE, eventually_async, program};

/// A topic on which a last word is kept.
const CONFIG: &str = "meshcore/x/2/config";

/// Runs a program to its end beside the runtime.
pub(super) async fn run(program: &Path, port: u16, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(["-h", "127.0.0.1", "-p", &port.to_string()]).args(args);
    let done = tokio::task::spawn_blocking(move || command.output());
    tokio::time::timeout(PATIENCE, done).await.expect("it should end").unwrap().unwrap()
}

async fn publish(program: &Path, house: &House, args: &[&str]) {
    let output = run(program, house.port(), args).await;
    assert!(output.status.success(), "{args:?}: {output:?}");
}

/// A `mosquitto_sub` that has subscribed; killed when dropped.
struct Subscriber(Option<Child>);

impl Subscriber {
    /// Starts it beside a retained message, and waits until the broker has delivered that: whatever
    /// is published from then on will be delivered as well.
    async fn start(program: &Path, house: &House, args: &[&str]) -> Self {
        let mut client = house.client("retainer").await;
        let mut publish = rig::publish(CONFIG, b"retained", QoS::AtLeastOnce, 1);
        publish.retain = true;
        client.send(&Packet::Publish(publish)).await;
        client.packet().await;
        let before = house.counters.broker_deliveries.get();
        let mut command = Command::new(program);
        command.args(["-h", "127.0.0.1", "-p", &house.port().to_string()]).args(args);
        let child = command.stdout(Stdio::piped()).spawn().unwrap();
        let subscriber = Self(Some(child));
        eventually_async("it has subscribed", || {
            (house.counters.broker_deliveries.get() > before).then_some(())
        })
        .await;
        subscriber
    }

    /// Waits for it to end by itself, and returns what it printed.
    async fn printed(mut self) -> String {
        let child = self.0.take().unwrap();
        let done = tokio::task::spawn_blocking(move || child.wait_with_output());
        let output = tokio::time::timeout(PATIENCE, done).await.expect("it should end");
        String::from_utf8(output.unwrap().unwrap().stdout).unwrap()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub(super) fn tools() -> Option<(PathBuf, PathBuf)> {
    Some((program("mosquitto_pub")?, program("mosquitto_sub")?))
}

fn file_of(len: usize) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&vec![b'x'; len]).unwrap();
    file
}

#[tokio::test]
async fn mosquitto_publishes_and_subscribes_with_every_qos() {
    let Some((publisher, subscriber)) = tools() else { return };
    let (house, mut stored) = rig::storing().await;
    let args = ["-t", "meshcore/#", "-q", "2", "-C", "4", "-W", "20", "-F", "%r %q %t %p"];
    let reader = Subscriber::start(&subscriber, &house, &args).await;
    assert_eq!(stored.next().await.payload, "retained");
    for qos in ["0", "1", "2"] {
        publish(&publisher, &house, &["-t", TOPIC, "-m", qos, "-q", qos]).await;
        let arrival = stored.next().await;
        assert_eq!((&arrival.payload[..], arrival.awaited), (qos.as_bytes(), qos != "0"));
    }
    let expected = ["1 1 C retained", "0 0 T 0", "0 1 T 1", "0 1 T 2", ""];
    assert_eq!(
        reader.printed().await,
        expected.join("\n").replace('C', CONFIG).replace('T', TOPIC)
    );
}

#[tokio::test]
async fn mosquitto_sends_20_kb_and_is_not_driven_to_send_300_kb_for_ever() {
    let Some((publisher, _)) = tools() else { return };
    let (house, mut stored) = rig::storing().await;
    let (fitting, oversized) = (file_of(20_000), file_of(300_000));
    let fitting = fitting.path().to_str().unwrap();
    let oversized = oversized.path().to_str().unwrap();
    for (n, qos) in (1..).zip(["0", "1", "2"]) {
        publish(&publisher, &house, &["-t", TOPIC, "-q", qos, "-f", oversized]).await;
        publish(&publisher, &house, &["-t", TOPIC, "-q", qos, "-f", fitting]).await;
        assert_eq!(stored.next().await.payload.len(), 20_000);
        assert_eq!(house.reason("publish_too_large"), n);
    }
}

#[tokio::test]
async fn mosquitto_gets_what_was_retained() {
    let Some((publisher, subscriber)) = tools() else { return };
    let (house, mut stored) = rig::storing().await;
    publish(&publisher, &house, &["-t", "meshcore/x/1/config", "-m", "kept", "-r", "-q", "1"])
        .await;
    stored.next().await;
    let args = ["-t", "meshcore/+/+/config", "-C", "1", "-F", "%r %q %t %p"];
    let output = run(&subscriber, house.port(), &args).await;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1 0 meshcore/x/1/config kept\n");
}

#[tokio::test]
async fn mosquittos_will_is_published_when_it_is_killed() {
    let Some((_, subscriber)) = tools() else { return };
    let (house, mut stored) = rig::storing().await;
    let will = ["--will-topic", TOPIC, "--will-payload", "killed", "--will-qos", "1"];
    let args = [&["-t", "meshcore/#"], &will[..]].concat();
    let reader = Subscriber::start(&subscriber, &house, &args).await;
    assert_eq!(stored.next().await.payload, "retained");
    drop(reader);
    assert_eq!(stored.next().await.payload, "killed");
}

#[tokio::test]
async fn mosquitto_is_told_why_it_is_refused() {
    let Some((publisher, _)) = tools() else { return };
    let (accounts, _outlet) =
        rig::open_with(vec![listener("127.0.0.1:0", Access::Accounts)], ROOMY).await;
    let message = ["-t", TOPIC, "-m", "x"];
    let output = run(&publisher, accounts.port(), &message).await;
    assert!(String::from_utf8_lossy(&output.stderr).contains("not authorised"), "{output:?}");
    let (house, _stored) = rig::storing().await;
    let args = [&["-V", "mqttv31"], &message[..]].concat();
    let output = run(&publisher, house.port(), &args).await;
    let words = String::from_utf8_lossy(&output.stderr).to_lowercase();
    assert!(!output.status.success() && words.contains("protocol version"), "{output:?}");
}

#[tokio::test]
async fn mosquitto_streams_lines_and_every_one_is_acknowledged_once() {
    let Some((publisher, _)) = tools() else { return };
    let (house, mut stored) = rig::storing().await;
    let mut lines = tempfile::NamedTempFile::new().unwrap();
    for n in 0..2_000 {
        writeln!(lines, "line {n}").unwrap();
    }
    for qos in ["1", "2"] {
        let input = lines.reopen().unwrap();
        let mut command = Command::new(&publisher);
        command.args([
            "-h",
            "127.0.0.1",
            "-p",
            &house.port().to_string(),
            "-t",
            TOPIC,
            "-l",
            "-q",
            qos,
        ]);
        let done = tokio::task::spawn_blocking(move || command.stdin(input).status());
        for n in 0..2_000 {
            assert_eq!(stored.next().await.payload, format!("line {n}"));
        }
        assert!(done.await.unwrap().unwrap().success());
    }
    assert!(stored.nothing_more());
}

#[tokio::test]
async fn mosquitto_reaches_the_same_listener_over_ipv6() {
    let Some((publisher, _)) = tools() else { return };
    let (house, mut stored) = rig::storing_on(vec![listener("0.0.0.0:0", Access::Lan)]).await;
    for host in ["::1", "127.0.0.1"] {
        let args = ["-h", host, "-t", TOPIC, "-m", host, "-q", "1"];
        publish(&publisher, &house, &args).await;
        assert_eq!(stored.next().await.payload, host);
    }
    let mut client = house.client("still").await;
    client.publish(TOPIC, b"x", QoS::AtMostOnce, 0).await;
    stored.next().await;
}

#[tokio::test]
async fn mosquitto_speaks_version_5_with_every_qos() {
    let Some((publisher, subscriber)) = tools() else { return };
    let (house, mut stored) = rig::storing().await;
    let five = ["-V", "5"];
    let args = ["-t", "meshcore/#", "-q", "2", "-C", "4", "-W", "20", "-F", "%r %q %t %p"];
    let reader = Subscriber::start(&subscriber, &house, &[&five[..], &args].concat()).await;
    assert_eq!(stored.next().await.payload, "retained");
    for qos in ["0", "1", "2"] {
        let args = ["-t", TOPIC, "-m", qos, "-q", qos, "-D", "publish", "content-type", "text"];
        publish(&publisher, &house, &[&five[..], &args].concat()).await;
        let arrival = stored.next().await;
        assert_eq!((&arrival.payload[..], arrival.awaited), (qos.as_bytes(), qos != "0"));
    }
    let expected = ["1 1 C retained", "0 0 T 0", "0 1 T 1", "0 1 T 2", ""];
    assert_eq!(
        reader.printed().await,
        expected.join("\n").replace('C', CONFIG).replace('T', TOPIC)
    );
}
