//! Publishers at QoS 1 that note what was acknowledged.

use crate::support::packets::{OBSERVER, packet_message, packets_topic, text_packet};

use rumqttc::{Client, Event, MqttOptions, Outgoing, Packet, QoS};
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// One publisher in a thread of its own; packets have the numbers that it was given.
pub(crate) struct Load {
    acknowledged: Arc<Mutex<BTreeSet<u32>>>,
    thread: JoinHandle<()>,
}

/// The key of this gateway.
pub(crate) fn gateway(number: u32) -> String {
    format!("{number:064X}")
}

/// Packet `number` as this gateway publishes it: topic and payload.
pub(crate) fn message(gateway: &str, number: u32) -> (String, String) {
    let payload = packet_message(&text_packet(number)).replace(OBSERVER, gateway);
    (packets_topic(gateway), payload)
}

impl Load {
    /// Begins to publish; ends when all is acknowledged, or when the connection ends.
    pub(crate) fn start(at: SocketAddr, gateway: String, numbers: Range<u32>) -> Self {
        let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
        let theirs = Arc::clone(&acknowledged);
        let thread = std::thread::spawn(move || publish(at, &gateway, numbers, &theirs));
        Self { acknowledged, thread }
    }

    /// Begins to publish at QoS 0, as fast as the broker takes it; nothing is acknowledged, and it ends
    /// with its connection.
    pub(crate) fn flood(at: SocketAddr, gateway: String, numbers: Range<u32>) -> JoinHandle<()> {
        std::thread::spawn(move || {
            let mut options = MqttOptions::new(&gateway, at.ip().to_string(), at.port());
            options.set_keep_alive(Duration::from_secs(600));
            let (client, mut connection) = Client::new(options, numbers.len().max(1));
            for number in numbers {
                let (topic, payload) = message(&gateway, number);
                client.publish(topic, QoS::AtMostOnce, false, payload).unwrap();
            }
            while connection.iter().next().is_some_and(|event| event.is_ok()) {}
        })
    }

    /// How many were acknowledged so far.
    pub(crate) fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Waits for its end, and tells what was acknowledged.
    pub(crate) fn finish(self) -> BTreeSet<u32> {
        self.thread.join().unwrap();
        let mut acknowledged = self.acknowledged.lock().unwrap();
        std::mem::take(&mut acknowledged)
    }
}

fn publish(at: SocketAddr, gateway: &str, numbers: Range<u32>, done: &Mutex<BTreeSet<u32>>) {
    let mut options = MqttOptions::new(gateway, at.ip().to_string(), at.port());
    // The broker may be silent for long where a test stops it.
    options.set_keep_alive(Duration::from_secs(600)).set_inflight(100);
    let (client, mut connection) = Client::new(options, numbers.len().max(1));
    for number in numbers.clone() {
        let (topic, payload) = message(gateway, number);
        client.publish(topic, QoS::AtLeastOnce, false, payload).unwrap();
    }
    let (mut sent, mut under_way, all) = (numbers.clone(), HashMap::new(), numbers.len());
    for event in connection.iter() {
        match event {
            Ok(Event::Outgoing(Outgoing::Publish(id))) => {
                under_way.insert(id, sent.next().unwrap());
            }
            Ok(Event::Incoming(Packet::PubAck(ack))) => {
                let mut done = done.lock().unwrap();
                done.insert(under_way[&ack.pkid]);
                if done.len() == all {
                    return;
                }
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}
