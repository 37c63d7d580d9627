//! An existing database as what it was made of: what was heard, when and by whom, in the order in
//! which it was written; read in slices, as an export.

use super::open::{self, Layout, OpenError};
use super::read_only;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::path::Path;

/// A database of April or July 2026, or ours, to be read from its beginning.
#[derive(Debug)]
pub struct Past {
    conn: Connection,
    layout: Layout,
    sql: String,
    /// The last observation's id.
    last: i64,
}

/// One row of `observations` with its transmission; `None` where the file has NULL or lacks the
/// column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PastObservation {
    /// When it was heard, in milliseconds since the Unix epoch (whole seconds).
    pub at_ms: i64,
    /// The observation's own bytes in hex.
    pub raw_hex: Option<String>,
    /// The bytes in hex as the transmission's first observer heard them; empty for a companion
    /// bridge's message.
    pub first_raw_hex: String,
    /// Its hops, a JSON array of hex texts.
    pub path_json: Option<String>,
    /// What the packet says.
    pub decoded_json: Option<String>,
    /// `observers.rowid`, which may have no row.
    pub observer: Option<i64>,
    /// dB.
    pub snr_db: Option<f64>,
    /// dBm.
    pub rssi_dbm: Option<f64>,
    /// The uploader's score.
    pub score: Option<f64>,
    /// `rx` or `tx`.
    pub direction: Option<String>,
}

/// One row of `observers`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PastObserver {
    /// What `observations.observer_idx` refers to.
    pub rowid: i64,
    /// A public key, or any text.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// Its region.
    pub iata: Option<String>,
    /// In milliseconds since the Unix epoch.
    pub first_seen_ms: Option<i64>,
    /// In milliseconds since the Unix epoch.
    pub last_seen_ms: Option<i64>,
    /// Board.
    pub model: Option<String>,
    /// Firmware version.
    pub firmware: Option<String>,
    /// Uploader and version.
    pub client_version: Option<String>,
    /// Radio settings.
    pub radio: Option<String>,
    /// Millivolts.
    pub battery_mv: Option<i64>,
    /// Seconds.
    pub uptime_secs: Option<i64>,
    /// dBm.
    pub noise_floor_dbm: Option<f64>,
    /// Whether it relays, if it said so.
    pub can_relay: Option<bool>,
}

/// Observations read at once.
const SLICE: i64 = 500;

