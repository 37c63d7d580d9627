//! The connections that are there now.

use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::refusals::Refused;
use super::rows::{ConnectionRow, Sort};
use super::{Board, Queues, Said, Whom, lock, shown};
use crate::broker::identity::Who;
use crate::broker::limits::Subject;
use crate::broker::register::Shown;
use crate::config::Role;

/// What is known of a connection when it is let in.
#[derive(Clone, Debug)]
pub(in crate::broker) struct Entry {
    /// Who it is.
    pub(in crate::broker) who: Who,
    /// Its address.
    pub(in crate::broker) from: IpAddr,
    /// What it calls itself.
    pub(in crate::broker) client_id: String,
    /// Where it came in: transport and address.
    pub(in crate::broker) listener: Arc<str>,
    /// The protocol's version in words.
    pub(in crate::broker) protocol: &'static str,
    /// Seconds.
    pub(in crate::broker) keep_alive: u16,
    /// Our clock, in milliseconds since the Unix epoch.
    pub(in crate::broker) since_ms: i64,
    /// What its token says; nothing without one.
    pub(in crate::broker) token: Shown,
}

/// Something odd about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) enum Flag {
    /// Its region is one that nobody has set.
    PlaceholderRegion,
    /// Another client uses its client id.
    SameClientId,
    /// Another client speaks for its observer at the same time.
    SameObserver,
    /// It sends more than anyone needs.
    OverRate,
    /// It sends packets again.
    Duplicates,
}

/// A connection on the board; off it when dropped.
#[derive(Debug)]
pub(in crate::broker) struct Seat {
    board: Board,
    number: u64,
    live: Arc<Live>,
}

/// What changes while a connection lasts.
#[derive(Debug)]
pub(super) struct Live {
    entry: Entry,
    messages_in: AtomicU64,
    messages_out: AtomicU64,
    queued: AtomicU64,
    /// The number of its queue at QoS 1; 0: it has none.
    queue: AtomicU64,
    unacknowledged: AtomicU64,
    /// 0: none yet.
    last_ms: AtomicI64,
    flags: AtomicU64,
    lists: Mutex<Lists>,
}

#[derive(Debug, Default)]
struct Lists {
    subscriptions: Vec<String>,
    count: usize,
    regions: Vec<String>,
    /// The key that its account was bound to meanwhile.
    bound: Option<String>,
}

const FLAGS: [(Flag, &str); 5] = [
    (Flag::PlaceholderRegion, "placeholder_region"),
    (Flag::SameClientId, "same_client_id"),
    (Flag::SameObserver, "same_observer"),
    (Flag::OverRate, "over_rate"),
    (Flag::Duplicates, "duplicates"),
];

/// So many characters of a client id, a filter, a region are shown, and so many filters and regions.
const SHOWN_OF_ID: usize = 128;
const SHOWN_OF_REGION: usize = 16;
const SUBSCRIPTIONS: usize = 20;
const REGIONS: usize = 4;

impl Seat {
    pub(super) fn new(board: Board, number: u64, live: Arc<Live>) -> Self {
        Self { board, number, live }
    }

    /// A refusal of its.
    pub(in crate::broker) fn refused<'a>(
        &'a self,
        sort: Sort,
        reason: &'static str,
        about: &'a str,
        at_ms: i64,
    ) -> Refused<'a> {
        let who = &self.live.entry.who;
        let subject =
            who.key.map_or_else(|| Subject::Client(who.identity.clone()), Subject::Observer);
        let subject = Some(subject);
        let (whom, name, help) = (self.whom(), None, None);
        Refused { at_ms, sort, reason, whom, name, about, help, subject }
    }

    /// Who it is.
    pub(in crate::broker) fn whom(&self) -> Whom<'_> {
        let Entry { who, from, client_id, listener, .. } = &self.live.entry;
        Whom { from: *from, identity: Some(&who.identity), client_id, listener }
    }

    /// A publish came in, allowed or not.
    pub(in crate::broker) fn received(&self, at_ms: i64) {
        self.live.messages_in.fetch_add(1, Ordering::Relaxed);
        self.live.last_ms.store(at_ms, Ordering::Relaxed);
    }

    /// It spoke for an observer, or for itself.
    pub(in crate::broker) fn spoke(&self, subject: &Subject, said: Said<'_>) {
        if let Some(region) = said.region {
            self.live.note_region(region);
        }
        if said.excess.over_rate {
            self.live.flag(Flag::OverRate);
        }
        if said.excess.duplicate {
            self.live.flag(Flag::Duplicates);
        }
        self.board.spoke(subject, self.number, &self.live, said);
    }

    /// A copy went out.
    pub(in crate::broker) fn sent(&self) {
        self.live.messages_out.fetch_add(1, Ordering::Relaxed);
    }

    /// What waits: copies for it, beside those in its queue of this number, and its own publishes for
    /// their acknowledgement.
    pub(in crate::broker) fn waits(
        &self,
        queued: usize,
        queue: Option<u64>,
        unacknowledged: usize,
    ) {
        self.live.queued.store(queued as u64, Ordering::Relaxed);
        self.live.queue.store(queue.unwrap_or_default(), Ordering::Relaxed);
        self.live.unacknowledged.store(unacknowledged as u64, Ordering::Relaxed);
    }

    /// The filters that it has now.
    pub(in crate::broker) fn subscribes<'a>(&self, filters: impl Iterator<Item = &'a String>) {
        let mut count = 0;
        let first = filters.inspect(|_| count += 1).map(String::as_str);
        let shown: Vec<String> = first.fold(Vec::new(), |mut list, filter| {
            if list.len() < SUBSCRIPTIONS {
                list.push(shown(filter, SHOWN_OF_ID));
            }
            list
        });
        let mut lists = lock(&self.live.lists);
        (lists.subscriptions, lists.count) = (shown, count);
    }

    /// Its account was bound to a key.
    pub(in crate::broker) fn bound(&self, key: String) {
        lock(&self.live.lists).bound = Some(key);
    }

    /// Notes something odd; true the first time.
    pub(in crate::broker) fn flag(&self, flag: Flag) -> bool {
        self.live.flag(flag)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.board.leave(self.number);
    }
}

