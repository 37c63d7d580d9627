//! The records of one transaction, kept until it is committed.

use super::Shared;
use crate::message::{Message, Outcome};
use crate::record::Record;

use std::collections::BTreeMap;
use std::time::Instant;

/// Records on their way into the database, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Batch {
    records: Vec<Record>,
    refused: BTreeMap<usize, String>,
    due: Option<Instant>,
}

impl Batch {
    /// Begins a batch that is committed at `due` at the latest.
    pub(super) fn start(&mut self, due: Instant) {
        self.due = Some(due);
    }

    /// Somebody waits: it is committed at `due` at the latest.
    pub(super) fn hurry(&mut self, due: Instant) {
        self.due = Some(self.due.map_or(due, |old| old.min(due)));
    }

    /// When it is to be committed.
    pub(super) fn due(&self) -> Instant {
        self.due.unwrap_or_else(Instant::now)
    }

    pub(super) fn push(&mut self, record: Record) {
        self.records.push(record);
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Marks a record as one that cannot be stored.
    pub(super) fn refuse(&mut self, n: usize, reason: String) {
        self.refused.insert(n, reason);
    }

    /// Why this record cannot be stored.
    pub(super) fn refused(&self, n: usize) -> Option<&str> {
        self.refused.get(&n).map(String::as_str)
    }

    /// How many cannot be stored.
    pub(super) fn refusals(&self) -> usize {
        self.refused.len()
    }

    /// Ends every record after the commit: its receipt says how it ended, its place is given back.
    /// Returns the reasons of those that were refused.
    pub(super) fn end(&mut self, shared: &Shared) -> Vec<String> {
        let refused = std::mem::take(&mut self.refused);
        for (n, record) in self.records.drain(..).enumerate() {
            shared.ended(&record);
            let Record { message, .. } = record;
            let Message { receipt, place, .. } = message;
            let bad = refused.contains_key(&n);
            receipt.complete(if bad { Outcome::Refused } else { Outcome::Stored });
            drop(place);
        }
        self.due = None;
        refused.into_values().collect()
    }

    /// Gives back the memory of a large batch.
    pub(super) fn shrink(&mut self) {
        self.records.shrink_to_fit();
    }
}
