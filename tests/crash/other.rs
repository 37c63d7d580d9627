//! Other programs that hold the database: a real process each.

use super::*;
use crate::support::eventually;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Another program that has the database open: this very test program, started again.
pub(super) struct Other(Child);

/// Which file, and what to do with it.
const FILE: &str = "MESHBOX_TEST_FILE";
const SQL: &str = "MESHBOX_TEST_SQL";

impl Other {
    /// Runs these statements and holds what they hold until it is told to let go.
    pub(super) fn holds(db: &Path, sql: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::other::holder", "--ignored", "--nocapture"])
            .envs([(FILE, db.as_os_str()), (SQL, sql.as_ref())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        lines.find(|line| line.as_ref().unwrap().contains("holding")).unwrap().unwrap();
        // It still prints its result.
        std::thread::spawn(move || lines.count());
        Self(child)
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(super) fn let_go(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "the other program of the tests in this file"]
fn holder() {
    let Some(file) = std::env::var_os(FILE) else { return };
    let conn = Connection::open(file).unwrap();
    conn.busy_timeout(Duration::from_secs(10)).unwrap();
    conn.execute_batch(&std::env::var(SQL).unwrap()).unwrap();
    println!("holding");
    std::io::stdout().flush().unwrap();
    // Until the test closes its end, or has gone.
    std::io::stdin().lines().count();
}

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
