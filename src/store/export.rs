//! Rows for people and other programs: read in slices, each a short read transaction of its own, so
//! that a reader who takes his time (`meshbox export packets | less`) keeps no WAL from being
//! emptied. What is written meanwhile is seen or not; nothing comes twice.

use super::open::{self, Layout, OpenError};
use super::{read_only, stamp};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};
use std::path::Path;

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// An observation a row, with its transmission; in the order of time.
    Packets,
    /// A node a row, without `inactive_nodes`.
    Nodes,
    /// An observer a row.
    Observers,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Unknown, or a column that an older file does not have.
    Null,
    /// A whole number.
    Integer(i64),
    /// Any number.
    Real(f64),
    /// Text, times in RFC 3339 among it.
    Text(String),
    /// A text that should be JSON.
    Json(String),
}

/// An export that goes on.
#[derive(Debug)]
pub struct Export {
    conn: Connection,
    what: What,
    sql: String,
    since_ms: Option<i64>,
    until_ms: Option<i64>,
    /// Of the last row of the last slice: time and row id.
    last: (i64, i64),
}

/// Rows read at once.
const SLICE: usize = 500;

#[derive(Clone, Copy)]
enum Kind {
    Plain,
    Json,
    /// Seconds since the Unix epoch.
    Epoch,
}

/// A column: its name, what it holds, and where it is, the first place that has a value.
type Column = (&'static str, Kind, &'static [Place]);
/// Alias, table, column.
type Place = (&'static str, &'static str, &'static str);

macro_rules! column {
    ($name:literal, $kind:ident, $($alias:ident.$column:ident),+) => {
        ($name, Kind::$kind, &[$((stringify!($alias), table(stringify!($alias)), stringify!($column))),+])
    };
}

const PACKETS: &[Column] = &[
    column!("time", Epoch, o.timestamp),
    column!("hash", Plain, t.hash),
    column!("observer_id", Plain, b.id),
    column!("observer_name", Plain, b.name),
    column!("observer_iata", Plain, b.iata),
    column!("direction", Plain, o.direction),
    column!("snr", Plain, o.snr),
    column!("rssi", Plain, o.rssi),
    column!("score", Plain, o.score),
    column!("path", Json, o.path_json),
    column!("raw_hex", Plain, o.raw_hex, t.raw_hex),
    column!("route_type", Plain, t.route_type),
    column!("payload_type", Plain, t.payload_type),
    column!("payload_version", Plain, t.payload_version),
    column!("channel", Plain, t.channel_hash),
    column!("scope", Plain, t.scope_name),
    column!("from_pubkey", Plain, t.from_pubkey),
    column!("first_seen", Plain, t.first_seen),
    column!("decoded", Json, t.decoded_json),
];

const NODES: &[Column] = &[
    column!("public_key", Plain, n.public_key),
    column!("name", Plain, n.name),
    column!("role", Plain, n.role),
    column!("lat", Plain, n.lat),
    column!("lon", Plain, n.lon),
    column!("first_seen", Plain, n.first_seen),
    column!("last_seen", Plain, n.last_seen),
    column!("advert_count", Plain, n.advert_count),
    column!("battery_mv", Plain, n.battery_mv),
    column!("temperature_c", Plain, n.temperature_c),
    column!("foreign_advert", Plain, n.foreign_advert),
    column!("default_scope", Plain, n.default_scope),
];

const OBSERVERS: &[Column] = &[
    column!("id", Plain, b.id),
    column!("name", Plain, b.name),
    column!("iata", Plain, b.iata),
    column!("first_seen", Plain, b.first_seen),
    column!("last_seen", Plain, b.last_seen),
    column!("last_packet_at", Plain, b.last_packet_at),
    column!("packet_count", Plain, b.packet_count),
    column!("model", Plain, b.model),
    column!("firmware", Plain, b.firmware),
    column!("client_version", Plain, b.client_version),
    column!("radio", Plain, b.radio),
    column!("battery_mv", Plain, b.battery_mv),
    column!("uptime_secs", Plain, b.uptime_secs),
    column!("noise_floor", Plain, b.noise_floor),
    column!("inactive", Plain, b.inactive),
];

const fn table(alias: &str) -> &'static str {
    match alias.as_bytes() {
        b"o" => "observations",
        b"t" => "transmissions",
        b"n" => "nodes",
        _ => "observers",
    }
}

