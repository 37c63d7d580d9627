//! The least that SQLite needs for the same rows: prepared statements, nothing looked up, nothing
//! decoded. What the store is measured by.

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};
use std::path::Path;
use std::time::{Duration, Instant};

/// What a loop cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// From the first BEGIN to the end of the last COMMIT.
    pub(crate) took: Duration,
    /// On a processor meanwhile.
    pub(crate) cpu: Duration,
    /// Handed to the system, the final checkpoint included.
    pub(crate) bytes: u64,
}

/// A row of one of the two tables that grow with the traffic.
enum Row {
    Transmission(Vec<Value>),
    Observation(Vec<Value>),
}

const TABLES: [&str; 2] = ["transmissions", "observations"];

/// Inserts the transmissions and observations of one file into another one with the same schema and
/// no rows, in the order in which they came, so many messages a commit; the schema's constraints hold
/// in both.
pub(crate) fn copy(from: &Path, to: &Path, batch: usize) -> Cost {
    let rows = rows(from);
    let conn = Connection::open(to).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;
         PRAGMA cache_size = -8192; PRAGMA foreign_keys = ON",
    )
    .unwrap();
    let (bytes, cpu, started) = (written(), busy(), Instant::now());
    {
        let [mut transmission, mut observation] = TABLES.map(|table| {
            let columns = columns(&conn, table).len();
            let values = vec!["?"; columns].join(", ");
            conn.prepare(&format!("INSERT INTO {table} VALUES ({values})")).unwrap()
        });
        let mut in_batch = 0;
        for row in &rows {
            if in_batch == 0 {
                conn.execute_batch("BEGIN IMMEDIATE").unwrap();
            }
            match row {
                Row::Transmission(values) => {
                    transmission.execute(params_from_iter(values)).unwrap();
                    // It waits for its observation, so that a message is never in two batches.
                    in_batch = in_batch.max(1);
                }
                Row::Observation(values) => {
                    observation.execute(params_from_iter(values)).unwrap();
                    in_batch += 1;
                    if in_batch > batch {
                        conn.execute_batch("COMMIT").unwrap();
                        in_batch = 0;
                    }
                }
            }
        }
        if in_batch > 0 {
            conn.execute_batch("COMMIT").unwrap();
        }
    }
    let (took, cpu) = (started.elapsed(), busy() - cpu);
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    conn.close().unwrap();
    Cost { took, cpu, bytes: written() - bytes }
}

fn rows(from: &Path) -> Vec<Row> {
    let conn = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let [mut transmissions, observations] = TABLES.map(|table| all(&conn, table));
    transmissions.reverse();
    let mut rows = Vec::new();
    for observation in observations {
        // Ids grow, and a transmission is written just before its first observation.
        while transmissions.last().is_some_and(|t| id(&t[0]) <= id(&observation[1])) {
            rows.extend(transmissions.pop().map(Row::Transmission));
        }
        rows.push(Row::Observation(observation));
    }
    rows
}

fn id(value: &Value) -> i64 {
    match value {
        Value::Integer(id) => *id,
        other => panic!("no id: {other:?}"),
    }
}

fn all(conn: &Connection, table: &str) -> Vec<Vec<Value>> {
    let columns = columns(conn, table).len();
    let mut select = conn.prepare(&format!("SELECT * FROM {table} ORDER BY id")).unwrap();
    let row = |row: &rusqlite::Row<'_>| (0..columns).map(|n| row.get(n)).collect();
    select.query_map([], row).unwrap().map(Result::unwrap).collect()
}

fn columns(conn: &Connection, table: &str) -> Vec<String> {
    let select = conn.prepare(&format!("SELECT * FROM {table}")).unwrap();
    select.column_names().into_iter().map(Into::into).collect()
}

/// Bytes that this process has handed to the system.
pub(crate) fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    io.lines().find_map(|l| l.strip_prefix("wchar: ")?.parse().ok()).unwrap_or(0)
}

/// How long this thread has run on a processor.
fn busy() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    Duration::from_nanos(nanos)
}
