//! The writer's thread: takes records, writes them in batches, tells their senders.
//!
//! A batch is gathered until its time is up, or until so many records came that there is a backlog.
//! Then its transaction opens; what arrives meanwhile goes into the same one, so that decoding and
//! writing keep two cores busy. Nothing leaves the batch before its commit has returned.

use super::batch::Batch;
use super::book::Book;
use super::checkpoint::Checkpoints;
use super::fault::Fault;
use super::migrate::{self, Migration};
use super::open::Opened;
use super::retention::Retention;
use super::stamp;
use super::whereabouts::Whereabouts;
use super::{Options, Shared};
use crate::clock::{Clock, Trust};
use crate::counters::Counters;
use crate::record::Record;

use rusqlite::Connection;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

/// The writer's thread: ends when every sink is gone and everything is committed, or when it is
/// told to give up. The file is closed then.
pub(super) fn work(
    opened: Opened,
    inbox: Receiver<Record>,
    options: &Options,
    clock: Clock,
    counters: Arc<Counters>,
    shared: Arc<Shared>,
) {
    let (conn, migration) = (opened.conn, Migration::new(opened.plan));
    loop {
        match Book::new(&conn, opened.dedup, options) {
            Ok(book) => {
                let migrating = (book, migration);
                Scribe::new(&conn, migrating, inbox, options, clock, counters, shared).run();
                break;
            }
            // They could be prepared a moment ago, when the file was opened.
            Err(error) if !shared.abandoned() => {
                counters.writer(|w| w.trouble = Some(error.to_string()));
                shared.beat();
                shared.pause(PAUSE_MAX);
            }
            Err(_) => break,
        }
    }
    if let Err((_, error)) = conn.close() {
        tracing::warn!("closing the database: {error}");
    }
}

/// The writer at work.
pub(super) struct Scribe<'c> {
    conn: &'c Connection,
    pub(super) book: Book<'c>,
    inbox: Receiver<Record>,
    pub(super) batch: Batch,
    pub(super) clock: Clock,
    pub(super) counters: Arc<Counters>,
    pub(super) shared: Arc<Shared>,
    commit_interval: Duration,
    /// The most records of the next batch.
    pub(super) cap: usize,
    whereabouts: Whereabouts,
    checkpoints: Checkpoints,
    retention: Retention,
    migration: Migration,
    trust: Trust,
    /// Since when nothing came; and whether the memory of the last burst was given back.
    pub(super) idle_since: Instant,
    pub(super) tidy: bool,
    pub(super) last_said: Option<Instant>,
    pub(super) commit_took: Duration,
}

/// The most records in a batch, and in one under a backlog: it grows there batch by batch.
pub(super) const CAP: usize = 2_000;
pub(super) const CAP_BACKLOG: usize = 10_000;

/// With so many records gathered there is a backlog: the transaction opens at once.
pub(super) const BACKLOG: usize = 512;

/// How long an open transaction waits for the next record: a backlog has none, and other programs
/// cannot write meanwhile.
const LULL: Duration = Duration::from_millis(20);
const NAP: Duration = Duration::from_millis(1);
const HANDFUL: usize = 128;

/// How long a record waits for company once its sender waits for a receipt.
const AWAITED: Duration = Duration::from_millis(20);

/// How often the thread turns when nothing happens.
const TICK: Duration = Duration::from_secs(1);

/// How long a commit or a checkpoint may take before the pulse stands still: a slow SD card needs
/// half a minute to take 64 MiB.
pub(super) const LONG_STEP: Duration = Duration::from_secs(180);

/// The pause after a failed attempt, growing from the first to the second.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The beat is given every so many records within a batch: a Pi needs a moment for ten thousand.
const BEAT_EVERY: usize = 256;

impl<'c> Scribe<'c> {
    fn new(
        conn: &'c Connection,
        (book, migration): (Book<'c>, Migration),
        inbox: Receiver<Record>,
        options: &Options,
        clock: Clock,
        counters: Arc<Counters>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            book,
            batch: Batch::default(),
            clock,
            counters,
            shared,
            conn,
            inbox,
            commit_interval: options.commit_interval,
            cap: CAP,
            whereabouts: Whereabouts::of(&options.path),
            checkpoints: Checkpoints::new(&options.path, options.wal_max_bytes),
            retention: Retention::new(options.retention.clone()),
            migration,
            trust: options.trust.clone(),
            idle_since: Instant::now(),
            tidy: true,
            last_said: None,
            commit_took: Duration::ZERO,
        }
    }

    /// Works until every sink is gone and everything is committed, or until it is told to give up.
    /// A panic is caught and costs at most the one record that causes it.
    fn run(&mut self) {
        loop {
            match catch_unwind(AssertUnwindSafe(|| self.work())) {
                Ok(()) => return,
                Err(payload) => {
                    self.book.roll_back();
                    self.trouble(&Fault::of_panic(&*payload));
                    self.shared.pause(PAUSE);
                }
            }
        }
    }

    fn work(&mut self) {
        // Not empty after a panic.
        self.store();
        if self.migration.is_urgent() {
            self.migrate();
        }
        while !self.shared.abandoned() {
            self.shared.beat();
            match self.inbox.recv_timeout(self.migration.patience().min(TICK)) {
                Ok(record) => {
                    self.gather(record);
                    self.store();
                    self.between_batches();
                }
                Err(RecvTimeoutError::Timeout) => self.idle(),
                Err(RecvTimeoutError::Disconnected) => {
                    self.shared.drained();
                    self.shared.allow(LONG_STEP);
                    self.checkpoints.last(self.conn, &self.counters);
                    return;
                }
            }
        }
    }

