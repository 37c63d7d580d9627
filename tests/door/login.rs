//! Who comes in, who is turned away and with which code, and who takes over from whom.

use std::net::IpAddr;

use meshbox::config::Access;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{ConnAck, ConnectReturnCode, Packet};

use super::rig::{self, ROOMY, Raw, TOPIC, connect, listener};
use crate::support::eventually_async;

fn refused(code: ConnectReturnCode) -> Vec<Packet> {
    vec![Packet::ConnAck(ConnAck::new(code, false))]
}

#[tokio::test]
async fn client_ids_keepalives_and_passwords_of_every_length_come_in() {
    let (house, mut stored) = rig::storing().await;
    for id in ["", "x", &"x".repeat(23), &"é".repeat(64), &"x".repeat(1_000)] {
        Raw::dial(house.address()).await.log_in(&connect(id)).await;
    }
    for keep_alive in [0, 1, 30, 60, 120, 600, u16::MAX] {
        let mut connect = connect("keepalive");
        connect.keep_alive = keep_alive;
        Raw::dial(house.address()).await.log_in(&connect).await;
    }
    for len in [1, 1_024, 4_096] {
        let mut connect = connect("credentials");
        connect.set_login("gateway", "p".repeat(len));
        Raw::dial(house.address()).await.log_in(&connect).await;
    }
    let mut persistent = connect("persistent");
    persistent.clean_session = false;
    Raw::dial(house.address()).await.log_in(&persistent).await;
    house.still_serves(&mut stored).await;
    assert_eq!(house.counters.broker_refused.get(), 0);
}

#[tokio::test]
async fn a_persistent_session_without_a_client_id_is_code_2() {
    let (house, _stored) = rig::storing().await;
    let mut connect = connect("");
    connect.clean_session = false;
    let mut client = Raw::dial(house.address()).await;
    client.send(&Packet::Connect(connect)).await;
    assert_eq!(client.closed().await, refused(ConnectReturnCode::BadClientId));
    assert_eq!(house.reason("persistent_without_client_id"), 1);
}

