//! Values ↔ columns of the state file.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::mqttbytes::QoS;
use rusqlite::{Row, Transaction, params};
use serde::{Deserialize, Serialize};

use super::claims::{self, Binding, Claim};
use super::keepsakes::Changes;
use crate::broker::frame::Properties;
use crate::broker::grant::Grant;
use crate::broker::identity::{Author, Identity, ObserverKey};
use crate::broker::outbox::{Item, Kept};
use crate::broker::retained::Retained;

/// The tables. What is bounded in memory (`retained`, `outbox`, `claims`) is bounded here by it.
pub(super) const SCHEMA: &str = "
    CREATE TABLE retained (topic TEXT PRIMARY KEY, payload BLOB NOT NULL, qos INTEGER NOT NULL,
        owner TEXT, at_ms INTEGER NOT NULL, properties BLOB, expiry_s INTEGER,
        author INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
    CREATE TABLE sessions (id INTEGER PRIMARY KEY, identity TEXT NOT NULL, client_id TEXT NOT NULL,
        filters TEXT NOT NULL, away_since_ms INTEGER, keep_ms INTEGER NOT NULL);
    CREATE TABLE queued (session INTEGER NOT NULL, serial INTEGER NOT NULL, topic TEXT NOT NULL,
        payload BLOB NOT NULL, qos INTEGER NOT NULL, retain INTEGER NOT NULL,
        at_ms INTEGER NOT NULL, properties BLOB, expiry_s INTEGER, subscriptions TEXT,
        PRIMARY KEY (session, serial)) WITHOUT ROWID;
    CREATE TABLE claims (key BLOB NOT NULL, identity TEXT NOT NULL, at_ms INTEGER NOT NULL,
        PRIMARY KEY (key, identity)) WITHOUT ROWID;
    CREATE TABLE bindings (account TEXT PRIMARY KEY, key BLOB NOT NULL, at_ms INTEGER NOT NULL)
        WITHOUT ROWID;";

/// What makes each layout of the one before it: the first of version 1, and so on. A change of
/// [`SCHEMA`] comes with one more.
pub(super) const STEPS: [&str; 2] = [
    // A key may have several holders.
    "CREATE TABLE claims_of_all (key BLOB NOT NULL, identity TEXT NOT NULL, at_ms INTEGER NOT NULL,
        PRIMARY KEY (key, identity)) WITHOUT ROWID;
    INSERT INTO claims_of_all SELECT key, identity, at_ms FROM claims;
    DROP TABLE claims;
    ALTER TABLE claims_of_all RENAME TO claims;",
    // What MQTT 5 says of a message.
    "ALTER TABLE retained ADD COLUMN properties BLOB;
    ALTER TABLE retained ADD COLUMN expiry_s INTEGER;
    ALTER TABLE retained ADD COLUMN author INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE queued ADD COLUMN properties BLOB;
    ALTER TABLE queued ADD COLUMN expiry_s INTEGER;
    ALTER TABLE queued ADD COLUMN subscriptions TEXT;",
];

const EMPTY: &str = "DELETE FROM retained; DELETE FROM sessions; DELETE FROM queued;
    DELETE FROM claims; DELETE FROM bindings;";

/// A session of the file with its copies.
pub(super) type Session = (u64, Kept, Vec<(u64, Item)>);

/// Makes the file say what has changed, or, `whole`, everything.
pub(super) fn write(tx: &Transaction<'_>, changes: &Changes, whole: bool) -> rusqlite::Result<()> {
    if whole {
        tx.execute_batch(EMPTY)?;
    }
    retained(tx, changes)?;
    sessions(tx, changes)?;
    queued(tx, changes)?;
    bonds(tx, &changes.claims)
}

fn retained(tx: &Transaction<'_>, changes: &Changes) -> rusqlite::Result<()> {
    let mut put = tx.prepare_cached(
        "INSERT OR REPLACE INTO retained (topic, payload, qos, owner, at_ms, properties, expiry_s,
            author) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    let mut remove = tx.prepare_cached("DELETE FROM retained WHERE topic = ?")?;
    for (topic, message) in &changes.retained {
        match message {
            Some(m) => {
                let owner = m.owner.as_ref().map(identity_text);
                let (properties, expiry_s) = said(m.said.as_ref());
                let (payload, qos) = (&m.payload[..], m.qos as u8);
                let author = i64::from_ne_bytes(m.author.0.to_ne_bytes());
                put.execute(params![
                    &**topic, payload, qos, owner, m.at_ms, properties, expiry_s, author
                ])?
            }
            None => remove.execute([&**topic])?,
        };
    }
    Ok(())
}

