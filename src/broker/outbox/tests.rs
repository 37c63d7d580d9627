//! Many queues together.

use super::*;
use crate::broker::frame::Properties;
use crate::broker::grant::Grant;
use crate::broker::identity::{Author, ObserverKey};
use bytes::Bytes;
use rumqttc::mqttbytes::QoS;
use std::num::NonZeroU32;

const TOPIC: &str = "meshcore/x";

const ONCE: Grant =
    Grant { qos: QoS::AtLeastOnce, no_local: false, retain_as_published: false, id: None };

fn outboxes(messages: usize, bytes: usize) -> Outboxes {
    let limits = config::Sessions { messages, bytes, keep: Duration::from_secs(3_600) };
    Outboxes::new(limits, Arc::default())
}

fn account(name: &str) -> Identity {
    Identity::Account(name.into())
}

fn key(name: &str, id: &str) -> Key {
    (account(name), id.to_owned())
}

fn offer(all: &Outboxes, n: u32) -> (bool, u64) {
    let mut lost = 0;
    let payload = Bytes::from(n.to_string());
    let stored = all.offer(&Copy::ours(TOPIC, &payload, i64::from(n)), &mut lost);
    (stored, lost)
}

fn drained(outbox: &Outbox) -> Vec<(String, u16, bool)> {
    let mut out = Vec::new();
    outbox.drain(0, |o| {
        out.push((String::from_utf8(o.item.payload.to_vec()).unwrap(), o.pkid, o.dup));
        true
    });
    out
}

fn states(all: &Outboxes) -> Vec<QueueState> {
    all.states().into_values().collect()
}

#[test]
fn a_copy_comes_once_however_many_filters_match_it() {
    let all = outboxes(10, 1 << 20);
    let outbox = all.open(account("a"), "x".into());
    assert_eq!(offer(&all, 0), (false, 0), "nobody has subscribed");
    outbox.subscribe("meshcore/#", ONCE);
    outbox.subscribe(TOPIC, ONCE);
    assert_eq!(offer(&all, 1), (false, 0), "not kept: nothing has to be stored");
    assert_eq!(drained(&outbox), [("1".to_owned(), 1, false)]);
    outbox.unsubscribe("meshcore/#");
    outbox.subscribe(TOPIC, Grant::plain(QoS::AtMostOnce));
    offer(&all, 2);
    assert!(drained(&outbox).is_empty(), "QoS 0 is the router's");
    drop(outbox);
    assert!(states(&all).is_empty());
    assert_eq!(all.0.filters.load(Ordering::Relaxed), 0);
}

#[test]
fn a_kept_session_has_its_subscriptions_and_what_came_while_it_was_away() {
    let all = outboxes(10, 1 << 20);
    let (first, present) = all.resume(&key("a", "x"), None, 0).unwrap();
    assert!(!present);
    first.subscribe("meshcore/#", ONCE);
    offer(&all, 1);
    assert_eq!(drained(&first), [("1".to_owned(), 1, false)]);
    first.leave(10);
    assert_eq!(offer(&all, 2), (true, 0));
    let (second, present) = all.resume(&key("a", "x"), None, 20).unwrap();
    assert!(present);
    assert_eq!(second.filters(), [("meshcore/#".to_owned(), ONCE)]);
    let expected = [("1".to_owned(), 1, true), ("2".to_owned(), 2, false)];
    assert_eq!(drained(&second), expected);
    assert!(second.acknowledge(1) && second.acknowledge(2));
    // Another client id, and another account, are other sessions.
    assert!(!all.resume(&key("a", "y"), None, 0).unwrap().1);
    assert!(!all.resume(&key("b", "x"), None, 0).unwrap().1);
    second.leave(30);
    all.discard(&key("a", "x"));
    assert!(!all.resume(&key("a", "x"), None, 40).unwrap().1);
}