    /// Collects records until the batch is due or there is a backlog.
    fn gather(&mut self, first: Record) {
        let now = Instant::now();
        self.batch.start(now.checked_add(self.commit_interval).unwrap_or(now));
        self.push(first);
        while self.batch.len() < BACKLOG {
            let Some(next) = self.next() else { break };
            self.push(next);
        }
    }

    /// The next record of a batch that gathers: waits until the batch is due, then takes what is
    /// there.
    fn next(&mut self) -> Option<Record> {
        loop {
            let wait = self.batch.due().saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return self.inbox.try_recv().ok();
            }
            match self.inbox.recv_timeout(wait.min(TICK)) {
                Ok(record) => return Some(record),
                Err(RecvTimeoutError::Timeout) => self.shared.beat(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Takes what a backlog has ready, a handful at most; nothing when the batch is due or full, or
    /// when nothing came for a while.
    ///
    /// It looks again after a nap instead of being woken, and takes several at once: in a burst the
    /// two threads would otherwise wake each other for every single record, which costs as much as
    /// writing it.
    fn take_backlog(&mut self) -> bool {
        let room = self.cap.saturating_sub(self.batch.len()).min(HANDFUL);
        let give_up = self.batch.due().min(Instant::now() + LULL);
        let before = self.batch.len();
        while self.batch.len() - before < room {
            match self.inbox.try_recv() {
                Ok(record) => self.push(record),
                Err(_) if self.batch.len() > before => break,
                Err(TryRecvError::Empty) if Instant::now() < give_up => self.shared.pause(NAP),
                Err(_) => break,
            }
        }
        self.batch.len() > before
    }

    fn push(&mut self, record: Record) {
        if record.message.receipt.is_awaited() {
            self.batch.hurry(Instant::now() + AWAITED);
        }
        self.batch.push(record);
    }

    /// Brings the batch into the database, however long it takes.
    fn store(&mut self) {
        let mut pause = PAUSE;
        let mut strikes = 0;
        while !self.batch.is_empty() && !self.shared.abandoned() {
            self.shared.beat();
            // The first strike may be a stale map; after the second each record is on its own.
            let done = guarded(|| match strikes {
                0 => self.write_and_take_more(),
                1 => self.write(),
                _ => self.salvage(),
            });
            match done {
                Ok(()) => return self.committed(),
                Err(fault) => {
                    self.book.roll_back();
                    self.counters.write_errors.increment();
                    if matches!(fault, Fault::Unacceptable(_)) && strikes < 2 {
                        strikes += 1;
                        continue;
                    }
                    self.trouble(&fault);
                    self.shared.pause(pause);
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Writes the batch, and what arrives until it is due or full.
    fn write_and_take_more(&mut self) -> Result<(), Fault> {
        self.book.begin()?;
        let mut written = 0;
        loop {
            self.write_from(written)?;
            written = self.batch.len();
            if !self.take_backlog() {
                return self.settle_and_commit();
            }
        }
    }

    fn write(&mut self) -> Result<(), Fault> {
        self.book.begin()?;
        self.write_from(0)?;
        self.settle_and_commit()
    }

    pub(super) fn settle_and_commit(&mut self) -> Result<(), Fault> {
        let started = Instant::now();
        self.book.settle(self.latest_ms())?;
        self.whereabouts.check()?;
        self.shared.allow(LONG_STEP);
        self.book.commit()?;
        self.shared.beat();
        self.commit_took = started.elapsed();
        Ok(())
    }

    /// What is later than this is from the future; nothing is while nobody knows what time it is.
    pub(super) fn latest_ms(&self) -> i64 {
        self.trust.now_ms().unwrap_or(stamp::LAST_MS)
    }

    fn write_from(&mut self, first: usize) -> Result<(), Fault> {
        for (n, record) in (first..).zip(self.batch.records().iter().skip(first)) {
            if n % BEAT_EVERY == 0 {
                self.shared.beat();
            }
            self.book.write(record)?;
        }
        Ok(())
    }

    /// What must be done under steady traffic too.
    fn between_batches(&mut self) {
        self.migrate();
        let burst = self.cap > CAP;
        self.shared.allow(LONG_STEP);
        self.checkpoints.after_commit(self.conn, burst, &self.counters);
        self.retain();
    }

    /// Lets go of a slice of what is old.
    fn retain(&mut self) {
        let grown = !self.migration.is_done();
        self.retention.turn(&mut self.book, &self.trust, grown, &self.counters);
    }

    fn idle(&mut self) {
        if !self.tidy {
            // The page cache of a burst is not needed until the next one.
            let _ = self.conn.execute_batch("PRAGMA shrink_memory");
            self.batch.shrink();
            self.tidy = true;
        }
        self.shared.allow(LONG_STEP);
        if self.migrate() {
            // An index build gives the pulse itself, and may leave much to be copied.
            self.shared.allow(LONG_STEP);
            self.checkpoints.after_commit(self.conn, false, &self.counters);
        }
        self.retain();
        self.checkpoints.idle(self.conn, self.idle_since, &self.counters);
    }

    /// A turn of what an older file needs; whether something was done.
    fn migrate(&mut self) -> bool {
        let context = migrate::Context {
            now_ms: self.clock.now_ms(),
            backlog: self.cap > CAP,
            shared: &self.shared,
            counters: &self.counters,
        };
        let done = self.migration.turn(&mut self.book, &context);
        self.tidy &= !done;
        done
    }
}

/// A panic becomes a fault of the record at hand.
pub(super) fn guarded(work: impl FnOnce() -> Result<(), Fault>) -> Result<(), Fault> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|p| Err(Fault::of_panic(&*p)))
}
