//! `meshbox account claims` and `release`, with a hub and without one.

use super::{PUBLIC, done, meshbox, minted};
use crate::support::process::HubProcess;
use crate::support::{PATIENCE, eventually};

use meshbox::control::{Instance, socket_path};
use rumqttc::{Client, Event, Incoming, MqttOptions, QoS};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let config =
        "[broker]\naudience = ['hub.example.org']\n[[broker.listeners]]\nbind = '127.0.0.1:0'\n";
    fs::write(dir.path().join("broker.toml"), config).unwrap();
    dir
}

/// Publishes once at QoS 1 for [`PUBLIC`], and returns when that is acknowledged.
fn publish(hub: &HubProcess, login: Option<(&str, &str)>) {
    let mut options = MqttOptions::new("gateway", "127.0.0.1", hub.mqtt.unwrap().port());
    if let Some((name, password)) = login {
        options.set_credentials(name, password);
    }
    let (client, mut connection) = Client::new(options, 10);
    let topic = format!("meshcore/SJC/{PUBLIC}/status");
    client.publish(topic, QoS::AtLeastOnce, false, r#"{"status":"online"}"#).unwrap();
    let acknowledged = |event| matches!(event, Ok(Event::Incoming(Incoming::PubAck(_))));
    assert!(connection.iter().any(acknowledged));
}

fn refused(dir: &Path) -> u64 {
    let status = meshbox(dir, &["status", "--json"], "").1;
    let status: Value = serde_json::from_str(&status).unwrap();
    status["reasons"]["publish_for_a_claimed_key"].as_u64().unwrap_or_default()
}

fn claims(dir: &Path) -> Value {
    serde_json::from_str(&done(dir, &["account", "claims", "--json"], "")).unwrap()
}

fn one_line(dir: &Path, args: &[&str], code: i32, part: &str) {
    let (was, stdout, stderr) = meshbox(dir, args, "");
    assert_eq!((was, stdout.as_str()), (code, ""), "{args:?}: {stderr}");
    assert!(stderr.contains(part), "{args:?}: {stderr}");
    assert!(code == 2 || stderr.lines().count() == 1, "{args:?}: {stderr}");
}

const RELEASE: [&str; 3] = ["account", "release", PUBLIC];

#[test]
fn a_claim_by_token_is_shown_and_taken_back_while_the_hub_runs_and_while_it_does_not() {
    let dir = folder();
    let dir = dir.path();
    let (name, token) = minted(dir, &[]);
    let hub = HubProcess::start(dir, &[]);
    assert_eq!(claims(dir), Value::Array(Vec::new()));
    assert!(done(dir, &["account", "claims"], "").starts_with("no key is claimed"));
    one_line(dir, &RELEASE, 1, "is not claimed; `meshbox account claims` shows");
    publish(&hub, Some((&name, &token)));
    let listed = done(dir, &["account", "claims"], "");
    assert!(listed.lines().nth(1).unwrap().starts_with(PUBLIC), "{listed}");
    assert!(listed.ends_with("a token of that key\n"), "{listed}");
    let row = &claims(dir)[0];
    assert_eq!((&row["key"], &row["by"]), (&PUBLIC.into(), &"token".into()));
    publish(&hub, None);
    assert_eq!(refused(dir), 1);

    let said = done(dir, &["account", "release", &PUBLIC.to_lowercase()], "");
    assert!(
        said.starts_with(&format!("{PUBLIC} is taken back from a token of that key\n")),
        "{said}"
    );
    assert_eq!(claims(dir), Value::Array(Vec::new()));
    publish(&hub, None);
    assert_eq!(refused(dir), 1, "anybody may speak for it again");

    publish(&hub, Some((&name, &token)));
    done(dir, &RELEASE, "");
    hub.kill();
    assert_eq!(claims(dir), Value::Array(Vec::new()), "what was said to be done is in the file");
    let hub = HubProcess::start(dir, &[]);
    publish(&hub, Some((&name, &token)));
    assert_eq!(hub.terminate(), Some(0));
    assert_eq!(claims(dir)[0]["key"], PUBLIC);
    let said = done(dir, &RELEASE, "");
    assert!(said.contains("/data/meshbox-state.db (no hub is running)\n"), "{said}");
    one_line(dir, &RELEASE, 1, "is not claimed");
    let hub = HubProcess::start(dir, &[]);
    assert_eq!(claims(dir), Value::Array(Vec::new()));
    publish(&hub, None);
    assert_eq!(refused(dir), 0);
}

#[test]
fn the_key_of_an_account_stays_claimed_as_long_as_the_account_is_there() {
    let dir = folder();
    let dir = dir.path();
    let (name, token) = minted(dir, &[]);
    let hub = HubProcess::start(dir, &[]);
    publish(&hub, Some((&name, &token)));
    let add = ["account", "add", "roof", "--role", "publisher", "--key", PUBLIC];
    done(dir, &[&add[..], &["--password-stdin"]].concat(), "x\n");
    eventually("the account is known", || {
        publish(&hub, Some(("roof", "x")));
        (claims(dir).as_array().unwrap().len() == 2).then_some(())
    });
    let (code, said, stderr) = meshbox(dir, &RELEASE, "");
    assert_eq!(code, 1);
    assert!(said.contains("taken back from a token of that key\n"), "{said}");
    assert!(stderr.contains("is the key of the account roof and stays claimed"), "{stderr}");
    assert!(stderr.contains("`meshbox account remove roof` gives it up"), "{stderr}");
    assert_eq!(claims(dir)[0]["holder"], "roof");
    assert_eq!(hub.terminate(), Some(0));
    one_line(dir, &RELEASE, 1, "stays claimed");
    done(dir, &["account", "remove", "roof"], "");
    assert_eq!(claims(dir), Value::Array(Vec::new()));
}

#[test]
fn an_account_that_has_learnt_a_key_learns_anew_once_that_is_taken_back() {
    let dir = folder();
    let dir = dir.path();
    let config = fs::read_to_string(dir.join("broker.toml")).unwrap();
    let config = config.replace("[broker]\n", "[broker]\nbindFirstKey = true\n");
    fs::write(dir.join("broker.toml"), config).unwrap();
    done(dir, &["account", "add", "club", "--role", "publisher", "--password-stdin"], "x\n");
    let hub = HubProcess::start(dir, &[]);
    let options = |id| {
        let mut options = MqttOptions::new(id, "127.0.0.1", hub.mqtt.unwrap().port());
        options.set_credentials("club", "x");
        options
    };
    let (client, mut connection) = Client::new(options("stays"), 10);
    client.publish(format!("meshcore/SJC/{PUBLIC}/raw"), QoS::AtLeastOnce, false, "x").unwrap();
    let acknowledged = |event| matches!(event, Ok(Event::Incoming(Incoming::PubAck(_))));
    assert!(connection.iter().any(acknowledged));
    assert_eq!(claims(dir)[0]["by"], "learnt");
    assert!(done(dir, &["account", "claims"], "").ends_with("account club (learnt)\n"));
    let said = done(dir, &RELEASE, "");
    assert!(said.contains("taken back from account club (learnt)\nclub learns another"), "{said}");
    // What it may speak for was told to its connection: that has to end.
    let ended = std::time::Instant::now();
    assert!(connection.iter().any(|event| event.is_err()));
    assert!(ended.elapsed() < PATIENCE);
    drop((client, connection));
    let (client, mut connection) = Client::new(options("again"), 10);
    let other = "AB".repeat(32);
    client.publish(format!("meshcore/SJC/{other}/raw"), QoS::AtLeastOnce, false, "x").unwrap();
    assert!(connection.iter().any(acknowledged));
    assert_eq!(claims(dir)[0]["key"], other);
}

#[test]
fn what_is_wrong_with_a_key_a_hub_or_its_files_is_said_in_one_line() {
    let dir = folder();
    let dir = dir.path();
    for wrong in ["12", &"zz".repeat(32), ""] {
        one_line(dir, &["account", "release", wrong], 2, "write its 64 hex digits");
    }
    // Nothing has ever run here, and nothing is made for having been asked.
    assert_eq!(claims(dir), Value::Array(Vec::new()));
    one_line(dir, &RELEASE, 1, "is not claimed (no hub is running, and there is no ");
    assert_eq!(fs::read_dir(dir).unwrap().count(), 1);

    let data = dir.join("data");
    fs::create_dir(&data).unwrap();
    let state = data.join("meshbox-state.db");
    fs::write(&state, "this is no database").unwrap();
    one_line(dir, &["account", "claims"], 1, "meshbox-state.db cannot be used: it is damaged");
    one_line(dir, &RELEASE, 1, "meshbox-state.db cannot be used: it is damaged");
    assert_eq!(fs::read(&state).unwrap(), b"this is no database");

    let taken = Instance::take(&data).unwrap();
    one_line(dir, &RELEASE, 1, "a hub is starting or stopping on ");
    // A hub that knows other questions.
    let socket = std::os::unix::net::UnixListener::bind(socket_path(&data.join("x.db"))).unwrap();
    let answers = std::thread::spawn(move || {
        for _ in 0..2 {
            let (stream, _) = socket.accept().unwrap();
            BufReader::new(&stream).read_line(&mut String::new()).unwrap();
            let answer = "{\"error\":\"not a question: unknown variant\"}\n";
            (&stream).write_all(answer.as_bytes()).unwrap();
        }
    });
    for args in [&RELEASE[..], &["account", "claims"]] {
        one_line(dir, args, 1, "is of another version than this program");
    }
    answers.join().unwrap();
    drop(taken);
}
