//! Free pages go back to the file system.

use rusqlite::Connection;

/// Gives back so many free pages, in a file that can (`auto_vacuum = INCREMENTAL`).
pub(super) fn some(conn: &Connection, pages: u32) -> rusqlite::Result<()> {
    // Each step of the statement gives back one page.
    let mut vacuum = conn.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut steps = vacuum.query([])?;
    while steps.next()?.is_some() {}
    Ok(())
}

/// Rewrites the file if that makes it one that vacuums incrementally, or if more than a quarter of
/// it is free. Returns whether it did. Needs as much room again, in the file's WAL and in the
/// directory for temporary files.
///
/// # Errors
/// SQLite's own; the file is as it was then.
pub(in crate::store) fn whole(conn: &Connection) -> rusqlite::Result<bool> {
    let number = |pragma| conn.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let incremental = number("auto_vacuum")? == INCREMENTAL;
    if incremental && number("freelist_count")? * 4 <= number("page_count")? {
        return Ok(false);
    }
    // The copy is a temporary table, which must not fill the memory.
    conn.pragma_update(None, "temp_store", "FILE")?;
    conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    let done = conn.execute_batch("VACUUM");
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    done?;
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(true)
}

const INCREMENTAL: i64 = 2;
