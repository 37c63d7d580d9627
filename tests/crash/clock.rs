//! A clock that jumps while the hub runs: back an hour, and forward ten years.

use super::*;
use crate::support::database::{column, count};
use crate::support::load::message;
use crate::support::{PATIENCE, eventually};

use meshbox::app::Hub;
use meshbox::clock::Clock;
use meshbox::config::Config;
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use std::time::{Duration, Instant};

/// 2026-11-23T04:24:21Z.
const START_MS: i64 = 1_795_407_861_000;

const HOUR_MS: i64 = 3_600_000;
const TEN_YEARS_MS: i64 = 3_650 * 24 * HOUR_MS;

/// A hub whose clock the test moves, on a runtime of its own.
struct Bed {
    runtime: tokio::runtime::Runtime,
    hub: Option<Hub>,
    clock: Clock,
    dir: tempfile::TempDir,
    sent: u32,
    acknowledged: BTreeSet<u32>,
}

const CONFIG: &str = "commitIntervalMs = 5\n[retention]\nnodeDays = 7\npacketDays = 30\n\
    observerDays = 14\nmetricsDays = 30\n";

impl Bed {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let (dir, clock) = (folder(CONFIG), Clock::by_hand(START_MS));
        let hub = None;
        let acknowledged = BTreeSet::new();
        let mut bed = Self { runtime, hub, clock, dir, sent: 0, acknowledged };
        bed.start();
        bed
    }

    fn start(&mut self) {
        let file = self.dir.path().join("broker.toml");
        let config = Config::load(Some(&file), &|_| None, self.dir.path()).unwrap();
        let hub = self.runtime.block_on(Hub::start(&config, self.clock.clone())).unwrap();
        self.hub = Some(hub);
    }

    fn stop(&mut self) {
        let hub = self.hub.take().unwrap();
        self.runtime.block_on(hub.stop(Instant::now() + PATIENCE)).unwrap();
    }

    fn at(&self) -> SocketAddr {
        self.hub.as_ref().unwrap().listening()[0].address.parse().unwrap()
    }

    fn doubt(&self) -> Option<String> {
        self.hub.as_ref().unwrap().health().clock.doubt
    }

    fn db(&self) -> PathBuf {
        database(self.dir.path())
    }

    fn count(&self, sql: &str) -> i64 {
        count(&self.db(), &format!("select count(*) from {sql}"))
    }

    /// Twenty packets, a status, and something that is refused: everything is acknowledged.
    fn publish(&mut self, stamp: &str) {
        let numbers = self.sent..self.sent + 20;
        self.sent += 20;
        self.acknowledged.extend(numbers.clone());
        let mut messages: Vec<_> = numbers.map(|n| message(&gateway(1), n)).collect();
        let topic = |kind: &str| format!("meshcore/SJC/{}/{kind}", gateway(1));
        let status =
            format!(r#"{{"status":"online","timestamp":"{stamp}","stats":{{"noise_floor":-99}}}}"#);
        messages.push((topic("status"), status));
        messages.push((topic("packets"), "not json".into()));
        let mut options = MqttOptions::new("gateway", "127.0.0.1", self.at().port());
        options.set_inflight(100);
        let (client, mut connection) = Client::new(options, messages.len());
        for (topic, payload) in &messages {
            client.publish(topic, QoS::AtLeastOnce, false, payload.as_bytes()).unwrap();
        }
        let acks = connection
            .iter()
            .filter(|event| matches!(event.as_ref().unwrap(), Event::Incoming(Packet::PubAck(_))));
        assert_eq!(acks.take(messages.len()).count(), messages.len());
    }

    /// Lets the clock run, as a test's clock does: all at once.
    fn run(&self, minutes: u64) {
        self.clock.run(Duration::from_secs(minutes * 60));
    }

    /// Waits until retention has looked once more.
    fn look(&self) {
        let rounds = || self.hub.as_ref().unwrap().counters().retention_rounds.get();
        let before = rounds();
        // Each round is an hour after the last by the clock; a jump makes one at once.
        eventually("retention has looked", || (rounds() > before).then_some(()));
    }

    fn refusals(&self) -> u64 {
        self.hub.as_ref().unwrap().counters().reasons.count("not_json")
    }
}

const FROM_THE_FUTURE: &str = "(select first_seen as at from transmissions
    union all select datetime(timestamp, 'unixepoch') from observations
    union all select last_seen from observers union all select last_seen from nodes
    union all select timestamp from observer_metrics) where at > '2027'";

