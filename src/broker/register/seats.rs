//! The connections that each account has, so that they can be counted and ended.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// The seats that are taken now; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Seats(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    last: u64,
    by_account: HashMap<Arc<str>, BTreeMap<u64, Place>>,
}

#[derive(Debug)]
struct Place {
    /// What the client calls itself; empty: it cannot come back.
    client_id: Box<str>,
    revoked: CancellationToken,
}

/// A connection's seat; given back when dropped.
#[derive(Debug)]
pub(in crate::broker) struct Seat {
    seats: Seats,
    account: Arc<str>,
    number: u64,
    revoked: CancellationToken,
}

impl Seats {
    /// A seat for one more connection of an account; `None`: it has as many as it may have. A client
    /// that comes back takes the place of its old connection, however long that takes to leave.
    pub(super) fn take(
        &self,
        account: &Arc<str>,
        client_id: &str,
        most: Option<u32>,
    ) -> Option<Seat> {
        let mut taken = self.taken();
        let stays = |place: &&Place| place.client_id.is_empty() || *place.client_id != *client_id;
        let places = taken.by_account.get(account).into_iter().flat_map(BTreeMap::values);
        let have = places.filter(stays).count();
        if most.is_some_and(|most| have >= usize::try_from(most).unwrap_or(usize::MAX)) {
            return None;
        }
        taken.last += 1;
        let (number, revoked) = (taken.last, CancellationToken::new());
        let seats = taken.by_account.entry(Arc::clone(account)).or_default();
        let place = Place { client_id: client_id.into(), revoked: revoked.clone() };
        seats.insert(number, place);
        drop(taken);
        Some(Seat { seats: self.clone(), account: Arc::clone(account), number, revoked })
    }

    /// Tells every connection of an account to end.
    pub(super) fn clear(&self, account: &str) {
        let taken = self.taken();
        let places = taken.by_account.get(account).into_iter().flat_map(BTreeMap::values);
        places.for_each(|place| place.revoked.cancel());
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Fires when the account is gone or has changed.
    pub(in crate::broker) fn revoked(&self) -> &CancellationToken {
        &self.revoked
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        if let Some(seats) = taken.by_account.get_mut(&self.account) {
            seats.remove(&self.number);
            if seats.is_empty() {
                taken.by_account.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_so_many_seats_and_no_more_until_one_is_given_back() {
        let (seats, name) = (Seats::default(), Arc::from("a"));
        let first = seats.take(&name, "1", Some(2)).unwrap();
        let second = seats.take(&name, "2", Some(2)).unwrap();
        assert!(seats.take(&name, "3", Some(2)).is_none());
        assert!(seats.take(&Arc::from("b"), "3", Some(2)).is_some());
        let third = seats.take(&name, "3", None).unwrap();
        drop(first);
        assert!(seats.take(&name, "4", Some(2)).is_none());
        drop(second);
        assert!(seats.take(&name, "4", Some(2)).is_some());
        drop(third);
        assert!(seats.taken().by_account.is_empty(), "nothing is remembered of who left");
    }

    #[test]
    fn a_client_that_comes_back_finds_its_place_and_one_without_a_name_is_another_one() {
        let (seats, name) = (Seats::default(), Arc::from("a"));
        let old = seats.take(&name, "me", Some(1)).unwrap();
        let new = seats.take(&name, "me", Some(1)).unwrap();
        assert!(seats.take(&name, "other", Some(1)).is_none());
        drop(old);
        assert!(seats.take(&name, "other", Some(1)).is_none(), "the new one has the seat now");
        drop(new);
        let nameless = seats.take(&name, "", Some(1)).unwrap();
        assert!(seats.take(&name, "", Some(1)).is_none());
        drop(nameless);
    }

    #[test]
    fn every_connection_of_an_account_is_told_to_end_and_no_other() {
        let seats = Seats::default();
        let take = |name: &str, id| seats.take(&name.into(), id, None).unwrap();
        let [a, also_a, b] = [take("a", "1"), take("a", "2"), take("b", "1")];
        seats.clear("a");
        seats.clear("unheard of");
        assert!(a.revoked().is_cancelled() && also_a.revoked().is_cancelled());
        assert!(!b.revoked().is_cancelled());
    }
}
