//! Files that an older CoreScope made: opened at once, brought up to date while messages come, and
//! still that CoreScope's.

use super::*;
use crate::fixtures::db;
use crate::support::reference;

use std::collections::BTreeMap;

/// Everything that a file is, order aside: the columns of each table, its indexes and their columns,
/// the view.
fn shape(path: &Path) -> BTreeMap<String, Vec<String>> {
    let queries = [
        "SELECT m.name, json_array(x.name, x.type, x.\"notnull\", x.dflt_value, x.pk, x.hidden)
         FROM sqlite_master m, pragma_table_xinfo(m.name) x WHERE m.type = 'table'",
        "SELECT m.name || '.' || l.name, json_array(l.\"unique\", l.origin, l.partial)
         FROM sqlite_master m, pragma_index_list(m.name) l WHERE m.type = 'table'",
        "SELECT l.name, json_array(x.seqno, x.name, x.\"desc\", x.coll, x.key)
         FROM sqlite_master m, pragma_index_list(m.name) l, pragma_index_xinfo(l.name) x
         WHERE m.type = 'table'",
        "SELECT name, type || replace(sql, ' ', '') FROM sqlite_master
         WHERE type <> 'table' AND sql IS NOT NULL",
    ];
    let conn = Connection::open(path).unwrap();
    let mut shape = BTreeMap::new();
    for sql in queries {
        let mut statement = conn.prepare(sql).unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let text: String = row.get(1).unwrap();
            let text = text.split_whitespace().collect::<String>();
            shape.entry(row.get(0).unwrap()).or_insert_with(Vec::new).push(text);
        }
    }
    shape.values_mut().for_each(|parts| parts.sort());
    shape
}

fn fresh() -> BTreeMap<String, Vec<String>> {
    let mut bed = Bed::new();
    bed.finish();
    shape(&bed.path)
}

impl Bed {
    /// Waits until an older file is up to date.
    fn migrated(&self) {
        eventually("the file is up to date", || {
            self.counters.writer_state().migration.is_none().then_some(())
        });
    }
}

/// Nothing leaves for its age.
fn keeping(path: &Path) -> Options {
    let mut options = options(path);
    options.retention.nodes = Duration::from_secs(100 * 365 * 86_400);
    options.retention.observers = None;
    options.retention.metrics = options.retention.nodes;
    options
}

fn open(path: &Path) -> Bed {
    Bed::with_options(keeping(path), START_MS)
}

/// A release's file in a folder of its own.
fn restored(release: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meshcore.db");
    db::restore(release, &path);
    (dir, path)
}

/// Whether the file has scopes and no word of their copying.
fn now_in_may(path: &Path) -> bool {
    let copied = "SELECT COUNT(*) FROM _migrations WHERE name = 'backfill_default_scope_v1'";
    one::<i64>(path, copied) == 0 && one::<i64>(path, "SELECT COUNT(*) FROM observer_metrics") > 0
}

/// The databases that both CoreScopes made of one replay, where they are there.
fn replayed() -> Vec<(TempDir, PathBuf)> {
    let found = ["replay-original.db", "replay-later.db"].into_iter().filter_map(reference);
    let copy = |reference: PathBuf| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meshcore.db");
        // A copy of the main file alone: these were checkpointed and closed.
        std::fs::write(&path, std::fs::read(&reference).unwrap()).unwrap();
        (dir, path)
    };
    found.map(copy).collect()
}

/// All rows of a query, as text: `1|text|-` with `-` for NULL.
fn rows(path: &Path, sql: &str) -> Vec<String> {
    use rusqlite::types::ValueRef;
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut statement = conn.prepare(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    let columns = statement.column_count();
    let text = |value: ValueRef<'_>| match value {
        ValueRef::Null => "-".to_owned(),
        ValueRef::Integer(n) => n.to_string(),
        ValueRef::Real(n) => format!("{n:?}"),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into(),
    };
    let read = |row: &rusqlite::Row<'_>| {
        let values: rusqlite::Result<Vec<_>> =
            (0..columns).map(|n| row.get_ref(n).map(text)).collect();
        Ok(values?.join("|"))
    };
    statement.query_map([], read).unwrap().map(Result::unwrap).collect()
}

