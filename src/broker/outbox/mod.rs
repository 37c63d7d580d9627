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

mod hold;
mod kept;
mod queue;
mod slot;
#[cfg(test)]
mod tests;

pub(super) use hold::Outbox;
pub(super) use kept::{Changes, Kept};
pub(super) use queue::{Item, Outgoing};

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::queue::Bounds;
use self::slot::{Slot, millis};
use super::copy::Copy;
use super::identity::Identity;
use super::sessions::Key;
use crate::config;
use crate::counters::{Counters, QueueState};

/// All subscribers at QoS 1 and all kept sessions; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Outboxes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    table: Mutex<Table>,
    /// Filters of QoS 1: without any there is nothing to look for.
    filters: AtomicUsize,
    limits: Limits,
    counters: Arc<Counters>,
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

impl Outboxes {
    /// With these bounds, and nobody there.
    pub(super) fn new(limits: config::Sessions, counters: Arc<Counters>) -> Self {
        let each = Bounds { messages: limits.messages, bytes: limits.bytes / PART_OF_ALL };
        let limits = Limits { each, bytes: limits.bytes, keep: limits.keep };
        let (table, filters) = (Mutex::default(), AtomicUsize::new(0));
        Self(Arc::new(Shared { table, filters, limits, counters }))
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

    /// For how long after its connection the session of this key is kept; `None`: there is none.
    pub(super) fn kept_for(&self, key: &Key) -> Option<Duration> {
        let table = self.table();
        table.kept.get(key).and_then(|id| table.slots.get(id)).and_then(|slot| slot.keep)
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
    pub(super) fn offer(&self, copy: &Copy<'_>, lost: &mut u64) -> bool {
        if self.0.filters.load(Ordering::Acquire) == 0 {
            return false;
        }
        let mut item: Option<Item> = None;
        let (mut to_store, mut table) = (false, self.table());
        let (lost_before, each) = (table.lost, self.0.limits.each);
        let Table { slots, bytes, lost: lost_in_all, .. } = &mut *table;
        for slot in slots.values_mut() {
            let Some((retain, subscriptions)) = slot.takes(copy) else { continue };
            let item = item.get_or_insert_with(|| Item::of(copy)).clone();
            let before = slot.queue.bytes();
            let lost = slot.queue.push(Item { retain, subscriptions, ..item }, each);
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
        slot.filters = kept.filters;
        self.0.filters.fetch_add(slot.queued_filters(), Ordering::AcqRel);
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
            let aged = slot.queue.expire(oldest_ms, now_ms);
            slot.lost += aged;
            *lost += aged;
            self.0.counters.broker_messages_expired.add(slot.queue.take_expired());
            *bytes = *bytes - before + slot.queue.bytes();
        }
    }

    fn end(&self, table: &mut Table, id: u64) {
        let Some(slot) = table.slots.remove(&id) else { return };
        table.bytes -= slot.queue.bytes();
        self.0.filters.fetch_sub(slot.queued_filters(), Ordering::AcqRel);
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
