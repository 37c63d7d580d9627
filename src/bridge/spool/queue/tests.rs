//! A lane in memory, with a file that is made up.

use super::*;
use bytes::Bytes;

const MS: Duration = Duration::from_millis(1);

fn queue(room: u64) -> Queue {
    let bounds = Bounds { bytes: 1 << 30, age: Duration::from_secs(3_600) };
    Queue::new(("up".into(), bounds), (1, Stored::default(), None), room, 0)
}

fn entry(bytes: usize) -> Entry {
    let payload = Bytes::from(vec![b'x'; bytes]);
    Entry { number: 0, topic: "t".into(), payload, retain: false, at_ms: 5 }
}

/// Commits what is due.
fn write(queue: &mut Queue, now: Instant) -> (usize, usize) {
    let work = queue.work(now, false);
    let mut stored = queue.stored();
    stored.messages = stored.messages + work.insert.len() as u64 - work.remove.len() as u64;
    stored.last = work.insert.last().map_or(stored.last, |entry| entry.number);
    queue.apply(&work, &Changed { stored, expired: 0 });
    (work.insert.len(), work.remove.len())
}

#[test]
fn what_is_taken_and_acknowledged_in_time_is_never_due() {
    let (mut queue, start) = (queue(1 << 20), Instant::now());
    queue.append(entry(1), 7, start);
    assert_eq!(queue.due(), Some(start + UNTAKEN));
    assert!(matches!(queue.next(0, start + 50 * MS), Next::Entry(_)));
    assert_eq!(queue.due(), Some(start + 50 * MS + UNACKNOWLEDGED));
    assert_eq!(queue.depth().since_ms, Some(7));
    queue.done(1, start + 60 * MS);
    assert_eq!((queue.due(), queue.depth()), (None, Depth::default()));
}

#[test]
fn with_a_message_that_is_due_go_those_before_it_and_the_order_stays() {
    let (mut queue, start) = (queue(1 << 20), Instant::now());
    for _ in 0..3 {
        queue.append(entry(1), 7, start);
    }
    queue.next(0, start);
    queue.append(entry(1), 7, start + 90 * MS);
    // The first is taken, the second and third are not, the fourth has time.
    assert_eq!(write(&mut queue, start + UNTAKEN), (3, 0));
    assert_eq!(queue.next(0, start), Next::Stored);
    assert!(matches!(queue.next(3, start), Next::Entry(it) if it.number == 4));
    queue.done(2, start + UNTAKEN);
    assert_eq!(queue.due(), Some(start + UNTAKEN + GROUP));
    assert_eq!(write(&mut queue, start + UNTAKEN + GROUP), (0, 1));
    assert_eq!((queue.depth().messages, queue.depth().unwritten), (3, 1));
}

#[test]
fn what_is_acknowledged_while_it_is_being_written_leaves_the_file_again() {
    let (mut queue, start) = (queue(1 << 20), Instant::now());
    queue.append(entry(1), 7, start);
    let work = queue.work(start, true);
    queue.done(1, start);
    let stored = Stored { messages: 1, bytes: 42, last: 1 };
    queue.apply(&work, &Changed { stored, expired: 0 });
    assert_eq!((queue.depth().messages, queue.depth().since_ms), (0, None));
    assert_eq!(write(&mut queue, start + GROUP), (0, 1));
    assert_eq!(queue.due(), None);
}

#[test]
fn a_file_that_takes_nothing_costs_the_oldest_and_the_bound_holds() {
    let (mut queue, start) = (queue(10_000), Instant::now());
    for _ in 0..4 {
        queue.append(entry(3_000), 7, start);
    }
    assert_eq!((queue.depth().messages, queue.depth().lost), (3, 1));
    let hangs = queue.work(start, true);
    assert_eq!(hangs.insert.len(), 3);
    for _ in 0..4 {
        queue.append(entry(3_000), 7, start);
    }
    assert_eq!((queue.depth().messages, queue.depth().lost), (3, 5), "those may be written");
    queue.put_off();
    queue.append(entry(3_000), 7, start);
    assert_eq!((queue.depth().messages, queue.depth().lost), (3, 6));
    assert!(matches!(queue.next(0, start), Next::Entry(it) if it.number == 3));
}

#[test]
fn no_more_is_taken_from_the_file_than_may_come_again() {
    let (mut queue, start) = (queue(1 << 20), Instant::now());
    for _ in 0..2 * MANY {
        queue.append(entry(1), 7, start);
    }
    write(&mut queue, start + UNTAKEN);
    for number in 1..=MANY as u64 {
        assert_eq!(queue.next(number, start), Next::Stored);
        queue.done(number, start);
    }
    assert_eq!((queue.next(MANY as u64, start), queue.due()), (Next::Crowded, Some(start)));
    assert_eq!(write(&mut queue, start), (0, MANY));
    assert_eq!(queue.next(MANY as u64, start), Next::Stored);
}
