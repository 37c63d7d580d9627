//! What follows from records for observers and nodes: clocks, samples, counts.

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

#[test]
fn samples_follow_the_interval_that_is_set() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(&dir.path().join("meshcore.db"));
    let every_minute = Options { sample_interval: Duration::from_secs(60), ..options };
    let mut bed = Bed::with_options(every_minute, START_MS);
    let battery = |second, mv| {
        with(status("A", second, Activity::Status), |r| about(r).battery_mv = Some(mv))
    };
    bed.store([battery(0, 1), battery(5, 2), battery(60, 3)]);
    bed.store([battery(68, 4), battery(200, 5)]);
    let all: String =
        bed.one("SELECT json_group_array(json_array(timestamp, battery_mv)) FROM observer_metrics");
    assert_eq!(
        all,
        r#"[["2026-11-23T04:24:00Z",2],["2026-11-23T04:25:00Z",4],["2026-11-23T04:28:00Z",5]]"#
    );
}

#[test]
fn a_packet_makes_an_inactive_observer_active_again() {
    let mut bed = Bed::new();
    bed.store([packet(1, "A", 0), packet(1, "B", 0)]);
    bed.other().execute("UPDATE observers SET inactive = 1", []).unwrap();
    bed.store([packet(2, "A", 1), dropped("B", 2)]);
    let all: String = bed.one("SELECT group_concat(id || inactive) FROM observers");
    assert_eq!(all, "A0,B1");
}

#[test]
fn whether_an_observer_relays_is_what_it_said_last_and_unknown_until_it_says() {
    let mut bed = Bed::new();
    let relays = "SELECT json_array(can_relay, can_relay_seen) FROM observers";
    let says = |second, relays| {
        with(status("A", second, Activity::Status), |r| about(r).can_relay = relays)
    };
    for (said, kept) in [(None, "[1,0]"), (Some(false), "[0,1]"), (None, "[0,1]")] {
        bed.store([says(0, said)]);
        assert_eq!(bed.one::<String>(relays), kept, "{said:?}");
    }
    bed.store([says(1, Some(true)), says(2, None)]);
    assert_eq!(bed.one::<String>(relays), "[1,1]");
}

#[test]
fn an_advert_is_counted_once_a_transmission_over_batches_observers_and_restarts() {
    let mut bed = Bed::new();
    let by = |number, by: &str, second| {
        with(advert(number, "k1", second), |r| r.observer.as_mut().unwrap().id = by.into())
    };
    bed.store([by(1, "A", 0), by(1, "B", 0)]);
    bed.store([by(1, "C", 1), by(2, "A", 2)]);
    bed.finish();
    let mut again = Bed::on(&bed.path);
    again.store([by(2, "C", 3), by(1, "D", 4)]);
    let all: String = again.one("SELECT json_array(advert_count, last_seen) FROM nodes");
    assert_eq!(all, r#"[2,"2026-11-23T04:24:25Z"]"#);
}
