//! Bringing an older CoreScope file up to the schema: what is missing is added, as far as that
//! takes no time. Rows are not touched here.
//!
//! What takes time (filling new columns of old rows, merging duplicate observations, indexes on
//! large tables) belongs between the writer's batches, in slices, while messages are received:
//! [`super::writer`] calls housekeeping there. `_migrations` stays as it is, so that CoreScope's own
//! backfills run when it opens the file.

use super::open::{self, Layout};
use super::schema;

use rusqlite::{Connection, TransactionBehavior};

/// An index on a table of at most this many rows is made at once: well under a second on a Pi.
const SMALL: i64 = 50_000;

/// Adds the tables, columns, indexes and the view that the file lacks, in one transaction.
pub(super) fn upgrade(conn: &mut Connection, layout: &Layout) -> rusqlite::Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for table in schema::TABLES {
        if !layout.contains_key(table.name) {
            tx.execute_batch(&table.create())?;
            continue;
        }
        for column in open::missing(layout, table) {
            tx.execute_batch(&format!("ALTER TABLE {} ADD COLUMN {column}", table.name))?;
        }
    }
    for index in schema::INDEXES {
        let (name, table, _) = *index;
        if !open::has_index(&tx, name)? && fits(&tx, name, table)? {
            tx.execute_batch(&schema::create_index(*index))?;
        }
    }
    let view: Option<String> = tx
        .prepare("SELECT sql FROM sqlite_master WHERE type = 'view' AND name = 'packets_v'")?
        .query_map([], |row| row.get(0))?
        .next()
        .transpose()?;
    if view.is_none_or(|sql| words(&sql) != words(schema::VIEW)) {
        tx.execute_batch("DROP VIEW IF EXISTS packets_v")?;
        tx.execute_batch(schema::VIEW)?;
    }
    tx.pragma_update(None, "user_version", schema::VERSION)?;
    tx.commit()
}

/// Whether an index can be made at once.
fn fits(conn: &Connection, name: &str, table: &str) -> rusqlite::Result<bool> {
    let rows: Option<i64> =
        conn.query_row(&format!("SELECT MAX(rowid) FROM {table}"), [], |row| row.get(0))?;
    if rows.unwrap_or(0) > SMALL {
        tracing::warn!("{name} is missing and {table} is large: some queries will be slow");
        return Ok(false);
    }
    if name != schema::DEDUP {
        return Ok(true);
    }
    // It cannot be made while there are duplicates; the writer gets along without it.
    let doubled = conn
        .prepare(
            "SELECT 1 FROM observations WHERE observer_idx IS NOT NULL
             GROUP BY transmission_id, observer_idx, COALESCE(path_json, '')
             HAVING COUNT(*) > 1 LIMIT 1",
        )?
        .exists([])?;
    Ok(!doubled)
}

/// A statement without regard to white space.
fn words(sql: &str) -> Vec<&str> {
    sql.split_whitespace().collect()
}
