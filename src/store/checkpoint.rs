//! When the WAL goes into the database file. SQLite's own checkpoints are off: they would come in
//! the middle of a burst, every 4 MB.
//!
//! A program that reads keeps the WAL from going into the file as far as it is newer than what that
//! program sees. Writing goes on; who it is, and how large the WAL has become, is in the health
//! snapshot until it lets go.

use super::pin;
use crate::counters::{Counters, Pinned};

use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Keeps the WAL small.
#[derive(Debug)]
pub(super) struct Checkpoints {
    database: PathBuf,
    /// Pages that may wait in a burst.
    burst: i64,
    /// The next one between batches is made when so many pages wait.
    due: i64,
    /// Nothing was committed since the WAL was emptied.
    empty: bool,
    /// Since when a reader keeps the WAL, and when that was last looked at.
    pinned: Option<(Instant, Instant)>,
    /// The next warning comes when the WAL has so many pages.
    warn_at: i64,
}

/// Pages that wait in the WAL before they are copied: 16 MiB. A page is 4 KiB.
const PAGES: i64 = 16 * 256;
const PAGE: u64 = 4_096;

/// After so long without a record the WAL is emptied and cut to nothing.
const IDLE: Duration = Duration::from_secs(60);

/// How often to look whether a reader that keeps the WAL has let go.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What a checkpoint reports: pages in the WAL, and how many of them are in the database file.
#[derive(Clone, Copy, Debug)]
struct Report {
    busy: bool,
    pages: i64,
    copied: i64,
}

impl Checkpoints {
    /// For this file, whose WAL may have so many bytes in a burst, 16 MiB at least.
    pub(super) fn new(database: &Path, burst_bytes: u64) -> Self {
        let burst = i64::try_from(burst_bytes / PAGE).unwrap_or(i64::MAX).max(PAGES);
        let database = database.to_owned();
        // A WAL may be there from a run that ended suddenly.
        Self { database, burst, due: PAGES, empty: false, pinned: None, warn_at: 0 }
    }

    /// Between batches.
    pub(super) fn after_commit(&mut self, conn: &Connection, burst: bool, counters: &Counters) {
        self.empty = false;
        let Some(now) = report(conn, "NOOP", counters) else { return };
        if self.pinned.is_some() {
            return self.look(conn, now, counters);
        }
        let waiting = now.pages - now.copied;
        let limit = if burst { self.due.max(self.burst) } else { self.due };
        if waiting >= limit {
            self.copy(conn, counters);
        }
    }

    /// Nothing came since then.
    pub(super) fn idle(&mut self, conn: &Connection, since: Instant, counters: &Counters) {
        if self.pinned.is_some() {
            if let Some(now) = report(conn, "NOOP", counters) {
                self.look(conn, now, counters);
            }
        }
        if !self.empty && since.elapsed() >= IDLE {
            self.last(conn, counters);
        }
    }

    /// Empties the WAL. A reader that holds it is not waited for.
    pub(super) fn last(&mut self, conn: &Connection, counters: &Counters) {
        self.empty = true;
        let Some(done) = report(conn, "TRUNCATE", counters) else { return };
        if done.busy {
            tracing::info!("a reader of the database keeps its WAL from being emptied");
        }
        self.judge(done, counters);
    }

    /// Copies what no reader keeps. Where all is copied and the WAL is large all the same, one reader
    /// after the other keeps it from beginning anew: they are waited for, for half a second at most.
    fn copy(&mut self, conn: &Connection, counters: &Counters) {
        let Some(mut done) = report(conn, "PASSIVE", counters) else { return };
        if done.pages == done.copied && done.pages > self.burst + PAGES {
            match report(conn, "TRUNCATE", counters) {
                Some(truncated) => done = truncated,
                None => return,
            }
        }
        self.judge(done, counters);
    }

