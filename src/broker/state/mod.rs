//! The state file, `meshbox-state.db` beside the database: what must outlive a restart and is no
//! packet. Retained messages, sessions that are kept with what waits for them, claims of keys, and
//! the keys that accounts have learnt.
//!
//! ```text
//! door ── changes ──> Keepsakes (memory) ──┐
//!      ── changed(), changed_for(receipt) ─┴─> one thread ── commit ──> receipt
//! ```
//!
//! Memory is the truth, the file its copy: the thread asks for what has changed, so a hub whose file
//! is full, unwritable or damaged goes on as it is, acknowledges, and says so until the whole of it
//! could be written again. Commits wait for [`EVERY`], or for [`GATHER`] when a publish waits to be
//! acknowledged.

mod claims;
mod closed;
mod file;
mod keepsakes;
mod rows;
#[cfg(test)]
mod tests;

pub(super) use claims::{Binding, Claim, TooMany};
pub(super) use closed::ClosedFile;
pub(super) use keepsakes::Keepsakes;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use self::file::{Error, File};
use super::identity::{Identity, ObserverKey};
use crate::clock::Clock;
use crate::counters::Counters;
use crate::message::{Outcome, Receipt};

/// The file's name, beside the database.
pub const FILE: &str = "meshbox-state.db";

/// How long changes gather that nobody waits for. What they are worth on an SD card: a status of a
/// gateway is retained every few minutes, a copy for a client that is away may come every second.
const EVERY: Duration = Duration::from_secs(2);

/// The same once a publish waits for its acknowledgement.
const GATHER: Duration = Duration::from_millis(10);

/// How long the file is left alone after an error.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// Without any change the file is looked after so often, for what is too old.
const LOOK_AFTER: Duration = Duration::from_secs(600);

/// The door's handle; clones share it.
#[derive(Clone, Debug)]
pub(super) struct State(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    keepsakes: Keepsakes,
    due: Mutex<Due>,
    bell: Condvar,
    /// The file has been read since somebody asked.
    recalled: AtomicBool,
}

#[derive(Debug, Default)]
struct Due {
    /// Something has changed since then.
    since: Option<Instant>,
    /// Publishes that wait for the commit: no more than the windows of all connections.
    receipts: Vec<Receipt>,
    /// Commit as soon as possible.
    soon: bool,
    /// Nothing can be written now: nobody is kept waiting.
    failing: bool,
    stop: bool,
}

/// The thread that owns the file.
#[derive(Debug)]
pub(super) struct Writer {
    state: State,
    thread: Option<JoinHandle<()>>,
}

impl State {
    /// Reads the file into `keepsakes` and starts the thread that keeps it up to date. Without a path
    /// everything stays in memory. Blocks while it reads.
    pub(super) fn start(
        path: Option<PathBuf>,
        keepsakes: Keepsakes,
        (counters, clock): (Arc<Counters>, Clock),
    ) -> Writer {
        let failing = path.is_none();
        let due = Mutex::new(Due { failing, ..Due::default() });
        let state = Self(Arc::new(Shared {
            keepsakes,
            due,
            bell: Condvar::new(),
            recalled: AtomicBool::new(false),
        }));
        let Some(path) = path else { return Writer { state, thread: None } };
        counters.state_file(|s| s.file = path.display().to_string());
        let (theirs, file, read, whole) = (state.clone(), None, false, false);
        let mut keeper = Keeper { state: theirs, path, file, read, whole, counters, clock };
        keeper.open_first();
        let spawned = std::thread::Builder::new().name("state".into()).spawn(move || keeper.run());
        if let Err(error) = &spawned {
            // Memory alone, then: the hub's work does not depend on it.
            tracing::error!("the state file's thread cannot be started: {error}");
            state.due().failing = true;
        }
        Writer { state, thread: spawned.ok() }
    }

    /// What is remembered.
    pub(super) fn keepsakes(&self) -> &Keepsakes {
        &self.0.keepsakes
    }

    /// Something has changed, and nobody waits for it.
    pub(super) fn changed(&self) {
        let mut due = self.due();
        if due.since.is_none() {
            due.since = Some(Instant::now());
            drop(due);
            self.0.bell.notify_one();
        }
    }

