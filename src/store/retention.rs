//! Nodes that were not heard for long move to `inactive_nodes`: looked at hourly, in slices between
//! batches.

use super::fault::Fault;
use super::stamp;
use crate::counters::Counters;

use rusqlite::{Connection, params};
use std::time::Duration;

/// Moves old nodes.
#[derive(Debug)]
pub(super) struct Retention {
    keep_ms: i64,
    /// When it last looked, by the clock; `None` while there is more to move.
    looked_at_ms: Option<i64>,
}

/// Rows moved in one transaction: a few milliseconds on an SD card.
const SLICE: u16 = 250;

const HOUR_MS: i64 = 3_600_000;

impl Retention {
    /// Nodes are kept for so long after they were last heard.
    pub(super) fn new(keep: Duration) -> Self {
        let keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        Self { keep_ms, looked_at_ms: None }
    }

    /// Moves a slice, if it is time to.
    pub(super) fn turn(&mut self, conn: &Connection, now_ms: i64, counters: &Counters) {
        let due = self.looked_at_ms.is_none_or(|at| (now_ms - at).abs() >= HOUR_MS);
        if !due {
            return;
        }
        let cutoff = stamp::iso(now_ms.saturating_sub(self.keep_ms));
        match move_slice(conn, &cutoff) {
            Ok(moved) => {
                counters.nodes_retired.add(moved as u64);
                if moved > 0 {
                    tracing::info!(
                        "moved {moved} nodes to inactive_nodes, last seen before {cutoff}"
                    );
                }
                self.looked_at_ms = (moved < usize::from(SLICE)).then_some(now_ms);
            }
            Err(fault) => {
                // In an hour again: the next batch meets a real trouble, and says so.
                counters.write_errors.increment();
                tracing::warn!("moving old nodes: {}", fault.words());
                self.looked_at_ms = Some(now_ms);
            }
        }
    }
}

/// The columns that are moved, by name: `SELECT *` would mix them up in a file whose two tables
/// grew in a different order.
const COLUMNS: &str = "public_key, name, role, lat, lon, last_seen, first_seen, advert_count, \
    battery_mv, temperature_c, foreign_advert, default_scope, multibyte_sup, multibyte_evidence";

fn move_slice(conn: &Connection, cutoff: &str) -> Result<usize, Fault> {
    let tx = rusqlite::Transaction::new_unchecked(conn, rusqlite::TransactionBehavior::Immediate)?;
    let old = "SELECT rowid FROM nodes WHERE last_seen < ?1 ORDER BY last_seen, rowid LIMIT ?2";
    let slice = params![cutoff, SLICE];
    let moved = tx.execute(
        &format!(
            "INSERT OR REPLACE INTO inactive_nodes ({COLUMNS})
             SELECT {COLUMNS} FROM nodes WHERE rowid IN ({old})"
        ),
        slice,
    )?;
    if moved > 0 {
        tx.execute(&format!("DELETE FROM nodes WHERE rowid IN ({old})"), slice)?;
    }
    tx.commit()?;
    Ok(moved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema;

    #[test]
    fn it_looks_at_the_start_and_then_once_an_hour() {
        let conn = Connection::open_in_memory().unwrap();
        for table in schema::TABLES {
            conn.execute_batch(&table.create()).unwrap();
        }
        let silent = |key: &str| {
            let sql =
                "INSERT INTO nodes (public_key, last_seen) VALUES (?1, '2020-01-01T00:00:00Z')";
            conn.execute(sql, [key]).unwrap();
        };
        let counters = Counters::default();
        let mut retention = Retention::new(Duration::from_secs(7 * 86_400));
        let now_ms = 1_795_407_861_000;
        silent("a");
        retention.turn(&conn, now_ms, &counters);
        assert_eq!(counters.nodes_retired.get(), 1);
        silent("b");
        retention.turn(&conn, now_ms + HOUR_MS - 1, &counters);
        assert_eq!(counters.nodes_retired.get(), 1);
        retention.turn(&conn, now_ms + 3_600_000, &counters);
        assert_eq!(counters.nodes_retired.get(), 2);
        assert_eq!(counters.write_errors.get(), 0);
    }
}
