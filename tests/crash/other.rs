//! Other programs that hold the database: a real process each.

use super::*;
use crate::support::eventually;
use crate::support::other::Other;

use std::time::{Duration, Instant};

/// The database is locked by another process for so long, under load.
fn locked_for(time: Duration) {
    let dir = folder("ingestBufferSize = 50");
    let (hub, at) = start(dir.path());
    let each = 3_000;
    let loads = publish(at, 0, each);
    eventually("some are acknowledged", || (acknowledged(&loads) > 100).then_some(()));
    let other = Other::holds(&database(dir.path()), "BEGIN IMMEDIATE");
    let began = Instant::now();
    let before = standstill(&loads);
    let snapshot = eventually("the lock is said", || {
        status(dir.path())
            .filter(|s| s.writer.trouble.as_ref().is_some_and(|t| t.contains("locked")))
    });
    assert_eq!(snapshot.counters["queue_messages"], 50, "the senders are slowed down");
    while began.elapsed() < time {
        std::thread::park_timeout(Duration::from_millis(20));
        assert_eq!(acknowledged(&loads), before, "acknowledged and not stored");
    }
    let (code, text) = told(dir.path());
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("TROUBLE: database is locked"), "{text}");
    other.let_go();
    let all = finish(loads);
    assert_eq!(all.len(), (GATEWAYS * each) as usize);
    eventually("all is well again", || status(dir.path()).filter(|s| s.ok));
    println!(
        "locked for {:?}: {before} acknowledged before, {} in all",
        began.elapsed(),
        all.len()
    );
    assert_eq!(hub.terminate(), Some(0));
    is_whole(&database(dir.path()), &all);
}

#[test]
fn a_database_that_another_process_locks_for_two_seconds_slows_the_senders_and_loses_nothing() {
    locked_for(Duration::from_secs(2));
}

#[test]
#[ignore = "the same for thirty seconds"]
fn a_database_that_another_process_locks_for_thirty_seconds_slows_the_senders_and_loses_nothing() {
    locked_for(Duration::from_secs(30));
}

#[test]
fn a_program_that_keeps_the_write_ahead_log_is_named_until_it_lets_go_and_writing_goes_on() {
    let dir = folder("walMaxMB = 16");
    let (hub, at) = start(dir.path());
    let other = Other::holds(
        &database(dir.path()),
        "BEGIN; SELECT COUNT(*) FROM transmissions; SELECT COUNT(*) FROM observations",
    );
    let loads = publish(at, 0, EACH);
    let snapshot = eventually("it is named", || {
        status(dir.path())
            .filter(|s| s.writer.pinned.as_ref().is_some_and(|p| !p.readers.is_empty()))
    });
    let pinned = snapshot.writer.pinned.unwrap();
    assert_eq!(pinned.readers.iter().map(|r| r.pid).collect::<Vec<_>>(), [other.pid()]);
    let before = acknowledged(&loads);
    eventually("writing goes on", || (acknowledged(&loads) > before + 500).then_some(()));
    let (code, text) = told(dir.path());
    let named = format!("(pid {}) reads and keeps ", other.pid());
    assert!(text.contains(&named) && text.contains("write-ahead log"), "{text}");
    assert_eq!(code, Some(1), "it is beyond walMaxMB:\n{text}");
    other.let_go();
    eventually("nobody is named any more", || {
        status(dir.path()).filter(|s| s.ok && s.writer.pinned.is_none())
    });
    assert_eq!(hub.terminate(), Some(0));
    is_whole(&database(dir.path()), &finish(loads));
}
