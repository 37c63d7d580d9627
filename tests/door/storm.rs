//! Many gateways at once: all of them come back at the same moment, or all of them send for long.

use std::time::{Duration, Instant};

use meshbox::config::{Access, Broker};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, PubAck};
use tokio::task::JoinSet;

use super::rig::{self, Raw, connect, listener};
use super::silent::raise_file_limit;
use crate::support::eventually_async;

fn topic(gateway: usize) -> String {
    format!("meshcore/SJC/{gateway:064X}/packets")
}

/// A house with room for this many, and for those of them that it has not yet seen go.
async fn house_for(clients: usize) -> (rig::House, rig::Stored) {
    raise_file_limit();
    let listeners = vec![listener("127.0.0.1:0", Access::Lan)];
    let config = Broker { max_connections: 2 * clients + 100, ..Broker::with(listeners) };
    rig::storing_as(config).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_gateways_that_vanish_and_come_back_at_once_are_all_served() {
    const GATEWAYS: usize = 2_000;
    let (house, mut stored) = house_for(GATEWAYS).await;
    let address = house.address();
    for round in 1..=3 {
        let began = Instant::now();
        let mut arriving = JoinSet::new();
        for n in 0..GATEWAYS {
            arriving.spawn(async move {
                let mut raw = Raw::dial(address).await;
                raw.log_in(&connect(&format!("gateway {n}"))).await;
                raw.publish(&topic(n), b"back", QoS::AtLeastOnce, 1).await;
                assert_eq!(raw.packet().await, Packet::PubAck(PubAck::new(1)));
                raw
            });
        }
        let clients = arriving.join_all().await;
        for _ in 0..GATEWAYS {
            assert_eq!(&stored.next().await.payload[..], b"back");
        }
        eprintln!("round {round}: {GATEWAYS} gateways in {} ms", began.elapsed().as_millis());
        assert_eq!(house.counters.broker_refused.get(), 0);
        // All at once, and without a word.
        drop(clients);
    }
    eventually_async("nobody is left", || {
        (house.counters.broker_connections.get() == 0).then_some(())
    })
    .await;
    house.still_serves(&mut stored).await;
}

/// `cargo test --release --test it -- --ignored --nocapture storm`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes five minutes"]
async fn five_hundred_publishers_at_one_message_a_second_lose_nothing_in_five_minutes() {
    const GATEWAYS: usize = 500;
    const SECONDS: u16 = 300;
    let (house, mut stored) = house_for(GATEWAYS).await;
    let address = house.address();
    let mut gateways = JoinSet::new();
    for n in 0..GATEWAYS {
        gateways.spawn(async move {
            let mut raw = Raw::dial(address).await;
            raw.log_in(&connect(&format!("gateway {n}"))).await;
            let mut second = tokio::time::interval(Duration::from_secs(1));
            let mut longest = Duration::ZERO;
            for pkid in 1..=SECONDS {
                second.tick().await;
                let began = Instant::now();
                raw.publish(&topic(n), &[b'x'; 450], QoS::AtLeastOnce, pkid).await;
                assert_eq!(raw.packet().await, Packet::PubAck(PubAck::new(pkid)));
                longest = longest.max(began.elapsed());
            }
            longest
        });
    }
    let before = resident_kib();
    let (mut arrived, mut most) = (0, before);
    while arrived < GATEWAYS * usize::from(SECONDS) {
        stored.next().await;
        arrived += 1;
        if arrived % 10_000 == 0 {
            most = most.max(resident_kib());
        }
    }
    let longest = gateways.join_all().await.into_iter().max().unwrap_or_default();
    eprintln!(
        "{arrived} of {arrived} arrived; the longest acknowledgement took {} ms; memory of clients \
         and broker together {} MB before, {} MB at most",
        longest.as_millis(),
        before / 1024,
        most / 1024
    );
    assert!(stored.nothing_more());
    assert_eq!(house.counters.broker_refused.get(), 0);
    assert!(most < before + 64 * 1024, "memory is bounded");
}

/// What this process holds in memory.
fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
