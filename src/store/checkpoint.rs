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
