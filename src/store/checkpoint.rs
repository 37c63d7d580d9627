//! When the WAL goes into the database file. SQLite's own checkpoints are off: they would come in
//! the middle of a burst, every 4 MB.

use crate::counters::Counters;

use rusqlite::Connection;
use std::time::Duration;

/// Keeps the WAL small.
#[derive(Debug)]
pub(super) struct Checkpoints {
    /// The next one between batches is made when so many pages wait.
    due: i64,
    /// Nothing was committed since the WAL was emptied.
    empty: bool,
}

/// Pages that wait in the WAL before they are copied: 16 MiB of them, 64 MiB in a burst
/// (`walMaxMB`). A page is 4 KiB.
const PAGES: i64 = 16 * 256;
const PAGES_BURST: i64 = 64 * 256;

/// After so long without a record the WAL is emptied and cut to nothing.
const IDLE: Duration = Duration::from_secs(60);

/// What a checkpoint reports: pages in the WAL, and how many of them are in the database file.
#[derive(Clone, Copy, Debug)]
struct Report {
    busy: bool,
    pages: i64,
    copied: i64,
}

impl Default for Checkpoints {
    fn default() -> Self {
        // A WAL may be there from a run that ended suddenly.
        Self { due: PAGES, empty: false }
    }
}

impl Checkpoints {
    /// Between batches.
    pub(super) fn after_commit(&mut self, conn: &Connection, burst: bool, counters: &Counters) {
        self.empty = false;
        let Some(now) = report(conn, "NOOP", counters) else { return };
        let waiting = now.pages - now.copied;
        let limit = if burst { self.due.max(PAGES_BURST) } else { self.due };
        if waiting < limit {
            return;
        }
        let Some(done) = report(conn, "PASSIVE", counters) else { return };
        let left = done.pages - done.copied;
        // A reader that holds an old state keeps pages from being copied: asking again at every
        // batch would only cost time.
        self.due = left + PAGES;
        if left > PAGES {
            let mb = left / 256;
            tracing::warn!("a reader of the database keeps {mb} MB in its WAL; writing goes on");
        }
    }

    /// Nothing came for `since`.
    pub(super) fn idle(&mut self, conn: &Connection, since: Duration, counters: &Counters) {
        if !self.empty && since >= IDLE {
            self.last(conn, counters);
        }
    }

    /// Empties the WAL. A reader that holds it is not waited for.
    pub(super) fn last(&mut self, conn: &Connection, counters: &Counters) {
        self.empty = true;
        self.due = PAGES;
        if report(conn, "TRUNCATE", counters).is_some_and(|r| r.busy) {
            tracing::info!("a reader of the database keeps its WAL from being emptied");
        }
    }
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
            let (mut checkpoints, counters) = (Checkpoints::default(), Counters::default());
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
    fn a_reader_that_pins_the_wal_is_asked_again_only_after_16_mib_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let conn = open::open(&path).unwrap().conn;
        let (mut checkpoints, counters) = (Checkpoints::default(), Counters::default());
        let reader = Connection::open(&path).unwrap();
        let count = "BEGIN; SELECT COUNT(*) FROM dropped_packets";
        reader.execute_batch(count).unwrap();
        let mut asked = Vec::new();
        for n in 0..14 {
            write(&conn);
            let due = checkpoints.due;
            checkpoints.after_commit(&conn, false, &counters);
            if checkpoints.due != due {
                asked.push(n);
            }
        }
        assert!((2..=3).contains(&asked.len()), "asked at {asked:?}");
        reader.execute_batch("COMMIT").unwrap();
        checkpoints.last(&conn, &counters);
        assert_eq!(pages(&conn), (0, 0));
        assert_eq!(checkpoints.due, PAGES);
    }

    #[test]
    fn after_a_minute_without_records_the_wal_is_emptied_once() {
        let dir = tempfile::tempdir().unwrap();
        let conn = open::open(&dir.path().join("x.db")).unwrap().conn;
        let (mut checkpoints, counters) = (Checkpoints::default(), Counters::default());
        write(&conn);
        checkpoints.after_commit(&conn, false, &counters);
        checkpoints.idle(&conn, IDLE - Duration::from_secs(1), &counters);
        assert!(pages(&conn).0 > 0);
        checkpoints.idle(&conn, IDLE, &counters);
        assert_eq!(pages(&conn).0, 0);
        assert!(checkpoints.empty);
    }
}
