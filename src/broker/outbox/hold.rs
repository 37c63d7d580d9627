//! A connection's end of its queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::queue::Queue;
use super::slot::Slot;
use super::{Item, Outboxes, Outgoing, Table};
use crate::broker::grant::Grant;

/// A connection's hold on its queue. Dropped, it ends the session, or lets go of one that is kept.
#[derive(Debug)]
pub(in crate::broker) struct Outbox {
    pub(super) all: Outboxes,
    pub(super) id: u64,
    pub(super) holder: u64,
    pub(super) ring: Arc<Notify>,
}

impl Outbox {
    /// Its number among all queues.
    pub(in crate::broker) fn number(&self) -> u64 {
        self.id
    }

    /// Rings when there may be something to write. Cancel-safe.
    pub(in crate::broker) async fn rung(&self) {
        self.ring.notified().await;
    }

    /// Notes a subscription in place of an earlier one to the same filter.
    pub(in crate::broker) fn subscribe(&self, filter: &str, grant: Grant) {
        self.change(|slot, filters| {
            let old = slot.filters.insert(filter.to_owned(), grant);
            count(filters, old, Some(grant));
            slot.changed = true;
        });
    }

    /// Ends a subscription. What waits already still comes (MQTT-3.10.4-3).
    pub(in crate::broker) fn unsubscribe(&self, filter: &str) {
        self.change(|slot, filters| {
            let old = slot.filters.remove(filter);
            count(filters, old, None);
            slot.changed |= old.is_some();
        });
    }

    /// What the session has subscribed to.
    pub(in crate::broker) fn filters(&self) -> Vec<(String, Grant)> {
        let filters = self.change(|slot, _| slot.filters.clone());
        filters.unwrap_or_default().into_iter().collect()
    }

    /// Hands out what may be written now, one by one, until `write` says that it is enough.
    pub(in crate::broker) fn drain(&self, now_ms: i64, mut write: impl FnMut(Outgoing) -> bool) {
        self.with_queue(|queue| {
            while let Some(outgoing) = queue.next(now_ms) {
                if !write(outgoing) {
                    break;
                }
            }
        });
    }

    /// Sends a copy ahead of those that wait; `None` when the window is full.
    pub(in crate::broker) fn send_first(&self, item: Item) -> Option<Outgoing> {
        self.with_queue(|queue| queue.send_first(item)).flatten()
    }

    /// The client has acknowledged a packet id. False: it is not known.
    pub(in crate::broker) fn acknowledge(&self, pkid: u16) -> bool {
        self.with_queue(|queue| queue.acknowledge(pkid)).unwrap_or(false)
    }

    /// The client takes no more than so many copies at QoS 1 unacknowledged.
    pub(in crate::broker) fn narrow(&self, receive_maximum: u16) {
        self.with_queue(|queue| queue.narrow(receive_maximum.into()));
    }

    /// Keeps the session for so long after its connection, within the configured bound.
    pub(in crate::broker) fn keep(&self, keep: Duration) {
        let keep = self.all.bounded(keep);
        self.change(|slot, _| (slot.keep, slot.changed) = (Some(keep), true));
    }

    /// Copies that this queue has lost since the start.
    pub(in crate::broker) fn lost(&self) -> u64 {
        self.change(|slot, _| slot.lost).unwrap_or_default()
    }

    /// Lets go of the session; `now_ms` begins the time for which it is kept. Ends one that is not
    /// kept. Nothing happens once another connection has it.
    pub(in crate::broker) fn leave(&self, now_ms: i64) {
        let mut table = self.all.table();
        let Some(slot) = table.slots.get_mut(&self.id).filter(|s| s.holder == self.holder) else {
            return;
        };
        match slot.keep {
            Some(keep) if !keep.is_zero() => {
                (slot.holder, slot.away_since_ms, slot.changed) = (0, Some(now_ms), true);
            }
            _ => self.all.end(&mut table, self.id),
        }
    }

    fn with_queue<T>(&self, work: impl FnOnce(&mut Queue) -> T) -> Option<T> {
        let mut table = self.all.table();
        let Table { slots, bytes, .. } = &mut *table;
        let slot = slots.get_mut(&self.id).filter(|slot| slot.holder == self.holder)?;
        let before = slot.queue.bytes();
        let done = work(&mut slot.queue);
        *bytes = *bytes - before + slot.queue.bytes();
        self.all.0.counters.broker_messages_expired.add(slot.queue.take_expired());
        Some(done)
    }

    fn change<T>(&self, work: impl FnOnce(&mut Slot, &AtomicUsize) -> T) -> Option<T> {
        let mut table = self.all.table();
        let slot = table.slots.get_mut(&self.id).filter(|slot| slot.holder == self.holder)?;
        Some(work(slot, &self.all.0.filters))
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        // After `leave` nobody, or somebody else, holds it. Without one the connection panicked: a
        // kept session then counts as away from the next look at what has expired.
        let mut table = self.all.table();
        let Some(slot) = table.slots.get_mut(&self.id).filter(|s| s.holder == self.holder) else {
            return;
        };
        if slot.keep.is_some() {
            (slot.holder, slot.changed) = (0, true);
        } else {
            self.all.end(&mut table, self.id);
        }
    }
}

/// Keeps the number of filters of QoS 1.
fn count(filters: &AtomicUsize, old: Option<Grant>, new: Option<Grant>) {
    let queued = |grant: Option<Grant>| usize::from(grant.is_some_and(|g| !g.is_routed()));
    filters.fetch_add(queued(new), Ordering::AcqRel);
    filters.fetch_sub(queued(old), Ordering::AcqRel);
}
