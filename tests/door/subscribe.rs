//! Copies for subscribers, retained messages, and what a slow subscriber loses.

use std::net::IpAddr;
use std::time::Duration;

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    Packet, Subscribe, SubscribeFilter, SubscribeReasonCode, Unsubscribe,
};
use rumqttc::{AsyncClient, Event, Incoming, MqttOptions};

use super::rig::{self, Raw, TOPIC, connect, listener};
use crate::support::{PATIENCE, eventually_async};

#[tokio::test]
async fn a_subscriber_gets_what_matches_and_nothing_else() {
    let (house, mut stored) = rig::storing().await;
    let mut subscriber = house.client("subscriber").await;
    assert_eq!(subscriber.subscribe("meshcore/+/+/status").await, [0]);
    let mut publisher = house.client("publisher").await;
    publisher.publish(TOPIC, b"packet", QoS::AtMostOnce, 0).await;
    publisher.publish("meshcore/SJC/AB12/status", b"status", QoS::ExactlyOnce, 3).await;
    let copy = subscriber.delivery().await;
    assert_eq!(
        (copy.topic.as_str(), &copy.payload[..]),
        ("meshcore/SJC/AB12/status", &b"status"[..])
    );
    assert_eq!((copy.qos, copy.retain), (QoS::AtMostOnce, false));
    subscriber.nothing_said().await;
    stored.next().await;
    stored.next().await;
}

#[tokio::test]
async fn a_client_gets_its_own_messages_if_it_asked_for_them() {
    let (house, _stored) = rig::storing().await;
    let mut client = house.client("both").await;
    client.subscribe("#").await;
    client.publish(TOPIC, b"echo", QoS::AtMostOnce, 0).await;
    assert_eq!(client.delivery().await.payload, "echo");
}

#[tokio::test]
async fn filters_are_answered_one_by_one_and_shared_ones_refused() {
    let (house, mut stored) = rig::storing().await;
    let mut client = house.client("subscriber").await;
    for filter in ["$share/g/meshcore/#", "$share/g", "$SYS/#", "a/#/b", "a+", "", "é/#", "a\u{1}"]
    {
        assert_eq!(client.subscribe(filter).await, [0x80], "{filter:?}");
    }
    let filters = ["meshcore/#", "$share/g/x", "#", "+/+"];
    let filters = filters.map(|f| SubscribeFilter::new(f.to_owned(), QoS::ExactlyOnce));
    let mut subscribe = Subscribe::new_many(filters);
    subscribe.pkid = 9;
    client.send(&Packet::Subscribe(subscribe)).await;
    let Packet::SubAck(ack) = client.packet().await else { panic!() };
    // QoS 2 is granted as 1.
    let granted = SubscribeReasonCode::Success(QoS::AtLeastOnce);
    assert_eq!(ack.return_codes, [granted, SubscribeReasonCode::Failure, granted, granted]);
    assert_eq!(house.reason("subscribe_shared"), 3);
    house.still_serves(&mut stored).await;
}

#[tokio::test]
async fn unsubscribing_ends_the_copies_and_is_always_answered() {
    let (house, _stored) = rig::storing().await;
    let mut client = house.client("subscriber").await;
    let unsubscribe = |pkid, topics: &[&str]| {
        let topics = topics.iter().map(|t| (*t).to_owned()).collect();
        Packet::Unsubscribe(Unsubscribe { pkid, topics })
    };
    client.send(&unsubscribe(1, &["never/had"])).await;
    assert!(matches!(client.packet().await, Packet::UnsubAck(ack) if ack.pkid == 1));
    client.subscribe("meshcore/a").await;
    client.subscribe("meshcore/b").await;
    client.send(&unsubscribe(2, &["meshcore/a", "x"])).await;
    assert!(matches!(client.packet().await, Packet::UnsubAck(ack) if ack.pkid == 2));
    client.publish("meshcore/a", b"no", QoS::AtMostOnce, 0).await;
    client.publish("meshcore/b", b"yes", QoS::AtMostOnce, 0).await;
    assert_eq!(client.delivery().await.payload, "yes");
    client.subscribe("meshcore/a").await;
    client.publish("meshcore/a", b"again", QoS::AtMostOnce, 0).await;
    assert_eq!(client.delivery().await.payload, "again");
}

#[tokio::test]
async fn the_last_retained_message_is_there_for_whoever_subscribes_later_or_again() {
    let (house, mut stored) = rig::storing().await;
    let mut publisher = house.client("publisher").await;
    let mut early = house.client("early").await;
    early.subscribe("#").await;
    for (topic, payload) in [
        ("meshcore/x/1/config", "one"),
        ("meshcore/x/2/config", "two"),
        ("meshcore/x/1/config", "three"),
    ] {
        let mut publish = rig::publish(topic, payload.as_bytes(), QoS::AtLeastOnce, 1);
        publish.retain = true;
        publisher.send(&Packet::Publish(publish)).await;
        assert!(matches!(publisher.packet().await, Packet::PubAck(_)));
        assert!(!stored.next().await.retained, "a live message is news");
        let live = early.delivery().await;
        assert_eq!((live.payload.as_ref(), live.retain), (payload.as_bytes(), false));
    }
    let mut late = house.client("late").await;
    for _ in 0..2 {
        late.subscribe("meshcore/x/+/config").await;
        let (first, second) = (late.delivery().await, late.delivery().await);
        assert!(first.retain && second.retain);
        assert_eq!((&first.payload[..], &second.payload[..]), (&b"three"[..], &b"two"[..]));
    }
    // Only an empty message with the flag deletes.
    publisher.publish("meshcore/x/2/config", b"", QoS::AtMostOnce, 0).await;
    let mut delete = rig::publish("meshcore/x/1/config", b"", QoS::AtMostOnce, 0);
    delete.retain = true;
    publisher.send(&Packet::Publish(delete)).await;
    stored.next().await;
    stored.next().await;
    let mut later = house.client("later").await;
    later.subscribe("#").await;
    assert_eq!(later.delivery().await.payload, "two");
    later.nothing_said().await;
}

