//! The thread that owns the spool's file.

use super::file::{File, FileError};
use super::open::open;
use super::queue::{Changed, Queue, Work};
use super::shared::{Asked, Shared};
use super::update::{Known, update};
use super::{Depth, Lane, Plan, Read, SYNC_EVERY};
use crate::clock::Trust;

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What waits in memory while the file cannot be written, in bytes, shared out among the lanes.
const ROOM: u64 = 4 << 20;

/// No lane has less: one message of the largest size.
const LEAST_ROOM: u64 = 512 << 10;

/// How often the keeper looks while something is in memory.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How often the file is searched for what has grown too old.
const AGE_EVERY: Duration = Duration::from_secs(1);

/// How long it waits after a failure before it writes again.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// How often a file that cannot be written is spoken of.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// The running keeper.
#[derive(Debug)]
pub(in crate::bridge) struct Keeper {
    thread: JoinHandle<()>,
    shared: Arc<Shared>,
}

impl Keeper {
    /// Opens the file and starts the thread; the lanes come in the order of the plan.
    ///
    /// A file that cannot be read is moved aside, and a new one is begun: what cannot be passed on
    /// must not keep the rest from it.
    ///
    /// # Errors
    /// [`FileError`]: no file at all can be had there.
    pub(in crate::bridge) fn start(
        plan: Plan,
        trust: Trust,
    ) -> Result<(Self, Vec<Lane>), FileError> {
        let (file, kept) = open(&plan, &trust)?;
        let count = plan.lanes.len();
        let room = (ROOM / count.max(1) as u64).max(LEAST_ROOM);
        let now_ms = trust.said_ms();
        let queues =
            plan.lanes.into_iter().zip(kept).map(|(l, k)| Queue::new(l, k, room, now_ms)).collect();
        let shared = Arc::new(Shared::new(queues));
        let lanes = (0..count).map(|number| Lane { number, shared: Arc::clone(&shared) }).collect();
        let work = Writing {
            file,
            trust,
            shared: Arc::clone(&shared),
            said: None,
            aged: None,
            unsynced: None,
            not_before: None,
        };
        let thread = std::thread::Builder::new()
            .name("spool".into())
            .spawn(move || work.run())
            .map_err(FileError::Thread)?;
        Ok((Self { thread, shared }, lanes))
    }

    /// What each lane has, in the order of the plan.
    pub(in crate::bridge) fn depths(&self) -> Vec<Depth> {
        self.shared.desk().queues.iter().map(Queue::depth).collect()
    }

    /// Writes everything and ends. Blocking.
    pub(in crate::bridge) fn finish(self) {
        self.shared.desk().ended = true;
        self.shared.bell.notify_one();
        // A panic has been logged by the panic hook.
        let _ = self.thread.join();
    }
}

/// The keeper's own.
struct Writing {
    file: File,
    trust: Trust,
    shared: Arc<Shared>,
    /// When trouble with the file was last spoken of.
    said: Option<Instant>,
    /// When the file was last searched for what is too old.
    aged: Option<Instant>,
    /// Since when there is something that the disk may not have for good.
    unsynced: Option<Instant>,
    /// After a failure.
    not_before: Option<Instant>,
}

/// When the keeper ends, however that is, whoever waits for an answer learns it.
struct Leaving(Arc<Shared>);

impl Drop for Leaving {
    fn drop(&mut self) {
        let mut desk = self.0.desk();
        desk.gone = true;
        desk.asked.clear();
    }
}

impl Writing {
    fn run(mut self) {
        let _leaving = Leaving(Arc::clone(&self.shared));
        loop {
            let (asked, ended) = self.wait();
            for asked in asked {
                self.answer(asked);
            }
            let now = Instant::now();
            if ended {
                // Batch by batch, and what cannot be written now cannot be written.
                while self.write(now, true) {}
                break;
            }
            if self.not_before.is_none_or(|at| at <= now) {
                self.write(now, false);
            }
        }
        self.file.close();
    }

