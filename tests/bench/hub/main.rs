//! The whole hub as its users have it: the release program as a process, MQTT over loopback, a real
//! file. Prints lines for the table in README "Numbers".
//!
//! `cargo bench --bench hub` runs those that take seconds; `cargo bench --bench hub -- flood start`
//! the named ones, `… -- all` every one. What is compared is measured in the same run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark ends at the first surprise"
)]
#![allow(clippy::cast_precision_loss, reason = "numbers for people")]

#[path = "../bare.rs"]
mod bare;
mod burst;
mod child;
mod everyday;
#[path = "../mosquitto.rs"]
mod mosquitto;
mod start;
mod stop;
mod traffic;

use rumqttc::mqttbytes::QoS;
use std::path::{Path, PathBuf};

/// A measurement by its name, and whether it is short enough to run unasked.
type Bench = (&'static str, bool, fn(&mut Table));

const BENCHES: [Bench; 7] = [
    ("burst", true, |table| burst::run(table, 50_000, QoS::AtMostOnce, 0)),
    ("qos1", true, |table| {
        burst::run(table, 50_000, QoS::AtLeastOnce, 20);
        burst::run(table, 50_000, QoS::AtLeastOnce, 1_000);
    }),
    ("stop", true, stop::run),
    ("mosquitto", true, burst::mosquitto),
    ("flood", false, |table| burst::run(table, 500_000, QoS::AtMostOnce, 0)),
    ("everyday", false, everyday::run),
    ("start", false, start::run),
];

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |(name, short, _): &&Bench| match asked.as_slice() {
        [] => *short,
        [all] if all == "all" => true,
        names => names.iter().any(|n| n == name),
    };
    let mut table = Table::default();
    for (name, _, bench) in BENCHES.iter().filter(wanted) {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        eprintln!("{name}: load average {}", load.split(' ').next().unwrap_or("?"));
        bench(&mut table);
    }
    table.print();
}

/// The lines that are printed at the end.
#[derive(Default)]
struct Table(Vec<[String; 4]>);

impl Table {
    fn line(&mut self, figure: &str, measured: String, must: &str, aim: &str) {
        eprintln!("  {figure}: {measured}");
        self.0.push([figure.into(), measured, must.into(), aim.into()]);
    }

    fn print(&self) {
        if !self.0.is_empty() {
            println!("| figure | measured | must | aim |\n|---|---|---|---|");
        }
        for [figure, measured, must, aim] in &self.0 {
            println!("| {figure} | {measured} | {must} | {aim} |");
        }
    }
}

/// A folder on the disk that the build is on: /tmp may be memory.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(kept()).unwrap()
}

/// Where things are kept from one run to the next.
fn kept() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench");
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// The single number that a query gives.
fn count(db: &Path, sql: &str) -> i64 {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let conn = rusqlite::Connection::open_with_flags(db, flags).unwrap();
    conn.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// An empty file with the hub's own schema.
fn empty_database(path: &Path) {
    let counters = std::sync::Arc::new(meshbox::counters::Counters::default());
    let clock = meshbox::clock::Clock::system();
    let options = meshbox::store::Options {
        path: path.into(),
        commit_interval: std::time::Duration::from_secs(1),
        sample_interval: std::time::Duration::from_secs(300),
        retention: meshbox::config::Retention::for_ever(),
        observer_blacklist: Vec::new(),
        trust: meshbox::clock::Trust::given(clock.clone()),
        wal_max_bytes: 64 << 20,
    };
    let (sink, writer) = meshbox::store::start(options, clock, counters).unwrap();
    drop(sink);
    writer.finish(std::time::Instant::now() + std::time::Duration::from_secs(60)).unwrap();
}
