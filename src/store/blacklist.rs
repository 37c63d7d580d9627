//! Observers of which nothing is taken any more are not shown as active either.

use rusqlite::Connection;

/// Marks the rows of these observers inactive, whatever the case of their ids (CoreScope #962).
/// Nothing makes them active again while they are left out, so once at the start is enough.
///
/// # Errors
/// SQLite's own; the rows stay as they are.
pub(super) fn mark_inactive(conn: &Connection, ids: &[String]) -> rusqlite::Result<usize> {
    if ids.is_empty() {
        return Ok(0);
    }
    let tx = rusqlite::Transaction::new_unchecked(conn, rusqlite::TransactionBehavior::Immediate)?;
    let mut marked = 0;
    let mut mark = tx.prepare(
        "UPDATE observers SET inactive = 1
         WHERE lower(trim(id)) = ?1 AND (inactive IS NULL OR inactive <> 1)",
    )?;
    for id in ids {
        marked += mark.execute([id.trim().to_lowercase()])?;
    }
    drop(mark);
    tx.commit()?;
    Ok(marked)
}
