//! Who is left out, and what is let go, from the config file to the database.

use crate::support::database::{column, count};
use crate::support::packets::{OBSERVER, packet_message, packets_topic};

use assert_cmd::Command;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// A repeater's advert from 37.0 north, 122.1 west, with a valid signature.
const ADVERT: &str = "120046D62DE27D4C5194D7821FC5A34A45565DCC2537B300B9AB6275255CEFB65D840CE5C169C94C9AED39E8BCB6CB6EB0335497A198B33A1A610CD3B03D8DCFC160900E5244280323EE0B44CACAB8F02B5B38B91CFA18BD067B0B5E63E94CFC85F758A8530B9240933402E0E6B8F84D5252322D52";

/// Replays an advert of each of these topics into `hub.db`; the counts.
fn replay(dir: &Path, topics: &[&str], toml: &str) -> Value {
    let line =
        |topic: &&str| json!({ "topic": topic, "payload": packet_message(ADVERT) }).to_string();
    let lines: Vec<_> = topics.iter().map(line).collect();
    fs::write(dir.join("in.jsonl"), lines.join("\n")).unwrap();
    fs::write(dir.join("broker.toml"), toml).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_meshbox"))
        .args(["replay", "in.jsonl", "--db", "hub.db", "--config", "broker.toml", "--json"])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn who_is_left_out_is_counted_and_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let listed = packets_topic(OBSERVER);
    let status = listed.replace("packets", "status");
    let topics = ["meshcore/SJC/ROOF/packets", "meshcore/LAX/ROOF/packets", &*listed, &*status];
    let toml = format!(
        "observerBlacklist = ['{}']\nobserverIATAWhitelist = ['sjc']",
        OBSERVER.to_lowercase()
    );
    let counts = replay(dir.path(), &topics, &toml);
    let expected = json!({ "observer_blacklisted": 2, "observer_region_unlisted": 1 });
    assert_eq!(counts["reasons"], expected);
    let db = dir.path().join("hub.db");
    assert_eq!(column(&db, "SELECT id FROM observers"), ["ROOF"]);
    assert_eq!(count(&db, "SELECT COUNT(*) FROM observations"), 1);
}

#[test]
fn an_advert_from_elsewhere_is_flagged_or_not_stored() {
    let area = "[geo_filter]\npolygon = [[40, -120], [41, -120], [41, -119]]\nbufferKm = ";
    let drop = "\n[foreignAdverts]\nmode = 'drop'";
    // The nearest corner is some 380 km away.
    for (toml, stored) in [
        (String::new(), &["0"][..]),
        (format!("{area}300"), &["1"]),
        (format!("{area}500"), &["0"]),
        (format!("{area}300{drop}"), &[]),
        (format!("{area}500{drop}"), &["0"]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let counts = replay(dir.path(), &["meshcore/SJC/ROOF/packets"], &toml);
        let flags = "SELECT CAST(foreign_advert AS TEXT) FROM nodes";
        let db = dir.path().join("hub.db");
        assert_eq!(column(&db, flags), stored, "{toml}");
        let dropped = counts["reasons"]["advert_foreign"].as_u64().unwrap_or_default();
        assert_eq!(dropped, u64::from(stored.is_empty()), "{toml}");
        // What is not stored is no sign of life either.
        assert_eq!(count(&db, "SELECT COUNT(*) FROM observers"), i64::from(dropped == 0), "{toml}");
    }
}
