//! A large file of April, opened by the hub while gateways publish.
//!
//! The long version (a file of some 1 GB) prints what opening and acknowledging cost:
//! `cargo test --release --test it upgrade -- --ignored --nocapture`

use crate::fixtures::db;
use crate::support::database::{count, value};
use crate::support::packets::{packet_message, packets_topic, text_packet};
use crate::support::process::HubProcess;

use meshbox::counters::MigrationState;
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use rusqlite::{Connection, params};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How large the file is: its packets, how often each was heard, and the bytes of what each says. Of
/// every fourth packet half of the rows are duplicates.
#[derive(Clone, Copy)]
struct Size {
    packets: i64,
    rows: i64,
    text: i64,
}

const OBSERVERS: [&str; 2] = ["AA", "BB"];

/// A hub's folder with a file that April has grown and that has no unique index.
fn folder(size: Size) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let config = "[[broker.listeners]]\ntransport = \"tcp\"\nbind = \"127.0.0.1:0\"\n";
    std::fs::write(dir.path().join("broker.toml"), config).unwrap();
    std::fs::create_dir(dir.path().join("data")).unwrap();
    let path = dir.path().join("data/meshcore.db");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN").unwrap();
    let schema = db::empty("april-2026-grown");
    let (indexes, tables): (Vec<_>, Vec<_>) =
        schema.lines().partition(|line| line.starts_with("CREATE INDEX"));
    conn.execute_batch(&tables.join("\n")).unwrap();
    fill(&conn, size);
    conn.execute_batch(&indexes.join("\n")).unwrap();
    conn.execute_batch("COMMIT").unwrap();
    // Whoever opens it must not pay for its making.
    std::fs::File::open(&path).unwrap().sync_all().unwrap();
    (dir, path)
}

fn fill(conn: &Connection, size: Size) {
    let upto = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)";
    let observers = format!(
        "{upto} INSERT INTO observers (id, name, last_seen, first_seen)
         SELECT printf('%064X', i), 'Observer ' || i, '2026-04-20T12:00:00Z',
           '2026-04-01T12:00:00Z' FROM n"
    );
    conn.execute(&observers, [20]).unwrap();
    let transmissions = format!(
        "{upto} INSERT INTO transmissions (raw_hex, hash, first_seen, route_type, payload_type,
           payload_version, decoded_json)
         SELECT printf('11%0*X', ?2 / 2, i), printf('%016x', i),
           strftime('%Y-%m-%dT%H:%M:%SZ', 1775044800 + i, 'unixepoch'), 1,
           CASE i % 5 WHEN 0 THEN 4 WHEN 1 THEN 5 ELSE 2 END, 0,
           CASE i % 5 WHEN 0 THEN json_object('type', 'ADVERT', 'pubKey', printf('%064x', i % 500))
             WHEN 1 THEN json_object('type', 'CHAN', 'channel', '#test', 'text', printf('%0*d', ?2, i))
             ELSE json_object('type', 'TXT_MSG', 'encryptedData', printf('%0*d', ?2, i)) END
         FROM n"
    );
    conn.execute(&transmissions, params![size.packets, size.text]).unwrap();
    let observations = format!(
        "{upto} INSERT INTO observations (transmission_id, observer_idx, direction, snr, path_json,
           timestamp)
         SELECT id, 1 + (id + ear) % 20, 'rx', CASE i % 2 WHEN 1 THEN i END,
           printf('[\"%02X\",\"%02X\"]', id % 256, ear), 1775044800 + id + i
         FROM (SELECT t.id, n.i, IIF(t.id % 4 = 0, n.i / 2, n.i) AS ear FROM transmissions t, n)"
    );
    conn.execute(&observations, params![size.rows]).unwrap();
}

/// Publishes packets one after the other, each from two observers, and waits for each PUBACK.
struct Publisher {
    over: Arc<AtomicBool>,
    at: Arc<Mutex<Option<SocketAddr>>>,
    thread: std::thread::JoinHandle<Vec<Wait>>,
}

/// One message: its number, and how long its acknowledgement took.
#[derive(Clone, Debug)]
struct Wait {
    number: u32,
    took: Duration,
    /// Whether an index was being built.
    index: bool,
}

impl Publisher {
    fn start(at: SocketAddr, step: Arc<Mutex<String>>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let place = Arc::new(Mutex::new(Some(at)));
        let (done, theirs) = (Arc::clone(&over), Arc::clone(&place));
        let thread = std::thread::spawn(move || {
            let mut waits = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let at = *theirs.lock().unwrap();
                match at {
                    Some(at) => publish(at, &done, &step, &mut waits),
                    None => std::thread::park_timeout(Duration::from_millis(5)),
                }
            }
            waits
        });
        Self { over, at: place, thread }
    }

    /// The hub is gone, or somewhere else.
    fn moved(&self, at: Option<SocketAddr>) {
        *self.at.lock().unwrap() = at;
    }

    fn end(self) -> Vec<Wait> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Publishes until it is over or the connection ends.
fn publish(at: SocketAddr, over: &AtomicBool, step: &Mutex<String>, waits: &mut Vec<Wait>) {
    let mut options = MqttOptions::new("publisher", at.ip().to_string(), at.port());
    options.set_keep_alive(Duration::from_secs(60));
    let (client, mut connection) = Client::new(options, 10);
    let building = || step.lock().unwrap().starts_with("building");
    while !over.load(Ordering::Relaxed) {
        let number = u32::try_from(waits.len()).unwrap();
        let by = OBSERVERS[(number % 2) as usize].repeat(32);
        let message = packet_message(&text_packet(number / 2));
        if client.publish(packets_topic(&by), QoS::AtLeastOnce, false, message).is_err() {
            return;
        }
        let (sent, index) = (Instant::now(), building());
        let acknowledged = connection
            .iter()
            .map_while(Result::ok)
            .any(|event| matches!(event, Event::Incoming(Packet::PubAck(_))));
        if !acknowledged {
            return;
        }
        waits.push(Wait { number, took: sent.elapsed(), index: index || building() });
    }
}

