//! What the board shows, and that none of it grows without bound.

use super::*;
use crate::broker::access::Nearness;
use crate::broker::identity::{ObserverKey, Who};
use crate::broker::register::Shown;
use crate::config::Role;

fn key(n: u32) -> ObserverKey {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&n.to_be_bytes());
    ObserverKey(key)
}

fn entry(from: &str, client_id: &str) -> Entry {
    let from: IpAddr = from.parse().unwrap();
    Entry {
        who: Who::anonymous(from, Nearness::Lan),
        from,
        client_id: client_id.to_owned(),
        listener: "tcp 0.0.0.0:1883".into(),
        protocol: "3.1.1",
        keep_alive: 60,
        since_ms: 5,
        token: Shown::default(),
    }
}

fn clients(board: &Board, now_ms: i64) -> Clients {
    board.clients(now_ms, &Queues::new())
}

fn said(at_ms: i64) -> Said<'static> {
    Said { at_ms, region: Some("SJC"), excess: Excess::default() }
}

fn refuse(board: &Board, from: &str, reason: &'static str, at_ms: i64) {
    let from = from.parse().unwrap();
    board.refuse(&Refused {
        at_ms,
        sort: Sort::Connection,
        reason,
        whom: Whom { from, identity: None, client_id: "id", listener: "tcp" },
        name: Some("somebody"),
        about: "",
        help: None,
        subject: None,
    });
}