    /// Now and then, while a reader keeps the WAL: has it let go?
    fn look(&mut self, conn: &Connection, now: Report, counters: &Counters) {
        let due = self.pinned.is_some_and(|(_, looked)| looked.elapsed() >= LOOK_EVERY);
        if due || now.pages - now.copied >= self.due {
            self.copy(conn, counters);
        } else {
            counters.writer(|w| {
                if let Some(pinned) = &mut w.pinned {
                    pinned.wal_bytes = bytes(now.pages);
                }
            });
        }
    }

    /// After a checkpoint: is there a reader that keeps much of the WAL?
    fn judge(&mut self, done: Report, counters: &Counters) {
        let left = done.pages - done.copied;
        // Asking again at every batch would only cost time.
        self.due = left + PAGES;
        if left <= PAGES && done.pages <= self.burst + PAGES {
            if self.pinned.take().is_some() {
                // The file itself has not become smaller yet.
                self.empty = false;
                counters.writer(|w| w.pinned = None);
                tracing::info!("no reader keeps the WAL of the database any more");
            }
            self.warn_at = 0;
            return;
        }
        let now = Instant::now();
        let (since, _) = *self.pinned.get_or_insert((now, now));
        self.pinned = Some((since, now));
        let pinned = Pinned {
            wal_bytes: bytes(done.pages),
            limit_bytes: bytes(self.burst),
            for_secs: since.elapsed().as_secs(),
            readers: pin::readers(&self.database),
        };
        if done.pages >= self.warn_at {
            self.warn_at = done.pages.saturating_mul(2);
            tracing::warn!("{pinned}; writing goes on, and the file grows until it lets go");
        }
        counters.writer(|w| w.pinned = Some(pinned));
    }
}

fn bytes(pages: i64) -> u64 {
    pages.unsigned_abs().saturating_mul(PAGE)
}

