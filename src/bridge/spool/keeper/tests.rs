//! The spool with a real file.

use super::*;
use bytes::Bytes;

const LIMIT: usize = 1_000;

fn plan(dir: &Path, bytes: u64) -> Plan {
    let bounds = Bounds { bytes, age: Duration::from_secs(3_600) };
    Plan { path: dir.join("spool.db"), lanes: vec![("a".into(), bounds), ("b".into(), bounds)] }
}

fn entry(text: &str, at_ms: i64) -> Entry {
    let payload = Bytes::copy_from_slice(text.as_bytes());
    Entry { number: 0, topic: "t".into(), payload, retain: false, at_ms }
}

fn texts(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|e| String::from_utf8(e.payload.to_vec()).unwrap()).collect()
}

/// Starts, does something with the lanes, ends.
async fn session<T>(plan: Plan, clock: Clock, work: impl AsyncFnOnce(&[Lane], &Keeper) -> T) -> T {
    let (keeper, lanes) = Keeper::start(plan, clock).unwrap();
    let result = work(&lanes, &keeper).await;
    drop(lanes);
    tokio::task::spawn_blocking(|| keeper.join()).await.unwrap();
    result
}

async fn fill(lane: &Lane, count: usize) {
    for n in 0..count {
        lane.append(entry(&n.to_string(), 5)).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_back_in_order_after_a_restart_and_what_is_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let plan = || plan(dir.path(), 1 << 20);
    session(plan(), Clock::by_hand(10), async |lanes: &[Lane], _: &Keeper| {
        fill(&lanes[0], 10).await;
        fill(&lanes[1], 1).await;
        let first = lanes[0].next(0, 4).await.unwrap();
        assert_eq!(texts(&first), ["0", "1", "2", "3"]);
        lanes[0].done(first.iter().map(|e| e.number).collect()).await.unwrap();
        assert_eq!(texts(&lanes[0].next(4, 2).await.unwrap()), ["4", "5"]);
    })
    .await;
    session(plan(), Clock::by_hand(10), async |lanes: &[Lane], keeper: &Keeper| {
        let rest = lanes[0].next(0, LIMIT).await.unwrap();
        assert_eq!(texts(&rest), ["4", "5", "6", "7", "8", "9"]);
        assert_eq!(keeper.depths()[0].messages, 6);
        // New ones follow the old ones.
        lanes[0].append(entry("new", 6)).await.unwrap();
        let last = rest.last().unwrap().number;
        assert_eq!(texts(&lanes[0].next(last, LIMIT).await.unwrap()), ["new"]);
        assert_eq!(texts(&lanes[1].next(0, LIMIT).await.unwrap()), ["0"]);
        // Acknowledged in the file, and asked for from the start as after a reconnect.
        lanes[0].done(rest.iter().map(|e| e.number).collect()).await.unwrap();
        assert_eq!(texts(&lanes[0].next(0, 3).await.unwrap()), ["new"]);
    })
    .await;
}

#[tokio::test]
async fn what_is_acknowledged_at_once_never_touches_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(dir.path(), 1 << 20);
    let pages = |path: &Path| std::fs::metadata(path).unwrap().len();
    session(plan.clone(), Clock::by_hand(10), async |_: &[Lane], _: &Keeper| {}).await;
    let before = pages(&plan.path);
    session(plan.clone(), Clock::by_hand(10), async |lanes: &[Lane], _: &Keeper| {
        for n in 1..=2_000 {
            lanes[0].append(entry(&"x".repeat(500), 5)).await.unwrap();
            lanes[0].done(vec![n]).await.unwrap();
        }
    })
    .await;
    assert_eq!(pages(&plan.path), before);
}

#[tokio::test]
async fn the_oldest_go_first_when_there_are_too_many_bytes_or_they_are_too_old_and_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let small = || plan(dir.path(), 10 * (1 + 1 + OVERHEAD));
    session(small(), Clock::by_hand(10), async |lanes: &[Lane], _: &Keeper| {
        fill(&lanes[0], 10).await;
        lanes[0].append(entry("x", 3_000_000)).await.unwrap();
        lanes[0].append(entry("y", 3_000_000)).await.unwrap();
    })
    .await;
    session(small(), Clock::by_hand(20), async |lanes: &[Lane], keeper: &Keeper| {
        assert_eq!(keeper.depths()[0].messages, 10);
        assert_eq!(texts(&lanes[0].next(0, 2).await.unwrap()), ["2", "3"]);
    })
    .await;
    // An hour after the first ones came.
    session(small(), Clock::by_hand(3_600_020), async |_: &[Lane], _: &Keeper| {}).await;
    session(small(), Clock::by_hand(3_600_020), async |lanes: &[Lane], _: &Keeper| {
        assert_eq!(texts(&lanes[0].next(0, LIMIT).await.unwrap()), ["x", "y"]);
    })
    .await;
}

#[tokio::test]
async fn a_message_that_is_set_aside_is_kept_with_its_reason_and_passed_on_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(dir.path(), 1 << 20);
    session(plan.clone(), Clock::by_hand(10), async |lanes: &[Lane], keeper: &Keeper| {
        fill(&lanes[0], 3).await;
        lanes[0].set_aside(2, "closed three times".into()).await.unwrap();
        assert_eq!(texts(&lanes[0].next(0, LIMIT).await.unwrap()), ["0", "2"]);
        assert_eq!(keeper.depths()[0].set_aside, 1);
    })
    .await;
    let conn = rusqlite::Connection::open(&plan.path).unwrap();
    let kept: (String, String, Vec<u8>, String) = conn
        .query_row("SELECT lane, topic, payload, reason FROM set_aside", [], |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?))
        })
        .unwrap();
    assert_eq!(kept, ("a".into(), "t".into(), b"1".to_vec(), "closed three times".into()));
}

#[tokio::test]
async fn a_damaged_file_is_moved_aside_and_a_newer_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(dir.path(), 1 << 20);
    std::fs::write(&plan.path, vec![b'x'; 10_000]).unwrap();
    session(plan.clone(), Clock::by_hand(7), async |lanes: &[Lane], _: &Keeper| {
        fill(&lanes[0], 1).await;
    })
    .await;
    assert_eq!(std::fs::read(dir.path().join("spool.db.damaged-7")).unwrap().len(), 10_000);
    let conn = rusqlite::Connection::open(&plan.path).unwrap();
    conn.pragma_update(None, "user_version", 2).unwrap();
    drop(conn);
    let refused = Keeper::start(plan, Clock::by_hand(7)).unwrap_err().to_string();
    assert!(refused.ends_with("has version 2, this meshbox knows up to 1; update meshbox"));
}

#[tokio::test]
async fn a_file_that_cannot_be_written_loses_only_what_memory_does_not_hold() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(dir.path(), 64 << 20);
    session(plan.clone(), Clock::by_hand(10), async |lanes: &[Lane], keeper: &Keeper| {
        let other = rusqlite::Connection::open(&plan.path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut big = entry("", 5);
        big.payload = Bytes::from(vec![b'x'; 1 << 20]);
        for _ in 0..5 {
            lanes[0].append(big.clone()).await.unwrap();
        }
        assert_eq!(lanes[0].next(0, LIMIT).await.unwrap().len(), 3);
        assert_eq!(keeper.depths()[0].expired, 2);
        other.execute_batch("COMMIT").unwrap();
    })
    .await;
    session(plan.clone(), Clock::by_hand(10), async |_: &[Lane], keeper: &Keeper| {
        assert_eq!(keeper.depths()[0].messages, 3);
    })
    .await;
}