#[test]
fn a_connection_is_shown_as_it_is_until_it_leaves() {
    let board = Board::default();
    let mut who = entry("192.168.1.20", "meshcore_ABC");
    who.who.identity = Identity::Account("roof".into());
    (who.who.role, who.who.key) = (Some(Role::Publisher), Some(key(7)));
    let seat = board.enter(1, who);
    seat.received(90);
    seat.spoke(&Subject::Observer(key(7)), said(90));
    seat.sent();
    seat.waits(3, Some(9), 4);
    let filters: Vec<String> = (0..30).map(|n| format!("meshcore/{n}")).collect();
    seat.subscribes(filters.iter());
    assert!(seat.flag(Flag::PlaceholderRegion) && !seat.flag(Flag::PlaceholderRegion));
    let waiting = |number, connected| {
        let queue =
            QueueState { connected, messages: 2, bytes: 70, lost: 1, ..QueueState::default() };
        (number, queue)
    };
    let told = board.clients(100, &Queues::from([waiting(9, true), waiting(8, false)]));
    assert_eq!(told.away, [waiting(8, false).1]);
    let [row] = &told.connections[..] else { panic!("{told:?}") };
    assert_eq!((row.identity.as_deref(), row.role.as_str()), (Some("roof"), "publisher"));
    assert_eq!(row.key.as_deref(), Some(key(7).to_string().as_str()));
    assert_eq!((row.from.as_str(), row.client_id.as_str()), ("192.168.1.20", "meshcore_ABC"));
    assert_eq!((row.listener.as_str(), row.protocol.as_str()), ("tcp 0.0.0.0:1883", "3.1.1"));
    assert_eq!((row.since_ms, row.keep_alive_sec, row.last_message_ms), (5, 60, Some(90)));
    assert_eq!((row.messages_in, row.messages_out), (1, 1));
    assert_eq!((row.queued, row.unacknowledged), (3 + 2, 4));
    assert_eq!((row.queued_bytes, row.lost), (70, 1));
    assert_eq!((row.subscriptions.len(), row.subscription_count), (20, 30));
    assert_eq!(
        (&row.regions[..], &row.flags[..]),
        (&["SJC".to_owned()][..], &["placeholder_region".to_owned()][..])
    );
    let json = serde_json::to_string(&told).unwrap();
    assert!(json.contains(r#""keepAliveSec":60"#), "{json}");
    assert_eq!(serde_json::from_str::<Clients>(&json).unwrap(), told);
    drop(seat);
    let after = clients(&board, 100);
    assert_eq!(after.connections, []);
    assert_eq!(after.observers[0].messages, 1, "what was spoken for stays");
}

#[test]
fn two_uploaders_that_share_a_client_id_are_flagged_and_one_alone_is_not() {
    let board = Board::default();
    let _first = board.enter(1, entry("10.0.0.1", "meshcore_A"));
    let _other = board.enter(2, entry("10.0.0.3", "meshcore_B"));
    let _nameless = [board.enter(3, entry("10.0.0.4", "")), board.enter(4, entry("10.0.0.5", ""))];
    let flagged = || {
        let rows = clients(&board, 0).connections;
        rows.iter().filter(|row| !row.flags.is_empty()).count()
    };
    assert_eq!(flagged(), 0);
    let second = board.enter(5, entry("10.0.0.2", "meshcore_A"));
    assert_eq!(flagged(), 2);
    drop(second);
}

#[test]
fn two_uploaders_that_speak_for_one_observer_are_flagged_unless_one_has_left() {
    let board = Board::default();
    let subject = Subject::Observer(key(1));
    let old = board.enter(1, entry("10.0.0.1", "a"));
    old.spoke(&subject, said(1));
    drop(old);
    let back = board.enter(2, entry("10.0.0.1", "a"));
    back.spoke(&subject, said(2));
    assert_eq!(clients(&board, 0).connections[0].flags, Vec::<String>::new());
    let other = board.enter(3, entry("10.0.0.2", "b"));
    other.spoke(&subject, said(3));
    for row in clients(&board, 0).connections {
        assert_eq!(row.flags, ["same_observer"], "{row:?}");
    }
}

#[test]
fn row_20_the_registry_knows_first_and_last_and_who_and_the_last_refusal() {
    let board = Board::default();
    let mut login = entry("10.0.0.1", "a");
    login.token = Shown { ends_ms: Some(77), client: Some("meshcoretomqtt/1".into()) };
    let first = board.enter(1, login);
    let subject = Subject::Observer(key(1));
    first.spoke(&subject, said(10));
    first.spoke(&subject, said(20));
    let second = board.enter(2, entry("10.0.0.2", "b"));
    let excess = Excess { over_rate: true, duplicate: true };
    second.spoke(&subject, Said { at_ms: 30, region: Some("SFO"), excess });
    let mut refused = first.refused(Sort::Publish, "publish_too_large", "", 40);
    refused.subject = Some(subject);
    board.refuse(&refused);
    let row = clients(&board, 0).observers.remove(0);
    let by_token = (row.token_ends_ms, row.client.as_deref());
    assert_eq!(by_token, (None, None), "the last who spoke for it has shown none");
    first.spoke(&Subject::Observer(key(2)), said(5));
    let mut rows = clients(&board, 0).observers;
    let other = rows.pop().unwrap();
    let by_token = (other.token_ends_ms, other.client.as_deref());
    assert_eq!(by_token, (Some(77), Some("meshcoretomqtt/1")));
    let expected = ObserverRow {
        key: Some(key(1).to_string()),
        identity: "10.0.0.2".into(),
        from: "10.0.0.2".into(),
        client_id: "b".into(),
        first_ms: 10,
        last_ms: 30,
        messages: 3,
        region: "SFO".into(),
        token_ends_ms: None,
        over_rate: 1,
        duplicates: 1,
        last_refusal: Some("publish_too_large".into()),
        last_refusal_ms: Some(40),
        help: "raise broker.maxPayloadKB if it is meant to be so large".into(),
        ..ObserverRow::default()
    };
    assert_eq!(rows, [expected]);
}

#[test]
fn a_refusal_says_when_who_where_why_and_what_helps() {
    let board = Board::default();
    refuse(&board, "::ffff:8.8.8.8", "login_needed_from_outside", 7);
    let rows = clients(&board, 9).refusals;
    let expected = RefusalRow {
        at_ms: 7,
        first_ms: 7,
        times: 1,
        sort: Sort::Connection,
        from: "8.8.8.8".into(),
        identity: Some("somebody".into()),
        client_id: "id".into(),
        listener: "tcp".into(),
        reason: "login_needed_from_outside".into(),
        about: String::new(),
        help: "give it an account, or a listener with access = \"anyone\"".into(),
    };
    assert_eq!(rows, [expected]);
}

#[test]
fn the_secret_of_a_meshrank_topic_is_not_shown() {
    let board = Board::default();
    let seat = board.enter(1, entry("10.0.0.1", "a"));
    for topic in ["meshrank/uplink/s3cret/KEY/packets", "meshrank/uplink/s3cret"] {
        board.refuse(&seat.refused(Sort::Publish, "publish_outside_meshcore", topic, 1));
        let shown = clients(&board, 0).refusals;
        assert!(!format!("{shown:?}").contains("s3cret"), "{shown:?}");
    }
}

#[test]
fn a_chatterbox_has_one_entry_and_pushes_nobody_out() {
    let board = Board::default();
    refuse(&board, "10.0.0.1", "mqtt_3_1", 1);
    for n in 0..10_000 {
        refuse(&board, "10.0.0.9", "client_id_too_long", n);
        refuse(&board, &format!("2001:db8::{:x}", n % 5_000), "client_id_too_long", n);
    }
    let rows = clients(&board, 0).refusals;
    let told: Vec<_> = rows.iter().map(|row| (row.from.as_str(), row.times)).collect();
    // Of an IPv6 network one entry stands for all.
    assert_eq!(told, [("2001:db8::1387", 10_000), ("10.0.0.9", 10_000), ("10.0.0.1", 1)]);
}

#[test]
fn a_wave_from_many_addresses_costs_its_own_reason_and_the_list_is_bounded() {
    let board = Board::default();
    refuse(&board, "10.0.0.1", "mqtt_3_1", 1);
    for n in 0..1_000_u32 {
        let from = std::net::Ipv4Addr::from_bits(0x0B00_0000 + n).to_string();
        refuse(&board, &from, "first_packet_is_no_connect", 2);
    }
    refuse(&board, "10.0.0.2", "mqtt_3_1", 3);
    let rows = clients(&board, 0).refusals;
    assert_eq!(rows.len(), 200);
    assert_eq!(rows[0].reason, "mqtt_3_1");
    assert_eq!(rows[199].reason, "mqtt_3_1", "the oldest of another reason is still there");
    assert_eq!(rows[1].from, "11.0.3.231", "the newest of the wave are kept");
}

#[test]
fn what_strangers_say_is_cut_and_moves_no_cursor() {
    let board = Board::default();
    let seat = board.enter(1, entry("10.0.0.1", &"\u{1B}[2J".repeat(100)));
    seat.spoke(
        &Subject::Observer(key(1)),
        Said { at_ms: 1, region: Some(&"\n".repeat(500)), excess: Excess::default() },
    );
    for n in 0..100 {
        let region = format!("R{n}");
        let said = Said { at_ms: 1, region: Some(&region), excess: Excess::default() };
        seat.spoke(&Subject::Observer(key(1)), said);
    }
    let clients = clients(&board, 0);
    let row = &clients.connections[0];
    assert_eq!(row.client_id.chars().count(), 128);
    assert_eq!(row.regions.len(), 4);
    let json = serde_json::to_string(&clients).unwrap();
    assert!(!json.contains("\\u001b") && !json.contains("\\n"), "{json}");
}

#[test]
fn the_registry_is_bounded_and_forgets_the_silent_ones() {
    let board = Board::default();
    let seat = board.enter(1, entry("10.0.0.1", "a"));
    for n in 0..10_000_u32 {
        seat.spoke(&Subject::Observer(key(n)), said(i64::from(n)));
    }
    let rows = clients(&board, 0).observers;
    assert!(rows.len() <= 2_000, "{}", rows.len());
    assert_eq!(rows[0].key.as_deref(), Some(key(9_999).to_string().as_str()));
}
