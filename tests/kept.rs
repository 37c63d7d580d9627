//! What the broker keeps for those who are away, over the end of the program.

use crate::support::packets::{OBSERVER, packet_message, packets_topic, text_packet};
use crate::support::process::HubProcess;

use meshbox::config::password::PasswordHash;
use rumqttc::{Client, Connection, Event, Incoming, MqttOptions, Outgoing, QoS};
use std::path::Path;

/// A folder with a hub on a loopback port and one account, a reader.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let config = "[[broker.listeners]]\nbind = \"127.0.0.1:0\"\n";
    std::fs::write(dir.path().join("broker.toml"), config).unwrap();
    let hash = PasswordHash::make(b"secret", b"0123456789abcdef").unwrap();
    let account = format!("[accounts.home]\npassword = '{}'\nrole = 'reader'\n", hash.as_str());
    let path = dir.path().join("accounts.toml");
    std::fs::write(&path, account).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    dir
}

/// The reader, whose session is kept, and whether it was there.
fn reader(hub: &HubProcess) -> (Client, Connection, bool) {
    let mut options = MqttOptions::new("home", "127.0.0.1", hub.mqtt.unwrap().port());
    options.set_credentials("home", "secret").set_clean_session(false);
    let (client, mut connection) = Client::new(options, 10);
    let found = connection.iter().find_map(|event| match event.unwrap() {
        Event::Incoming(Incoming::ConnAck(ack)) => Some(ack.session_present),
        _ => None,
    });
    (client, connection, found.unwrap())
}

fn say_goodbye(client: &Client, connection: &mut Connection) {
    client.disconnect().unwrap();
    let gone = |event| matches!(event, Ok(Event::Outgoing(Outgoing::Disconnect)));
    assert!(connection.iter().any(gone));
}

/// Publishes as a gateway at QoS 1, and returns when all of it is acknowledged.
fn publish(hub: &HubProcess, messages: &[(String, String, bool)]) {
    let options = MqttOptions::new("gateway", "127.0.0.1", hub.mqtt.unwrap().port());
    let (client, mut connection) = Client::new(options, messages.len() + 1);
    for (topic, payload, retain) in messages {
        client.publish(topic, QoS::AtLeastOnce, *retain, payload.as_str()).unwrap();
    }
    let acknowledged =
        |event: &Result<Event, _>| matches!(event, Ok(Event::Incoming(Incoming::PubAck(_))));
    assert_eq!(connection.iter().filter(acknowledged).take(messages.len()).count(), messages.len());
    say_goodbye(&client, &mut connection);
}

/// The next copies.
fn copies_of(connection: &mut Connection, count: usize) -> Vec<bytes::Bytes> {
    let copy = |event| match event {
        Ok(Event::Incoming(Incoming::Publish(publish))) => Some(publish.payload),
        Ok(_) => None,
        Err(error) => panic!("the connection broke: {error}"),
    };
    connection.iter().filter_map(copy).take(count).collect()
}

fn start(dir: &Path) -> HubProcess {
    HubProcess::start(dir, &[])
}

#[test]
fn what_is_queued_for_an_account_and_what_is_retained_outlive_kill_minus_9() {
    let dir = folder();
    let hub = start(dir.path());
    let (client, mut connection, present) = reader(&hub);
    assert!(!present, "there was no session yet");
    client.subscribe("meshcore/+/+/packets", QoS::AtLeastOnce).unwrap();
    let subscribed = |event| matches!(event, Ok(Event::Incoming(Incoming::SubAck(_))));
    assert!(connection.iter().any(subscribed));
    say_goodbye(&client, &mut connection);
    drop((client, connection));
    let neighbors = format!("meshcore/SJC/{OBSERVER}/neighbors");
    let mut messages: Vec<_> = (0..50)
        .map(|n| (packets_topic(OBSERVER), packet_message(&text_packet(n)), false))
        .collect();
    messages.push((neighbors.clone(), "{\"neighbors\":[]}".to_owned(), true));
    publish(&hub, &messages);
    hub.kill();

    let hub = start(dir.path());
    let (client, mut connection, present) = reader(&hub);
    assert!(present, "the session was kept");
    let copies = copies_of(&mut connection, 50);
    let wanted: Vec<_> = messages[..50].iter().map(|(_, payload, _)| payload.as_bytes()).collect();
    assert_eq!(copies, wanted, "all of them, in order");

    let options = MqttOptions::new("late", "127.0.0.1", hub.mqtt.unwrap().port());
    let (late, mut events) = Client::new(options, 10);
    late.subscribe(&neighbors, QoS::AtMostOnce).unwrap();
    let retained = events.iter().find_map(|event| match event.unwrap() {
        Event::Incoming(Incoming::Publish(publish)) => Some((publish.topic, publish.retain)),
        _ => None,
    });
    assert_eq!(retained, Some((neighbors, true)));
    // What was acknowledged does not come again.
    say_goodbye(&client, &mut connection);
    drop((client, connection));
    publish(&hub, &[(packets_topic(OBSERVER), packet_message(&text_packet(99)), false)]);
    let (_client, mut connection, present) = reader(&hub);
    assert!(present);
    assert_eq!(copies_of(&mut connection, 1), [packet_message(&text_packet(99)).as_bytes()]);
}

