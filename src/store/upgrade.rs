//! Bringing an older CoreScope file up to the schema: tables, columns and the view are added when it
//! is opened, which takes no time however large it is. No row is read or written here; what is done
//! to rows, and the indexes, are [`super::migrate`]'s.

use super::open::{self, Layout};
use super::schema::{self, Table};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

/// A column that the file lacks, and what CoreScope would do to its rows: nothing, for none has
/// anything to go by. (`scope_name` fills `nodes.default_scope`.)
const NOTHING_TO_GO_BY: [(&str, &str, &str); 2] = [
    ("observations", "raw_hex", "backfill_path_json_from_raw_hex_v1"),
    ("transmissions", "scope_name", "backfill_default_scope_v1"),
];

/// Adds the tables with their indexes, columns and the view that the file lacks, in one transaction; a file
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
    let new = schema::INDEXES.iter().filter(|(_, table, _)| !layout.contains_key(*table));
    steps.extend(new.map(|index| schema::create_index(*index)));
    for (table, column, name) in NOTHING_TO_GO_BY {
        if !layout.get(table).is_some_and(|columns| columns.contains(column)) {
            steps.push(format!("INSERT OR IGNORE INTO _migrations (name) VALUES ('{name}')"));
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

/// A statement without regard to white space.
fn words(sql: &str) -> Vec<&str> {
    sql.split_whitespace().collect()
}
