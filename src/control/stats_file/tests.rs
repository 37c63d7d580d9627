use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};

#[test]
fn a_sample_has_every_key_of_corescopes() {
    let counters = Counters::default();
    counters.tx_inserted.add(3);
    counters.commits.add(2);
    let sample = Sampler::default().sample(&counters, 1_795_407_861_999, None);
    let keys: Vec<&str> = sample.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = [
        "sampledAt",
        "tx_inserted",
        "obs_inserted",
        "tx_dupes",
        "node_upserts",
        "observer_upserts",
        "write_errors",
        "sig_drops",
        "walCommits",
        "groupCommitFlushes",
        "backfillUpdates",
        "procIO",
        "writer_perf",
        "source_liveness",
        "source_statuses",
        "watchdogLastTickUnix",
        "watchdogPanicCount",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(sample["sampledAt"], "2026-11-23T04:24:21Z");
    assert_eq!((&sample["tx_inserted"], &sample["walCommits"]), (&json!(3), &json!(2)));
    assert_eq!(sample["source_statuses"], json!([]));
}

#[test]
fn a_source_is_told_with_its_changes_and_its_last_five_minutes() {
    let counters = Counters::default();
    let mut sampler = Sampler::default();
    let mut look = |now_s: i64, change: &dyn Fn(&mut SourceState)| {
        counters.source("region", change);
        let sample = sampler.sample(&counters, now_s * 1_000, None);
        (sample["source_statuses"][0].clone(), sample["source_liveness"]["region"].clone())
    };
    let (first, _) = look(1_000, &|s| {
        s.broker = "mqtts://b:8883".into();
        s.last_error = "connection refused".into();
    });
    let expected = json!({
        "name": "region", "broker": "mqtts://b:8883", "connected": false, "lastConnectUnix": 0,
        "lastDisconnectUnix": 0, "lastPacketUnix": 0, "connectCount": 0, "disconnectCount": 0,
        "packetsTotal": 0, "packetsLast5m": 0, "lastError": "connection refused",
    });
    assert_eq!(first, expected);
    look(1_001, &|s| (s.connected, s.since_ms) = (true, 1_000_500));
    let (busy, alive) = look(1_010, &|s| (0..50).for_each(|_| s.heard(1_009_000)));
    assert_eq!((&busy["connectCount"], &busy["lastConnectUnix"]), (&json!(1), &json!(1_000)));
    assert_eq!((&busy["packetsTotal"], &busy["packetsLast5m"]), (&json!(50), &json!(50)));
    assert_eq!(alive, json!({ "lastReceiptUnix": 1_009, "lastMessageUnix": 0 }));
    // It came back between two looks.
    let (again, _) = look(1_200, &|s| {
        s.since_ms = 1_150_000;
        (0..10).for_each(|_| s.heard(1_199_000));
    });
    assert_eq!((&again["connectCount"], &again["disconnectCount"]), (&json!(2), &json!(1)));
    let (later, alive) = look(1_400, &|s| {
        s.heard(1_400_000);
        s.last_commit_ms = Some(1_399_000);
    });
    assert_eq!((&later["packetsTotal"], &later["packetsLast5m"]), (&json!(61), &json!(11)));
    assert_eq!(
        (&alive["lastReceiptUnix"], &alive["lastMessageUnix"]),
        (&json!(1_400), &json!(1_399))
    );
    let (gone, _) = look(1_401, &|s| (s.connected, s.since_ms) = (false, 1_401_000));
    assert_eq!((&gone["connected"], &gone["lastDisconnectUnix"]), (&json!(false), &json!(1_401)));
}

#[test]
fn disk_use_is_told_as_rates() {
    let mut sampler = Sampler::default();
    let counters = Counters::default();
    let used = |write_bytes| Some(DiskUse { write_bytes, ..DiskUse::default() });
    let first = sampler.sample(&counters, 10_000, used(4_096));
    assert_eq!(first["procIO"]["writeBytesPerSec"], 0.0);
    let next = sampler.sample(&counters, 12_000, used(12_288));
    assert_eq!(next["procIO"]["writeBytesPerSec"], 4_096.0);
    assert_eq!(next["procIO"]["readBytesPerSec"], 0.0);
}

#[test]
fn the_file_is_private_and_no_planted_link_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in ["precious", "other"] {
        std::fs::write(at(name), "precious").unwrap();
    }
    symlink(at("precious"), at("stats.json.tmp")).unwrap();
    symlink(at("other"), at("stats.json")).unwrap();
    write(&at("stats.json"), b"{}").unwrap();
    for name in ["precious", "other"] {
        assert_eq!(std::fs::read(at(name)).unwrap(), b"precious");
    }
    let meta = std::fs::symlink_metadata(at("stats.json")).unwrap();
    assert!(meta.is_file());
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    assert!(!at("stats.json.tmp").exists());
    // One that comes between the two steps is refused.
    symlink(at("precious"), at("late")).unwrap();
    assert!(private(&at("late")).is_err());
}

#[test]
fn a_file_that_cannot_be_written_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("stats.json");
    std::fs::create_dir_all(target.join("full")).unwrap();
    assert!(write(&target, b"{}").is_err());
    assert!(!dir.path().join("stats.json.tmp").exists());
}
