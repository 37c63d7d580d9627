//! Writing records into a transaction: what each means for each table, and what is remembered so
//! that the hot path reads nothing.

use super::Options;
use super::fault::Fault;
use super::neighbours::Neighbours;
use super::packet::{self, Transmission};
use super::recent::Recent;
use super::stamp::Stamps;
use super::statements::Statements;
use super::tally::{Counts, ObserverTally, Tally, note_origin};
use crate::message::Message;
use crate::record::{Activity, Body, DroppedRow, ObserverRow, Record};

use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;
use std::hash::RandomState;

/// The one that writes: statements, what is remembered of the tables, and the sums of the batch.
#[derive(Debug)]
pub(super) struct Book<'c> {
    pub(super) conn: &'c Connection,
    pub(super) sql: Statements<'c>,
    /// Whether the index is there that makes an observation unique.
    pub(super) dedup: bool,
    /// Seconds of one sample of an observer's metrics.
    sample_every: i64,
    data_version: Option<i64>,
    pub(super) transmissions: Recent<u64, Transmission>,
    observers: Recent<String, Observer>,
    /// Keys that are not in upper case in `observers`, by their upper case; read when first needed.
    odd: Option<HashMap<String, Observer>>,
    pub(super) fingerprints: RandomState,
    pub(super) neighbours: Neighbours,
    pub(super) stamps: Stamps,
    pub(super) tally: Tally,
    /// What the open transaction did so far.
    pub(super) counts: Counts,
}

/// What is remembered of an observer.
#[derive(Clone, Debug)]
struct Observer {
    rowid: i64,
    /// The row's own spelling, where it differs from ours in case.
    spelled: Option<String>,
}

/// Transmissions remembered. A packet is heard again within minutes; at 100 new ones a second this
/// is eight minutes, in at most 5 MB.
const TRANSMISSIONS: usize = 50_000;

/// Observers remembered; a large region has a few hundred.
const OBSERVERS: usize = 4_096;

/// Rows kept in `meshbox_refused`, and the most of topic and payload that each keeps, in bytes.
const REFUSED_ROWS: i64 = 10_000;
const REFUSED_BYTES: usize = 1_024;

/// Rows kept in `dropped_packets`.
const DROPPED_ROWS: i64 = 100_000;

/// The most rows that are trimmed for one that is added: an older file may be far over.
const TRIM: i64 = 4;

impl<'c> Book<'c> {
    pub(super) fn new(
        conn: &'c Connection,
        dedup: bool,
        options: &Options,
    ) -> rusqlite::Result<Self> {
        Ok(Self {
            conn,
            sql: Statements::prepare(conn)?,
            dedup,
            sample_every: i64::try_from(options.sample_interval.as_secs()).unwrap_or(i64::MAX),
            data_version: None,
            transmissions: Recent::new(TRANSMISSIONS),
            observers: Recent::new(OBSERVERS),
            odd: None,
            fingerprints: RandomState::new(),
            neighbours: Neighbours::load(conn, &options.retention)?,
            stamps: Stamps::default(),
            tally: Tally::default(),
            counts: Counts::default(),
        })
    }

    /// Opens a transaction; what is remembered is forgotten if another connection has committed
    /// since the last one.
    pub(super) fn begin(&mut self) -> Result<(), Fault> {
        self.tally.clear();
        self.counts = Counts::default();
        self.conn.execute_batch("BEGIN IMMEDIATE")?;
        #[cfg(test)]
        super::faults::limit_pages(self.conn);
        let version = Some(self.sql.data_version.query_row([], |row| row.get(0))?);
        if self.data_version != version {
            self.forget();
            self.data_version = version;
        }
        Ok(())
    }

