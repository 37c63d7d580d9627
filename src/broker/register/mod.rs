//! Who is who: judges credentials by accounts and tokens, knows which connections an account has, and
//! follows `accounts.toml` when it changes.

mod claims;
mod passwords;
mod reload;
mod seats;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub(super) use self::claims::{Claims, Keeper, News, Remembered};
pub(super) use self::reload::follow;
pub(super) use self::seats::Seat;

use self::passwords::{Passwords, Verdict};
use self::seats::Seats;
use super::access::Nearness;
use super::identity::{Identity, ObserverKey, Who};
use super::login::{Refusal, Way, refusals};
use super::throttle::Throttle;
use crate::clock::Clock;
use crate::config::{Account, AccountsFile, Logins, Role};
use crate::counters::Counters;
use crate::crypto::token::{Expected, Token};

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
    throttle: Mutex<Throttle>,
    clock: Clock,
    clock_trusted: ClockTrusted,
    counters: Arc<Counters>,
}

/// A client that was recognised.
#[derive(Clone, Debug)]
pub(super) struct Recognised {
    pub(super) who: Who,
    /// The account as it was then.
    account: Option<Account>,
}

impl Recognised {
    /// A client without an account.
    #[cfg(test)]
    pub(super) fn without_account(who: Who) -> Self {
        Self { who, account: None }
    }
}

impl Register {
    /// Begins with the accounts that the configuration was read with.
    pub(super) fn new(logins: Logins, parts: Parts) -> Self {
        let Parts { clock, clock_trusted, counters, secret, remembered, keeper } = parts;
        let file = Arc::new(logins.accounts.clone());
        let claims = Arc::new(Claims::new(remembered, &file.accounts, clock.clone(), keeper));
        Self {
            logins,
            file: Mutex::new(file),
            passwords: Passwords::new(&secret),
            seats: Seats::default(),
            claims,
            throttle: Mutex::default(),
            clock,
            clock_trusted,
            counters,
        }
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
                return Ok(Recognised { who: Who::anonymous(peer, from), account: None });
            }
            Way::Token { key, token } => self.by_token(ObserverKey(key), token, from),
            Way::Password { name, password } => self.by_password(name, password, peer, from).await,
        };
        match &recognised {
            Ok(recognised) => {
                self.counters.broker_logins.increment();
                self.claim_for(&recognised.who);
            }
            Err(refusal) if refusal.is_wrong_login() => return Err(self.failed(refusal, peer)),
            Err(_) => {}
        }
        recognised
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
        Token::parse(token)
            .and_then(|token| token.judge(&expected))
            .map_err(|error| refusals::token(key, &error))?;
        let (identity, role) = (Identity::Observer(key), Some(Role::Publisher));
        Ok(Recognised { who: Who { identity, role, key: Some(key), from }, account: None })
    }

    async fn by_password(
        &self,
        name: &str,
        password: &[u8],
        peer: IpAddr,
        from: Nearness,
    ) -> Result<Recognised, Refusal> {
        let file = self.file();
        let account = file.accounts.find(name).ok_or_else(|| refusals::unknown_account(name))?;
        let may_go_on = || self.waits(peer).is_none();
        let hashed = || self.counters.broker_passwords_hashed.increment();
        match self.passwords.check(account, password, may_go_on, hashed).await {
            Verdict::Right => {}
            // Counted as a failure, and answered as one who has to wait.
            Verdict::Wrong | Verdict::Withdrawn => return Err(refusals::wrong_password(name)),
            Verdict::Busy => return Err(refusals::busy(name)),
        }
        let own = account.key.map(ObserverKey).or_else(|| self.claims.bound(&account.name));
        let key = own.filter(|_| account.role == Role::Publisher);
        let identity = Identity::Account(Arc::clone(&account.name));
        let who = Who { identity, role: Some(account.role), key, from };
        Ok(Recognised { who, account: Some(account.clone()) })
    }

    /// A seat among those of the account; none is needed without one.
    ///
    /// # Errors
    /// It has as many connections as it may have, or has changed since it was recognised.
    pub(super) fn seat(&self, recognised: &Recognised) -> Result<Option<Seat>, Refusal> {
        let Some(account) = &recognised.account else { return Ok(None) };
        // Under the lock of the file: a change comes wholly before or wholly after.
        let file = self.lock_file();
        if !is_there(&file, account) {
            return Err(refusals::account_changed(&account.name));
        }
        let seat = self.seats.take(&account.name, account.max_connections);
        seat.map(Some).ok_or_else(|| refusals::no_seat(account))
    }

    /// Whether the account of a client that was recognised is still the same.
    pub(super) fn still_knows(&self, recognised: &Recognised) -> bool {
        recognised.account.as_ref().is_none_or(|account| is_there(&self.lock_file(), account))
    }

    fn claim_for(&self, who: &Who) {
        let Some(key) = who.key else { return };
        if !self.claims.claim(key, &who.identity) {
            let _ = self.counters.reasons.note("claim_without_room", self.clock.now_ms());
        }
    }

    /// A failed login: counted, and answered otherwise if its address has to wait. What is right comes
    /// in all the same, so that one gateway with a wrong password does not keep out its neighbours
    /// behind the same address.
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

fn is_there(file: &AccountsFile, account: &Account) -> bool {
    file.accounts.find(&account.name).is_some_and(|now| is_same(now, account))
}

/// Whether a connection of the one may go on as the other.
fn is_same(a: &Account, b: &Account) -> bool {
    (a.role, a.key, &a.password) == (b.role, b.key, &b.password)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
