//! The shelf alone.

use super::*;
use crate::broker::identity::ObserverKey;

const HOUR: i64 = 3_600_000;

fn who(n: u8) -> Identity {
    Identity::Anonymous(IpAddr::from([10, 0, 0, n]))
}

fn message(topic: &str, payload: &[u8], owner: Identity) -> Retained {
    let payload = Bytes::copy_from_slice(payload);
    let (topic, qos, owner) = (topic.into(), QoS::AtLeastOnce, Some(owner));
    Retained { topic, payload, said: None, qos, owner, author: Author::default(), at_ms: 5 }
}

fn keep(shelf: &mut Shelf, topic: &str, payload: &[u8]) -> Result<(), Full> {
    shelf.keep(message(topic, payload, who(1)))
}

fn matching(shelf: &Shelf, filter: &str, now_ms: i64) -> Vec<Retained> {
    let grant = Grant::plain(QoS::AtLeastOnce);
    shelf.matching(&[(filter.to_owned(), grant)], Author(1), now_ms)
}

fn topics(shelf: &Shelf, filter: &str) -> Vec<String> {
    matching(shelf, filter, 5).iter().map(|m| m.topic.to_string()).collect()
}

#[test]
fn a_message_comes_once_for_all_filters_at_the_best_qos_that_was_granted() {
    let mut shelf = Shelf::default();
    keep(&mut shelf, "a/b", b"1").unwrap();
    shelf.keep(Retained { qos: QoS::AtMostOnce, ..message("c", b"0", who(1)) }).unwrap();
    let filters = |list: &[(&str, QoS)]| {
        let filters: Vec<_> =
            list.iter().map(|(f, q)| ((*f).to_owned(), Grant::plain(*q))).collect();
        let all = shelf.matching(&filters, Author(1), 5);
        all.iter().map(|m| (m.topic.to_string(), m.qos as u8)).collect::<Vec<_>>()
    };
    let (zero, one) = (QoS::AtMostOnce, QoS::AtLeastOnce);
    assert_eq!(filters(&[("a/b", zero), ("a/#", one)]), [("a/b".to_owned(), 1)]);
    assert_eq!(filters(&[("a/b", zero), ("x", one)]), [("a/b".to_owned(), 0)]);
    assert_eq!(filters(&[("#", one)]), [("a/b".to_owned(), 1), ("c".to_owned(), 0)]);
}

#[test]
fn the_last_message_stays_and_an_empty_one_deletes_it() {
    let mut shelf = Shelf::default();
    keep(&mut shelf, "a/b", b"1").unwrap();
    keep(&mut shelf, "a/b", b"22").unwrap();
    let kept = matching(&shelf, "a/+", 5);
    assert_eq!(kept.len(), 1);
    assert_eq!(&kept[0].payload[..], b"22");
    keep(&mut shelf, "a/b", b"").unwrap();
    assert_eq!(topics(&shelf, "#"), Vec::<String>::new());
    assert_eq!(shelf.total, Share::default());
    assert!(shelf.shares.is_empty());
}

#[test]
fn filters_choose_among_them() {
    let mut shelf = Shelf::default();
    for topic in ["meshcore/A/1/neighbors", "meshcore/B/2/neighbors", "meshcore/A/1/config"] {
        keep(&mut shelf, topic, b"x").unwrap();
    }
    assert_eq!(topics(&shelf, "meshcore/A/#").len(), 2);
    assert_eq!(topics(&shelf, "meshcore/+/+/neighbors").len(), 2);
    assert_eq!(topics(&shelf, "other/#").len(), 0);
}

#[test]
fn one_identity_cannot_fill_the_shelf() {
    let mut shelf = Shelf::default();
    let kept = (0..MAX_MESSAGES).filter(|n| keep(&mut shelf, &format!("t/{n}"), b"x").is_ok());
    assert_eq!(kept.count(), MAX_MESSAGES / PART_OF_ALL);
    assert_eq!(keep(&mut shelf, "t/new", b"x"), Err(Full::Own));
    assert_eq!(keep(&mut shelf, "t/7", b"y"), Ok(()), "its own may be replaced");
    assert_eq!(shelf.keep(message("t/new", b"x", who(2))), Ok(()));
    // What somebody else takes over is on the other one's account from then on.
    assert_eq!(shelf.keep(message("t/7", b"z", who(2))), Ok(()));
    assert_eq!(keep(&mut shelf, "t/one more", b"x"), Ok(()));
    // Bytes have the same share.
    let mut shelf = Shelf::default();
    let big = vec![0; MAX_BYTES / 16];
    let kept = (0..10).filter(|n| keep(&mut shelf, &format!("t/{n}"), &big).is_ok()).count();
    assert_eq!(kept, 3);
    assert_eq!(shelf.keep(message("other", &big, who(2))), Ok(()));
}

#[test]
fn keys_that_anybody_can_make_leave_room_for_everyone_else() {
    let mut shelf = Shelf::default();
    let by_token = |n: u16| {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&n.to_be_bytes());
        Identity::Observer(ObserverKey(key))
    };
    let mut kept = 0;
    for n in 0..8_000 {
        let topic = format!("meshcore/R{n}/x/neighbors");
        kept += usize::from(shelf.keep(message(&topic, b"x", by_token(n / 1_000))).is_ok());
    }
    // Each of them has a part of the part that they have together.
    assert_eq!(kept, 8 * (MAX_MESSAGES / PART_OF_ALL / PART_OF_TOKENS));
    for n in 8..1_000 {
        let topic = format!("meshcore/SJC/{n}/neighbors");
        kept += usize::from(shelf.keep(message(&topic, b"x", by_token(n))).is_ok());
    }
    assert_eq!(kept, MAX_MESSAGES / PART_OF_ALL);
    let hers = message("homeassistant/x", b"x", Identity::Account("hass".into()));
    assert_eq!(shelf.keep(hers), Ok(()));
    // What they let go makes room for others of them.
    shelf.remove("meshcore/R0/x/neighbors");
    let again = message("meshcore/SJC/9999/neighbors", b"x", by_token(999));
    assert_eq!(shelf.keep(again), Ok(()));
}

