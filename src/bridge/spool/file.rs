//! The spool's SQLite file.

use super::{Entry, OVERHEAD};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use std::path::{Path, PathBuf};

/// The version of the schema below.
const VERSION: i64 = 2;

/// Messages that were set aside and are kept for a person, of all lanes.
const SET_ASIDE: i64 = 100;

/// Bytes of payloads that are read at once.
const READ_BYTES: usize = 1 << 20;

const SCHEMA: &str = "
    CREATE TABLE lanes (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        region TEXT,
        syncs INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE messages (
        lane INTEGER NOT NULL,
        number INTEGER NOT NULL,
        topic TEXT NOT NULL,
        payload BLOB NOT NULL,
        retain INTEGER NOT NULL,
        at_ms INTEGER NOT NULL,
        PRIMARY KEY (lane, number)
    ) WITHOUT ROWID;
    CREATE TABLE set_aside (
        id INTEGER PRIMARY KEY,
        lane TEXT NOT NULL,
        topic TEXT NOT NULL,
        payload BLOB NOT NULL,
        at_ms INTEGER NOT NULL,
        reason TEXT NOT NULL
    );";

/// What version 1 lacks.
const FROM_1: &str = "
    ALTER TABLE lanes ADD COLUMN region TEXT;
    ALTER TABLE lanes ADD COLUMN syncs INTEGER NOT NULL DEFAULT 0;";

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(in crate::bridge) enum FileError {
    /// SQLite cannot open or read it.
    #[error("{}: {source}; move it away to begin a new one", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        source: rusqlite::Error,
    },
    /// A damaged file cannot be moved out of the way.
    #[error("{} is damaged and cannot be moved aside: {reason}; move it away", .path.display())]
    Unmoved {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: std::io::Error,
    },
    /// The system has no thread to give.
    #[error("cannot start the spool's thread: {0}")]
    Thread(std::io::Error),
    /// A later meshbox made it.
    #[error("{} has version {found}, this meshbox knows up to {VERSION}; update meshbox", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
}

/// The open file.
#[derive(Debug)]
pub(super) struct File {
    conn: Connection,
}

/// What a lane has in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    /// The highest number that was ever seen there.
    pub(super) last: u64,
}

impl Stored {
    /// A message has left.
    pub(super) fn leave(&mut self, left: Left) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(left.bytes);
    }
}

impl File {
    /// Opens or makes it.
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        let unusable = |source| FileError::Unusable { path: path.to_owned(), source };
        let mut conn = Connection::open(path).map_err(unusable)?;
        let found =
            conn.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(unusable)?;
        if found > VERSION {
            return Err(FileError::Newer { path: path.to_owned(), found });
        }
        prepare(&mut conn, found).map_err(unusable)?;
        Ok(Self { conn })
    }

    /// The row of a lane, what it has, and the region of its observer.
    pub(super) fn lane(&self, name: &str) -> rusqlite::Result<(i64, Stored, Option<String>)> {
        self.conn.execute("INSERT OR IGNORE INTO lanes (name) VALUES (?1)", [name])?;
        let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let select = "SELECT id, region FROM lanes WHERE name = ?1";
        let (id, region): (i64, Option<String>) = self.conn.query_row(select, [name], row)?;
        let stored = self.conn.query_row(
            "SELECT COUNT(*), COALESCE(SUM(LENGTH(topic) + LENGTH(payload)), 0),
                    COALESCE(MAX(number), 0)
             FROM messages WHERE lane = ?1",
            [id],
            |row| {
                let messages = whole(row, 0)?;
                let bytes = whole(row, 1)? + messages * OVERHEAD;
                Ok(Stored { messages, bytes, last: whole(row, 2)? })
            },
        )?;
        Ok((id, stored, region))
    }

    /// The next messages after a number.
    pub(super) fn next(&self, lane: i64, after: u64, limit: usize) -> rusqlite::Result<Vec<Entry>> {
        let mut select = self.conn.prepare_cached(
            "SELECT number, topic, payload, retain, at_ms FROM messages
             WHERE lane = ?1 AND number > ?2 ORDER BY number LIMIT ?3",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = select.query(params![lane, sql(after), limit])?;
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let entry = entry(row)?;
            bytes += entry.payload.len();
            entries.push(entry);
            if bytes >= READ_BYTES {
                break;
            }
        }
        Ok(entries)
    }

    /// Takes out what lanes that are configured no more have from before `before_ms`.
    pub(super) fn forget_orphans(&self, lanes: &[i64], before_ms: i64) -> rusqlite::Result<usize> {
        let known: Vec<String> = lanes.iter().map(i64::to_string).collect();
        let sql =
            format!("DELETE FROM messages WHERE lane NOT IN ({}) AND at_ms < ?1", known.join(","));
        self.conn.execute(&sql, [before_ms])
    }

    /// Gives the space of what left back to the system, once nothing waits.
    pub(super) fn shrink(&self) {
        // If not now, then at the next start.
        let _ = shrink(&self.conn);
        let _ = self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }

    /// Begins a change of the file. Once it is committed it survives our own end; with `sync` a power
    /// cut too, and with it every change before it: they are in the same log.
    pub(super) fn change(&mut self, sync: bool) -> rusqlite::Result<Change<'_>> {
        let level = if sync { "FULL" } else { "NORMAL" };
        self.conn.pragma_update(None, "synchronous", level)?;
        let tx = self.conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        Ok(Change { tx })
    }

    /// Closes it; SQLite puts everything into the one file.
    pub(super) fn close(self) {
        if let Err((_, error)) = self.conn.close() {
            tracing::warn!("closing the spool: {error}");
        }
    }
}

