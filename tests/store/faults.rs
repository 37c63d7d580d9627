//! When the database does not take what it is given.

use super::*;

use meshbox::message::Outcome;
use meshbox::message::queue::{Bounds, queue};
use std::sync::atomic::{AtomicU64, Ordering};

/// Lets the writer run into a lock, and waits until it says so.
fn lock(bed: &Bed) -> Connection {
    let other = bed.other();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    other
}

fn in_trouble(bed: &Bed) {
    eventually("the lock is said", || {
        bed.counters.writer_state().trouble.filter(|words| words.contains("locked"))
    });
}

#[test]
fn a_receipt_says_stored_after_the_commit_and_not_before() {
    let mut bed = Bed::new();
    let mut mailbox = Mailbox::new();
    let other = lock(&bed);
    bed.put([mailbox.awaits(packet(1, "A", 0), 7)]);
    in_trouble(&bed);
    assert!(mailbox.is_empty());
    other.execute_batch("COMMIT").unwrap();
    let completion = mailbox.next();
    assert_eq!((completion.serial, completion.outcome), (7, Outcome::Stored));
    assert_eq!(bed.count("observations"), 1);
    eventually("all is well again", || bed.counters.writer_state().trouble.is_none().then_some(()));
}

#[test]
fn a_locked_database_slows_the_senders_and_loses_nothing() {
    let mut bed = Bed::patient(Duration::from_secs(3_600));
    let other = lock(&bed);
    let sink = bed.sink.clone().unwrap();
    let taken = Arc::new(AtomicU64::new(0));
    let theirs = Arc::clone(&taken);
    let sender = std::thread::spawn(move || {
        for n in 0..6_000 {
            sink.put(packet(n, "A", 0)).unwrap();
            theirs.fetch_add(1, Ordering::Relaxed);
        }
    });
    // 512 are a backlog, which is written at once; 1,024 are on the way to it.
    eventually("all room is taken", || (taken.load(Ordering::Relaxed) == 1_536).then_some(()));
    in_trouble(&bed);
    assert_eq!(taken.load(Ordering::Relaxed), 1_536);
    assert!(bed.writer.as_ref().unwrap().pulse().age() < Duration::from_secs(5));
    other.execute_batch("COMMIT").unwrap();
    sender.join().unwrap();
    bed.finish();
    assert_eq!((bed.count("transmissions"), bed.count("observations")), (6_000, 6_000));
    assert_eq!(bed.one::<i64>("SELECT packet_count FROM observers"), 6_000);
    assert!(bed.counters.write_errors.get() > 0);
}

#[test]
fn nothing_is_acknowledged_while_the_file_is_not_at_its_place() {
    let mut bed = Bed::new();
    let mut mailbox = Mailbox::new();
    bed.store([packet(1, "A", 0)]);
    let elsewhere = bed.path.with_extension("elsewhere");
    std::fs::rename(&bed.path, &elsewhere).unwrap();
    bed.put([mailbox.awaits(packet(2, "A", 1), 7)]);
    eventually("the trouble is said", || {
        bed.counters.writer_state().trouble.filter(|words| words.contains("moved or deleted"))
    });
    assert!(mailbox.is_empty(), "acknowledged into a file that nobody will find");
    // Another file in its place is not ours either.
    std::fs::write(&bed.path, "").unwrap();
    let errors = bed.counters.write_errors.get();
    eventually("another attempt", || (bed.counters.write_errors.get() > errors + 1).then_some(()));
    assert!(mailbox.is_empty());
    std::fs::rename(&elsewhere, &bed.path).unwrap();
    assert_eq!(mailbox.next().outcome, Outcome::Stored);
    bed.finish();
    assert_eq!(bed.count("observations"), 2);
}

#[test]
fn places_in_the_queue_are_given_back_after_the_commit() {
    let mut bed = Bed::new();
    let (inlet, _outlet) = queue(Bounds { messages: 5, bytes: 1 << 20 });
    let meter = inlet.meter();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let other = lock(&bed);
    bed.put((0..2).map(|n| {
        with(packet(n, "A", 0), |r| r.message.place = runtime.block_on(inlet.place(100)))
    }));
    in_trouble(&bed);
    assert_eq!(meter.depth(), Bounds { messages: 2, bytes: 200 });
    other.execute_batch("COMMIT").unwrap();
    eventually("the places are free", || (meter.depth().messages == 0).then_some(()));
    assert_eq!(bed.count("observations"), 2);
}

#[test]
fn a_record_that_cannot_be_stored_is_kept_with_its_reason_and_the_others_are_stored() {
    for raise in ["ABORT", "FAIL", "ROLLBACK"] {
        let mut bed = Bed::patient(Duration::from_millis(100));
        bed.other()
            .execute_batch(&format!(
                "CREATE TRIGGER t BEFORE INSERT ON transmissions
                 WHEN NEW.hash IN ('0000000000000005', '000000000000000b')
                 BEGIN SELECT RAISE({raise}, 'not this one'); END"
            ))
            .unwrap();
        let mut mailbox = Mailbox::new();
        let records = (0..20).map(|n| mailbox.awaits(advert(n, &format!("key{n}"), 0), n));
        bed.put(records.collect::<Vec<_>>());
        for n in 0..20 {
            let bad = n == 5 || n == 11;
            let outcome = if bad { Outcome::Refused } else { Outcome::Stored };
            assert_eq!(mailbox.next().outcome, outcome, "{raise} {n}");
        }
        assert_eq!((bed.count("transmissions"), bed.count("observations")), (18, 18));
        assert_eq!(bed.one::<i64>("SELECT packet_count FROM observers"), 18);
        assert_eq!(bed.one::<i64>("SELECT SUM(advert_count) FROM nodes"), 18);
        let kept: String = bed.one(
            "SELECT json_array(received_at, reason, topic, CAST(payload AS TEXT), origin_kind,
               origin) FROM meshbox_refused",
        );
        assert_eq!(
            kept,
            r#"["2026-11-23T04:24:21Z","not this one","meshcore/SJC/OBS/packets","{\"raw\":\"11\"}","anonymous","192.0.2.7"]"#
        );
        assert_eq!(bed.count("meshbox_refused"), 2);
        let c = &bed.counters;
        assert_eq!((c.records_refused.get(), c.tx_inserted.get()), (2, 18));
        assert_eq!(c.writer_state().trouble, None);
    }
}