impl What {
    fn layout(self) -> &'static [Column] {
        match self {
            Self::Packets => PACKETS,
            Self::Nodes => NODES,
            Self::Observers => OBSERVERS,
        }
    }

    /// The columns' names, in the order of the cells.
    pub fn columns(self) -> impl Iterator<Item = &'static str> {
        self.layout().iter().map(|(name, ..)| *name)
    }
}

impl Export {
    /// Opens the file, of April or July 2026 or ours. Taken are packets that were heard, nodes and
    /// observers that were last seen, from `since_ms` until before `until_ms` (milliseconds since
    /// the Unix epoch).
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        path: &Path,
        what: What,
        since_ms: Option<i64>,
        until_ms: Option<i64>,
    ) -> Result<Self, OpenError> {
        let (conn, layout) = read_only::open(path)?;
        let told = |e| open::explain(path, &e);
        let by_time = open::has_index(&conn, "idx_observations_timestamp").map_err(told)?;
        let sql = query(what, &layout, by_time);
        conn.prepare_cached(&sql).map_err(told)?;
        let last = (since_ms.map_or(i64::MIN, whole_second), i64::MIN);
        Ok(Self { conn, what, sql, since_ms, until_ms, last })
    }

    /// The next rows; none at the end.
    ///
    /// # Errors
    /// SQLite's own, such as a damaged file.
    pub fn next_slice(&mut self) -> rusqlite::Result<Vec<Vec<Cell>>> {
        let mut statement = self.conn.prepare_cached(&self.sql)?;
        let (first, id) = self.last;
        let mut found = match self.what {
            What::Packets => {
                let until = self.until_ms.map_or(i64::MAX, whole_second);
                statement.query(params![first, id, until, SLICE as i64])?
            }
            What::Nodes | What::Observers => {
                let text = |at: Option<i64>| at.map(|ms| stamp::iso(whole_second(ms) * 1_000));
                let (since, until) = (text(self.since_ms), text(self.until_ms));
                statement.query(params![since, id, until, SLICE as i64])?
            }
        };
        let layout = self.what.layout();
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            let cells: rusqlite::Result<Vec<Cell>> =
                layout.iter().enumerate().map(|(at, (_, kind, _))| cell(row, at, *kind)).collect();
            rows.push(cells?);
            self.last = (row.get(layout.len())?, row.get(layout.len() + 1)?);
        }
        Ok(rows)
    }
}

/// The first whole second that is not before this time.
fn whole_second(ms: i64) -> i64 {
    ms.div_euclid(1_000) + i64::from(ms.rem_euclid(1_000) > 0)
}

fn query(what: What, layout: &Layout, by_time: bool) -> String {
    let has = |(_, table, column): &&Place| layout.get(*table).is_some_and(|c| c.contains(*column));
    let values = what.layout().iter().map(|(_, _, places)| {
        let there: Vec<String> =
            places.iter().filter(has).map(|(a, _, c)| format!("{a}.{c}")).collect();
        match there.as_slice() {
            [] => "NULL".to_owned(),
            [one] => one.clone(),
            more => format!("COALESCE({})", more.join(", ")),
        }
    });
    let values = values.collect::<Vec<_>>().join(", ");
    match what {
        What::Packets => {
            // Without the index every slice would sort the whole table: then by id, which is nearly
            // the same order.
            let (key, after) = if by_time {
                ("o.timestamp", "o.timestamp >= ?1 AND (o.timestamp > ?1 OR o.id > ?2)")
            } else {
                ("?1", "o.id > ?2 AND o.timestamp >= ?1")
            };
            let order = if by_time { "o.timestamp, o.id" } else { "o.id" };
            format!(
                "SELECT {values}, {key}, o.id FROM observations o
                 CROSS JOIN transmissions t ON t.id = o.transmission_id
                 LEFT JOIN observers b ON b.rowid = o.observer_idx
                 WHERE {after} AND o.timestamp < ?3 ORDER BY {order} LIMIT ?4"
            )
        }
        What::Nodes | What::Observers => {
            let (table, x) = if what == What::Nodes { ("nodes", "n") } else { ("observers", "b") };
            format!(
                "SELECT {values}, 0, {x}.rowid FROM {table} {x}
                 WHERE {x}.rowid > ?2 AND (?1 IS NULL OR {x}.last_seen >= ?1)
                 AND (?3 IS NULL OR {x}.last_seen < ?3) ORDER BY {x}.rowid LIMIT ?4"
            )
        }
    }
}

