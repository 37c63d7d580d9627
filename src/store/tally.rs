//! What a batch adds up before it is written: observers, origins, nodes, metrics and the times of
//! known transmissions cost one statement a batch, however many records touch them.

use super::fault::Fault;
use super::naive::Naive;
use super::neighbours::Pair;
use super::stamp;
use super::statements::Statements;
use crate::message::Origin;
use crate::record::{NodeRow, StatusRow};

use rusqlite::params;
use std::collections::{BTreeMap, HashMap};

/// The sums of one batch. Sorted, so that any run of the same records writes the same order.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// By `observers.rowid`.
    pub(super) observers: BTreeMap<i64, ObserverTally>,
    /// Origins of observers that have no row: of adverts that were dropped.
    pub(super) strangers: BTreeMap<String, Origins>,
    /// By public key.
    nodes: BTreeMap<String, NodeTally>,
    /// Known transmissions heard earlier or later than their row says, by id.
    pub(super) heard: BTreeMap<i64, Span>,
    /// How often nodes were seen to hear each other, and when last.
    pairs: BTreeMap<Pair, (i64, i64)>,
}

/// The first and the last of some times, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
}

impl Span {
    pub(super) fn of(at_ms: i64) -> Self {
        Self { first_ms: at_ms, last_ms: at_ms }
    }

    pub(super) fn stretch(&mut self, at_ms: i64) {
        self.first_ms = self.first_ms.min(at_ms);
        self.last_ms = self.last_ms.max(at_ms);
    }
}

/// Who spoke, when, and how often.
pub(super) type Origins = HashMap<Origin, (Span, i64)>;

/// Adds one message of this origin.
pub(super) fn note_origin(origins: &mut Origins, origin: &Origin, at_ms: i64) {
    if let Some((span, count)) = origins.get_mut(origin) {
        span.stretch(at_ms);
        *count += 1;
    } else {
        origins.insert(origin.clone(), (Span::of(at_ms), 1));
    }
}

/// What a batch says of one observer.
#[derive(Debug)]
pub(super) struct ObserverTally {
    /// `observers.id` as the row spells it.
    id: String,
    count: i64,
    seen_ms: Option<i64>,
    packet_ms: Option<i64>,
    naive: Option<Naive>,
    name: Option<String>,
    iata: Option<String>,
    meta: Option<StatusRow>,
    /// By the start of their interval; the last one of an interval stays.
    metrics: BTreeMap<i64, StatusRow>,
    pub(super) origins: Origins,
}

impl ObserverTally {
    pub(super) fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            count: 0,
            seen_ms: None,
            packet_ms: None,
            naive: None,
            name: None,
            iata: None,
            meta: None,
            metrics: BTreeMap::new(),
            origins: Origins::new(),
        }
    }

    /// It was alive, by a packet or by a status.
    pub(super) fn seen(&mut self, at_ms: i64, packet: bool) {
        self.count += 1;
        self.seen_ms = self.seen_ms.max(Some(at_ms));
        if packet {
            self.packet_ms = self.packet_ms.max(Some(at_ms));
        }
    }

    /// Its clock was found wrong.
    pub(super) fn strayed(&mut self, skew_seconds: i64, at_ms: i64) {
        match &mut self.naive {
            Some(naive) => naive.add(skew_seconds, at_ms),
            none => *none = Some(Naive::of(skew_seconds, at_ms)),
        }
    }

    /// An empty text is no name: it never overwrites one.
    pub(super) fn named(&mut self, name: Option<&str>, iata: Option<&str>) {
        keep(&mut self.name, name.filter(|t| !t.is_empty()));
        keep(&mut self.iata, iata.filter(|t| !t.is_empty()));
    }

    /// It spoke of itself; `sampled`: now, so that the numbers belong to an interval.
    /// of that many seconds.
    pub(super) fn spoke(&mut self, status: &StatusRow, at_ms: i64, sampled: Option<i64>) {
        if let Some(every) = sampled.filter(|_| has_metrics(status)) {
            self.metrics.insert(stamp::sample(at_ms, every), status.clone());
        }
        match &mut self.meta {
            Some(meta) => merge(meta, status),
            none => *none = Some(status.clone()),
        }
    }
}

fn keep(slot: &mut Option<String>, new: Option<&str>) {
    if let Some(new) = new {
        if slot.as_deref() != Some(new) {
            *slot = Some(new.to_owned());
        }
    }
}

/// A sample without a number would only wipe out the interval's real one.
fn has_metrics(status: &StatusRow) -> bool {
    let a = &status.about;
    a.noise_floor_dbm.is_some()
        || [a.tx_air_secs, a.rx_air_secs, a.recv_errors, a.battery_mv].iter().any(Option::is_some)
        || [a.packets_sent, a.packets_recv].iter().any(Option::is_some)
}

fn merge(old: &mut StatusRow, new: &StatusRow) {
    let (old, new) = (&mut old.about, &new.about);
    let texts = [
        (&mut old.model, &new.model),
        (&mut old.firmware, &new.firmware),
        (&mut old.client_version, &new.client_version),
        (&mut old.radio, &new.radio),
    ];
    for (old, new) in texts {
        keep(old, new.as_deref());
    }
    old.can_relay = new.can_relay.or(old.can_relay);
    old.battery_mv = new.battery_mv.or(old.battery_mv);
    old.uptime_secs = new.uptime_secs.or(old.uptime_secs);
    old.noise_floor_dbm = new.noise_floor_dbm.or(old.noise_floor_dbm);
}

#[derive(Debug)]
struct NodeTally {
    row: NodeRow,
    /// When it was first heard of in this batch, for a node that is new.
    first_ms: i64,
    last_ms: i64,
    adverts: i64,
}

