//! Who hears whom, and whose hashes a path holds.

use super::*;

const DAY: i64 = DAY_MS / 1_000;

/// A node's key that begins so.
fn key(start: &str) -> String {
    format!("{start:0<64}")
}

/// An advert of the node whose key begins so, over these hops, heard by `by`.
fn advert_of(number: u64, start: &str, path: &str, by: &str, second: i64) -> Record {
    with(advert(number, &key(start), second), |r| {
        row(r).path_json = path.into();
        r.observer.as_mut().unwrap().id = key(by).to_uppercase();
    })
}

/// A packet that says nothing of its sender, over these hops.
fn passed(number: u64, path: &str, by: &str, second: i64) -> Record {
    with(packet(number, &key(by).to_uppercase(), second), |r| row(r).path_json = path.into())
}

/// Pairs by the starts of their keys, with their counts and the last second.
fn pairs(bed: &Bed) -> String {
    bed.one(&format!(
        "SELECT COALESCE(group_concat(pair, ' '), '') FROM (
           SELECT rtrim(node_a, '0') || '-' || rtrim(node_b, '0') || ':' || count || '@'
             || (unixepoch(last_seen) - {}) AS pair
           FROM neighbor_edges ORDER BY node_a, node_b)",
        START_MS / 1_000
    ))
}

/// The resolved path of this packet's first observation, each key cut to its start.
fn resolved(bed: &Bed, number: u64) -> String {
    let json: Option<String> = bed.one(&format!(
        "SELECT o.resolved_path FROM observations o JOIN transmissions t ON t.id = transmission_id
         WHERE hash = '{number:016x}' ORDER BY o.id LIMIT 1"
    ));
    let Some(json) = json else { return "NULL".into() };
    let hops: Vec<Option<String>> = serde_json::from_str(&json).unwrap();
    let start = |hop: &Option<String>| match hop {
        Some(key) => {
            assert_eq!((key.len(), key), (64, &key.to_lowercase()));
            key.trim_end_matches('0').to_owned()
        }
        None => "-".into(),
    };
    hops.iter().map(start).collect::<Vec<_>>().join(" ")
}

#[test]
fn an_advert_without_hops_makes_its_node_and_its_observer_neighbours() {
    let mut bed = Bed::new();
    bed.store([
        advert_of(1, "b1", "[]", "a1", 0),
        advert_of(1, "b1", "[]", "c1", 5),
        // A zero-hop advert is sent direct.
        with(advert_of(2, "b1", "[]", "a1", 60), |r| row(r).route_type = 2),
    ]);
    assert_eq!(pairs(&bed), "a1-b1:2@60 b1-c1:1@5");
    assert_eq!(bed.one::<String>("SELECT node_a FROM neighbor_edges LIMIT 1"), key("a1"));
}

#[test]
fn an_advert_and_its_first_hop_and_the_last_hop_and_the_observer_are_neighbours() {
    let mut bed = Bed::new();
    bed.store([
        advert_of(1, "d1", "[]", "ee", 0),
        advert_of(2, "d2", "[]", "ee", 0),
        advert_of(3, "b1", "[\"D1\",\"77\",\"D2\"]", "a1", 9),
        passed(4, "[\"D1\",\"D2\"]", "a1", 12),
        passed(5, "[\"D1\"]", "a1", 13),
        passed(6, "[]", "a1", 14),
    ]);
    // Not d1 and d2: CoreScope draws no edges within a path.
    assert_eq!(pairs(&bed), "a1-d1:1@13 a1-d2:2@12 b1-d1:1@9 d1-ee:1@0 d2-ee:1@0");
}

#[test]
fn a_hash_that_begins_two_keys_or_none_makes_no_neighbours() {
    let mut bed = Bed::new();
    bed.store([advert_of(1, "d1a1", "[]", "ee", 0), advert_of(2, "d1b2", "[]", "ee", 0)]);
    let before = pairs(&bed);
    bed.store([passed(3, "[\"D1\"]", "a1", 1), passed(4, "[\"55\"]", "a1", 1)]);
    assert_eq!(pairs(&bed), before);
    assert_eq!((resolved(&bed, 3), resolved(&bed, 4)), ("NULL".into(), "NULL".into()));
    // Longer hashes tell them apart.
    bed.store([passed(5, "[\"D1A1\",\"D1B200\"]", "a1", 2)]);
    assert_eq!(pairs(&bed), format!("a1-d1b2:1@2 {before}"));
    assert_eq!(resolved(&bed, 5), "d1a1 d1b2");
}