#[test]
fn neighbours_of_one_ipv6_network_share_a_share() {
    let address = |n: u16| Identity::Anonymous(IpAddr::from([0xfd00, 1, 2, 3, 0, 0, 0, n]));
    let mut shelf = Shelf::default();
    for n in 0..1_000 {
        shelf.keep(message(&format!("t/{n}"), b"x", address(n))).unwrap();
    }
    assert_eq!(shelf.keep(message("t/x", b"x", address(9_999))), Err(Full::Own));
}

#[test]
fn a_full_shelf_refuses_new_topics_and_keeps_the_old_ones() {
    let mut shelf = Shelf::default();
    for n in 0..MAX_MESSAGES {
        let owner = who(u8::try_from(n % 100).unwrap());
        shelf.keep(message(&format!("t/{n}"), b"x", owner)).unwrap();
    }
    assert_eq!(shelf.keep(message("t/new", b"x", who(200))), Err(Full::All));
    assert_eq!(shelf.keep(message("t/7", b"y", who(200))), Ok(()));
    // What we say ourselves has a bound elsewhere.
    let own = Retained { owner: None, ..message("meshcore/A/B/status", b"x", who(1)) };
    assert_eq!(shelf.keep(own), Ok(()));
    keep(&mut shelf, "t/8", b"").unwrap();
    assert_eq!(shelf.keep(message("t/new", b"x", who(200))), Ok(()));
}

#[test]
fn what_is_too_old_is_not_shown_and_makes_room() {
    let mut shelf = Shelf::default();
    for n in 0..1_000 {
        keep(&mut shelf, &format!("meshcore/A/{n}/neighbors"), b"x").unwrap();
    }
    keep(&mut shelf, "homeassistant/x", b"x").unwrap_err();
    assert_eq!(matching(&shelf, "#", 48 * HOUR).len(), 1_000);
    assert_eq!(matching(&shelf, "#", 49 * HOUR).len(), 0);
    // A clock that was set back makes nothing old.
    assert_eq!(matching(&shelf, "#", -49 * HOUR).len(), 1_000);
    let later = Retained { at_ms: 49 * HOUR, ..message("homeassistant/x", b"x", who(1)) };
    assert_eq!(shelf.keep(later), Ok(()));
    assert_eq!(shelf.total.messages, 1);
    assert_eq!(matching(&shelf, "#", i64::MAX / 2).len(), 1, "Home Assistant's tree has no age");
}

#[test]
fn the_file_hears_of_the_present_state_of_what_has_changed() {
    let mut shelf = Shelf::default();
    keep(&mut shelf, "a", b"1").unwrap();
    keep(&mut shelf, "a", b"2").unwrap();
    keep(&mut shelf, "b", b"1").unwrap();
    keep(&mut shelf, "b", b"").unwrap();
    let changes = shelf.changes(5);
    assert_eq!(changes[0].1.as_ref().unwrap().payload, "2");
    assert_eq!((&*changes[1].0, &changes[1].1), ("b", &None));
    assert_eq!(shelf.changes(5), []);
    assert_eq!(shelf.everything(5).len(), 1);
    let mut again = Shelf::default();
    again.restore(message("a", b"2", who(1)), 5);
    again.restore(message("meshcore/A/B/neighbors", b"2", who(1)), 100 * HOUR);
    assert_eq!(topics(&again, "#"), ["a"]);
    assert_eq!(again.changes(5)[0].1, None, "what was too old goes from the file");
}

fn said(expiry_s: Option<u32>, bytes: usize) -> Option<Arc<Properties>> {
    Some(Arc::new(Properties { passed_on: vec![0; bytes].into(), expiry_s }))
}

#[test]
fn what_has_an_interval_is_not_shown_after_it_and_goes() {
    let mut shelf = Shelf::default();
    shelf.keep(Retained { said: said(Some(10), 1), ..message("a", b"x", who(1)) }).unwrap();
    assert_eq!(matching(&shelf, "#", 5 + 9_999).len(), 1);
    assert_eq!(matching(&shelf, "#", 5 + 10_000).len(), 0);
    assert_eq!(shelf.changes(5 + 9_999).len(), 1);
    assert_eq!(shelf.changes(5 + 10_000)[0].1, None, "the file hears of it");
    assert_eq!(shelf.counters.broker_messages_expired.get(), 1);
    assert_eq!(shelf.total, Share::default());
}

#[test]
fn properties_count_into_a_share() {
    let mut shelf = Shelf::default();
    let large =
        |n: usize| Retained { said: said(None, 4_096), ..message(&n.to_string(), b"x", who(1)) };
    let kept = (0..1_000).filter(|n| shelf.keep(large(*n)).is_ok()).count();
    assert!((450..500).contains(&kept), "{kept}");
}

#[test]
fn a_client_that_wants_nothing_of_its_own_gets_no_retained_message_of_its_own() {
    let mut shelf = Shelf::default();
    shelf.keep(Retained { author: Author(7), ..message("a", b"x", who(1)) }).unwrap();
    let grant = Grant { no_local: true, ..Grant::plain(QoS::AtLeastOnce) };
    let filters = [("#".to_owned(), grant)];
    assert_eq!(shelf.matching(&filters, Author(7), 5).len(), 0);
    assert_eq!(shelf.matching(&filters, Author(8), 5).len(), 1);
}
