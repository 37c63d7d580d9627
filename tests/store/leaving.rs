//! What leaves the tables, and when.

use super::*;

/// Ids of the observers that are marked inactive.
fn inactive(bed: &Bed) -> String {
    bed.one("SELECT COALESCE(group_concat(id), '') FROM observers WHERE inactive = 1")
}

#[test]
fn blacklisted_observers_are_marked_inactive_at_the_start_whatever_their_case() {
    let mut bed = Bed::new();
    bed.store([packet(1, "Roof", 0), packet(2, "ROOFTOP", 1)]);
    bed.finish();
    let mut options = options(&bed.path);
    options.observer_blacklist = vec![" rOOf ".into(), "unheard of".into()];
    let again = Bed::with_options(options, START_MS);
    assert_eq!(inactive(&again), "Roof");
    assert_eq!(again.count("observations"), 2);
}

const HOUR_MS: i64 = 3_600_000;

/// Seconds, for records of the past.
const DAY: i64 = 86_400;

fn days(days: u64) -> Duration {
    Duration::from_secs(days * 86_400)
}

/// A store that keeps packets for thirty days and observers for ever.
fn month() -> Bed {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = Bed::with_options(month_of(&dir.path().join("meshcore.db")), START_MS);
    bed._dir = Some(dir);
    bed
}

fn month_of(path: &Path) -> Options {
    let mut options = options(path);
    options.retention.packets = Some(days(30));
    options.retention.observers = None;
    options
}

/// Lets the clock of a bed go on until everything was looked at once more.
fn look(bed: &Bed, now_ms: i64) {
    // The round of the start must be over: it would not know what was done to the file since.
    let rounds = |than: u64| move || (bed.counters.retention_rounds.get() > than).then_some(());
    eventually("the first round is over", rounds(0));
    let before = bed.counters.retention_rounds.get();
    bed.clock.set(now_ms);
    eventually("another round is over", rounds(before));
}

fn dangling(bed: &Bed) -> i64 {
    bed.one("SELECT COUNT(*) FROM pragma_foreign_key_check")
}

#[test]
fn packets_go_a_month_after_they_were_last_heard_and_their_observations_with_them() {
    let mut bed = month();
    bed.store([packet(1, "A", -30 * DAY + 60), packet(1, "B", -30 * DAY + 65)]);
    bed.store([packet(2, "A", -30 * DAY + 60), packet(2, "B", -DAY)]);
    bed.store([packet(3, "A", -DAY)]);
    look(&bed, START_MS + HOUR_MS);
    assert_eq!(bed.one::<String>("SELECT group_concat(id) FROM transmissions"), "2,3");
    assert_eq!((bed.count("observations"), dangling(&bed)), (3, 0));
    assert_eq!(bed.counters.rows_pruned.get(), 3);
}

#[test]
fn without_a_limit_packets_stay_for_ever() {
    let mut bed = Bed::new();
    bed.store([packet(1, "A", -10_000 * DAY), packet(2, "A", 0)]);
    look(&bed, START_MS + HOUR_MS);
    assert_eq!(bed.count("observations"), 2);
}

#[test]
fn a_packet_that_is_gone_and_heard_again_is_a_new_one() {
    let mut bed = month();
    bed.store([packet(1, "A", -30 * DAY + 60), packet(2, "A", 0)]);
    look(&bed, START_MS + HOUR_MS);
    assert_eq!(bed.count("transmissions"), 1);
    bed.store([packet(1, "A", 3_600), packet(2, "B", 3_600)]);
    assert_eq!((bed.count("transmissions"), bed.count("observations")), (2, 3));
    assert_eq!((dangling(&bed), bed.counters.write_errors.get()), (0, 0));
}

#[test]
fn a_packet_of_a_file_that_knew_no_last_seen_goes_by_its_observations() {
    let mut bed = month();
    bed.store([packet(1, "A", -30 * DAY + 60)]);
    bed.store([packet(2, "A", -30 * DAY + 60), packet(2, "B", -DAY)]);
    bed.other().execute("UPDATE transmissions SET last_seen = 0", []).unwrap();
    look(&bed, START_MS + HOUR_MS);
    assert_eq!(bed.one::<String>("SELECT group_concat(id) FROM transmissions"), "2");
    assert_eq!(bed.count("observations"), 2);
}

#[test]
fn thousands_of_rows_go_one_slice_after_the_other() {
    let mut bed = month();
    let old = 600 - 30 * DAY;
    let path = |n: u64| with(packet(1, "A", old), |r| row(r).path_json = format!("[\"{n:04X}\"]"));
    bed.store((0..600).map(path));
    bed.store((2..300).map(|n| packet(n, "A", old)));
    bed.store([packet(1_000, "A", 0)]);
    assert_eq!((bed.count("transmissions"), bed.count("observations")), (300, 899));
    look(&bed, START_MS + HOUR_MS);
    assert_eq!((bed.count("transmissions"), bed.count("observations")), (1, 1));
    assert_eq!((dangling(&bed), bed.counters.rows_pruned.get()), (0, 898 + 299));
}