    /// Something has changed, and the receipt ends once it is committed; at once while the file
    /// cannot be written.
    pub(super) fn changed_for(&self, receipt: Receipt) {
        if !receipt.is_awaited() {
            return self.changed();
        }
        let mut due = self.due();
        due.since.get_or_insert_with(Instant::now);
        if due.failing {
            drop(due);
            return receipt.complete(Outcome::Stored);
        }
        due.receipts.push(receipt);
        let first = !std::mem::replace(&mut due.soon, true);
        drop(due);
        if first {
            self.0.bell.notify_one();
        }
    }

    /// Whether the file has been read since this was asked the last time: it may be late, when
    /// somebody else held it at the start.
    pub(super) fn has_recalled(&self) -> bool {
        self.0.recalled.swap(false, Ordering::AcqRel)
    }

    /// Every claim.
    pub(super) fn claims(&self) -> Vec<Claim> {
        self.keepsakes().claims().claims()
    }

    /// Every binding.
    pub(super) fn bindings(&self) -> Vec<Binding> {
        self.keepsakes().claims().bindings()
    }

    /// Notes a claim, in place of an earlier one of the same holder. It is in the file within moments.
    ///
    /// # Errors
    /// [`TooMany`].
    pub(super) fn claim(&self, claim: Claim) -> Result<(), TooMany> {
        self.keepsakes().claims().claim(claim)?;
        self.changed_soon();
        Ok(())
    }

    /// Notes a binding, in place of the account's earlier one. It is in the file within moments.
    ///
    /// # Errors
    /// [`TooMany`].
    pub(super) fn bind(&self, binding: Binding) -> Result<(), TooMany> {
        self.keepsakes().claims().bind(binding)?;
        self.changed_soon();
        Ok(())
    }

    /// Forgets the binding and the claims of an account that is gone.
    pub(super) fn forget(&self, account: &str) {
        self.keepsakes().claims().forget(account);
        self.changed_soon();
    }

    /// Waits until everything that has changed is in the file; not at all while that cannot be written.
    pub(super) async fn written(&self) {
        #[expect(clippy::disallowed_methods, reason = "one completion")]
        let (mailbox, mut inbox) = mpsc::unbounded_channel();
        self.changed_for(Receipt::new(mailbox, 1, 1));
        // Without a completion the thread has ended, and with it the hub's life.
        let _ = inbox.recv().await;
    }

    /// Forgets that somebody holds a key.
    pub(super) fn release(&self, key: ObserverKey, holder: &Identity) {
        self.keepsakes().claims().release(key, holder);
        self.changed_soon();
    }

    fn changed_soon(&self) {
        let mut due = self.due();
        due.since.get_or_insert_with(Instant::now);
        due.soon = true;
        drop(due);
        self.0.bell.notify_one();
    }

    fn due(&self) -> MutexGuard<'_, Due> {
        self.0.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something is to be written: the receipts that wait for it. True: it is the last
    /// time.
    fn next(&self) -> (Vec<Receipt>, bool) {
        let mut due = self.due();
        let begun = Instant::now();
        let mut soon_since = None;
        loop {
            let waited = match due.since {
                _ if due.stop => break,
                Some(_) if due.soon => {
                    let since = *soon_since.get_or_insert_with(Instant::now);
                    GATHER.saturating_sub(since.elapsed())
                }
                Some(since) => EVERY.saturating_sub(since.elapsed()),
                None => LOOK_AFTER.saturating_sub(begun.elapsed()),
            };
            if waited.is_zero() {
                break;
            }
            let woken = self.0.bell.wait_timeout(due, waited);
            due = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        (due.since, due.soon) = (None, false);
        (std::mem::take(&mut due.receipts), due.stop)
    }

    /// Says whether the file can be written; until it can nobody waits for it.
    fn fails(&self, failing: bool) {
        let mut due = self.due();
        due.failing = failing;
        if failing {
            due.since.get_or_insert_with(Instant::now);
            let receipts = std::mem::take(&mut due.receipts);
            drop(due);
            receipts.into_iter().for_each(|receipt| receipt.complete(Outcome::Stored));
        }
    }

    /// Waits before the next attempt. True: there is no time for another one.
    fn rest(&self) -> bool {
        let due = self.due();
        let wait = self.0.bell.wait_timeout_while(due, TRY_AGAIN, |due| !due.stop);
        wait.unwrap_or_else(PoisonError::into_inner).0.stop
    }
}

impl Writer {
    /// The handle for those who change something.
    pub(super) fn state(&self) -> State {
        self.state.clone()
    }