fn sessions(tx: &Transaction<'_>, changes: &Changes) -> rusqlite::Result<()> {
    let mut put = tx.prepare_cached("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?, ?)")?;
    let mut remove = tx.prepare_cached("DELETE FROM sessions WHERE id = ?")?;
    let mut empty = tx.prepare_cached("DELETE FROM queued WHERE session = ?")?;
    for (id, kept) in &changes.outboxes.sessions {
        let id = integer(*id);
        let Some(kept) = kept else {
            remove.execute([id])?;
            empty.execute([id])?;
            continue;
        };
        let (who, client_id) = &kept.key;
        let filters: BTreeMap<_, _> = kept.filters.iter().map(|(f, g)| (f, shown(*g))).collect();
        let filters = serde_json::to_string(&filters).unwrap_or_default();
        let keep_ms = i64::try_from(kept.keep.as_millis()).unwrap_or(i64::MAX);
        let who = identity_text(who);
        put.execute(params![id, who, client_id, filters, kept.away_since_ms, keep_ms])?;
    }
    Ok(())
}

fn queued(tx: &Transaction<'_>, changes: &Changes) -> rusqlite::Result<()> {
    let mut take = tx.prepare_cached("DELETE FROM queued WHERE session = ? AND serial = ?")?;
    for (session, serial) in &changes.outboxes.taken {
        take.execute([integer(*session), integer(*serial)])?;
    }
    let mut put = tx.prepare_cached(
        "INSERT OR REPLACE INTO queued (session, serial, topic, payload, qos, retain, at_ms,
            properties, expiry_s, subscriptions) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for (session, serial, item) in &changes.outboxes.queued {
        let (session, serial, qos) = (integer(*session), integer(*serial), item.qos as u8);
        let (topic, payload) = (&*item.topic, &item.payload[..]);
        let (properties, expiry_s) = said(item.said.as_ref());
        let marks = (!item.subscriptions.is_empty())
            .then(|| serde_json::to_string(&item.subscriptions).unwrap_or_default());
        let (retain, at_ms) = (item.retain, item.at_ms);
        put.execute(params![
            session, serial, topic, payload, qos, retain, at_ms, properties, expiry_s, marks
        ])?;
    }
    Ok(())
}

fn bonds(tx: &Transaction<'_>, changes: &claims::Changes) -> rusqlite::Result<()> {
    let mut put = tx.prepare_cached("INSERT OR REPLACE INTO claims VALUES (?, ?, ?)")?;
    let mut remove = tx.prepare_cached("DELETE FROM claims WHERE key = ?")?;
    for (key, holders) in &changes.claims {
        remove.execute([key.0])?;
        for claim in holders {
            put.execute(params![key.0, identity_text(&claim.identity), claim.at_ms])?;
        }
    }
    let mut put = tx.prepare_cached("INSERT OR REPLACE INTO bindings VALUES (?, ?, ?)")?;
    let mut remove = tx.prepare_cached("DELETE FROM bindings WHERE account = ?")?;
    for (account, binding) in &changes.bindings {
        match binding {
            Some(b) => put.execute(params![&**account, b.key.0, b.at_ms])?,
            None => remove.execute([&**account])?,
        };
    }
    Ok(())
}

/// Reads a row of `retained`; `None`: it makes no sense.
pub(super) fn read_retained(row: &Row<'_>) -> rusqlite::Result<Option<Retained>> {
    let owner: Option<String> = row.get("owner")?;
    let (topic, payload): (String, Vec<u8>) = (row.get("topic")?, row.get("payload")?);
    let owner = match owner.as_deref().map(read_identity) {
        Some(None) => return Ok(None),
        owner => owner.flatten(),
    };
    let (qos, at_ms) = (read_qos(row)?, row.get("at_ms")?);
    let author = Author(u64::from_ne_bytes(row.get::<_, i64>("author")?.to_ne_bytes()));
    let (topic, payload, said) = (topic.into(), payload.into(), read_said(row)?);
    Ok(Some(Retained { topic, payload, said, qos, owner, author, at_ms }))
}

/// Reads a row of `sessions`; `None`: it makes no sense.
pub(super) fn read_session(row: &Row<'_>) -> rusqlite::Result<Option<(u64, Kept)>> {
    let (id, who, client_id): (i64, String, String) =
        (row.get("id")?, row.get("identity")?, row.get("client_id")?);
    let filters: String = row.get("filters")?;
    let filters: BTreeMap<String, Granted> = serde_json::from_str(&filters).unwrap_or_default();
    let keep: i64 = row.get("keep_ms")?;
    let (Ok(id), Some(who)) = (u64::try_from(id), read_identity(&who)) else { return Ok(None) };
    let kept = Kept {
        key: (who, client_id),
        filters: filters.into_iter().map(|(filter, granted)| (filter, granted.into())).collect(),
        away_since_ms: row.get("away_since_ms")?,
        keep: Duration::from_millis(u64::try_from(keep).unwrap_or(0)),
    };
    Ok(Some((id, kept)))
}

