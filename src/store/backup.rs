//! A consistent copy of the database, made while the hub runs or not.
//!
//! SQLite's backup interface copies pages, and `VACUUM INTO` would write every row anew. Pages, for
//! three reasons: `observations.observer_idx` refers to hidden rowids of `observers`, which VACUUM
//! does not promise to keep; a copy costs no sorting and no memory on a small machine; and what is
//! checked afterwards is what is there.
//!
//! The connection that reads holds one read transaction for the whole copy, so that the copy is of
//! one moment and never starts again. In a WAL file a reader holds up nobody: the writer goes on,
//! and only its WAL cannot be emptied until the copy is done. The target is synced every few MiB:
//! one sync of a whole gigabyte at the end would make the writer's own wait behind it.

use super::open::OpenError;
use super::read_only;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs::File;
use std::path::{Path, PathBuf};

/// What a copy holds; read from the copy itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Its size.
    pub bytes: u64,
    /// Rows of the tables that matter, by table.
    pub rows: Vec<(&'static str, u64)>,
}

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database cannot be read.
    #[error(transparent)]
    Source(#[from] OpenError),
    /// The copy's disk is full.
    #[error("no room for the copy beside {}: the database has {bytes} bytes", .path.display())]
    Full {
        /// The copy.
        path: PathBuf,
        /// Bytes that are needed.
        bytes: u64,
    },
    /// The copy could not be made.
    #[error("cannot copy the database to {}: {reason}", .path.display())]
    Failed {
        /// The copy.
        path: PathBuf,
        /// SQLite's or the system's words.
        reason: String,
    },
    /// The copy was made and is not sound.
    #[error(
        "the copy is not sound ({0}), so the database is damaged too; restore an older backup, or \
         try `sqlite3 FILE .recover`"
    )]
    Damaged(String),
}

/// Pages copied in one step, and steps between two syncs of the copy: 1 MiB and 4 MiB.
const STEP: i32 = 256;
const SYNC_EVERY: usize = 4;

/// The tables whose rows are counted.
const COUNTED: &[&str] = &["transmissions", "observations", "nodes", "observers"];

/// Copies the database `from` into the empty file `to`, syncs it, checks it (`PRAGMA quick_check`:
/// every page is looked at) and counts its rows.
///
/// # Errors
/// [`BackupError`]; what is in `to` is of no use then.
pub fn back_up(from: &Path, to: &Path) -> Result<Copied, BackupError> {
    let (source, _) = read_only::open(from)?;
    let bytes = size(&source).map_err(|e| failed(to, 0, &e))?;
    let file = File::options().write(true).open(to).map_err(|e| unwritten(to, &e))?;
    copy(&source, to, &file, &mut || {}).map_err(|error| match error {
        Stop::Sqlite(e) => failed(to, bytes, &e),
        Stop::Sync(e) => unwritten(to, &e),
    })?;
    drop(source);
    file.sync_all().map_err(|e| unwritten(to, &e))?;
    check(to)
}

enum Stop {
    Sqlite(rusqlite::Error),
    Sync(std::io::Error),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// `between` is called after each step.
fn copy(
    source: &Connection,
    to: &Path,
    file: &File,
    between: &mut dyn FnMut(),
) -> Result<(), Stop> {
    // The first read fixes the moment that is copied.
    source.execute_batch("BEGIN; SELECT COUNT(*) FROM sqlite_master")?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut target = Connection::open_with_flags(to, flags)?;
    // A half-made copy is thrown away, so it needs no journal; and the syncs are ours.
    target.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")?;
    let backup = Backup::new(source, &mut target)?;
    for step in 1_usize.. {
        match backup.step(STEP)? {
            StepResult::Done => break,
            // Of the source only an old file without a WAL is ever busy; the timeout has passed.
            StepResult::Busy | StepResult::Locked => return Err(Stop::Sqlite(busy())),
            _ => {}
        }
        if step % SYNC_EVERY == 0 {
            file.sync_data().map_err(Stop::Sync)?;
        }
        between();
    }
    Ok(())
}

fn busy() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None)
}

