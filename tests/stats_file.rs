//! CoreScope's stats file, written by a running hub.

use crate::support::eventually;
use crate::support::process::HubProcess;

use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const CONFIG: &str = "dbPath = 'hub.db'\n[[broker.listeners]]\nbind = '127.0.0.1:0'\n";

fn sample(path: &Path) -> Option<Value> {
    // Never half a file.
    fs::read(path).ok().map(|text| serde_json::from_slice(&text).unwrap())
}

#[test]
fn the_environment_variable_turns_it_on_and_it_is_written_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("broker.toml"), CONFIG).unwrap();
    let path = dir.path().join("stats.json");
    let variables = [("CORESCOPE_INGESTOR_STATS", path.to_str().unwrap())];
    let hub = HubProcess::spawn_with(dir.path(), &[], &variables);
    let first = eventually("the file is there", || sample(&path));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!((&first["tx_inserted"], &first["groupCommitFlushes"]), (&0.into(), &0.into()));
    eventually("it is written again", || {
        sample(&path).filter(|next| next["sampledAt"] != first["sampledAt"])
    });
    assert_eq!(hub.terminate(), Some(0));
}

#[test]
fn a_place_that_cannot_be_written_is_said_and_the_hub_runs_on() {
    let dir = tempfile::tempdir().unwrap();
    let config = format!("statsFile = 'no/such/stats.json'\n{CONFIG}");
    fs::write(dir.path().join("broker.toml"), config).unwrap();
    let hub = HubProcess::start(dir.path(), &[]);
    eventually("it is said", || {
        hub.output().contains("no/such/stats.json (1 times): No such file").then_some(())
    });
    assert_eq!(hub.terminate(), Some(0));
}

#[test]
fn without_a_path_there_is_no_file() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("broker.toml"), CONFIG).unwrap();
    let hub = HubProcess::start(dir.path(), &[]);
    assert_eq!(hub.terminate(), Some(0));
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains("stats")), "{names:?}");
}
