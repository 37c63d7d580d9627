//! Copies for subscribers at QoS 1, and the sessions that are kept while their client is away.
//!
//! ```text
//! door ── offer() ──> every queue with a matching filter ── drain() ──> its connection ──> client
//!                        │                                                 └── acknowledge()
//!                        └── of a kept session: its rows in the state file
//! ```
//!
//! What has to arrive does not go through the router, whose logs forget what is not read in time:
//! the publisher's own task puts it here, so that it is known, when a publish is acknowledged, for
//! whom it waits. Subscriptions of QoS 0 stay with the router. A queue that is full loses its own
//! oldest copies, counted; nobody ever waits for it.

mod queue;
#[cfg(test)]
mod tests;

pub(super) use queue::{Item, Outgoing};

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rumqttc::mqttbytes::{QoS, matches};
use tokio::sync::Notify;

use self::queue::{Bounds, Queue};
use super::identity::Identity;
use super::sessions::Key;
use crate::config;
use crate::counters::QueueState;

/// All subscribers at QoS 1 and all kept sessions; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Outboxes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    table: Mutex<Table>,
    /// Filters of QoS 1: without any there is nothing to look for.
    filters: AtomicUsize,
    limits: Limits,
}

#[derive(Debug, Default)]
struct Table {
    slots: BTreeMap<u64, Slot>,
    kept: HashMap<Key, u64>,
    /// Bytes of all queues.
    bytes: usize,
    last: u64,
    /// Sessions that may stand in the file and are here no more.
    gone: Vec<u64>,
    lost: u64,
}

#[derive(Debug)]
struct Slot {
    identity: Identity,
    client_id: String,
    filters: BTreeMap<String, QoS>,
    queue: Queue,
    ring: Arc<Notify>,
    /// How long the session outlives its connection; `None`: it ends with it.
    keep: Option<Duration>,
    /// The connection that has it: each gets a number of its own. 0: nobody.
    holder: u64,
    /// When its client left, in milliseconds since the Unix epoch.
    away_since_ms: Option<i64>,
    lost: u64,
    changed: bool,
}

/// Bounds of queues and sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    each: Bounds,
    /// Bytes of all queues.
    bytes: usize,
    keep: Duration,
}

/// Filters of QoS 1 of all subscribers together: a publish is compared with each.
const MAX_FILTERS: usize = 1_000;

/// Sessions that are kept, and those of one account. Tokens have half of them together: anybody can
/// make keys.
const MAX_KEPT: (usize, usize) = (200, 10);

/// One queue may have this part of the bytes of all.
const PART_OF_ALL: usize = 4;

/// A connection's hold on its queue. Dropped, it ends the session, or lets go of one that is kept.
#[derive(Debug)]
pub(super) struct Outbox {
    all: Outboxes,
    id: u64,
    holder: u64,
    ring: Arc<Notify>,
}

/// A session for the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// Whose.
    pub(super) key: Key,
    /// What it has subscribed to, and the QoS that was granted.
    pub(super) filters: BTreeMap<String, QoS>,
    /// When its client left, in milliseconds since the Unix epoch.
    pub(super) away_since_ms: Option<i64>,
    /// How long it outlives its connection.
    pub(super) keep: Duration,
}

/// What the file does not know yet.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Changes {
    /// Sessions by number; `None`: it has ended, and its copies with it.
    pub(super) sessions: Vec<(u64, Option<Kept>)>,
    /// Copies by session and serial.
    pub(super) queued: Vec<(u64, u64, Item)>,
    /// Copies that were delivered or lost.
    pub(super) taken: Vec<(u64, u64)>,
}

impl Outboxes {
    /// With these bounds, and nobody there.
    pub(super) fn new(limits: config::Sessions) -> Self {
        let each = Bounds { messages: limits.messages, bytes: limits.bytes / PART_OF_ALL };
        let limits = Limits { each, bytes: limits.bytes, keep: limits.keep };
        let (table, filters) = (Mutex::default(), AtomicUsize::new(0));
        Self(Arc::new(Shared { table, filters, limits }))
    }

    /// A queue that ends with its connection.
    pub(super) fn open(&self, identity: Identity, client_id: String) -> Outbox {
        let mut table = self.table();
        let slot = Slot::new((identity, client_id), None);
        let id = table.add(slot);
        self.hold(&mut table, id)
    }