    /// Writes a record; what it adds to observers and nodes waits for [`Book::settle`].
    pub(super) fn write(&mut self, record: &Record) -> Result<(), Fault> {
        #[cfg(test)]
        super::faults::perhaps_panic(record);
        let observer = record.observer.as_ref().filter(|o| !o.id.is_empty());
        match &record.body {
            Body::Packet(row) => {
                let rowid = self.observer(observer, &record.message)?;
                let observer = rowid.zip(observer.map(|o| o.id.as_str()));
                self.packet(row, observer, record.message.received_at_ms)
            }
            Body::Status(row) => {
                let at_ms = record.message.received_at_ms;
                let rowid = self.observer(observer, &record.message)?;
                let live = observer.is_some_and(|o| o.activity != Activity::None);
                let sampled = live.then_some(self.sample_every);
                if let Some(tally) = rowid.and_then(|id| self.tally.observers.get_mut(&id)) {
                    tally.spoke(row, at_ms, sampled);
                }
                Ok(())
            }
            Body::Dropped(row) => self.dropped(row, observer, &record.message),
        }
    }

    /// Writes the sums of everything since the last call. Times of before that are later than
    /// `latest_ms` are brought back to it.
    pub(super) fn settle(&mut self, latest_ms: i64) -> Result<(), Fault> {
        self.tally.write(&mut self.sql, latest_ms, &mut self.counts)?;
        self.tally.clear();
        Ok(())
    }

    pub(super) fn commit(&mut self) -> Result<(), Fault> {
        self.conn.execute_batch("COMMIT")?;
        Ok(())
    }

    /// Ends the transaction, if there is one, and forgets what is remembered: it may never have
    /// been.
    pub(super) fn roll_back(&mut self) {
        self.forget();
        self.tally.clear();
        if self.in_transaction() {
            // A rollback that fails leaves the transaction open; the next BEGIN then fails and
            // brings us here again.
            if let Err(error) = self.conn.execute_batch("ROLLBACK") {
                tracing::warn!("the transaction could not be rolled back: {error}");
            }
        }
    }

    pub(super) fn in_transaction(&self) -> bool {
        !self.conn.is_autocommit()
    }

    /// Runs statements about savepoints.
    pub(super) fn run(&mut self, statements: &str) -> Result<(), Fault> {
        self.conn.execute_batch(statements)?;
        Ok(())
    }

    /// Forgets what is remembered of the tables, and the sums that lean on it.
    pub(super) fn forget(&mut self) {
        self.transmissions.clear();
        self.observers.clear();
        self.odd = None;
        self.tally.clear();
    }

    /// Forgets a transmission whose row is gone.
    pub(super) fn forget_packet(&mut self, hash: &str) {
        if let Some(key) = packet::key(hash) {
            self.transmissions.remove(&key);
        }
    }

    /// Keeps a message that could not be stored.
    pub(super) fn refuse(&mut self, message: &Message, reason: &str) -> Result<(), Fault> {
        let topic = cut(&message.topic, REFUSED_BYTES);
        let payload = message.payload.get(..REFUSED_BYTES).unwrap_or(&message.payload);
        self.stamps.set(message.received_at_ms);
        let origin = &message.origin;
        let (kind, name) = (origin.kind.as_str(), &*origin.name);
        self.sql.insert_refused.execute(params![
            self.stamps.iso,
            reason,
            topic,
            payload,
            kind,
            name
        ])?;
        let last = self.conn.last_insert_rowid();
        self.sql.trim_refused.execute([last - REFUSED_ROWS])?;
        Ok(())
    }

    /// The observer's row, made if need be, and what this message says of it.
    fn observer(
        &mut self,
        row: Option<&ObserverRow>,
        message: &Message,
    ) -> Result<Option<i64>, Fault> {
        let Some(row) = row else { return Ok(None) };
        let at_ms = message.received_at_ms;
        let found = match self.find_observer(&row.id)? {
            None if row.activity == Activity::None => return Ok(None),
            None => self.new_observer(&row.id, at_ms)?,
            Some(found) => found,
        };
        let spelled = found.spelled.as_deref().unwrap_or(&row.id);
        let tally =
            self.tally.observers.entry(found.rowid).or_insert_with(|| ObserverTally::new(spelled));
        tally.named(row.name.as_deref(), row.iata.as_deref());
        if row.activity != Activity::None {
            tally.seen(at_ms, row.activity == Activity::Packet);
            note_origin(&mut tally.origins, &message.origin, at_ms);
            if let Some(skew_seconds) = row.skew_seconds {
                tally.strayed(skew_seconds, at_ms);
            }
        }
        Ok(Some(found.rowid))
    }

