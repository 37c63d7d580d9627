//! What is old leaves: looked at once an hour, in slices of at most 250 rows between batches, so
//! that nobody waits long for the writer.
//!
//! An hour's round goes through the [`Chore`]s; each turn writes one slice at most. While the clock is
//! not trusted ([`crate::clock::Trust`]) nothing is old, and only the file's size counts. After a round
//! that deleted something a part of the free pages goes back to the file system ([`vacuum`]).

mod chore;
mod future;
mod packets;
pub(super) mod vacuum;

use self::chore::{CHORES, Chore};
use super::book::Book;
use super::fault::Fault;
use crate::clock::Trust;
use crate::config;
use crate::counters::Counters;

use std::time::Duration;

/// Lets go of what is old.
#[derive(Debug)]
pub(super) struct Retention {
    keep: config::Retention,
    /// When the last round ended, by the clock; `None` while one is on.
    looked_at_ms: Option<i64>,
    /// What ages was left alone in this round, or the last one: the clock was not trusted.
    waits: bool,
    /// The clock was doubted since rows from the future were last looked for.
    doubted: bool,
    /// Where the round is in [`CHORES`], and the rows that this chore wrote so far.
    at: usize,
    rows: usize,
    /// Bytes of everything but packets, once that was looked at in this round.
    others: Option<u64>,
    /// Whether the round deleted anything.
    pruned: bool,
}

/// Rows written in one transaction: a few milliseconds on an SD card.
const SLICE: usize = 250;

const HOUR_MS: i64 = 3_600_000;

impl Retention {
    pub(super) fn new(keep: config::Retention) -> Self {
        // Nobody knows what clock the last run had.
        let doubted = true;
        Self {
            keep,
            looked_at_ms: None,
            waits: false,
            doubted,
            at: 0,
            rows: 0,
            others: None,
            pruned: false,
        }
    }

