//! Opening the file: what it is, whether it can be ours, and the connection's settings.

use super::migrate::{self, Plan};
use super::schema::{self, VERSION};
use super::statements::Statements;
use super::upgrade;

use rusqlite::config::DbConfig;
use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why the database could not be opened; each says what to do. A file that is refused is left as
/// it is.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory is missing and cannot be made.
    #[error("cannot make the directory {}: {source}; make it, or set dbPath", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file cannot be opened or made.
    #[error("cannot open {}: {reason}; check its owner and permissions, or set dbPath", .path.display())]
    Unopened {
        /// The file.
        path: PathBuf,
        /// SQLite's or the system's words.
        reason: String,
    },
    /// There is nothing to read.
    #[error("there is no database at {}; name it with --db, or the config with --config", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file or its directory cannot be written.
    #[error("{} is read-only; give this user write access to it and its directory", .path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// There is no room for it, or for the files that SQLite keeps beside it.
    #[error("the disk of {} is full; make room, or set dbPath", .path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// Another program holds the file.
    #[error("{} is locked by another program; end that program, or wait until it is done", .path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Not a SQLite file.
    #[error("{} is not a SQLite database; move it away, or set dbPath", .path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// A SQLite file that cannot be read.
    #[error("{} is damaged ({reason}); restore a backup, or try `sqlite3 FILE .recover`", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        reason: String,
    },
    /// Made by a later meshbox.
    #[error("{} has schema version {found}, this meshbox knows up to {known}; update meshbox", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// CoreScope's layout before 2026, which keeps observers in `observations.observer_id`.
    #[error("{} has CoreScope's old v2 layout; open it once with CoreScope of April 2026, which converts it, or set dbPath", .path.display())]
    OldLayout {
        /// The file.
        path: PathBuf,
    },
    /// Another program's database.
    #[error("{} is no CoreScope database ({missing} is missing); set dbPath to another file", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The table or column that is missing.
        missing: String,
    },
    /// The system has no thread to give to the writer.
    #[error("cannot start the writer's thread: {0}")]
    Thread(std::io::Error),
}

/// An open file, ready to be written.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) conn: Connection,
    /// Whether the index is there that makes an observation unique.
    pub(super) dedup: bool,
    /// What is still to be done to it, between the writer's batches.
    pub(super) plan: Plan,
}

/// The tables of a file with their columns.
pub(super) type Layout = BTreeMap<String, BTreeSet<String>>;

/// How long a statement waits for another program's lock before it gives up, in the writer. Short:
/// the writer tries again by itself, and must notice a stop meanwhile.
pub(super) const BUSY: Duration = Duration::from_millis(500);

/// The same while opening, where nothing else can happen anyway.
const BUSY_OPENING: Duration = Duration::from_secs(5);

/// The page cache in KiB. A batch of 10,000 records dirties 5 MiB in a young file and more in an old
/// one, whose hashes are spread over a wide index; what does not fit goes to the WAL early, which
/// costs less than memory on a machine that has 512 MiB of it.
const CACHE_KIB: i64 = 8 * 1024;

/// Opens the file, or makes it and its directory.
///
/// # Errors
/// [`OpenError`]; the file is left as it is then.
pub(super) fn open(path: &Path) -> Result<Opened, OpenError> {
    if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        std::fs::create_dir_all(dir)
            .map_err(|source| OpenError::Directory { path: dir.to_owned(), source })?;
    }
    check_magic(path)?;
    let told = |e| explain(path, &e);
    let mut conn = Connection::open_with_flags(path, flags()).map_err(told)?;
    conn.busy_timeout(BUSY_OPENING).map_err(told)?;
    // Until the file is known to be ours it stays as it is, a WAL beside it included.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(told)?;
    let layout = layout(&conn).map_err(told)?;
    judge(&conn, path, &layout)?;
    if conn.is_readonly(rusqlite::MAIN_DB).map_err(told)? {
        return Err(OpenError::ReadOnly { path: path.to_owned() });
    }
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(told)?;
    if layout.is_empty() {
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(told)?;
    }
    settings(&conn).map_err(told)?;
    if layout.is_empty() {
        make(&mut conn).map_err(told)?;
    } else {
        upgrade::upgrade(&mut conn, &layout).map_err(told)?;
    }
    // Whatever the statements need and the file has not shows here.
    Statements::prepare(&conn).map_err(told)?;
    let dedup = has_index(&conn, schema::DEDUP).map_err(told)?;
    let plan = migrate::plan(&conn).map_err(told)?;
    conn.busy_timeout(BUSY).map_err(told)?;
    Ok(Opened { conn, dedup, plan })
}

