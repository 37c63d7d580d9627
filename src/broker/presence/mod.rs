//! Which observers are there: as the live connections say it, not as a message claims.
//!
//! A connection speaks for an observer once it has published to one of its topics, or has a will on
//! one. While any connection does so the observer is online; when the last of them has ended, it is
//! offline, at once: a grace would be a lie for as long as it lasts, and a client that takes its own
//! session over never leaves in between. `meshcore/{REGION}/{KEY}/status` is retained for local
//! subscribers with that truth: the observer's last status, our word, our timestamp. A status that
//! says "offline" is believed while its connection lives, until the observer speaks again.
//!
//! After a restart every observer is offline until it connects.

mod body;
#[cfg(test)]
mod tests;
mod topic;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use self::body::Body;
use self::topic::Spoken;
use super::identity::ObserverKey;
use super::retained::policy::PRESENCE;
use crate::message::{Heard, Origin, OriginKind, Presence as Told, WeakFeed};

/// Who is there; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Presence(Arc<Mutex<Board>>);

/// An observer, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observer {
    /// Its public key, 64 upper-case hexadecimal digits.
    pub key: String,
    /// The region of its topic, in upper case.
    pub region: String,
    /// Whether a live connection speaks for it.
    pub online: bool,
    /// Since when it is online or offline, in milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// When it was last heard, in milliseconds since the Unix epoch.
    pub last_ms: i64,
    /// Connections that speak for it now.
    pub connections: usize,
    /// The program that speaks for it, by its last status.
    pub client: Option<String>,
}

/// What is to be told: retained, and sent to who is subscribed if it is news.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Announcement {
    /// The observer's status topic.
    pub(super) topic: Arc<str>,
    /// The truth; empty: the observer is forgotten.
    pub(super) payload: Bytes,
    /// Whether subscribers do not know it yet.
    pub(super) live: bool,
}

#[derive(Debug, Default)]
struct Board {
    /// By status topic.
    observers: BTreeMap<Arc<str>, State>,
    /// Who else is told, and never waited for.
    feed: Option<WeakFeed>,
}

#[derive(Debug)]
struct State {
    key: ObserverKey,
    region: String,
    /// The connections that speak for it, and whether they are known to be its own.
    voices: BTreeMap<u64, bool>,
    online: bool,
    since_ms: i64,
    last_ms: i64,
    told_ms: i64,
    body: Body,
}

/// A connection's voice.
#[derive(Debug)]
pub(super) struct Voice {
    presence: Presence,
    connection: u64,
    /// The one observer that it is known to be.
    own: Option<ObserverKey>,
    /// Status topics that it has spoken for.
    spoken: Vec<Arc<str>>,
    /// The last topic that it published to, and when the board heard of it.
    last: Option<(String, i64)>,
}

/// Observers that are known at the same time, the offline included: with their statuses 4 MiB.
const MAX_OBSERVERS: usize = 2_000;

/// Observers that one connection may speak for: an uploader has one radio, or a few.
const MAX_OF_ONE: usize = 64;

/// Of a stream of packets the board hears so often.
const HEARD_EVERY_MS: i64 = 1_000;

/// What is retained about an observer that sends no status is renewed so often.
const TELL_AGAIN_MS: i64 = 24 * 3_600_000;

impl Presence {
    /// The voice of a connection with this number.
    pub(super) fn voice(&self, connection: u64) -> Voice {
        Voice { presence: self.clone(), connection, own: None, spoken: Vec::new(), last: None }
    }

    /// An observer is somebody's from now on: what others have said of it before counts no more.
    pub(super) fn belongs(&self, key: ObserverKey, now_ms: i64, mut say: impl FnMut(Announcement)) {
        for (topic, state) in &mut self.board().observers {
            if state.key != key {
                continue;
            }
            state.voices.retain(|_, own| *own);
            if state.online && state.voices.is_empty() {
                state.turns(false, now_ms);
                let (topic, payload) = (Arc::clone(topic), state.tell(now_ms));
                say(Announcement { topic, payload, live: true });
            }
        }
    }

    /// Tells `feed` too, from now on.
    pub fn tell(&self, feed: WeakFeed) {
        self.board().feed = Some(feed);
    }

    /// Every observer that is known, by status topic.
    pub fn observers(&self) -> Vec<Observer> {
        self.board().observers.values().map(State::shown).collect()
    }

