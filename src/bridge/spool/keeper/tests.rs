//! The spool with a real file.

use super::super::queue::Next;
use super::super::{Bounds, Entry, OVERHEAD};
use super::*;
use crate::clock::Clock;

use bytes::Bytes;
use std::path::Path;

const LIMIT: usize = 1_000;

fn plan(dir: &Path, bytes: u64) -> Plan {
    let bounds = Bounds { bytes, age: Duration::from_secs(3_600) };
    Plan { path: dir.join("spool.db"), lanes: vec![("a".into(), bounds), ("b".into(), bounds)] }
}

fn entry(text: &str, at_ms: i64) -> Entry {
    let payload = Bytes::copy_from_slice(text.as_bytes());
    Entry { number: 0, topic: "t".into(), payload, retain: false, at_ms }
}

fn texts(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|e| String::from_utf8(e.payload.to_vec()).unwrap()).collect()
}

/// Starts, does something with the lanes, ends.
fn session<T>(plan: Plan, clock: Clock, work: impl FnOnce(&[Lane], &Keeper) -> T) -> T {
    let (keeper, lanes) = Keeper::start(plan, Trust::given(clock)).unwrap();
    let result = work(&lanes, &keeper);
    keeper.finish();
    result
}

fn fill(lane: &Lane, count: usize) {
    for n in 0..count {
        lane.append(entry(&n.to_string(), 5), 5);
    }
}

/// What a connection gets after this number.
fn take(lane: &Lane, mut after: u64, limit: usize) -> Vec<Entry> {
    let mut taken: Vec<Entry> = Vec::new();
    while taken.len() < limit {
        match lane.next(after) {
            Next::Entry(entry) => taken.push(entry),
            Next::Stored => {
                let read = lane.read(after, limit - taken.len()).blocking_recv().unwrap();
                assert!(read.upto > after, "the file can be read");
                after = read.upto;
                taken.extend(read.entries);
                continue;
            }
            Next::Crowded => std::thread::yield_now(),
            Next::Nothing => break,
        }
        after = taken.last().map_or(after, |entry| entry.number);
    }
    taken
}

fn until(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(Instant::now() < deadline, "gave up waiting: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

#[test]
fn what_is_not_acknowledged_comes_back_in_order_after_a_restart_and_what_is_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let plan = || plan(dir.path(), 1 << 20);
    session(plan(), Clock::by_hand(10), |lanes: &[Lane], _: &Keeper| {
        fill(&lanes[0], 10);
        fill(&lanes[1], 1);
        let first = take(&lanes[0], 0, 4);
        assert_eq!(texts(&first), ["0", "1", "2", "3"]);
        first.iter().for_each(|e| lanes[0].done(e.number));
        assert_eq!(texts(&take(&lanes[0], 4, 2)), ["4", "5"]);
    });
    session(plan(), Clock::by_hand(10), |lanes: &[Lane], keeper: &Keeper| {
        let rest = take(&lanes[0], 0, LIMIT);
        assert_eq!(texts(&rest), ["4", "5", "6", "7", "8", "9"]);
        assert_eq!(keeper.depths()[0].messages, 6);
        // New ones follow the old ones.
        lanes[0].append(entry("new", 6), 6);
        let last = rest.last().unwrap().number;
        assert_eq!(texts(&take(&lanes[0], last, LIMIT)), ["new"]);
        assert_eq!(texts(&take(&lanes[1], 0, LIMIT)), ["0"]);
        // Acknowledged in the file, and asked for from the start as after a reconnect.
        rest.iter().for_each(|e| lanes[0].done(e.number));
        assert_eq!(texts(&take(&lanes[0], 0, 3)), ["new"]);
    });
}

#[test]
fn what_is_acknowledged_at_once_never_touches_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(dir.path(), 1 << 20);
    let pages = |path: &Path| std::fs::metadata(path).unwrap().len();
    session(plan.clone(), Clock::by_hand(10), |_: &[Lane], _: &Keeper| {});
    let before = pages(&plan.path);
    session(plan.clone(), Clock::by_hand(10), |lanes: &[Lane], _: &Keeper| {
        for n in 1..=2_000 {
            lanes[0].append(entry(&"x".repeat(500), 5), 5);
            lanes[0].done(n);
        }
    });
    assert_eq!(pages(&plan.path), before);
}

#[test]
fn the_oldest_go_first_when_there_are_too_many_bytes_or_they_are_too_old_and_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let small = || plan(dir.path(), 10 * (1 + 1 + OVERHEAD));
    session(small(), Clock::by_hand(10), |lanes: &[Lane], _: &Keeper| {
        fill(&lanes[0], 10);
        lanes[0].append(entry("x", 3_000_000), 5);
        lanes[0].append(entry("y", 3_000_000), 5);
    });
    session(small(), Clock::by_hand(20), |lanes: &[Lane], keeper: &Keeper| {
        assert_eq!(keeper.depths()[0].messages, 10);
        assert_eq!(texts(&take(&lanes[0], 0, 2)), ["2", "3"]);
    });
    // An hour after the first ones came.
    session(small(), Clock::by_hand(3_600_020), |_: &[Lane], _: &Keeper| {});
    session(small(), Clock::by_hand(3_600_020), |lanes: &[Lane], _: &Keeper| {
        assert_eq!(texts(&take(&lanes[0], 0, LIMIT)), ["x", "y"]);
    });
}

