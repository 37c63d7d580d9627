//! Files with private keys of nodes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Config, Error, NodeKey, folder, line, load, no_env};

// A key that the firmware publishes in src/Identity.cpp.
const PRIVATE: &str = "18469d6140447f77de13cd8d761e605431f52269fbff43b0925752ed9e6745435dc6a86d2568af8b70d3365db3f88234760c8ecc645ce469829bc45b65f1d5d5";
const PUBLIC: &str = "4852b69364572b52efa1b6bb3e6d0abed4f389a1cbfbb60a9bba2cce649caf0e";

const TOML: &str = "\nnodeKeys = ['node.key']";

/// Loads a configuration whose one node key has this file.
fn with_key(key: &str, mode: u32) -> (Result<Config, Error>, String) {
    let dir = folder(&[("broker.toml", TOML), ("node.key", key)]);
    let file = dir.path().join("node.key");
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    (load("broker.toml", dir.path(), &no_env), file.display().to_string())
}

#[test]
fn a_key_is_read_in_every_form_that_people_have_it() {
    let upper = PRIVATE.to_uppercase();
    for text in [
        PRIVATE.to_owned(),
        format!("{upper}\r\n"),
        format!("\u{feff}# my repeater\n\n  -> > {PRIVATE}  \n"),
        format!("> {PRIVATE}\n"),
        format!("{{\"private_key\": \"{PRIVATE}\"}}"),
        format!(
            "{{\n\"name\": \"Me\", \"public_key\": \"{PUBLIC}\", \"private_key\": \"{upper}\", \
             \"radio_settings\": {{}}}}"
        ),
    ] {
        let config = with_key(&text, 0o600).0.unwrap();
        let [key] = &config.node_keys[..] else { panic!("{text}") };
        assert_eq!(hex::encode(key.private.reveal()), PRIVATE);
        assert_eq!(key.public.map(hex::encode), text.contains(PUBLIC).then(|| PUBLIC.to_owned()));
        let shown = format!("{config:?}");
        assert!(shown.contains("node.key") && config.notes.iter().all(|n| n.contains("web")));
        assert!(!shown.to_lowercase().contains(&PRIVATE[..16]), "{shown}");
        let bytes = format!("{:?}", &key.private.reveal()[..8]);
        assert!(!shown.contains(bytes.trim_matches(['[', ']'])), "{shown}");
    }
}

#[test]
fn what_is_wrong_with_a_key_file_is_one_line_with_the_place_and_never_the_key() {
    let seed = &PRIVATE[..64];
    let unclamped = format!("ff{}", &PRIVATE[2..]);
    let cases = [
        (String::new(), "1: no key; write the 128 hex digits of the node's private key into it"),
        (format!("# a\n{seed}\n"), "2: has 64 hex digits; a node's private key has 128"),
        (format!("{PRIVATE}\n{PRIVATE}"), "2: a second key; give each node a file of its own"),
        (format!("x{}", &PRIVATE[1..]), "1: is not hex; a node's private key has 128 hex digits"),
        (
            unclamped,
            "1: is no private key of MeshCore, whose first half is a clamped scalar; take what \
             `get prv.key` says at the node's serial console",
        ),
        (
            format!("{{\n\"public_key\": \"{PUBLIC}\"}}"),
            "1: private_key: is missing; export the node with its private key",
        ),
        (
            format!("{{\n\"private_key\": \"{seed}\"}}"),
            "2: private_key: has 64 hex digits; a node's private key has 128",
        ),
        ("{\"private_key\": 7}".into(), "1: private_key: must be a string of 128 hex digits"),
        (
            format!("{{\"private_key\": \"{PRIVATE}\",\n\"public_key\": \"{seed}00\"}}"),
            "2: public_key: has 66 hex digits; a public key has 64",
        ),
        (
            format!("{{\"private_key\": \"{PRIVATE}\",\n\"public_key\": []}}"),
            "2: public_key: must be a string of 64 hex digits",
        ),
        (format!("{{\"private_key\": \"{PRIVATE}"), "1: not JSON: EOF while parsing a string"),
    ];
    for (text, expected) in cases {
        let (result, file) = with_key(&text, 0o600);
        let line = line(result);
        assert_eq!(line, format!("{file}:{expected}"));
        assert!(!line.contains(&PRIVATE[4..20]));
    }
}

#[test]
fn a_file_that_cannot_be_read_is_blamed_on_its_place_in_the_configuration() {
    let dir = folder(&[("broker.toml", TOML)]);
    assert_eq!(
        line(load("broker.toml", dir.path(), &no_env)),
        format!(
            "broker.toml:2: nodeKeys[0]: cannot read {}/node.key: No such file or directory; name \
             a file that can be read",
            dir.path().display()
        )
    );
    fs::write(dir.path().join("node.key"), [0xFF, 0xFE]).unwrap();
    let said = line(load("broker.toml", dir.path(), &no_env));
    assert!(said.ends_with("name a file that can be read"), "{said}");
    let error = NodeKey::load(Path::new("/nonexistent/key")).unwrap_err().to_string();
    assert_eq!(
        error,
        "/nonexistent/key: cannot be read: No such file or directory; name a file that can be read"
    );
}

#[test]
fn a_key_that_anyone_may_read_is_noted_and_one_that_comes_twice_counts_once() {
    let (config, file) = with_key(PRIVATE, 0o644);
    let note = format!("nodeKeys[0]: anyone may read {file} (0644); chmod 600 it");
    assert!(config.unwrap().notes.contains(&note), "{note}");
    let config = with_key(PRIVATE, 0o640).0.unwrap();
    assert!(config.notes.iter().all(|note| !note.contains("chmod")));

    let twice = folder(&[("broker.toml", "nodeKeys = ['a', 'b']"), ("a", PRIVATE), ("b", PRIVATE)]);
    let config = load("broker.toml", twice.path(), &no_env).unwrap();
    assert_eq!(config.node_keys.len(), 1);
    let note = "nodeKeys[1]: the same key as in an earlier file";
    assert!(config.notes.iter().any(|it| it == note), "{:?}", config.notes);
}

#[test]
fn a_corescope_config_may_have_node_keys_too() {
    let dir = folder(&[("config.json", "{\"nodeKeys\": [\"node.key\"]}"), ("node.key", PRIVATE)]);
    assert_eq!(load("config.json", dir.path(), &no_env).unwrap().node_keys.len(), 1);
}
