//! The thread that owns the spool's file.

use super::file::{File, FileError, Stored};
use super::{Bounds, COMMANDS, Command, Depth, Entry, Lane, OVERHEAD, Plan, WRITE_AFTER};
use crate::clock::Clock;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// What waits in memory while the file cannot be written, in bytes and for each lane; the oldest
/// goes first.
const FRESH_BYTES: u64 = 4 << 20;

/// What waits for an uplink that is configured no more is kept so long: it may come back.
const ORPHAN_AGE_MS: i64 = 7 * 86_400_000;

/// How often a file that cannot be written is spoken of.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// The running keeper. It ends, with everything written, when every [`Lane`] is dropped.
#[derive(Debug)]
pub(in crate::bridge) struct Keeper {
    thread: JoinHandle<()>,
    depths: Arc<Mutex<Vec<Depth>>>,
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
        clock: Clock,
    ) -> Result<(Self, Vec<Lane>), FileError> {
        let (file, kept) = open(&plan, &clock)?;
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let count = plan.lanes.len();
        let lanes = (0..count).map(|number| Lane { number, commands: commands.clone() }).collect();
        // Of its own: the thread is blocked by the disk again and again.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(FileError::Thread)?;
        let work = Work {
            file,
            lanes: plan.lanes.into_iter().zip(kept).map(Queue::new).collect(),
            clock,
            depths: Arc::new(Mutex::new(vec![Depth::default(); count])),
            said: None,
        };
        work.show();
        let depths = Arc::clone(&work.depths);
        let thread = std::thread::Builder::new()
            .name("spool".into())
            .spawn(move || runtime.block_on(work.run(inbox)))
            .map_err(FileError::Thread)?;
        Ok((Self { thread, depths }, lanes))
    }

    /// What each lane has, in the order of the plan.
    pub(in crate::bridge) fn depths(&self) -> Vec<Depth> {
        lock(&self.depths).clone()
    }

    /// Waits until everything is written; every lane must be dropped before. Blocking.
    pub(in crate::bridge) fn join(self) {
        // A panic has been logged by the panic hook.
        let _ = self.thread.join();
    }
}

/// Opens the file and reads what each lane has.
fn open(plan: &Plan, clock: &Clock) -> Result<(File, Vec<(i64, Stored)>), FileError> {
    let read = |path: &Path| {
        let file = File::open(path)?;
        let kept: rusqlite::Result<Vec<_>> =
            plan.lanes.iter().map(|(name, _)| file.lane(name)).collect();
        let unusable = |source| FileError::Unusable { path: path.to_owned(), source };
        Ok((file, kept.map_err(unusable)?))
    };
    let opened = match read(&plan.path) {
        Err(FileError::Unusable { source, .. }) if is_damaged(&source) => {
            let aside = beside(&plan.path, clock.now_ms());
            tracing::error!(
                "the spool {} is damaged ({source}); it is moved to {}, and what waited in it is \
                 not passed on",
                plan.path.display(),
                aside.display()
            );
            let moved = std::fs::rename(&plan.path, &aside);
            for ending in ["-wal", "-shm"] {
                let mut name = plan.path.clone().into_os_string();
                name.push(ending);
                // Without its database it means nothing, and would spoil the new one.
                let _ = std::fs::remove_file(name);
            }
            let unmoved = |reason| FileError::Unmoved { path: plan.path.clone(), reason };
            moved.map_err(unmoved)?;
            read(&plan.path)
        }
        other => other,
    };
    let (file, kept) = opened?;
    let ids: Vec<i64> = kept.iter().map(|(id, _)| *id).collect();
    match file.forget_orphans(&ids, clock.now_ms().saturating_sub(ORPHAN_AGE_MS)) {
        Ok(0) => {}
        Ok(gone) => tracing::info!("forgot {gone} messages of uplinks that are configured no more"),
        Err(error) => tracing::warn!("old messages of former uplinks stay in the spool: {error}"),
    }
    Ok((file, kept))
}

