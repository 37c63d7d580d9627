//! What is old leaves: looked at once an hour, in slices of at most 250 rows between batches, so
//! that nobody waits long for the writer.
//!
//! An hour's round goes through the [`Chore`]s; each turn writes one slice at most. Time is the
//! clock's as far as [`Horizon`] trusts it. After a round that deleted something a part of the free
//! pages goes back to the file system ([`vacuum`]).

mod chore;
mod horizon;
mod packets;
pub(super) mod vacuum;

use self::chore::{CHORES, Chore};
use self::horizon::Horizon;
use super::book::Book;
use super::fault::Fault;
use crate::config;
use crate::counters::Counters;

use rusqlite::Connection;
use std::time::{Duration, Instant};

/// Lets go of what is old.
#[derive(Debug)]
pub(super) struct Retention {
    keep: config::Retention,
    horizon: Horizon,
    /// When the last round ended, by the clock; `None` while one is on.
    looked_at_ms: Option<i64>,
    /// Where the round is in [`CHORES`], and the rows that this chore wrote so far.
    at: usize,
    rows: usize,
    /// Whether the round deleted anything.
    pruned: bool,
}

/// Rows written in one transaction: a few milliseconds on an SD card.
const SLICE: usize = 250;

const HOUR_MS: i64 = 3_600_000;

impl Retention {
    pub(super) fn new(keep: config::Retention, conn: &Connection, now_ms: i64) -> Self {
        let horizon = Horizon::new(horizon::newest_ms(conn).unwrap_or(now_ms), Instant::now());
        Self { keep, horizon, looked_at_ms: None, at: 0, rows: 0, pruned: false }
    }

    /// Writes a slice, if it is time to and there is one.
    pub(super) fn turn(&mut self, book: &mut Book<'_>, now_ms: i64, counters: &Counters) {
        if self.looked_at_ms.is_some_and(|at| (now_ms - at).abs() < HOUR_MS) {
            return;
        }
        self.looked_at_ms = None;
        let at_ms = self.horizon.at(now_ms, Instant::now());
        while let Some(chore) = CHORES.get(self.at) {
            match chore.slice(book, &self.keep, at_ms) {
                Ok(rows) => {
                    self.count(*chore, rows, counters);
                    if rows < SLICE {
                        self.next(*chore);
                    }
                    if rows > 0 {
                        return;
                    }
                }
                Err(fault) => {
                    // In an hour again: the next batch meets a real trouble, and says so.
                    counters.write_errors.increment();
                    tracing::warn!("{}: {}", chore.words(), fault.words());
                    return self.end(now_ms, counters);
                }
            }
        }
        if self.pruned {
            if let Err(fault) = vacuum::some(book.conn, self.keep.vacuum_pages).map_err(Fault::from)
            {
                counters.write_errors.increment();
                tracing::warn!("giving back free pages: {}", fault.words());
            }
        }
        self.end(now_ms, counters);
    }

    fn count(&mut self, chore: Chore, rows: usize, counters: &Counters) {
        self.rows += rows;
        self.pruned |= rows > 0;
        counters.rows_pruned.add(rows as u64);
        if chore == Chore::Nodes {
            counters.nodes_retired.add(rows as u64);
        }
    }

    fn next(&mut self, chore: Chore) {
        if self.rows > 0 {
            tracing::info!("{}: {} rows", chore.words(), self.rows);
        }
        (self.at, self.rows) = (self.at + 1, 0);
    }

    fn end(&mut self, now_ms: i64, counters: &Counters) {
        (self.at, self.rows, self.pruned) = (0, 0, false);
        self.looked_at_ms = Some(now_ms);
        counters.retention_rounds.increment();
    }
}

/// So long before `at_ms`.
fn before(at_ms: i64, age: Duration) -> i64 {
    at_ms.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
}

/// How many rows a slice that has these may still write.
fn room(rows: usize) -> i64 {
    i64::try_from(SLICE.saturating_sub(rows)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::open;

    pub(super) fn book(conn: &Connection) -> Book<'_> {
        let options = crate::store::faults::options(std::path::Path::new("unused"));
        Book::new(conn, true, &options).unwrap()
    }

    #[test]
    fn it_looks_at_the_start_and_then_once_an_hour() {
        let dir = tempfile::tempdir().unwrap();
        let opened = open::open(&dir.path().join("meshcore.db")).unwrap();
        let mut book = book(&opened.conn);
        let silent = |key: &str| {
            let sql =
                "INSERT INTO nodes (public_key, last_seen) VALUES (?1, '2020-01-01T00:00:00Z')";
            opened.conn.execute(sql, [key]).unwrap();
        };
        let counters = Counters::default();
        let now_ms = 1_795_407_861_000;
        let keep = config::Retention::default();
        let mut retention = Retention::new(keep, &opened.conn, now_ms);
        // A slice a turn: the round ends with the turn that finds nothing more.
        let mut turns = |now_ms| {
            (0..3).for_each(|_| retention.turn(&mut book, now_ms, &counters));
            (counters.nodes_retired.get(), counters.retention_rounds.get())
        };
        silent("a");
        assert_eq!(turns(now_ms), (1, 1));
        silent("b");
        assert_eq!(turns(now_ms + HOUR_MS - 1), (1, 1));
        assert_eq!(turns(now_ms + 3_600_000), (2, 2));
        // A clock that jumps back is no reason to wait for as long as it jumped.
        silent("c");
        assert_eq!(turns(now_ms - 10 * HOUR_MS), (3, 3));
        assert_eq!(counters.write_errors.get(), 0);
    }
}