#[test]
fn the_connection_that_was_taken_over_has_no_hand_in_the_session_any_more() {
    let all = outboxes(10, 1 << 20);
    let (old, _) = all.resume(&key("a", "x"), None, 0).unwrap();
    old.subscribe("meshcore/#", ONCE);
    let (new, present) = all.resume(&key("a", "x"), None, 0).unwrap();
    assert!(present);
    offer(&all, 1);
    assert!(drained(&old).is_empty());
    assert!(!old.acknowledge(1));
    old.leave(5);
    drop(old);
    let state = &states(&all)[0];
    assert_eq!((state.connected, state.away_since_ms, state.messages), (true, None, 1));
    assert_eq!(drained(&new).len(), 1);
}

#[test]
fn the_sessions_of_one_account_end_held_or_not_and_those_of_others_stay() {
    let all = outboxes(10, 1 << 20);
    let [held, away, other] = [("a", "x"), ("a", "y"), ("b", "x")].map(|(name, id)| {
        let (outbox, _) = all.resume(&key(name, id), None, 0).unwrap();
        outbox.subscribe("meshcore/#", ONCE);
        outbox
    });
    away.leave(0);
    offer(&all, 1);
    all.dismiss(&account("a"));
    assert_eq!(all.accounts(), ["b".into()]);
    assert!(drained(&held).is_empty());
    held.leave(1);
    assert_eq!((states(&all).len(), drained(&other).len()), (1, 1));
    let ended = all.changes(1).sessions.iter().filter(|(_, kept)| kept.is_none()).count();
    assert_eq!(ended, 2, "the file forgets them, too");
    assert_eq!(all.0.filters.load(Ordering::Relaxed), 1);
}

#[test]
fn what_is_away_for_too_long_ends() {
    let all = outboxes(10, 1 << 20);
    let (outbox, _) = all.resume(&key("a", "x"), None, 0).unwrap();
    outbox.subscribe("meshcore/#", ONCE);
    let (soon, _) = all.resume(&key("a", "soon"), Some(Duration::from_secs(1)), 0).unwrap();
    outbox.leave(0);
    soon.leave(0);
    assert_eq!(all.changes(1_001).sessions.iter().filter(|(_, kept)| kept.is_some()).count(), 1);
    let [state] = &states(&all)[..] else { panic!("{:?}", states(&all)) };
    let hour = Some(3_600_000);
    assert_eq!((state.connected, state.away_since_ms, state.kept_until_ms), (false, Some(0), hour));
    all.changes(3_600_001);
    assert!(states(&all).is_empty());
    assert_eq!(all.0.filters.load(Ordering::Relaxed), 0);
}

#[test]
fn many_slow_subscribers_stay_within_the_bytes_of_all_and_the_largest_gives_way() {
    let all = outboxes(10_000, 64 * 1024);
    let slow: Vec<_> = (0..50)
        .map(|n| {
            let outbox = all.open(account("slow"), n.to_string());
            outbox.subscribe("meshcore/#", ONCE);
            outbox
        })
        .collect();
    let mut lost_in_all = 0;
    for n in 0..2_000 {
        lost_in_all += offer(&all, n).1;
        assert!(all.table().bytes <= 64 * 1024);
    }
    let sum: u64 = states(&all).iter().map(|s| s.bytes).sum();
    assert_eq!(sum, all.table().bytes as u64);
    let (kept, lost): (u64, u64) =
        states(&all).iter().fold((0, 0), |(k, l), s| (k + s.messages, l + s.lost));
    assert_eq!(lost, lost_in_all);
    assert_eq!(kept + lost, 50 * 2_000);
    // Nobody is starved by the others.
    assert!(states(&all).iter().all(|s| s.messages >= 3), "{:?}", states(&all));
    drop(slow);
    assert_eq!(all.table().bytes, 0);
}

#[test]
fn the_number_of_sessions_is_bounded_for_all_and_for_each_account() {
    let all = outboxes(10, 1 << 20);
    for n in 0..MAX_KEPT.1 {
        assert!(all.resume(&key("a", &n.to_string()), None, 0).is_some());
    }
    assert!(all.resume(&key("a", "one more"), None, 0).is_none());
    assert!(all.resume(&key("a", "3"), None, 0).is_some(), "it is there");
    for n in MAX_KEPT.1..MAX_KEPT.0 {
        assert!(all.resume(&key(&format!("b{n}"), "x"), None, 0).is_some());
    }
    assert!(all.resume(&key("c", "x"), None, 0).is_none());
}

