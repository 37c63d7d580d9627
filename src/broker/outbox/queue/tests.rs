//! One queue alone.

use super::*;

const ROOMY: Bounds = Bounds { messages: 1_000, bytes: 1 << 20 };

fn item(n: u32, qos: QoS) -> Item {
    let payload = Bytes::from(n.to_string());
    let at_ms = i64::from(n);
    Item { qos, ..Item::of(&Copy::ours("t", &payload, at_ms)) }
}

fn filled(range: std::ops::Range<u32>, bounds: Bounds) -> (Queue, u64) {
    let mut queue = Queue::default();
    let lost = range.map(|n| queue.push(item(n, QoS::AtLeastOnce), bounds)).sum();
    (queue, lost)
}

fn sent(queue: &mut Queue) -> Vec<(String, u16, bool)> {
    let next = std::iter::from_fn(|| queue.next(0));
    next.map(|o| (String::from_utf8(o.item.payload.to_vec()).unwrap(), o.pkid, o.dup)).collect()
}

#[test]
fn the_window_is_bounded_and_an_acknowledgement_opens_it() {
    let (mut queue, _) = filled(0..100, ROOMY);
    let first = sent(&mut queue);
    assert_eq!(first.len(), WINDOW);
    assert_eq!(first[0], ("0".to_owned(), 1, false));
    assert!(queue.acknowledge(1));
    assert!(!queue.acknowledge(1), "twice");
    assert!(!queue.acknowledge(999), "never sent");
    assert_eq!(sent(&mut queue), [(WINDOW.to_string(), 33, false)]);
}

#[test]
fn what_was_not_acknowledged_is_sent_again_first_with_its_packet_id_and_dup() {
    let (mut queue, _) = filled(0..3, ROOMY);
    sent(&mut queue);
    queue.acknowledge(2);
    queue.push(item(3, QoS::AtLeastOnce), ROOMY);
    queue.resume();
    assert!(!queue.acknowledge(1), "not sent on this connection yet");
    let expected = [("0", 1, true), ("2", 3, true), ("3", 4, false)];
    assert_eq!(sent(&mut queue), expected.map(|(p, id, dup)| (p.to_owned(), id, dup)));
}

#[test]
fn a_client_that_takes_fewer_gets_no_more_whether_new_or_again() {
    let (mut queue, _) = filled(0..6, ROOMY);
    assert_eq!(sent(&mut queue).len(), 6);
    queue.resume();
    queue.narrow(2);
    queue.push(item(6, QoS::AtLeastOnce), ROOMY);
    let ids = |queue: &mut Queue| sent(queue).iter().map(|s| s.1).collect::<Vec<_>>();
    assert_eq!(ids(&mut queue), [1, 2]);
    queue.acknowledge(1);
    assert_eq!(ids(&mut queue), [3]);
    for pkid in 2..6 {
        assert!(queue.acknowledge(pkid));
        // The new one, too, once those that were sent before leave room for it.
        assert_eq!(ids(&mut queue), [pkid + 2]);
    }
}

#[test]
fn a_packet_id_in_use_is_not_given_again_and_none_is_zero() {
    let (mut queue, _) = filled(0..1, ROOMY);
    assert_eq!(sent(&mut queue)[0].1, 1);
    for n in 0..70_000 {
        queue.push(item(n, QoS::AtLeastOnce), ROOMY);
        let pkid = queue.next(0).unwrap().pkid;
        assert!(pkid > 1, "{pkid}");
        assert!(queue.acknowledge(pkid));
    }
}

#[test]
fn qos_0_keeps_its_place_and_needs_no_window() {
    let (mut queue, _) = filled(0..32, ROOMY);
    queue.push(item(500, QoS::AtMostOnce), ROOMY);
    queue.push(item(501, QoS::AtLeastOnce), ROOMY);
    queue.push(item(502, QoS::AtMostOnce), ROOMY);
    let out = sent(&mut queue);
    assert_eq!(out.last().unwrap(), &("500".to_owned(), 0, false));
    queue.acknowledge(1);
    let rest: Vec<_> = sent(&mut queue).into_iter().map(|(p, ..)| p).collect();
    assert_eq!(rest, ["501", "502"]);
}

#[test]
fn a_full_queue_loses_its_oldest_and_counts_them() {
    let bounds = Bounds { messages: 50, ..ROOMY };
    let (mut queue, lost) = filled(0..120, bounds);
    assert_eq!((lost, queue.len()), (70, 50));
    assert_eq!(sent(&mut queue)[0].0, "70");
    let small = Bounds { bytes: 1_000, ..ROOMY };
    let (queue, lost) = filled(0..100, small);
    assert!(queue.bytes() <= 1_000 && lost == 100 - queue.len() as u64);
    // What is larger than all the room is itself what goes.
    let mut queue = Queue::default();
    let huge = Item { payload: vec![0; 2_000].into(), ..item(1, QoS::AtLeastOnce) };
    assert_eq!((queue.push(huge, small), queue.len(), queue.bytes()), (1, 0, 0));
}

