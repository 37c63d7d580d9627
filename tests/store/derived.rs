//! What follows from records and is kept beside them: clocks, samples, neighbours.

use super::*;

/// Packet of this number by `A`, whose clock is so far ahead.
fn strayed(number: u64, second: i64, skew_seconds: i64) -> Record {
    with(packet(number, "A", second), |r| {
        r.observer.as_mut().unwrap().skew_seconds = Some(skew_seconds);
    })
}

const CLOCK: &str = "SELECT json_array(clock_skew_seconds, clock_skew_count_24h,
    clock_last_naive_at) FROM observers";

const DAY: i64 = DAY_MS / 1_000;

#[test]
fn a_wrong_clock_is_kept_with_its_observer_and_counted_by_packets_and_statuses() {
    let mut bed = Bed::patient(Duration::from_millis(200));
    bed.store([packet(1, "A", 0)]);
    assert_eq!(bed.one::<String>(CLOCK), "[null,0,null]");
    bed.clock.set(START_MS + DAY_MS);
    bed.store([
        strayed(2, 1, -25_200),
        with(status("A", 2, Activity::Status), |r| {
            r.observer.as_mut().unwrap().skew_seconds = Some(-25_205);
        }),
        packet(3, "A", 3),
    ]);
    assert_eq!(bed.one::<String>(CLOCK), r#"[-25205,2,"2026-11-23T04:24:23Z"]"#);
    bed.store([strayed(4, 60, 7_200)]);
    assert_eq!(bed.one::<String>(CLOCK), r#"[7200,3,"2026-11-23T04:25:21Z"]"#);
    assert_eq!(bed.one::<i64>("SELECT packet_count FROM observers"), 5);
}

#[test]
fn wrong_clocks_are_counted_anew_after_a_day_without_one() {
    let mut bed = Bed::patient(Duration::from_millis(200));
    bed.clock.set(START_MS + 30 * DAY_MS);
    bed.store([strayed(1, 0, 900), strayed(2, 1, 901)]);
    bed.store([strayed(3, 1 + DAY, 902)]);
    assert_eq!(bed.one::<String>(CLOCK), r#"[902,3,"2026-11-24T04:24:22Z"]"#);
    bed.store([strayed(4, 2 + 2 * DAY, 903)]);
    assert_eq!(bed.one::<String>(CLOCK), r#"[903,1,"2026-11-25T04:24:23Z"]"#);
    // Within one batch as well, as a replay has them.
    let commits = bed.counters.commits.get();
    bed.store([strayed(5, 3 + 2 * DAY, 904), strayed(6, 4 + 3 * DAY, 905)]);
    assert_eq!(bed.counters.commits.get(), commits + 1);
    assert_eq!(bed.one::<String>(CLOCK), r#"[905,1,"2026-11-26T04:24:25Z"]"#);
}

#[test]
fn a_wrong_clock_seen_in_the_future_is_brought_back() {
    let mut bed = Bed::new();
    bed.store([strayed(1, 0, 900)]);
    let ahead = "UPDATE observers SET clock_last_naive_at = '2036-01-01T00:00:00Z'";
    bed.other().execute(ahead, []).unwrap();
    bed.clock.set(START_MS + 10_000);
    bed.store([strayed(2, 10, 900)]);
    assert_eq!(bed.one::<String>(CLOCK), r#"[900,2,"2026-11-23T04:24:31Z"]"#);
}

#[test]
fn what_is_no_activity_says_nothing_of_a_clock() {
    let mut bed = Bed::new();
    bed.store([packet(1, "A", 0)]);
    bed.store([with(status("A", 1, Activity::None), |r| {
        r.observer.as_mut().unwrap().skew_seconds = Some(900);
    })]);
    assert_eq!(bed.one::<String>(CLOCK), "[null,0,null]");
}
