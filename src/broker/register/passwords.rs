//! Are name and password right? Hashing is meant to be slow, so it is done one at a time, beside the
//! runtime, and not again for what was found right before.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::Semaphore;

use crate::config::Account;
use crate::config::password::LONGEST_PASSWORD;

/// Checks passwords.
#[derive(Debug)]
pub(super) struct Passwords {
    known: Arc<Mutex<Known>>,
    slot: Arc<Semaphore>,
    patience: Duration,
}

/// Credentials that were found right: not themselves, but their MAC under a key of this process.
struct Known {
    mac: Hmac<Sha256>,
    marks: HashSet<Mark>,
    order: VecDeque<Mark>,
}

type Mark = [u8; 32];

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The password is the account's.
    Right,
    /// It is not.
    Wrong,
    /// When its turn had come, whoever asked was not to be answered any more.
    Withdrawn,
    /// Its turn did not come in time.
    Busy,
}

/// Credentials that are remembered: one for each account, and 64 bytes each.
const REMEMBERED: usize = 1_024;

/// How long a login waits for its turn; after that the client is told to come again. A hundred wait
/// their turn on a desktop, forty on a Raspberry Pi 4, and each that got in is known from then on.
const PATIENCE: Duration = Duration::from_secs(8);

impl Passwords {
    /// Remembers under this key, which only this process may know.
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let mut block = [0; 64];
        block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        let mac = Hmac::new(&block.into());
        let known = Known { mac, marks: HashSet::new(), order: VecDeque::new() };
        let slot = Arc::new(Semaphore::new(1));
        Self { known: Arc::new(Mutex::new(known)), slot, patience: PATIENCE }
    }

    /// Whether these credentials were found right before; costs a microsecond.
    pub(super) fn knows(&self, account: &Account, password: &[u8]) -> bool {
        self.with_known(|known| known.marks.contains(&known.mark(account, password)))
    }

    /// Checks a password, in its turn. `may_go_on` is asked when the turn has come, and `hashed` is
    /// called before the work is done.
    pub(super) async fn check(
        &self,
        account: &Account,
        password: &[u8],
        may_go_on: impl Fn() -> bool,
        hashed: impl Fn(),
    ) -> Verdict {
        if self.knows(account, password) {
            return Verdict::Right;
        }
        if password.len() > LONGEST_PASSWORD {
            return Verdict::Wrong;
        }
        let turn = tokio::time::timeout(self.patience, Arc::clone(&self.slot).acquire_owned());
        let Ok(Ok(turn)) = turn.await else { return Verdict::Busy };
        // Somebody before us may have had the same, as in a storm of clients with one account.
        if self.knows(account, password) {
            return Verdict::Right;
        }
        if !may_go_on() {
            return Verdict::Withdrawn;
        }
        hashed();
        let (account, given) = (account.clone(), password.to_vec());
        let known = Arc::clone(&self.known);
        // The turn goes with the work: a client that leaves does not make it two at a time. What was
        // found right is known before the next one has its turn.
        let work = tokio::task::spawn_blocking(move || {
            let fits = account.password.fits(&given);
            if fits {
                lock(&known).add(&account, &given);
            }
            drop(turn);
            fits
        });
        if work.await.unwrap_or(false) { Verdict::Right } else { Verdict::Wrong }
    }

    fn with_known<T>(&self, f: impl FnOnce(&mut Known) -> T) -> T {
        f(&mut lock(&self.known))
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Known {
    /// The hash has a salt of its own: neither another account nor a new password has this mark.
    fn mark(&self, account: &Account, password: &[u8]) -> Mark {
        let mut mac = self.mac.clone();
        mac.update(account.password.as_str().as_bytes());
        mac.update(&[0]);
        mac.update(password);
        mac.finalize().into_bytes().into()
    }

    fn add(&mut self, account: &Account, password: &[u8]) {
        let mark = self.mark(account, password);
        if !self.marks.insert(mark) {
            return;
        }
        self.order.push_back(mark);
        if self.order.len() > REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.marks.remove(&oldest);
            }
        }
    }
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Known({})", self.marks.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Role;
    use crate::config::password::PasswordHash;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn account(password: &[u8], salt: u8) -> Account {
        let password = PasswordHash::make(password, &[salt; 16]).unwrap();
        let (role, key, max_connections) = (Role::Reader, None, None);
        Account { name: "a".into(), role, key, max_connections, password }
    }

    #[tokio::test]
    async fn a_storm_of_one_account_costs_one_hashing_and_a_new_password_another() {
        let passwords = Arc::new(Passwords::new(&[1; 32]));
        let hashings = Arc::new(AtomicU32::new(0));
        let account = account(b"hunter2", 1);
        let storm: Vec<_> = (0..200)
            .map(|_| {
                let (passwords, hashings) = (Arc::clone(&passwords), Arc::clone(&hashings));
                let account = account.clone();
                tokio::spawn(async move {
                    let hashed = || {
                        hashings.fetch_add(1, Ordering::Relaxed);
                    };
                    passwords.check(&account, b"hunter2", || true, hashed).await
                })
            })
            .collect();
        for login in storm {
            assert_eq!(login.await.unwrap(), Verdict::Right);
        }
        assert_eq!(hashings.load(Ordering::Relaxed), 1);
        let changed = self::account(b"hunter3", 2);
        assert!(passwords.knows(&account, b"hunter2") && !passwords.knows(&changed, b"hunter2"));
        assert_eq!(passwords.check(&changed, b"hunter2", || true, || {}).await, Verdict::Wrong);
        assert!(!passwords.knows(&changed, b"hunter2"));
    }

    #[tokio::test]
    async fn who_may_not_go_on_when_its_turn_comes_costs_nothing() {
        let passwords = Passwords::new(&[1; 32]);
        let account = account(b"hunter2", 1);
        let never = || panic!("hashed");
        assert_eq!(passwords.check(&account, b"x", || false, never).await, Verdict::Withdrawn);
        assert_eq!(passwords.check(&account, &[b'x'; 2_000], || true, never).await, Verdict::Wrong);
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told_so() {
        let mut passwords = Passwords::new(&[1; 32]);
        passwords.patience = Duration::from_millis(10);
        let account = account(b"hunter2", 1);
        let _taken = Arc::clone(&passwords.slot).acquire_owned().await.unwrap();
        assert_eq!(passwords.check(&account, b"hunter2", || true, || {}).await, Verdict::Busy);
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let passwords = Passwords::new(&[1; 32]);
        let account = account(b"hunter2", 1);
        passwords.with_known(|known| {
            for n in 0..3_000_u32 {
                known.add(&account, &n.to_be_bytes());
            }
            assert_eq!((known.marks.len(), known.order.len()), (REMEMBERED, REMEMBERED));
        });
        assert!(passwords.knows(&account, &2_999_u32.to_be_bytes()));
        assert!(!passwords.knows(&account, &0_u32.to_be_bytes()));
    }
}
