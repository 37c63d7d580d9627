//! What a power cut, a full disk and other programs do to the running hub, under load through its
//! door.

mod clock;
mod disk;
mod kill;
mod other;

use crate::support::load::{Load, gateway};
use crate::support::process::HubProcess;

use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A hub on a port of its own and otherwise on its defaults.
const LISTENER: &str = "[[broker.listeners]]\ntransport = \"tcp\"\nbind = \"127.0.0.1:0\"\n";

/// Two gateways; each has a hundred messages under way at a time.
const GATEWAYS: u32 = 2;

/// Packets of each gateway in a round; more than are published before the test is over.
const EACH: u32 = 20_000;

fn folder(config: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_config(dir.path(), config);
    dir
}

fn write_config(dir: &Path, config: &str) {
    std::fs::write(dir.join("broker.toml"), format!("{config}\n{LISTENER}")).unwrap();
}

fn database(dir: &Path) -> PathBuf {
    dir.join("data/meshcore.db")
}

fn status(dir: &Path) -> Option<meshbox::counters::Snapshot> {
    meshbox::control::ask_status(&database(dir)).ok()
}

/// `meshbox status`: its exit code and what it prints.
fn told(dir: &Path) -> (Option<i32>, String) {
    let output = assert_cmd::Command::cargo_bin("meshbox")
        .unwrap()
        .current_dir(dir)
        .arg("status")
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Every gateway publishes its packets of this round.
fn publish(at: SocketAddr, round: u32, each: u32) -> Vec<Load> {
    let first = |n: u32| (round * GATEWAYS + n) * EACH;
    (0..GATEWAYS).map(|n| Load::start(at, gateway(n), first(n)..first(n) + each)).collect()
}

fn acknowledged(loads: &[Load]) -> usize {
    loads.iter().map(Load::count).sum()
}

fn finish(loads: Vec<Load>) -> BTreeSet<u32> {
    loads.into_iter().flat_map(Load::finish).collect()
}

/// The file is whole, what was acknowledged is in it, and nothing is there by half.
fn is_whole(db: &Path, acknowledged: &BTreeSet<u32>) {
    let conn = Connection::open_with_flags(db, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let text = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(text("PRAGMA integrity_check"), "ok");
    // The number of a packet, as `text_packet` writes it.
    let mut numbers = conn.prepare("SELECT substr(raw_hex, 13, 8) FROM transmissions").unwrap();
    let stored: BTreeSet<u32> = numbers
        .query_map([], |row| row.get::<_, String>(0))
        .unwrap()
        .map(|hex| u32::from_str_radix(&hex.unwrap(), 16).unwrap())
        .collect();
    let missing = acknowledged.difference(&stored).count();
    assert_eq!(missing, 0, "of {} acknowledged, {} stored", acknowledged.len(), stored.len());
    let half = "SELECT json_object(
        'unheard', (SELECT COUNT(*) FROM transmissions t
          WHERE NOT EXISTS (SELECT 1 FROM observations WHERE transmission_id = t.id)),
        'doubled', (SELECT COUNT(*) FROM (SELECT 1 FROM observations
          GROUP BY transmission_id, observer_idx, path_json HAVING COUNT(*) > 1)),
        'dangling', (SELECT COUNT(*) FROM pragma_foreign_key_check),
        'by nobody', (SELECT COUNT(*) FROM packets_v WHERE observer_id IS NULL),
        'miscounted', (SELECT COUNT(*) FROM observers o WHERE packet_count <
          (SELECT COUNT(*) FROM observations WHERE observer_idx = o.rowid)),
        'origins', (SELECT COUNT(*) FROM observers o WHERE packet_count <>
          (SELECT SUM(count) FROM meshbox_origins WHERE observer = o.id)),
        'refused', (SELECT COUNT(*) FROM meshbox_refused))";
    let none = r#"{"unheard":0,"doubled":0,"dangling":0,"by nobody":0,"miscounted":0,"origins":0,"refused":0}"#;
    assert_eq!(text(half), none);
}

/// Waits until nothing is acknowledged any more, and says how much was.
fn standstill(loads: &[Load]) -> usize {
    let mut last = (acknowledged(loads), std::time::Instant::now());
    crate::support::eventually("no acknowledgement for a second", || {
        let now = acknowledged(loads);
        if now != last.0 {
            last = (now, std::time::Instant::now());
        }
        (last.1.elapsed() > std::time::Duration::from_secs(1)).then_some(now)
    })
}

fn start(dir: &Path) -> (HubProcess, SocketAddr) {
    let hub = HubProcess::start(dir, &[]);
    let at = hub.mqtt.unwrap();
    (hub, at)
}
