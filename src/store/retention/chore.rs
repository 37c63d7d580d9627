//! What is let go for its age, table by table.

use super::super::book::Book;
use super::super::fault::Fault;
use super::super::stamp;
use super::{SLICE, before, future, packets, room};
use crate::config::Retention;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

/// One kind of thing that is let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chore {
    /// What a clock that was ahead has dated into the future is dated now.
    Future,
    /// They move to `inactive_nodes`.
    Nodes,
    /// They are marked inactive, and their metrics go (CoreScope #764).
    Observers,
    Metrics,
    Dropped,
    Receptions,
    Edges,
    /// Packets by their age.
    Packets,
    /// Packets by the size of the file.
    Size,
}

/// In this order.
pub(super) const CHORES: &[Chore] = &[
    Chore::Future,
    Chore::Nodes,
    Chore::Observers,
    Chore::Metrics,
    Chore::Dropped,
    Chore::Receptions,
    Chore::Edges,
    Chore::Packets,
    Chore::Size,
];

impl Chore {
    /// What it does, for the log.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Future => "dating back what a clock that was ahead has dated into the future",
            Self::Nodes => "moving old nodes to inactive_nodes",
            Self::Observers => "marking silent observers inactive and deleting their metrics",
            Self::Metrics => "deleting old metrics",
            Self::Dropped => "deleting old dropped packets",
            Self::Receptions => "deleting old coverage reports",
            Self::Edges => "deleting old neighbours",
            Self::Packets => "deleting old packets and observations",
            Self::Size => "deleting dropped packets and the oldest packets, because of maxDbMB",
        }
    }

    /// Writes a slice in a transaction of its own. Returns its rows; fewer than [`SLICE`] when
    /// nothing is left to do.
    pub(super) fn slice(
        self,
        book: &mut Book<'_>,
        keep: &Retention,
        at_ms: i64,
    ) -> Result<usize, Fault> {
        let conn = book.conn;
        let iso = |age| stamp::iso(before(at_ms, age));
        match self {
            Self::Future => future::dated_back(book, at_ms),
            Self::Nodes => nodes(conn, &iso(keep.nodes)),
            Self::Observers => match keep.observers {
                Some(age) => observers(conn, &iso(age)),
                None => Ok(0),
            },
            Self::Metrics => delete(conn, METRICS, &iso(keep.metrics)),
            Self::Dropped => delete(conn, DROPPED, &stamp::blank(before(at_ms, keep.metrics))),
            Self::Receptions => match keep.client_receptions {
                Some(age) => delete(conn, RECEPTIONS, &iso(age)),
                None => Ok(0),
            },
            Self::Edges => delete(conn, EDGES, &iso(keep.neighbor_edges)),
            Self::Packets => match keep.packets {
                Some(age) => packets::older_than(book, before(at_ms, age), at_ms),
                None => Ok(0),
            },
            // It asks for the size of the file and not for the time: `Retention::shrink`.
            Self::Size => Ok(0),
        }
    }
}

const METRICS: &str = "DELETE FROM observer_metrics WHERE rowid IN
    (SELECT rowid FROM observer_metrics WHERE timestamp < ?1 ORDER BY timestamp LIMIT ?2)";

/// Their times have a blank where others have a T, and no index; but they came in the order of
/// their ids, so only the first ones are looked at.
const DROPPED: &str = "DELETE FROM dropped_packets WHERE id IN
    (SELECT id FROM
       (SELECT id, dropped_at FROM dropped_packets ORDER BY id LIMIT ?2)
     WHERE replace(dropped_at, 'T', ' ') < ?1)";

const RECEPTIONS: &str = "DELETE FROM client_receptions WHERE id IN
    (SELECT id FROM client_receptions WHERE rx_at < ?1 ORDER BY rx_at LIMIT ?2)";

/// No index, and a few thousand rows.
const EDGES: &str = "DELETE FROM neighbor_edges WHERE rowid IN
    (SELECT rowid FROM neighbor_edges WHERE last_seen < ?1 LIMIT ?2)";

fn delete(conn: &Connection, sql: &str, cutoff: &str) -> Result<usize, Fault> {
    Ok(conn.prepare_cached(sql)?.execute(params![cutoff, room(0)])?)
}

/// The columns that are moved, by name: `SELECT *` would mix them up in a file whose two tables
/// grew in a different order.
const COLUMNS: &str = "public_key, name, role, lat, lon, last_seen, first_seen, advert_count, \
    battery_mv, temperature_c, foreign_advert, default_scope, multibyte_sup, multibyte_evidence";

fn nodes(conn: &Connection, cutoff: &str) -> Result<usize, Fault> {
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    let old = "SELECT rowid FROM nodes WHERE last_seen < ?1 ORDER BY last_seen, rowid LIMIT ?2";
    let slice = params![cutoff, room(0)];
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

/// Observer by observer: first its metrics, then the mark, after which it is not looked at again.
fn observers(conn: &Connection, cutoff: &str) -> Result<usize, Fault> {
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    let mut rows = 0;
    {
        let mut silent = tx.prepare_cached(
            "SELECT rowid, CAST(id AS TEXT) FROM observers
             WHERE last_seen < ?1 AND (inactive IS NULL OR inactive <> 1)
             ORDER BY last_seen LIMIT 1",
        )?;
        let mut metrics = tx.prepare_cached(
            "DELETE FROM observer_metrics WHERE rowid IN
               (SELECT rowid FROM observer_metrics WHERE observer_id = ?1 LIMIT ?2)",
        )?;
        let mut mark = tx.prepare_cached("UPDATE observers SET inactive = 1 WHERE rowid = ?1")?;
        while rows < SLICE {
            let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
            let found: Option<(i64, Option<String>)> =
                silent.query_row([cutoff], read).optional()?;
            let Some((rowid, id)) = found else { break };
            rows += metrics.execute(params![id, room(rows)])?;
            if rows < SLICE {
                rows += mark.execute([rowid])?;
            }
        }
    }
    tx.commit()?;
    Ok(rows)
}
