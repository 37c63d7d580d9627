//! The board without a broker.

use super::*;
use serde_json::Value;

const HOUR: i64 = 3_600_000;

fn topic(n: u32, subtopic: &str) -> String {
    format!("meshcore/SJC/{n:064X}/{subtopic}")
}

/// What was told: the observer's status, and whether it was news.
fn heard(said: &mut Vec<Announcement>) -> Vec<(String, bool)> {
    let status = |a: Announcement| {
        let value: Value = serde_json::from_slice(&a.payload).unwrap_or_default();
        (value["status"].as_str().unwrap_or("forgotten").to_owned(), a.live)
    };
    said.drain(..).map(status).collect()
}

fn online(said: &mut Vec<Announcement>, live: bool) {
    assert_eq!(heard(said), [("online".to_owned(), live)]);
}

fn offline(said: &mut Vec<Announcement>, live: bool) {
    assert_eq!(heard(said), [("offline".to_owned(), live)]);
}

fn publish(voice: &mut Voice, subtopic: &str, payload: &str) -> Vec<Announcement> {
    let mut said = Vec::new();
    let published = (topic(1, subtopic), payload.as_bytes());
    voice.publishes((&published.0, published.1), 1_000, |a| said.push(a)).unwrap();
    said
}

fn end(voice: &mut Voice, said_by_will: Option<&str>) -> Vec<Announcement> {
    let mut said = Vec::new();
    voice.ends(said_by_will, false, 2_000, |a| said.push(a));
    said
}