    /// Writes what is due and closes the file. Blocks for as long as the disk takes.
    pub(super) fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.state.due().stop = true;
        self.state.0.bell.notify_one();
        if let Some(thread) = self.thread.take() {
            // Its panics are caught and told inside.
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

/// The thread's own.
struct Keeper {
    state: State,
    path: PathBuf,
    file: Option<File>,
    /// It was read once.
    read: bool,
    /// The file is behind in a way that only writing everything mends.
    whole: bool,
    counters: Arc<Counters>,
    clock: Clock,
}

impl Keeper {
    /// Opens and reads the file. What cannot be read is missed, not waited for.
    fn open_first(&mut self) {
        if !self.open() && self.file.is_none() && !self.path.exists() {
            // It was damaged, and is put aside.
            self.open();
        }
    }

    /// Opens the file. The first time that this works, what it has is taken up.
    fn open(&mut self) -> bool {
        match File::open(&self.path) {
            Ok((file, loaded)) => {
                self.file = Some(file);
                // From now on whoever waits is told after the commit.
                self.state.fails(false);
                if std::mem::replace(&mut self.read, true) {
                    return true;
                }
                if loaded.skipped > 0 {
                    tracing::warn!(rows = loaded.skipped, "rows of {FILE} were left out: no sense");
                }
                loaded.restore(self.state.keepsakes(), self.clock.now_ms());
                self.state.0.recalled.store(true, Ordering::Release);
                self.state.changed();
                true
            }
            Err(error) => {
                self.failed(&error);
                false
            }
        }
    }

    fn run(mut self) {
        loop {
            let (receipts, last) = self.state.next();
            let round = catch_unwind(AssertUnwindSafe(|| self.round()));
            let fine = match round {
                Ok(fine) => fine,
                Err(_) => {
                    let _ = self.counters.reasons.note("task_panic", self.clock.now_ms());
                    (self.file, self.whole) = (None, true);
                    self.failed(&Error::Failed("a defect in this program".into()));
                    false
                }
            };
            // With a file that fails these are true of the memory alone, and the hub says so.
            receipts.into_iter().for_each(|receipt| receipt.complete(Outcome::Stored));
            if last || (!fine && self.state.rest()) {
                return;
            }
        }
    }

    /// Writes what is due. False: it could not be.
    fn round(&mut self) -> bool {
        if self.file.is_none() && !self.open() {
            return false;
        }
        let Some(file) = &mut self.file else { return false };
        let now_ms = self.clock.now_ms();
        let changes = self.state.keepsakes().changes(self.whole, now_ms);
        let written = if changes.is_empty() && !self.whole {
            Ok(())
        } else {
            self.counters.state_commits.increment();
            file.commit(&changes, self.whole)
        };
        match written {
            Ok(()) => {
                self.whole = false;
                self.works();
                true
            }
            Err(error) => {
                self.failed(&error);
                false
            }
        }
    }

    fn works(&self) {
        let mut again = false;
        self.counters.state_file(|s| again = s.trouble.take().is_some());
        if again {
            tracing::info!("{} is written again", self.path.display());
        }
        self.state.fails(false);
    }

    fn failed(&mut self, error: &Error) {
        (self.file, self.whole) = (None, true);
        if let Error::Damaged(_) = error {
            match File::put_aside(&self.path) {
                Ok(aside) => tracing::error!(
                    "{} is damaged ({error}): it is {} now, and a new one is begun; retained \
                     messages, kept sessions and claims that were only in it are gone",
                    self.path.display(),
                    aside.display()
                ),
                Err(e) => tracing::error!("{} cannot be put aside: {e}", self.path.display()),
            }
        }
        self.state.fails(true);
        let trouble = format!(
            "{} cannot be used: {error}; what must outlive a restart is in memory only",
            self.path.display()
        );
        if self.counters.reasons.note("state_file_failed", self.clock.now_ms()).is_some() {
            tracing::error!("{trouble}");
        }
        self.counters.state_file(|s| s.trouble = Some(trouble));
    }
}