#[test]
fn what_is_sent_is_never_lost_to_newer_copies() {
    let bounds = Bounds { messages: WINDOW, ..ROOMY };
    let (mut queue, _) = filled(0..32, bounds);
    sent(&mut queue);
    assert_eq!(queue.push(item(99, QoS::AtLeastOnce), bounds), 1);
    queue.resume();
    assert_eq!(sent(&mut queue).len(), WINDOW);
}

#[test]
fn what_waits_too_long_expires() {
    let (mut queue, _) = filled(0..10, ROOMY);
    assert_eq!(queue.expire(4, 0), 4);
    assert_eq!(sent(&mut queue)[0].0, "4");
}

#[test]
fn the_file_hears_only_of_what_is_still_there() {
    let (mut queue, _) = filled(0..3, ROOMY);
    sent(&mut queue);
    queue.acknowledge(1);
    let (new, taken) = queue.news();
    assert_eq!(new.iter().map(|(s, _)| *s).collect::<Vec<_>>(), [2, 3]);
    assert!(taken.is_empty(), "the first one came and went");
    queue.acknowledge(2);
    queue.push(item(9, QoS::AtMostOnce), ROOMY);
    assert!(queue.has_news());
    let (new, taken) = queue.news();
    assert_eq!((new[0].0, taken), (4, vec![2]));
    assert!(!queue.has_news());
    assert_eq!(queue.everything().len(), 2);
}

#[test]
fn what_the_file_had_comes_back_in_order() {
    let mut queue = Queue::default();
    queue.restore(7, item(1, QoS::AtLeastOnce));
    queue.restore(9, item(2, QoS::AtLeastOnce));
    assert!(!queue.has_news());
    queue.push(item(3, QoS::AtLeastOnce), ROOMY);
    assert_eq!(queue.news().0[0].0, 10);
    assert_eq!(sent(&mut queue).iter().map(|s| s.0.as_str()).collect::<Vec<_>>(), ["1", "2", "3"]);
    queue.acknowledge(1);
    assert_eq!(queue.news().1, [7]);
}

#[test]
fn a_copy_sent_ahead_shares_the_window() {
    let (mut queue, _) = filled(0..5, ROOMY);
    assert_eq!(queue.send_first(item(50, QoS::AtLeastOnce)).unwrap().pkid, 1);
    assert_eq!(sent(&mut queue).len(), 5);
    while queue.send_first(item(51, QoS::AtLeastOnce)).is_some() {}
    assert_eq!(queue.len(), WINDOW);
    queue.resume();
    assert!(queue.send_first(item(52, QoS::AtLeastOnce)).is_none());
}

fn expiring(n: u32, expiry_s: u32) -> Item {
    let said = Properties { expiry_s: Some(expiry_s), ..Properties::default() };
    Item { said: Some(Arc::new(said)), ..item(n, QoS::AtLeastOnce) }
}

#[test]
fn what_means_nothing_any_more_is_not_sent_and_goes_from_the_middle_too() {
    let mut queue = Queue::default();
    for (n, expiry_s) in [(0, 10), (1, 1), (2, 5), (3, 2)] {
        queue.push(expiring(n, expiry_s), ROOMY);
    }
    queue.push(item(4, QoS::AtLeastOnce), ROOMY);
    queue.news();
    assert_eq!((queue.expire(0, 1_000), queue.take_expired()), (0, 0));
    assert_eq!((queue.expire(0, 2_500), queue.take_expired()), (0, 2));
    assert_eq!(queue.news().1, [2, 4], "the file hears of it");
    let whole: usize = queue.all().map(|(_, item)| cost(&item)).sum();
    assert_eq!(queue.bytes(), whole);
    // Without a look at what has expired it is seen when its turn comes.
    assert_eq!(queue.next(6_000).unwrap().item.at_ms, 0);
    assert_eq!(queue.next(6_000).unwrap().item.at_ms, 4);
    assert_eq!(queue.take_expired(), 1);
    // Its delivery had begun.
    queue.resume();
    assert_eq!(queue.next(60_000).unwrap().item.at_ms, 0);
}

#[test]
fn what_a_copy_costs_is_not_understated() {
    assert!(2 * size_of::<(u64, Item)>() <= OVERHEAD + 64);
    let bare = cost(&item(1, QoS::AtLeastOnce));
    let said = Properties { passed_on: vec![0; 1_000].into(), expiry_s: None };
    let more = Item { said: Some(Arc::new(said)), ..item(1, QoS::AtLeastOnce) };
    assert!(cost(&more) >= bare + 1_000);
}
