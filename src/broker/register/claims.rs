//! Which observers have a voice of their own: a key is claimed once an account or a token has logged
//! in for it, and nobody else speaks for it from then on.
//!
//! Held in memory; whoever keeps it on disk hands in what it remembers and is told what is new.

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

    /// Notes that somebody has logged in for a key. False: there is no room for more.
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
        let Book { holders, bound } = &mut *book;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::access::Nearness;
    use crate::broker::identity::Who;
    use std::path::Path;
    use std::sync::mpsc;

    const A: ObserverKey = ObserverKey([0xAA; 32]);
    const B: ObserverKey = ObserverKey([0xBB; 32]);

    fn topic(key: ObserverKey) -> String {
        format!("meshcore/SJC/{}/packets", key.to_string().to_lowercase())
    }

    fn accounts(names: &[&str]) -> Accounts {
        let hash = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let one = |name: &&str| format!("[accounts.{name}]\nrole='publisher'\npassword='{hash}'\n");
        let text: String = names.iter().map(one).collect();
        Accounts::parse(Path::new("accounts.toml"), &text).unwrap()
    }

    fn account(name: &str) -> Identity {
        Identity::Account(name.into())
    }

    fn publisher(name: &str) -> Who {
        let (identity, role) = (account(name), Some(Role::Publisher));
        Who { identity, role, key: None, from: Nearness::Lan }
    }

    fn stranger() -> Who {
        Who::anonymous("10.0.0.9".parse().unwrap(), Nearness::Lan)
    }

    fn claims(remembered: Remembered, names: &[&str]) -> (Arc<Claims>, mpsc::Receiver<News>) {
        let (teller, told) = mpsc::sync_channel(20_000);
        let keeper = Arc::new(move |news| teller.send(news).unwrap());
        let clock = Clock::by_hand(5);
        (Arc::new(Claims::new(remembered, &accounts(names), clock, keeper)), told)
    }

    /// Publishes as the door does.
    fn speak(
        claims: &Arc<Claims>,
        bind_first_key: bool,
        who: &mut Who,
        topic: &str,
    ) -> Result<(), &'static str> {
        let rules = access::Rules { bind_first_key, ..access::Rules::default() };
        let gate = access::Gate { rules, claims: Arc::clone(claims) as Arc<dyn access::Claims> };
        let (_, permit) = gate.publish(who, topic.to_owned()).map_err(|denied| denied.reason)?;
        if let Some(key) = permit.binds {
            let identity = who.identity.clone();
            access::Claims::bind(&**claims, &access::Binding { identity, key })?;
            who.key = Some(key);
        }
        Ok(())
    }

    #[test]
    fn nobody_speaks_for_a_claimed_key_without_a_login_for_it() {
        let (claims, told) = claims(Remembered::default(), &["shared"]);
        for mut who in [stranger(), publisher("shared")] {
            assert_eq!(speak(&claims, false, &mut who, &topic(A)), Ok(()));
        }
        assert!(claims.claim(A, &Identity::Observer(A)) && claims.claim(A, &Identity::Observer(A)));
        for mut who in [stranger(), publisher("shared")] {
            let before = who.clone();
            assert_eq!(
                speak(&claims, false, &mut who, &topic(A)),
                Err("publish_for_a_claimed_key")
            );
            assert_eq!(speak(&claims, false, &mut who, &topic(B)), Ok(()));
            assert_eq!(speak(&claims, false, &mut who, "meshcore/x/y/packets"), Ok(()));
            assert_eq!(who, before);
        }
        let mut holder = Who { key: Some(A), ..publisher("A") };
        assert_eq!(speak(&claims, false, &mut holder, &topic(A)), Ok(()));
        let claim = Claim { key: A, identity: Identity::Observer(A), at_ms: 5 };
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [News::Claimed(claim)]);
    }

    #[test]
    fn an_account_learns_its_key_at_its_first_use_and_keeps_it() {
        let (claims, told) = claims(Remembered::default(), &["roof", "other"]);
        let (mut first, mut second) = (publisher("roof"), publisher("roof"));
        assert_eq!(speak(&claims, true, &mut first, &topic(A)), Ok(()));
        assert_eq!(first.key, Some(A));
        let another = Err("publish_for_another_key");
        assert_eq!(speak(&claims, true, &mut second, &topic(B)), another);
        let mut third = publisher("other");
        assert_eq!(speak(&claims, true, &mut third, &topic(A)), Err("publish_for_a_claimed_key"));
        assert_eq!(third.key, None, "a claimed key is nobody's first one");
        let binding = Binding { account: "roof".into(), key: A, at_ms: 5 };
        let claim = Claim { key: A, identity: account("roof"), at_ms: 5 };
        let news: Vec<_> = told.try_iter().collect();
        assert_eq!(news, [News::Bound(binding.clone()), News::Claimed(claim.clone())]);

        // After a restart.
        let remembered =
            Remembered { claims: vec![claim], bindings: vec![binding], sessions: Vec::new() };
        let (claims, told) = self::claims(remembered, &["roof", "other"]);
        assert_eq!(claims.bound("roof"), Some(A));
        assert!(claims.is_claimed(&A));
        assert!(told.try_recv().is_err(), "nothing of it is new");
    }

    #[test]
    fn the_claims_of_an_account_that_is_gone_are_void_and_those_of_a_key_are_not() {
        let claim = |identity| Claim { key: A, identity, at_ms: 1 };
        let binding = Binding { account: "roof".into(), key: A, at_ms: 1 };
        let claims_of_it = vec![claim(account("roof"))];
        let remembered =
            Remembered { claims: claims_of_it, bindings: vec![binding], sessions: Vec::new() };
        let (claims, told) = claims(remembered, &["other"]);
        assert!(!claims.is_claimed(&A));
        assert_eq!(claims.bound("roof"), None);
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [News::Forgotten("roof".into())]);
        claims.claim(A, &Identity::Observer(A));
        claims.accounts_are(&Accounts::default());
        assert!(claims.is_claimed(&A));
    }

    #[test]
    fn each_holder_of_a_key_speaks_for_it_whoever_was_first() {
        let (claims, _told) = claims(Remembered::default(), &["roof"]);
        claims.claim(A, &Identity::Observer(A));
        claims.claim(A, &account("roof"));
        // A second connection of the account, which has not been told its key.
        let mut second = publisher("roof");
        assert_eq!(speak(&claims, false, &mut second, &topic(A)), Ok(()));
    }

    #[test]
    fn a_key_is_taken_back_from_who_could_not_claim_it_again_by_an_account_of_its_own() {
        let (claims, told) = claims(Remembered::default(), &["roof", "hill"]);
        claims.claim(A, &Identity::Observer(A));
        let mut learns = publisher("roof");
        assert_eq!(speak(&claims, true, &mut learns, &topic(B)), Ok(()));
        claims.claim(B, &Identity::Observer(B));
        claims.claim(B, &account("hill"));
        let rows = claims.rows();
        let told_of: Vec<_> = rows.iter().map(|row| (row.by, row.holder.as_str())).collect();
        let (a, b) = (A.to_string(), B.to_string());
        use ClaimKind::{Account, Learnt, Token};
        assert_eq!(told_of, [(Token, &*a), (Learnt, "roof"), (Token, &*b), (Account, "hill")]);
        told.try_iter().for_each(drop);

        // `hill` has B for its key; the account that has learnt it has not.
        let mut file = accounts(&["roof"]);
        let hash = file.find("roof").unwrap().password.as_str().to_owned();
        let text = format!(
            "[accounts.roof]\nrole='publisher'\npassword='{hash}'\n\
             [accounts.hill]\nrole='publisher'\nkey='{b}'\npassword='{hash}'\n"
        );
        file = Accounts::parse(Path::new("accounts.toml"), &text).unwrap();
        let released = claims.release(B, &file);
        let names = |rows: &[ClaimRow]| rows.iter().map(|r| r.holder.clone()).collect::<Vec<_>>();
        assert_eq!(names(&released.released), ["roof", &*b]);
        assert_eq!(names(&released.kept), ["hill"]);
        let news: Vec<_> = told.try_iter().collect();
        let released = News::Released(B, Identity::Observer(B));
        assert_eq!(news, [News::Forgotten("roof".into()), released]);
        assert_eq!(claims.bound("roof"), None);
        assert!(claims.is_claimed(&B) && claims.is_claimed(&A));

        assert_eq!(names(&claims.release(A, &file).released), [a]);
        assert!(!claims.is_claimed(&A));
        assert_eq!(claims.release(A, &file), Released::default());
        assert_eq!(speak(&claims, false, &mut stranger(), &topic(A)), Ok(()));
    }

    #[test]
    fn claims_by_token_are_bounded_and_those_of_accounts_find_room() {
        let (claims, _told) = claims(Remembered::default(), &[]);
        let key = |n: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&n.to_be_bytes());
            ObserverKey(key)
        };
        assert!((0..MOST).all(|n| claims.claim(key(n), &Identity::Observer(key(n)))));
        assert!(!claims.claim(key(MOST), &Identity::Observer(key(MOST))));
        assert!(claims.claim(key(3), &Identity::Observer(key(3))));
        assert!(claims.claim(key(MOST), &account("roof")));
    }
}