#[test]
fn a_message_that_is_set_aside_is_kept_with_its_reason_and_passed_on_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(dir.path(), 1 << 20);
    session(plan.clone(), Clock::by_hand(10), |lanes: &[Lane], keeper: &Keeper| {
        fill(&lanes[0], 3);
        lanes[0].set_aside(2, "closed three times".into());
        until("it is set aside", || keeper.depths()[0].set_aside == 1);
        assert_eq!(texts(&take(&lanes[0], 0, LIMIT)), ["0", "2"]);
    });
    let conn = rusqlite::Connection::open(&plan.path).unwrap();
    let kept: (String, String, Vec<u8>, String) = conn
        .query_row("SELECT lane, topic, payload, reason FROM set_aside", [], |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?))
        })
        .unwrap();
    assert_eq!(kept, ("a".into(), "t".into(), b"1".to_vec(), "closed three times".into()));
}

#[test]
fn a_damaged_file_is_moved_aside_and_a_newer_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(dir.path(), 1 << 20);
    std::fs::write(&plan.path, vec![b'x'; 10_000]).unwrap();
    session(plan.clone(), Clock::by_hand(7), |lanes: &[Lane], _: &Keeper| {
        fill(&lanes[0], 1);
    });
    assert_eq!(std::fs::read(dir.path().join("spool.db.damaged-7")).unwrap().len(), 10_000);
    let conn = rusqlite::Connection::open(&plan.path).unwrap();
    conn.pragma_update(None, "user_version", 3).unwrap();
    drop(conn);
    let refused = Keeper::start(plan, Trust::given(Clock::by_hand(7))).unwrap_err().to_string();
    assert!(refused.ends_with("has version 3, this meshbox knows up to 2; update meshbox"));
}

#[test]
fn a_file_that_cannot_be_written_loses_only_what_memory_does_not_hold() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(dir.path(), 64 << 20);
    session(plan.clone(), Clock::by_hand(10), |lanes: &[Lane], keeper: &Keeper| {
        let other = rusqlite::Connection::open(&plan.path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut big = entry("", 5);
        big.payload = Bytes::from(vec![b'x'; 1 << 20]);
        for _ in 0..5 {
            lanes[0].append(big.clone(), 5);
        }
        assert_eq!(keeper.depths()[0].lost, 4);
        assert_eq!(take(&lanes[0], 0, LIMIT).len(), 1);
        other.execute_batch("COMMIT").unwrap();
    });
    session(plan.clone(), Clock::by_hand(10), |_: &[Lane], keeper: &Keeper| {
        assert_eq!(keeper.depths()[0].messages, 1);
    });
}

#[test]
fn what_waits_is_in_the_file_at_once_and_what_was_acknowledged_is_out_of_it_before_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(dir.path(), 1 << 20);
    let rows = || {
        let conn = rusqlite::Connection::open(&plan.path).unwrap();
        let one = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        conn.query_row("SELECT COUNT(*) FROM messages", [], one).unwrap()
    };
    // Another connection sees what is committed, and nothing else: as the next start after a kill -9.
    session(plan.clone(), Clock::by_hand(10), |lanes: &[Lane], keeper: &Keeper| {
        fill(&lanes[0], 300);
        until("all are written", || keeper.depths()[0].unwritten == 0);
        assert_eq!((rows(), keeper.depths()[0].messages), (300, 300));
        take(&lanes[0], 0, 200).iter().for_each(|entry| lanes[0].done(entry.number));
        until("those are gone", || rows() == 100);
        assert_eq!(keeper.depths()[0].messages, 100);
    });
}

#[test]
fn the_region_of_an_observer_and_a_file_of_version_1_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(dir.path(), 1 << 20);
    let conn = rusqlite::Connection::open(&plan.path).unwrap();
    conn.execute_batch(
        "CREATE TABLE lanes (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
         CREATE TABLE messages (lane INTEGER NOT NULL, number INTEGER NOT NULL, topic TEXT NOT NULL,
            payload BLOB NOT NULL, retain INTEGER NOT NULL, at_ms INTEGER NOT NULL,
            PRIMARY KEY (lane, number)) WITHOUT ROWID;
         CREATE TABLE set_aside (id INTEGER PRIMARY KEY, lane TEXT NOT NULL, topic TEXT NOT NULL,
            payload BLOB NOT NULL, at_ms INTEGER NOT NULL, reason TEXT NOT NULL);
         INSERT INTO lanes VALUES (1, 'a');
         INSERT INTO messages VALUES (1, 7, 't', X'6F6C64', 0, 5);
         PRAGMA user_version = 1;",
    )
    .unwrap();
    drop(conn);
    session(plan.clone(), Clock::by_hand(10), |lanes: &[Lane], _: &Keeper| {
        assert_eq!((lanes[0].region(), texts(&take(&lanes[0], 0, 9))), (None, vec!["old".into()]));
        lanes[0].remember("SJC");
    });
    session(plan, Clock::by_hand(10), |lanes: &[Lane], _: &Keeper| {
        assert_eq!((lanes[0].region().as_deref(), lanes[1].region()), (Some("SJC"), None));
    });
}
