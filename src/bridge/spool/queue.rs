//! One lane in memory: what is not in the file, and what is no longer to be. Pure: the time is passed
//! in.
//!
//! The file holds the lower numbers and memory the higher ones, so that the order is that of arrival.

use super::file::Stored;
use super::{Bounds, Depth, Entry, GROUP, MANY, OVERHEAD, UNACKNOWLEDGED, UNTAKEN};

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Messages and bytes that one transaction writes: between two of them whoever reads has its turn.
const BATCH: usize = 1_000;
const BATCH_BYTES: u64 = 1 << 20;

/// Bounds, what waits in memory, and what the file has.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) bounds: Bounds,
    pub(super) id: i64,
    stored: Stored,
    /// Not in the file, by number; all above what is stored.
    fresh: BTreeMap<u64, Fresh>,
    fresh_bytes: u64,
    /// What memory may hold; beyond it the oldest goes.
    room: u64,
    /// Up to here it is on its way into the file.
    writing: u64,
    /// Acknowledged, and still in the file or on the way into it; since when the first of them is.
    done: BTreeSet<u64>,
    done_since: Option<Instant>,
    last: u64,
    region: Option<String>,
    /// The region is not in the file.
    region_since: Option<Instant>,
    since_ms: Option<i64>,
    expired: u64,
    lost: u64,
    set_aside: u64,
}

#[derive(Debug)]
struct Fresh {
    entry: Entry,
    since: Instant,
    taken: Option<Instant>,
}

/// The next message.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::bridge) enum Next {
    /// It is here.
    Entry(Entry),
    /// It is in the file.
    Stored,
    /// Too much of the file is acknowledged and not yet out of it: a moment.
    Crowded,
    /// There is none.
    Nothing,
}

/// What one transaction is to do to a lane.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) insert: Vec<Entry>,
    pub(super) remove: Vec<u64>,
    pub(super) region: Option<String>,
}

impl Work {
    pub(super) fn is_empty(&self) -> bool {
        self.insert.is_empty() && self.remove.is_empty() && self.region.is_none()
    }
}

/// What it did; applied once it is committed.
#[derive(Debug, Default)]
pub(super) struct Changed {
    pub(super) stored: Stored,
    pub(super) expired: u64,
}

impl Queue {
    pub(super) fn new(
        (name, bounds): (String, Bounds),
        (id, stored, region): (i64, Stored, Option<String>),
        room: u64,
        now_ms: i64,
    ) -> Self {
        Self {
            name,
            bounds,
            id,
            stored,
            fresh: BTreeMap::new(),
            fresh_bytes: 0,
            room,
            writing: stored.last,
            done: BTreeSet::new(),
            done_since: None,
            last: stored.last,
            region,
            region_since: None,
            since_ms: (stored.messages > 0).then_some(now_ms),
            expired: 0,
            lost: 0,
            set_aside: 0,
        }
    }

    pub(super) fn append(&mut self, mut entry: Entry, now_ms: i64, now: Instant) {
        self.since_ms = self.since_ms.or(Some(now_ms));
        self.last += 1;
        entry.number = self.last;
        self.fresh_bytes += cost(&entry);
        self.fresh.insert(self.last, Fresh { entry, since: now, taken: None });
        while self.fresh_bytes > self.room {
            // What is on its way into the file is lost only if that fails: then it is not gone.
            let Some((&oldest, _)) = self.fresh.range(self.writing + 1..).next() else { break };
            self.forget(oldest);
            self.lost += 1;
        }
    }

    fn forget(&mut self, number: u64) -> bool {
        let Some(fresh) = self.fresh.remove(&number) else { return false };
        self.fresh_bytes -= cost(&fresh.entry);
        true
    }

    pub(super) fn done(&mut self, number: u64, now: Instant) {
        self.forget(number);
        if number <= self.writing && self.done.insert(number) {
            self.done_since = self.done_since.or(Some(now));
        }
        self.settle();
    }

    fn settle(&mut self) {
        if self.fresh.is_empty() && self.stored.messages <= self.done.len() as u64 {
            self.since_ms = None;
        }
    }

    pub(super) fn next(&mut self, after: u64, now: Instant) -> Next {
        if self.stored.messages > 0 && after < self.stored.last {
            return if self.done.len() < MANY { Next::Stored } else { Next::Crowded };
        }
        match self.fresh.range_mut(after.saturating_add(1)..).next() {
            Some((_, fresh)) => {
                fresh.taken = Some(now);
                Next::Entry(fresh.entry.clone())
            }
            None => Next::Nothing,
        }
    }

