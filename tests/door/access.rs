//! What clients without a login may do, what too much is, and what people see of it.

use meshbox::broker::board::Clients;
use meshbox::config::{Access, Policy, Watch};
use rumqttc::PubAck;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, Packet};

use super::outside::{run, tools};
use super::rig::{self, House, Raw, TOPIC, listener, with_will};
use crate::support::eventually_async;

const KEY: &str = "7E7662676F7F0850A8A355BAAFBFC1EB7B4174C340442D7D7161C9474A2C9400";

async fn by(policy: Policy) -> (House, rig::Stored) {
    rig::storing_by(policy, vec![listener("127.0.0.1:0", Access::Lan)]).await
}

fn clients(house: &House) -> Clients {
    house.broker.desk().clients(0)
}

/// Publishes at QoS 1 and waits for the answer.
async fn say(client: &mut Raw, topic: &str, payload: &[u8]) {
    client.publish(topic, payload, QoS::AtLeastOnce, 3).await;
    assert_eq!(client.packet().await, Packet::PubAck(PubAck::new(3)), "{topic}");
}

fn home() -> Policy {
    let allow_topics = vec!["homeassistant/#".to_owned(), "zigbee2mqtt/#".to_owned()];
    Policy { allow_topics, ..Policy::default() }
}

#[tokio::test]
async fn row_10_region_and_key_are_upper_case_in_what_is_stored_and_in_what_is_forwarded() {
    let (house, mut stored) = rig::storing().await;
    let mut subscriber = house.client("subscriber").await;
    subscriber.subscribe("meshcore/SJC/+/packets").await;
    let lower = format!("meshcore/sjc/{}/packets", KEY.to_lowercase());
    let mut client = Raw::dial(house.address()).await;
    client.log_in(&with_will("gateway", &lower, "gone", false)).await;
    say(&mut client, &lower, b"here").await;
    drop(client);
    for payload in ["here", "gone"] {
        let arrival = stored.next().await;
        let expected = format!("meshcore/SJC/{KEY}/packets");
        assert_eq!(
            (arrival.topic.as_str(), &arrival.payload[..]),
            (expected.as_str(), payload.as_bytes())
        );
        let copy = subscriber.delivery().await;
        assert_eq!((copy.topic, &copy.payload[..]), (expected, payload.as_bytes()));
    }
    // Whoever asks for the key in lower case gets it, and can end that again.
    let mut lower_case = house.client("lower case").await;
    assert_eq!(lower_case.subscribe(&lower).await, [0]);
    let mut client = house.client("gateway").await;
    say(&mut client, &lower, b"again").await;
    assert_eq!(lower_case.delivery().await.payload, "again");
    let unsubscribe = rumqttc::Unsubscribe { pkid: 4, topics: vec![lower.clone()] };
    lower_case.send(&Packet::Unsubscribe(unsubscribe)).await;
    assert!(matches!(lower_case.packet().await, Packet::UnsubAck(_)));
    say(&mut client, &lower, b"once more").await;
    subscriber.delivery().await;
    subscriber.delivery().await;
    lower_case.nothing_said().await;
}

#[tokio::test]
async fn row_9_a_placeholder_region_is_kept_and_flagged() {
    let (house, mut stored) = rig::storing().await;
    for region in ["XXX", "loc", "XYZ"] {
        let mut client = house.client(region).await;
        let topic = format!("meshcore/{region}/{KEY}/packets");
        say(&mut client, &topic, region.as_bytes()).await;
        say(&mut client, &topic, format!("{region} again").as_bytes()).await;
        let upper = region.to_uppercase();
        assert_eq!(stored.next().await.topic, format!("meshcore/{upper}/{KEY}/packets"));
        stored.next().await;
        let row = &clients(&house).connections[0];
        assert_eq!((&row.regions, &row.flags), (&vec![upper], &vec!["placeholder_region".into()]));
        drop(client);
        eventually_async("it has left", || clients(&house).connections.is_empty().then_some(()))
            .await;
    }
    assert_eq!(house.reason("placeholder_region"), 3, "once a connection");
}