fn report(conn: &Connection, mode: &str, counters: &Counters) -> Option<Report> {
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Report { busy: row.get::<_, i64>(0)? != 0, pages: row.get(1)?, copied: row.get(2)? })
    };
    match conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], read) {
        Ok(report) => Some(report),
        Err(error) => {
            // Nothing is lost: the pages stay in the WAL. The next commit meets the same trouble and
            // says so.
            counters.write_errors.increment();
            tracing::warn!("checkpoint: {error}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::open;

    fn pages(conn: &Connection) -> (i64, i64) {
        let report = report(conn, "NOOP", &Counters::default()).unwrap();
        (report.pages, report.pages - report.copied)
    }

    fn of(path: &Path) -> Checkpoints {
        Checkpoints::new(path, 64 << 20)
    }

    /// Commits some 4 MiB.
    fn write(conn: &Connection) {
        conn.execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1024)
             INSERT INTO dropped_packets (reason) SELECT hex(randomblob(1900)) FROM n",
        )
        .unwrap();
    }

    #[test]
    fn the_wal_is_copied_at_16_mib_and_in_a_burst_at_64() {
        for (burst, limit) in [(false, 16), (true, 64)] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("x.db");
            let conn = open::open(&path).unwrap().conn;
            let (mut checkpoints, counters) = (of(&path), Counters::default());
            let mut most = 0;
            for _ in 0..40 {
                write(&conn);
                most = most.max(pages(&conn).1);
                checkpoints.after_commit(&conn, burst, &counters);
            }
            let mib = most / 256;
            assert!((limit..limit + 8).contains(&mib), "burst {burst}: {mib} MiB waited");
            let wal = std::fs::metadata(dir.path().join("x.db-wal")).unwrap().len() >> 20;
            let wal = i64::try_from(wal).unwrap();
            assert!(wal < limit + 8, "burst {burst}: the WAL has {wal} MiB");
        }
    }

    #[test]
    fn a_smaller_limit_holds_in_a_burst() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let conn = open::open(&path).unwrap().conn;
        let (mut checkpoints, counters) = (Checkpoints::new(&path, 24 << 20), Counters::default());
        let mut most = 0;
        for _ in 0..20 {
            write(&conn);
            most = most.max(pages(&conn).1);
            checkpoints.after_commit(&conn, true, &counters);
        }
        assert!((24..32).contains(&(most / 256)), "{} MiB waited", most / 256);
    }

    #[test]
    fn a_reader_that_pins_the_wal_is_named_until_it_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let conn = open::open(&path).unwrap().conn;
        let (mut checkpoints, counters) = (of(&path), Counters::default());
        let reader = Connection::open(&path).unwrap();
        let count = "BEGIN; SELECT COUNT(*) FROM dropped_packets";
        reader.execute_batch(count).unwrap();
        let mut asked = Vec::new();
        let mut ok = Vec::new();
        for n in 0..24 {
            write(&conn);
            let due = checkpoints.due;
            checkpoints.after_commit(&conn, false, &counters);
            if checkpoints.due != due {
                asked.push(n);
            }
            ok.push(counters.snapshot(0, 0).ok);
        }
        assert!((4..=6).contains(&asked.len()), "asked at {asked:?}");
        let pinned = counters.writer_state().pinned.unwrap();
        let size = std::fs::metadata(dir.path().join("x.db-wal")).unwrap().len();
        assert!(pinned.wal_bytes.abs_diff(size) < size / 20, "{pinned:?} of {size}");
        assert_eq!(pinned.limit_bytes, 64 << 20);
        // It is this very program, which is to be told only where there are several.
        assert_eq!(pinned.readers.iter().map(|r| r.pid).collect::<Vec<_>>(), [std::process::id()]);
        assert!(ok[0] && ok[12] && !ok[20], "beyond the limit it needs a person: {ok:?}");
        reader.execute_batch("COMMIT").unwrap();
        // Long after the last look.
        let now = Instant::now();
        checkpoints.pinned = Some((now, now.checked_sub(LOOK_EVERY).unwrap()));
        checkpoints.idle(&conn, now, &counters);
        checkpoints.last(&conn, &counters);
        assert_eq!(pages(&conn), (0, 0));
        assert_eq!((counters.writer_state().pinned, checkpoints.due), (None, PAGES));
    }

    #[test]
    fn readers_that_take_turns_do_not_let_the_wal_grow_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let conn = open::open(&path).unwrap().conn;
        conn.busy_timeout(Duration::from_millis(500)).unwrap();
        let (mut checkpoints, counters) = (of(&path), Counters::default());
        let count = "BEGIN; SELECT COUNT(*) FROM dropped_packets";
        let reader = || {
            let reader = Connection::open(&path).unwrap();
            reader.execute_batch(count).unwrap();
            reader
        };
        let mut current = reader();
        for _ in 0..30 {
            write(&conn);
            // The next one begins before this one ends.
            current = reader();
            checkpoints.after_commit(&conn, false, &counters);
        }
        drop(current);
        let wal = || std::fs::metadata(dir.path().join("x.db-wal")).unwrap().len() >> 20;
        assert!(wal() > 80, "they did keep it: {} MiB", wal());
        assert!(counters.writer_state().pinned.is_some());
        let now = Instant::now();
        checkpoints.pinned = Some((now, now.checked_sub(LOOK_EVERY).unwrap()));
        checkpoints.after_commit(&conn, false, &counters);
        assert_eq!((wal(), counters.writer_state().pinned), (0, None));
    }

    #[test]
    fn after_a_minute_without_records_the_wal_is_emptied_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let conn = open::open(&path).unwrap().conn;
        let (mut checkpoints, counters) = (of(&path), Counters::default());
        write(&conn);
        checkpoints.after_commit(&conn, false, &counters);
        let before = |time| Instant::now().checked_sub(time).unwrap();
        checkpoints.idle(&conn, before(IDLE - Duration::from_secs(5)), &counters);
        assert!(pages(&conn).0 > 0);
        checkpoints.idle(&conn, before(IDLE), &counters);
        assert_eq!(pages(&conn).0, 0);
        assert!(checkpoints.empty);
    }
}
