//! What takes time in an older CoreScope file, done between the writer's batches while messages are
//! received and acknowledged: rows are filled, duplicates merged, indexes built.
//!
//! `upgrade` has added the tables, columns and the view when the file was opened. What is left is a
//! list of [`Step`]s, made from what the file lacks (`plan`), so that a crash at any point only
//! means that the list is made again: the work of each slice is committed with what says that it is
//! done. A slice writes at most 250 rows or takes some 15 ms; the writer gives at most half of its
//! time to them. An index is built in one go: meanwhile what is received waits in the queue. A stop
//! interrupts it, and it is built at the next start.
//!
//! What CoreScope of July 2026 does to an older file, by the name in `_migrations`, and what becomes
//! of it here. The names are recorded together when every step is done: a CoreScope that opens the
//! file before then does the rest itself, and one that opens it afterwards finds nothing to do.
//!
//! | name | here |
//! |---|---|
//! | `node_telemetry_v1`, `observer_metrics_v1`, `observers_inactive_v1`, `observer_metrics_packets_v1`, `dropped_packets_v1`, `observers_clock_naive_v1`, `scope_name_v1`, `nodes_default_scope_v1`, `observations_raw_hex_v1` | tables and columns: when the file is opened |
//! | `obs_timestamp_index_v1`, `observer_metrics_ts_idx`, `foreign_advert_v1`, `from_pubkey_v1`, `obs_observer_ts_idx_v1` (both tables of names), and the indexes without a name | [`Step::Index`], one at a time |
//! | `tx_last_seen_backfill_v1` (`_async_migrations`), `channel_hash_v1`, the keys of `from_pubkey` | [`Step::Fill`]: one walk for the three columns, over the rows whose `last_seen` is 0 |
//! | `channel_hash_casing_v1` | [`Step::Casing`] |
//! | `observers_last_packet_at_v1` | [`Step::LastPackets`] |
//! | `advert_count_unique_v1` | [`Step::Adverts`], where the name is missing (it is older than April) |
//! | node keys in lower case (#1483, no name) | [`Step::Keys`]; two rows of one node become one |
//! | the full index on `last_seen` (#1740) | [`Step::Drop`] |
//! | `noise_floor_real_v1` | nothing to do: the column is REAL, which stores no integers |
//! | `backfill_path_json_from_raw_hex_v1`, `backfill_default_scope_v1` | recorded when the columns are added, for then no row has anything to go by; otherwise left to CoreScope |
//! | `cleanup_legacy_null_hash_ts` | recorded where no such row is there; otherwise left to CoreScope, for it deletes packets |
//! | `neighbor_edges`, `resolved_path`, `scope_name`, `foreign_advert` of old rows | stay empty, as in CoreScope |
//!
//! An index that makes observations unique is missing in files whose table is older than it. Their
//! duplicates become one, as if they had come under the index: the first row stays, and has the last
//! SNR, RSSI, score, bytes and path that is known ([`Step::Merge`]). Observations without an observer
//! are no duplicates, to the index neither.

mod fill;
mod index;
mod merge;
mod nodes;
mod plan;
mod slice;
#[cfg(test)]
mod tests;

pub(super) use self::plan::{Plan, Step, plan};
use self::slice::{Budget, Walk};
use super::Shared;
use super::book::Book;
use super::fault::Fault;
use crate::counters::{Counters, MigrationState};

use rusqlite::Connection;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The migration of one file: its steps, and how far it is.
#[derive(Debug)]
pub(super) struct Migration {
    todo: VecDeque<Step>,
    /// The first step cannot wait: without it every observation costs a scan of the table.
    urgent: bool,
    /// The step that is on; `None` before its first slice.
    walk: Option<Walk>,
    /// Rows that it wrote.
    rows: u64,
    step_since: Instant,
    said: Instant,
    /// When the first step began, and by the clock.
    since: Option<(Instant, i64)>,
    not_before: Instant,
}