#[tokio::test]
async fn row_18_other_trees_are_passed_on_acknowledged_and_not_stored() {
    let (house, mut stored) = by(home()).await;
    let mut hass = house.client("hass").await;
    assert_eq!(hass.subscribe("homeassistant/#").await, [0]);
    let mut lamp = house.client("zigbee2mqtt").await;
    say(&mut lamp, "homeassistant/light/lamp/config", b"{}").await;
    lamp.publish("homeassistant/light/lamp/state", b"on", QoS::ExactlyOnce, 5).await;
    assert!(matches!(lamp.packet().await, Packet::PubRec(_)));
    assert_eq!(hass.delivery().await.topic, "homeassistant/light/lamp/config");
    assert_eq!(hass.delivery().await.payload, "on");
    say(&mut lamp, "elsewhere/x", b"x").await;
    assert_eq!(house.reason("publish_outside_meshcore"), 1);
    assert_eq!(house.counters.broker_passed.get(), 2);
    say(&mut lamp, TOPIC, b"a packet").await;
    assert_eq!(stored.next().await.payload, "a packet", "nothing else has reached the pipeline");
    assert!(stored.nothing_more());
}

#[tokio::test]
async fn row_18_mosquitto_clients_share_a_home_assistant_tree() {
    let Some((publisher, subscriber)) = tools() else { return };
    let (house, mut stored) = by(home()).await;
    let config = "homeassistant/light/lamp/config";
    let sent = run(&publisher, house.port(), &["-t", config, "-m", "{}", "-q", "1", "-r"]).await;
    assert!(sent.status.success(), "{sent:?}");
    let got = run(&subscriber, house.port(), &["-t", "homeassistant/#", "-C", "1", "-v"]).await;
    assert_eq!(String::from_utf8_lossy(&got.stdout), format!("{config} {{}}\n"));
    let args = ["-t", "elsewhere/x", "-m", "x", "-q", "1"];
    assert!(run(&publisher, house.port(), &args).await.status.success(), "never a disconnect");
    assert!(stored.nothing_more());
}

#[tokio::test]
async fn strict_ends_the_connection_after_the_answer() {
    let (house, mut stored) = by(Policy { strict: true, ..Policy::default() }).await;
    let mut client = house.client("gateway").await;
    client.publish("elsewhere/x", b"x", QoS::AtLeastOnce, 3).await;
    assert_eq!(client.closed().await, [Packet::PubAck(PubAck::new(3))]);
    assert_eq!(house.reason("publish_outside_meshcore"), 1);
    // What is too large is no offence.
    let mut client = house.client("gateway").await;
    say(&mut client, TOPIC, &vec![0; 70_000]).await;
    client.nothing_said().await;
    house.still_serves(&mut stored).await;
}

#[tokio::test]
async fn row_17_the_largest_payload_is_what_the_config_says() {
    let (house, mut stored) = by(Policy { max_payload: 1024, ..Policy::default() }).await;
    let mut client = house.client("gateway").await;
    say(&mut client, TOPIC, &[b'x'; 1025]).await;
    say(&mut client, TOPIC, &[b'y'; 1024]).await;
    assert_eq!(stored.next().await.payload[0], b'y');
    let refusal = &clients(&house).refusals[0];
    assert_eq!(
        (refusal.reason.as_str(), refusal.client_id.as_str()),
        ("publish_too_large", "gateway")
    );
    assert!(refusal.help.contains("broker.maxPayloadKB"));
}

