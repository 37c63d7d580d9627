//! Who is who: judges credentials by accounts and tokens, knows which connections an account has, and
//! follows `accounts.toml` when it changes.

mod claims;
mod passwords;
mod reload;
mod seats;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub(super) use self::claims::{Claims, Keeper, News, Remembered};
pub(super) use self::reload::follow;
pub(super) use self::seats::Seat;

use self::passwords::{Passwords, Verdict};
use self::seats::Seats;
use super::access::Nearness;
use super::board::{ClaimKind, Released};
use super::identity::{Identity, ObserverKey, Who};
use super::login::{Refusal, Way, refusals};
use super::throttle::Throttle;
use crate::clock::Clock;
use crate::config::{Account, AccountsFile, Logins, Role};
use crate::counters::Counters;
use crate::crypto::token::{self, Expected, Token};

/// Whether the time can be believed; until then tokens are not judged by it.
pub type ClockTrusted = Arc<dyn Fn() -> bool + Send + Sync>;

/// What a register is made of.
pub(super) struct Parts {
    pub(super) clock: Clock,
    pub(super) clock_trusted: ClockTrusted,
    pub(super) counters: Arc<Counters>,
    /// 32 random bytes that nobody else knows.
    pub(super) secret: [u8; 32],
    /// Claims and bindings of earlier runs, and who keeps the new ones.
    pub(super) remembered: Remembered,
    pub(super) keeper: Keeper,
}

/// Everyone who is known by name or by key.
pub(super) struct Register {
    logins: Logins,
    file: Mutex<Arc<AccountsFile>>,
    passwords: Passwords,
    seats: Seats,
    claims: Arc<Claims>,
    keeper: Keeper,
    throttle: Mutex<Throttle>,
    clock: Clock,
    clock_trusted: ClockTrusted,
    counters: Arc<Counters>,
}

/// A client that was recognised.
#[derive(Clone, Debug)]
pub(super) struct Recognised {
    pub(super) who: Who,
    /// What its token says of the uploader, if it has shown one.
    pub(super) token: Option<Shown>,
    /// The account as it was then.
    account: Option<Account>,
}

/// What a token says beside the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    /// When it ends, in milliseconds since the Unix epoch; `None`: it does not.
    pub(super) ends_ms: Option<i64>,
    /// The program that made it.
    pub(super) client: Option<String>,
}

impl Recognised {
    /// A client without an account.
    #[cfg(test)]
    pub(super) fn without_account(who: Who) -> Self {
        Self { who, token: None, account: None }
    }
}

impl Register {
    /// Begins with the accounts that the configuration was read with.
    pub(super) fn new(logins: Logins, parts: Parts) -> Self {
        let Parts { clock, clock_trusted, counters, secret, remembered, keeper } = parts;
        let file = Arc::new(logins.accounts.clone());
        let sessions = remembered.sessions.clone();
        let told = Arc::clone(&keeper);
        let claims = Arc::new(Claims::new(remembered, &file.accounts, clock.clone(), told));
        let register = Self {
            logins,
            file: Mutex::new(file),
            passwords: Passwords::new(&secret),
            seats: Seats::default(),
            claims,
            keeper,
            throttle: Mutex::default(),
            clock,
            clock_trusted,
            counters,
        };
        register.dismiss_strangers(sessions);
        register
    }

    /// Takes up what was remembered late.
    pub(super) fn recall(&self, remembered: Remembered) {
        let sessions = remembered.sessions.clone();
        self.claims.recall(remembered, &self.file().accounts);
        self.dismiss_strangers(sessions);
    }

    /// Ends the sessions of those who are no accounts any more.
    fn dismiss_strangers(&self, names: Vec<Arc<str>>) {
        let accounts = &self.file().accounts;
        let gone = names.into_iter().filter(|name| accounts.find(name).is_none());
        gone.for_each(|name| (self.keeper)(News::Dismissed(name)));
    }

    /// Whether there is any account: then credentials are judged.
    pub(super) fn has_accounts(&self) -> bool {
        !self.file().accounts.is_empty()
    }