    fn find_observer(&mut self, id: &str) -> Result<Option<Observer>, Fault> {
        if let Some(known) = self.observers.get(id) {
            return Ok(Some(known.clone()));
        }
        let row = self.sql.find_observer.query_row([id], |row| row.get(0)).optional()?;
        let found = match row {
            Some(rowid) => Some(Observer { rowid, spelled: None }),
            None => self.odd_observer(id)?,
        };
        if let Some(found) = &found {
            self.observers.insert(id.to_owned(), found.clone());
        }
        Ok(found)
    }

    /// A row whose id differs only in case: made by a program that keeps the topic's spelling.
    fn odd_observer(&mut self, id: &str) -> Result<Option<Observer>, Fault> {
        if id.len() != 64 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(None);
        }
        if self.odd.is_none() {
            let read = |row: &rusqlite::Row<'_>| {
                let spelled: String = row.get(1)?;
                let found = Observer { rowid: row.get(0)?, spelled: Some(spelled.clone()) };
                Ok((spelled.to_ascii_uppercase(), found))
            };
            let all: rusqlite::Result<_> = self.sql.odd_observers.query_map([], read)?.collect();
            self.odd = Some(all?);
        }
        Ok(self.odd.as_ref().and_then(|odd| odd.get(&id.to_ascii_uppercase())).cloned())
    }

    fn new_observer(&mut self, id: &str, at_ms: i64) -> Result<Observer, Fault> {
        self.stamps.set(at_ms);
        self.sql.insert_observer.execute(params![id, self.stamps.iso])?;
        let made = Observer { rowid: self.conn.last_insert_rowid(), spelled: None };
        self.observers.insert(id.to_owned(), made.clone());
        Ok(made)
    }

    /// An advert with a bad signature. Its observer's row is left alone, as CoreScope leaves it; who
    /// brought it is noted.
    fn dropped(
        &mut self,
        row: &DroppedRow,
        observer: Option<&ObserverRow>,
        message: &Message,
    ) -> Result<(), Fault> {
        let at_ms = message.received_at_ms;
        let known = match observer {
            Some(o) => self.find_observer(&o.id)?,
            None => None,
        };
        let given = observer.map(|o| o.id.as_str());
        let id = known.as_ref().and_then(|k| k.spelled.as_deref()).or(given);
        self.stamps.set(at_ms);
        self.sql.insert_dropped.execute(params![
            row.hash,
            row.raw_hex,
            row.reason,
            id,
            observer.and_then(|o| o.name.as_deref()),
            row.node_pubkey,
            row.node_name,
            self.stamps.blank,
        ])?;
        self.counts.sig_drops += 1;
        let last = self.conn.last_insert_rowid();
        // By id: it costs next to nothing while there is nothing to trim.
        self.sql.trim_dropped.execute(params![last - DROPPED_ROWS, TRIM])?;
        if let Some(id) = id {
            let origins = match &known {
                Some(k) => {
                    let tally = self.tally.observers.entry(k.rowid);
                    &mut tally.or_insert_with(|| ObserverTally::new(id)).origins
                }
                None => self.tally.strangers.entry(id.to_owned()).or_default(),
            };
            note_origin(origins, &message.origin, at_ms);
        }
        Ok(())
    }
}

/// At most `bytes` of a text, without splitting a character.
fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes).rev().find(|n| text.is_char_boundary(*n)).unwrap_or(0);
    text.get(..end).unwrap_or(text)
}
