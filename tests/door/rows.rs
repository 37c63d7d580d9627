//! Rows of the feature table that no other file of the door has over sockets; `table` says which is where.

use std::time::Duration;

use meshbox::config::{Access, Policy};
use meshbox::crypto::token::{mint, username};
use meshbox::message::Outcome;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{ConnectReturnCode, Packet, PubAck};

use super::accounts::{self, Place, account, claims, key};
use super::outside::{run, tools};
use super::rig::{self, Raw, TOPIC, connect, listener};
use crate::support::{PATIENCE, eventually_async};

/// Publishes at QoS 1, and waits for the answer.
async fn say(client: &mut Raw, topic: &str, payload: &[u8]) {
    client.publish(topic, payload, QoS::AtLeastOnce, 3).await;
    assert_eq!(client.packet().await, Packet::PubAck(PubAck::new(3)), "{topic}");
}

/// Stores everything that comes, and hands out topics and payloads.
fn storing(mut place: Place) -> (Place, tokio::sync::mpsc::Receiver<(String, String)>) {
    let (_inlet, nothing) = meshbox::message::queue::queue(rig::ROOMY);
    let mut outlet = std::mem::replace(&mut place.outlet, nothing);
    let (sender, stored) = tokio::sync::mpsc::channel(1_000);
    tokio::spawn(async move {
        while let Some(message) = outlet.next().await {
            let payload = String::from_utf8_lossy(&message.payload).into_owned();
            let _ = sender.send((message.topic, payload)).await;
            message.receipt.complete(Outcome::Stored);
        }
    });
    (place, stored)
}

/// A gateway that has logged in with a token of the key that begins so; and that key.
async fn gateway(place: &Place, first: u8) -> (Raw, String) {
    let key = key(first);
    let (client, code) = place.answer(&username(key.public_key()), &mint(&key, &claims())).await;
    assert_eq!(code, ConnectReturnCode::Success);
    (client, hex::encode_upper(key.public_key()))
}

/// Logs an account in under a client id of its own.
async fn named(place: &Place, name: &str, id: &str) -> Raw {
    let mut client = Raw::dial(place.house.address()).await;
    let mut connect = connect(id);
    connect.set_login(name, "hunter2");
    client.log_in(&connect).await;
    client
}

fn of(key: &str, subtopic: &str) -> String {
    format!("meshcore/SJC/{key}/{subtopic}")
}

#[tokio::test]
async fn row_7_a_gateway_speaks_for_its_own_key_and_is_not_thrown_out_for_more() {
    let (place, mut stored) = storing(accounts::open("", Access::Lan, true).await);
    let (mut mine, own) = gateway(&place, 8).await;
    let other = "AB".repeat(32);
    for (topic, reason) in [
        (of(&other, "packets"), "publish_for_another_key"),
        (of(&own, "internal"), "publish_to_internal"),
        ("homeassistant/light/x".to_owned(), "publish_outside_meshcore"),
    ] {
        say(&mut mine, &topic, b"not mine").await;
        assert_eq!(place.house.reason(reason), 1, "{topic}");
    }
    for subtopic in ["packets", "status", "neighbors", "config", "raw", "debug"] {
        say(&mut mine, &of(&own, subtopic), b"{}").await;
        assert_eq!(stored.recv().await.unwrap().0, of(&own, subtopic));
    }
    assert!(stored.try_recv().is_err());
}

#[tokio::test]
async fn row_7_the_meshrank_tree_is_taken_where_the_owner_allows_it() {
    let allow_topics = vec!["meshrank/#".to_owned()];
    let policy = Policy { allow_topics, ..Policy::default() };
    let (house, mut stored) =
        rig::storing_by(policy, vec![listener("127.0.0.1:0", Access::Lan)]).await;
    let mut reader = house.client("reader").await;
    assert_eq!(reader.subscribe("meshrank/#").await, [0]);
    let mut client = house.client("gateway").await;
    let topic = format!("meshrank/uplink/secret/{}/packets", "AB".repeat(32));
    say(&mut client, &topic, b"{}").await;
    assert_eq!(reader.delivery().await.topic, topic);
    assert_eq!(stored.next().await.topic, topic, "its packets are packets");
}

#[tokio::test]
async fn row_11_a_gateway_subscribes_to_its_own_commands_alone_and_stays_connected() {
    let boss = account("boss", "hunter2", "role = 'admin'");
    let (place, _stored) = storing(accounts::open(&boss, Access::Lan, true).await);
    let (mut mine, own) = gateway(&place, 8).await;
    let commands = |key: &str| of(key, "serial/commands");
    for filter in ["meshcore/#", "#", &of(&own, "packets"), &commands(&"AB".repeat(32))] {
        assert_eq!(mine.subscribe(filter).await, [0x80], "{filter}");
    }
    assert_eq!(mine.subscribe_at(&commands(&own), QoS::AtLeastOnce).await, [1]);
    let mut admin = named(&place, "boss", "desk").await;
    say(&mut admin, &commands(&"AB".repeat(32)), b"for another").await;
    say(&mut admin, &commands(&own), b"for you").await;
    let copy = mine.delivery().await;
    assert_eq!((copy.topic, &copy.payload[..]), (commands(&own), &b"for you"[..]));
}

