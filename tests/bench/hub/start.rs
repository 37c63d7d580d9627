//! From the exec to `ready`, on an empty file and on one of a gigabyte.

use crate::child::Hub;
use crate::{Table, empty_database, folder, kept};

use rusqlite::{Connection, params};
use std::fs::File;
use std::path::Path;
use std::time::Duration;

/// A large region's few months.
const NODES: u32 = 30_000;
const PAIRS: u32 = 15_000;
const OBSERVERS: u32 = 300;
const TRANSMISSIONS: u32 = 480_000;
const HEARD: u32 = 4;

const RUNS: usize = 9;

/// Nothing gets old between two runs of the benchmark.
const FOR_EVER: &str = "[retention]\nnodeDays = 0\nobserverDays = 0\nmetricsDays = 0\n";

pub(crate) fn run(table: &mut Table) {
    let large = kept().join("gigabyte");
    if !large.join("data/whole").exists() {
        eprintln!("  making a database of a gigabyte in {}, once", large.display());
        make(&large.join("data"));
    }
    let bytes = std::fs::metadata(large.join("data/meshcore.db")).unwrap().len();
    let empty = folder();
    Hub::start(empty.path(), FOR_EVER).finish();
    let cases: [(&str, &Path, bool); 3] = [
        ("an empty file", empty.path(), false),
        ("the large file", &large, false),
        ("the large file, none of it in memory", &large, true),
    ];
    let mut taken = cases.map(|_| Vec::new());
    // In turns, so that whatever else the machine does hits all of them.
    for _ in 0..RUNS {
        for ((_, dir, cold), taken) in cases.iter().zip(&mut taken) {
            if *cold {
                forget(&dir.join("data/meshcore.db"));
            }
            taken.push(Hub::start(dir, FOR_EVER).finish());
        }
    }
    for ((name, ..), mut taken) in cases.into_iter().zip(taken) {
        taken.sort();
        let (first, middle, last) = (taken[0], taken[RUNS / 2], taken[RUNS - 1]);
        table.line(
            &format!("exec to ready: {name}"),
            format!(
                "{:.0} ms ({:.0}–{:.0}), {:.2} GB",
                ms(middle),
                ms(first),
                ms(last),
                if dir_is_large(name) { bytes as f64 / 1e9 } else { 0.0 }
            ),
            "100 ms",
            "50 ms",
        );
    }
}

fn dir_is_large(name: &str) -> bool {
    name.contains("large")
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl Hub {
    /// Ends it properly; how long its start took.
    fn finish(self) -> Duration {
        let took = self.ready_after;
        self.terminate();
        assert_eq!(self.ended().0, Some(0));
        took
    }
}

/// Takes a file's pages out of the system's cache, as far as it lets us.
fn forget(path: &Path) {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
}

fn make(data: &Path) {
    let _ = std::fs::remove_dir_all(data);
    std::fs::create_dir_all(data).unwrap();
    let path = data.join("meshcore.db");
    empty_database(&path);
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000;
         PRAGMA foreign_keys = OFF; BEGIN",
    )
    .unwrap();
    let now = "2026-11-20T12:00:00Z";
    let key =
        |n: u32| format!("{:016x}{n:048x}", u64::from(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut node = conn
        .prepare("INSERT INTO nodes (public_key, name, role, last_seen, first_seen) VALUES (?, ?, 'repeater', ?, ?)")
        .unwrap();
    for n in 0..NODES {
        node.execute(params![key(n), format!("Node {n}"), now, now]).unwrap();
    }
    let mut pair = conn
        .prepare(
            "INSERT OR IGNORE INTO neighbor_edges (node_a, node_b, last_seen) VALUES (?, ?, ?)",
        )
        .unwrap();
    for n in 0..PAIRS {
        pair.execute(params![key(n), key(n * 7 % NODES + 1), now]).unwrap();
    }
    let mut observer = conn
        .prepare("INSERT INTO observers (id, name, last_seen, first_seen) VALUES (?, ?, ?, ?)")
        .unwrap();
    for n in 0..OBSERVERS {
        observer.execute(params![key(n).to_uppercase(), format!("Gateway {n}"), now, now]).unwrap();
    }
    packets(&conn);
    conn.execute_batch("COMMIT; PRAGMA journal_mode = WAL").unwrap();
    File::create(data.join("whole")).unwrap();
}

fn packets(conn: &Connection) {
    let mut transmission = conn
        .prepare(
            "INSERT INTO transmissions (id, raw_hex, hash, first_seen, route_type, payload_type,
               payload_version, decoded_json, from_pubkey, last_seen, channel_hash)
             VALUES (?1, ?2, ?3, '2026-11-20T12:00:00Z', 1, ?4, 0, ?5, NULL, 1795000000, ?6)",
        )
        .unwrap();
    let mut observation = conn
        .prepare(
            "INSERT INTO observations (transmission_id, observer_idx, direction, snr, rssi, score,
               path_json, timestamp, raw_hex) VALUES (?, ?, 'rx', 5.25, -90, 500, ?, 1795000000, ?)",
        )
        .unwrap();
    let json = "x".repeat(300);
    for n in 1..=TRANSMISSIONS {
        let hash = format!("{:016x}", u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let channel = (n % 3 == 0).then_some("Public");
        let raw = format!("15{n:0160X}");
        let kind = if channel.is_some() { 5 } else { 2 };
        transmission.execute(params![n, raw, hash, kind, json, channel]).unwrap();
        for ear in 0..HEARD {
            let path = format!("[\"{:02X}\",\"{ear:02X}\",\"AB\"]", n % 256);
            observation.execute(params![n, (n * 7 + ear * 5) % OBSERVERS + 1, path, raw]).unwrap();
        }
    }
}
