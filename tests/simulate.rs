//! `meshbox simulate` toward a real hub, toward nobody, and into a file.

use crate::support::database::{column, count};
use crate::support::eventually;
use crate::support::process::{HubProcess, free_port};

use assert_cmd::Command;
use std::path::Path;
use std::process::Stdio;

const LISTENER: &str = "[[broker.listeners]]\ntransport = \"tcp\"\nbind = \"127.0.0.1:0\"\n";

fn simulate(args: &[&str]) -> assert_cmd::assert::Assert {
    Command::cargo_bin("meshbox").unwrap().arg("simulate").args(args).assert()
}

fn broker(hub: &HubProcess) -> String {
    format!("mqtt://{}", hub.mqtt.unwrap())
}

/// What a database holds of a mesh.
fn rows(db: &Path) -> [i64; 5] {
    [
        "select count(*) from transmissions",
        "select count(*) from observations",
        "select count(*) from observers",
        "select count(*) from transmissions where channel_hash = 'Public'",
        "select count(*) from dropped_packets",
    ]
    .map(|sql| count(db, sql))
}

#[test]
fn what_it_says_it_sent_is_exactly_what_the_hub_has_and_sent_again_nothing_new() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("broker.toml"), LISTENER).unwrap();
    let hub = HubProcess::start(dir.path(), &[]);
    let db = dir.path().join("data/meshcore.db");
    let at = broker(&hub);
    let args =
        ["--broker", &at, "--messages", "600", "--qos", "1", "--seed", "11", "--fast", "--json"];
    let mut rows_then = None;
    for _ in 0..2 {
        let told = simulate(&args).success().get_output().stdout.clone();
        let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
        assert_eq!(told["messages"], 600);
        assert_eq!((&told["statuses"], &told["sent"]), (&20.into(), &640.into()));
        assert_eq!(told["acknowledged"], told["sent"]);
        let packets = told["packets"].as_i64().unwrap();
        // A fifth of the packets are adverts, a third channel texts; it ends where it ends.
        let found = rows(&db);
        assert_eq!(found[..3], [packets, 600, 20]);
        assert!((found[3] - packets / 3).abs() <= 1, "{found:?}");
        assert_eq!(found[4], 0, "every signature holds");
        // Other paths each time would be other observations.
        assert_eq!(*rows_then.get_or_insert(found), found);
    }
    assert_eq!(count(&db, "select count(*) from meshbox_refused"), 0);
    let inactive = "select count(*) from observers where packet_count = 0";
    assert_eq!(count(&db, inactive), 0);
    assert_eq!(hub.terminate(), Some(0));
}

#[test]
fn a_file_of_it_replays_to_the_same_rows_and_is_the_same_for_a_seed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mesh.jsonl");
    let path = file.to_str().unwrap();
    simulate(&["--jsonl", path, "--seed", "11", "--messages", "600"]).success();
    simulate(&["--jsonl", path, "--seed", "11"]).failure().code(1);
    let printed = simulate(&["--jsonl", "-", "--seed", "11", "--messages", "600"]).success();
    assert!(printed.get_output().stdout == std::fs::read(&file).unwrap());
    let db = dir.path().join("replayed.db");
    let mut replay = Command::cargo_bin("meshbox").unwrap();
    replay.current_dir(dir.path()).args(["replay", path, "--db"]).arg(&db).assert().success();
    assert_eq!(rows(&db)[1..3], [600, 20]);
    assert_eq!(column(&db, "pragma integrity_check"), ["ok"]);
}

#[test]
fn it_begins_at_once_and_ends_at_ctrl_c_with_what_it_sent() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("broker.toml"), LISTENER).unwrap();
    let hub = HubProcess::start(dir.path(), &[]);
    let db = dir.path().join("data/meshcore.db");
    let mesh = std::process::Command::new(env!("CARGO_BIN_EXE_meshbox"))
        .args(["simulate", "--broker", &broker(&hub), "--rate", "50"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("life is seen", || (rows(&db)[1] > 10).then_some(()));
    let pid = rustix::process::Pid::from_child(&mesh);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ended = mesh.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stdout).unwrap();
    assert!(ended.status.success(), "{said}");
    assert!(said.contains("20 gateways in SIM hear 50 nodes"), "{said}");
    assert!(said.contains("messages sent, in "), "{said}");
    drop(hub);
}

#[test]
fn without_a_broker_it_says_so_in_one_line() {
    let nobody = format!("mqtt://{}", free_port());
    let failed = simulate(&["--broker", &nobody, "--messages", "1"]).code(1);
    let said = String::from_utf8(failed.get_output().stderr.clone()).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("is it running?") && said.contains(&nobody), "{said}");
    for wrong in [
        ["--gateways", "0"],
        ["--nodes", "1"],
        ["--rate", "0"],
        ["--qos", "2"],
        ["--region", "a/b"],
        ["--channel", "club"],
    ] {
        simulate(&wrong).code(2);
    }
}

#[test]
fn a_broker_that_goes_away_ends_it_with_one_line() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("broker.toml"), LISTENER).unwrap();
    let hub = HubProcess::start(dir.path(), &[]);
    let db = dir.path().join("data/meshcore.db");
    let mesh = std::process::Command::new(env!("CARGO_BIN_EXE_meshbox"))
        .args(["simulate", "--broker", &broker(&hub), "--rate", "50"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("life is seen", || (rows(&db)[1] > 0).then_some(()));
    hub.kill();
    let ended = mesh.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!((ended.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("closed the connection") || said.contains("reset"), "{said}");
}
