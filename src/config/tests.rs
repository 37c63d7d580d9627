//! Whole files, good and bad, and the exact line that a user reads.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::own::Machine;
use super::search::{self, Written};
use super::tree::{At, Dialect};
use super::*;

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
    EXAMPLE.lines().map(|text| line(text) + "\n").collect()
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
    let listener = Listener { transport: Transport::Tcp, bind, access: Access::Lan };
    assert_eq!(config.broker, Broker { enabled: true, listeners: vec![listener] });
    assert!(config.db_path.ends_with("data/meshcore.db"));
    assert_eq!(config.content_hash, ContentHash::Firmware);
    assert_eq!(config.ingest, Bounds { messages: 50_000, bytes: 16 << 20 });
    assert_eq!(config.commit_interval, Duration::from_secs(1));
    assert_eq!(config.node_retention, Duration::from_secs(7 * 86_400));
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
    ]);
    let written = find(Some("broker.toml"), dir.path()).unwrap();
    // Each key in at least one place: a list's entries need not all have all of them.
    let mut given = std::collections::BTreeMap::new();
    gather("", &serde_json::to_value(&written.file).unwrap(), &mut given);
    let absent: Vec<_> = given.iter().filter(|(_, given)| !**given).map(|(key, _)| key).collect();
    assert!(absent.is_empty(), "broker.toml does not have {absent:?}");
    assert!(given.len() > 60, "the keys are not found: {given:?}");

    let config = load("broker.toml", dir.path(), &no_env).unwrap();
    assert_eq!(config.sources.len(), 1);
    assert_eq!(config.channel_keys.len(), 2);
}