#[tokio::test]
async fn a_will_is_retained_if_it_asks_to_be() {
    let (house, mut stored) = rig::storing().await;
    let mut client = Raw::dial(house.address()).await;
    client.log_in(&rig::with_will("gateway", "meshcore/x/1/config", "offline", true)).await;
    drop(client);
    stored.next().await;
    let mut late = house.client("late").await;
    late.subscribe("#").await;
    let kept = late.delivery().await;
    assert_eq!((&kept.payload[..], kept.retain), (&b"offline"[..], true));
}

#[tokio::test]
async fn many_subscribers_get_everything_in_order_through_the_router() {
    let (house, mut stored) = rig::storing().await;
    let mut subscribers = Vec::new();
    for n in 0..20 {
        let mut subscriber = house.client(&format!("s{n}")).await;
        subscriber.subscribe(if n % 2 == 0 { "#" } else { "meshcore/+/+/packets" }).await;
        subscribers.push(subscriber);
    }
    let mut publisher = house.client("publisher").await;
    let publish = async {
        for n in 0..1_000_u32 {
            publisher.publish(TOPIC, &n.to_be_bytes(), QoS::AtMostOnce, 0).await;
            stored.next().await;
        }
    };
    let read = async {
        for n in 0..1_000_u32 {
            for subscriber in &mut subscribers {
                assert_eq!(subscriber.delivery().await.payload[..], n.to_be_bytes());
            }
        }
    };
    tokio::join!(publish, read);
    assert_eq!(house.counters.broker_copies_lost.get(), 0);
    assert_eq!(house.counters.broker_deliveries.get(), 20_000);
}

#[tokio::test]
async fn a_slow_subscriber_loses_its_own_copies_counted_and_holds_nobody_up() {
    let (house, mut stored) = rig::storing().await;
    let mut slow = house.client("slow").await;
    slow.subscribe("#").await;
    let mut publisher = house.client("publisher").await;
    let numbered = |n: u32| [&n.to_be_bytes()[..], &[b'x'; 10_000]].concat();
    for n in 0..5_000 {
        publisher.publish(TOPIC, &numbered(n), QoS::AtMostOnce, 0).await;
        stored.next().await;
    }
    // On a busy machine the router itself may lose the last ones: one of the next ones arrives.
    let (mut published, mut got) = (5_000, Vec::new());
    while got.last() != Some(&(published - 1)) {
        match tokio::time::timeout(Duration::from_millis(500), slow.delivery()).await {
            Ok(copy) => got.push(u32::from_be_bytes(copy.payload[..4].try_into().unwrap())),
            Err(_) => {
                publisher.publish(TOPIC, &numbered(published), QoS::AtMostOnce, 0).await;
                published += 1;
            }
        }
    }
    assert!(got.windows(2).all(|w| w[0] < w[1]), "in order, none twice");
    let lost = u64::from(published) - got.len() as u64;
    assert!(lost > 0, "the test must make it lose some");
    assert_eq!(house.counters.broker_copies_lost.get(), lost);
}

#[tokio::test]
async fn without_a_login_only_loopback_may_subscribe() {
    let (house, _stored) = rig::storing_on(vec![listener("0.0.0.0:0", rig::ANYONE)]).await;
    let Some(own) = own_address() else {
        eprintln!("SKIPPED: this machine has no address beside loopback");
        return;
    };
    let mut client = Raw::dial((own, house.port()).into()).await;
    client.log_in(&connect("neighbour")).await;
    assert_eq!(client.subscribe("meshcore/#").await, [0x80]);
    assert_eq!(house.reason("subscribe_without_login"), 1);
}

/// An IPv4 address of this machine that is not loopback.
fn own_address() -> Option<IpAddr> {
    let addresses = if_addrs::get_if_addrs().unwrap();
    addresses.iter().map(if_addrs::Interface::ip).find(|ip| ip.is_ipv4() && !ip.is_loopback())
}

#[tokio::test]
async fn a_library_client_publishes_and_subscribes_with_every_qos() {
    let (house, mut stored) = rig::storing().await;
    let mut options = MqttOptions::new("library", "127.0.0.1", house.port());
    options.set_keep_alive(Duration::from_secs(30)).set_max_packet_size(1 << 20, 1 << 20);
    let (client, mut events) = AsyncClient::new(options, 10);
    client.subscribe("meshcore/#", QoS::ExactlyOnce).await.unwrap();
    let mut copies = Vec::new();
    let talk = async {
        for (n, qos) in
            [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce].into_iter().enumerate()
        {
            client.publish(TOPIC, qos, false, vec![b'x'; 20_000 + n]).await.unwrap();
        }
    };
    let listen = async {
        while copies.len() < 3 {
            if let Event::Incoming(Incoming::Publish(p)) = events.poll().await.unwrap() {
                copies.push(p.payload.len());
            }
        }
    };
    let both = Box::pin(async { tokio::join!(talk, listen) });
    tokio::time::timeout(PATIENCE, both).await.unwrap();
    assert_eq!(copies, [20_000, 20_001, 20_002]);
    for n in 0..3 {
        assert_eq!(stored.next().await.payload.len(), 20_000 + n);
    }
    eventually_async("three copies are counted", || {
        (house.counters.broker_deliveries.get() == 3).then_some(())
    })
    .await;
}