    /// Who speaks for which observer.
    pub(super) fn claims(&self) -> &Arc<Claims> {
        &self.claims
    }

    /// Judges what a client from `peer` has shown.
    ///
    /// # Errors
    /// The credentials are wrong, or cannot be judged now.
    pub(super) async fn recognise(
        &self,
        way: Way<'_>,
        peer: IpAddr,
        from: Nearness,
    ) -> Result<Recognised, Refusal> {
        let recognised = match way {
            Way::Anonymous { .. } => {
                let who = Who::anonymous(peer, from);
                return Ok(Recognised { who, token: None, account: None });
            }
            Way::Token { key, token } => self.by_token(ObserverKey(key), token, from),
            Way::Password { name, password } => self.by_password(name, password, peer, from).await,
        };
        match &recognised {
            Err(refusal) if refusal.is_wrong_login() => Err(self.failed(refusal, peer)),
            _ => recognised,
        }
    }

    fn by_token(
        &self,
        key: ObserverKey,
        token: &[u8],
        from: Nearness,
    ) -> Result<Recognised, Refusal> {
        let audiences = self.logins.audience.now();
        let expected = Expected {
            public_key: Some(&key.0),
            audiences: &audiences,
            now_s: (self.clock_trusted)().then(|| self.clock.now_ms().div_euclid(1_000)),
            skew_s: i64::try_from(self.logins.token_skew.as_secs()).unwrap_or(i64::MAX),
        };
        let judged = Token::parse(token).and_then(|token| token.judge(&expected).map(|()| token));
        let Token { claims, .. } = judged.map_err(|error| refusals::token(&error))?;
        let ends_ms = claims.expires_at_s.map(|at_s| at_s.saturating_mul(1_000));
        let shown = Some(Shown { ends_ms, client: claims.client });
        let (identity, role) = (Identity::Observer(key), Some(Role::Publisher));
        let who = Who { identity, role, key: Some(key), from };
        Ok(Recognised { who, token: shown, account: None })
    }

    async fn by_password(
        &self,
        name: &str,
        password: &[u8],
        peer: IpAddr,
        from: Nearness,
    ) -> Result<Recognised, Refusal> {
        let file = self.file();
        let account = file.accounts.find(name).ok_or_else(refusals::unknown_account)?;
        let may_go_on = || self.waits(peer).is_none();
        let hashed = || self.counters.broker_passwords_hashed.increment();
        match self.passwords.check(account, password, may_go_on, hashed).await {
            Verdict::Right => {}
            // Counted as a failure, and answered as one who has to wait.
            Verdict::Wrong | Verdict::Withdrawn => return Err(refusals::wrong_password()),
            Verdict::Busy => return Err(refusals::busy()),
        }
        let own = account.key.map(ObserverKey).or_else(|| self.claims.bound(&account.name));
        let key = own.filter(|_| account.role == Role::Publisher);
        let identity = Identity::Account(Arc::clone(&account.name));
        let who = Who { identity, role: Some(account.role), key, from };
        Ok(Recognised { who, token: None, account: Some(account.clone()) })
    }

    /// A seat among those of the account for a client that calls itself so; none is needed without an
    /// account.
    ///
    /// # Errors
    /// It has as many connections as it may have, or has changed since it was recognised.
    pub(super) fn seat(
        &self,
        recognised: &Recognised,
        client_id: &str,
    ) -> Result<Option<Seat>, Refusal> {
        let Some(account) = &recognised.account else { return Ok(None) };
        // Under the lock of the file: a change comes wholly before or wholly after.
        let file = self.lock_file();
        if !self.is_still(&file, account, recognised.who.key) {
            return Err(refusals::account_changed());
        }
        let seat = self.seats.take(&account.name, client_id, account.max_connections);
        seat.map(Some).ok_or_else(|| refusals::no_seat(account))
    }

    /// Whether the account of a client that was recognised is still the same, and its key its own.
    pub(super) fn still_knows(&self, recognised: &Recognised) -> bool {
        let is_still = |it: &Account| self.is_still(&self.lock_file(), it, recognised.who.key);
        recognised.account.as_ref().is_none_or(is_still)
    }