#[test]
fn observers_that_are_silent_for_a_fortnight_are_inactive_and_lose_their_metrics() {
    let mut bed = Bed::new();
    bed.store([packet(1, "OLD", -14 * DAY + 60), packet(2, "YOUNG", -13 * DAY)]);
    let metrics =
        |observer: &str| format!("FROM observer_metrics WHERE observer_id = '{observer}'");
    for observer in ["OLD", "YOUNG"] {
        let insert = format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 700)
             INSERT INTO observer_metrics (observer_id, timestamp)
             SELECT '{observer}', '2026-11-20T00:00:00Z' || i FROM n"
        );
        bed.other().execute_batch(&insert).unwrap();
    }
    look(&bed, START_MS + HOUR_MS);
    assert_eq!(inactive(&bed), "OLD");
    let left = |observer| bed.one::<i64>(&format!("SELECT COUNT(*) {}", metrics(observer)));
    assert_eq!((left("OLD"), left("YOUNG")), (0, 700));
    // Any sign of life.
    bed.store([status("OLD", 3_600, Activity::Status)]);
    assert_eq!(inactive(&bed), "");
}

#[test]
fn observers_that_never_age_stay_active() {
    let mut bed = Bed::new();
    bed.finish();
    let mut options = options(&bed.path);
    options.retention.observers = None;
    let mut bed = Bed::with_options(options, START_MS);
    bed.store([packet(1, "OLD", -1_000 * DAY), packet(2, "NEW", 0)]);
    look(&bed, START_MS + HOUR_MS);
    assert_eq!(inactive(&bed), "");
}

#[test]
fn metrics_dropped_packets_reports_and_neighbours_go_by_their_own_times() {
    let mut bed = Bed::new();
    bed.finish();
    let mut options = options(&bed.path);
    options.retention.client_receptions = Some(days(3));
    let mut bed = Bed::with_options(options, START_MS);
    bed.store([packet(1, "A", 0)]);
    // In two hours it is 06:24:21: the second rows are a second younger than their age allows.
    let rows = "
        INSERT INTO observer_metrics (observer_id, timestamp) VALUES
          ('old', '2026-10-24T06:24:20Z'), ('young', '2026-10-24T06:24:21Z');
        INSERT INTO dropped_packets (reason, dropped_at) VALUES
          ('old', '2026-10-24 06:24:20'), ('old too', '2026-10-24T06:24:20Z'),
          ('young', '2026-10-24 06:24:21'), ('younger', '2026-10-24T06:24:22Z');
        INSERT INTO neighbor_edges (node_a, node_b, last_seen) VALUES
          ('a', 'old', '2026-11-18T06:24:20Z'), ('a', 'young', '2026-11-18T06:24:21Z');
        INSERT INTO client_receptions (rx_pubkey, heard_key, heard_keylen, lat, lon, rx_at,
          ingested_at, src) VALUES
          ('old', 'k', 1, 0, 0, '2026-11-20T06:24:20Z', '', ''),
          ('young', 'k', 1, 0, 0, '2026-11-20T06:24:21Z', '', '');";
    look(&bed, START_MS + HOUR_MS);
    bed.other().execute_batch(rows).unwrap();
    look(&bed, START_MS + 2 * HOUR_MS);
    let all = "SELECT (SELECT group_concat(observer_id) FROM observer_metrics) || ' ' ||
        (SELECT group_concat(reason) FROM dropped_packets) || ' ' ||
        (SELECT group_concat(node_b) FROM neighbor_edges) || ' ' ||
        (SELECT group_concat(rx_pubkey) FROM client_receptions)";
    assert_eq!(bed.one::<String>(all), "young young,younger young young");
}

/// A store whose clock is judged.
fn judged(options: Options, now_ms: i64) -> Bed {
    let clock = Clock::by_hand(now_ms);
    Bed::with_clock(Options { trust: Trust::judge(clock.clone()), ..options }, clock)
}

const TEN_YEARS_MS: i64 = 3_650 * DAY_MS;

const TEN_MINUTES: Duration = Duration::from_secs(600);