/// What the hub tells of its migration; `None` before it can be asked.
fn migration(db: &Path) -> Option<Option<MigrationState>> {
    Some(meshbox::control::ask_status(db).ok()?.writer.migration)
}

/// Waits until the hub's migration is as wanted, and notes its step meanwhile.
fn until(db: &Path, step: &Mutex<String>, wanted: impl Fn(Option<&MigrationState>) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(900);
    loop {
        if let Some(now) = migration(db) {
            *step.lock().unwrap() = now.as_ref().map(|m| m.step.clone()).unwrap_or_default();
            if wanted(now.as_ref()) {
                return;
            }
        }
        assert!(Instant::now() < deadline, "gave up waiting at {:?}", step.lock().unwrap());
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Everything is there, once.
fn check(db: &Path, size: Size, waits: &[Wait]) {
    let packets: std::collections::BTreeSet<u32> = waits.iter().map(|w| w.number / 2).collect();
    let published = i64::try_from(packets.len()).unwrap();
    let heard = i64::try_from(waits.len()).unwrap();
    assert_eq!(count(db, "SELECT COUNT(*) FROM transmissions"), size.packets + published);
    let merged = size.packets / 4 * (3 * size.rows + size.rows / 2 + 1);
    let observations = count(db, "SELECT COUNT(*) FROM observations");
    // A message that was stored and not acknowledged when the hub was killed came again, and is one.
    assert!((merged + heard..=merged + heard + 2).contains(&observations), "{observations} rows");
    let doubled = "SELECT COUNT(*) FROM (SELECT 1 FROM observations GROUP BY transmission_id,
        observer_idx, path_json HAVING COUNT(*) > 1)";
    assert_eq!(count(db, doubled), 0);
    let unfilled = "SELECT COUNT(*) FROM transmissions WHERE last_seen = 0
        OR (payload_type = 4 AND length(from_pubkey) <> 64) OR (payload_type = 5) = (channel_hash IS NULL)";
    assert_eq!(count(db, unfilled), 0);
    assert_eq!(count(db, "SELECT COUNT(*) FROM _migrations"), 22);
    assert_eq!(value::<String>(db, "PRAGMA integrity_check").as_deref(), Some("ok"));
}

fn longest(waits: &[Wait], index: bool) -> Duration {
    let waits = waits.iter().filter(|w| w.index == index).map(|w| w.took);
    waits.max().unwrap_or_default()
}

#[test]
fn a_file_of_200_000_observations_is_migrated_while_gateways_publish_and_the_hub_is_killed_twice() {
    let size = Size { packets: 25_000, rows: 8, text: 40 };
    let (dir, db) = folder(size);
    let step = Arc::new(Mutex::new(String::new()));
    let mut hub = HubProcess::start(dir.path(), &[]);
    let publisher = Publisher::start(hub.mqtt.unwrap(), Arc::clone(&step));
    for during in ["filling", "merging"] {
        until(&db, &step, |now| {
            now.is_some_and(|m| m.step.starts_with(during) && m.done * 5 > m.total)
        });
        publisher.moved(None);
        hub.kill();
        hub = HubProcess::start(dir.path(), &[]);
        publisher.moved(hub.mqtt);
        until(&db, &step, |now| now.is_some());
    }
    until(&db, &step, |now| now.is_none());
    let waits = publisher.end();
    assert_eq!(hub.terminate(), Some(0));
    check(&db, size, &waits);
    assert!(waits.len() > 50, "{} messages", waits.len());
    let (slices, index) = (longest(&waits, false), longest(&waits, true));
    println!(
        "{} acknowledgements; the longest took {slices:?}, {index:?} beside an index",
        waits.len()
    );
    assert!(slices.max(index) < Duration::from_secs(10), "{slices:?} {index:?}");
}

#[test]
#[ignore = "makes and migrates a file of 1 GB"]
fn what_a_file_of_1_gb_costs() {
    let size = Size { packets: 450_000, rows: 16, text: 700 };
    let (dir, db) = folder(size);
    let megabytes = std::fs::metadata(&db).unwrap().len() >> 20;
    let step = Arc::new(Mutex::new(String::new()));
    let began = Instant::now();
    let hub = HubProcess::start(dir.path(), &[]);
    let ready = began.elapsed();
    let publisher = Publisher::start(hub.mqtt.unwrap(), Arc::clone(&step));
    until(&db, &step, |now| now.is_none());
    let migrated = began.elapsed();
    let waits = publisher.end();
    let pid = meshbox::control::ask_status(&db).unwrap().pid;
    let memory = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let memory = memory.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default().to_owned();
    let output = hub.output();
    assert_eq!(hub.terminate(), Some(0));
    for line in output.lines().filter(|l| l.contains(" s") && !l.contains("schema")) {
        println!("{line}");
    }
    println!("{megabytes} MB: ready after {ready:?}, migrated after {migrated:?}; {memory}");
    let (slices, index) = (longest(&waits, false), longest(&waits, true));
    println!(
        "{} acknowledgements; the longest took {slices:?}, {index:?} beside an index",
        waits.len()
    );
    check(&db, size, &waits);
}
