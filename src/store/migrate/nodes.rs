//! What is brought up to date of nodes and observers.

use super::super::fault::Fault;
use super::slice::{Budget, Slice, Walk};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

/// Observers that have observations heard their last packet when they were last seen
/// (`observers_last_packet_at_v1`). A region has a few hundred of them.
pub(super) const LAST_PACKETS: &str = "UPDATE observers SET last_packet_at = last_seen
    WHERE last_packet_at IS NULL
      AND EXISTS (SELECT 1 FROM observations WHERE observer_idx = observers.rowid)";

/// The adverts of a node (`advert_count_unique_v1`).
pub(super) const COUNT: &str = "UPDATE nodes SET advert_count =
      (SELECT COUNT(*) FROM transmissions
       WHERE from_pubkey = nodes.public_key AND payload_type = 4)
    WHERE rowid = ?1";

/// A node's two rows become the one in lower case, `?2`; what is known of either is kept.
const FOLD: &str = "UPDATE nodes SET
      name = COALESCE(nodes.name, odd.name), role = COALESCE(nodes.role, odd.role),
      lat = COALESCE(nodes.lat, odd.lat), lon = COALESCE(nodes.lon, odd.lon),
      first_seen = MIN(COALESCE(nodes.first_seen, odd.first_seen),
        COALESCE(odd.first_seen, nodes.first_seen)),
      last_seen = MAX(COALESCE(nodes.last_seen, ''), COALESCE(odd.last_seen, '')),
      advert_count = COALESCE(nodes.advert_count, 0) + COALESCE(odd.advert_count, 0),
      battery_mv = COALESCE(nodes.battery_mv, odd.battery_mv),
      temperature_c = COALESCE(nodes.temperature_c, odd.temperature_c),
      default_scope = COALESCE(nodes.default_scope, odd.default_scope)
    FROM (SELECT * FROM nodes WHERE rowid = ?1) AS odd WHERE nodes.public_key = ?2";

pub(super) fn count_adverts(
    conn: &Connection,
    walk: &mut Walk,
    budget: &Budget,
) -> Result<Slice, Fault> {
    each(conn, walk, budget, |tx, rowid, _| tx.prepare_cached(COUNT)?.execute([rowid]))
}

pub(super) fn lower_keys(
    conn: &Connection,
    walk: &mut Walk,
    budget: &Budget,
) -> Result<Slice, Fault> {
    each(conn, walk, budget, |tx, rowid, key| {
        let lower = key.to_ascii_lowercase();
        if lower == key {
            return Ok(0);
        }
        let folded = tx.prepare_cached(FOLD)?.execute(params![rowid, lower])?;
        let rest = if folded > 0 {
            tx.prepare_cached("DELETE FROM nodes WHERE rowid = ?1")?.execute([rowid])?
        } else {
            let rename = "UPDATE nodes SET public_key = ?2 WHERE rowid = ?1";
            tx.prepare_cached(rename)?.execute(params![rowid, lower])?
        };
        Ok(folded + rest)
    })
}

/// Goes from node to node.
fn each(
    conn: &Connection,
    walk: &mut Walk,
    budget: &Budget,
    mut change: impl FnMut(&Connection, i64, &str) -> rusqlite::Result<usize>,
) -> Result<Slice, Fault> {
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    let (mut at, mut rows, mut ended) = (walk.at, 0, false);
    {
        // Older programs wrote keys of any kind.
        let mut next = tx.prepare_cached(
            "SELECT rowid, COALESCE(CAST(public_key AS TEXT), '') FROM nodes
             WHERE rowid > ?1 AND rowid <= ?2 ORDER BY rowid LIMIT 1",
        )?;
        while !ended && !budget.is_spent(rows) {
            let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
            let found: Option<(i64, String)> =
                next.query_row(params![at, walk.last], read).optional()?;
            match found {
                Some((rowid, key)) => {
                    rows += change(&tx, rowid, &key)?;
                    at = rowid;
                }
                None => ended = true,
            }
        }
    }
    tx.commit()?;
    walk.at = at;
    Ok(Slice { rows, ended })
}