impl Live {
    pub(super) fn new(mut entry: Entry) -> Self {
        entry.client_id = shown(&entry.client_id, SHOWN_OF_ID);
        Self {
            entry,
            messages_in: AtomicU64::new(0),
            messages_out: AtomicU64::new(0),
            queued: AtomicU64::new(0),
            queue: AtomicU64::new(0),
            unacknowledged: AtomicU64::new(0),
            last_ms: AtomicI64::new(0),
            flags: AtomicU64::new(0),
            lists: Mutex::default(),
        }
    }

    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }

    pub(super) fn flag(&self, flag: Flag) -> bool {
        let bit = 1 << (flag as u64);
        self.flags.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    /// Whether another client calls itself the same. An empty name is nobody's.
    pub(super) fn shares_client_id(&self, other: &Self) -> bool {
        let (mine, theirs) = (&self.entry, &other.entry);
        !mine.client_id.is_empty()
            && mine.client_id == theirs.client_id
            && mine.who.identity != theirs.who.identity
    }

    fn note_region(&self, region: &str) {
        let mut lists = lock(&self.lists);
        let known = |known: &String| known.as_str() == region;
        if lists.regions.len() < REGIONS && !lists.regions.iter().any(known) {
            let region = shown(region, SHOWN_OF_REGION);
            if !lists.regions.contains(&region) {
                lists.regions.push(region);
            }
        }
    }

    /// What waits at QoS 1 is in `queues`, by number.
    pub(super) fn row(&self, queues: &Queues) -> ConnectionRow {
        let Entry { who, from, client_id, listener, .. } = &self.entry;
        let flags = self.flags.load(Ordering::Relaxed);
        let last_ms = self.last_ms.load(Ordering::Relaxed);
        let queue = queues.get(&self.queue.load(Ordering::Relaxed));
        let lists = lock(&self.lists);
        ConnectionRow {
            since_ms: self.entry.since_ms,
            from: from.to_string(),
            identity: who.role.map(|_| who.identity.to_string()),
            role: role(who.role).to_owned(),
            key: lists.bound.clone().or_else(|| who.key.map(|key| key.to_string())),
            client_id: client_id.clone(),
            listener: listener.to_string(),
            protocol: self.entry.protocol.to_owned(),
            keep_alive_sec: self.entry.keep_alive,
            subscriptions: lists.subscriptions.clone(),
            subscription_count: lists.count as u64,
            queued: self.queued.load(Ordering::Relaxed) + queue.map_or(0, |queue| queue.messages),
            queued_bytes: queue.map_or(0, |queue| queue.bytes),
            lost: queue.map_or(0, |queue| queue.lost),
            token_ends_ms: self.entry.token.ends_ms,
            unacknowledged: self.unacknowledged.load(Ordering::Relaxed),
            messages_in: self.messages_in.load(Ordering::Relaxed),
            messages_out: self.messages_out.load(Ordering::Relaxed),
            last_message_ms: (last_ms != 0).then_some(last_ms),
            regions: lists.regions.clone(),
            flags: FLAGS
                .iter()
                .filter(|(flag, _)| flags & (1 << (*flag as u64)) != 0)
                .map(|(_, name)| (*name).to_owned())
                .collect(),
        }
    }
}

fn role(role: Option<Role>) -> &'static str {
    match role {
        None => "anonymous",
        Some(Role::Publisher) => "publisher",
        Some(Role::Reader) => "reader",
        Some(Role::Limited) => "limited",
        Some(Role::Admin) => "admin",
    }
}
