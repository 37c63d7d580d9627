//! The columns of `transmissions` that April did not have.

use super::super::fault::Fault;
use super::slice::{Budget, Slice, Walk};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

/// The next row that nobody has filled. A row written by a program that knows the column has its
/// time there; one that is heard again meanwhile keeps its 0 until it is filled
/// (`statements::update_transmission`).
pub(super) const NEXT: &str = "SELECT id FROM transmissions INDEXED BY idx_tx_last_seen_zero
    WHERE last_seen = 0 AND id > ?1 AND id <= ?2 ORDER BY id LIMIT 1";

/// As CoreScope fills them (#1690, #1143, #762); an advert without a key gets the empty one, so that
/// CoreScope does not look at it again. One without observations was last seen when it was first
/// seen.
pub(super) const FILL: &str = "UPDATE transmissions SET
    last_seen = MAX(0, COALESCE(
      (SELECT MAX(timestamp) FROM observations WHERE transmission_id = ?1),
      unixepoch(first_seen), 0)),
    from_pubkey = CASE
      WHEN from_pubkey IS NOT NULL OR payload_type IS NOT 4 THEN from_pubkey
      WHEN NOT COALESCE(json_valid(decoded_json), 0) THEN ''
      WHEN json_type(decoded_json, '$.pubKey') = 'text' THEN decoded_json ->> '$.pubKey'
      ELSE '' END,
    channel_hash = CASE
      WHEN channel_hash IS NOT NULL OR payload_type IS NOT 5 THEN channel_hash
      WHEN NOT COALESCE(json_valid(decoded_json), 0) THEN NULL
      WHEN decoded_json ->> '$.type' = 'CHAN' AND decoded_json ->> '$.channel' = 'public'
        THEN 'Public'
      WHEN decoded_json ->> '$.type' = 'CHAN' THEN NULLIF(decoded_json ->> '$.channel', '')
      WHEN decoded_json ->> '$.type' = 'GRP_TXT'
        THEN 'enc_' || (decoded_json ->> '$.channelHashHex')
      END
    WHERE id = ?1";

/// Rows of `channel_hash_casing_v1`.
pub(super) const CASING: &str = "UPDATE transmissions SET channel_hash = 'Public' WHERE id IN
    (SELECT id FROM transmissions WHERE payload_type = 5 AND channel_hash = 'public' LIMIT ?1)";

pub(super) fn slice(conn: &Connection, walk: &mut Walk, budget: &Budget) -> Result<Slice, Fault> {
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    let (mut at, mut rows, mut ended) = (walk.at, 0, false);
    {
        let mut next = tx.prepare_cached(NEXT)?;
        let mut fill = tx.prepare_cached(FILL)?;
        while !ended && !budget.is_spent(rows) {
            let found: Option<i64> =
                next.query_row(params![at, walk.last], |row| row.get(0)).optional()?;
            match found {
                Some(id) => {
                    rows += fill.execute([id])?;
                    at = id;
                }
                None => ended = true,
            }
        }
    }
    tx.commit()?;
    walk.at = at;
    Ok(Slice { rows, ended })
}