fn is_damaged(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

fn beside(path: &Path, now_ms: i64) -> PathBuf {
    let mut name = path.to_path_buf().into_os_string();
    name.push(format!(".damaged-{now_ms}"));
    name.into()
}

/// One lane as the keeper has it.
struct Queue {
    name: String,
    bounds: Bounds,
    id: i64,
    stored: Stored,
    /// Not in the file, by number; all above what is stored.
    fresh: BTreeMap<u64, Fresh>,
    fresh_bytes: u64,
    /// Acknowledged, and still in the file.
    done: Vec<u64>,
    last: u64,
    expired: u64,
    set_aside: u64,
}

struct Fresh {
    entry: Entry,
    since: Instant,
}

impl Queue {
    fn new(((name, bounds), (id, stored)): ((String, Bounds), (i64, Stored))) -> Self {
        let (fresh, done) = (BTreeMap::new(), Vec::new());
        let last = stored.last;
        Self {
            name,
            bounds,
            id,
            stored,
            fresh,
            fresh_bytes: 0,
            done,
            last,
            expired: 0,
            set_aside: 0,
        }
    }

    fn append(&mut self, mut entry: Entry, now: Instant) {
        self.last += 1;
        entry.number = self.last;
        self.fresh_bytes += cost(&entry);
        self.fresh.insert(self.last, Fresh { entry, since: now });
        while self.fresh_bytes > FRESH_BYTES {
            let Some((_, oldest)) = self.fresh.pop_first() else { break };
            self.fresh_bytes -= cost(&oldest.entry);
            self.expired += 1;
        }
    }

    fn done(&mut self, numbers: Vec<u64>) {
        for number in numbers {
            match self.fresh.remove(&number) {
                Some(fresh) => self.fresh_bytes -= cost(&fresh.entry),
                None => self.done.push(number),
            }
        }
    }

    /// The next messages: those in the file come before those in memory.
    fn next(&self, file: &File, after: u64, limit: usize) -> rusqlite::Result<Vec<Entry>> {
        let mut from = after;
        while self.stored.messages > 0 && from < self.stored.last {
            let mut entries = file.next(self.id, from, limit)?;
            let Some(last) = entries.last() else { break };
            from = last.number;
            entries.retain(|entry| !self.done.contains(&entry.number));
            if !entries.is_empty() {
                return Ok(entries);
            }
        }
        let rest = self.fresh.range(after.saturating_add(1)..).take(limit);
        Ok(rest.map(|(_, fresh)| fresh.entry.clone()).collect())
    }

    fn depth(&self) -> Depth {
        Depth {
            messages: (self.stored.messages + self.fresh.len() as u64)
                .saturating_sub(self.done.len() as u64),
            bytes: self.stored.bytes + self.fresh_bytes,
            expired: self.expired,
            set_aside: self.set_aside,
        }
    }

    fn has_work(&self, now: Instant, all: bool) -> bool {
        let old = |fresh: &Fresh| all || now.duration_since(fresh.since) >= WRITE_AFTER;
        // What is in the file may have grown too old.
        let waits = self.stored.messages > 0 || !self.done.is_empty();
        waits || self.fresh.values().next().is_some_and(old)
    }
}

fn cost(entry: &Entry) -> u64 {
    (entry.topic.len() + entry.payload.len()) as u64 + OVERHEAD
}

struct Work {
    file: File,
    lanes: Vec<Queue>,
    clock: Clock,
    depths: Arc<Mutex<Vec<Depth>>>,
    /// When trouble with the file was last spoken of.
    said: Option<Instant>,
}

impl Work {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let mut due = Instant::now() + WRITE_AFTER;
        loop {
            match tokio::time::timeout_at(due, inbox.recv()).await {
                Ok(Some(command)) => self.obey(command),
                Ok(None) => break,
                Err(_) => {}
            }
            let now = Instant::now();
            if now >= due {
                self.write(now, false);
                due = now + WRITE_AFTER;
            }
            self.show();
        }
        self.write(Instant::now(), true);
        self.file.close();
    }

    fn obey(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Append { lane, entry } => {
                if let Some(queue) = self.lanes.get_mut(lane) {
                    queue.append(entry, now);
                }
            }
            Command::Done { lane, numbers } => {
                if let Some(queue) = self.lanes.get_mut(lane) {
                    queue.done(numbers);
                }
            }
            Command::Next { lane, after, limit, answer } => {
                let Some(queue) = self.lanes.get(lane) else { return };
                let entries = queue.next(&self.file, after, limit).unwrap_or_else(|error| {
                    tracing::warn!("reading the spool: {error}");
                    Vec::new()
                });
                // An uplink that does not wait any more has ended.
                let _ = answer.send(entries);
            }
            Command::SetAside { lane, number, reason } => self.set_aside(lane, number, &reason),
        }
    }

    fn set_aside(&mut self, lane: usize, number: u64, reason: &str) {
        let Some(queue) = self.lanes.get_mut(lane) else { return };
        let found = match queue.fresh.get(&number) {
            Some(fresh) => Some(fresh.entry.clone()),
            None => queue
                .next(&self.file, number.saturating_sub(1), 1)
                .ok()
                .and_then(|entries| entries.into_iter().find(|entry| entry.number == number)),
        };
        let Some(entry) = found else { return };
        let kept = self.file.change().and_then(|change| {
            change.keep_aside(&queue.name, &entry, reason)?;
            change.commit()
        });
        if let Err(error) = kept {
            tracing::warn!("a message set aside is not kept: {error}");
        }
        queue.set_aside += 1;
        queue.done(vec![number]);
    }

    /// Brings the file up to date; what cannot be written now is tried again in a second.
    fn write(&mut self, now: Instant, all: bool) {
        let now_ms = self.clock.now_ms();
        if !self.lanes.iter().any(|q| q.has_work(now, all)) {
            return;
        }
        match update(&mut self.file, &self.lanes, (now, now_ms), all) {
            Ok(changes) => {
                let waited = self.lanes.iter().any(|q| q.stored.messages > 0);
                for (queue, change) in self.lanes.iter_mut().zip(changes) {
                    queue.apply(change);
                }
                self.said = None;
                if waited && self.lanes.iter().all(|q| q.stored.messages == 0) {
                    self.file.shrink();
                }
            }
            Err(error) if self.said.is_none_or(|at| now.duration_since(at) >= SAY_EVERY) => {
                self.said = Some(now);
                tracing::error!(
                    "the spool cannot be written ({error}); what waits stays in memory, up to \
                     {FRESH_BYTES} bytes an uplink"
                );
            }
            Err(_) => {}
        }
    }

    fn show(&self) {
        let depths = self.lanes.iter().map(Queue::depth);
        lock(&self.depths).splice(.., depths);
    }
}

