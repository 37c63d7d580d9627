//! A client that publishes to a broker outside.

use crate::support::PATIENCE;

use rumqttc::{AsyncClient, Event, EventLoop, Incoming, MqttOptions, Outgoing, QoS};
use std::net::SocketAddr;

/// Publishes these payloads to one topic as a client of its own, and returns when the broker has
/// them.
pub(super) async fn publish(
    at: SocketAddr,
    topic: &str,
    qos: QoS,
    retain: bool,
    payloads: impl IntoIterator<Item = String>,
) {
    let payloads: Vec<String> = payloads.into_iter().collect();
    let id = format!("publisher{}", payloads.len());
    let mut options = MqttOptions::new(id, at.ip().to_string(), at.port());
    options.set_max_packet_size(1 << 20, 1 << 20);
    let (client, mut events) = AsyncClient::new(options, payloads.len() + 1);
    let count = payloads.len();
    for payload in payloads {
        client.try_publish(topic, qos, retain, payload).unwrap();
    }
    until(&mut events, count, |event| match qos {
        QoS::AtMostOnce => matches!(event, Event::Outgoing(Outgoing::Publish(_))),
        _ => matches!(event, Event::Incoming(Incoming::PubAck(_))),
    })
    .await;
    client.try_disconnect().unwrap();
    until(&mut events, 1, |event| matches!(event, Event::Outgoing(Outgoing::Disconnect))).await;
}

async fn until(events: &mut EventLoop, mut count: usize, counts: impl Fn(&Event) -> bool) {
    let wait = async {
        while count > 0 {
            count -= usize::from(counts(&events.poll().await.unwrap()));
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("gave up waiting for the broker");
}