/// What a turn needs of the writer.
pub(super) struct Context<'a> {
    pub(super) now_ms: i64,
    /// More is waiting than one batch takes.
    pub(super) backlog: bool,
    pub(super) shared: &'a Arc<Shared>,
    pub(super) counters: &'a Counters,
}

/// The progress of a step is logged this often.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// After so long without work it looks whether there is some: an ingestor of April may have written.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);

/// The shortest wait after an index could not be built.
const RARELY: Duration = Duration::from_secs(60);

/// The wait after a failure.
const PAUSE: Duration = Duration::from_secs(2);

/// So long an index waits for a backlog to be written first.
const YIELD: Duration = Duration::from_secs(60);

/// The least wait between two slices.
const BREATH: Duration = Duration::from_millis(2);

impl Migration {
    pub(super) fn new(plan: Plan) -> Self {
        let now = Instant::now();
        let not_before = if plan.steps.is_empty() { now + LOOK_EVERY } else { now };
        Self {
            todo: plan.steps.into(),
            urgent: plan.urgent,
            walk: None,
            rows: 0,
            step_since: now,
            said: now,
            since: None,
            not_before,
        }
    }

    /// Whether the first step must come before the first batch.
    pub(super) fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// How long the writer may wait for a record before the next turn.
    pub(super) fn patience(&self) -> Duration {
        if self.todo.is_empty() {
            return Duration::MAX;
        }
        self.not_before.saturating_duration_since(Instant::now()).max(BREATH)
    }

    /// Whether the file is as a fresh one.
    pub(super) fn is_done(&self) -> bool {
        self.todo.is_empty()
    }

    /// Does a slice of what is to be done, if it is time to. Returns whether it did.
    pub(super) fn turn(&mut self, book: &mut Book<'_>, context: &Context<'_>) -> bool {
        let began = Instant::now();
        if began < self.not_before || context.shared.is_stopping() {
            return false;
        }
        let Some(step) = self.todo.front().copied() else {
            self.look_again(book.conn, context);
            return false;
        };
        if step.is_index() && context.backlog && began < self.step_since + YIELD {
            return false;
        }
        let done = self.slice(step, book, context);
        // Half of the time is for records.
        self.not_before = Instant::now() + began.elapsed().clamp(BREATH, PAUSE);
        match done {
            Ok(true) => self.end(step, context),
            Ok(false) => self.tell(step, context),
            Err(_) if context.shared.is_stopping() || context.shared.abandoned() => {
                tracing::info!("{}: interrupted, to be done at the next start", step.words());
            }
            Err(Fault::Unacceptable(_)) if step == Step::Index(super::schema::DEDUP) => {
                tracing::info!("another program has added duplicates: they are merged again");
                self.todo.push_front(Step::Merge);
                self.walk = None;
            }
            Err(fault) => self.failed(step, &fault, began.elapsed(), context),
        }
        true
    }

    /// Whether the step is done.
    fn slice(
        &mut self,
        step: Step,
        book: &mut Book<'_>,
        context: &Context<'_>,
    ) -> Result<bool, Fault> {
        let conn = book.conn;
        if self.walk.is_none() {
            self.begin(step, conn, context)?;
        }
        let Some(walk) = &mut self.walk else { return Ok(false) };
        let budget = Budget::new();
        let slice = match step {
            Step::Index(name) => {
                index::build(conn, name, context.shared)?;
                book.dedup |= name == super::schema::DEDUP;
                return Ok(true);
            }
            Step::Fill => fill::slice(conn, walk, &budget)?,
            Step::Merge => merge::slice(conn, walk, &budget)?,
            Step::Keys => nodes::lower_keys(conn, walk, &budget)?,
            Step::Adverts => nodes::count_adverts(conn, walk, &budget)?,
            Step::Casing => slice::some(conn, fill::CASING, budget.left(0))?,
            Step::LastPackets => slice::all(conn, nodes::LAST_PACKETS)?,
            Step::Drop(name) => slice::all(conn, &format!("DROP INDEX IF EXISTS {name}"))?,
            Step::Names => plan::record(conn)?,
        };
        self.rows += slice.rows as u64;
        Ok(slice.ended)
    }

