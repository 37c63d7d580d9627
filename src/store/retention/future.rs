//! Rows from the future: a clock that was ahead for a while has dated them. They would stay for as
//! long as it was ahead, and a hub that starts would take its clock for one that is behind.

use super::super::book::Book;
use super::super::fault::Fault;
use super::super::stamp;
use super::{SLICE, room};

use rusqlite::{Transaction, TransactionBehavior, named_params};

/// What is dated within so long after now is right soon.
const SOON_MS: i64 = 86_400_000;

/// A statement for each column, by an index or in a small table. What is no time at all sorts behind
/// every digit, and is left alone. A sample of metrics of a time that never was is worth nothing.
const TABLES: &[&str] = &[
    "UPDATE observations SET timestamp = :epoch WHERE id IN
       (SELECT id FROM observations WHERE timestamp > :epoch_limit LIMIT :room)",
    "UPDATE transmissions SET first_seen = :iso, last_seen = MIN(last_seen, :epoch) WHERE id IN
       (SELECT id FROM transmissions WHERE first_seen > :iso_limit AND first_seen < ':' LIMIT :room)",
    "UPDATE nodes SET last_seen = :iso WHERE rowid IN
       (SELECT rowid FROM nodes WHERE last_seen > :iso_limit AND last_seen < ':' LIMIT :room)",
    "UPDATE inactive_nodes SET last_seen = :iso WHERE rowid IN (SELECT rowid FROM inactive_nodes
       WHERE last_seen > :iso_limit AND last_seen < ':' LIMIT :room)",
    "UPDATE observers SET last_seen = :iso, last_packet_at = MIN(last_packet_at, :iso)
     WHERE rowid IN (SELECT rowid FROM observers
       WHERE last_seen > :iso_limit AND last_seen < ':' LIMIT :room)",
    "UPDATE neighbor_edges SET last_seen = :iso WHERE rowid IN (SELECT rowid FROM neighbor_edges
       WHERE last_seen > :iso_limit AND last_seen < ':' LIMIT :room)",
    "UPDATE meshbox_origins SET last_seen = :iso WHERE rowid IN (SELECT rowid FROM meshbox_origins
       WHERE last_seen > :iso_limit AND last_seen < ':' LIMIT :room)",
    "UPDATE dropped_packets SET dropped_at = :blank WHERE id IN (SELECT id FROM dropped_packets
       WHERE replace(dropped_at, ' ', 'T') > :iso_limit AND dropped_at < ':' LIMIT :room)",
    "DELETE FROM observer_metrics WHERE rowid IN (SELECT rowid FROM observer_metrics
       WHERE timestamp > :iso_limit AND timestamp < ':' LIMIT :room)",
];

/// Writes a slice; fewer rows than [`SLICE`] when nothing is left.
///
/// `transmissions.last_seen` of what was known before has no index: [`super::packets::older_than`]
/// does not believe it there.
pub(super) fn dated_back(book: &mut Book<'_>, now_ms: i64) -> Result<usize, Fault> {
    let limit_ms = now_ms.saturating_add(SOON_MS);
    let tx = Transaction::new_unchecked(book.conn, TransactionBehavior::Immediate)?;
    let mut rows = 0;
    for sql in TABLES {
        let mut statement = tx.prepare_cached(sql)?;
        // A statement that has no use for one of them does not know its name.
        let values = named_params! {
            ":iso": stamp::iso(now_ms), ":iso_limit": stamp::iso(limit_ms),
            ":epoch": stamp::epoch(now_ms), ":epoch_limit": stamp::epoch(limit_ms),
            ":blank": stamp::blank(now_ms), ":room": room(rows),
        };
        for (name, value) in values {
            if let Some(index) = statement.parameter_index(name)? {
                statement.raw_bind_parameter(index, value)?;
            }
        }
        rows += statement.raw_execute()?;
        if rows >= SLICE {
            break;
        }
    }
    tx.commit()?;
    if rows > 0 {
        // What is remembered of them has their old times.
        book.forget();
    }
    Ok(rows)
}
