//! What a file lacks, as steps; and the names that say that it lacks nothing.

use super::super::fault::Fault;
use super::super::schema::{ASYNC_MIGRATIONS, DEDUP, INDEXES, MIGRATIONS};
use super::slice::{Slice, Walk};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::collections::BTreeSet;

/// One thing to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Step {
    /// Builds an index of [`INDEXES`].
    Index(&'static str),
    /// Fills `last_seen`, `from_pubkey` and `channel_hash` of transmissions.
    Fill,
    /// Makes duplicate observations one.
    Merge,
    /// Brings the keys of nodes into lower case.
    Keys,
    /// Counts the adverts of each node.
    Adverts,
    /// The channel `public` is `Public`.
    Casing,
    /// Fills `observers.last_packet_at`.
    LastPackets,
    /// Drops an index that is not used any more.
    Drop(&'static str),
    /// Records what is done.
    Names,
}

/// What is to be done, in this order.
#[derive(Debug, Default)]
pub(in crate::store) struct Plan {
    pub(in crate::store) steps: Vec<Step>,
    /// The first step must come before the first batch.
    pub(in crate::store) urgent: bool,
}

/// The index over the rows that [`Step::Fill`] is for.
const UNFILLED: &str = "idx_tx_last_seen_zero";

/// A full index on `last_seen`, which only cost time (CoreScope #1740).
const OBSOLETE: &str = "idx_tx_last_seen";

const BY_TRANSMISSION: &str = "idx_observations_transmission_id";

/// Names of work that is not done here; see the module's table.
const LEFT: [&str; 3] =
    ["backfill_path_json_from_raw_hex_v1", "backfill_default_scope_v1", CLEANUP];
const CLEANUP: &str = "cleanup_legacy_null_hash_ts";

impl Step {
    /// What it does, for the log and the health snapshot.
    pub(super) fn words(self) -> String {
        match self {
            Self::Index(name) => format!("building the index {name}"),
            Self::Fill => "filling last_seen, from_pubkey and channel_hash".to_owned(),
            Self::Merge => "merging duplicate observations".to_owned(),
            Self::Keys => "bringing node keys into lower case".to_owned(),
            Self::Adverts => "counting adverts".to_owned(),
            Self::Casing => "renaming the channel public".to_owned(),
            Self::LastPackets => "filling last_packet_at".to_owned(),
            Self::Drop(name) => format!("dropping the index {name}"),
            Self::Names => "recording what is done".to_owned(),
        }
    }

    pub(super) fn is_index(self) -> bool {
        matches!(self, Self::Index(_))
    }

    /// Where it begins and ends.
    pub(super) fn walk(self, conn: &Connection) -> rusqlite::Result<Walk> {
        match self {
            Self::Fill => Walk::over(conn, "transmissions", "id"),
            Self::Merge => Walk::resumed(conn, "observations", "transmission_id"),
            Self::Keys | Self::Adverts => Walk::over(conn, "nodes", "rowid"),
            _ => Ok(Walk::default()),
        }
    }
}

/// What this file needs; nothing of it reads more than a few pages.
pub(in crate::store) fn plan(conn: &Connection) -> rusqlite::Result<Plan> {
    let indexes = column(conn, "SELECT name FROM sqlite_master WHERE type = 'index'")?;
    let lacks = |name: &str| !indexes.contains(name);
    let done = names(conn)?;
    let undone = |name: &str| !done.contains(name);
    let mut steps = Vec::new();
    let urgent = !leads(conn, "observations", "transmission_id")?;
    if urgent {
        steps.push(Step::Index(BY_TRANSMISSION));
    }
    if lacks(UNFILLED) {
        steps.extend([Step::Index(UNFILLED), Step::Fill]);
    } else if conn.prepare("SELECT 1 FROM transmissions WHERE last_seen = 0")?.exists([])? {
        steps.push(Step::Fill);
    }
    if lacks(DEDUP) {
        steps.extend([Step::Merge, Step::Index(DEDUP)]);
    }
    for (name, ..) in INDEXES.iter().filter(|(name, ..)| lacks(name)) {
        if !steps.contains(&Step::Index(name)) {
            steps.push(Step::Index(name));
        }
    }
    let also = [
        (!lacks(OBSOLETE), Step::Drop(OBSOLETE)),
        (undone("channel_hash_casing_v1"), Step::Casing),
        (undone("observers_last_packet_at_v1"), Step::LastPackets),
        // It came with the change that made all keys lower case.
        (undone("obs_observer_ts_idx_v1"), Step::Keys),
        (undone("advert_count_unique_v1"), Step::Adverts),
        (ours().any(undone), Step::Names),
    ];
    steps.extend(also.into_iter().filter(|(needed, _)| *needed).map(|(_, step)| step));
    Ok(Plan { steps, urgent })
}

/// Every name that is recorded when all steps are done.
fn ours() -> impl Iterator<Item = &'static str> {
    MIGRATIONS.iter().chain(ASYNC_MIGRATIONS).copied().filter(|name| !LEFT.contains(name))
}

/// The names that are recorded in both tables; one that stands in both counts when it is done in
/// both.
fn names(conn: &Connection) -> rusqlite::Result<BTreeSet<String>> {
    let done = column(conn, "SELECT name FROM _migrations")?;
    let sure = column(conn, "SELECT name FROM _async_migrations WHERE status = 'done'")?;
    let background = |name: &str| ASYNC_MIGRATIONS.contains(&name);
    let all = done
        .iter()
        .filter(|n| !background(n) || sure.contains(*n))
        .chain(sure.iter().filter(|n| !MIGRATIONS.contains(&n.as_str()) || done.contains(*n)));
    Ok(all.cloned().collect())
}

/// Whether an index over the whole table begins with this column.
fn leads(conn: &Connection, table: &str, column: &str) -> rusqlite::Result<bool> {
    conn.prepare(
        "SELECT 1 FROM pragma_index_list(?1) l, pragma_index_info(l.name) i
         WHERE l.partial = 0 AND i.seqno = 0 AND i.name = ?2",
    )?
    .exists([table, column])
}

fn column(conn: &Connection, sql: &str) -> rusqlite::Result<BTreeSet<String>> {
    conn.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}

/// Records that everything is done.
pub(super) fn record(conn: &Connection) -> Result<Slice, Fault> {
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    let litter = "SELECT 1 FROM transmissions WHERE hash = ''
        UNION ALL SELECT 1 FROM transmissions WHERE first_seen = ''";
    let clean = !tx.prepare(litter)?.exists([])?;
    let mut rows = 0;
    for name in MIGRATIONS.iter().filter(|n| !LEFT.contains(n) || (**n == CLEANUP && clean)) {
        rows += tx.execute("INSERT OR IGNORE INTO _migrations (name) VALUES (?1)", [name])?;
    }
    for name in ASYNC_MIGRATIONS {
        rows += tx.execute(
            "INSERT INTO _async_migrations (name, status, ended_at)
             VALUES (?1, 'done', datetime('now'))
             ON CONFLICT (name) DO UPDATE SET
               status = excluded.status, ended_at = excluded.ended_at, error = NULL
             WHERE status <> 'done'",
            [name],
        )?;
    }
    tx.commit()?;
    Ok(Slice { rows, ended: true })
}
