//! Another program reads, prunes and writes the same file meanwhile.

use super::*;
use crate::support::other::Other;

#[test]
fn what_another_program_deleted_is_stored_anew() {
    let mut bed = Bed::new();
    bed.store([packet(1, "A", 0), packet(2, "A", 0), packet(2, "B", 0)]);
    bed.other()
        .execute_batch("DELETE FROM observations; DELETE FROM transmissions; DELETE FROM observers")
        .unwrap();
    bed.store([packet(1, "A", 5), packet(2, "B", 5)]);
    assert_eq!((bed.count("transmissions"), bed.count("observations")), (2, 2));
    assert_eq!(bed.one::<i64>("SELECT COUNT(*) FROM packets_v WHERE observer_id IS NULL"), 0);
    assert_eq!(bed.one::<i64>("SELECT COUNT(*) FROM pragma_foreign_key_check"), 0);
    assert_eq!(bed.one::<i64>("SELECT MIN(id) FROM transmissions"), 3, "ids grow");
    assert_eq!(bed.counters.write_errors.get(), 0);
}

#[test]
fn an_observer_that_another_program_replaced_is_not_taken_for_the_old_one() {
    let mut bed = Bed::new();
    bed.store([packet(1, "A", 0)]);
    // No foreign key guards `observer_idx`: nothing fails if the writer believes its memory.
    bed.other()
        .execute_batch("DELETE FROM observers; INSERT INTO observers (id) VALUES ('Z')")
        .unwrap();
    bed.store([packet(2, "A", 1)]);
    let heard: String = bed.one("SELECT observer_id FROM packets_v WHERE hash LIKE '%2'");
    assert_eq!(heard, "A");
    assert_eq!(bed.counters.write_errors.get(), 0);
}

#[test]
fn what_another_program_inserted_is_recognised() {
    let mut bed = Bed::new();
    bed.store([packet(1, "A", 0)]);
    bed.other()
        .execute_batch(
            "INSERT INTO transmissions (raw_hex, hash, first_seen)
             VALUES ('1100', '0000000000000002', '2026-11-23T04:00:00Z');
             INSERT INTO observers (id, packet_count) VALUES ('B', 4)",
        )
        .unwrap();
    bed.store([packet(2, "B", 0), packet(2, "A", 0)]);
    assert_eq!((bed.count("transmissions"), bed.count("observers")), (2, 2));
    let first: String = bed.one("SELECT first_seen FROM transmissions WHERE id = 2");
    assert_eq!(first, "2026-11-23T04:00:00Z");
    assert_eq!(bed.one::<i64>("SELECT packet_count FROM observers WHERE id = 'B'"), 5);
    // Its bytes are not ours.
    let raw: i64 = bed.one("SELECT COUNT(raw_hex) FROM observations WHERE transmission_id = 2");
    assert_eq!(raw, 2);
}