    /// Waits until there is something to do.
    fn wait(&mut self) -> (VecDeque<Asked>, bool) {
        let shared = Arc::clone(&self.shared);
        let mut desk = shared.desk();
        loop {
            if !desk.asked.is_empty() || desk.ended {
                return (std::mem::take(&mut desk.asked), desk.ended);
            }
            let due = desk.queues.iter().filter_map(Queue::due).min();
            let stored = desk.queues.iter().any(Queue::has_stored);
            let aged = stored.then(|| self.aged.map_or_else(Instant::now, |at| at + AGE_EVERY));
            let synced = self.unsynced.map(|since| since + SYNC_EVERY);
            let Some(next) = [due, aged, synced].into_iter().flatten().min() else {
                desk.asleep = true;
                desk = shared.bell.wait(desk).unwrap_or_else(PoisonError::into_inner);
                desk.asleep = false;
                continue;
            };
            let now = Instant::now();
            let next = self.not_before.map_or(next, |at| next.max(at));
            if next <= now {
                return (VecDeque::new(), false);
            }
            // Something earlier may become due meanwhile.
            let most = next.duration_since(now).min(LOOK_EVERY);
            let waited = shared.bell.wait_timeout(desk, most);
            desk = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn answer(&mut self, asked: Asked) {
        match asked {
            Asked::Read { lane, after, limit, answer } => {
                let Some(read) = self.read(lane, after, limit) else { return };
                // An uplink that does not wait any more has ended.
                let _ = answer.send(read);
            }
            Asked::SetAside { lane, number, reason } => self.set_aside(lane, number, &reason),
        }
    }

    fn read(&mut self, lane: usize, after: u64, limit: usize) -> Option<Read> {
        let (id, upto) = {
            let desk = self.shared.desk();
            let queue = desk.queues.get(lane)?;
            (queue.id, queue.stored_last())
        };
        let mut entries = match self.file.next(id, after, limit) {
            Ok(entries) => entries,
            Err(error) => {
                self.say(&error);
                return Some(Read { entries: Vec::new(), upto: after });
            }
        };
        let upto = entries.last().map_or(upto, |entry| entry.number);
        self.shared.desk().queues.get(lane)?.living(&mut entries);
        Some(Read { entries, upto })
    }

    fn set_aside(&mut self, lane: usize, number: u64, reason: &str) {
        let (name, id, fresh) = {
            let desk = self.shared.desk();
            let Some(queue) = desk.queues.get(lane) else { return };
            (queue.name.clone(), queue.id, queue.fresh(number))
        };
        let stored = || self.file.next(id, number.saturating_sub(1), 1).unwrap_or_default();
        let found = fresh.or_else(|| stored().into_iter().find(|it| it.number == number));
        let Some(entry) = found else { return };
        let kept = self.file.change(true).and_then(|change| {
            change.keep_aside(&name, &entry, reason)?;
            change.commit()
        });
        if let Err(error) = kept {
            tracing::warn!("a message set aside is not kept: {error}");
        }
        self.shared.with(lane, |queue| queue.was_set_aside(number, Instant::now()));
    }

    /// Brings the file up to date. True: there was more than one batch holds.
    fn write(&mut self, now: Instant, all: bool) -> bool {
        let (works, lanes) = {
            let mut desk = self.shared.desk();
            let works: Vec<Work> = desk.queues.iter_mut().map(|q| q.work(now, all)).collect();
            let of = |q: &Queue| Known { id: q.id, bounds: q.bounds, stored: q.stored() };
            (works, desk.queues.iter().map(of).collect::<Vec<_>>())
        };
        let ages = self.aged.is_none_or(|at| at + AGE_EVERY <= now)
            && lanes.iter().any(|lane| lane.stored.messages > 0);
        let sync = all || self.unsynced.is_some_and(|since| since + SYNC_EVERY <= now);
        let idle = works.iter().all(Work::is_empty);
        if idle && !ages && !(sync && self.unsynced.is_some()) {
            return false;
        }
        let before_ms = ages.then(|| self.trust.now_ms().ok()).flatten();
        let updated = update(&mut self.file, &works, &lanes, before_ms, sync);
        match updated {
            Ok(changes) => {
                self.written(&works, &changes, (now, ages, sync));
                !idle
            }
            Err(error) => {
                self.failed(&error, now);
                false
            }
        }
    }

    fn written(
        &mut self,
        works: &[Work],
        changes: &[Changed],
        (now, ages, sync): (Instant, bool, bool),
    ) {
        let changed = works.iter().any(|work| !work.is_empty());
        self.unsynced = match (sync, changed) {
            (true, _) => None,
            (false, true) => self.unsynced.or(Some(now)),
            (false, false) => self.unsynced,
        };
        if ages {
            self.aged = Some(now);
        }
        (self.said, self.not_before) = (None, None);
        let emptied = {
            let mut desk = self.shared.desk();
            let waited = desk.queues.iter().any(Queue::has_stored);
            for (queue, (work, change)) in desk.queues.iter_mut().zip(works.iter().zip(changes)) {
                queue.apply(work, change);
            }
            waited && !desk.queues.iter().any(Queue::has_stored)
        };
        for (lane, work) in works.iter().enumerate() {
            if !work.remove.is_empty() {
                self.shared.wake(lane);
            }
        }
        if emptied {
            self.file.shrink();
        }
    }

    fn failed(&mut self, error: &rusqlite::Error, now: Instant) {
        self.not_before = Some(now + AFTER_FAILURE);
        self.shared.desk().queues.iter_mut().for_each(Queue::put_off);
        self.say(error);
    }

    /// Says what is wrong with the file, once a minute.
    fn say(&mut self, error: &rusqlite::Error) {
        let now = Instant::now();
        if self.said.is_none_or(|at| now.duration_since(at) >= SAY_EVERY) {
            self.said = Some(now);
            tracing::error!(
                "the spool cannot be used ({error}); what waits stays in memory, up to {} MiB \
                 for all uplinks together, and what does not fit is lost",
                ROOM >> 20
            );
        }
    }
}

#[cfg(test)]
mod tests;