/// One transaction.
pub(super) struct Change<'f> {
    tx: Transaction<'f>,
}

/// A message that left a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) bytes: u64,
}

impl Change<'_> {
    pub(super) fn insert(&self, lane: i64, entry: &Entry) -> rusqlite::Result<()> {
        self.tx
            .prepare_cached(
                "INSERT OR REPLACE INTO messages (lane, number, topic, payload, retain, at_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                lane,
                sql(entry.number),
                &*entry.topic,
                &entry.payload[..],
                entry.retain,
                entry.at_ms
            ])
            .map(drop)
    }

    /// Notes the region of a lane's observer.
    pub(super) fn remember(&self, lane: i64, region: &str) -> rusqlite::Result<()> {
        let sql = "UPDATE lanes SET region = ?2 WHERE id = ?1";
        self.tx.prepare_cached(sql)?.execute(params![lane, region]).map(drop)
    }

    /// Changes a row, so that there is something to commit.
    pub(super) fn touch(&self) -> rusqlite::Result<()> {
        let sql = "UPDATE lanes SET syncs = syncs + 1 WHERE id = (SELECT MIN(id) FROM lanes)";
        self.tx.prepare_cached(sql)?.execute([]).map(drop)
    }

    /// Takes a message out; `None` if it is not there.
    pub(super) fn remove(&self, lane: i64, number: u64) -> rusqlite::Result<Option<Left>> {
        self.tx
            .prepare_cached(
                "DELETE FROM messages WHERE lane = ?1 AND number = ?2
                 RETURNING LENGTH(topic) + LENGTH(payload)",
            )?
            .query_row(params![lane, sql(number)], left)
            .optional()
    }

    /// Takes the oldest message out: any, or only one from before `before_ms`.
    pub(super) fn remove_oldest(
        &self,
        lane: i64,
        before_ms: Option<i64>,
    ) -> rusqlite::Result<Option<Left>> {
        self.tx
            .prepare_cached(
                "DELETE FROM messages WHERE lane = ?1
                    AND number = (SELECT MIN(number) FROM messages WHERE lane = ?1)
                    AND at_ms < COALESCE(?2, 9223372036854775807)
                 RETURNING LENGTH(topic) + LENGTH(payload)",
            )?
            .query_row(params![lane, before_ms], left)
            .optional()
    }

    /// Keeps a message for a person to look at.
    pub(super) fn keep_aside(&self, lane: &str, it: &Entry, reason: &str) -> rusqlite::Result<()> {
        self.tx.execute(
            "INSERT INTO set_aside (lane, topic, payload, at_ms, reason) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![lane, &*it.topic, &it.payload[..], it.at_ms, reason],
        )?;
        self.tx.execute(
            "DELETE FROM set_aside WHERE id <= (SELECT MAX(id) FROM set_aside) - ?1",
            [SET_ASIDE],
        )?;
        Ok(())
    }

    pub(super) fn commit(self) -> rusqlite::Result<()> {
        self.tx.commit()
    }
}

fn prepare(conn: &mut Connection, found: i64) -> rusqlite::Result<()> {
    conn.busy_timeout(std::time::Duration::from_secs(2))?;
    if found == 0 {
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "cache_size", -512)?;
    if found < VERSION {
        let tx = conn.transaction()?;
        tx.execute_batch(if found == 0 { SCHEMA } else { FROM_1 })?;
        tx.pragma_update(None, "user_version", VERSION)?;
        tx.commit()?;
    }
    shrink(conn)
}

/// Each step of the statement frees one page.
fn shrink(conn: &Connection) -> rusqlite::Result<()> {
    let mut sql = conn.prepare("PRAGMA incremental_vacuum")?;
    let mut rows = sql.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        number: whole(row, 0)?,
        topic: row.get::<_, String>(1)?.into(),
        payload: Bytes::from(row.get::<_, Vec<u8>>(2)?),
        retain: row.get(3)?,
        at_ms: row.get(4)?,
    })
}

fn left(row: &Row<'_>) -> rusqlite::Result<Left> {
    Ok(Left { bytes: whole(row, 0)? + OVERHEAD })
}

/// A count, which is never negative.
fn whole(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.unsigned_abs())
}

/// As SQLite has it; nobody counts that far.
fn sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