/// Whether the release's file has duplicates.
fn doubled(release: &str) -> bool {
    ["march-2026", "april-2026-grown"].contains(&release)
}

#[test]
fn every_released_schema_becomes_that_of_a_fresh_file() {
    let fresh = fresh();
    let released = db::releases().map(restored);
    for (n, (_dir, path)) in released.chain(replayed()).enumerate() {
        let packets: i64 = one(&path, "SELECT COUNT(*) FROM transmissions");
        let known: String = one(&path, "SELECT hash FROM transmissions LIMIT 1");
        let mut bed = open(&path);
        bed.store([advert(999, "k1", 0), with(packet(2, "NEW", 0), |r| row(r).hash = known)]);
        bed.migrated();
        bed.finish();
        assert_eq!(one::<i64>(&path, "SELECT COUNT(*) FROM transmissions"), packets + 1);
        let new = "SELECT COUNT(*) FROM observations o JOIN observers b ON b.rowid = observer_idx
            WHERE b.id IN ('OBS', 'NEW')";
        assert_eq!(one::<i64>(&path, new), 2, "file {n}");
        let now = shape(&path);
        for (object, parts) in &now {
            assert_eq!(Some(parts), fresh.get(object), "file {n}: {object}");
        }
        assert_eq!(now.len(), fresh.len(), "file {n}");
        assert_eq!(one::<String>(&path, "PRAGMA integrity_check"), "ok");
        let same = "SELECT (SELECT group_concat(name) FROM pragma_table_info('nodes'))
            = (SELECT group_concat(name) FROM pragma_table_info('inactive_nodes'))";
        assert_eq!(one::<i64>(&path, same), 1, "file {n}: CoreScope copies by position");
        // That of May has scopes, which only CoreScope with its region keys copies to nodes.
        let names = if now_in_may(&path) { 21 } else { 22 };
        assert_eq!(one::<i64>(&path, "SELECT COUNT(*) FROM _migrations"), names, "file {n}");
        let done = "SELECT COUNT(*) FROM _async_migrations WHERE status = 'done'";
        assert_eq!(one::<i64>(&path, done), 2, "file {n}");
    }
}

#[test]
fn old_rows_get_what_july_would_have_given_them() {
    for release in ["march-2026", "april-2026", "april-2026-grown", "may-2026"] {
        let (_dir, path) = restored(release);
        let mut bed = open(&path);
        bed.migrated();
        bed.finish();
        let key = "11".repeat(32);
        let noon = "last_seen - 1775044800 - 60 * id";
        let sql = format!("SELECT id, from_pubkey, channel_hash, {noon} FROM transmissions");
        // How long after its first second the first packet and the fifth were last heard.
        let (first, fifth) = if doubled(release) { (30, 30) } else { (1, 1) };
        let expected = [
            format!("1|{key}|-|{first}"),
            format!("2|{key}|-|0"),
            // No key could be read; and nobody needs to look again.
            "3||-|0".to_owned(),
            "4||-|0".to_owned(),
            format!("5|-|Public|{fifth}"),
            "6|-|#test|0".to_owned(),
            "7|-|enc_D9|0".to_owned(),
            "8|-|-|1".to_owned(),
            // Nobody is left who heard it: it was last seen when it was first seen.
            "9|-|-|0".to_owned(),
        ];
        assert_eq!(rows(&path, &sql), expected, "{release}");
        let sql = "SELECT substr(id, 1, 2), last_packet_at IS last_seen FROM observers";
        let companion = if release == "may-2026" { "co|0" } else { "co|1" };
        assert_eq!(rows(&path, sql), ["AB|1", "cd|1", companion, "EF|0"], "{release}");
    }
}