#[tokio::test]
async fn row_15_a_packet_sent_eight_times_is_counted_and_with_mute_taken_once() {
    for (watch, taken) in [(Watch::Count, 8), (Watch::Mute, 1)] {
        let (house, mut stored) = by(Policy { watch, ..Policy::default() }).await;
        let mut client = house.client("gateway").await;
        let topic = format!("meshcore/SJC/{KEY}/packets");
        for _ in 0..8 {
            client.publish(&topic, b"same", QoS::AtMostOnce, 0).await;
        }
        // A status may well be the same each time.
        for _ in 0..2 {
            client.publish(&topic.replace("packets", "status"), b"same", QoS::AtMostOnce, 0).await;
        }
        client.publish(&topic, b"last", QoS::AtMostOnce, 0).await;
        for _ in 0..taken + 2 {
            assert_eq!(stored.next().await.payload, "same");
        }
        assert_eq!(stored.next().await.payload, "last");
        assert_eq!(house.counters.broker_duplicates.get(), 7);
        let now = clients(&house);
        assert_eq!(now.connections[0].flags, ["duplicates"]);
        assert_eq!((now.observers[0].duplicates, now.observers[0].messages), (7, 11));
        assert_eq!(now.refusals.first().map_or(0, |row| row.times), if taken == 1 { 7 } else { 0 });
        // It may be sent again because the answer was lost: then it has to be stored.
        say(&mut client, &topic, b"same").await;
        assert_eq!(stored.next().await.payload, "same");
    }
}

#[tokio::test]
async fn row_15_a_flood_is_counted_and_with_mute_cut_off() {
    for (watch, taken) in [(Watch::Count, 3_000), (Watch::Mute, 1_200)] {
        let (house, mut stored) = by(Policy { watch, ..Policy::default() }).await;
        let mut client = house.client("gateway").await;
        let topic = format!("meshcore/SJC/{KEY}/status");
        for n in 0..3_000 {
            client.publish(&topic, format!("{n}").as_bytes(), QoS::AtMostOnce, 0).await;
        }
        client.nothing_said().await;
        for _ in 0..taken {
            stored.next().await;
        }
        assert!(house.counters.broker_over_rate.get() > 1_500);
        assert_eq!(clients(&house).connections[0].flags, ["over_rate"]);
        // Another observer is not slowed down by it.
        let topic = format!("meshcore/SJC/{}/status", KEY.replace('7', "8"));
        say(&mut client, &topic, b"mine").await;
        while stored.next().await.payload != "mine" {}
    }
}

#[tokio::test]
async fn row_20_the_board_shows_who_is_there_and_who_was_refused() {
    let listeners = ["127.0.0.1:0", "127.0.0.1:0"].map(|bind| listener(bind, Access::Lan));
    let mut listeners = listeners.to_vec();
    listeners[1].access = Access::Accounts;
    let (house, mut stored) = rig::storing_on(listeners).await;
    let mut client = house.client("gateway").await;
    client.subscribe("meshcore/#").await;
    client.publish(TOPIC, b"x", QoS::AtMostOnce, 0).await;
    assert_eq!(client.delivery().await.payload, "x");
    stored.next().await;
    let mut refused = Raw::dial(house.addresses[1]).await;
    let mut connect = Connect::new("stranger");
    connect.set_login("somebody", "secret");
    refused.send(&Packet::Connect(connect)).await;
    refused.closed().await;
    assert_eq!(client.subscribe("$share/g/x").await, [0x80]);
    let now = clients(&house);
    let [row] = &now.connections[..] else { panic!("{now:?}") };
    assert_eq!((row.role.as_str(), row.from.as_str()), ("anonymous", "127.0.0.1"));
    assert_eq!(row.listener, format!("tcp {}", house.addresses[0]));
    assert_eq!(
        (row.subscriptions.as_slice(), row.keep_alive_sec),
        (&["meshcore/#".to_owned()][..], 600)
    );
    assert_eq!((row.messages_in, row.messages_out), (1, 1));
    assert!(row.last_message_ms.is_some());
    let told: Vec<_> =
        now.refusals.iter().map(|r| (r.reason.as_str(), r.client_id.as_str())).collect();
    assert_eq!(told, [("subscribe_shared", "gateway"), ("listener_wants_an_account", "stranger")]);
    assert_eq!(now.refusals[1].identity.as_deref(), Some("somebody"));
    assert_eq!(now.refusals[1].listener, format!("tcp {}", house.addresses[1]));
    assert!(!format!("{now:?}").contains("secret"));
}
