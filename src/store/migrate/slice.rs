//! What a slice may do, what it did, and how far a walk over a table is.

use super::super::fault::Fault;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use std::time::{Duration, Instant};

/// Rows that a slice writes at most.
const ROWS: usize = 250;

/// How long it works at most, its commit not counted.
const TIME: Duration = Duration::from_millis(15);

/// What is left to a slice.
#[derive(Debug)]
pub(super) struct Budget {
    until: Instant,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { until: Instant::now() + TIME }
    }

    /// One that only counts rows.
    #[cfg(test)]
    pub(super) fn patient() -> Self {
        Self { until: Instant::now() + Duration::from_secs(3_600) }
    }

    /// Whether a slice that wrote so many rows is to end.
    pub(super) fn is_spent(&self, rows: usize) -> bool {
        rows >= ROWS || Instant::now() >= self.until
    }

    /// How many rows a slice that wrote so many may still write.
    pub(super) fn left(&self, rows: usize) -> usize {
        ROWS.saturating_sub(rows)
    }
}

/// What a slice did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    /// Rows written.
    pub(super) rows: usize,
    /// Whether nothing is left for another slice.
    pub(super) ended: bool,
}

/// A walk along a column of numbers.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Everything up to here has been seen to.
    pub(super) at: i64,
    /// The last number when it began; rows that come later are written whole.
    pub(super) last: i64,
    pub(super) first: i64,
    /// Slices that wrote nothing since the place was recorded.
    pub(super) unrecorded: u32,
}

impl Walk {
    /// From before the first to the last that is there now.
    pub(super) fn over(conn: &Connection, table: &str, column: &str) -> rusqlite::Result<Self> {
        // One at a time: each is then looked up at an end of the index.
        let end = |which: &str| {
            let sql = format!("SELECT {which}({column}) FROM {table}");
            conn.query_row(&sql, [], |row| row.get::<_, Option<i64>>(0))
        };
        let first = end("MIN")?.map_or(0, |first| first.saturating_sub(1));
        Ok(Self { at: first, last: end("MAX")?.unwrap_or(first), first, unrecorded: 0 })
    }

    /// From where it was recorded to be.
    pub(super) fn resumed(conn: &Connection, table: &str, column: &str) -> rusqlite::Result<Self> {
        let mut walk = Self::over(conn, table, column)?;
        let place = conn
            .query_row("SELECT at FROM meshbox_progress WHERE step = ?1", [table], |r| r.get(0))
            .optional()?;
        walk.at = walk.at.max(place.unwrap_or(walk.at));
        Ok(walk)
    }

    /// How much of how much.
    pub(super) fn progress(&self) -> (u64, u64) {
        let since = |number: i64| u64::try_from(number.saturating_sub(self.first)).unwrap_or(0);
        (since(self.at.min(self.last)), since(self.last))
    }
}

/// Records how far the walk over a table is.
pub(super) fn note(conn: &Connection, table: &str, at: i64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO meshbox_progress (step, at) VALUES (?1, ?2)
        ON CONFLICT (step) DO UPDATE SET at = excluded.at";
    conn.prepare_cached(sql)?.execute(params![table, at]).map(drop)
}

/// Forgets it.
pub(super) fn forget(conn: &Connection, table: &str) -> rusqlite::Result<()> {
    conn.execute("DELETE FROM meshbox_progress WHERE step = ?1", [table]).map(drop)
}

/// A statement that changes at most so many rows, and fewer when nothing is left.
pub(super) fn some(conn: &Connection, sql: &str, most: usize) -> Result<Slice, Fault> {
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    let rows = tx.prepare_cached(sql)?.execute([limit(most)])?;
    tx.commit()?;
    Ok(Slice { rows, ended: rows < most })
}

/// A number of rows as SQLite takes it.
pub(super) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// A statement that takes little time whatever the file.
pub(super) fn all(conn: &Connection, sql: &str) -> Result<Slice, Fault> {
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    let rows = tx.execute(sql, [])?;
    tx.commit()?;
    Ok(Slice { rows, ended: true })
}
