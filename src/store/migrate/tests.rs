//! Slices, plans and the interruption of an index, looked at from inside.

use super::super::book::Book;
use super::super::{faults, open, schema};
use super::plan::{Step, plan};
use super::slice::{Budget, Walk};
use super::*;

use rusqlite::params;
use std::path::PathBuf;

/// A file of March, opened: it lacks everything.
fn march() -> (tempfile::TempDir, open::Opened) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meshcore.db");
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/db/march-2026.sql");
    let sql = std::fs::read_to_string(PathBuf::from(fixture)).unwrap();
    Connection::open(&path).unwrap().execute_batch(&sql).unwrap();
    let opened = open::open(&path).unwrap();
    (dir, opened)
}

/// So many packets, each heard four times by the same observer at first, with a rising SNR.
fn hear(conn: &Connection, packets: i64) {
    conn.execute_batch("BEGIN; DELETE FROM observations; DELETE FROM transmissions").unwrap();
    for id in 1..=packets {
        let insert = "INSERT INTO transmissions (id, raw_hex, hash, first_seen, payload_type)
            VALUES (?1, '', ?1, '2026-04-01T12:00:00Z', 2)";
        conn.execute(insert, [id]).unwrap();
        for n in 0..4 {
            let insert = "INSERT INTO observations (transmission_id, observer_idx, path_json, snr,
                timestamp) VALUES (?1, 1, '[]', ?2, ?3)";
            conn.execute(insert, params![id, n, 1_000 + id]).unwrap();
        }
    }
    conn.execute_batch("COMMIT").unwrap();
}

fn count(conn: &Connection, sql: &str) -> i64 {
    conn.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Slices of a step until it has ended; how many rows each wrote.
fn slices(conn: &Connection, step: Step) -> Vec<usize> {
    let mut walk = step.walk(conn).unwrap();
    let mut rows = Vec::new();
    loop {
        let budget = Budget::patient();
        let slice = match step {
            Step::Fill => fill::slice(conn, &mut walk, &budget),
            Step::Merge => merge::slice(conn, &mut walk, &budget),
            _ => nodes::count_adverts(conn, &mut walk, &budget),
        };
        let slice = slice.unwrap();
        rows.push(slice.rows);
        if slice.ended {
            return rows;
        }
    }
}

fn build_all(conn: &Connection) {
    let shared = Arc::new(Shared::default());
    for (name, ..) in schema::INDEXES {
        if !open::has_index(conn, name).unwrap() {
            index::build(conn, name, &shared).unwrap();
        }
    }
}

#[test]
fn a_slice_writes_at_most_250_rows_and_all_of_them_write_everything_once() {
    let (_dir, opened) = march();
    let conn = &opened.conn;
    hear(conn, 600);
    index::build(conn, "idx_tx_last_seen_zero", &Arc::default()).unwrap();
    assert_eq!(slices(conn, Step::Fill), [250, 250, 100]);
    assert_eq!(count(conn, "SELECT COUNT(*) FROM transmissions WHERE last_seen <> 1000 + id"), 0);
    // Of each four rows three go, and one is written.
    let merged = slices(conn, Step::Merge);
    assert!(merged.iter().all(|rows| *rows <= 250), "{merged:?}");
    assert_eq!(
        count(
            conn,
            "SELECT COUNT(*) FROM observations WHERE snr = 3 AND id % 4 =
        (SELECT MIN(id) FROM observations) % 4"
        ),
        600
    );
    assert_eq!(count(conn, "SELECT COUNT(*) FROM observations"), 600);
}

#[test]
fn more_duplicates_than_a_slice_takes_end_with_what_came_last() {
    let (_dir, opened) = march();
    let conn = &opened.conn;
    hear(conn, 1);
    for n in 0..900 {
        let insert =
            "INSERT INTO observations (transmission_id, observer_idx, path_json, snr, rssi,
            timestamp) VALUES (1, 1, '[]', ?1, ?2, 0)";
        // The last SNR comes early, the last RSSI late.
        let (snr, rssi) = ((n < 300).then_some(n), (n > 600).then_some(n));
        conn.execute(insert, params![snr, rssi]).unwrap();
    }
    let merged = slices(conn, Step::Merge);
    assert!(merged.len() > 3 && merged.iter().all(|rows| *rows <= 250), "{merged:?}");
    let kept = "SELECT COUNT(*) FROM observations WHERE id = (SELECT MIN(id) FROM observations)
        AND snr = 299 AND rssi = 899 AND timestamp = 1001";
    assert_eq!(count(conn, kept), 1);
    assert_eq!(count(conn, "SELECT COUNT(*) FROM observations"), 1);
}