#[test]
fn keys_that_anybody_can_make_leave_room_for_the_sessions_of_accounts() {
    let all = outboxes(10, 1 << 20);
    let by_token = |n: u8| (Identity::Observer(ObserverKey([n; 32])), "x".to_owned());
    let kept = (0..=250).filter(|n| all.resume(&by_token(*n), None, 0).is_some()).count();
    assert_eq!(kept, MAX_KEPT.0 / 2);
    assert!(all.resume(&by_token(3), None, 0).is_some(), "it is there");
    assert!(all.resume(&key("home", "x"), None, 0).is_some());
}

#[test]
fn what_the_file_had_comes_back() {
    let all = outboxes(10, 1 << 20);
    let (outbox, _) = all.resume(&key("a", "x"), None, 0).unwrap();
    outbox.subscribe("meshcore/#", ONCE);
    offer(&all, 1);
    offer(&all, 2);
    let Changes { sessions, queued, taken } = all.changes(3);
    assert!(taken.is_empty());
    let (id, kept) = sessions[0].clone();
    let again = outboxes(10, 1 << 20);
    again.restore(id, kept.unwrap(), queued.into_iter().map(|(_, s, i)| (s, i)).collect(), 100);
    let (outbox, present) = again.resume(&key("a", "x"), None, 200).unwrap();
    assert!(present);
    assert_eq!(drained(&outbox).len(), 2);
    offer(&again, 3);
    assert_eq!(drained(&outbox), [("3".to_owned(), 3, false)]);
    // What is already there is newer than the file.
    let stale = Kept {
        key: key("a", "x"),
        filters: BTreeMap::new(),
        away_since_ms: None,
        keep: Duration::ZERO,
    };
    again.restore(id, stale, Vec::new(), 300);
    assert_eq!(outbox.filters().len(), 1);
}

#[test]
fn a_copy_has_the_marks_of_all_its_subscriptions_and_what_its_publisher_said() {
    let all = outboxes(10, 1 << 20);
    let outbox = all.open(account("a"), "x".into());
    let id = NonZeroU32::new;
    outbox.subscribe("meshcore/#", Grant { id: id(7), ..ONCE });
    outbox.subscribe(TOPIC, Grant { id: id(9), retain_as_published: true, ..ONCE });
    outbox.subscribe("other", Grant { id: id(11), ..ONCE });
    let said = Arc::new(Properties { passed_on: Box::from(*b"x"), expiry_s: Some(5) });
    let payload = Bytes::from_static(b"1");
    for retain in [true, false] {
        let copy = Copy { said: Some(&said), retain, ..Copy::ours(TOPIC, &payload, 1) };
        all.offer(&copy, &mut 0);
    }
    let mut items = Vec::new();
    outbox.drain(1, |o| {
        items.push(o.item);
        true
    });
    assert_eq!(items.iter().map(|item| item.retain).collect::<Vec<_>>(), [true, false]);
    assert_eq!(items[0].subscriptions, [7, 9].map(|n| id(n).unwrap()));
    assert_eq!(items[0].said, Some(said));
}

#[test]
fn a_client_that_wants_nothing_of_its_own_gets_what_others_say() {
    let all = outboxes(10, 1 << 20);
    let outbox = all.open(account("a"), "x".into());
    outbox.subscribe("meshcore/#", Grant { no_local: true, ..ONCE });
    let payload = Bytes::from_static(b"1");
    let offer = |author| all.offer(&Copy { author, ..Copy::ours(TOPIC, &payload, 1) }, &mut 0);
    offer(Author::of(&account("a"), "x"));
    assert!(drained(&outbox).is_empty());
    offer(Author::of(&account("a"), "y"));
    offer(Author::of(&account("b"), "x"));
    assert_eq!(drained(&outbox).len(), 2);
    // By another filter it does.
    outbox.subscribe(TOPIC, ONCE);
    offer(Author::of(&account("a"), "x"));
    assert_eq!(drained(&outbox).len(), 1);
}
