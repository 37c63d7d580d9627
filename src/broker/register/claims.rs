//! Which observers have a voice of their own: a key is claimed once an account or a token has logged
//! in for it, and nobody else speaks for it from then on.
//!
//! Held in memory; whoever keeps it on disk hands in what it remembers and is told what is new.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::broker::access::{self, Whose};
use crate::broker::board::{ClaimKind, ClaimRow, Released};
use crate::broker::identity::{Identity, ObserverKey};
use crate::broker::state::{Binding, Claim};
use crate::clock::Clock;
use crate::config::{Accounts, Role};

/// What is to be kept, or not any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::broker) enum News {
    /// A key was claimed.
    Claimed(Claim),
    /// An account has learnt its key; a claim follows.
    Bound(Binding),
    /// An account's claims and its binding are void.
    Forgotten(Arc<str>),
    /// A key is not this holder's any more.
    Released(ObserverKey, Identity),
    /// The account is gone or another one now: its sessions are void.
    Dismissed(Arc<str>),
}

/// What was kept from earlier runs.
#[derive(Clone, Debug, Default)]
pub(in crate::broker) struct Remembered {
    /// In any order.
    pub(in crate::broker) claims: Vec<Claim>,
    /// One for each account at most.
    pub(in crate::broker) bindings: Vec<Binding>,
    /// The accounts for which sessions are kept.
    pub(in crate::broker) sessions: Vec<Arc<str>>,
}

/// Who is told of news: at once, under a lock, so it must neither wait nor ask back.
pub(in crate::broker) type Keeper = Arc<dyn Fn(News) + Send + Sync>;

/// Claims and bindings.
pub(in crate::broker) struct Claims {
    book: Mutex<Book>,
    clock: Clock,
    keeper: Keeper,
}

#[derive(Debug, Default)]
struct Book {
    /// Everyone who has logged in for a key.
    holders: HashMap<ObserverKey, Vec<Claim>>,
    bound: HashMap<Arc<str>, ObserverKey>,
    /// The accounts of today: others, whose clients may just be on their way in or out, hold nothing.
    accounts: Accounts,
}

/// Keys that may be claimed by token, in all: anybody who may log in can make keys. One megabyte.
const MOST: usize = 10_000;

impl Claims {
    /// What is remembered, less what the accounts of today contradict; `keeper` is told of that, too.
    pub(in crate::broker) fn new(
        remembered: Remembered,
        accounts: &Accounts,
        clock: Clock,
        keeper: Keeper,
    ) -> Self {
        let claims = Self { book: Mutex::default(), clock, keeper };
        claims.recall(remembered, accounts);
        claims
    }

    /// Takes up what was remembered late, less what the accounts of today contradict.
    pub(in crate::broker) fn recall(&self, remembered: Remembered, accounts: &Accounts) {
        let mut book = self.book();
        for Binding { account, key, .. } in remembered.bindings {
            book.bound.entry(account).or_insert(key);
        }
        for claim in remembered.claims {
            book.add(claim);
        }
        drop(book);
        self.accounts_are(accounts);
    }

    /// Notes that somebody has logged in for a key; an account that is gone by now has not. False: there
    /// is no room for more.
    pub(in crate::broker) fn claim(&self, key: ObserverKey, identity: &Identity) -> bool {
        self.claim_in(&mut self.book(), key, identity)
    }

    /// Whether somebody has.
    #[cfg(test)]
    pub(in crate::broker) fn is_claimed(&self, key: &ObserverKey) -> bool {
        self.book().holders.contains_key(key)
    }

    /// The key that an account has learnt.
    pub(in crate::broker) fn bound(&self, account: &str) -> Option<ObserverKey> {
        self.book().bound.get(account).copied()
    }

