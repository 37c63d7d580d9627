//! A packet's rows: its transmission, once, and an observation each time it was heard.

use super::book::Book;
use super::fault::Fault;
use super::stamp;
use super::tally::Span;
use crate::record::PacketRow;

use rusqlite::{OptionalExtension, params};
use std::hash::BuildHasher;

/// What is remembered of a transmission.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transmission {
    id: i64,
    /// Of its `raw_hex`, to see whether an observation's bytes differ; keyed, so that nobody can
    /// make two that are alike.
    fingerprint: u64,
    /// `first_seen` and `last_seen` as stored or about to be, in seconds since the Unix epoch.
    first: i64,
    last: i64,
}

/// A packet as one observer heard it.
#[derive(Debug)]
struct Observation<'a> {
    row: &'a PacketRow,
    transmission: i64,
    /// `observers.rowid`.
    observer: Option<i64>,
    /// Its bytes, where they differ from the transmission's.
    raw: Option<&'a str>,
    /// Whose hashes its path holds.
    resolved: Option<&'a str>,
    at_ms: i64,
    /// Whether its transmission was made now.
    first: bool,
}

impl Book<'_> {
    /// Writes a packet heard by this observer (`observers.rowid` and `id`).
    pub(super) fn packet(
        &mut self,
        row: &PacketRow,
        observer: Option<(i64, &str)>,
        at_ms: i64,
    ) -> Result<(), Fault> {
        let fingerprint = self.fingerprints.hash_one(row.raw_hex.as_bytes());
        let key = key(&row.hash);
        let known = key.and_then(|k| self.transmissions.get(&k).copied());
        let (mut transmission, new) = match known {
            Some(known) => (known, false),
            None => self.transmission(row, fingerprint, at_ms)?,
        };
        let second = stamp::epoch(at_ms);
        if let Some(node) = &row.node {
            self.tally.advert(node, at_ms, new);
            self.neighbours.hear(&node.public_key, second);
        }
        let resolved = self.neighbours.resolve(row, second);
        let observation = Observation {
            row,
            transmission: transmission.id,
            observer: observer.map(|(rowid, _)| rowid),
            raw: (transmission.fingerprint != fingerprint).then_some(row.raw_hex.as_str()),
            resolved: resolved.as_deref(),
            at_ms,
            first: new,
        };
        if self.observation(&observation)? {
            self.meet(row, observer.map(|(_, id)| id), at_ms);
        }
        let moved = second < transmission.first || second > transmission.last;
        if moved {
            let heard = self.tally.heard.entry(transmission.id).or_insert(Span::of(at_ms));
            heard.stretch(at_ms);
            transmission.first = transmission.first.min(second);
            transmission.last = transmission.last.max(second);
        }
        if let Some(key) = key.filter(|_| moved || known.is_none()) {
            self.transmissions.insert(key, transmission);
        }
        self.counts.tx_inserted += u64::from(new);
        self.counts.tx_dupes += u64::from(!new);
        Ok(())
    }

    /// Notes who hears whom. An observation counts once, as its row does.
    fn meet(&mut self, row: &PacketRow, observer: Option<&str>, at_ms: i64) {
        let second = stamp::epoch(at_ms);
        for pair in self.neighbours.pairs(row, observer, second) {
            self.neighbours.meet(pair, second);
            self.tally.met(pair, at_ms);
        }
    }

    /// The transmission's row, and whether it was made now.
    fn transmission(
        &mut self,
        row: &PacketRow,
        fingerprint: u64,
        at_ms: i64,
    ) -> Result<(Transmission, bool), Fault> {
        self.stamps.set(at_ms);
        let second = stamp::epoch(at_ms);
        let new = self.sql.insert_transmission.execute(params![
            row.raw_hex,
            row.hash,
            self.stamps.iso,
            row.route_type,
            row.payload_type,
            row.payload_version,
            row.decoded_json,
            row.from_pubkey,
            second,
            self.stamps.blank,
            row.channel_hash,
            row.scope_name,
        ])?;
        if new > 0 {
            let id = self.conn.last_insert_rowid();
            return Ok((Transmission { id, fingerprint, first: second, last: second }, true));
        }
        let fingerprints = &self.fingerprints;
        let known = self.sql.find_transmission.query_row([&row.hash], |row| {
            Ok(Transmission {
                id: row.get(0)?,
                fingerprint: fingerprints
                    .hash_one(row.get_ref(1)?.as_bytes_or_null()?.unwrap_or(&[])),
                // A time that cannot be read is no reason to write the row.
                first: row.get::<_, Option<i64>>(2)?.unwrap_or(i64::MIN),
                last: row.get::<_, Option<i64>>(3)?.unwrap_or(0),
            })
        })?;
        Ok((known, false))
    }

    /// Writes an observation or fills in what it lacks; true if it was not there.
    fn observation(&mut self, o: &Observation<'_>) -> Result<bool, Fault> {
        // The index sees no two observations without an observer as equal, and old files lack it.
        let unguarded = !o.first && (o.observer.is_none() || !self.dedup);
        if unguarded && self.fill(o)? {
            return Ok(false);
        }
        let inserted = self.sql.insert_observation.execute(params![
            o.transmission,
            o.observer,
            o.row.direction,
            o.row.snr_db,
            o.row.rssi_dbm,
            o.row.score,
            o.row.path_json,
            stamp::epoch(o.at_ms),
            o.raw,
            o.resolved,
        ])?;
        if inserted == 0 {
            self.fill(o)?;
        }
        self.counts.obs_inserted += u64::from(inserted > 0);
        Ok(inserted > 0)
    }

    /// Adds to an observation what it lacks; false if there is none.
    fn fill(&mut self, o: &Observation<'_>) -> Result<bool, Fault> {
        let row = o.row;
        let find = match self.dedup {
            true => &mut self.sql.find_observation,
            false => &mut self.sql.find_unguarded,
        };
        let found: Option<i64> = find
            .query_row(params![o.transmission, o.observer, row.path_json], |row| row.get(0))
            .optional()?;
        let Some(id) = found else { return Ok(false) };
        let values = params![id, row.snr_db, row.rssi_dbm, row.score, o.raw, o.resolved];
        self.sql.fill_observation.execute(values)?;
        Ok(true)
    }
}

/// A content hash as a number; `None` for one that is not 16 lower-case hex digits, which is not
/// remembered.
pub(super) fn key(hash: &str) -> Option<u64> {
    let digits = hash.len() == 16 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    digits.then(|| u64::from_str_radix(hash, 16).ok()).flatten()
}