#[test]
fn a_direct_route_a_trace_and_an_own_sending_make_no_neighbours() {
    let mut bed = Bed::new();
    bed.store([advert_of(1, "d1", "[]", "ee", 0), advert_of(2, "d2", "[]", "ee", 0)]);
    let before = pairs(&bed);
    bed.store([
        with(passed(3, "[\"D1\",\"D2\"]", "a1", 1), |r| row(r).route_type = 2),
        with(passed(4, "[\"D1\",\"D2\"]", "a1", 1), |r| row(r).route_type = 3),
        with(passed(5, "[\"D1\"]", "a1", 1), |r| row(r).payload_type = 9),
        with(passed(6, "[\"D1\"]", "a1", 1), |r| row(r).direction = Some("TX".into())),
        with(advert_of(7, "b1", "[]", "a1", 1), |r| row(r).direction = Some("tx".into())),
        with(advert_of(8, "d2", "[\"D1\"]", "a1", 1), |r| row(r).route_type = 2),
        // Its own advert, forwarded and heard again by itself.
        advert_of(9, "ee", "[\"D1\"]", "ee", 0),
    ]);
    assert_eq!(pairs(&bed), before.replace("d1-ee:1", "d1-ee:3"));
    // The hops of a direct route are nodes all the same; a TRACE's are where it is sent.
    assert_eq!((resolved(&bed, 3), resolved(&bed, 5)), ("d1 d2".into(), "NULL".into()));
}

#[test]
fn only_an_observer_with_a_key_is_anybodys_neighbour() {
    let mut bed = Bed::new();
    bed.store([
        advert(1, &key("b1"), 0),
        with(advert(2, &key("b1"), 0), |r| r.observer = None),
        advert(3, "no key", 0),
    ]);
    assert_eq!(bed.count("neighbor_edges"), 0);
}

#[test]
fn an_observation_counts_once_for_its_neighbours_and_they_add_up_over_batches() {
    let mut bed = Bed::new();
    bed.store([advert_of(1, "b1", "[]", "a1", 50), advert_of(1, "b1", "[]", "a1", 55)]);
    bed.store([advert_of(1, "b1", "[]", "a1", 60)]);
    assert_eq!(pairs(&bed), "a1-b1:1@50");
    bed.store([advert_of(2, "b1", "[]", "a1", 20)]);
    assert_eq!(pairs(&bed), "a1-b1:2@50", "its last time went back");
    bed.other().execute("UPDATE neighbor_edges SET count = NULL, last_seen = NULL", []).unwrap();
    bed.store([advert_of(3, "b1", "[]", "a1", 70)]);
    assert_eq!(pairs(&bed), "a1-b1:1@70");
}

#[test]
fn a_path_is_resolved_by_unique_hashes_and_by_neighbours_of_the_hop_before() {
    let mut bed = Bed::new();
    bed.store([
        advert_of(1, "d1", "[]", "ee", 0),
        advert_of(2, "b1aa", "[\"D1\"]", "ee", 0),
        advert_of(3, "b1bb", "[]", "ee", 0),
        advert_of(4, "c1", "[]", "ee", 0),
        // b1 may be either; only b1aa was seen beside d1, and nobody beside c1.
        passed(5, "[\"D1\",\"B1\"]", "a1", 1),
        passed(6, "[\"C1\",\"B1\"]", "a1", 1),
        passed(7, "[\"B1\",\"D1\"]", "a1", 1),
        // What is found so finds the next one.
        advert_of(8, "f1aa", "[\"B1AA\"]", "ee", 2),
        advert_of(9, "f1bb", "[]", "ee", 2),
        passed(10, "[\"D1\",\"B1\",\"F1\"]", "a1", 3),
        // The advertiser is before the first hop.
        advert_of(11, "d1", "[\"B1\"]", "a1", 4),
        with(advert_of(12, "d1", "[\"B1\"]", "a1", 4), |r| row(r).route_type = 2),
    ]);
    let expected = [
        (5, "d1 b1aa"),
        (6, "c1 -"),
        (7, "- d1"),
        (10, "d1 b1aa f1aa"),
        (11, "b1aa"),
        (12, "NULL"),
    ];
    for (number, path) in expected {
        assert_eq!(resolved(&bed, number), path, "{number}");
    }
    // A second neighbour, and it is open again.
    bed.store([advert_of(13, "b1bb", "[\"D1\"]", "ee", 5), passed(14, "[\"D1\",\"B1\"]", "a1", 6)]);
    assert_eq!(resolved(&bed, 14), "d1 -");
}