impl Past {
    /// Opens a CoreScope database to read it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let (conn, layout) = read_only::open(path)?;
        let told = |e| open::explain(path, &e);
        let of = |table, column, name| column_or_null(&layout, table, column, name);
        let sql = format!(
            "SELECT o.id, o.timestamp, {}, t.raw_hex, o.path_json, t.decoded_json, o.observer_idx,
             o.snr, o.rssi, {}, {}
             FROM observations o CROSS JOIN transmissions t ON t.id = o.transmission_id
             WHERE o.id > ?1 ORDER BY o.id LIMIT ?2",
            of("observations", "raw_hex", "o.raw_hex"),
            of("observations", "score", "o.score"),
            of("observations", "direction", "o.direction"),
        );
        conn.prepare_cached(&sql).map_err(told)?;
        Ok(Self { conn, layout, sql, last: i64::MIN })
    }

    /// Every observer, in the order in which they were met.
    ///
    /// # Errors
    /// SQLite's own.
    pub fn observers(&self) -> rusqlite::Result<Vec<PastObserver>> {
        let of = |column| column_or_null(&self.layout, "observers", column, column);
        let sql = format!(
            "SELECT rowid, id, name, iata, first_seen, last_seen, {}, {}, {}, {}, {}, {}, {},
             CASE WHEN {} = 1 THEN {} END FROM observers ORDER BY rowid",
            of("model"),
            of("firmware"),
            of("client_version"),
            of("radio"),
            of("battery_mv"),
            of("uptime_secs"),
            of("noise_floor"),
            of("can_relay_seen"),
            of("can_relay"),
        );
        let mut statement = self.conn.prepare(&sql)?;
        let rows = statement.query_map([], |row| {
            Ok(PastObserver {
                rowid: row.get(0)?,
                id: row.get::<_, Option<String>>(1)?.unwrap_or_default(),
                name: row.get(2)?,
                iata: row.get(3)?,
                first_seen_ms: time(row, 4)?,
                last_seen_ms: time(row, 5)?,
                model: row.get(6)?,
                firmware: row.get(7)?,
                client_version: row.get(8)?,
                radio: row.get(9)?,
                battery_mv: row.get(10)?,
                uptime_secs: row.get(11)?,
                noise_floor_dbm: row.get(12)?,
                can_relay: row.get(13)?,
            })
        })?;
        rows.collect()
    }

    /// The next observations; none at the end.
    ///
    /// # Errors
    /// SQLite's own, such as a damaged file.
    pub fn next_slice(&mut self) -> rusqlite::Result<Vec<PastObservation>> {
        let mut statement = self.conn.prepare_cached(&self.sql)?;
        let mut found = statement.query(params![self.last, SLICE])?;
        let mut slice = Vec::new();
        while let Some(row) = found.next()? {
            self.last = row.get(0)?;
            slice.push(PastObservation {
                at_ms: row.get::<_, i64>(1)?.saturating_mul(1_000),
                raw_hex: row.get(2)?,
                first_raw_hex: row.get(3)?,
                path_json: row.get(4)?,
                decoded_json: row.get(5)?,
                observer: row.get(6)?,
                snr_db: row.get(7)?,
                rssi_dbm: row.get(8)?,
                score: row.get(9)?,
                direction: row.get(10)?,
            });
        }
        Ok(slice)
    }

    /// What observations do not tell, and so is not read: how much of each there is, where there is
    /// any. `made` is the database that was made of this one.
    ///
    /// # Errors
    /// SQLite's own, or those of opening `made`, in words.
    pub fn left_behind(&self, made: &Path) -> Result<Vec<(&'static str, u64)>, String> {
        let silent = "transmissions t WHERE NOT EXISTS \
                      (SELECT 1 FROM observations o WHERE o.transmission_id = t.id)";
        let mut left = Vec::new();
        for (what, table, from) in [
            ("transmissions without an observation", "transmissions", silent),
            ("observer metrics", "observer_metrics", "observer_metrics"),
            ("dropped packets", "dropped_packets", "dropped_packets"),
            ("client receptions", "client_receptions", "client_receptions"),
        ] {
            if self.layout.contains_key(table) {
                let sql = format!("SELECT COUNT(*) FROM {from}");
                let count = self.conn.query_row(&sql, [], |row| row.get(0));
                left.push((what, count.map_err(|e| e.to_string())?));
            }
        }
        left.push(("nodes without an advert", self.nodes_not_in(made)?));
        let count = |(what, n): (_, i64)| (what, u64::try_from(n).unwrap_or_default());
        Ok(left.into_iter().map(count).filter(|(_, n)| *n > 0).collect())
    }

    fn nodes_not_in(&self, made: &Path) -> Result<i64, String> {
        let (made, _) = read_only::open(made).map_err(|e| e.to_string())?;
        let count = || -> rusqlite::Result<i64> {
            let mut keys = self.conn.prepare("SELECT public_key FROM nodes")?;
            let mut there = made.prepare(
                "SELECT 1 FROM nodes WHERE public_key = lower(?1)
                 UNION ALL SELECT 1 FROM inactive_nodes WHERE public_key = lower(?1)",
            )?;
            let mut lacking = 0;
            for key in keys.query_map([], |row| row.get::<_, Option<String>>(0))? {
                let key = key?.unwrap_or_default();
                let found = there.query_row([key], |_| Ok(())).optional()?;
                lacking += i64::from(found.is_none());
            }
            Ok(lacking)
        };
        count().map_err(|e| e.to_string())
    }
}

fn column_or_null<'a>(layout: &Layout, table: &str, column: &str, name: &'a str) -> &'a str {
    if layout.get(table).is_some_and(|columns| columns.contains(column)) { name } else { "NULL" }
}

fn time(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<i64>> {
    let text: Option<String> = row.get(at)?;
    Ok(text.and_then(|t| t.parse::<Timestamp>().ok()).map(Timestamp::as_millisecond))
}