    /// Leaves out what was acknowledged meanwhile.
    pub(super) fn living(&self, entries: &mut Vec<Entry>) {
        entries.retain(|entry| !self.done.contains(&entry.number));
    }

    /// The highest number that the file has.
    pub(super) fn stored_last(&self) -> u64 {
        self.stored.last
    }

    /// Whether the file has anything.
    pub(super) fn has_stored(&self) -> bool {
        self.stored.messages > 0
    }

    pub(super) fn fresh(&self, number: u64) -> Option<Entry> {
        self.fresh.get(&number).map(|fresh| fresh.entry.clone())
    }

    pub(super) fn was_set_aside(&mut self, number: u64, now: Instant) {
        self.set_aside += 1;
        self.done(number, now);
    }

    pub(super) fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    pub(super) fn remember(&mut self, region: &str, now: Instant) {
        if self.region.as_deref() != Some(region) {
            self.region = Some(region.to_owned());
            self.region_since = self.region_since.or(Some(now));
        }
    }

    /// When something has to be written next.
    pub(super) fn due(&self) -> Option<Instant> {
        let fresh = self.fresh.values().map(Fresh::due).min();
        let done = self.done_since.map(|since| match self.done.len() {
            0..MANY => since + GROUP,
            _ => since,
        });
        let region = self.region_since.map(|since| since + UNACKNOWLEDGED);
        [fresh, done, region].into_iter().flatten().min()
    }

    /// What is to be written now; `all`: whatever its time. With every message that is due go those
    /// before it, so that the file has the lower numbers.
    pub(super) fn work(&mut self, now: Instant, all: bool) -> Work {
        let last_due = match all {
            true => self.fresh.keys().next_back(),
            false => {
                let due = |(_, fresh): &(&u64, &Fresh)| fresh.due() <= now;
                self.fresh.iter().rev().find(due).map(|(number, _)| number)
            }
        };
        let mut work = Work { region: self.unwritten_region(now, all), ..Work::default() };
        if let Some(&last) = last_due {
            let mut bytes = 0;
            for fresh in self.fresh.range(..=last).map(|(_, fresh)| fresh).take(BATCH) {
                bytes += cost(&fresh.entry);
                work.insert.push(fresh.entry.clone());
                if bytes >= BATCH_BYTES {
                    break;
                }
            }
        }
        if let Some(entry) = work.insert.last() {
            self.writing = entry.number;
        }
        work.remove.extend(&self.done);
        work
    }

    fn unwritten_region(&self, now: Instant, all: bool) -> Option<String> {
        let due = self.region_since.is_some_and(|at| all || at + UNACKNOWLEDGED <= now);
        self.region.clone().filter(|_| due)
    }

    /// What the file has, for whoever changes it.
    pub(super) fn stored(&self) -> Stored {
        self.stored
    }

    /// The work is committed.
    pub(super) fn apply(&mut self, work: &Work, changed: &Changed) {
        for entry in &work.insert {
            self.forget(entry.number);
        }
        for number in &work.remove {
            self.done.remove(number);
        }
        if self.done.is_empty() {
            self.done_since = None;
        }
        if work.region.is_some() && work.region == self.region {
            self.region_since = None;
        }
        self.stored = changed.stored;
        self.expired += changed.expired;
        self.settle();
    }

    /// The work failed: the file is as it was.
    pub(super) fn put_off(&mut self) {
        self.writing = self.stored.last;
    }

    pub(super) fn depth(&self) -> Depth {
        let done = self.done.range(..=self.stored.last).count() as u64;
        Depth {
            messages: self.stored.messages.saturating_sub(done) + self.fresh.len() as u64,
            bytes: self.stored.bytes + self.fresh_bytes,
            unwritten: self.fresh.len() as u64,
            since_ms: self.since_ms,
            expired: self.expired,
            lost: self.lost,
            set_aside: self.set_aside,
        }
    }
}

impl Fresh {
    fn due(&self) -> Instant {
        let at = |from: Instant, wait: Duration| from + wait;
        self.taken.map_or_else(|| at(self.since, UNTAKEN), |taken| at(taken, UNACKNOWLEDGED))
    }
}

/// What a message counts against the bounds, in bytes.
pub(super) fn cost(entry: &Entry) -> u64 {
    (entry.topic.len() + entry.payload.len()) as u64 + OVERHEAD
}

#[cfg(test)]
mod tests;