const SKEWED: &str = "observers where clock_skew_seconds is not null";

#[test]
fn a_clock_that_jumps_loses_nothing_and_nothing_is_old_by_it() {
    let mut bed = Bed::new();
    assert!(bed.doubt().is_some_and(|doubt| doubt.contains("10 min more")), "it has just begun");
    bed.publish("2026-11-23T04:24:21");
    bed.run(10);
    eventually("the clock is trusted", || bed.doubt().is_none().then_some(()));
    bed.publish("2026-11-23T04:34:21");

    // Ten years ahead: every row would be old.
    bed.clock.set(START_MS + TEN_YEARS_MS);
    bed.look();
    bed.publish("2026-11-23T04:34:21");
    bed.run(60);
    bed.look();
    assert!(
        bed.doubt().is_some_and(|doubt| doubt.contains("3650 days ahead")),
        "{:?}",
        bed.doubt()
    );
    assert_eq!((bed.count("transmissions"), bed.count("observers where inactive = 1")), (60, 0));
    assert!(bed.count(FROM_THE_FUTURE) > 40, "they are stored as the clock says");
    // What the log is spared of is counted all the same.
    assert_eq!(bed.refusals(), 3);

    // Right again, and then an hour behind: gateways whose clocks are right look wrong.
    bed.clock.set(START_MS + 70 * 60_000);
    bed.publish("2026-11-23T05:34:21");
    bed.clock.set(START_MS + 10 * 60_000 - HOUR_MS);
    assert!(bed.doubt().is_some_and(|doubt| doubt.contains("behind")), "{:?}", bed.doubt());
    bed.publish("2026-11-23T05:34:21");
    assert_eq!(bed.count(SKEWED), 0);
    assert_eq!((bed.count("transmissions"), bed.refusals()), (100, 5));

    // It has caught up: what it dated into the future while it was ahead is dated back.
    bed.run(60 + 10);
    eventually("the clock is trusted", || bed.doubt().is_none().then_some(()));
    eventually("nothing is from the future", || (bed.count(FROM_THE_FUTURE) == 0).then_some(()));
    bed.publish("2026-11-23T01:44:21");
    assert_eq!(bed.count(SKEWED), 1, "three hours");
    let samples = column(&bed.db(), "select timestamp from observer_metrics order by 1");
    assert!(
        samples.len() >= 3 && samples.iter().all(|at| at.starts_with("2026-11-23T0")),
        "{samples:?}"
    );
    bed.stop();
    is_whole(&bed.db(), &bed.acknowledged);
    assert_eq!((bed.count("transmissions"), bed.count("dropped_packets")), (120, 0));
}

#[test]
fn a_hub_that_starts_with_a_clock_of_1970_or_of_in_ten_years_loses_nothing() {
    let mut bed = Bed::new();
    bed.publish("2026-11-23T04:24:21");
    bed.stop();
    for (now_ms, doubt) in [
        (60_000, "when this program was released"),
        (START_MS - HOUR_MS, "3600 s behind"),
        (START_MS + TEN_YEARS_MS, "3650 days ahead"),
    ] {
        bed.clock.set(now_ms);
        bed.start();
        assert!(bed.doubt().is_some_and(|said| said.contains(doubt)), "{:?}", bed.doubt());
        eventually("retention has looked", || {
            (bed.hub.as_ref().unwrap().counters().retention_rounds.get() > 0).then_some(())
        });
        bed.publish("2026-11-23T04:24:21");
        assert_eq!(bed.count("observers where inactive = 1 or last_seen < '2026-11-23'"), 0);
        assert_eq!(bed.count("transmissions where first_seen < '2026-11-23'"), 0);
        bed.stop();
    }
    // The next one finds rows from the future, and the system has set the clock meanwhile.
    bed.clock.set(START_MS);
    bed.start();
    assert!(bed.doubt().is_some_and(|said| said.contains("3650 days behind")), "{:?}", bed.doubt());
    bed.clock.synchronise();
    eventually("the clock is trusted", || bed.doubt().is_none().then_some(()));
    eventually("nothing is from the future", || (bed.count(FROM_THE_FUTURE) == 0).then_some(()));
    bed.stop();
    is_whole(&bed.db(), &bed.acknowledged);
}
