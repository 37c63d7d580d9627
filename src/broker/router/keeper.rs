//! Watches the router, and builds another one when it dies, hangs, or has seen too much.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use rumqttd::Notification;
use rumqttd::local::{LinkRx, LinkTx};
use tokio::time::{Instant, MissedTickBehavior};

use super::{Shared, feed, link};

/// The router's keeper: one task, which ends the router when the broker stops.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    receiver: LinkRx,
    number: usize,
    asked: Option<Instant>,
}

/// How often the router is asked for a sign of life. Its thread can also fall asleep over a
/// connection that left while others had work; any event wakes it, so this bounds that, too.
const BEAT: Duration = Duration::from_secs(2);

/// Without an answer for so long it hangs.
const HANGS_AFTER: Duration = Duration::from_secs(10);

/// A router that has seen so many distinct filters is replaced: each costs kilobytes for ever.
pub(super) const MAX_FILTERS: usize = 2_000;

/// How long subscribers may take to join a new router before copies flow again.
const JOIN_WITHIN: Duration = Duration::from_secs(2);

/// Pause between attempts to build one.
const BUILD_AGAIN: Duration = Duration::from_secs(1);

/// Why another router is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Died,
    Hangs,
    SawTooMuch,
}

impl Keeper {
    /// For a router whose first link ends in `receiver`.
    pub(super) fn new(shared: Arc<Shared>, receiver: LinkRx) -> Self {
        Self { shared, receiver, number: 0, asked: None }
    }

    /// Watches until the broker stops.
    pub(super) async fn run(mut self) {
        let stop = self.shared.stop.clone();
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let trouble = tokio::select! {
                () = stop.cancelled() => break,
                notification = self.receiver.next() => self.heard(notification.ok().flatten().as_ref()),
                _ = beat.tick() => self.look(),
                () = self.shared.enough.notified() => self.look(),
            };
            if let Some(why) = trouble {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = self.rebuild(why) => {}
                }
            }
        }
        let last = self.shared.feed().pause();
        if let Some(sender) = last {
            end(sender).await;
        }
    }

    fn heard(&mut self, notification: Option<&Notification>) -> Option<Why> {
        match notification {
            Some(Notification::DeviceAck(_)) => {
                self.asked = None;
                None
            }
            Some(_) => None,
            None => self.is_gone().then_some(Why::Died),
        }
    }

    /// Only a router that takes no event is gone: a wake-up without news is nothing to go by.
    fn is_gone(&self) -> bool {
        self.shared.feed().ping().is_err()
    }

    fn look(&mut self) -> Option<Why> {
        let generation = Arc::clone(&self.shared.generations.borrow());
        let mut feed = self.shared.feed();
        if self.asked.is_some_and(|at| at.elapsed() > HANGS_AFTER) {
            return Some(Why::Hangs);
        }
        if feed.topics() >= feed::MAX_TOPICS || generation.filters() >= MAX_FILTERS {
            return Some(Why::SawTooMuch);
        }
        if feed.ping().is_err() {
            return Some(Why::Died);
        }
        self.asked.get_or_insert_with(Instant::now);
        None
    }

    /// Copies wait, bounded, while the next router is built and subscribers move over.
    async fn rebuild(&mut self, why: Why) {
        let old = self.shared.feed().pause();
        self.shared.counters.broker_router_rebuilds.increment();
        match why {
            Why::SawTooMuch => {
                tracing::debug!("the router has seen too much: a new one takes over");
            }
            Why::Died => tracing::warn!("the router died: a new one takes over"),
            Why::Hangs => tracing::warn!("the router hangs: a new one takes over"),
        }
        let (generation, (sender, receiver)) = loop {
            match link::build(self.number + 1).await {
                Ok(built) => break built,
                Err(e) => tracing::error!("no new router: {e}"),
            }
            tokio::time::sleep(BUILD_AGAIN).await;
        };
        self.number += 1;
        self.receiver = receiver;
        self.asked = None;
        let mut joined = generation.joined.subscribe();
        self.shared.generations.send_replace(Arc::new(generation));
        let pumps = &self.shared.pumps;
        let all = joined.wait_for(|n| *n >= pumps.load(Ordering::Acquire));
        // Whoever is late joins later, and loses what came meanwhile.
        let _ = tokio::time::timeout(JOIN_WITHIN, all).await;
        let lost = self.shared.feed().resume(sender);
        self.shared.counters.broker_copies_lost.add(lost);
        if let Some(old) = old {
            end(old).await;
        }
    }
}

/// Ends a router and frees what it holds. Nothing happens to one that is dead or hangs.
async fn end(mut sender: LinkTx) {
    let publish = sender.try_publish(Bytes::from_static(b"$end"), link::fuse());
    if publish.is_err_and(|e| link::is_full(&e)) {
        // It is in the buffer: any event of this link brings it in.
        let _ = link::ring(&mut sender).await;
    }
}