#[test]
fn a_row_that_is_heard_again_before_it_is_filled_is_filled_all_the_same() {
    let (dir, opened) = march();
    let conn = &opened.conn;
    index::build(conn, "idx_tx_last_seen_zero", &Arc::default()).unwrap();
    let mut book = Book::new(conn, false, &faults::options(dir.path())).unwrap();
    let now = params![1, "2026-04-01T13:00:00Z", 1_775_048_400];
    book.sql.update_transmission.execute(now).unwrap();
    slices(conn, Step::Fill);
    let filled = "SELECT COUNT(*) FROM transmissions
        WHERE id = 1 AND length(from_pubkey) = 64 AND last_seen = 1775044890";
    assert_eq!(count(conn, filled), 1);
    book.sql.update_transmission.execute(now).unwrap();
    assert_eq!(count(conn, "SELECT last_seen FROM transmissions WHERE id = 1"), 1_775_048_400);
}

#[test]
fn a_merge_goes_on_where_it_was_after_a_crash() {
    let (dir, opened) = march();
    hear(&opened.conn, 600);
    let mut walk = Step::Merge.walk(&opened.conn).unwrap();
    merge::slice(&opened.conn, &mut walk, &Budget::patient()).unwrap();
    let at = walk.at;
    assert!(at > 10, "{at}");
    drop(opened);
    let again = open::open(&dir.path().join("meshcore.db")).unwrap();
    assert_eq!(Step::Merge.walk(&again.conn).unwrap().at, at);
    slices(&again.conn, Step::Merge);
    index::build(&again.conn, schema::DEDUP, &Arc::default()).unwrap();
    assert_eq!(count(&again.conn, "SELECT COUNT(*) FROM observations"), 600);
    assert_eq!(count(&again.conn, "SELECT COUNT(*) FROM meshbox_progress"), 0);
}

#[test]
fn an_index_that_is_interrupted_is_not_there_and_can_be_built_again() {
    let (_dir, opened) = march();
    let conn = &opened.conn;
    hear(conn, 3_000);
    let shared = Arc::new(Shared::default());
    shared.stop();
    let name = "idx_observations_tx_ts";
    let error = index::build(conn, name, &shared).unwrap_err();
    assert!(error.words().contains("interrupted"), "{error:?}");
    assert!(conn.is_autocommit());
    assert!(!open::has_index(conn, name).unwrap());
    assert_eq!(count(conn, "SELECT COUNT(*) FROM observations"), 12_000, "not usable any more");
    index::build(conn, name, &Arc::default()).unwrap();
    assert!(open::has_index(conn, name).unwrap());
    // Another program may be faster.
    index::build(conn, name, &Arc::default()).unwrap();
}

#[test]
fn building_an_index_gives_the_pulse() {
    let (_dir, opened) = march();
    hear(&opened.conn, 3_000);
    let shared = Arc::new(Shared::default());
    let pulse = super::super::Pulse::new(Arc::clone(&shared));
    let old = Duration::from_millis(20);
    while pulse.age() < old {
        shared.pause(Duration::from_millis(5));
    }
    index::build(&opened.conn, "idx_observations_tx_ts", &shared).unwrap();
    assert!(pulse.age() < old);
}

#[test]
fn the_index_over_observations_comes_before_everything_where_none_tells_the_transmission() {
    let (_dir, opened) = march();
    let urgent = plan(&opened.conn).unwrap();
    assert!(!urgent.urgent);
    opened.conn.execute_batch("DROP INDEX idx_observations_transmission_id").unwrap();
    let now = plan(&opened.conn).unwrap();
    assert!(now.urgent);
    assert_eq!(now.steps[0], Step::Index("idx_observations_transmission_id"));
    let twice = now.steps.iter().filter(|s| **s == now.steps[0]).count();
    assert_eq!(twice, 1);
    build_all_but_dedup(&opened.conn);
    assert!(!plan(&opened.conn).unwrap().urgent);
}

fn build_all_but_dedup(conn: &Connection) {
    slices(conn, Step::Merge);
    build_all(conn);
}

/// How SQLite finds the rows of a statement.
fn ways(conn: &Connection, sql: &str) -> String {
    let mut explain = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    for n in 1..=explain.parameter_count() {
        explain.raw_bind_parameter(n, 1).unwrap();
    }
    let mut rows = explain.raw_query();
    let mut ways = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        ways.push(row.get::<_, String>(3).unwrap());
    }
    ways.join("; ")
}

