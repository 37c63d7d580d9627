//! Bringing an older CoreScope file up to the schema: what is missing is added, as far as that
//! takes no time. Rows are not touched here.
//!
//! What takes time (filling new columns of old rows, merging duplicate observations, indexes on
//! large tables) belongs between the writer's batches, in slices, while messages are received:
//! `Scribe::between_batches` in [`super::writer`]. `_migrations` stays as it is, so that CoreScope's
//! own backfills run when it opens the file.

use super::open::{self, Layout};
use super::schema::{self, Table};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

/// An index on a table of at most this many rows is made at once: well under a second on a Pi.
const SMALL: i64 = 50_000;

/// Adds the tables, columns, indexes and the view that the file lacks, in one transaction; a file
/// that lacks nothing is not written.
pub(super) fn upgrade(conn: &mut Connection, layout: &Layout) -> rusqlite::Result<()> {
    let steps = steps(conn, layout)?;
    if steps.is_empty() && open::version(conn)? == schema::VERSION {
        return Ok(());
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in &steps {
        tracing::info!("schema: {}", step.lines().next().unwrap_or_default());
        tx.execute_batch(step)?;
    }
    tx.pragma_update(None, "user_version", schema::VERSION)?;
    tx.commit()
}

/// The statements that are needed.
fn steps(conn: &Connection, layout: &Layout) -> rusqlite::Result<Vec<String>> {
    let mut steps = Vec::new();
    for table in schema::TABLES {
        if layout.contains_key(table.name) {
            let add = |column| format!("ALTER TABLE {} ADD COLUMN {column}", table.name);
            steps.extend(missing(layout, table).map(add));
        } else {
            steps.push(table.create());
        }
    }
    for index in schema::INDEXES {
        let (name, table, _) = *index;
        let made = open::has_index(conn, name)?;
        if !made && (!layout.contains_key(table) || fits(conn, name, table)?) {
            steps.push(schema::create_index(*index));
        }
    }
    let view: Option<String> = conn
        .prepare("SELECT sql FROM sqlite_master WHERE type = 'view' AND name = 'packets_v'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    if view.is_none_or(|sql| words(&sql) != words(schema::VIEW)) {
        steps.push("DROP VIEW IF EXISTS packets_v".to_owned());
        steps.push(schema::VIEW.to_owned());
    }
    Ok(steps)
}

/// The columns that a table lacks.
fn missing(layout: &Layout, table: &'static Table) -> impl Iterator<Item = &'static str> {
    let there = layout.get(table.name);
    let lacks = move |c: &&str| !there.is_some_and(|t| t.contains(schema::column_name(c)));
    table.columns.iter().copied().filter(lacks)
}

/// Whether an index can be made at once.
fn fits(conn: &Connection, name: &str, table: &str) -> rusqlite::Result<bool> {
    let last = format!("SELECT COALESCE(MAX(rowid), 0) FROM {table}");
    if conn.query_row(&last, [], |row| row.get::<_, i64>(0))? > SMALL {
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