#[test]
fn nodes_have_keys_in_lower_case_once_each_and_count_their_adverts() {
    for release in ["march-2026", "april-2026", "april-2026-grown", "may-2026"] {
        let (_dir, path) = restored(release);
        let mut bed = open(&path);
        bed.migrated();
        bed.finish();
        let sql = "SELECT substr(public_key, 1, 6), name, substr(first_seen, 12, 8),
            substr(last_seen, 12, 8), advert_count FROM nodes";
        // Only the file of March does not say that its adverts were counted.
        let adverts = if release == "march-2026" { [2, 0, 0, 0] } else { [1, 2, 7, 5] };
        let expected = [
            format!("111111|Node 0|12:00:50|12:01:40|{}", adverts[0]),
            format!("aaaaaa|Node 1|12:00:49|12:01:50|{}", adverts[1]),
            format!("bbbbbb|Node 2|12:00:47|12:02:10|{}", adverts[2]),
            format!("sender|Node 4|12:00:46|12:02:20|{}", adverts[3]),
        ];
        assert_eq!(rows(&path, sql), expected, "{release}");
        assert_eq!(rows(&path, "SELECT name, advert_count FROM inactive_nodes"), ["Silent|7"]);
    }
}

#[test]
fn duplicates_become_the_first_row_with_what_came_last_and_unknown_observers_stay() {
    for release in ["march-2026", "april-2026-grown"] {
        let (_dir, path) = restored(release);
        let before = rows(
            &path,
            "SELECT MIN(id) FROM observations
            GROUP BY transmission_id, COALESCE(observer_idx, -id), path_json ORDER BY 1",
        );
        let mut bed = open(&path);
        bed.migrated();
        bed.finish();
        assert_eq!(rows(&path, "SELECT id FROM observations ORDER BY id"), before, "{release}");
        let sql = "SELECT observer_idx, path_json, snr, timestamp - 1775044860 FROM observations
            WHERE transmission_id = 1";
        assert_eq!(rows(&path, sql), ["1|[]|5.25|0", "2|[\"AB\"]|6.5|1"], "{release}");
        let sql = "SELECT observer_idx, snr FROM observations WHERE transmission_id IN (5, 8)";
        assert_eq!(rows(&path, sql), ["1|1.0", "3|2.0", "-|4.0", "-|-"], "{release}");
    }
}

/// What CoreScope's servers ask of the file: the pages of April, then those of July.
const APRIL: &[&str] = &[
    "SELECT id, raw_hex, hash, first_seen, route_type, payload_type, payload_version, decoded_json
     FROM transmissions WHERE id > 3 ORDER BY id",
    "SELECT id, transmission_id, observer_idx, direction, snr, rssi, score, path_json, timestamp
     FROM observations WHERE id > 2 ORDER BY id",
    "SELECT t.hash, b.id, b.name, o.snr FROM observations o JOIN transmissions t
     ON t.id = o.transmission_id LEFT JOIN observers b ON b.rowid = o.observer_idx ORDER BY o.id",
    "SELECT * FROM packets_v WHERE observer_id IS NOT NULL ORDER BY id",
    "SELECT rowid, id, name, iata, last_seen, first_seen, packet_count, model, firmware,
     client_version, radio, battery_mv, uptime_secs, noise_floor FROM observers ORDER BY rowid",
    "SELECT lower(public_key), name, role, lat, lon, last_seen, first_seen, advert_count FROM nodes
     WHERE last_seen >= '2026-04-01' ORDER BY 1",
    "SELECT COUNT(*) FROM observations WHERE timestamp > 1775045000",
    "SELECT timestamp / 3600, COUNT(*) FROM observations GROUP BY 1",
    "SELECT hash FROM transmissions WHERE decoded_json LIKE '%11111111%' ORDER BY id",
    "SELECT decoded_json ->> '$.channel', COUNT(*) FROM transmissions WHERE payload_type = 5
     AND decoded_json ->> '$.type' = 'CHAN' GROUP BY 1",
    "SELECT t.hash FROM observations o JOIN transmissions t ON t.id = o.transmission_id
     JOIN observers b ON b.rowid = o.observer_idx WHERE b.iata = 'SJC' ORDER BY o.id",
];
const JULY: &[&str] = &[
    "SELECT id, hash, last_seen, from_pubkey, channel_hash, scope_name FROM transmissions
     WHERE last_seen > 0 ORDER BY id",
    "SELECT id, raw_hex, resolved_path FROM observations ORDER BY id",
    "SELECT channel_hash, COUNT(*) FROM transmissions WHERE payload_type = 5 GROUP BY 1",
    "SELECT id, inactive, last_packet_at, clock_skew_seconds, clock_skew_count_24h,
     clock_last_naive_at, can_relay, can_relay_seen FROM observers ORDER BY rowid",
    "SELECT foreign_advert, default_scope, multibyte_sup, multibyte_evidence FROM nodes",
    "SELECT foreign_advert, default_scope, multibyte_sup, multibyte_evidence FROM inactive_nodes",
    "SELECT * FROM observer_metrics",
    "SELECT * FROM dropped_packets",
    "SELECT * FROM neighbor_edges",
    "SELECT name FROM _migrations ORDER BY 1",
];