fn cell(row: &Row<'_>, at: usize, kind: Kind) -> rusqlite::Result<Cell> {
    Ok(match (row.get_ref(at)?, kind) {
        (ValueRef::Null, _) => Cell::Null,
        (ValueRef::Integer(second), Kind::Epoch) => {
            Cell::Text(stamp::iso(second.saturating_mul(1_000)))
        }
        (ValueRef::Integer(number), _) => Cell::Integer(number),
        (ValueRef::Real(number), _) => Cell::Real(number),
        (ValueRef::Text(text) | ValueRef::Blob(text), kind) => {
            let text = String::from_utf8_lossy(text).into_owned();
            if matches!(kind, Kind::Json) { Cell::Json(text) } else { Cell::Text(text) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(path: &Path) -> Connection {
        let conn = open::open(path).unwrap().conn;
        conn.execute_batch(
            "INSERT INTO observers (id, name, iata, last_seen) VALUES
               ('A', 'Hill', 'SJC', '2026-11-01T00:00:00Z'), ('B', 'Dale', NULL, NULL);
             INSERT INTO transmissions (raw_hex, hash, first_seen, decoded_json) VALUES
               ('0A00', '01', '2026-11-01T00:00:00Z', '{}');
             INSERT INTO observations (transmission_id, observer_idx, path_json, timestamp, raw_hex)
               SELECT 1, 1, value, 1700000000 + value / 3, iif(value = 7, '0A01', NULL)
               FROM (WITH RECURSIVE n(value) AS
                 (SELECT 0 UNION ALL SELECT value + 1 FROM n WHERE value < 1299) SELECT * FROM n);",
        )
        .unwrap();
        conn
    }

    fn all(mut export: Export) -> Vec<Vec<Cell>> {
        let mut rows = Vec::new();
        loop {
            match export.next_slice().unwrap() {
                slice if slice.is_empty() => return rows,
                slice => rows.extend(slice),
            }
        }
    }

    #[test]
    fn every_row_comes_once_whatever_the_slices_with_the_index_and_without() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let conn = database(&path);
        let text = |number: i64| Cell::Json(number.to_string());
        for index in [true, false] {
            if !index {
                conn.execute_batch("DROP INDEX idx_observations_timestamp").unwrap();
            }
            let rows = all(Export::open(&path, What::Packets, None, None).unwrap());
            assert_eq!(rows.len(), 1_300);
            let expected: Vec<Cell> = (0..1_300).map(text).collect();
            assert_eq!(rows.iter().map(|r| r[9].clone()).collect::<Vec<_>>(), expected);
            assert_eq!(rows[7][10], Cell::Text("0A01".into()));
            assert_eq!(rows[8][10], Cell::Text("0A00".into()));
            assert_eq!(rows[8][3], Cell::Text("Hill".into()));
            // From the 2nd second until before the 4th.
            let (since, until) = (Some(1_700_000_000_500), Some(1_700_000_003_000));
            let rows = all(Export::open(&path, What::Packets, since, until).unwrap());
            let paths: Vec<Cell> = rows.iter().map(|r| r[9].clone()).collect();
            assert_eq!(paths, (3..9).map(text).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_slice_of_packets_is_found_by_the_index_and_not_sorted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let _conn = database(&path);
        let export = Export::open(&path, What::Packets, None, None).unwrap();
        let mut plan = export.conn.prepare(&format!("EXPLAIN QUERY PLAN {}", export.sql)).unwrap();
        let steps: Vec<String> = plan
            .query_map(params![0, 0, 0, 0], |row| row.get(3))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert!(steps[0].contains("idx_observations_timestamp"), "{steps:?}");
        assert!(!steps.iter().any(|step| step.contains("TEMP B-TREE")), "{steps:?}");
    }

    #[test]
    fn observers_are_taken_by_when_they_were_last_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let _conn = database(&path);
        let ids = |since, until| {
            let rows = all(Export::open(&path, What::Observers, since, until).unwrap());
            rows.into_iter().map(|row| row[0].clone()).collect::<Vec<_>>()
        };
        let (a, b) = (Cell::Text("A".into()), Cell::Text("B".into()));
        assert_eq!(ids(None, None), [a.clone(), b]);
        let first_of_november = 1_793_491_200_000;
        assert_eq!(ids(Some(first_of_november), None), [a]);
        assert_eq!(ids(None, Some(first_of_november)), [] as [Cell; 0]);
    }
}