    /// Writes a slice, if it is time to and there is one. A file that is being brought up to date has
    /// `grown` beyond what it will be: its size is not looked at until then.
    pub(super) fn turn(
        &mut self,
        book: &mut Book<'_>,
        trust: &Trust,
        grown: bool,
        counters: &Counters,
    ) {
        let (said_ms, trusted) = (trust.said_ms(), trust.now_ms().ok());
        self.doubted |= trusted.is_none();
        if let Some(at) = self.looked_at_ms {
            let overdue = self.waits && trusted.is_some();
            if (said_ms - at).abs() < HOUR_MS && !overdue {
                return;
            }
            (self.looked_at_ms, self.waits) = (None, false);
        }
        while let Some(chore) = CHORES.get(self.at) {
            if *chore == Chore::Size && grown {
                self.next(*chore);
                continue;
            }
            match self.slice(*chore, book, trusted) {
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
                    return self.end(said_ms, counters);
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
        self.end(said_ms, counters);
    }

    /// A slice of a chore, if it is one for now.
    fn slice(
        &mut self,
        chore: Chore,
        book: &mut Book<'_>,
        trusted: Option<i64>,
    ) -> Result<usize, Fault> {
        if chore == Chore::Size {
            return self.shrink(book);
        }
        let Some(now_ms) = trusted else {
            self.waits = true;
            return Ok(0);
        };
        if chore != Chore::Future {
            return chore.slice(book, &self.keep, now_ms);
        }
        if !self.doubted {
            return Ok(0);
        }
        let rows = chore.slice(book, &self.keep, now_ms)?;
        self.doubted = rows >= SLICE;
        Ok(rows)
    }

    /// A slice of what goes for the size of the file.
    fn shrink(&mut self, book: &mut Book<'_>) -> Result<usize, Fault> {
        let Some(most) = self.keep.max_db_bytes else { return Ok(0) };
        let others = match self.others {
            Some(others) => others,
            None => packets::others(book.conn, most)?,
        };
        self.others = Some(others);
        packets::beyond(book, most, others)
    }

    fn count(&mut self, chore: Chore, rows: usize, counters: &Counters) {
        self.rows += rows;
        if chore == Chore::Future {
            return;
        }
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
        (self.at, self.rows, self.others, self.pruned) = (0, 0, None, false);
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
    use crate::clock::Clock;
    use crate::store::open;

    use rusqlite::Connection;

    pub(super) fn book(conn: &Connection) -> Book<'_> {
        let options = crate::store::faults::options(std::path::Path::new("unused"));
        Book::new(conn, true, &options).unwrap()
    }

    fn silent(conn: &Connection, key: &str) {
        let sql = "INSERT INTO nodes (public_key, last_seen) VALUES (?1, '2020-01-01T00:00:00Z')";
        conn.execute(sql, [key]).unwrap();
    }

    const NOW_MS: i64 = 1_795_407_861_000;

    #[test]
    fn it_looks_at_the_start_and_then_once_an_hour() {
        let dir = tempfile::tempdir().unwrap();
        let opened = open::open(&dir.path().join("meshcore.db")).unwrap();
        let mut book = book(&opened.conn);
        let counters = Counters::default();
        let clock = Clock::by_hand(NOW_MS);
        let trust = Trust::given(clock.clone());
        let mut retention = Retention::new(config::Retention::default());
        // A slice a turn: the round ends with the turn that finds nothing more.
        let mut turns = |now_ms| {
            clock.set(now_ms);
            (0..3).for_each(|_| retention.turn(&mut book, &trust, false, &counters));
            (counters.nodes_retired.get(), counters.retention_rounds.get())
        };
        silent(&opened.conn, "a");
        assert_eq!(turns(NOW_MS), (1, 1));
        silent(&opened.conn, "b");
        assert_eq!(turns(NOW_MS + HOUR_MS - 1), (1, 1));
        assert_eq!(turns(NOW_MS + 3_600_000), (2, 2));
        // A clock that jumps back is no reason to wait for as long as it jumped.
        silent(&opened.conn, "c");
        assert_eq!(turns(NOW_MS - 10 * HOUR_MS), (3, 3));
        assert_eq!(counters.write_errors.get(), 0);
    }

    #[test]
    fn it_leaves_alone_what_ages_until_the_clock_is_trusted_and_looks_at_once_then() {
        let dir = tempfile::tempdir().unwrap();
        let opened = open::open(&dir.path().join("meshcore.db")).unwrap();
        let mut book = book(&opened.conn);
        let counters = Counters::default();
        let clock = Clock::by_hand(NOW_MS);
        let trust = Trust::judge(clock.clone());
        let mut retention = Retention::new(config::Retention::default());
        let mut turns = || {
            (0..4).for_each(|_| retention.turn(&mut book, &trust, false, &counters));
            (counters.nodes_retired.get(), counters.retention_rounds.get())
        };
        silent(&opened.conn, "a");
        assert_eq!(turns(), (0, 1));
        clock.run(Duration::from_secs(600));
        assert_eq!(turns(), (1, 2));
        // A jump, even if nobody else has seen it.
        silent(&opened.conn, "b");
        clock.set(NOW_MS + 10 * 365 * 24 * HOUR_MS);
        assert_eq!(turns(), (1, 3));
        clock.set(NOW_MS + 2 * HOUR_MS);
        assert_eq!(turns(), (1, 4));
        clock.run(Duration::from_secs(600));
        assert_eq!(turns(), (2, 5));
    }

    #[test]
    fn the_size_of_a_file_that_is_being_brought_up_to_date_is_not_judged() {
        let dir = tempfile::tempdir().unwrap();
        let opened = open::open(&dir.path().join("meshcore.db")).unwrap();
        let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
             INSERT INTO dropped_packets (reason) SELECT hex(randomblob(1900)) FROM n";
        opened.conn.execute_batch(fill).unwrap();
        let mut book = book(&opened.conn);
        let (counters, clock) = (Counters::default(), Clock::by_hand(NOW_MS));
        let trust = Trust::given(clock.clone());
        let keep = config::Retention { max_db_bytes: Some(1 << 20), ..Default::default() };
        let mut retention = Retention::new(keep);
        (0..10).for_each(|_| retention.turn(&mut book, &trust, true, &counters));
        assert_eq!((counters.rows_pruned.get(), counters.retention_rounds.get()), (0, 1));
        clock.set(NOW_MS + HOUR_MS);
        (0..10).for_each(|_| retention.turn(&mut book, &trust, false, &counters));
        assert!(counters.rows_pruned.get() > 500, "{}", counters.rows_pruned.get());
    }
}
