//! Which session is held by which connection: a second one with the same key takes over.
//!
//! The key is (identity, client id), for anonymous clients (address, client id): two uploaders that
//! share a client id do not throw each other out in turns.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::identity::Identity;

/// What a session is known by.
pub(super) type Key = (Identity, String);

/// The sessions that are held now.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions(Arc<Mutex<Seats>>);

#[derive(Debug, Default)]
struct Seats {
    taken: HashMap<Key, Seat>,
    last: u64,
}

#[derive(Debug)]
struct Seat {
    number: u64,
    /// The generation of the connection that has it.
    generation: u64,
    leave: CancellationToken,
    gone: CancellationToken,
}

/// A held session; given up when dropped.
#[derive(Debug)]
pub(super) struct Hold {
    sessions: Sessions,
    key: Key,
    number: u64,
    leave: CancellationToken,
    gone: CancellationToken,
}

impl Sessions {
    /// Takes a session. The second value is there if another connection held it: that one is told to
    /// leave, and the token fires when it has. `inherit` is called before it is told, with its
    /// generation.
    pub(super) fn take(
        &self,
        key: Key,
        generation: u64,
        inherit: impl FnOnce(u64),
    ) -> (Hold, Option<CancellationToken>) {
        let (leave, gone) = (CancellationToken::new(), CancellationToken::new());
        let mut seats = self.seats();
        seats.last += 1;
        let number = seats.last;
        let seat = Seat { number, generation, leave: leave.clone(), gone: gone.clone() };
        let before = seats.taken.insert(key.clone(), seat).map(|old| {
            inherit(old.generation);
            old.leave.cancel();
            old.gone
        });
        drop(seats);
        (Hold { sessions: self.clone(), key, number, leave, gone }, before)
    }

    /// Whether a connection has this session.
    pub(super) fn is_held(&self, key: &Key) -> bool {
        self.seats().taken.contains_key(key)
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    /// Fires when another connection has taken the session over.
    pub(super) fn taken_over(&self) -> &CancellationToken {
        &self.leave
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut seats = self.sessions.seats();
        if seats.taken.get(&self.key).is_some_and(|seat| seat.number == self.number) {
            seats.taken.remove(&self.key);
        }
        drop(seats);
        self.gone.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(address: &str, id: &str) -> Key {
        (Identity::Anonymous(address.parse().unwrap()), id.to_owned())
    }

    #[test]
    fn the_same_address_and_client_id_take_over() {
        let sessions = Sessions::default();
        let (first, before) = sessions.take(key("10.0.0.1", "a"), 1, |_| ());
        assert!(before.is_none());
        let (second, before) = sessions.take(key("10.0.0.1", "a"), 1, |_| ());
        assert!(first.taken_over().is_cancelled());
        assert!(!second.taken_over().is_cancelled());
        let gone = before.unwrap();
        assert!(!gone.is_cancelled());
        drop(first);
        assert!(gone.is_cancelled());
        // The first one's end must not free the second one's session.
        assert!(sessions.take(key("10.0.0.1", "a"), 1, |_| ()).1.is_some());
        assert!(second.taken_over().is_cancelled());
    }

    #[test]
    fn another_address_or_another_id_is_another_session() {
        let sessions = Sessions::default();
        let (held, _) = sessions.take(key("10.0.0.1", "a"), 1, |_| ());
        assert!(sessions.take(key("10.0.0.2", "a"), 1, |_| ()).1.is_none());
        assert!(sessions.take(key("10.0.0.1", "b"), 1, |_| ()).1.is_none());
        assert!(!held.taken_over().is_cancelled());
    }

    #[test]
    fn nothing_is_remembered_of_a_session_that_ended() {
        let sessions = Sessions::default();
        drop(sessions.take(key("10.0.0.1", "a"), 1, |_| ()));
        assert!(sessions.seats().taken.is_empty());
    }
}