#[test]
fn row_14_the_first_word_puts_an_observer_online_and_the_end_of_its_connection_offline() {
    let presence = Presence::default();
    let mut voice = presence.voice(1);
    online(&mut publish(&mut voice, "packets", "{}"), true);
    assert!(publish(&mut voice, "packets", "{}").is_empty(), "no news");
    // Its own status goes to subscribers as it is.
    online(&mut publish(&mut voice, "status", r#"{"status":"online"}"#), false);
    let shown = presence.observers();
    assert_eq!((shown[0].online, shown[0].since_ms, shown[0].connections), (true, 1_000, 1));
    offline(&mut end(&mut voice, None), true);
    assert!(end(&mut voice, None).is_empty(), "it has ended");
    let shown = presence.observers();
    assert_eq!((shown[0].online, shown[0].since_ms, shown[0].last_ms), (false, 2_000, 1_000));
}

#[test]
fn an_observer_that_is_somebodys_now_is_not_there_because_of_a_stranger() {
    let presence = Presence::default();
    let mut stranger = presence.voice(1);
    online(&mut publish(&mut stranger, "packets", "{}"), true);
    let key = presence.observers()[0].key.clone();
    let key = ObserverKey(hex::decode(key).unwrap().try_into().unwrap());
    let mut said = Vec::new();
    presence.belongs(key, 3_000, |a| said.push(a));
    offline(&mut said, true);
    // The one whose it is, who comes back from an old connection of its own.
    let mut own = presence.voice(2).of(Some(key));
    online(&mut publish(&mut own, "packets", "{}"), true);
    let mut again = presence.voice(3).of(Some(key));
    again.inherits(2);
    presence.belongs(key, 3_000, |_| panic!("nothing has changed"));
    assert!(end(&mut own, None).is_empty());
    assert!(end(&mut stranger, None).is_empty(), "it had no say any more");
    offline(&mut end(&mut again, None), true);
}

#[test]
fn a_will_that_was_passed_on_is_not_said_again_and_one_that_lies_is_not_passed_on() {
    let presence = Presence::default();
    let (mut first, mut second) = (presence.voice(1), presence.voice(2));
    let mut said = Vec::new();
    first.has_will(&topic(1, "status"), 0, |a| said.push(a)).unwrap();
    online(&mut said, true);
    // Its client comes back before anybody notices that the first connection is dead.
    second.has_will(&topic(1, "status"), 0, |a| said.push(a)).unwrap();
    assert!(said.is_empty());
    assert!(!first.wills(&topic(1, "status"), || panic!("a lie")));
    assert!(end(&mut first, None).is_empty());
    assert!(presence.observers()[0].online);
    let mut passed_on = false;
    assert!(second.wills(&topic(1, "status"), || passed_on = true));
    assert!(passed_on);
    offline(&mut end(&mut second, Some(&topic(1, "status"))), false);
    // A will that is no observer's status is none of this.
    assert!(second.wills("meshcore/x", || ()));
}

#[test]
fn whoever_takes_a_session_over_inherits_what_it_spoke_for() {
    let presence = Presence::default();
    let (mut first, mut second) = (presence.voice(1), presence.voice(2));
    publish(&mut first, "packets", "{}");
    second.inherits(1);
    assert!(end(&mut first, None).is_empty());
    assert!(publish(&mut second, "packets", "{}").is_empty());
    offline(&mut end(&mut second, None), true);
}

#[test]
fn an_observer_is_online_while_any_connection_speaks_for_it() {
    let presence = Presence::default();
    let mut voices = [1, 2, 3].map(|n| presence.voice(n));
    for voice in &mut voices {
        publish(voice, "packets", "{}");
    }
    assert_eq!(presence.observers()[0].connections, 3);
    assert!(end(&mut voices[1], None).is_empty());
    assert!(end(&mut voices[0], None).is_empty());
    offline(&mut end(&mut voices[2], None), true);
}

#[test]
fn a_farewell_is_believed_until_the_observer_speaks_again() {
    let presence = Presence::default();
    let mut voice = presence.voice(1);
    publish(&mut voice, "status", r#"{"status":"online","origin":"Hill"}"#);
    offline(&mut publish(&mut voice, "status", r#"{"status":"offline","origin":"Hill"}"#), false);
    assert!(!presence.observers()[0].online);
    online(&mut publish(&mut voice, "packets", "{}"), true);
    publish(&mut voice, "status", r#"{"status":"offline"}"#);
    assert!(end(&mut voice, None).is_empty(), "it has said so itself");
}

#[test]
fn what_the_observer_said_last_stays_in_what_is_told() {
    let presence = Presence::default();
    let mut voice = presence.voice(1);
    publish(&mut voice, "status", r#"{"status":"online","origin":"Hill","timestamp":"1999"}"#);
    let told: Value = serde_json::from_slice(&end(&mut voice, None)[0].payload).unwrap();
    assert_eq!((&told["status"], &told["origin"]), (&"offline".into(), &"Hill".into()));
    assert_eq!(told["timestamp"], "1970-01-01T00:00:02.000000+00:00");
}

#[test]
fn after_a_restart_everyone_is_offline_until_it_connects() {
    let presence = Presence::default();
    let status: Arc<str> = topic(1, "status").into();
    let was_online = br#"{"status":"online","origin":"Hill"}"#;
    let told = presence.restore(&status, was_online, (5, 100)).unwrap();
    let told: Value = serde_json::from_slice(&told).unwrap();
    assert_eq!((&told["status"], &told["origin"]), (&"offline".into(), &"Hill".into()));
    assert_eq!(presence.observers()[0].since_ms, 100);
    let other: Arc<str> = topic(2, "status").into();
    assert_eq!(presence.restore(&other, br#"{"status":"offline"}"#, (5, 100)), None);
    assert_eq!(presence.observers()[1].since_ms, 5);
    assert_eq!(presence.restore(&"meshcore/x/status".into(), was_online, (5, 100)), None);
    online(&mut publish(&mut presence.voice(1), "packets", "{}"), true);
}

#[test]
fn an_observer_without_a_status_is_told_again_before_it_is_forgotten() {
    let presence = Presence::default();
    let mut voice = presence.voice(1);
    let mut said = Vec::new();
    let packets = topic(1, "packets");
    for hour in [0, 1, 20, 25, 26] {
        voice.publishes((&packets, b"{}"), hour * HOUR, |a| said.push(a)).unwrap();
    }
    assert_eq!(heard(&mut said), [("online".to_owned(), true), ("online".to_owned(), false)]);
}

#[test]
fn the_board_is_bounded_and_forgets_who_was_away_for_longest() {
    let presence = Presence::default();
    let mut said = Vec::new();
    let mut voices: Vec<_> = (0..40).map(|n| presence.voice(n)).collect();
    for n in 0..40 * 50 {
        let voice = &mut voices[n as usize / 50];
        voice.publishes((&topic(n, "packets"), b"{}"), i64::from(n), |a| said.push(a)).unwrap();
    }
    let mut late = presence.voice(99);
    let full = late.publishes((&topic(9_999, "packets"), b"{}"), 5_000, |_| ());
    assert_eq!(full, Err("presence_without_room"));
    voices[3].ends(None, true, 6_000, |_| ());
    said.clear();
    late.publishes((&topic(9_999, "packets"), b"{}"), 7_000, |a| said.push(a)).unwrap();
    assert_eq!(said[0].topic.as_ref(), topic(150, "status"));
    assert_eq!(heard(&mut said), [("forgotten".to_owned(), false), ("online".to_owned(), true)]);
    assert_eq!(presence.observers().len(), MAX_OBSERVERS);
    let many = (0..100).map(|n| late.publishes((&topic(n, "x"), b""), 0, |_| ()));
    assert_eq!(many.filter(|r| *r == Err("presence_of_too_many_observers")).count(), 37);
}