#[test]
fn a_record_whose_node_cannot_be_stored_leaves_no_half_behind() {
    let mut bed = Bed::new();
    bed.other()
        .execute_batch(
            "CREATE TRIGGER t BEFORE INSERT ON nodes WHEN NEW.public_key = 'bad'
             BEGIN SELECT RAISE(ABORT, 'not this node'); END",
        )
        .unwrap();
    bed.store([advert(1, "good", 0), advert(2, "bad", 0), advert(3, "good", 0)]);
    assert_eq!((bed.count("transmissions"), bed.count("observations")), (2, 2));
    assert_eq!(bed.one::<i64>("SELECT advert_count FROM nodes"), 2);
    assert_eq!(bed.one::<i64>("SELECT packet_count FROM observers"), 2);
    assert_eq!(bed.counters.tx_inserted.get(), 2);
    // What was rolled back is not remembered as stored.
    bed.other().execute_batch("DROP TRIGGER t").unwrap();
    bed.store([advert(2, "bad", 1)]);
    assert_eq!((bed.count("transmissions"), bed.count("nodes")), (3, 2));
}

#[test]
fn refused_records_are_cut_and_the_last_ten_thousand_kept() {
    let mut bed = Bed::new();
    bed.other()
        .execute_batch(
            "CREATE TRIGGER t BEFORE INSERT ON transmissions BEGIN SELECT RAISE(ABORT, 'no'); END;
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
             INSERT INTO meshbox_refused (received_at, reason, topic, payload, origin_kind, origin)
             SELECT '', 'old', '', '', '', '' FROM n",
        )
        .unwrap();
    bed.store((0..3).map(|n| {
        with(packet(n, "A", 0), |r| {
            r.message.topic = "é".repeat(2_000);
            r.message.payload = Bytes::from(vec![0xff; 5_000]);
        })
    }));
    assert_eq!(bed.count("meshbox_refused"), 10_000);
    let new = "FROM meshbox_refused WHERE reason = 'no'";
    assert_eq!(bed.one::<i64>(&format!("SELECT COUNT(*) {new}")), 3);
    assert_eq!(bed.one::<i64>(&format!("SELECT length(payload) {new}")), 1_024);
    assert_eq!(bed.one::<i64>(&format!("SELECT length(topic) {new}")), 512);
}

#[test]
fn a_table_that_is_gone_is_trouble_and_refuses_nobody() {
    let mut bed = Bed::new();
    bed.other().execute_batch("ALTER TABLE observers RENAME TO elsewhere").unwrap();
    bed.put([packet(1, "A", 0)]);
    eventually("the trouble is said", || {
        bed.counters.writer_state().trouble.filter(|words| words.contains("no such table"))
    });
    bed.other().execute_batch("ALTER TABLE elsewhere RENAME TO observers").unwrap();
    bed.store([]);
    assert_eq!((bed.count("observations"), bed.count("meshbox_refused")), (1, 0));
}

#[test]
fn a_record_that_somebody_waits_for_is_committed_at_once_with_all_before_it() {
    let mut bed = Bed::patient(Duration::from_secs(3_600));
    let mut mailbox = Mailbox::new();
    bed.put([packet(1, "A", 0), packet(2, "A", 0)]);
    bed.put([mailbox.awaits(packet(3, "A", 0), 1)]);
    assert_eq!(mailbox.next().outcome, Outcome::Stored);
    assert_eq!(bed.count("observations"), 3);
    assert_eq!(bed.counters.commits.get(), 1);
}

#[test]
fn finish_commits_what_waits_and_leaves_one_whole_file() {
    let mut bed = Bed::patient(Duration::from_secs(3_600));
    bed.put((0..3_000).map(|n| packet(n, "A", 0)));
    bed.finish();
    let wal = bed.path.with_extension("db-wal");
    assert!(!wal.exists(), "the WAL is still there");
    assert_eq!(bed.count("observations"), 3_000);
    assert_eq!(bed.one::<String>("PRAGMA integrity_check"), "ok");
}

#[test]
fn finish_gives_up_at_the_deadline_and_says_what_was_lost() {
    let mut bed = Bed::new();
    let mut mailbox = Mailbox::new();
    let other = lock(&bed);
    bed.put([packet(1, "A", 0), mailbox.awaits(packet(2, "A", 0), 5), packet(3, "A", 0)]);
    in_trouble(&bed);
    let late = bed.sink.take().unwrap();
    let unfinished = bed.writer.take().unwrap().finish(Instant::now()).unwrap_err();
    assert_eq!((unfinished.records, unfinished.unacknowledged, unfinished.lost), (3, 1, 2));
    assert_eq!(mailbox.next().outcome, Outcome::Failed);
    // Who comes later gets the record back.
    let back = eventually("the writer has ended", || late.put(packet(4, "A", 0)).err());
    assert!(matches!(&back.body, Body::Packet(row) if row.hash == "0000000000000004"));
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(bed.count("observations"), 0);
}