#[test]
fn what_is_kept_for_an_account_that_is_gone_at_the_start_goes_with_it() {
    let dir = folder();
    let file = dir.path().join("accounts.toml");
    let hub = start(dir.path());
    let (client, mut connection, _) = reader(&hub);
    client.subscribe("meshcore/+/+/packets", QoS::AtLeastOnce).unwrap();
    let subscribed = |event| matches!(event, Ok(Event::Incoming(Incoming::SubAck(_))));
    assert!(connection.iter().any(subscribed));
    say_goodbye(&client, &mut connection);
    drop((client, connection));
    publish(&hub, &[(packets_topic(OBSERVER), packet_message(&text_packet(1)), false)]);
    assert_eq!(hub.terminate(), Some(0));
    let accounts = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, accounts.replace("home", "other")).unwrap();
    assert_eq!(start(dir.path()).terminate(), Some(0));
    std::fs::write(&file, accounts).unwrap();
    let hub = start(dir.path());
    let (_client, _connection, present) = reader(&hub);
    assert!(!present, "an account of the same name later is another one");
}

#[test]
fn what_was_queued_for_a_role_is_not_delivered_to_another_that_it_has_after_a_restart() {
    let dir = folder();
    let file = dir.path().join("accounts.toml");
    let hub = start(dir.path());
    let (client, mut connection, _) = reader(&hub);
    client.subscribe("meshcore/+/+/packets", QoS::AtLeastOnce).unwrap();
    let subscribed = |event| matches!(event, Ok(Event::Incoming(Incoming::SubAck(_))));
    assert!(connection.iter().any(subscribed));
    say_goodbye(&client, &mut connection);
    drop((client, connection));
    publish(&hub, &[(packets_topic(OBSERVER), packet_message(&text_packet(1)), false)]);
    assert_eq!(hub.terminate(), Some(0));
    let accounts = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, accounts.replace("'reader'", "'publisher'")).unwrap();
    let hub = start(dir.path());
    let (client, mut connection, _) = reader(&hub);
    // The answer comes after what was queued, if anything of that comes.
    client.subscribe("meshcore/#", QoS::AtLeastOnce).unwrap();
    let first = connection.iter().find_map(|event| match event.unwrap() {
        Event::Incoming(Incoming::Publish(publish)) => Some(publish.topic),
        Event::Incoming(Incoming::SubAck(_)) => Some("none".to_owned()),
        _ => None,
    });
    assert_eq!(first.as_deref(), Some("none"));
    let queues = || {
        let status = meshbox::control::ask_status(&dir.path().join("data/meshcore.db")).unwrap();
        (status.counters["broker_withheld"] == 1).then_some(status.queues)
    };
    let queues = crate::support::eventually("it is withheld", queues);
    assert!(queues.is_empty(), "nothing waits any more: {queues:?}");
}

#[test]
fn status_tells_programs_and_people_what_waits_for_whom() {
    let dir = folder();
    let hub = start(dir.path());
    let (client, mut connection, _) = reader(&hub);
    client.subscribe("meshcore/+/+/packets", QoS::AtLeastOnce).unwrap();
    let subscribed = |event| matches!(event, Ok(Event::Incoming(Incoming::SubAck(_))));
    assert!(connection.iter().any(subscribed));
    say_goodbye(&client, &mut connection);
    drop((client, connection));
    let messages: Vec<_> =
        (0..3).map(|n| (packets_topic(OBSERVER), packet_message(&text_packet(n)), false)).collect();
    publish(&hub, &messages);
    let ask = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_meshbox"));
        let output = command.current_dir(dir.path()).arg("status").args(args).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let json = |args: &[&str]| -> serde_json::Value { serde_json::from_str(&ask(args)).unwrap() };
    let health = json(&["--json"]);
    let clients = json(&["--connections", "--json"]);
    for queue in [&health["queues"][0], &clients["away"][0]] {
        assert_eq!((&queue["identity"], &queue["messages"]), (&"home".into(), &3.into()));
        assert_eq!(queue["connected"], false);
        assert!(queue["awaySinceMs"].is_i64() && queue["bytes"].as_u64() > Some(0), "{queue}");
    }
    for text in [ask(&[]), ask(&["--connections"])] {
        assert!(text.contains("sessions of clients that are away (1)\n"), "{text}");
    }
}