fn gather(
    at: &str,
    value: &serde_json::Value,
    given: &mut std::collections::BTreeMap<String, bool>,
) {
    match value {
        serde_json::Value::Object(pairs) => {
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

#[test]
fn what_is_wrong_in_broker_toml_is_one_line_with_the_place_and_the_way_out() {
    let cases = [
        ("dbpath = 'x'", "broker.toml:1: dbpath: unknown key; did you mean dbPath"),
        (
            "\n[retention]\nnodeDay = 3",
            "broker.toml:3: retention.nodeDay: unknown key; did you mean nodeDays",
        ),
        (
            "[web]\nhashChannels = []",
            "broker.toml:2: web.hashChannels: unknown key here; it belongs to the top of the \
             file, above the first [table]",
        ),
        (
            "apiKey = 'hunter2'",
            "broker.toml:1: apiKey: unknown key; remove it, `meshbox config example` shows every \
             key",
        ),
        ("[mqtt]\nbroker = 'b'", "broker.toml:1: mqtt: unknown key; did you mean mqttSources"),
        ("a = = 1", "broker.toml:1: not TOML: extra `=`, expected nothing"),
        (
            "dbPath = 7",
            "broker.toml:1: dbPath: must be a string, and is a whole number; put it in double \
             quotes",
        ),
        (
            "commitIntervalMs = '5'",
            "broker.toml:1: commitIntervalMs: must be a whole number, and is a string; take the \
             quotes away",
        ),
        (
            "ingestBufferSize = 1.5",
            "broker.toml:1: ingestBufferSize: must be a whole number, and is a fractional number; \
             leave the fraction out",
        ),
        (
            "validateSignatures = 'no'",
            "broker.toml:1: validateSignatures: must be true or false, and is a string; write \
             true or false, without quotes",
        ),
        (
            "hashChannels = '#test'",
            "broker.toml:1: hashChannels: must be a list, and is a string; put it in [ ]",
        ),
        (
            "hashChannels = [\n  '#a',\n  3,\n]",
            "broker.toml:3: hashChannels[1]: must be a string, and is a whole number; put it in \
             double quotes",
        ),
        (
            "[mqttSources]\nbroker = 'b'",
            "broker.toml:1: mqttSources: must be a list, and is a table; write it as a list, in \
             TOML with double brackets: [[…]]",
        ),
        (
            "broker = 'b'",
            "broker.toml:1: broker: must be a table, and is a string; give it keys of its own, \
             `meshbox config example` shows them",
        ),
        (
            "[[mqttSources]]\nbroker = 'a'\n[[mqttSources]]\nname = 'x'",
            "broker.toml:3: mqttSources[1].broker: is missing; give it the URL, such as \
             mqtt://host:1883",
        ),
        (
            "[[mqttSources]]\n\nbroker = 'htp://u:hunter2@b'",
            "broker.toml:3: mqttSources[0].broker: \"htp://\" is no kind of broker; use mqtt://, \
             mqtts://, ws:// or wss://",
        ),
        (
            "[[mqttSources]]\nbroker = 'mqtt://b/meshcore/#'",
            "broker.toml:2: mqttSources[0].broker: has a path, which means nothing there; put \
             topics into topics",
        ),
        (
            "[[mqttSources]]\nbroker = 'b'\ntopics = ['meshcore#']",
            "broker.toml:3: mqttSources[0].topics: \"meshcore#\" has a # that is not its whole \
             last level; write it as meshcore/#",
        ),
        (
            "[[mqttSources]]\nbroker = 'b'\npassword = 'hunter2'",
            "broker.toml:3: mqttSources[0].password: is given without username, and MQTT has no \
             such login; add username",
        ),
        (
            "[[mqttSources]]\nbroker = 'mqtt://u:p@b'\nusername = 'u'",
            "broker.toml:3: mqttSources[0].username: is given in the URL as well, and the URL \
             counts; keep one of the two",
        ),
        (
            "[[mqttSources]]\nbroker = 'b'\npassword = 4711",
            "broker.toml:3: mqttSources[0].password: must be a string, and is a whole number; put \
             it in double quotes",
        ),
        (
            "[[mqttSources]]\nbroker = 'mqtt://localhost'",
            "broker.toml:2: mqttSources[0].broker: localhost:1883 is our own listener on \
             0.0.0.0:1883; remove this source, what is published there is taken in anyway",
        ),
        (
            "[[broker.listeners]]\nbind = 'localhost:1883'",
            "broker.toml:2: broker.listeners[0].bind: \"localhost:1883\" is no address:port; \
             write it as 0.0.0.0:1883, 127.0.0.1:1883 or [::]:1883",
        ),
        (
            "[[broker.listeners]]\n[[broker.listeners]]\naccess = 'local'",
            "broker.toml:2: broker.listeners[1].bind: 0.0.0.0:1883 is taken by a listener above; \
             give each its own port",
        ),
        (
            "[[broker.listeners]]\naccess = 'acounts'",
            "broker.toml:2: broker.listeners[0].access: is not one of anyone, lan, local, \
             accounts; use one of these, perhaps \"accounts\"",
        ),
        (
            "[[broker.listeners]]\ntransport = 'wss'",
            "broker.toml:1: broker.listeners[0]: wss has no port of its own; give bind an \
             address:port",
        ),
        (
            "contentHash = 'md5'",
            "broker.toml:1: contentHash: is not one of firmware, corescope-2026-04; use one of \
             these",
        ),
        (
            "ingestBufferSize = 0",
            "broker.toml:1: ingestBufferSize: 0 is too small; use 1 to 10000000",
        ),
        (
            "commitIntervalMs = 60001",
            "broker.toml:1: commitIntervalMs: 60001 is too large; use 1 to 60000",
        ),
        (
            "ingestBufferMB = 99999999999999999999",
            "broker.toml:1: ingestBufferMB: 9223372036854775807 is too large; use 1 to 2047",
        ),
        (
            "[channelKeys]\nx = 'ab'",
            "broker.toml:2: channelKeys.x: has 2 hex digits; a channel key has 32 or 64",
        ),
        (
            "[channelKeys]\n'my club' = 'secret'",
            "broker.toml:2: channelKeys.\"my club\": is not hex; a channel key has 32 or 64 hex \
             digits",
        ),
        (
            "[web]\naccess = 'open'",
            "broker.toml:2: web.access: is not one of anyone, lan, local, accounts; use one of \
             these",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(line(toml(text)), expected, "in\n{text}");
    }
}