#[test]
fn a_clock_that_jumps_ten_years_ahead_makes_nothing_old() {
    let mut bed = Bed::new();
    bed.finish();
    let mut month = month_of(&bed.path);
    month.retention.observers = Some(days(14));
    let mut bed = judged(month.clone(), START_MS);
    bed.store([advert(1, "k1", -DAY), packet(2, "OBS", -28 * DAY)]);
    bed.clock.run(TEN_MINUTES);
    let there = |bed: &Bed| {
        assert_eq!((bed.count("nodes"), bed.count("observations"), inactive(bed).len()), (1, 2, 0));
    };
    look(&bed, START_MS + TEN_YEARS_MS);
    there(&bed);
    // Nor while it stays there for hours.
    let rounds = bed.counters.retention_rounds.get();
    bed.clock.run(Duration::from_secs(5 * 3_600));
    eventually("a round", || (bed.counters.retention_rounds.get() > rounds).then_some(()));
    there(&bed);
    bed.finish();
    // Nor does a start with such a clock.
    let again = judged(month, START_MS + TEN_YEARS_MS);
    eventually("a round is over", || (again.counters.retention_rounds.get() > 0).then_some(()));
    again.clock.run(TEN_MINUTES);
    look(&again, again.clock.now_ms() + 2 * HOUR_MS);
    there(&again);
}

#[test]
fn what_a_clock_that_was_ahead_has_stored_is_dated_back_and_leaves_in_its_time() {
    let mut bed = Bed::new();
    bed.finish();
    let mut bed = judged(month_of(&bed.path), START_MS);
    // Ten years ahead for a while: a new packet, one that was known, a node, a status.
    let later = 10 * 365 * DAY;
    bed.store([packet(1, "A", 0), packet(2, "A", 0)]);
    bed.store([advert(3, "k1", later), packet(1, "A", later), packet(2, "B", later)]);
    bed.store([with(status("A", later, Activity::Status), |r| about(r).battery_mv = Some(3_700))]);
    let ahead = "SELECT
        (SELECT COUNT(*) FROM transmissions WHERE first_seen > '2030') * 1000000 +
        (SELECT COUNT(*) FROM observations WHERE timestamp > unixepoch('2030-01-01')) * 10000 +
        (SELECT COUNT(*) FROM nodes WHERE last_seen > '2030') * 1000 +
        (SELECT COUNT(*) FROM observers WHERE last_seen > '2030') * 100 +
        (SELECT COUNT(*) FROM meshbox_origins WHERE last_seen > '2030') * 10 +
        (SELECT COUNT(*) FROM observer_metrics WHERE timestamp > '2030')";
    assert_eq!(bed.one::<i64>(ahead), 1_021_331);
    // Right again and trusted.
    bed.clock.run(TEN_MINUTES);
    eventually("it is dated back", || (bed.one::<i64>(ahead) == 0).then_some(()));
    assert_eq!((bed.count("observations"), dangling(&bed)), (4, 0));
    // What came meanwhile has come now.
    let seen: String = bed.one("SELECT last_seen FROM nodes");
    assert_eq!(seen, "2026-11-23T04:34:21Z");
    // A packet that was known is not held to have been heard in ten years.
    bed.store([packet(9, "A", 40 * DAY)]);
    bed.clock.run(Duration::from_secs(40 * 86_400));
    eventually("the old ones have left", || (bed.count("transmissions") == 1).then_some(()));
    assert_eq!((bed.count("observations"), dangling(&bed)), (1, 0));
}

#[test]
fn a_clock_that_is_not_trusted_brings_no_time_back() {
    let mut bed = Bed::new();
    bed.store([advert(1, "k1", 0)]);
    bed.finish();
    // It may be this clock that is wrong.
    let mut bed = judged(options(&bed.path), START_MS - 20 * DAY_MS);
    bed.store([advert(2, "k1", -20 * DAY)]);
    let seen = "SELECT (SELECT last_seen FROM observers) || ' ' || (SELECT last_seen FROM nodes)";
    assert_eq!(bed.one::<String>(seen), "2026-11-23T04:24:21Z 2026-11-23T04:24:21Z");
}

/// Packets of 2 KB each.
fn heavy(numbers: std::ops::Range<u64>, second: i64) -> impl Iterator<Item = Record> {
    numbers.map(move |n| with(packet(n, "A", second), |r| row(r).decoded_json = "x".repeat(2_000)))
}

#[test]
fn pages_that_became_free_go_back_to_the_file_system() {
    let mut bed = month();
    bed.store(heavy(0..500, 60 - 30 * DAY));
    bed.store(heavy(500..510, 0));
    let pages = bed.one::<i64>("PRAGMA page_count");
    look(&bed, START_MS + HOUR_MS);
    assert_eq!(bed.count("transmissions"), 10);
    let (left, free) =
        (bed.one::<i64>("PRAGMA page_count"), bed.one::<i64>("PRAGMA freelist_count"));
    assert!(left < pages / 2 && free == 0, "{pages} pages, now {left}, {free} of them free");
}