#[tokio::test]
async fn other_versions_of_mqtt_are_told_so() {
    let (house, mut stored) = rig::storing().await;
    let mut client = Raw::dial(house.address()).await;
    client.bytes(b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x3c\0\x01a").await;
    assert_eq!(client.closed().await, refused(ConnectReturnCode::RefusedProtocolVersion));
    assert_eq!(house.reason("mqtt_3_1"), 1);
    // A version later than ours is told so in MQTT 5's words.
    let mut client = Raw::dial(house.address()).await;
    client.bytes(b"\x10\x0e\0\x04MQTT\x06\x02\0\x3c\0\0\x01a").await;
    assert_eq!(client.rest().await[..4], [0x20, 26, 0, 0x84]);
    assert_eq!(house.reason("mqtt_version_unknown"), 1);
    house.still_serves(&mut stored).await;
}

#[tokio::test]
async fn what_is_no_login_is_closed_without_a_word() {
    let (house, mut stored) = rig::storing().await;
    let publish = rig::publish(TOPIC, b"x", QoS::AtMostOnce, 0);
    let publish = rig::bytes_of(&Packet::Publish(publish));
    let cases: [(&[u8], &str); 4] = [
        (b"GET / HTTP/1.1\r\n\r\n", "http_without_websocket"),
        (&publish, "first_packet_is_no_connect"),
        (b"\x10\x0c\0\x04HTTP\x04\x02\0\x3c\0\0", "not_mqtt"),
        (b"\x10\xff\xff\xff\x7f\0\x04MQTT", "connect_too_large"),
    ];
    for (bytes, _) in cases {
        let mut client = Raw::dial(house.address()).await;
        client.bytes(bytes).await;
        assert_eq!(client.closed().await, []);
    }
    for (_, reason) in cases {
        assert!(house.reason(reason) > 0, "{reason}");
    }
    assert!(stored.nothing_more());
    house.still_serves(&mut stored).await;
}

#[tokio::test]
async fn a_second_connect_ends_the_connection() {
    let (house, mut stored) = rig::storing().await;
    let mut client = house.client("twice").await;
    client.send(&Packet::Connect(connect("twice"))).await;
    assert_eq!(client.closed().await, []);
    assert_eq!(house.reason("second_connect"), 1);
    house.still_serves(&mut stored).await;
}

#[tokio::test]
async fn a_listener_for_accounts_refuses_everyone_with_code_5_while_there_are_none() {
    let (house, _outlet) =
        rig::open_with(vec![listener("127.0.0.1:0", Access::Accounts)], ROOMY).await;
    let mut with_login = connect("b");
    with_login.set_login("somebody", "secret");
    for connect in [connect("a"), with_login] {
        let mut client = Raw::dial(house.address()).await;
        client.send(&Packet::Connect(connect)).await;
        assert_eq!(client.closed().await, refused(ConnectReturnCode::NotAuthorized));
    }
    assert_eq!(house.reason("listener_wants_an_account"), 2);
    assert_eq!(house.counters.broker_refused.get(), 2);
}

#[tokio::test]
async fn every_listener_has_its_own_policy() {
    let listeners = [Access::Anyone, Access::Lan, Access::Local, Access::Accounts]
        .map(|access| listener("127.0.0.1:0", access));
    let (house, _stored) = rig::storing_on(listeners.into()).await;
    for address in &house.addresses[..3] {
        Raw::dial(*address).await.log_in(&connect("x")).await;
    }
    let mut client = Raw::dial(house.addresses[3]).await;
    client.send(&Packet::Connect(connect("x"))).await;
    assert_eq!(client.closed().await, refused(ConnectReturnCode::NotAuthorized));
    let policies: Vec<_> = house.broker.listening().iter().map(|l| l.access.clone()).collect();
    assert_eq!(policies, ["anyone", "lan", "local", "accounts"]);
}

#[tokio::test]
async fn the_same_session_takes_over_and_its_predecessors_completions_do_no_harm() {
    let (house, mut outlet) = rig::open(ROOMY).await;
    let mut first = Raw::dial(house.address()).await;
    first.log_in(&rig::with_will("gateway", TOPIC, "offline", false)).await;
    first.publish(TOPIC, b"old", QoS::AtLeastOnce, 1).await;
    let old = rig::arrival(&mut outlet).await;
    let mut second = house.client("gateway").await;
    assert_eq!(first.closed().await, []);
    // The will of the first comes before anything the second one can say.
    assert_eq!(rig::arrival(&mut outlet).await.payload, "offline");
    second.publish(TOPIC, b"new", QoS::AtLeastOnce, 1).await;
    let new = rig::arrival(&mut outlet).await;
    old.receipt.complete(meshbox::message::Outcome::Failed);
    second.nothing_said().await;
    new.receipt.complete(meshbox::message::Outcome::Stored);
    assert!(matches!(second.packet().await, Packet::PubAck(_)));
    assert_eq!(house.counters.broker_takeovers.get(), 1);
}

#[tokio::test]
async fn another_address_or_another_client_id_does_not_take_over() {
    let (house, _stored) = rig::storing().await;
    let mut clients = Vec::new();
    for from in ["127.0.0.1", "127.0.0.2", "127.0.0.3"] {
        let from: IpAddr = from.parse().unwrap();
        for id in ["same", "other", ""] {
            let mut client = Raw::dial_from(from, house.address()).await;
            client.log_in(&connect(id)).await;
            clients.push(client);
        }
    }
    let mut nameless = Raw::dial(house.address()).await;
    nameless.log_in(&connect("")).await;
    for client in &mut clients {
        client.nothing_said().await;
    }
    assert_eq!(house.counters.broker_takeovers.get(), 0);
    assert_eq!(house.counters.broker_connections.get(), 10);
}

#[tokio::test]
async fn one_listener_serves_ipv4_and_ipv6_on_the_port_that_is_printed() {
    for bind in ["0.0.0.0:0", "[::]:0"] {
        let (house, mut stored) = rig::storing_on(vec![listener(bind, Access::Lan)]).await;
        let port = house.port();
        assert_ne!(port, 0);
        let printed = house.broker.listening()[0].address.clone();
        assert_eq!(
            printed,
            bind.replace(":0", &format!(":{port}")).replace("[::0", "[:"),
            "{bind}"
        );
        for (host, origin) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1")] {
            let host: IpAddr = host.parse().unwrap();
            let mut client = Raw::dial((host, port).into()).await;
            client.log_in(&connect("dual")).await;
            client.publish(TOPIC, b"x", QoS::AtMostOnce, 0).await;
            assert_eq!(&*stored.next().await.origin.name, origin);
        }
    }
}

#[tokio::test]
async fn ipv6_loopback_alone_works_too() {
    let (house, mut stored) = rig::storing_on(vec![listener("[::1]:0", Access::Local)]).await;
    house.still_serves(&mut stored).await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_one_line_that_says_what_to_do() {
    let (house, _stored) = rig::storing().await;
    let (inlet, _outlet) = meshbox::message::queue::queue(ROOMY);
    let parts = meshbox::broker::Parts {
        inlet,
        clock: meshbox::clock::Clock::system(),
        counters: std::sync::Arc::default(),
        state_file: None,
        clock_trusted: std::sync::Arc::new(|| true),
        shutdown: tokio_util::sync::CancellationToken::new(),
    };
    let taken = listener(&house.address().to_string(), Access::Lan);
    let config = meshbox::config::Broker::with(vec![taken]);
    let error = meshbox::broker::start(&config, parts).await.err().unwrap().to_string();
    assert!(error.contains(&house.address().to_string()), "{error}");
    assert!(error.contains("another broker") && !error.contains('\n'), "{error}");
}

#[tokio::test]
async fn a_client_that_logged_in_is_counted_until_it_leaves() {
    let (house, _stored) = rig::storing().await;
    let client = house.client("x").await;
    assert_eq!(house.counters.broker_connections.get(), 1);
    drop(client);
    eventually_async("it has left", || {
        (house.counters.broker_connections.get() == 0).then_some(())
    })
    .await;
    assert_eq!(house.counters.broker_accepted.get(), 1);
}
