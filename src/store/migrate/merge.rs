//! Duplicate observations become one.

use super::super::fault::Fault;
use super::slice::{self, Budget, Slice, Walk};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

/// Transmissions that are read at once.
const HANDFUL: i64 = 50;

/// Slices that found nothing before the place is recorded all the same.
const RECORD_EVERY: u32 = 64;

/// The next transmissions, and how often each was heard.
pub(super) const HEARD: &str = "SELECT transmission_id, COUNT(*) FROM observations
    WHERE transmission_id > ?1 AND transmission_id <= ?2 GROUP BY transmission_id LIMIT ?3";

/// The observations of a transmission that are there more than once: the first row of each, which
/// stays.
pub(super) const DOUBLED: &str = "SELECT MIN(id) FROM observations
    WHERE transmission_id = ?1 AND observer_idx IS NOT NULL
    GROUP BY observer_idx, COALESCE(path_json, '') HAVING COUNT(*) > 1";

/// The rows that are one with row `?1`, by their transmission.
macro_rules! same {
    ($then:literal) => {
        concat!(
            "WITH g AS MATERIALIZED (
               SELECT o.id, o.snr, o.rssi, o.score, o.raw_hex, o.resolved_path
               FROM observations k JOIN observations o ON o.transmission_id = k.transmission_id
                 AND +o.observer_idx = k.observer_idx
                 AND COALESCE(o.path_json, '') = COALESCE(k.path_json, '')
               WHERE k.id = ?1) ",
            $then
        )
    };
}

/// The row that stays gets of each column what came last, as under the index.
pub(super) const KEEP: &str = same!(
    "UPDATE observations SET
       snr = (SELECT snr FROM g WHERE snr IS NOT NULL ORDER BY id DESC LIMIT 1),
       rssi = (SELECT rssi FROM g WHERE rssi IS NOT NULL ORDER BY id DESC LIMIT 1),
       score = (SELECT score FROM g WHERE score IS NOT NULL ORDER BY id DESC LIMIT 1),
       raw_hex = (SELECT raw_hex FROM g WHERE raw_hex IS NOT NULL ORDER BY id DESC LIMIT 1),
       resolved_path =
         (SELECT resolved_path FROM g WHERE resolved_path IS NOT NULL ORDER BY id DESC LIMIT 1)
     WHERE id = ?1"
);

/// The others go, oldest first: what is left for another slice is then still what came last.
pub(super) const LEAVE: &str = same!(
    "DELETE FROM observations WHERE id IN
       (SELECT id FROM g WHERE id <> ?1 ORDER BY id LIMIT ?2)"
);

pub(super) fn slice(conn: &Connection, walk: &mut Walk, budget: &Budget) -> Result<Slice, Fault> {
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    let (mut at, mut rows, mut ended) = (walk.at, 0, false);
    while !ended && !budget.is_spent(rows) {
        let heard = heard(&tx, at, walk.last)?;
        ended = heard.is_empty();
        for (transmission, times) in heard {
            if budget.is_spent(rows) {
                break;
            }
            if times > 1 {
                rows += merge(&tx, transmission, budget.left(rows))?;
                if budget.left(rows) == 0 {
                    // There may be more of them: it is looked at again.
                    break;
                }
            }
            at = transmission;
        }
    }
    let unrecorded = if rows > 0 { RECORD_EVERY } else { walk.unrecorded + 1 };
    if unrecorded >= RECORD_EVERY {
        slice::note(&tx, "observations", at)?;
    }
    tx.commit()?;
    (walk.at, walk.unrecorded) = (at, unrecorded % RECORD_EVERY);
    Ok(Slice { rows, ended })
}

fn heard(conn: &Connection, after: i64, last: i64) -> rusqlite::Result<Vec<(i64, i64)>> {
    let mut heard = conn.prepare_cached(HEARD)?;
    heard.query_map([after, last, HANDFUL], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Makes the duplicates of a transmission one, as far as so many rows go. Returns the rows.
fn merge(conn: &Connection, transmission: i64, room: usize) -> rusqlite::Result<usize> {
    let mut doubled = conn.prepare_cached(DOUBLED)?;
    let doubled: rusqlite::Result<Vec<i64>> =
        doubled.query_map([transmission], |row| row.get(0))?.collect();
    let (mut keep, mut leave) = (conn.prepare_cached(KEEP)?, conn.prepare_cached(LEAVE)?);
    let mut rows = 0;
    for id in doubled? {
        // One to keep and one to go are the least.
        if rows + 2 > room {
            return Ok(room);
        }
        rows += keep.execute([id])?;
        rows += leave.execute(params![id, slice::limit(room - rows)])?;
    }
    Ok(rows)
}
