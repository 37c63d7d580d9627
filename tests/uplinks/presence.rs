//! What a broker is told of our gateways' presence.

use super::{hub, key_file, publish_to, stop, text_packet, until};
use crate::bridge::fake::{Client, Fake};
use crate::support::eventually_async;
use crate::support::packets::{OBSERVER, packet_message};
use crate::support::process::{Mosquitto, free_port};

use meshbox::app::Hub;
use rumqttc::mqttbytes::v4::{PubAck, Publish};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio_util::task::AbortOnDropHandle;

fn topic(key: &str, kind: &str) -> String {
    format!("meshcore/SJC/{key}/{kind}")
}

/// A gateway that stays, and has published one packet.
struct Gateway {
    client: AsyncClient,
    _task: AbortOnDropHandle<()>,
}

impl Gateway {
    fn start(at: SocketAddr, key: &str) -> Self {
        let options = MqttOptions::new(format!("g{key}"), at.ip().to_string(), at.port());
        let (client, mut events) = AsyncClient::new(options, 10);
        let task = tokio::spawn(async move { while events.poll().await.is_ok() {} });
        let gateway = Self { client, _task: AbortOnDropHandle::new(task) };
        gateway.send(key, 1);
        gateway
    }

    fn send(&self, key: &str, number: u32) {
        let payload = packet_message(&text_packet(number)).replace(OBSERVER, key);
        self.client.try_publish(topic(key, "packets"), QoS::AtLeastOnce, false, payload).unwrap();
    }
}

/// The next PUBLISH, acknowledged: its kind, and the status that it tells.
async fn next(client: &mut Client) -> (Publish, String) {
    let Some(Packet::Publish(publish)) = client.packet().await else { panic!("a PUBLISH") };
    client.send(&[Packet::PubAck(PubAck::new(publish.pkid))]).await;
    let body: serde_json::Value = serde_json::from_slice(&publish.payload).unwrap();
    let status = body["status"].as_str().unwrap_or("packet").to_owned();
    (publish, status)
}

fn observers(hub: &Hub, present: u64) -> Option<()> {
    (hub.counters().broker_connections.get() == present).then_some(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_vanishes_without_a_will_is_offline_there_and_retained() {
    let dir = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::start(dir.path(), "") else { return };
    let at = free_port();
    let uplink =
        format!("[[uplinks]]\nname = 'up'\nbroker = 'mqtt://{}'\nretain = true\n", broker.at);
    let hub = hub(&dir.path().join("hub"), at, &uplink).await;
    let gateway = Gateway::start(at, OBSERVER);
    until(&hub, "up", "online and a packet", |it| it.sent == 2).await;
    drop(gateway);
    until(&hub, "up", "offline", |it| it.sent == 3).await;
    // Whoever comes later gets what is retained.
    let options = MqttOptions::new("late", broker.at.ip().to_string(), broker.at.port());
    let (client, mut events) = AsyncClient::new(options, 10);
    client.try_subscribe("meshcore/#", QoS::AtLeastOnce).unwrap();
    let kept = Arc::new(Mutex::new(None));
    let found = Arc::clone(&kept);
    let _task = AbortOnDropHandle::new(tokio::spawn(async move {
        while let Ok(event) = events.poll().await {
            if let Event::Incoming(Packet::Publish(it)) = event {
                *found.lock().unwrap() = Some((it.topic, it.payload));
            }
        }
    }));
    let (topic_there, payload) =
        eventually_async("it is retained", || kept.lock().unwrap().clone()).await;
    assert_eq!(topic_there, topic(OBSERVER, "status"));
    let body: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!((&body["status"], &body["origin_id"]), (&"offline".into(), &OBSERVER.into()));
    stop(hub).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observers_own_connection_leaves_a_will_and_after_it_says_that_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Fake::start().await;
    let key = key_file(dir.path());
    let at = free_port();
    let text = format!(
        "[[uplinks]]\nname = 'up'\nbroker = 'mqtt://{}'\nkeyFiles = ['node.key']\nretain = true\n",
        broker.at
    );
    let first = hub(dir.path(), at, &text).await;
    let (mut client, connect) = broker.log_in(false).await;
    assert!(connect.last_will.is_none(), "its region is not known");
    let gateway = Gateway::start(at, &key);
    assert_eq!(next(&mut client).await.1, "online");
    assert_eq!(next(&mut client).await.1, "packet");
    drop(client);
    let (client, connect) = broker.log_in(false).await;
    let will = connect.last_will.unwrap();
    assert_eq!(
        (&will.topic, will.qos, will.retain),
        (&topic(&key, "status"), QoS::AtLeastOnce, true)
    );
    assert!(String::from_utf8(will.message.to_vec()).unwrap().contains("\"offline\""));
    // It breaks, that broker publishes the will, and the gateway is still here.
    drop(client);
    let (mut client, _) = broker.log_in(false).await;
    let (greeting, status) = next(&mut client).await;
    assert_eq!(
        (greeting.topic, status.as_str(), greeting.retain),
        (topic(&key, "status"), "online", true)
    );
    gateway.send(&key, 2);
    assert_eq!(next(&mut client).await.1, "packet");
    until(&first, &format!("up/{key}"), "nothing waits", |it| it.waiting == 0).await;
    // At the end of the hub it says so itself, and then leaves.
    let ended = tokio::spawn(stop(first));
    assert_eq!(next(&mut client).await.1, "offline");
    assert_eq!(client.packet().await, Some(Packet::Disconnect));
    drop(client);
    ended.await.unwrap();
    // The next start knows the region from the first dial on.
    let second = hub(dir.path(), free_port(), &text).await;
    let (_client, connect) = broker.log_in(false).await;
    assert_eq!(connect.last_will.unwrap().topic, topic(&key, "status"));
    stop(second).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_gateway_says_itself_is_not_said_twice_and_an_account_leaves_no_will() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Fake::start().await;
    let at = free_port();
    let text = format!("[[uplinks]]\nname = 'up'\nbroker = 'mqtt://{}'\n", broker.at);
    let hub = hub(dir.path(), at, &text).await;
    let (mut client, connect) = broker.log_in(false).await;
    assert!(connect.last_will.is_none());
    let own = r#"{"status":"online","origin":"Hill"}"#.to_owned();
    publish_to(at, &topic(OBSERVER, "status"), std::slice::from_ref(&own)).await;
    assert_eq!(next(&mut client).await.0.payload, own);
    // Its connection has ended, and nobody said so: now it is ours to say.
    eventually_async("it is gone", || observers(&hub, 0)).await;
    let (word, status) = next(&mut client).await;
    assert_eq!((word.retain, status.as_str()), (false, "offline"));
    assert!(String::from_utf8(word.payload.to_vec()).unwrap().contains("\"Hill\""));
    drop(client);
    let (_client, connect) = broker.log_in(false).await;
    assert!(connect.last_will.is_none(), "it speaks for more than one observer");
    stop(hub).await;
}