fn size(conn: &Connection) -> rusqlite::Result<u64> {
    let number = |pragma| conn.pragma_query_value(None, pragma, number);
    Ok(number("page_count")? * number("page_size")?)
}

fn number(row: &rusqlite::Row<'_>) -> rusqlite::Result<u64> {
    row.get(0).map(|n: i64| u64::try_from(n).unwrap_or_default())
}

fn check(path: &Path) -> Result<Copied, BackupError> {
    let told = |e| failed(path, 0, &e);
    let copy = read_only::immutable(path).map_err(told)?;
    let verdict: Result<String, _> = copy.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
    match verdict {
        Ok(ok) if ok == "ok" => {}
        Ok(words) => return Err(BackupError::Damaged(words.replace('\n', " "))),
        Err(error) => return Err(BackupError::Damaged(error.to_string())),
    }
    let count = |table: &&'static str| {
        let rows = copy.query_row(&format!("SELECT COUNT(*) FROM {table}"), [], number)?;
        Ok((*table, rows))
    };
    let rows: rusqlite::Result<Vec<_>> = COUNTED.iter().map(count).collect();
    Ok(Copied { bytes: size(&copy).map_err(told)?, rows: rows.map_err(told)? })
}

fn failed(to: &Path, bytes: u64, error: &rusqlite::Error) -> BackupError {
    let path = to.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => BackupError::Full { path, bytes },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            BackupError::Damaged(error.to_string())
        }
        _ => BackupError::Failed { path, reason: error.to_string() },
    }
}

fn unwritten(to: &Path, error: &std::io::Error) -> BackupError {
    BackupError::Failed { path: to.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::open;

    /// A file of ours with so many nodes, not closed yet.
    fn database(path: &Path, nodes: u32) -> Connection {
        let conn = open::open(path).unwrap().conn;
        fill(&conn, 0, nodes);
        conn
    }

    fn fill(conn: &Connection, first: u32, nodes: u32) {
        conn.execute(
            "WITH RECURSIVE n(i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)
             INSERT INTO nodes (public_key, name) SELECT printf('%064x', i), hex(zeroblob(300))
             FROM n",
            [first, first + nodes - 1],
        )
        .unwrap();
    }

    fn nodes(copied: &Copied) -> u64 {
        copied.rows.iter().find(|(table, _)| *table == "nodes").unwrap().1
    }

    #[test]
    fn what_only_the_wal_has_is_copied_too() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("x.db"), dir.path().join("copy"));
        let writer = database(&from, 3_000);
        let wal = std::fs::metadata(read_only::beside(&from, "-wal")).unwrap().len();
        assert!(wal > 1_000_000, "nothing waits in the WAL");
        std::fs::write(&to, "").unwrap();
        let copied = back_up(&from, &to).unwrap();
        assert_eq!(nodes(&copied), 3_000);
        assert_eq!(copied.bytes, std::fs::metadata(&to).unwrap().len());
        drop(writer);
    }

    #[test]
    fn the_writer_is_not_held_up_and_the_copy_is_of_one_moment() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("x.db"), dir.path().join("copy"));
        let writer = database(&from, 8_000);
        writer.busy_timeout(std::time::Duration::ZERO).unwrap();
        let file = File::create(&to).unwrap();
        let (source, _) = read_only::open(&from).unwrap();
        let mut steps = 0;
        let mut write = || {
            fill(&writer, 20_000 + steps * 10, 10);
            steps += 1;
        };
        assert!(copy(&source, &to, &file, &mut write).is_ok());
        assert!(steps >= 3, "too small to say anything: {steps} steps");
        assert_eq!(nodes(&check(&to).unwrap()), 8_000);
    }

    #[test]
    fn a_damaged_database_gives_no_copy() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("x.db"), dir.path().join("copy"));
        drop(database(&from, 3_000));
        let mut bytes = std::fs::read(&from).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 8_192].fill(0xAA);
        std::fs::write(&from, bytes).unwrap();
        std::fs::write(&to, "").unwrap();
        let error = back_up(&from, &to).unwrap_err();
        assert!(matches!(error, BackupError::Damaged(_)), "{error}");
    }
}
