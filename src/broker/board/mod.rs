//! What people ask about clients: who is connected, who was refused and why, who spoke for which
//! observer. Kept in memory, bounded; the control socket and the page show it as [`Clients`].

mod help;
mod live;
mod observers;
mod refusals;
mod rows;
#[cfg(test)]
mod tests;

pub(super) use live::{Entry, Flag, Seat};
pub(super) use refusals::Refused;
pub use rows::{
    ClaimKind, ClaimRow, Clients, ConnectionRow, ObserverRow, RefusalRow, Released, Sort,
};

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::live::Live;
use self::observers::{Observers, Spoken};
use self::refusals::Refusals;
use super::identity::Identity;
use super::limits::{Excess, Subject};
use crate::counters::QueueState;

/// The board of one broker; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    live: Mutex<BTreeMap<u64, Arc<Live>>>,
    refusals: Mutex<Refusals>,
    observers: Mutex<Observers>,
}

impl Board {
    /// Everything at this moment; `queues` are those of copies at QoS 1. The newest connections,
    /// refusals and observers come first.
    pub(super) fn clients(&self, now_ms: i64, queues: &Queues) -> Clients {
        let away = queues.values().filter(|queue| !queue.connected).cloned().collect();
        let live: Vec<Arc<Live>> = lock(&self.0.live).values().rev().cloned().collect();
        Clients {
            now_ms,
            connections: live.iter().map(|live| live.row(queues)).collect(),
            away,
            refusals: lock(&self.0.refusals).rows(),
            observers: lock(&self.0.observers).rows(),
        }
    }

    /// Puts a connection on the board until the seat is dropped. `number` is its own.
    pub(super) fn enter(&self, number: u64, entry: Entry) -> Seat {
        let live = Arc::new(Live::new(entry));
        let mut all = lock(&self.0.live);
        let same = |other: &Arc<Live>| other.shares_client_id(&live);
        for other in all.values().filter(|other| same(other)) {
            other.flag(Flag::SameClientId);
            live.flag(Flag::SameClientId);
        }
        all.insert(number, Arc::clone(&live));
        drop(all);
        Seat::new(self.clone(), number, live)
    }

    /// Notes a refusal.
    pub(super) fn refuse(&self, refused: &Refused<'_>) {
        if let Some(subject) = &refused.subject {
            lock(&self.0.observers).refused(subject, refused);
        }
        lock(&self.0.refusals).add(refused);
    }

    /// Notes that a connection spoke for a subject.
    fn spoke(&self, subject: &Subject, number: u64, live: &Live, said: Said<'_>) {
        let spoken = Spoken {
            number,
            at_ms: said.at_ms,
            region: said.region,
            excess: said.excess,
            entry: live.entry(),
        };
        let before = lock(&self.0.observers).spoke(subject, spoken);
        let Some(before) = before else { return };
        if let Some(other) = lock(&self.0.live).get(&before) {
            other.flag(Flag::SameObserver);
            live.flag(Flag::SameObserver);
        }
    }

    fn leave(&self, number: u64) {
        lock(&self.0.live).remove(&number);
    }
}

/// Queues of copies at QoS 1 by their numbers.
pub(super) type Queues = BTreeMap<u64, QueueState>;

/// What a connection said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said<'a> {
    /// Our clock, in milliseconds since the Unix epoch.
    pub(super) at_ms: i64,
    /// The region in its topic.
    pub(super) region: Option<&'a str>,
    /// What was too much about it.
    pub(super) excess: Excess,
}

/// Who a refusal concerns, as far as that is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whom<'a> {
    /// The address.
    pub(super) from: IpAddr,
    /// Who it is to us.
    pub(super) identity: Option<&'a Identity>,
    /// What it calls itself.
    pub(super) client_id: &'a str,
    /// Where it came in.
    pub(super) listener: &'a str,
}

/// The beginning of a text from outside, for people: so many characters, none that moves a cursor.
fn shown(text: &str, most: usize) -> String {
    let plain = |c: char| if c.is_control() { '\u{FFFD}' } else { c };
    text.chars().take(most).map(plain).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
