//! Who hears whom, and whose keys the hashes of a path begin: what is known in memory, so that
//! nothing is looked up in the database for it.
//!
//! The rules are those of CoreScope (#1287, #1547, #1560), with what each packet's path means:
//!
//! | packet | its path | who hears whom |
//! |---|---|---|
//! | flood | who has forwarded it, first hop first | observer and last hop; advertiser and first hop |
//! | advert without hops | – | advertiser and observer |
//! | direct | who still has to, next hop first | nobody: its last hop is the farthest |
//! | TRACE | none, it has a route of its own | nobody |
//!
//! An advert without hops is one's own: adverts go out flooded, or direct to whoever is near (firmware
//! `src/Mesh.cpp`, `sendFlood` and `sendZeroHop`). A packet that the observer sent itself (`tx`) was
//! heard by nobody yet.

use crate::config::Retention;
use crate::record::PacketRow;

use rusqlite::Connection;
use std::collections::BTreeMap;
use std::time::Duration;

/// A node's public key.
pub(super) type Key = [u8; 32];

/// Two nodes that hear each other, the lesser key first.
pub(super) type Pair = (Key, Key);

/// What is known of nodes and their neighbours; bounded.
///
/// It knows the nodes that the table `nodes` holds: those that were heard within the time after which
/// they are inactive. What another program deletes is forgotten when that time is over; a node whose
/// row was refused stays known, for it was heard all the same.
#[derive(Debug)]
pub(super) struct Neighbours {
    /// When each was last heard, in seconds since the Unix epoch.
    nodes: BTreeMap<Key, i64>,
    /// Each pair both ways, and when it was last seen.
    near: BTreeMap<Pair, i64>,
    /// Nodes are known for so many seconds after they were last heard.
    keep_nodes: i64,
    /// Neighbours are known for so many seconds after they were last seen together.
    keep_pairs: i64,
}

/// The most nodes and pairs known, together at most 8 MB; a national network has a few thousand.
/// Beyond it the older half is forgotten.
const NODES: usize = 40_000;
const PAIRS: usize = 20_000;

impl Neighbours {
    /// Knows what the file holds: of the nodes those that were heard last, of the pairs those that
    /// came last, three quarters of the bounds at most.
    pub(super) fn load(conn: &Connection, retention: &Retention) -> rusqlite::Result<Self> {
        let seconds = |age: Duration| i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        let mut known = Self {
            nodes: BTreeMap::new(),
            near: BTreeMap::new(),
            keep_nodes: seconds(retention.nodes),
            keep_pairs: seconds(retention.neighbor_edges),
        };
        let mut nodes = conn.prepare(&format!(
            "SELECT public_key, unixepoch(last_seen) FROM nodes ORDER BY last_seen DESC LIMIT {}",
            NODES / 4 * 3
        ))?;
        let mut rows = nodes.query([])?;
        while let Some(row) = rows.next()? {
            // Older programs wrote other things than keys as well.
            let found = (key(text(row, 0)), row.get(1).ok());
            if let (Some(key), Some(at)) = found {
                known.nodes.insert(key, at);
            }
        }
        // By row, which needs no sorting of a table that may be large.
        let mut pairs = conn.prepare(&format!(
            "SELECT node_a, node_b, unixepoch(last_seen) FROM neighbor_edges
             ORDER BY rowid DESC LIMIT {}",
            PAIRS / 4 * 3
        ))?;
        let mut rows = pairs.query([])?;
        while let Some(row) = rows.next()? {
            let found = (key(text(row, 0)), key(text(row, 1)), row.get(2).ok());
            if let (Some(a), Some(b), Some(at)) = found {
                known.meet((a, b), at);
            }
        }
        Ok(known)
    }

    /// A node was heard.
    pub(super) fn hear(&mut self, public_key: &str, at: i64) {
        if let Some(key) = key(public_key) {
            note(&mut self.nodes, key, at, NODES);
        }
    }

    /// Two nodes hear each other.
    pub(super) fn meet(&mut self, (a, b): Pair, at: i64) {
        note(&mut self.near, (a, b), at, 2 * PAIRS);
        note(&mut self.near, (b, a), at, 2 * PAIRS);
    }

    /// `resolved_path`: whose hashes the hops of the path are, as far as that is certain. `None`
    /// where not a single one is known.
    pub(super) fn resolve(&self, row: &PacketRow, at: i64) -> Option<String> {
        if row.is_trace() {
            return None;
        }
        // The advertiser is the hop before the first one.
        let mut before = if row.is_flood() { advertiser(row) } else { None };
        let mut json = String::new();
        let mut known = false;
        for hop in hops(&row.path_json) {
            before = self.whose(hop, before.as_ref(), at);
            json.push(if json.is_empty() { '[' } else { ',' });
            match &before {
                Some(key) => push_quoted(&mut json, key),
                None => json.push_str("null"),
            }
            known |= before.is_some();
        }
        json.push(']');
        known.then_some(json)
    }