/// Reads a row of `queued`: the copy with its serial.
pub(super) fn read_queued(row: &Row<'_>) -> rusqlite::Result<(u64, Item)> {
    let (serial, topic): (i64, String) = (row.get("serial")?, row.get("topic")?);
    let marks: Option<String> = row.get("subscriptions")?;
    let item = Item {
        topic: topic.into(),
        payload: Bytes::from(row.get::<_, Vec<u8>>("payload")?),
        said: read_said(row)?,
        qos: read_qos(row)?,
        retain: row.get("retain")?,
        subscriptions: marks.and_then(|m| serde_json::from_str(&m).ok()).unwrap_or_default(),
        at_ms: row.get("at_ms")?,
    };
    Ok((u64::try_from(serial).unwrap_or(0), item))
}

/// Reads a row of `claims`; `None`: it makes no sense.
pub(super) fn read_claim(row: &Row<'_>) -> rusqlite::Result<Option<Claim>> {
    let who: String = row.get("identity")?;
    let (key, at_ms) = (ObserverKey(row.get("key")?), row.get("at_ms")?);
    Ok(read_identity(&who).map(|identity| Claim { key, identity, at_ms }))
}

/// Reads a row of `bindings`.
pub(super) fn read_binding(row: &Row<'_>) -> rusqlite::Result<Binding> {
    let account: String = row.get("account")?;
    let (key, at_ms) = (ObserverKey(row.get("key")?), row.get("at_ms")?);
    Ok(Binding { account: Arc::from(account), key, at_ms })
}

/// What a subscription was granted: a number alone is the byte of its options, of which earlier files
/// have the QoS; two are that and its identifier.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Granted {
    Plain(u8),
    Marked(u8, u32),
}

fn shown(grant: Grant) -> Granted {
    let options = grant.options();
    grant.id.map_or(Granted::Plain(options), |id| Granted::Marked(options, id.get()))
}

impl From<Granted> for Grant {
    fn from(granted: Granted) -> Self {
        match granted {
            Granted::Plain(options) => Self::read(options, 0),
            Granted::Marked(options, id) => Self::read(options, id),
        }
    }
}

/// What a publisher said, as two columns.
fn said(said: Option<&Arc<Properties>>) -> (Option<&[u8]>, Option<u32>) {
    (said.map(|said| &said.passed_on[..]), said.and_then(|said| said.expiry_s))
}

fn read_said(row: &Row<'_>) -> rusqlite::Result<Option<Arc<Properties>>> {
    let passed_on: Option<Vec<u8>> = row.get("properties")?;
    let expiry_s = row.get("expiry_s")?;
    Ok(passed_on.map(|bytes| Arc::new(Properties { passed_on: bytes.into(), expiry_s })))
}

fn read_qos(row: &Row<'_>) -> rusqlite::Result<QoS> {
    row.get("qos").map(qos)
}

fn qos(number: u8) -> QoS {
    if number == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce }
}

/// SQLite's integers have a sign; ours count from one and never get that far.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn identity_text(identity: &Identity) -> String {
    let kind = match identity {
        Identity::Anonymous(_) => "address",
        Identity::Account(_) => "account",
        Identity::Observer(_) => "key",
    };
    format!("{kind} {identity}")
}

fn read_identity(text: &str) -> Option<Identity> {
    let (kind, name) = text.split_once(' ')?;
    match kind {
        "address" => name.parse().ok().map(Identity::Anonymous),
        "account" => Some(Identity::Account(name.into())),
        "key" => {
            let mut key = [0; 32];
            hex::decode_to_slice(name, &mut key).ok()?;
            Some(Identity::Observer(ObserverKey(key)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_its_text() {
        let name = "a name with spaces, and an ü".into();
        let all = [
            Identity::Anonymous("10.0.0.1".parse().unwrap()),
            Identity::Anonymous("fd00::1".parse().unwrap()),
            Identity::Account(name),
            Identity::Account("10.0.0.1".into()),
            Identity::Observer(ObserverKey([0xAB; 32])),
        ];
        for identity in all {
            assert_eq!(read_identity(&identity_text(&identity)), Some(identity));
        }
        for nonsense in ["", "x", "address 1", "key AB", "somebody x"] {
            assert_eq!(read_identity(nonsense), None);
        }
    }
}
