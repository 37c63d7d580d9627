//! Connections that cannot write: for backups, exports and replays, beside a running hub or alone.

use super::open::{self, Layout, OpenError};

use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a statement waits for another program's lock. In a WAL file readers wait for nobody; an
/// old file may have another journal.
const BUSY: Duration = Duration::from_secs(10);

/// Opens a CoreScope file, of any layout that [`open::open`] would take, to read it.
///
/// # Errors
/// [`OpenError`]: no such file, none of CoreScope's, or one that cannot be read.
pub(super) fn open(path: &Path) -> Result<(Connection, Layout), OpenError> {
    if !path.exists() {
        return Err(OpenError::Missing { path: path.to_owned() });
    }
    open::check_magic(path)?;
    let told = |e| open::explain(path, &e);
    let conn = connect(path).map_err(told)?;
    let layout = open::layout(&conn).map_err(told)?;
    if layout.is_empty() {
        let missing = "every table".to_owned();
        return Err(OpenError::Foreign { path: path.to_owned(), missing });
    }
    open::judge(&conn, path, &layout)?;
    Ok((conn, layout))
}

/// A file in WAL mode needs two files beside it even to be read. Where they cannot be made (a
/// read-only disk) and nothing waits in the WAL, the file is read as it lies.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let first = Connection::open_with_flags(path, flags).and_then(|conn| {
        conn.busy_timeout(BUSY)?;
        conn.query_row("SELECT COUNT(*) FROM sqlite_master", [], |_| Ok(()))?;
        Ok(conn)
    });
    match first {
        Err(e) if cannot_make(&e) && nothing_waits(path) => immutable(path),
        first => first,
    }
}

fn cannot_make(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}

fn nothing_waits(path: &Path) -> bool {
    std::fs::metadata(beside(path, "-wal")).map_or(true, |wal| wal.len() == 0)
}

/// The file of this ending that SQLite keeps beside a database.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Opens a file that nobody writes: no lock, no file beside it.
pub(super) fn immutable(path: &Path) -> rusqlite::Result<Connection> {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte));
            }
            // Writing to a String cannot fail.
            _ => {
                let _ = write!(uri, "%{byte:02X}");
            }
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_corescope_database_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        assert!(matches!(open(&path), Err(OpenError::Missing { .. })));
        assert!(!path.exists(), "it was made");
        std::fs::write(&path, "").unwrap();
        assert!(matches!(open(&path), Err(OpenError::Foreign { .. })));
        std::fs::write(&path, "no database at all").unwrap();
        assert!(matches!(open(&path), Err(OpenError::NotADatabase { .. })));
    }

    #[test]
    fn a_name_with_odd_characters_is_opened_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("50%41 off?mode=rw#x.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
        let conn = immutable(&path).unwrap();
        conn.query_row("SELECT COUNT(*) FROM t", [], |_| Ok(())).unwrap();
        assert!(conn.execute_batch("INSERT INTO t VALUES (1)").is_err());
    }
}