#[tokio::test]
async fn row_12_admins_readers_and_limited_readers_each_see_what_is_theirs() {
    let roles = [("boss", "admin"), ("home", "reader"), ("guest", "limited")];
    let file = roles.map(|(name, role)| account(name, "hunter2", &format!("role = '{role}'")));
    let (place, _stored) = storing(accounts::open(&file.concat(), Access::Accounts, true).await);
    let (mut mine, own) = gateway(&place, 8).await;
    let mut readers = Vec::new();
    for (name, _) in roles {
        let mut reader = named(&place, name, name).await;
        assert_eq!(reader.subscribe(&of(&own, "#")).await, [0]);
        readers.push(reader);
    }
    let mut boss = named(&place, "boss", "boss's pen").await;
    say(&mut boss, &of(&own, "internal"), b"{\"jwt_payload\":{\"email\":\"x@example.org\"}}").await;
    let packet = br#"{"raw":"11","SNR":"12","RSSI":"-65","score":"9"}"#;
    say(&mut mine, &of(&own, "packets"), packet).await;
    say(&mut boss, &of(&own, "config"), b"the end").await;
    let mut seen = Vec::new();
    for (reader, (name, _)) in readers.iter_mut().zip(roles) {
        let mut of_one = Vec::new();
        // A limited reader gets nothing of a config: what ends its copies is its packet.
        let last = if name == "guest" { "packets" } else { "config" };
        loop {
            let copy = reader.delivery().await;
            let kind = copy.topic.rsplit('/').next().unwrap().to_owned();
            of_one.push((kind.clone(), String::from_utf8(copy.payload.to_vec()).unwrap()));
            if kind == last {
                break;
            }
        }
        seen.push(of_one);
    }
    let copies = |n: usize, kind: &str| -> Vec<&str> {
        let those = seen[n].iter().filter(|(of, _)| of == kind);
        those.map(|(_, payload)| payload.as_str()).collect()
    };
    let whole = std::str::from_utf8(packet).unwrap();
    assert_eq!((copies(0, "internal").len(), copies(0, "packets")), (1, vec![whole]));
    assert_eq!((copies(1, "internal").len(), copies(1, "packets")), (0, vec![whole]));
    assert_eq!((copies(2, "internal").len(), copies(2, "packets")), (0, vec![r#"{"raw":"11"}"#]));
}

#[tokio::test]
async fn row_13_what_is_retained_goes_by_the_subtopic_and_not_by_the_wish() {
    let allow_topics = vec!["homeassistant/#".to_owned()];
    let policy = Policy { allow_topics, ..Policy::default() };
    let (house, _stored) =
        rig::storing_by(policy, vec![listener("127.0.0.1:0", Access::Lan)]).await;
    let key = "AB".repeat(32);
    let mut client = house.client("gateway").await;
    let cases = [
        (of(&key, "neighbors"), true),
        (of(&key, "config"), true),
        ("homeassistant/sensor/x/config".to_owned(), true),
        (of(&key, "packets"), false),
        (of(&key, "raw"), false),
        (of(&key, "debug"), false),
    ];
    for (topic, _) in &cases {
        let mut publish = rig::publish(topic, b"{\"is\":\"kept\"}", QoS::AtLeastOnce, 1);
        publish.retain = true;
        client.send(&Packet::Publish(publish)).await;
        assert_eq!(client.packet().await, Packet::PubAck(PubAck::new(1)));
    }
    for (topic, kept) in cases {
        let mut late = house.client("late").await;
        late.subscribe(&topic).await;
        if kept {
            let copy = late.delivery().await;
            assert!(copy.retain && copy.payload == "{\"is\":\"kept\"}", "{topic}");
        }
        late.nothing_said().await;
    }
}

/// What whoever subscribes now is told of an observer's status; its `status` alone.
async fn told_late(house: &rig::House, topic: &str) -> String {
    let mut late = house.client("late").await;
    late.subscribe(topic).await;
    let copy = late.delivery().await;
    assert!(copy.retain, "it is retained");
    status_in(&copy.payload)
}

fn status_in(payload: &[u8]) -> String {
    let told: serde_json::Value = serde_json::from_slice(payload).unwrap();
    told["status"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn row_14_online_and_offline_are_the_connections_and_a_will_of_an_earlier_one_does_not_lie() {
    let (house, _stored) = rig::storing().await;
    let (key, address) = ("AB".repeat(32), house.address());
    let (status, packets) = (of(&key, "status"), of(&key, "packets"));
    // The will was written long ago, and asks to be retained.
    let will = r#"{"status":"offline","timestamp":"2024-01-01T00:00:00"}"#;
    let log_in = async |id: &str| {
        let mut client = Raw::dial(address).await;
        client.log_in(&rig::with_will(id, &status, will, true)).await;
        client
    };
    let mut first = log_in("first uploader").await;
    say(&mut first, &packets, b"{}").await;
    assert_eq!(told_late(&house, &status).await, "online", "without any status of its own");
    // It comes back, under another client id even, before its first connection is seen to be gone.
    let mut second = log_in("second uploader").await;
    say(&mut second, &packets, b"{}").await;
    drop(first);
    let gone = || (house.counters.broker_connections.get() == 1).then_some(());
    eventually_async("the first one is gone", gone).await;
    assert_eq!(told_late(&house, &status).await, "online", "the will of the first one is stale");
    // A retained lie is not believed either: a connection that speaks is online.
    let mut liar = rig::publish(&status, will.as_bytes(), QoS::AtLeastOnce, 1);
    liar.retain = true;
    second.send(&Packet::Publish(liar)).await;
    second.packet().await;
    say(&mut second, &packets, b"{\"more\":1}").await;
    assert_eq!(told_late(&house, &status).await, "online");
    let mut reader = house.client("reader").await;
    reader.subscribe(&status).await;
    assert_eq!(status_in(&reader.delivery().await.payload), "online");
    drop(second);
    while status_in(&reader.delivery().await.payload) != "offline" {}
    assert_eq!(told_late(&house, &status).await, "offline");
}

#[tokio::test]
async fn row_19_subscribers_that_never_read_hold_up_neither_the_store_nor_other_subscribers() {
    let (house, mut stored) = rig::storing().await;
    let mut deaf = Vec::new();
    for (n, qos) in [QoS::AtMostOnce, QoS::AtLeastOnce].into_iter().enumerate() {
        let mut client = house.client(&format!("deaf {n}")).await;
        client.subscribe_at("#", qos).await;
        deaf.push(client);
    }
    let mut reader = house.client("reader").await;
    reader.subscribe("meshcore/#").await;
    let mut publisher = house.client("publisher").await;
    let mut longest = Duration::ZERO;
    // Twenty times what the system and the broker hold for one that does not read.
    for n in 0..4_000_u16 {
        let began = std::time::Instant::now();
        publisher.publish(TOPIC, &[b'x'; 10_000], QoS::AtLeastOnce, n + 1).await;
        assert_eq!(publisher.packet().await, Packet::PubAck(PubAck::new(n + 1)));
        longest = longest.max(began.elapsed());
        stored.next().await;
        reader.delivery().await;
    }
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    assert!(house.counters.broker_copies_lost.get() > 0, "they lose their own, counted");
    house.still_serves(&mut stored).await;
}

#[tokio::test]
async fn row_21_every_local_subscriber_gets_the_stream_byte_for_byte() {
    let Some((publisher, subscriber)) = tools() else { return };
    let (house, mut stored) = rig::storing().await;
    let payload = r#"{"origin":"Hill","raw":"1102AB17","SNR":"12"}"#;
    let mut waiting = Vec::new();
    let before = house.counters.broker_accepted.get();
    for version in ["mqttv311", "mqttv311", "mqttv5"] {
        let (program, port) = (subscriber.clone(), house.port());
        let args = ["-V", version, "-t", "meshcore/#", "-C", "1", "-N", "-W", "20"];
        waiting.push(tokio::spawn(async move { run(&program, port, &args).await }));
    }
    let subscribed = || {
        let now = house.broker.desk().clients(0);
        (now.connections.iter().filter(|row| !row.subscriptions.is_empty()).count() == 3)
            .then_some(())
    };
    eventually_async("all have subscribed", subscribed).await;
    // A subscription is on the board a moment before the router knows it: one that is new is answered
    // after those before it.
    let mut last = house.client("last").await;
    last.subscribe("meshcore/#").await;
    let sent = run(&publisher, house.port(), &["-t", TOPIC, "-m", payload, "-q", "1"]).await;
    assert!(sent.status.success());
    assert_eq!(stored.next().await.payload, payload);
    assert_eq!(last.delivery().await.payload, payload);
    for one in waiting {
        let output = tokio::time::timeout(PATIENCE, one).await.unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), payload);
    }
    assert_eq!(house.counters.broker_accepted.get(), before + 5);
}