    /// Gives an account its first key; it keeps the one that it has.
    fn bind_account(
        &self,
        book: &mut Book,
        account: &Arc<str>,
        key: ObserverKey,
    ) -> Result<ObserverKey, &'static str> {
        if let Some(own) = book.bound.get(account) {
            return Ok(*own);
        }
        if !book.may_hold(account) {
            return Err("account_changed");
        }
        if book.holders.contains_key(&key) {
            return Err("publish_for_a_claimed_key");
        }
        book.bound.insert(Arc::clone(account), key);
        let at_ms = self.clock.now_ms();
        (self.keeper)(News::Bound(Binding { account: Arc::clone(account), key, at_ms }));
        self.claim_in(book, key, &Identity::Account(Arc::clone(account)));
        Ok(key)
    }

    fn claim_in(&self, book: &mut Book, key: ObserverKey, identity: &Identity) -> bool {
        if matches!(identity, Identity::Account(name) if !book.may_hold(name)) {
            return true;
        }
        let is_new = !book.holders.contains_key(&key);
        let by_token = matches!(identity, Identity::Observer(_));
        if is_new && by_token && book.holders.len() >= MOST {
            return false;
        }
        let claim = Claim { key, identity: identity.clone(), at_ms: self.clock.now_ms() };
        if book.add(claim.clone()) {
            (self.keeper)(News::Claimed(claim));
        }
        true
    }

    /// Every claim, by key, for people.
    pub(in crate::broker) fn rows(&self) -> Vec<ClaimRow> {
        let book = self.book();
        let mut rows: Vec<_> = book.holders.values().flatten().map(|it| book.row(it)).collect();
        rows.sort_by(|a, b| (&a.key, a.since_ms).cmp(&(&b.key, b.since_ms)));
        rows
    }

    /// Takes a key back from everyone who holds it, but for the accounts whose key it is in their
    /// file: those would claim it again at their next login. An account that has learnt it learns anew.
    pub(in crate::broker) fn release(&self, key: ObserverKey, accounts: &Accounts) -> Released {
        let mut book = self.book();
        let all = book.holders.remove(&key).unwrap_or_default();
        let (kept, released): (Vec<_>, Vec<_>) = all.into_iter().partition(|claim| {
            let Identity::Account(name) = &claim.identity else { return false };
            accounts.find(name).is_some_and(|account| account.key == Some(key.0))
        });
        let rows = |claims: &[Claim]| claims.iter().map(|claim| book.row(claim)).collect();
        let told = Released { released: rows(&released), kept: rows(&kept) };
        for Claim { identity, .. } in released {
            if let Identity::Account(name) = &identity {
                if book.bound.get(name) == Some(&key) {
                    book.bound.remove(name);
                    (self.keeper)(News::Forgotten(Arc::clone(name)));
                    continue;
                }
            }
            (self.keeper)(News::Released(key, identity));
        }
        if !kept.is_empty() {
            book.holders.insert(key, kept);
        }
        told
    }

    /// Drops the claims of accounts that are gone, or that speak for another key now.
    pub(in crate::broker) fn accounts_are(&self, accounts: &Accounts) {
        let mut book = self.book();
        book.accounts = accounts.clone();
        let speaks_for = |name: &str, bound: Option<&ObserverKey>| {
            let account = accounts.find(name).filter(|it| it.role == Role::Publisher)?;
            account.key.map(ObserverKey).or(bound.copied())
        };
        let mut forgotten = Vec::new();
        book.bound.retain(|name, key| {
            let keeps = speaks_for(name, Some(key)) == Some(*key);
            if !keeps {
                forgotten.push(Arc::clone(name));
            }
            keeps
        });
        let Book { holders, bound, .. } = &mut *book;
        holders.retain(|key, claims| {
            claims.retain(|claim| {
                let Identity::Account(name) = &claim.identity else { return true };
                let keeps = speaks_for(name, bound.get(name)) == Some(*key);
                if !keeps && !forgotten.contains(name) {
                    forgotten.push(Arc::clone(name));
                }
                keeps
            });
            !claims.is_empty()
        });
        forgotten.into_iter().for_each(|name| (self.keeper)(News::Forgotten(name)));
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// True: that is new.
    fn add(&mut self, claim: Claim) -> bool {
        let holders = self.holders.entry(claim.key).or_default();
        let is_new = holders.iter().all(|it| it.identity != claim.identity);
        if is_new {
            holders.push(claim);
        }
        is_new
    }

    fn may_hold(&self, account: &str) -> bool {
        self.accounts.find(account).is_some_and(|it| it.role == Role::Publisher)
    }

    fn row(&self, claim: &Claim) -> ClaimRow {
        let by = match &claim.identity {
            Identity::Account(name) if self.bound.get(name) == Some(&claim.key) => {
                ClaimKind::Learnt
            }
            Identity::Account(_) => ClaimKind::Account,
            Identity::Observer(_) | Identity::Anonymous(_) => ClaimKind::Token,
        };
        ClaimRow {
            key: claim.key.to_string(),
            by,
            holder: claim.identity.to_string(),
            since_ms: claim.at_ms,
        }
    }
}

impl std::fmt::Debug for Claims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Claims({})", self.book().holders.len())
    }
}

impl access::Claims for Claims {
    fn whose(&self, key: &ObserverKey, asks: &Identity) -> Whose {
        match self.book().holders.get(key) {
            None => Whose::Nobodys,
            Some(claims) if claims.iter().any(|it| it.identity == *asks) => Whose::Own,
            Some(_) => Whose::Others,
        }
    }

    fn bind(&self, binding: &access::Binding) -> Result<(), &'static str> {
        let Identity::Account(name) = &binding.identity else {
            return Err("there_are_no_accounts");
        };
        let own = self.bind_account(&mut self.book(), name, binding.key)?;
        if own == binding.key { Ok(()) } else { Err("publish_for_another_key") }
    }
}

#[cfg(test)]
impl Default for Claims {
    fn default() -> Self {
        let accounts = Accounts::default();
        Self::new(Remembered::default(), &accounts, Clock::by_hand(0), Arc::new(|_| {}))
    }
}