    /// Takes up what was retained before a restart: the observer is offline. Returns what is to be
    /// retained instead, if it was not offline already; `None` as well for what is no observer's.
    pub(super) fn restore(
        &self,
        topic: &Arc<str>,
        payload: &[u8],
        at: (i64, i64),
    ) -> Option<Bytes> {
        let spoken = Spoken::read(topic).filter(Spoken::is_status)?;
        let (told_ms, now_ms) = at;
        let body = Body::read(payload);
        let was_online = !body.says_offline();
        let since_ms = if was_online { now_ms } else { told_ms };
        let told = was_online.then(|| body.told(spoken.key, false, now_ms));
        let mut state = State::new(&spoken, told_ms);
        (state.body, state.since_ms, state.told_ms) = (body, since_ms, since_ms);
        match self.board().observers.entry(Arc::clone(topic)) {
            Entry::Vacant(place) => {
                place.insert(state);
                told
            }
            // It has spoken since: what it says now is the truth.
            Entry::Occupied(_) => None,
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Voice {
    /// That of a client that is known to be this observer.
    pub(super) fn of(mut self, own: Option<ObserverKey>) -> Self {
        self.own = own;
        self
    }

    /// The client has learnt which observer it is.
    pub(super) fn learns(&mut self, own: ObserverKey) {
        self.own = Some(own);
    }

    /// The connection publishes this. `say` is called for what is to be told, before anything else
    /// can change it.
    ///
    /// # Errors
    /// The reason's name: the observer has no room on the board.
    pub(super) fn publishes(
        &mut self,
        (topic, payload): (&str, &[u8]),
        now_ms: i64,
        say: impl FnMut(Announcement),
    ) -> Result<(), &'static str> {
        let again = self
            .last
            .as_ref()
            .is_some_and(|(t, at)| t == topic && (now_ms - at).abs() < HEARD_EVERY_MS);
        if again {
            return Ok(());
        }
        let Some(spoken) = Spoken::read(topic) else { return Ok(()) };
        self.last = (!spoken.is_status()).then(|| (topic.to_owned(), now_ms));
        let body = spoken.is_status().then(|| Body::read(payload));
        self.speaks(&spoken, body, now_ms, say)
    }

    /// The connection has a will on this topic, and so speaks for its observer from the start.
    ///
    /// # Errors
    /// As [`Self::publishes`].
    pub(super) fn has_will(
        &mut self,
        topic: &str,
        now_ms: i64,
        say: impl FnMut(Announcement),
    ) -> Result<(), &'static str> {
        let Some(spoken) = Spoken::read(topic) else { return Ok(()) };
        self.speaks(&spoken, None, now_ms, say)
    }

    /// The connection takes the session of another one over, and with it all that one spoke for: an
    /// observer whose client comes back before its old connection is gone was never away.
    pub(super) fn inherits(&mut self, other: u64) {
        let mut board = self.presence.board();
        for (topic, state) in &mut board.observers {
            let Some(own) = state.voices.get(&other).copied() else { continue };
            if state.voices.insert(self.connection, own).is_none() {
                self.spoken.push(Arc::clone(topic));
            }
        }
    }

    /// Passes the connection's will on with `publish`, unless it lies: another connection speaks for
    /// the observer that it declares to be gone. True: it was passed on.
    pub(super) fn wills(&self, topic: &str, publish: impl FnOnce()) -> bool {
        let board = self.presence.board();
        let state = Spoken::read(topic)
            .filter(Spoken::is_status)
            .and_then(|spoken| board.observers.get(spoken.status_topic().as_str()));
        let lies = state.is_some_and(|s| s.voices.keys().any(|v| *v != self.connection));
        if !lies {
            publish();
        }
        !lies
    }

    /// The connection has ended. `said` is the topic of a will that has told subscribers already;
    /// `quietly`: nobody needs to be told.
    pub(super) fn ends(
        &mut self,
        said: Option<&str>,
        quietly: bool,
        now_ms: i64,
        mut say: impl FnMut(Announcement),
    ) {
        if self.spoken.is_empty() {
            return;
        }
        let mut board = self.presence.board();
        for topic in self.spoken.drain(..) {
            let Some(state) = board.observers.get_mut(&topic) else { continue };
            state.voices.remove(&self.connection);
            if state.online && state.voices.is_empty() {
                state.turns(false, now_ms);
                let payload = state.tell(now_ms);
                let told = said.is_some_and(|said| said.eq_ignore_ascii_case(&topic));
                let announcement = Announcement { topic, payload, live: !told && !quietly };
                board.feed(&announcement, false, now_ms);
                say(announcement);
            }
        }
    }

    fn speaks(
        &mut self,
        spoken: &Spoken<'_>,
        body: Option<Body>,
        now_ms: i64,
        mut say: impl FnMut(Announcement),
    ) -> Result<(), &'static str> {
        let topic = spoken.status_topic();
        let mut board = self.presence.board();
        if !self.spoken.iter().any(|known| **known == *topic) {
            if self.spoken.len() >= MAX_OF_ONE {
                return Err("presence_of_too_many_observers");
            }
            let topic = board.seat(topic.as_str().into(), spoken, now_ms, &mut say)?;
            self.spoken.push(topic);
        }
        let Some((topic, state)) = board.known(&topic) else { return Ok(()) };
        state.voices.insert(self.connection, self.own == Some(spoken.key));
        state.last_ms = now_ms;
        let online = !body.as_ref().is_some_and(Body::says_offline);
        let turns = state.online != online;
        if turns {
            state.turns(online, now_ms);
        }
        // A status goes to subscribers as it is; of anything else they could not know.
        let live = turns && body.is_none();
        let is_told = body.is_some() || turns || (now_ms - state.told_ms).abs() > TELL_AGAIN_MS;
        if let Some(body) = body {
            state.body = body;
        }
        if is_told {
            let announcement = Announcement { topic, payload: state.tell(now_ms), live };
            board.feed(&announcement, online, now_ms);
            say(announcement);
        }
        Ok(())
    }
}

