//! Whole files, good and bad, and the exact line that a user reads.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::own::Machine;
use super::search::{self, Written};
use super::*;

mod bad_files;
mod corescope;
mod filters;
mod good_files;
mod node_keys;
mod policy;
mod uplinks;

const NOWHERE: &str = "/nonexistent/broker.toml";

fn machine() -> Machine {
    Machine { names: vec!["pi".into()], addresses: vec!["192.168.1.5".parse().unwrap()] }
}

fn no_env(_: &str) -> Option<String> {
    None
}

/// A folder with these files, as the working directory.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn find(named: Option<&str>, dir: &Path) -> Result<Written, Error> {
    search::find(named.map(Path::new), dir, Path::new(NOWHERE))
}

/// Loads the file `name` in `dir`, on a machine called `pi`.
fn load(name: &str, dir: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Error> {
    Config::judged(&find(Some(name), dir)?, env, dir, &machine())
}

fn toml(text: &str) -> Result<Config, Error> {
    load("broker.toml", folder(&[("broker.toml", text)]).path(), &no_env)
}

fn json(text: &str) -> Result<Config, Error> {
    load("config.json", folder(&[("config.json", text)]).path(), &no_env)
}

fn line(result: Result<Config, Error>) -> String {
    let line = result.expect_err("it loads").to_string();
    assert!(!line.contains('\n'), "{line}");
    line
}

/// What matters apart from where it comes from and what is not built.
fn plain(mut config: Config, dir: &Path) -> Config {
    config.origin = Origin::Defaults;
    config.db_path = config.db_path.strip_prefix(dir).unwrap().to_owned();
    let accounts = &mut config.broker.logins.accounts.path;
    *accounts = accounts.strip_prefix(dir).unwrap().to_owned();
    config.notes.clear();
    config
}

/// `broker.toml` with the defaults, or also the examples, made real.
fn uncommented(examples: bool) -> String {
    let line = |line: &str| {
        if line.starts_with("##") {
            return String::new();
        }
        match line.strip_prefix("#~") {
            Some(example) if examples => example.to_owned(),
            Some(_) => String::new(),
            None => line.strip_prefix('#').unwrap_or(line).to_owned(),
        }
    };
    EXAMPLE.lines().flat_map(|text| [line(text), "\n".into()]).collect()
}

#[test]
fn the_shipped_file_means_the_same_as_no_file_commented_or_not() {
    let nothing = folder(&[]);
    let written = find(None, nothing.path()).unwrap();
    let defaults = Config::judged(&written, &no_env, nothing.path(), &machine()).unwrap();
    assert_eq!(defaults.origin, Origin::Defaults);
    let defaults = plain(defaults, nothing.path());
    for text in ["", EXAMPLE, &uncommented(false)] {
        let dir = folder(&[("broker.toml", text)]);
        let config = load("broker.toml", dir.path(), &no_env).unwrap();
        assert_eq!(plain(config, dir.path()), defaults);
    }
}

#[test]
fn the_defaults_are_a_broker_for_the_lan_and_one_note() {
    let config = toml("").unwrap();
    let bind = "0.0.0.0:1883".parse().unwrap();
    let listener = Listener::tcp(bind, Access::Lan);
    let logins = config.broker.logins.clone();
    assert_eq!(config.broker, Broker { logins, ..Broker::with(vec![listener]) });
    assert_eq!(config.broker.max_connections, 1_000);
    assert_eq!(config.broker.max_connections_per_address, 250);
    assert!(config.db_path.ends_with("data/meshcore.db"));
    assert_eq!(config.content_hash, ContentHash::Firmware);
    assert_eq!(config.ingest, Ingest { messages: 50_000, bytes: 16 << 20 });
    assert_eq!(config.commit_interval, Duration::from_secs(1));
    assert_eq!(config.retention.nodes, Duration::from_secs(7 * 86_400));
    assert!(config.validate_signatures);
    assert_eq!((config.sources, config.channel_keys), (vec![], vec![]));
    assert_eq!(config.notes, ["web: not built yet, nothing listens on 0.0.0.0:8080"]);
}

#[test]
fn the_shipped_file_has_every_key_and_its_examples_load() {
    let dir = folder(&[
        ("broker.toml", &uncommented(true)),
        ("channel-rainbow.json", "{}"),
        ("club.password", "secret\n"),
        ("club-ca.pem", ""),
        ("hub.crt", ""),
        ("hub.key", ""),
    ]);
    let key = format!("{}40{}", "00".repeat(31), "11".repeat(32));
    fs::create_dir(dir.path().join("keys")).unwrap();
    fs::write(dir.path().join("keys/my-repeater.json"), format!(r#"{{"private_key":"{key}"}}"#))
        .unwrap();
    let written = find(Some("broker.toml"), dir.path()).unwrap();
    // Each key in at least one place: a list's entries need not all have all of them.
    let mut given = std::collections::BTreeMap::new();
    gather("", &serde_json::to_value(&written.file).unwrap(), &mut given);
    let absent: Vec<_> = given.iter().filter(|(_, given)| !**given).map(|(key, _)| key).collect();
    assert!(absent.is_empty(), "broker.toml does not have {absent:?}");
    assert!(given.len() > 60, "the keys are not found: {given:?}");

    let config = load("broker.toml", dir.path(), &no_env).unwrap();
    assert_eq!((config.sources.len(), config.uplinks.len()), (3, 3));
    assert_eq!(config.channel_keys.len(), 2);
}

fn gather(
    at: &str,
    value: &serde_json::Value,
    given: &mut std::collections::BTreeMap<String, bool>,
) {
    match value {
        serde_json::Value::Object(pairs) => {
            given.insert(at.to_owned(), true);
            for (key, value) in pairs {
                gather(&format!("{at}.{key}"), value, given);
            }
        }
        serde_json::Value::Array(list) if list.iter().any(serde_json::Value::is_object) => {
            list.iter().for_each(|value| gather(at, value, given));
        }
        value => *given.entry(at.to_owned()).or_default() |= !value.is_null(),
    }
}
