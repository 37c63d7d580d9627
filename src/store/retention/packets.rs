//! Packets that go, by age or because the file is too large: the oldest first, and of each its
//! observations before itself.

use super::super::book::Book;
use super::super::fault::Fault;
use super::super::stamp;
use super::{SLICE, room};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

const DAY_MS: i64 = 86_400_000;

/// A transmission's id and its hash.
type Doomed = (i64, Option<String>);

/// Deletes a slice of what was last heard before this time. Walks the index on `first_seen`: what
/// was first heard long ago and is heard still is skipped, and there is little of it.
pub(super) fn older_than(book: &mut Book<'_>, cutoff_ms: i64, now_ms: i64) -> Result<usize, Fault> {
    // Where `last_seen` cannot be believed the observations tell: CoreScope of April 2026 knew none,
    // 0 is what its rows have until they are filled, and a clock that was ahead may have written it.
    delete(book, |tx| {
        let mut old = tx.prepare_cached(
            "SELECT id, CAST(hash AS TEXT) FROM transmissions t
             WHERE first_seen < ?1 AND (last_seen BETWEEN 1 AND ?2 - 1
               OR (last_seen <= 0 OR last_seen > ?3) AND NOT EXISTS
                 (SELECT 1 FROM observations o
                  WHERE o.transmission_id = t.id AND o.timestamp >= ?2))
             ORDER BY first_seen LIMIT ?4",
        )?;
        let soon = stamp::epoch(now_ms.saturating_add(DAY_MS));
        let cutoff = params![stamp::iso(cutoff_ms), stamp::epoch(cutoff_ms), soon, room(0)];
        old.query_map(cutoff, |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    })
}

/// Deletes a slice of the oldest while the file has more than so many bytes in use: dropped packets
/// first, which are forged or damaged, then packets. The order is that in which they came, which no
/// clock can get wrong.
///
/// Nothing goes where packets are not what is large ([`others`]).
pub(super) fn beyond(book: &mut Book<'_>, most: u64, others: u64) -> Result<usize, Fault> {
    if used(book.conn)? <= most || others >= most {
        return Ok(0);
    }
    let dropped = "DELETE FROM dropped_packets WHERE id IN
        (SELECT id FROM dropped_packets ORDER BY id LIMIT ?1)";
    let rows = book.conn.prepare_cached(dropped)?.execute([room(0)])?;
    if rows >= SLICE {
        return Ok(rows);
    }
    let packets = delete(book, |tx| {
        let mut oldest = tx.prepare_cached(
            "SELECT id, CAST(hash AS TEXT) FROM transmissions ORDER BY id LIMIT ?1",
        )?;
        oldest.query_map([room(0)], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    })?;
    Ok(rows + packets)
}

/// The bytes of everything but packets, if the file has more than `most` in use: no deleting of
/// packets can bring it below that. 0 while it has not. Reads all pages of those other tables, which
/// are few as long as they are not the large ones.
pub(super) fn others(conn: &Connection, most: u64) -> Result<u64, Fault> {
    if used(conn)? <= most {
        return Ok(0);
    }
    let mut names = conn.prepare_cached(
        "SELECT name, tbl_name FROM sqlite_schema WHERE rootpage > 0
           AND tbl_name NOT IN ('transmissions', 'observations', 'dropped_packets')",
    )?;
    let mut size = conn.prepare_cached(
        "SELECT COALESCE(SUM(pgsize), 0) FROM dbstat WHERE name = ?1 AND aggregate = TRUE",
    )?;
    let (mut all, mut largest) = (0_u64, (0, String::new()));
    let mut rows = names.query([])?;
    while let Some(row) = rows.next()? {
        let (name, table): (String, String) = (row.get(0)?, row.get(1)?);
        let bytes = size.query_row([name], |row| row.get::<_, i64>(0))?.unsigned_abs();
        all += bytes;
        largest = largest.max((bytes, table));
    }
    if all >= most {
        let (mb, limit) = (all >> 20, most >> 20);
        tracing::warn!(
            "the database is larger than maxDbMB ({limit}), but {mb} MB of it are not packets (most \
             of them in the table {}): no packet is deleted for it",
            largest.1
        );
    }
    Ok(all)
}

/// The bytes in use: a file without vacuum never shrinks, so free pages do not count.
fn used(conn: &Connection) -> rusqlite::Result<u64> {
    conn.query_row(
        "SELECT (page_count - freelist_count) * page_size
         FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
        [],
        |row| Ok(row.get::<_, i64>(0)?.unsigned_abs()),
    )
}

/// Deletes what `find` names, as far as a slice goes. What has more observations than that loses
/// the rest, and its own row, in the next one.
fn delete(
    book: &mut Book<'_>,
    find: impl FnOnce(&Connection) -> rusqlite::Result<Vec<Doomed>>,
) -> Result<usize, Fault> {
    let tx = Transaction::new_unchecked(book.conn, TransactionBehavior::Immediate)?;
    let mut rows = 0;
    let mut gone = Vec::new();
    {
        let mut children = tx.prepare_cached(
            "DELETE FROM observations WHERE id IN
               (SELECT id FROM observations WHERE transmission_id = ?1 LIMIT ?2)",
        )?;
        let mut itself = tx.prepare_cached("DELETE FROM transmissions WHERE id = ?1")?;
        for (id, hash) in find(&tx)? {
            rows += children.execute(params![id, room(rows)])?;
            if rows >= SLICE {
                break;
            }
            rows += itself.execute([id])?;
            gone.extend(hash);
            if rows >= SLICE {
                break;
            }
        }
    }
    tx.commit()?;
    gone.iter().for_each(|hash| book.forget_packet(hash));
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::open;

    /// A transmission of this number, heard at this second by so many.
    fn hear(conn: &Connection, number: i64, second: i64, times: i64) {
        let (hash, first) = (format!("{number:016x}"), stamp::iso(second * 1_000));
        let values = params![number, hash, first, second];
        let insert = "INSERT INTO transmissions (id, raw_hex, hash, first_seen, last_seen)
            VALUES (?1, '', ?2, ?3, ?4)";
        conn.execute(insert, values).unwrap();
        for n in 0..times {
            let insert = "INSERT INTO observations (transmission_id, observer_idx, timestamp)
                VALUES (?1, ?2, ?3)";
            conn.execute(insert, params![number, n, second]).unwrap();
        }
    }

    #[test]
    fn a_slice_has_at_most_250_rows_and_takes_the_oldest_first() {
        let dir = tempfile::tempdir().unwrap();
        let opened = open::open(&dir.path().join("meshcore.db")).unwrap();
        let conn = &opened.conn;
        let mut book = super::super::tests::book(conn);
        // 601 rows, then 4 times 100, then one that is too young.
        hear(conn, 9, 1_000, 600);
        (1..5).for_each(|n| hear(conn, n, 2_000 + n, 99));
        hear(conn, 5, 3_000, 1);
        let mut slices = Vec::new();
        let left = |table: &str| -> i64 {
            let sql = format!("SELECT COUNT(*) FROM {table}");
            conn.query_row(&sql, [], |row| row.get(0)).unwrap()
        };
        for transmissions in [6, 6, 4, 2, 1] {
            slices.push(older_than(&mut book, 3_000_000, 9_000_000).unwrap());
            assert_eq!(left("transmissions"), transmissions, "after {slices:?}");
        }
        assert_eq!(slices, [250, 250, 250, 250, 1]);
        assert_eq!(older_than(&mut book, 3_000_000, 9_000_000).unwrap(), 0);
        assert_eq!((left("transmissions"), left("observations")), (1, 1));
    }
}
