//! SIGTERM in the middle of a burst.

use crate::child::Hub;
use crate::traffic::{Progress, Traffic};
use crate::{Table, count, folder};

use rumqttc::mqttbytes::QoS;
use rusqlite::{Connection, OpenFlags};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// At QoS 0 so many that the sockets' buffers do not hold them all: what is in those counts as
/// received, and is stored.
const MESSAGES: [(QoS, usize); 2] = [(QoS::AtMostOnce, 300_000), (QoS::AtLeastOnce, 50_000)];

/// The signal comes when so many are committed or acknowledged.
const BEFORE: usize = 10_000;

pub(crate) fn run(table: &mut Table) {
    for (qos, messages) in MESSAGES {
        let name = if qos == QoS::AtMostOnce { "QoS 0" } else { "QoS 1" };
        let traffic = Traffic::new(messages, qos);
        let dir = folder();
        let hub = Hub::start(dir.path(), "");
        let db = hub.db();
        let progress = Arc::new(Progress::default());
        let (done, signalled, read) = std::thread::scope(|scope| {
            let clients = scope.spawn(|| traffic.burst(hub.mqtt, 100, &progress).1);
            let read = wait(&hub, qos, &progress);
            hub.terminate();
            let signalled = Instant::now();
            (clients.join().unwrap(), signalled, read)
        });
        let (code, _, last_words) = hub.ended();
        let took = signalled.elapsed();
        assert_eq!(code, Some(0), "{last_words:?}");
        let stored = stored(&db);
        let mut missing = 0;
        for (stream, done) in traffic.streams.iter().zip(&done) {
            let rows = &stored[&stream.key];
            // What was acknowledged; at QoS 0 everything up to the last that got through: a
            // connection is read in order, so a gap would be a loss.
            let received = match qos {
                QoS::AtMostOnce => rows.len(),
                _ => *done,
            };
            let first = stream.hashes.iter().take(received);
            missing += first.filter(|hash| !rows.contains(*hash)).count();
        }
        let rows = count(&db, "SELECT COUNT(*) FROM observations");
        assert!(rows >= i64::try_from(read).unwrap(), "{rows} rows of {read} that were read");
        assert!(
            usize::try_from(rows).unwrap() < messages,
            "the signal came too late to be in the middle"
        );
        assert_eq!(missing, 0, "lost at {name}");
        table.line(
            &format!("SIGTERM in the middle of {messages} at {name}: lost of what was received"),
            format!("{missing} ({rows} rows, ended after {:.2} s)", took.as_secs_f64()),
            "0",
            "0",
        );
    }
}

/// Waits until the burst is at its height; how many messages the hub had read by then.
fn wait(hub: &Hub, qos: QoS, progress: &Progress) -> u64 {
    loop {
        let status = hub.status();
        let acknowledged = progress.acknowledged.load(Ordering::Relaxed);
        let (read, committed) =
            (status.counters["broker_publishes"], status.counters["records_committed"]);
        if (qos != QoS::AtMostOnce && acknowledged >= BEFORE) || committed >= BEFORE as u64 {
            return read;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(1));
    }
}

/// The content hashes that each observer has brought.
fn stored(db: &Path) -> BTreeMap<String, HashSet<String>> {
    let conn = Connection::open_with_flags(db, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut select = conn
        .prepare(
            "SELECT r.id, t.hash FROM observations o
             JOIN transmissions t ON t.id = o.transmission_id
             JOIN observers r ON r.rowid = o.observer_idx",
        )
        .unwrap();
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let mut stored: BTreeMap<String, HashSet<String>> = BTreeMap::new();
    for (observer, hash) in rows.map(Result::unwrap) {
        stored.entry(observer).or_default().insert(hash);
    }
    stored
}
