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
    by_account: HashMap<Arc<str>, BTreeMap<u64, CancellationToken>>,
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
    /// A seat for one more connection of an account; `None`: it has as many as it may have.
    pub(super) fn take(&self, account: &Arc<str>, most: Option<u32>) -> Option<Seat> {
        let mut taken = self.taken();
        let have = taken.by_account.get(account).map_or(0, BTreeMap::len);
        if most.is_some_and(|most| have >= usize::try_from(most).unwrap_or(usize::MAX)) {
            return None;
        }
        taken.last += 1;
        let (number, revoked) = (taken.last, CancellationToken::new());
        let seats = taken.by_account.entry(Arc::clone(account)).or_default();
        seats.insert(number, revoked.clone());
        drop(taken);
        Some(Seat { seats: self.clone(), account: Arc::clone(account), number, revoked })
    }

    /// Tells every connection of an account to end.
    pub(super) fn clear(&self, account: &str) {
        let taken = self.taken();
        let seats = taken.by_account.get(account).into_iter().flat_map(BTreeMap::values);
        seats.for_each(CancellationToken::cancel);
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
        let first = seats.take(&name, Some(2)).unwrap();
        let second = seats.take(&name, Some(2)).unwrap();
        assert!(seats.take(&name, Some(2)).is_none());
        assert!(seats.take(&Arc::from("b"), Some(2)).is_some());
        let third = seats.take(&name, None).unwrap();
        drop(first);
        assert!(seats.take(&name, Some(2)).is_none());
        drop(second);
        assert!(seats.take(&name, Some(2)).is_some());
        drop(third);
        assert!(seats.taken().by_account.is_empty(), "nothing is remembered of who left");
    }

    #[test]
    fn every_connection_of_an_account_is_told_to_end_and_no_other() {
        let seats = Seats::default();
        let [a, also_a, b] = ["a", "a", "b"].map(|name| seats.take(&name.into(), None).unwrap());
        seats.clear("a");
        seats.clear("unheard of");
        assert!(a.revoked().is_cancelled() && also_a.revoked().is_cancelled());
        assert!(!b.revoked().is_cancelled());
    }
}