#[test]
fn nodes_and_neighbours_are_known_again_after_a_restart() {
    let mut bed = Bed::new();
    bed.store([
        advert_of(1, "d1", "[]", "ee", 0),
        advert_of(2, "b1aa", "[\"D1\"]", "ee", 0),
        advert_of(3, "b1bb", "[]", "ee", 0),
        advert(4, "no key", 0),
    ]);
    bed.finish();
    let mut again = Bed::on(&bed.path);
    again.store([passed(5, "[\"D1\",\"B1\"]", "a1", 1)]);
    assert_eq!(resolved(&again, 5), "d1 b1aa");
}

#[test]
fn a_node_that_is_inactive_is_nobodys_hop() {
    let mut bed = Bed::new();
    bed.store([advert_of(1, "d1aa", "[]", "ee", 0), advert_of(2, "d1bb", "[]", "ee", 5 * DAY)]);
    bed.store([passed(3, "[\"D1\"]", "a1", 7 * DAY), passed(4, "[\"D1\"]", "a1", 7 * DAY + 1)]);
    assert_eq!((resolved(&bed, 3), resolved(&bed, 4)), ("NULL".into(), "d1bb".into()));
    bed.store([advert_of(5, "d1aa", "[]", "ee", 8 * DAY), passed(6, "[\"D1\"]", "a1", 8 * DAY)]);
    assert_eq!(resolved(&bed, 6), "NULL");
}

#[test]
fn a_neighbour_of_long_ago_finds_no_hop() {
    let mut bed = Bed::new();
    bed.store([
        advert_of(1, "d1", "[]", "ee", 0),
        advert_of(2, "b1aa", "[\"D1\"]", "ee", 0),
        advert_of(3, "b1bb", "[]", "ee", 0),
        passed(4, "[\"D1\",\"B1\"]", "a1", 5 * DAY),
        passed(5, "[\"D1\",\"B1\"]", "a1", 5 * DAY + 1),
    ]);
    assert_eq!((resolved(&bed, 4), resolved(&bed, 5)), ("d1 b1aa".into(), "d1 -".into()));
}

#[test]
fn a_path_that_could_not_be_resolved_is_when_it_comes_again_and_can_be() {
    let mut bed = Bed::new();
    bed.store([passed(1, "[\"D1\"]", "a1", 0)]);
    assert_eq!(resolved(&bed, 1), "NULL");
    bed.store([advert_of(2, "d1", "[]", "ee", 1), passed(1, "[\"D1\"]", "a1", 2)]);
    assert_eq!(resolved(&bed, 1), "d1");
    bed.store([advert_of(3, "d1bb", "[]", "ee", 3), passed(1, "[\"D1\"]", "a1", 4)]);
    assert_eq!((resolved(&bed, 1), bed.count("observations")), ("d1".into(), 3));
}

#[test]
fn any_text_for_a_path_or_a_key_is_no_hop_and_no_neighbour() {
    let mut bed = Bed::new();
    let odd = ["", "\"", "[\"\"]", "[\"GG\"]", "[\"é\",\"D1\"", "[1,2]", "null"];
    bed.store([advert_of(1, "d1", "[]", "ee", 0)]);
    bed.store((10..).zip(odd).map(|(n, path)| passed(n, path, "a1", 0)));
    let all: String = bed.one("SELECT group_concat(resolved_path) FROM observations");
    assert_eq!(all, format!("[null,\"{}\"]", key("d1")));
}