#[test]
fn rows_that_no_program_of_ours_would_write_do_not_hurt() {
    let mut bed = Bed::new();
    bed.other()
        .execute_batch(
            "INSERT INTO transmissions (raw_hex, hash, first_seen, last_seen)
             VALUES (CAST(x'ff' AS TEXT), '0000000000000001', 'long ago', 'never'),
               (x'00', '0000000000000002', x'00', 1.5);
             INSERT INTO observers (id, packet_count, last_seen) VALUES (zeroblob(64), 'many', 7),
               (CAST(x'ff' AS TEXT), NULL, NULL), ('A', 'many', 7)",
        )
        .unwrap();
    bed.store([packet(1, "A", 0), packet(2, &"AB".repeat(32), 0)]);
    assert_eq!((bed.count("observations"), bed.count("meshbox_refused")), (2, 0));
    let a: String =
        bed.one("SELECT json_array(packet_count, last_seen) FROM observers WHERE id = 'A'");
    assert_eq!(a, r#"[1,"2026-11-23T04:24:21Z"]"#);
}

/// What another program does over and over: deletes a seventh of the packets, noting them, and inserts
/// some that the hub has heard or is about to hear.
const PRUNE: &str = "BEGIN IMMEDIATE;
    INSERT INTO pruned SELECT hash, path_json, observer_idx FROM observations o
      JOIN transmissions t ON t.id = transmission_id WHERE t.id % 7 = 0;
    DELETE FROM observations WHERE transmission_id % 7 = 0;
    DELETE FROM transmissions WHERE id % 7 = 0;
    INSERT INTO transmissions (raw_hex, hash, first_seen)
      SELECT '', format('%016x', abs(random()) % 12000), 'x' FROM json_each('[1,2,3,4,5,6,7,8]')
      WHERE true ON CONFLICT DO NOTHING;
    INSERT INTO turns VALUES (1);
    COMMIT";

#[test]
fn a_process_that_prunes_and_inserts_during_a_burst_loses_and_doubles_nothing() {
    let mut bed = Bed::new();
    let tables = "CREATE TABLE pruned (hash TEXT, path TEXT, observer INTEGER);
        CREATE TABLE turns (one)";
    bed.other().execute_batch(tables).unwrap();
    let other = Other::repeats(&bed.path, PRUNE);
    let rounds = 300_u64;
    let numbers = |round: u64| (0..40).map(move |n| (round + n % 3) * 40 + n);
    for round in 0..rounds {
        // Forty packets a round, each of them heard in three rounds.
        bed.put(numbers(round).map(|n| packet(n, "A", 0)));
        bed.put(numbers(round).map(|n| packet(n, "B", 0)));
        // Often enough that the two take turns.
        if round % 10 == 0 {
            let (before, turns) = (bed.put, bed.count("turns"));
            eventually("both have written", || {
                let written = bed.counters.records_committed.get() + 800 > before;
                (written && bed.count("turns") > turns).then_some(())
            });
        }
    }
    other.let_go();
    bed.finish();
    // Each observation is in the table, or was pruned from it, at least once; none is in it twice.
    let sent: std::collections::BTreeSet<String> =
        (0..rounds).flat_map(numbers).map(|n| format!("{n:016x}")).collect();
    for by in ["A", "B"] {
        let found: String = bed.one(&format!(
            "SELECT json_group_array(DISTINCT hash) FROM (
               SELECT hash, observer_idx FROM observations
                 JOIN transmissions t ON t.id = transmission_id
               UNION ALL SELECT hash, observer FROM pruned)
             WHERE observer_idx = (SELECT rowid FROM observers WHERE id = '{by}')"
        ));
        let found: std::collections::BTreeSet<String> = serde_json::from_str(&found).unwrap();
        assert_eq!(found, sent, "observer {by}");
    }
    let doubled: i64 = bed.one(
        "SELECT COUNT(*) FROM (SELECT 1 FROM observations
         GROUP BY transmission_id, observer_idx HAVING COUNT(*) > 1)",
    );
    let (turns, pruned) = (bed.count("turns"), bed.count("pruned"));
    assert!(turns >= 30 && pruned > 100, "{turns} turns, {pruned} pruned");
    assert_eq!(doubled, 0);
    assert_eq!(bed.one::<i64>("SELECT COUNT(*) FROM pragma_foreign_key_check"), 0);
    assert_eq!(bed.counters.records_refused.get(), 0);
    let heard = bed.one::<i64>("SELECT packet_count FROM observers WHERE id = 'A'");
    assert_eq!(heard, i64::try_from(rounds * 40).unwrap());
}

#[test]
fn a_reader_that_stays_does_not_stop_the_writer() {
    let mut bed = Bed::new();
    bed.store([packet(1, "A", 0)]);
    let reader = bed.other();
    reader.execute_batch("BEGIN; SELECT COUNT(*) FROM observations").unwrap();
    bed.store((2..500).map(|n| packet(n, "A", 0)));
    let seen: i64 =
        reader.query_row("SELECT COUNT(*) FROM observations", [], |row| row.get(0)).unwrap();
    assert_eq!((seen, bed.count("observations")), (1, 499));
    bed.finish();
}

#[test]
fn ids_grow_and_a_transmission_is_never_seen_without_its_observation() {
    let mut bed = Bed::new();
    let reader = bed.other();
    let sink = bed.sink.clone().unwrap();
    let sender = std::thread::spawn(move || {
        for n in 0..3_000 {
            sink.put(packet(n, "A", 0)).unwrap();
            sink.put(packet(n, "B", 0)).unwrap();
        }
    });
    eventually("the reader has seen all", || {
        let (bare, seen): (i64, i64) = reader
            .query_row(
                "SELECT (SELECT COUNT(*) FROM transmissions t WHERE NOT EXISTS
                   (SELECT 1 FROM observations WHERE transmission_id = t.id)),
                   (SELECT COUNT(*) FROM transmissions)",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .unwrap();
        assert_eq!(bare, 0);
        (seen == 3_000).then_some(())
    });
    sender.join().unwrap();
    bed.finish();
    let ordered: i64 =
        bed.one("SELECT COUNT(*) FROM transmissions WHERE hash <> format('%016x', id - 1)");
    assert_eq!(ordered, 0);
}
