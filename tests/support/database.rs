//! Looking into a database from outside, as CoreScope's server does: read-only.

use rusqlite::types::FromSql;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

/// Opens a database read-only; `None` while it is not there yet.
pub(crate) fn open(path: &Path) -> Option<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).ok()
}

/// The single value of a query; `None` while there is no such table or row.
pub(crate) fn value<T: FromSql>(path: &Path, sql: &str) -> Option<T> {
    open(path)?.query_row(sql, [], |row| row.get(0)).ok()
}

/// A count; 0 while there is no such table.
pub(crate) fn count(path: &Path, sql: &str) -> i64 {
    value(path, sql).unwrap_or(0)
}

/// Every value of a query's first column, as text.
pub(crate) fn column(path: &Path, sql: &str) -> Vec<String> {
    let Some(db) = open(path) else { return Vec::new() };
    let Ok(mut statement) = db.prepare(sql) else { return Vec::new() };
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    rows.map(Result::unwrap).collect()
}
