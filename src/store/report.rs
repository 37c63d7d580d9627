//! What the writer tells: receipts and counters after a commit, and the trouble before one.

use super::fault::Fault;
use super::writer::{BACKLOG, CAP, CAP_BACKLOG, Scribe};
use crate::message::{Origin, OriginKind};

use std::sync::Arc;
use std::time::{Duration, Instant};

/// A trouble that lasts is logged this often.
const SAY_EVERY: Duration = Duration::from_secs(60);

impl Scribe<'_> {
    /// After the commit: the counters, the receipts, the places.
    pub(super) fn committed(&mut self) {
        let took = u64::try_from(self.commit_took.as_millis()).unwrap_or(u64::MAX);
        let now_ms = self.clock.now_ms();
        let records = self.batch.len();
        self.note_sources(now_ms);
        self.count(records as u64, took, now_ms);
        // The live feed is published from here, before the receipts end: from `self.batch.records()`
        // of those that were not refused.
        let refused = self.batch.end(&self.shared);
        for reason in refused {
            if let Some(times) = self.counters.reasons.note("record_refused", now_ms) {
                tracing::warn!("{times} records could not be stored, the last one: {reason}");
            }
        }
        self.cap = if records >= self.cap { (self.cap * 2).min(CAP_BACKLOG) } else { CAP };
        self.idle_since = Instant::now();
        self.tidy &= records < BACKLOG;
    }

    /// Whose messages were committed now.
    fn note_sources(&self, now_ms: i64) {
        let mut noted: Vec<&Arc<str>> = Vec::new();
        for (n, record) in self.batch.records().iter().enumerate() {
            let Origin { kind: OriginKind::Source, name } = &record.message.origin else {
                continue;
            };
            // Few sources, and runs of one: the last one noted is first.
            let known = noted.iter().rev().any(|it| Arc::ptr_eq(it, name));
            if !known && self.batch.refused(n).is_none() {
                noted.push(name);
                self.counters.source(name, |s| s.last_commit_ms = Some(now_ms));
            }
        }
    }

    fn count(&mut self, records: u64, took_ms: u64, now_ms: i64) {
        let (counters, counts) = (&self.counters, self.book.counts);
        counters.tx_inserted.add(counts.tx_inserted);
        counters.tx_dupes.add(counts.tx_dupes);
        counters.obs_inserted.add(counts.obs_inserted);
        counters.node_upserts.add(counts.node_upserts);
        counters.observer_upserts.add(counts.observer_upserts);
        counters.sig_drops.add(counts.sig_drops);
        counters.records_refused.add(self.batch.refusals() as u64);
        counters.commits.increment();
        counters.writer(|w| {
            w.last_commit_ms = Some(now_ms);
            w.last_batch = records;
            w.last_commit_took_ms = took_ms;
            if let Some(trouble) = w.trouble.take() {
                tracing::info!("the database takes records again; it was: {trouble}");
            }
        });
        // Last: who waits for this number finds the others up to date.
        counters.records_committed.add(records);
        self.last_said = None;
    }

    pub(super) fn trouble(&mut self, fault: &Fault) {
        let words = fault.words();
        let (waiting, _) = self.shared.held();
        self.counters.writer(|w| w.trouble = Some(words.to_owned()));
        if self.last_said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
            self.last_said = Some(Instant::now());
            tracing::warn!("the database takes nothing: {words}; {waiting} records wait for it");
        }
    }
}
