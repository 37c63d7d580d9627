//! The router's side alone: copies, losses, deaths.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttc::mqttbytes::QoS;

use super::*;
use crate::broker::grant::Grant;
use crate::broker::rig::{PATIENCE, eventually};

const ME: Author = Author(7);

struct Rig {
    router: Router,
    counters: Arc<Counters>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Rig {
    async fn new() -> Self {
        let (counters, stop) = (Arc::new(Counters::default()), CancellationToken::new());
        let tasks = TaskTracker::new();
        let told = (Arc::clone(&counters), Clock::system());
        let router = Router::start(told, tasks.clone(), stop.clone()).await;
        Self { router: router.unwrap(), counters, stop, tasks }
    }

    async fn subscriber(&self, filters: &[&str]) -> Subscriber {
        let subscriber = self.router.subscriber(ME);
        let plain = Grant::plain(QoS::AtMostOnce);
        let filters = filters.iter().map(|f| ((*f).to_owned(), plain)).collect();
        subscriber.subscribe(filters).await.unwrap();
        subscriber
    }

    fn offer(&self, topic: &str, payload: &str) {
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        self.router.offer(&Copy::ours(topic, &payload, 0));
    }

    /// Offers until a copy with this payload arrives: after a death some are lost.
    async fn reaches(&self, subscriber: &mut Subscriber, payload: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.offer("meshcore/x", payload);
            let wait = Duration::from_millis(50);
            while let Ok(copy) = tokio::time::timeout(wait, subscriber.deliveries.recv()).await {
                if copy.unwrap().payload == payload.as_bytes() {
                    return;
                }
            }
            assert!(Instant::now() < deadline, "{payload} never arrived");
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn next(subscriber: &mut Subscriber) -> (String, String) {
    let copy = tokio::time::timeout(PATIENCE, subscriber.deliveries.recv()).await;
    let copy = copy.expect("a copy should come").expect("the pump should live");
    (text(&copy.topic), text(&copy.payload))
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Whether a thread of this process has this name.
#[cfg(target_os = "linux")]
fn thread_exists(name: &str) -> bool {
    std::fs::read_dir("/proc/self/task").unwrap().flatten().any(|task| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
    })
}

#[tokio::test]
async fn a_copy_reaches_every_subscriber_whose_filter_matches() {
    let rig = Rig::new().await;
    let mut all = rig.subscriber(&["#"]).await;
    let mut some = rig.subscriber(&["meshcore/+/status", "other"]).await;
    rig.offer("meshcore/a/packets", "1");
    rig.offer("meshcore/a/status", "2");
    assert_eq!(next(&mut all).await.1, "1");
    assert_eq!(next(&mut all).await.1, "2");
    assert_eq!(next(&mut some).await, ("meshcore/a/status".to_owned(), "2".to_owned()));
}

#[tokio::test]
async fn nothing_is_copied_while_nobody_has_subscribed() {
    let rig = Rig::new().await;
    rig.offer("meshcore/x", "1");
    assert_eq!(rig.router.0.feed().topics(), 0);
    let subscriber = rig.subscriber(&["#"]).await;
    rig.offer("meshcore/x", "2");
    assert_eq!(rig.router.0.feed().topics(), 1);
    drop(subscriber);
    eventually("its pump has gone", || rig.router.0.pumps.load(Ordering::Acquire) == 0).await;
    assert_eq!(rig.router.0.filters.load(Ordering::Acquire), 0);
}

#[tokio::test]
async fn a_reader_that_was_late_goes_on_where_the_log_goes_on_and_losses_are_counted() {
    let rig = Rig::new().await;
    let mut late = rig.subscriber(&["#"]).await;
    let mut prompt = rig.subscriber(&["meshcore/#"]).await;
    // Each of the filters has a log of 256 KiB: these are four times as much.
    for n in 0..2_000_u32 {
        rig.offer("meshcore/x", &format!("{n:0512}"));
        assert_eq!(next(&mut prompt).await.1, format!("{n:0512}"));
    }
    rig.offer("meshcore/x", "last");
    let mut got = 0;
    while next(&mut late).await.1 != "last" {
        got += 1;
    }
    assert!((250..2_000).contains(&got), "{got}");
    assert_eq!(rig.counters.broker_copies_lost.get(), 2_000 - got);
}

#[tokio::test]
async fn a_router_that_panics_is_replaced_and_subscribers_go_on() {
    let rig = Rig::new().await;
    let mut subscriber = rig.subscriber(&["meshcore/#"]).await;
    for death in 1..=3 {
        rig.reaches(&mut subscriber, &format!("before {death}")).await;
        // The first of the seven ways that kill stock rumqttd.
        rig.router.kill();
        eventually("it is replaced", || rig.counters.broker_router_rebuilds.get() == death).await;
        rig.reaches(&mut subscriber, &format!("after {death}")).await;
    }
    let mut newcomer = rig.subscriber(&["#"]).await;
    rig.reaches(&mut newcomer, "to a newcomer").await;
}

#[tokio::test]
async fn a_router_that_has_seen_too_much_is_replaced() {
    let rig = Rig::new().await;
    let mut subscriber = rig.subscriber(&["meshcore/#"]).await;
    for n in 0..=feed::MAX_TOPICS {
        let topic = format!("meshcore/{n}");
        rig.offer(&topic, "x");
        if n % 500 == 0 {
            // Everything before it is through: the copies are in order.
            while next(&mut subscriber).await.0 != topic {}
        }
    }
    eventually("it is replaced", || rig.counters.broker_router_rebuilds.get() == 1).await;
    rig.reaches(&mut subscriber, "after").await;
    assert!(rig.router.0.feed().topics() < 10);
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_retired_router_ends_and_frees_its_thread() {
    let (generation, (mut feed, receiver)) = link::build(4_242).await.unwrap();
    eventually("it runs", || thread_exists("router-4242")).await;
    feed.try_publish(Bytes::from_static(b"$end"), link::fuse()).unwrap();
    eventually("it ends", || !thread_exists("router-4242")).await;
    drop(receiver);
    assert!(link::connect(&Arc::new(generation), "late".to_owned()).await.is_err());
}

#[tokio::test]
async fn stopping_ends_the_keeper_the_pumps_and_the_router() {
    let rig = Rig::new().await;
    let subscriber = rig.subscriber(&["#"]).await;
    drop(subscriber);
    rig.stop.cancel();
    rig.tasks.close();
    tokio::time::timeout(PATIENCE, rig.tasks.wait()).await.expect("all tasks should end");
}

#[tokio::test]
async fn a_keeper_that_panics_is_counted_and_the_next_one_keeps_a_router_of_its_own() {
    let rig = Rig::new().await;
    let mut subscriber = rig.subscriber(&["#"]).await;
    rig.router.harm_keeper();
    eventually("it starts again", || rig.counters.broker_router_rebuilds.get() == 1).await;
    assert_eq!(rig.counters.reasons.count("task_panic"), 1);
    rig.reaches(&mut subscriber, "after").await;
    rig.router.kill();
    eventually("it keeps watch", || rig.counters.broker_router_rebuilds.get() == 2).await;
    rig.reaches(&mut subscriber, "again").await;
}

#[tokio::test]
async fn link_names_are_used_again() {
    let rig = Rig::new().await;
    for _ in 0..50 {
        let mut subscriber = rig.subscriber(&["#"]).await;
        rig.reaches(&mut subscriber, "x").await;
        drop(subscriber);
        eventually("it left", || rig.router.0.pumps.load(Ordering::Acquire) == 0).await;
    }
    assert!(rig.router.0.slots().made <= 2, "{}", rig.router.0.slots().made);
}

#[tokio::test]
async fn the_number_of_filters_in_all_is_bounded() {
    let rig = Rig::new().await;
    let filters: Vec<_> = (0..100).map(|n| format!("f/{n}")).collect();
    let mut subscribers = Vec::new();
    while rig.router.has_room_for(100) {
        let filters: Vec<_> = filters.iter().map(String::as_str).collect();
        subscribers.push(rig.subscriber(&filters).await);
    }
    assert_eq!(subscribers.len() * 100, MAX_LIVE_FILTERS);
    subscribers.pop();
    eventually("room is given back", || rig.router.has_room_for(100)).await;
}

#[tokio::test]
async fn copies_wait_bounded_while_there_is_no_router() {
    let rig = Rig::new().await;
    let mut subscriber = rig.subscriber(&["#"]).await;
    let link = rig.router.0.feed().pause().unwrap();
    for n in 0..1_500 {
        rig.offer("meshcore/x", &n.to_string());
    }
    assert_eq!(rig.counters.broker_copies_lost.get(), 500);
    assert_eq!(rig.router.0.feed().resume(link), 0);
    for n in 0..1_000 {
        assert_eq!(next(&mut subscriber).await.1, n.to_string());
    }
}

#[tokio::test]
async fn each_copy_is_as_the_filter_wants_it_by_which_it_comes() {
    let rig = Rig::new().await;
    let plain = Grant::plain(QoS::AtMostOnce);
    let marked = Grant { id: std::num::NonZeroU32::new(9), retain_as_published: true, ..plain };
    let quiet = Grant { no_local: true, ..plain };
    let subscriber = rig.router.subscriber(ME);
    let all = [("#", plain), ("meshcore/#", marked), ("+/x", quiet)];
    let all = all.map(|(filter, grant)| (filter.to_owned(), grant)).to_vec();
    subscriber.subscribe(all).await.unwrap();
    let (payload, mut subscriber) = (Bytes::from_static(b"1"), subscriber);
    let copy = Copy { author: ME, retain: true, ..Copy::ours("meshcore/x", &payload, 0) };
    let mut came = async |count: usize| {
        rig.router.offer(&copy);
        let mut seen = Vec::new();
        while seen.len() < count {
            let copy = tokio::time::timeout(PATIENCE, subscriber.deliveries.recv()).await;
            let copy = copy.unwrap().unwrap();
            seen.push((copy.retain, copy.subscription.map_or(0, std::num::NonZeroU32::get)));
        }
        seen.sort_unstable();
        (seen, subscriber.deliveries.try_recv().is_err())
    };
    assert_eq!(came(2).await, (vec![(false, 0), (true, 9)], true), "none by the third");
    // Asked for again with other options, and over the router's death.
    rig.router.kill();
    eventually("it is replaced", || rig.counters.broker_router_rebuilds.get() == 1).await;
    assert_eq!(came(2).await.0, [(false, 0), (true, 9)]);
}

#[tokio::test]
async fn options_that_are_asked_for_later_hold_from_then_on() {
    let rig = Rig::new().await;
    let plain = Grant::plain(QoS::AtMostOnce);
    let mut subscriber = rig.subscriber(&["#"]).await;
    let payload = Bytes::from_static(b"1");
    let own = Copy { author: ME, retain: true, ..Copy::ours("meshcore/x", &payload, 0) };
    rig.router.offer(&own);
    assert!(
        !tokio::time::timeout(PATIENCE, subscriber.deliveries.recv())
            .await
            .unwrap()
            .unwrap()
            .retain
    );
    for grant in [Grant { retain_as_published: true, ..plain }, plain] {
        subscriber.subscribe(vec![("#".to_owned(), grant)]).await.unwrap();
        rig.router.offer(&own);
        let copy = tokio::time::timeout(PATIENCE, subscriber.deliveries.recv()).await;
        assert_eq!(copy.unwrap().unwrap().retain, grant.retain_as_published);
    }
}