impl Tally {
    pub(super) fn clear(&mut self) {
        self.observers.clear();
        self.strangers.clear();
        self.nodes.clear();
        self.heard.clear();
        self.pairs.clear();
    }

    /// Two nodes hear each other.
    pub(super) fn met(&mut self, pair: Pair, at_ms: i64) {
        let (count, last_ms) = self.pairs.entry(pair).or_insert((0, at_ms));
        *count += 1;
        *last_ms = at_ms.max(*last_ms);
    }

    /// An advert; `new` when its transmission was not known: only those are counted.
    pub(super) fn advert(&mut self, row: &NodeRow, at_ms: i64, new: bool) {
        let node = if let Some(node) = self.nodes.get_mut(&row.public_key) {
            node.last_ms = node.last_ms.max(at_ms);
            merge_node(&mut node.row, row);
            node
        } else {
            self.nodes.entry(row.public_key.clone()).or_insert_with(|| NodeTally {
                row: row.clone(),
                first_ms: at_ms,
                last_ms: at_ms,
                adverts: 0,
            })
        };
        node.adverts += i64::from(new);
    }

    /// Writes all of it.
    pub(super) fn write(
        &self,
        sql: &mut Statements<'_>,
        latest_ms: i64,
        counts: &mut Counts,
    ) -> Result<(), Fault> {
        let latest = stamp::iso(latest_ms);
        for (rowid, observer) in &self.observers {
            write_observer(sql, *rowid, observer, &latest, counts)?;
        }
        for (id, origins) in &self.strangers {
            write_origins(sql, id, origins)?;
        }
        for node in self.nodes.values() {
            write_node(sql, node, &latest)?;
            counts.node_upserts += 1;
        }
        for (id, span) in &self.heard {
            let (first, last) = (stamp::iso(span.first_ms), stamp::epoch(span.last_ms));
            sql.update_transmission.execute(params![id, first, last])?;
        }
        for ((a, b), (count, last_ms)) in &self.pairs {
            let (a, b, last) = (hex::encode(a), hex::encode(b), stamp::iso(*last_ms));
            sql.upsert_pair.execute(params![a, b, count, last])?;
        }
        Ok(())
    }
}

/// What a batch did, for the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) tx_inserted: u64,
    pub(super) tx_dupes: u64,
    pub(super) obs_inserted: u64,
    pub(super) node_upserts: u64,
    pub(super) observer_upserts: u64,
    pub(super) sig_drops: u64,
}

fn merge_node(old: &mut NodeRow, new: &NodeRow) {
    keep(&mut old.name, new.name.as_deref());
    if !new.role.is_empty() && old.role != new.role {
        old.role.clone_from(&new.role);
    }
    old.lat = new.lat.or(old.lat);
    old.lon = new.lon.or(old.lon);
    old.battery_mv = new.battery_mv.or(old.battery_mv);
    old.temperature_c = new.temperature_c.or(old.temperature_c);
    keep(&mut old.default_scope, new.default_scope.as_deref());
    old.foreign = new.foreign.or(old.foreign);
}

fn write_observer(
    sql: &mut Statements<'_>,
    rowid: i64,
    o: &ObserverTally,
    latest: &str,
    counts: &mut Counts,
) -> Result<(), Fault> {
    if o.count > 0 || o.name.is_some() || o.iata.is_some() {
        let (seen, packet) = (o.seen_ms.map(stamp::iso), o.packet_ms.map(stamp::iso));
        let values = params![rowid, o.count, seen, latest, packet, o.name, o.iata];
        sql.update_observer.execute(values)?;
        counts.observer_upserts += 1;
    }
    if let Some(meta) = &o.meta {
        let a = &meta.about;
        sql.update_observer_meta.execute(params![
            rowid,
            a.model,
            a.firmware,
            a.client_version,
            a.radio,
            a.battery_mv,
            a.uptime_secs,
            a.noise_floor_dbm,
            a.can_relay,
        ])?;
    }
    for (at_ms, sample) in &o.metrics {
        let a = &sample.about;
        sql.replace_metrics.execute(params![
            o.id,
            stamp::iso(*at_ms),
            a.noise_floor_dbm,
            a.tx_air_secs,
            a.rx_air_secs,
            a.recv_errors,
            a.battery_mv,
            a.packets_sent,
            a.packets_recv,
        ])?;
    }
    if let Some(naive) = &o.naive {
        naive.write(sql, rowid, latest)?;
    }
    write_origins(sql, &o.id, &o.origins)
}

fn write_origins(sql: &mut Statements<'_>, id: &str, origins: &Origins) -> Result<(), Fault> {
    for (origin, (span, count)) in origins {
        let (first, last) = (stamp::iso(span.first_ms), stamp::iso(span.last_ms));
        let (kind, name) = (origin.kind.as_str(), &*origin.name);
        sql.upsert_origin.execute(params![id, kind, name, first, last, count])?;
    }
    Ok(())
}

fn write_node(sql: &mut Statements<'_>, node: &NodeTally, latest: &str) -> Result<(), Fault> {
    let row = &node.row;
    let filled = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
    let scope = filled(&row.default_scope);
    sql.upsert_node.execute(params![
        row.public_key,
        filled(&row.name),
        Some(row.role.as_str()).filter(|r| !r.is_empty()),
        row.lat,
        row.lon,
        stamp::iso(node.first_ms),
        stamp::iso(node.last_ms),
        node.adverts,
        row.battery_mv,
        row.temperature_c,
        scope,
        latest,
        row.foreign,
    ])?;
    if scope.is_some() {
        sql.scope_inactive_node.execute(params![row.public_key, scope])?;
    }
    Ok(())
}