    fn begin(&mut self, step: Step, conn: &Connection, context: &Context<'_>) -> Result<(), Fault> {
        if self.since.is_none() {
            self.since = Some((Instant::now(), context.now_ms));
            let steps = self.todo.len();
            tracing::info!(
                "an older file: it is brought up to date in {steps} steps while messages are received"
            );
        }
        self.walk = Some(step.walk(conn)?);
        (self.rows, self.step_since, self.said) = (0, Instant::now(), Instant::now());
        self.tell(step, context);
        if step.is_index() {
            tracing::info!("{}: what is received waits meanwhile", step.words());
        }
        Ok(())
    }

    fn tell(&mut self, step: Step, context: &Context<'_>) {
        let (done, total) = self.walk.as_ref().map_or((0, 0), Walk::progress);
        let since_ms = self.since.map_or(context.now_ms, |(_, ms)| ms);
        let steps_left = self.todo.len() as u64;
        let state =
            MigrationState { step: step.words(), done, total, steps_left, since_ms, trouble: None };
        context.counters.writer(|w| w.migration = Some(state));
        if self.said.elapsed() >= SAY_EVERY {
            self.said = Instant::now();
            tracing::info!("{}: {done} of {total}, {} rows changed", step.words(), self.rows);
        }
    }

    fn end(&mut self, step: Step, context: &Context<'_>) {
        let took = self.step_since.elapsed().as_secs_f64();
        match self.rows {
            0 => tracing::info!("{}: done in {took:.1} s", step.words()),
            rows => tracing::info!("{}: {rows} rows in {took:.1} s", step.words()),
        }
        self.todo.pop_front();
        (self.walk, self.urgent, self.step_since) = (None, false, Instant::now());
        if let Some(next) = self.todo.front() {
            return self.tell(*next, context);
        }
        let took = self.since.take().map_or(0.0, |(since, _)| since.elapsed().as_secs_f64());
        tracing::info!("the file is up to date, after {took:.1} s");
        context.counters.writer(|w| w.migration = None);
        self.rest();
    }

    /// Nothing is to be done for now.
    fn rest(&mut self) {
        self.not_before = Instant::now() + LOOK_EVERY;
    }

    fn look_again(&mut self, conn: &Connection, context: &Context<'_>) {
        self.rest();
        match plan(conn) {
            Ok(plan) if plan.steps.is_empty() => {}
            Ok(plan) => (self.todo, self.not_before) = (plan.steps.into(), Instant::now()),
            Err(error) => self.failed(Step::Names, &error.into(), Duration::ZERO, context),
        }
    }

    fn failed(&mut self, step: Step, fault: &Fault, took: Duration, context: &Context<'_>) {
        let pause = match fault {
            // An index that found no room has filled the disk for so long.
            Fault::Trouble(_) if step.is_index() => (took * 10).clamp(RARELY, LOOK_EVERY),
            Fault::Trouble(_) => PAUSE,
            // What a row makes impossible will be no different soon.
            Fault::Unacceptable(_) => LOOK_EVERY,
        };
        self.not_before = Instant::now() + pause;
        context.counters.writer(|writer| {
            if let Some(migration) = &mut writer.migration {
                migration.trouble = Some(fault.words().to_owned());
            }
        });
        self.urgent = false;
        context.counters.write_errors.increment();
        if let Some(times) = context.counters.reasons.note("migration_failed", context.now_ms) {
            let words = fault.words();
            tracing::warn!("{}: {words} ({times} times); it is tried again", step.words());
        }
    }
}

/// The first thing that the health snapshot tells of a file with such a plan.
pub(super) fn state(plan: &Plan, now_ms: i64) -> Option<MigrationState> {
    let step = plan.steps.first()?.words();
    let steps_left = plan.steps.len() as u64;
    Some(MigrationState { step, steps_left, since_ms: now_ms, ..MigrationState::default() })
}