#[test]
fn no_statement_of_a_slice_walks_through_a_table() {
    let (_dir, opened) = march();
    let conn = &opened.conn;
    index::build(conn, "idx_tx_last_seen_zero", &Arc::default()).unwrap();
    let early = [fill::NEXT, fill::FILL, merge::HEARD, merge::DOUBLED, merge::KEEP, merge::LEAVE];
    let check = |when: &str, statements: &[&str]| {
        for sql in statements {
            // What is materialised are the few rows of one observation.
            let ways = ways(conn, sql).replace("SCAN g", "");
            let ways = ways.replace("SCAN observations USING COVERING INDEX", "");
            assert!(!ways.contains("SCAN"), "{when}: {ways}\n{sql}");
            assert!(!ways.contains("(observer_idx=?"), "{when}: {ways}\n{sql}");
            assert!(!ways.contains("(timestamp"), "{when}: {ways}\n{sql}");
        }
    };
    check("in a file of March", &early);
    build_all_but_dedup(conn);
    check("with all indexes", &early);
    check("with all indexes", &[fill::CASING, nodes::COUNT]);
    let last = ways(conn, nodes::LAST_PACKETS);
    assert!(last.contains("SEARCH observations USING COVERING INDEX"), "{last}");
}

#[test]
fn an_observation_is_found_by_its_transmission_with_and_without_the_unique_index() {
    let (_dir, opened) = march();
    let conn = &opened.conn;
    let of = |name: &str| {
        let text = include_str!("../statements.rs");
        let from = text.find(&format!("\n    {name}:")).unwrap();
        text[from..].split('"').nth(1).unwrap().to_owned()
    };
    let found = ways(conn, &of("find_unguarded"));
    assert!(found.contains("(transmission_id=?)"), "{found}");
    build_all_but_dedup(conn);
    let found = ways(conn, &of("find_observation"));
    assert!(found.contains("idx_observations_dedup"), "{found}");
}

#[test]
fn a_turn_takes_a_break_leaves_a_stop_alone_and_yields_an_index_to_a_backlog() {
    let (dir, opened) = march();
    let conn = &opened.conn;
    let mut book = Book::new(conn, false, &faults::options(dir.path())).unwrap();
    let steps = vec![Step::Index("idx_observations_tx_ts"), Step::LastPackets];
    let mut migration = Migration::new(Plan { steps, urgent: false });
    let (shared, counters) = (Arc::new(Shared::default()), Counters::default());
    let context = |backlog| Context { now_ms: 7, backlog, shared: &shared, counters: &counters };
    assert!(!migration.turn(&mut book, &context(true)), "a backlog was waiting");
    assert!(migration.turn(&mut book, &context(false)));
    let state = counters.writer_state().migration.unwrap();
    assert_eq!((state.steps_left, state.since_ms), (1, 7), "{state:?}");
    assert!(!migration.turn(&mut book, &context(false)), "no break");
    migration.not_before = Instant::now();
    assert!(migration.turn(&mut book, &context(true)));
    assert_eq!(counters.writer_state().migration, None);
    // It looks again after an hour: meanwhile another program has written.
    assert!(migration.patience() > Duration::from_secs(60));
    migration.not_before = Instant::now();
    assert!(!migration.turn(&mut book, &context(false)));
    assert!(!migration.todo.is_empty());
    assert!(migration.patience() < Duration::from_secs(1));
    shared.stop();
    migration.not_before = Instant::now();
    assert!(!migration.turn(&mut book, &context(false)), "a stop waits for it");
}

#[test]
fn duplicates_that_another_program_adds_after_the_merge_are_merged_again() {
    let (dir, opened) = march();
    let conn = &opened.conn;
    hear(conn, 10);
    slices(conn, Step::Merge);
    conn.execute_batch(
        "INSERT INTO observations (transmission_id, observer_idx, path_json, timestamp)
         VALUES (3, 1, '[]', 0)",
    )
    .unwrap();
    let mut book = Book::new(conn, false, &faults::options(dir.path())).unwrap();
    let steps = vec![Step::Index(schema::DEDUP)];
    let mut migration = Migration::new(Plan { steps, urgent: false });
    let (shared, counters) = (Arc::new(Shared::default()), Counters::default());
    let context = Context { now_ms: 7, backlog: false, shared: &shared, counters: &counters };
    for _ in 0..10 {
        migration.not_before = Instant::now();
        migration.turn(&mut book, &context);
    }
    assert!(book.dedup);
    assert_eq!(count(conn, "SELECT COUNT(*) FROM observations"), 10);
    assert_eq!(counters.write_errors.get(), 0);
}

#[test]
fn a_walk_tells_how_far_it_is() {
    let walk = Walk { at: 30, last: 110, first: 10, unrecorded: 0 };
    assert_eq!(walk.progress(), (20, 100));
    assert_eq!(Walk { at: 200, ..walk }.progress(), (100, 100));
    assert_eq!(Walk::default().progress(), (0, 0));
}