fn flags() -> OpenFlags {
    // One thread uses the connection, and a path is a path, not a URI.
    OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

/// Tells a file that is no database at all before SQLite touches it.
pub(super) fn check_magic(path: &Path) -> Result<(), OpenError> {
    const MAGIC: &[u8; 16] = b"SQLite format 3\0";
    let unopened =
        |e: std::io::Error| OpenError::Unopened { path: path.to_owned(), reason: e.to_string() };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(unopened(e)),
    };
    let mut head = Vec::new();
    file.take(MAGIC.len() as u64).read_to_end(&mut head).map_err(unopened)?;
    if head.is_empty() || head == MAGIC {
        return Ok(());
    }
    Err(OpenError::NotADatabase { path: path.to_owned() })
}

/// Whether the file can be ours.
pub(super) fn judge(conn: &Connection, path: &Path, layout: &Layout) -> Result<(), OpenError> {
    if layout.is_empty() {
        return Ok(());
    }
    let path = || path.to_owned();
    let found = version(conn).map_err(|e| explain(&path(), &e))?;
    // The number means something only beside our tables.
    if found > VERSION && layout.contains_key("meshbox_origins") {
        return Err(OpenError::Newer { path: path(), found, known: VERSION });
    }
    let has = |table: &str, column: &str| layout.get(table).is_some_and(|c| c.contains(column));
    if has("observations", "observer_id") && !has("observations", "observer_idx") {
        return Err(OpenError::OldLayout { path: path() });
    }
    for (table, columns) in schema::OLDEST {
        if let Some(column) = columns.iter().find(|c| !has(table, c)) {
            return Err(OpenError::Foreign { path: path(), missing: format!("{table}.{column}") });
        }
    }
    Ok(())
}

/// `PRAGMA user_version`.
pub(super) fn version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn settings(conn: &Connection) -> rusqlite::Result<()> {
    // A commit in the WAL survives a power cut only with FULL; the batches pay for it.
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    // Checkpoints are the writer's, between batches; see `super::checkpoint`.
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    conn.pragma_update(None, "temp_store", "MEMORY")
}

fn make(conn: &mut Connection) -> rusqlite::Result<()> {
    let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for table in schema::TABLES {
        tx.execute_batch(&table.create())?;
    }
    for index in schema::INDEXES {
        tx.execute_batch(&schema::create_index(*index))?;
    }
    tx.execute_batch(schema::VIEW)?;
    for name in schema::MIGRATIONS {
        tx.execute("INSERT INTO _migrations (name) VALUES (?1)", [name])?;
    }
    for name in schema::ASYNC_MIGRATIONS {
        tx.execute(
            "INSERT INTO _async_migrations (name, status, ended_at)
             VALUES (?1, 'done', datetime('now'))",
            [name],
        )?;
    }
    tx.pragma_update(None, "user_version", VERSION)?;
    tx.commit()
}

/// Every table with its columns; none in a fresh file.
pub(super) fn layout(conn: &Connection) -> rusqlite::Result<Layout> {
    let mut layout = Layout::new();
    let mut sql = conn.prepare(
        "SELECT t.name, c.name FROM sqlite_master t, pragma_table_info(t.name) c
         WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'",
    )?;
    let mut rows = sql.query([])?;
    while let Some(row) = rows.next()? {
        layout.entry(row.get(0)?).or_default().insert(row.get(1)?);
    }
    Ok(layout)
}

/// Whether an index of this name is there.
pub(super) fn has_index(conn: &Connection, name: &str) -> rusqlite::Result<bool> {
    conn.prepare("SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = ?1")?.exists([name])
}

pub(super) fn explain(path: &Path, error: &rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    let extended = error.sqlite_error().map(|e| e.extended_code);
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => OpenError::Full { path },
        // It may be any trouble with the file `-shm`; a full disk is the usual one.
        _ if extended == Some(SQLITE_IOERR_SHMSIZE) => OpenError::Full { path },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Locked { path },
        Some(ErrorCode::NotADatabase) => OpenError::NotADatabase { path },
        Some(ErrorCode::ReadOnly) => OpenError::ReadOnly { path },
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Damaged { path, reason: error.to_string() },
        _ => OpenError::Unopened { path, reason: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_reaches_the_disk_before_it_returns_and_checkpoints_are_left_to_us() {
        let dir = tempfile::tempdir().unwrap();
        let conn = Connection::open(dir.path().join("x.db")).unwrap();
        settings(&conn).unwrap();
        let told = |name: &str| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        assert_eq!(told("synchronous").unwrap(), 2, "FULL");
        assert_eq!(told("foreign_keys").unwrap(), 1);
        assert_eq!(told("wal_autocheckpoint").unwrap(), 0);
    }
}