#[test]
fn beyond_the_size_the_oldest_packets_go() {
    let mut bed = Bed::new();
    bed.finish();
    let mut options = options(&bed.path);
    options.retention.max_db_bytes = Some(2 << 20);
    let mut bed = Bed::with_options(options, START_MS);
    bed.store([packet(9_999, "A", 0)]);
    look(&bed, START_MS + HOUR_MS);
    bed.store(heavy(0..2_000, 0));
    bed.store(heavy(2_000..2_100, 100));
    look(&bed, START_MS + 2 * HOUR_MS);
    let used = "SELECT (page_count - freelist_count) * page_size
        FROM pragma_page_count, pragma_freelist_count, pragma_page_size";
    let (used, left) = (bed.one::<i64>(used), bed.count("transmissions"));
    assert!(used <= 2 << 20 && left > 200, "{used} bytes, {left} packets");
    let new = "SELECT COUNT(*) FROM transmissions WHERE hash >= '00000000000007d0'";
    // The very first one was as old as the old ones.
    assert_eq!((bed.one::<i64>(new), dangling(&bed)), (100, 0));
}

/// A store of at most 2 MiB.
fn small() -> Bed {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(&dir.path().join("meshcore.db"));
    options.retention.max_db_bytes = Some(2 << 20);
    let mut bed = Bed::with_options(options, START_MS);
    bed._dir = Some(dir);
    bed
}

#[test]
fn beyond_the_size_dropped_packets_go_before_packets() {
    let mut bed = small();
    look(&bed, START_MS + HOUR_MS);
    bed.store(heavy(0..100, 0));
    let forged = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1900)
        INSERT INTO dropped_packets (raw_hex, reason, dropped_at)
        SELECT hex(zeroblob(500)), 'invalid signature', '2026-11-23 04:24:21' FROM n";
    bed.other().execute_batch(forged).unwrap();
    look(&bed, START_MS + 2 * HOUR_MS);
    let left = bed.count("dropped_packets");
    assert!((1..1_900).contains(&left), "{left}");
    assert_eq!(bed.count("transmissions"), 100);
}

#[test]
fn beyond_the_size_no_packet_goes_for_what_another_table_takes() {
    let mut bed = small();
    look(&bed, START_MS + HOUR_MS);
    bed.store(heavy(0..100, 0));
    bed.other()
        .execute_batch(
            "CREATE TABLE somebody_elses (blob);
             INSERT INTO somebody_elses VALUES (zeroblob(1500000)), (zeroblob(1500000))",
        )
        .unwrap();
    look(&bed, START_MS + 2 * HOUR_MS);
    assert_eq!((bed.count("transmissions"), bed.counters.write_errors.get()), (100, 0));
    // As soon as it is packets again.
    bed.other().execute_batch("DROP TABLE somebody_elses").unwrap();
    bed.store(heavy(100..1_000, 0));
    look(&bed, START_MS + 3 * HOUR_MS);
    assert!(bed.count("transmissions") < 900);
    // Those that came first.
    assert_eq!(bed.one::<i64>("SELECT COUNT(*) FROM transmissions WHERE id < 100"), 0);
}

#[test]
fn by_size_the_first_to_come_go_first_whatever_the_clock_said() {
    let mut bed = small();
    look(&bed, START_MS + HOUR_MS);
    bed.store(heavy(0..100, 3_650 * DAY));
    bed.store(heavy(100..1_000, -3_650 * DAY));
    look(&bed, START_MS + 2 * HOUR_MS);
    assert_eq!(bed.one::<i64>("SELECT COUNT(*) FROM transmissions WHERE id <= 100"), 0);
    assert!(bed.count("transmissions") > 200);
}

#[test]
fn a_file_that_cannot_give_back_space_is_rewritten_at_the_start_if_that_is_asked_for() {
    let mut bed = Bed::new();
    bed.store(heavy(0..500, 0));
    bed.finish();
    let other = bed.other();
    other
        .execute_batch(
            "PRAGMA journal_mode = DELETE; PRAGMA auto_vacuum = NONE; VACUUM;
             DELETE FROM observations WHERE id > 100; DELETE FROM transmissions WHERE id > 100;",
        )
        .unwrap();
    drop(other);
    let size = || std::fs::metadata(&bed.path).unwrap().len();
    let large = size();
    let mut left_alone = Bed::on(&bed.path);
    assert_eq!(left_alone.one::<i64>("PRAGMA auto_vacuum"), 0);
    left_alone.finish();
    assert_eq!(size(), large);
    let mut options = options(&bed.path);
    options.retention.vacuum_on_startup = true;
    let mut again = Bed::with_options(options.clone(), START_MS);
    assert_eq!(again.one::<i64>("PRAGMA auto_vacuum"), 2);
    assert!(size() < large / 2, "{large} bytes, now {}", size());
    again.store([packet(100_000, "A", 1)]);
    again.finish();
    assert_eq!(again.one::<String>("PRAGMA integrity_check"), "ok");
    assert_eq!(again.count("transmissions"), 101);
}