    /// The pairs that this observation shows, by `observers.id`.
    pub(super) fn pairs(
        &self,
        row: &PacketRow,
        observer: Option<&str>,
        at: i64,
    ) -> impl Iterator<Item = Pair> + use<> {
        let heard = !row.is_trace() && !row.direction.as_deref().is_some_and(is_sent);
        let flood = row.is_flood();
        let observer = observer.filter(|_| heard).and_then(key);
        let advertiser = advertiser(row).filter(|_| heard);
        let mut hops = hops(&row.path_json).filter(|_| flood);
        let first = hops.next();
        let last = hops.last().or(first);
        let whose = |hop: Option<&str>| hop.and_then(|hop| self.whose(hop, None, at));
        let none = row.path_json == "[]";
        let reached = if none { advertiser } else { whose(last) };
        let by_observer = observer.zip(reached);
        let by_first = advertiser.zip(whose(first));
        let other = |(a, b): &Pair| a != b;
        let ordered = |(a, b)| if a < b { (a, b) } else { (b, a) };
        [by_observer, by_first].into_iter().flatten().filter(other).map(ordered)
    }

    /// The one node whose key begins so; where there are several, the one that is a neighbour of the
    /// hop before.
    fn whose(&self, hop: &str, before: Option<&Key>, at: i64) -> Option<Key> {
        let (low, high) = bounds(hop)?;
        let young = |last: &i64| at.saturating_sub(*last) <= self.keep_nodes;
        let mut nodes = self.nodes.range(low..=high).filter(|(_, last)| young(last));
        let first = nodes.next()?.0;
        if nodes.next().is_none() {
            return Some(*first);
        }
        let before = *before?;
        let mut near =
            self.near.range((before, low)..=(before, high)).filter(|((_, key), last)| {
                at.saturating_sub(**last) <= self.keep_pairs
                    && self.nodes.get(key).is_some_and(young)
            });
        let ((_, only), _) = near.next()?;
        near.next().is_none().then_some(*only)
    }
}

/// Notes a time, if it is later than what is noted; makes room first where there is none.
fn note<K: Ord>(times: &mut BTreeMap<K, i64>, key: K, at: i64, most: usize) {
    if let Some(last) = times.get_mut(&key) {
        *last = at.max(*last);
        return;
    }
    if times.len() >= most {
        let mut all: Vec<i64> = times.values().copied().collect();
        let half = all.len() / 2;
        let median = *all.select_nth_unstable(half).1;
        times.retain(|_, last| *last > median);
    }
    times.insert(key, at);
}

fn advertiser(row: &PacketRow) -> Option<Key> {
    row.from_pubkey.as_deref().filter(|_| row.is_advert()).and_then(key)
}

/// The observer's own sending.
fn is_sent(direction: &str) -> bool {
    direction.eq_ignore_ascii_case("tx")
}

/// The hops of a `path_json` column; hex digits are never escaped.
fn hops(path_json: &str) -> impl Iterator<Item = &str> {
    path_json.split('"').skip(1).step_by(2)
}

fn key(hex: &str) -> Option<Key> {
    let mut key = [0; 32];
    hex::decode_to_slice(hex, &mut key).ok().map(|()| key)
}

/// The least and the greatest key that begins so; `None` for what is no hash of 1 to 3 bytes.
fn bounds(hop: &str) -> Option<(Key, Key)> {
    let (mut low, mut high) = ([0; 32], [u8::MAX; 32]);
    let size = hop.len() / 2;
    if !(1..=3).contains(&size) {
        return None;
    }
    hex::decode_to_slice(hop, low.get_mut(..size)?).ok()?;
    high.get_mut(..size)?.copy_from_slice(low.get(..size)?);
    Some((low, high))
}

fn push_quoted(json: &mut String, key: &Key) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    json.push('"');
    for byte in key {
        json.push(digit(byte >> 4));
        json.push(digit(*byte));
    }
    json.push('"');
}

/// A column's text; empty for what is none.
fn text<'r>(row: &'r rusqlite::Row<'_>, column: usize) -> &'r str {
    row.get_ref(column).ok().and_then(|value| value.as_str().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_hash_of_one_to_three_bytes_begins_no_key() {
        for hop in ["", "A", "AB1", "GG", "AB CD", "00112233", "é"] {
            assert_eq!(bounds(hop), None, "{hop:?}");
        }
        let (low, high) = bounds("aB12").unwrap();
        assert_eq!(
            (low[..3].to_vec(), high[..3].to_vec()),
            (vec![0xAB, 0x12, 0], vec![0xAB, 0x12, 255])
        );
    }

    #[test]
    fn a_full_map_forgets_its_older_half_and_never_grows() {
        let mut times = BTreeMap::new();
        for n in 0..1_000_i64 {
            note(&mut times, n, n, 10);
            assert!(times.len() <= 10);
        }
        assert!(times.keys().copied().eq(990..1_000), "{times:?}");
        note(&mut times, 999, 5, 10);
        assert_eq!(times.get(&999), Some(&999), "it went back");
    }
}