#[test]
fn what_corescope_asks_for_is_answered_as_before() {
    let mut files: Vec<_> = ["april-2026", "july-2026"].map(restored).into();
    files.extend(replayed());
    for (n, (_dir, path)) in files.iter().enumerate() {
        let july = one::<i64>(path, "SELECT COUNT(*) FROM _migrations") == 22;
        // Nodes whose rows become one, and the transmission without observations, are told of above.
        Connection::open(path)
            .unwrap()
            .execute_batch(
                "DELETE FROM nodes WHERE name = 'Node 3';
             DELETE FROM transmissions WHERE hash = '0000000000000009'",
            )
            .unwrap();
        let queries = || APRIL.iter().chain(if july { JULY } else { &[] });
        let before: Vec<_> = queries().map(|sql| rows(path, sql)).collect();
        let mut bed = open(path);
        bed.migrated();
        bed.finish();
        for (sql, before) in queries().zip(before) {
            assert_eq!(rows(path, sql), before, "file {n}: {sql}");
        }
    }
}

#[test]
fn a_file_that_is_up_to_date_is_not_touched_again() {
    for release in db::releases() {
        let (_dir, path) = restored(release);
        let mut bed = open(&path);
        bed.migrated();
        bed.finish();
        let before = std::fs::read(&path).unwrap();
        let mut again = open(&path);
        assert_eq!(again.counters.writer_state().migration, None, "{release}");
        again.finish();
        assert!(std::fs::read(&path).unwrap() == before, "{release}");
    }
}

#[test]
fn an_observer_of_an_older_file_is_known_whatever_the_case_of_its_key() {
    let (_dir, path) = restored("april-2026");
    let mut bed = open(&path);
    bed.store([packet(100, &"CD".repeat(32), 0), packet(101, &"AB".repeat(32), 0)]);
    assert_eq!(bed.count("observers"), 4);
    let sql = "SELECT observer_idx FROM observations ORDER BY id DESC LIMIT 2";
    assert_eq!(rows(&path, sql), ["1", "2"]);
    bed.migrated();
    bed.finish();
}

#[test]
fn a_packet_of_an_older_file_that_is_heard_again_was_last_heard_now() {
    let (_dir, path) = restored("april-2026");
    let mut bed = open(&path);
    bed.store([packet(1, "NEW", 0), packet(5, "NEW", 7)]);
    bed.migrated();
    bed.finish();
    let sql = "SELECT length(from_pubkey), channel_hash, last_seen FROM transmissions
        WHERE id IN (1, 5)";
    let start = START_MS / 1_000;
    assert_eq!(rows(&path, sql), [format!("64|-|{start}"), format!("-|Public|{}", start + 7)]);
}