    /// Whether the account is there as it was, with the key that it had then, if it had one: one that it
    /// has learnt may have been taken back.
    fn is_still(&self, file: &AccountsFile, account: &Account, key: Option<ObserverKey>) -> bool {
        let has = |key: ObserverKey| {
            account.key == Some(key.0) || self.claims.bound(&account.name) == Some(key)
        };
        file.accounts.find(&account.name).is_some_and(|now| is_same(now, account))
            && key.is_none_or(has)
    }

    /// Notes that a client is in that has logged in: from now on its key is nobody else's.
    pub(super) fn let_in(&self, who: &Who) {
        if matches!(who.identity, Identity::Anonymous(_)) {
            return;
        }
        self.counters.broker_logins.increment();
        let Some(key) = who.key else { return };
        if self.claims.claim(key, &who.identity) {
            return;
        }
        if self.counters.reasons.note("claim_without_room", self.clock.now_ms()).is_some() {
            tracing::warn!(
                "{key} is not claimed by its login: too many keys are; `meshbox account claims` \
                 lists them"
            );
        }
    }

    /// The key that somebody would speak for who logs in by this name.
    pub(super) fn key_of(&self, name: &str) -> Option<ObserverKey> {
        let by_token = token::key_in(name);
        let file = self.file();
        let own = || file.accounts.find(name).and_then(|account| account.key);
        by_token.or_else(own).map(ObserverKey).or_else(|| self.claims.bound(name))
    }

    /// Takes a key back from who holds it. An account that had learnt it is another one then: its
    /// connections end.
    pub(super) fn release(&self, key: ObserverKey) -> Released {
        let file = self.lock_file();
        let released = self.claims.release(key, &file.accounts);
        let learnt = released.released.iter().filter(|row| row.by == ClaimKind::Learnt);
        learnt.for_each(|row| self.seats.clear(&row.holder));
        released
    }

    /// A failed login: counted, and answered otherwise if its address has to wait. What is known
    /// to be right comes in all the same, so that one gateway with a wrong password does not keep out
    /// its neighbours behind the same address; what would have to be tried does not.
    fn failed(&self, refusal: &Refusal, peer: IpAddr) -> Refusal {
        self.counters.broker_logins_failed.increment();
        let wait = self.waits(peer);
        if wait.is_none() {
            lock(&self.throttle).failed(peer, Instant::now());
        }
        wait.map_or_else(|| refusal.clone(), refusals::throttled)
    }

    fn waits(&self, peer: IpAddr) -> Option<std::time::Duration> {
        lock(&self.throttle).waits(peer, Instant::now())
    }

    /// Takes new accounts; ends the connections of those that are gone or have changed, and returns
    /// their names.
    fn replace(&self, new: AccountsFile) -> Vec<Arc<str>> {
        let mut file = self.lock_file();
        let stays = |old: &Account| new.accounts.find(&old.name).is_some_and(|n| is_same(n, old));
        let changed = file.accounts.iter().filter(|old| !stays(old));
        let changed: Vec<_> = changed.map(|old| Arc::clone(&old.name)).collect();
        changed.iter().for_each(|name| self.seats.clear(name));
        self.claims.accounts_are(&new.accounts);
        // What is kept for a role was granted to that role.
        let reads_on = |old: &Account| {
            new.accounts.find(&old.name).is_some_and(|n| (n.role, n.key) == (old.role, old.key))
        };
        let void = file.accounts.iter().filter(|old| !reads_on(old));
        void.for_each(|old| (self.keeper)(News::Dismissed(Arc::clone(&old.name))));
        *file = Arc::new(new);
        changed
    }

    fn file(&self) -> Arc<AccountsFile> {
        Arc::clone(&self.lock_file())
    }

    fn lock_file(&self) -> MutexGuard<'_, Arc<AccountsFile>> {
        lock(&self.file)
    }
}

/// Whether a connection of the one may go on as the other.
fn is_same(a: &Account, b: &Account) -> bool {
    (a.role, a.key, &a.password) == (b.role, b.key, &b.password)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