impl Queue {
    fn apply(&mut self, change: Changed) {
        for number in change.written {
            if let Some(fresh) = self.fresh.remove(&number) {
                self.fresh_bytes -= cost(&fresh.entry);
            }
        }
        self.done.clear();
        self.stored = change.stored;
        self.expired += change.expired;
    }
}

/// What a transaction did to a lane; to be applied once it is committed.
struct Changed {
    written: Vec<u64>,
    stored: Stored,
    expired: u64,
}

/// One transaction for all lanes.
fn update(
    file: &mut File,
    lanes: &[Queue],
    (now, now_ms): (Instant, i64),
    all: bool,
) -> rusqlite::Result<Vec<Changed>> {
    let change = file.change()?;
    let mut changes = Vec::new();
    for queue in lanes {
        let mut stored = queue.stored;
        let mut take = |left: super::file::Left| {
            stored.messages = stored.messages.saturating_sub(1);
            stored.bytes = stored.bytes.saturating_sub(left.bytes);
        };
        for number in &queue.done {
            change.remove(queue.id, *number)?.map(&mut take);
        }
        let mut written = Vec::new();
        let old = |f: &&Fresh| all || now.duration_since(f.since) >= WRITE_AFTER;
        for fresh in queue.fresh.values().take_while(old) {
            change.insert(queue.id, &fresh.entry)?;
            stored.messages += 1;
            stored.bytes += cost(&fresh.entry);
            stored.last = fresh.entry.number;
            written.push(fresh.entry.number);
        }
        let age = i64::try_from(queue.bounds.age.as_millis()).unwrap_or(i64::MAX);
        let before = now_ms.saturating_sub(age);
        let mut expired = 0;
        loop {
            let over = stored.bytes > queue.bounds.bytes;
            let left = change.remove_oldest(queue.id, (!over).then_some(before))?;
            let Some(left) = left else { break };
            stored.messages = stored.messages.saturating_sub(1);
            stored.bytes = stored.bytes.saturating_sub(left.bytes);
            expired += 1;
        }
        changes.push(Changed { written, stored, expired });
    }
    change.commit()?;
    Ok(changes)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