#[test]
fn without_the_unique_index_nothing_new_is_doubled_and_the_last_duplicate_is_filled() {
    let (_dir, path) = restored("april-2026-grown");
    let other = Connection::open(&path).unwrap();
    // Nothing can be merged, so that the index cannot come yet.
    other
        .execute_batch(
            "CREATE TRIGGER stay BEFORE DELETE ON observations
        BEGIN SELECT RAISE(ABORT, 'not yet'); END",
        )
        .unwrap();
    let mut bed = open(&path);
    let again = || with(packet(5, "companion", 9), |r| row(r).snr_db = Some(8.5));
    bed.store([again(), packet(500, "A", 5), packet(500, "B", 5), packet(500, "B", 6)]);
    assert_eq!(bed.count("observations WHERE transmission_id = 5"), 3);
    assert_eq!(
        bed.one::<i64>(
            "SELECT COUNT(*) FROM observations o JOIN transmissions t
        ON t.id = transmission_id WHERE hash = '00000000000001f4'"
        ),
        2
    );
    other.execute_batch("DROP TRIGGER stay").unwrap();
    bed.finish();
    let mut bed = open(&path);
    bed.migrated();
    bed.finish();
    let sql = "SELECT observer_idx, snr FROM observations WHERE transmission_id = 5";
    assert_eq!(rows(&path, sql), ["1|1.0", "3|8.5"]);
}

#[test]
fn the_index_that_finds_a_packets_observations_is_there_before_the_first_of_them() {
    let (_dir, path) = restored("march-2026");
    Connection::open(&path)
        .unwrap()
        .execute_batch("DROP INDEX idx_observations_transmission_id")
        .unwrap();
    let mut bed = open(&path);
    bed.store([packet(1, "A", 0)]);
    let there =
        "SELECT COUNT(*) FROM sqlite_master WHERE name = 'idx_observations_transmission_id'";
    assert_eq!(bed.one::<i64>(there), 1);
    bed.migrated();
    bed.finish();
}

#[test]
fn an_ingestor_of_april_may_write_the_file_meanwhile() {
    let (_dir, path) = restored("april-2026-grown");
    let other = Connection::open(&path).unwrap();
    other.busy_timeout(Duration::from_secs(20)).unwrap();
    let mut bed = open(&path);
    for n in 0..200 {
        let hash = format!("a{n:015x}");
        let transmission = "INSERT INTO transmissions (raw_hex, hash, first_seen, payload_type,
            decoded_json) VALUES ('11', ?1, '2026-11-23T04:24:21Z', 5,
            '{\"type\":\"CHAN\",\"channel\":\"#april\"}')";
        other.execute(transmission, [&hash]).unwrap();
        let id = other.last_insert_rowid();
        let observation = "INSERT OR IGNORE INTO observations (transmission_id, observer_idx,
            path_json, timestamp) VALUES (?1, 1, '[]', 1795407861)";
        // Twice: without the index that is two rows.
        other.execute(observation, [id]).unwrap();
        other.execute(observation, [id]).unwrap();
        bed.store([with(packet(n, "NEW", 0), |r| row(r).hash.clone_from(&hash))]);
    }
    bed.migrated();
    bed.finish();
    // What April wrote after the walks is seen to at the next start.
    let mut bed = open(&path);
    bed.migrated();
    bed.finish();
    let sql = "SELECT COUNT(*), COUNT(DISTINCT observer_idx) FROM observations
        JOIN transmissions t ON t.id = transmission_id WHERE channel_hash = '#april'";
    assert_eq!(rows(&path, sql), ["400|2"]);
    assert_eq!(one::<i64>(&path, "SELECT COUNT(*) FROM transmissions WHERE last_seen = 0"), 0);
    assert_eq!(one::<String>(&path, "PRAGMA integrity_check"), "ok");
}