/// Whether a status says that its observer is leaving.
pub(super) fn says_offline(payload: &[u8]) -> bool {
    Body::read(payload).says_offline()
}

impl Board {
    /// Tells the feed; a full one is not waited for.
    fn feed(&self, announcement: &Announcement, online: bool, now_ms: i64) {
        let Some(feed) = &self.feed else { return };
        let Announcement { topic, payload, live } = announcement;
        feed.give(Heard {
            topic: topic.to_string(),
            payload: payload.clone(),
            origin: Origin { kind: OriginKind::Account, name: Arc::default() },
            payload_type: None,
            position: None,
            presence: Some(Told { online, news: *live }),
            at_ms: now_ms,
        });
    }

    fn known(&mut self, topic: &str) -> Option<(Arc<str>, &mut State)> {
        let (topic, _) = self.observers.get_key_value(topic)?;
        let topic = Arc::clone(topic);
        self.observers.get_mut(&topic).map(|state| (topic, state))
    }

    /// A place on the board, made by forgetting whoever was away for longest if there is no other.
    fn seat(
        &mut self,
        topic: Arc<str>,
        spoken: &Spoken<'_>,
        now_ms: i64,
        say: &mut impl FnMut(Announcement),
    ) -> Result<Arc<str>, &'static str> {
        if let Some((known, _)) = self.observers.get_key_value(&topic) {
            return Ok(Arc::clone(known));
        }
        if self.observers.len() >= MAX_OBSERVERS {
            self.forget(now_ms, say);
        }
        if self.observers.len() >= MAX_OBSERVERS {
            return Err("presence_without_room");
        }
        self.observers.insert(Arc::clone(&topic), State::new(spoken, now_ms));
        Ok(topic)
    }

    /// Forgets who was away for too long, and at least the one who was away for longest.
    fn forget(&mut self, now_ms: i64, say: &mut impl FnMut(Announcement)) {
        let limit = i64::try_from(PRESENCE.as_millis()).unwrap_or(i64::MAX);
        let away = self.observers.iter().filter(|(_, s)| s.voices.is_empty());
        let mut away: Vec<_> = away.map(|(t, s)| (s.last_ms, Arc::clone(t))).collect();
        away.sort_unstable();
        let old = away.iter().filter(|(last_ms, _)| now_ms - last_ms > limit).count().max(1);
        for (_, topic) in away.into_iter().take(old) {
            self.observers.remove(&topic);
            say(Announcement { topic, payload: Bytes::new(), live: false });
        }
    }
}

impl State {
    fn new(spoken: &Spoken<'_>, now_ms: i64) -> Self {
        Self {
            key: spoken.key,
            region: spoken.region.to_ascii_uppercase(),
            voices: BTreeMap::new(),
            online: false,
            since_ms: now_ms,
            last_ms: now_ms,
            told_ms: now_ms,
            body: Body::default(),
        }
    }

    fn turns(&mut self, online: bool, now_ms: i64) {
        (self.online, self.since_ms) = (online, now_ms);
    }

    fn tell(&mut self, now_ms: i64) -> Bytes {
        self.told_ms = now_ms;
        self.body.told(self.key, self.online, now_ms)
    }

    fn shown(&self) -> Observer {
        Observer {
            key: self.key.to_string(),
            region: self.region.clone(),
            online: self.online,
            since_ms: self.since_ms,
            last_ms: self.last_ms,
            connections: self.voices.len(),
            client: self.body.client(),
        }
    }
}