    /// The session of this key, as it was left or new, to be kept for `keep`, or as long as the
    /// configuration says, after its connection has ended. True: it was there. `None`: there is no
    /// room for another one.
    pub(super) fn resume(
        &self,
        key: &Key,
        keep: Option<Duration>,
        now_ms: i64,
    ) -> Option<(Outbox, bool)> {
        let mut table = self.table();
        self.expire(&mut table, now_ms);
        let keep = keep.map_or(self.0.limits.keep, |keep| self.bounded(keep));
        if let Some(id) = table.kept.get(key).copied() {
            let slot = table.slots.get_mut(&id)?;
            slot.queue.resume();
            (slot.keep, slot.away_since_ms, slot.changed) = (Some(keep), None, true);
            return Some((self.hold(&mut table, id), true));
        }
        if !table.has_room_for(&key.0) {
            return None;
        }
        let id = table.add(Slot::new(key.clone(), Some(keep)));
        table.kept.insert(key.clone(), id);
        Some((self.hold(&mut table, id), false))
    }

    /// Whether a session of this key is kept.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.table().kept.contains_key(key)
    }

    /// For how long a session is kept for which so much is wanted.
    pub(super) fn bounded(&self, keep: Duration) -> Duration {
        keep.min(self.0.limits.keep)
    }

    /// Ends the session of this key, if one is kept (MQTT-3.1.2-6).
    pub(super) fn discard(&self, key: &Key) {
        let mut table = self.table();
        if let Some(id) = table.kept.get(key).copied() {
            self.end(&mut table, id);
        }
    }

    /// Ends every session of somebody who may not have one any more, held or not.
    pub(super) fn dismiss(&self, identity: &Identity) {
        let mut table = self.table();
        let its = table.slots.iter().filter(|(_, s)| s.keep.is_some() && s.identity == *identity);
        let its: Vec<u64> = its.map(|(id, _)| *id).collect();
        its.into_iter().for_each(|id| self.end(&mut table, id));
    }

    /// The accounts for which sessions are kept.
    pub(super) fn accounts(&self) -> Vec<Arc<str>> {
        let table = self.table();
        let name = |(identity, _): &Key| match identity {
            Identity::Account(name) => Some(Arc::clone(name)),
            Identity::Anonymous(_) | Identity::Observer(_) => None,
        };
        table.kept.keys().filter_map(name).collect()
    }

    /// Whether so many more filters fit in.
    pub(super) fn has_room_for(&self, filters: usize) -> bool {
        self.0.filters.load(Ordering::Acquire) + filters <= MAX_FILTERS
    }

    /// Queues a copy for everyone who has subscribed at QoS 1. True: a kept session has it that needs
    /// it stored before the publish is acknowledged. `lost` counts what others, or these, had to give
    /// up for it.
    pub(super) fn offer(
        &self,
        (topic, payload): (&str, &Bytes),
        qos: QoS,
        now_ms: i64,
        lost: &mut u64,
    ) -> bool {
        if self.0.filters.load(Ordering::Acquire) == 0 {
            return false;
        }
        let qos = if qos == QoS::AtMostOnce { qos } else { QoS::AtLeastOnce };
        let mut item: Option<Item> = None;
        let (mut to_store, mut table) = (false, self.table());
        let (lost_before, each) = (table.lost, self.0.limits.each);
        let Table { slots, bytes, lost: lost_in_all, .. } = &mut *table;
        for slot in slots.values_mut().filter(|slot| slot.wants(topic)) {
            let item = item.get_or_insert_with(|| Item {
                topic: topic.into(),
                payload: payload.clone(),
                qos,
                retain: false,
                at_ms: now_ms,
            });
            let before = slot.queue.bytes();
            let lost = slot.queue.push(item.clone(), each);
            slot.lost += lost;
            *lost_in_all += lost;
            *bytes = *bytes - before + slot.queue.bytes();
            to_store |= slot.keep.is_some();
            slot.ring.notify_one();
        }
        while table.bytes > self.0.limits.bytes && table.lose_from_largest() {}
        *lost += table.lost - lost_before;
        to_store
    }

    /// What the file does not know yet. Sessions that were away for too long, and what waited for too
    /// long, end here.
    pub(super) fn changes(&self, now_ms: i64) -> Changes {
        let mut table = self.table();
        self.expire(&mut table, now_ms);
        let mut changes = Changes::default();
        changes.sessions.extend(table.gone.drain(..).map(|id| (id, None)));
        for (id, slot) in &mut table.slots {
            let Some(kept) = slot.kept() else { continue };
            if std::mem::take(&mut slot.changed) {
                changes.sessions.push((*id, Some(kept)));
            }
            if slot.queue.has_news() {
                let (new, taken) = slot.queue.news();
                changes.queued.extend(new.into_iter().map(|(serial, item)| (*id, serial, item)));
                changes.taken.extend(taken.into_iter().map(|serial| (*id, serial)));
            }
        }
        changes
    }

    /// Everything that is kept, for a file that is written anew.
    pub(super) fn everything(&self, now_ms: i64) -> Changes {
        let mut table = self.table();
        self.expire(&mut table, now_ms);
        let mut changes = Changes::default();
        table.gone.clear();
        for (id, slot) in &mut table.slots {
            let Some(kept) = slot.kept() else { continue };
            slot.changed = false;
            changes.sessions.push((*id, Some(kept)));
            let all = slot.queue.everything();
            changes.queued.extend(all.into_iter().map(|(serial, item)| (*id, serial, item)));
        }
        changes
    }

    /// Puts back a session that the file had, with its copies in the order of their serials. Its
    /// client counts as away since it left or, if it was connected, since `now_ms`.
    pub(super) fn restore(&self, id: u64, kept: Kept, queued: Vec<(u64, Item)>, now_ms: i64) {
        let mut table = self.table();
        if table.kept.contains_key(&kept.key) {
            // Its client was faster than the file; what is in memory is newer.
            return;
        }
        let id = if table.slots.contains_key(&id) { table.last + 1 } else { id };
        let mut slot = Slot::new(kept.key.clone(), Some(kept.keep));
        let confirmed = kept.filters.values().filter(|qos| **qos != QoS::AtMostOnce).count();
        self.0.filters.fetch_add(confirmed, Ordering::AcqRel);
        slot.filters = kept.filters;
        slot.away_since_ms = Some(kept.away_since_ms.unwrap_or(now_ms));
        slot.changed = kept.away_since_ms.is_none();
        for (serial, item) in queued {
            slot.queue.restore(serial, item);
        }
        table.bytes += slot.queue.bytes();
        table.last = table.last.max(id);
        table.kept.insert(kept.key, id);
        table.slots.insert(id, slot);
    }

    /// Every queue by its number, for people.
    pub(super) fn states(&self) -> BTreeMap<u64, QueueState> {
        self.table().slots.iter().map(|(id, slot)| (*id, slot.state())).collect()
    }

    fn hold(&self, table: &mut Table, id: u64) -> Outbox {
        table.last += 1;
        let holder = table.last;
        let ring = table.slots.get_mut(&id).map(|slot| {
            slot.holder = holder;
            Arc::clone(&slot.ring)
        });
        let ring = ring.unwrap_or_default();
        ring.notify_one();
        Outbox { all: self.clone(), id, holder, ring }
    }

    fn expire(&self, table: &mut Table, now_ms: i64) {
        let over: Vec<u64> =
            table.slots.iter().filter(|(_, s)| s.is_over(now_ms)).map(|(id, _)| *id).collect();
        over.into_iter().for_each(|id| self.end(table, id));
        let oldest_ms = now_ms.saturating_sub(millis(self.0.limits.keep));
        let Table { slots, bytes, lost, .. } = table;
        for slot in slots.values_mut() {
            if slot.holder == 0 {
                slot.away_since_ms.get_or_insert(now_ms);
            }
            let before = slot.queue.bytes();
            let expired = slot.queue.expire(oldest_ms);
            slot.lost += expired;
            *lost += expired;
            *bytes = *bytes - before + slot.queue.bytes();
        }
    }

    fn end(&self, table: &mut Table, id: u64) {
        let Some(slot) = table.slots.remove(&id) else { return };
        table.bytes -= slot.queue.bytes();
        let confirmed = slot.filters.values().filter(|qos| **qos != QoS::AtMostOnce).count();
        self.0.filters.fetch_sub(confirmed, Ordering::AcqRel);
        if slot.keep.is_some() {
            table.kept.remove(&(slot.identity, slot.client_id));
            table.gone.push(id);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn add(&mut self, slot: Slot) -> u64 {
        self.last += 1;
        self.slots.insert(self.last, slot);
        self.last
    }

    fn has_room_for(&self, identity: &Identity) -> bool {
        let (all, each) = MAX_KEPT;
        let is_token = |who: &Identity| matches!(who, Identity::Observer(_));
        let by_token = self.kept.keys().filter(|(who, _)| is_token(who)).count();
        if is_token(identity) && by_token >= all / 2 {
            return false;
        }
        let own = self.kept.keys().filter(|(who, _)| who == identity).count();
        self.kept.len() < all && own < each
    }

    /// Whoever has the most gives something up.
    fn lose_from_largest(&mut self) -> bool {
        let waiting = self.slots.values_mut().filter(|slot| slot.queue.has_waiting());
        let Some(slot) = waiting.max_by_key(|slot| slot.queue.bytes()) else { return false };
        let before = slot.queue.bytes();
        let lost = slot.queue.lose_oldest();
        self.bytes = self.bytes - before + slot.queue.bytes();
        slot.lost += u64::from(lost);
        self.lost += u64::from(lost);
        lost
    }
}

impl Slot {
    fn new((identity, client_id): Key, keep: Option<Duration>) -> Self {
        Self {
            identity,
            client_id,
            filters: BTreeMap::new(),
            queue: Queue::default(),
            ring: Arc::default(),
            keep,
            holder: 0,
            away_since_ms: None,
            lost: 0,
            changed: true,
        }
    }

    fn wants(&self, topic: &str) -> bool {
        let mut confirmed = self.filters.iter().filter(|(_, qos)| **qos != QoS::AtMostOnce);
        confirmed.any(|(filter, _)| matches(topic, filter))
    }

    fn is_over(&self, now_ms: i64) -> bool {
        let (Some(keep), Some(since)) = (self.keep, self.away_since_ms) else { return false };
        now_ms - since > millis(keep)
    }

    fn kept(&self) -> Option<Kept> {
        let key = (self.identity.clone(), self.client_id.clone());
        let (filters, away_since_ms) = (self.filters.clone(), self.away_since_ms);
        self.keep.map(|keep| Kept { key, filters, away_since_ms, keep })
    }

    fn state(&self) -> QueueState {
        QueueState {
            identity: self.identity.to_string(),
            client_id: self.client_id.clone(),
            connected: self.holder != 0,
            kept: self.keep.is_some(),
            away_since_ms: self.away_since_ms.filter(|_| self.holder == 0),
            kept_until_ms: self
                .keep
                .zip(self.away_since_ms.filter(|_| self.holder == 0))
                .map(|(keep, since_ms)| since_ms.saturating_add(millis(keep))),
            messages: self.queue.len() as u64,
            bytes: self.queue.bytes() as u64,
            lost: self.lost,
        }
    }
}

impl Outbox {
    /// Its number among all queues.
    pub(super) fn number(&self) -> u64 {
        self.id
    }

    /// Rings when there may be something to write. Cancel-safe.
    pub(super) async fn rung(&self) {
        self.ring.notified().await;
    }

    /// Notes a subscription in place of an earlier one to the same filter.
    pub(super) fn subscribe(&self, filter: &str, qos: QoS) {
        self.change(|slot, filters| {
            let old = slot.filters.insert(filter.to_owned(), qos);
            count(filters, old, Some(qos));
            slot.changed = true;
        });
    }

    /// Ends a subscription. What waits already still comes (MQTT-3.10.4-3).
    pub(super) fn unsubscribe(&self, filter: &str) {
        self.change(|slot, filters| {
            let old = slot.filters.remove(filter);
            count(filters, old, None);
            slot.changed |= old.is_some();
        });
    }

    /// What the session has subscribed to.
    pub(super) fn filters(&self) -> Vec<(String, QoS)> {
        let filters = self.change(|slot, _| slot.filters.clone());
        filters.unwrap_or_default().into_iter().collect()
    }

    /// Hands out what may be written now, one by one, until `write` says that it is enough.
    pub(super) fn drain(&self, mut write: impl FnMut(Outgoing) -> bool) {
        self.with_queue(|queue| {
            while let Some(outgoing) = queue.next() {
                if !write(outgoing) {
                    break;
                }
            }
        });
    }

    /// Sends a copy ahead of those that wait; `None` when the window is full.
    pub(super) fn send_first(&self, item: Item) -> Option<Outgoing> {
        self.with_queue(|queue| queue.send_first(item)).flatten()
    }

    /// The client has acknowledged a packet id. False: it is not known.
    pub(super) fn acknowledge(&self, pkid: u16) -> bool {
        self.with_queue(|queue| queue.acknowledge(pkid)).unwrap_or(false)
    }

    /// The client takes no more than so many copies at QoS 1 unacknowledged.
    pub(super) fn narrow(&self, receive_maximum: u16) {
        self.with_queue(|queue| queue.narrow(receive_maximum.into()));
    }

    /// Keeps the session for so long after its connection, within the configured bound.
    pub(super) fn keep(&self, keep: Duration) {
        let keep = self.all.bounded(keep);
        self.change(|slot, _| (slot.keep, slot.changed) = (Some(keep), true));
    }

    /// Copies that this queue has lost since the start.
    pub(super) fn lost(&self) -> u64 {
        self.change(|slot, _| slot.lost).unwrap_or_default()
    }

    /// Lets go of the session; `now_ms` begins the time for which it is kept. Ends one that is not
    /// kept. Nothing happens once another connection has it.
    pub(super) fn leave(&self, now_ms: i64) {
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
fn count(filters: &AtomicUsize, old: Option<QoS>, new: Option<QoS>) {
    let confirmed = |qos: Option<QoS>| usize::from(qos.is_some_and(|q| q != QoS::AtMostOnce));
    filters.fetch_add(confirmed(new), Ordering::AcqRel);
    filters.fetch_sub(confirmed(old), Ordering::AcqRel);
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
