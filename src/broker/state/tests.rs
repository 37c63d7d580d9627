//! The file, over restarts and in trouble.

use super::*;
use crate::broker::copy::Copy;
use crate::broker::frame::Properties;
use crate::broker::grant::Grant;
use crate::broker::identity::{Author, Identity, ObserverKey};
use crate::broker::outbox::Outboxes;
use crate::broker::retained::Retained;
use bytes::Bytes;
use rumqttc::mqttbytes::QoS;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tokio::sync::mpsc;

struct Hub {
    writer: Writer,
    counters: Arc<Counters>,
}

impl Hub {
    fn start(path: &Path) -> Self {
        Self::at(path, 1_000)
    }

    fn at(path: &Path, now_ms: i64) -> Self {
        let counters = Arc::new(Counters::default());
        let limits = crate::config::Sessions::default();
        let outboxes = Outboxes::new(limits, Arc::clone(&counters));
        let keepsakes = Keepsakes::new(outboxes, Arc::clone(&counters));
        let told = (Arc::clone(&counters), Clock::by_hand(now_ms));
        Self { writer: State::start(Some(path.to_owned()), keepsakes, told), counters }
    }

    fn state(&self) -> State {
        self.writer.state()
    }

    fn retain(&self, topic: &str, owner: Option<Identity>, payload: &str) {
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        let (topic, qos, at_ms) = (topic.into(), QoS::AtLeastOnce, 1_000);
        let (said, author) = (None, Author::default());
        let message = Retained { topic, payload, said, qos, owner, author, at_ms };
        self.state().keepsakes().shelf().keep(message).unwrap();
        self.state().changed();
    }

    fn retained(&self) -> Vec<(String, String)> {
        let all = [("#".to_owned(), Grant::plain(QoS::AtLeastOnce))];
        let all = self.state().keepsakes().shelf().matching(&all, Author::default(), 1_000);
        let text =
            |m: Retained| (m.topic.to_string(), String::from_utf8(m.payload.to_vec()).unwrap());
        all.into_iter().map(text).collect()
    }

    /// Waits for a commit as a publish does.
    fn committed(&self) {
        #[expect(clippy::disallowed_methods, reason = "one completion")]
        let (mailbox, mut inbox) = mpsc::unbounded_channel();
        self.state().changed_for(Receipt::new(mailbox, 1, 1));
        assert_eq!(inbox.blocking_recv().unwrap().outcome, Outcome::Stored);
    }

    fn trouble(&self) -> Option<String> {
        self.counters.snapshot(0, 0).state_file.trouble
    }
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    (dir, path)
}

fn who() -> Option<Identity> {
    Some(Identity::Account("hass".into()))
}

fn rows(path: &Path, table: &str) -> i64 {
    let conn = rusqlite::Connection::open(path).unwrap();
    conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

#[test]
fn what_was_committed_is_there_after_a_restart_and_the_file_is_private() {
    let (_dir, path) = file();
    let hub = Hub::start(&path);
    hub.retain("homeassistant/x", who(), "one");
    let claim = Claim { key: ObserverKey([7; 32]), identity: who().unwrap(), at_ms: 5 };
    let binding = Binding { account: "club".into(), key: ObserverKey([8; 32]), at_ms: 6 };
    hub.state().claim(claim.clone()).unwrap();
    hub.state().bind(binding.clone()).unwrap();
    let key = (who().unwrap(), "client".to_owned());
    let (outbox, _) = hub.state().keepsakes().outboxes.resume(&key, None, 0).unwrap();
    outbox.subscribe("meshcore/#", Grant::plain(QoS::AtLeastOnce));
    let payload = Bytes::from_static(b"queued");
    let copy = Copy::ours("meshcore/x", &payload, 1_000);
    assert!(hub.state().keepsakes().outboxes.offer(&copy, &mut 0));
    hub.committed();
    assert_eq!((rows(&path, "sessions"), rows(&path, "queued")), (1, 1));
    for name in [FILE.to_owned(), format!("{FILE}-wal")] {
        let mode = std::fs::metadata(path.with_file_name(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    // Nothing is said at the end: it is as if the power had failed.
    let after = tempfile::tempdir().unwrap();
    for end in ["", "-wal"] {
        let name = format!("{FILE}{end}");
        std::fs::copy(path.with_file_name(&name), after.path().join(&name)).unwrap();
    }
    let hub = Hub::start(&after.path().join(FILE));
    assert_eq!(hub.retained(), [("homeassistant/x".to_owned(), "one".to_owned())]);
    assert_eq!((hub.state().claims(), hub.state().bindings()), (vec![claim], vec![binding]));
    let (outbox, present) = hub.state().keepsakes().outboxes.resume(&key, None, 0).unwrap();
    assert!(present);
    let mut out = Vec::new();
    outbox.drain(1_000, |o| {
        out.push(o);
        true
    });
    assert_eq!((out.len(), &out[0].item.payload[..]), (1, &b"queued"[..]));
    outbox.acknowledge(out[0].pkid);
    hub.state().forget("club");
    hub.committed();
    let path = after.path().join(FILE);
    assert_eq!((rows(&path, "queued"), rows(&path, "bindings")), (0, 0));
    assert_eq!(hub.trouble(), None);
}

#[test]
fn everyone_who_holds_a_key_is_remembered_and_forgotten_alone() {
    let (_dir, path) = file();
    let claim = |identity, at_ms| Claim { key: ObserverKey([7; 32]), identity, at_ms };
    let token = claim(Identity::Observer(ObserverKey([7; 32])), 5);
    let account = claim(who().unwrap(), 6);
    let hub = Hub::start(&path);
    hub.state().claim(token.clone()).unwrap();
    hub.state().claim(account.clone()).unwrap();
    hub.writer.finish();
    let hub = Hub::start(&path);
    assert_eq!(hub.state().claims(), [token.clone(), account]);
    hub.state().forget("hass");
    hub.writer.finish();
    let hub = Hub::start(&path);
    assert_eq!(hub.state().claims(), std::slice::from_ref(&token));
    hub.state().release(token.key, &token.identity);
    hub.writer.finish();
    assert_eq!(rows(&path, "claims"), 0);
}

#[test]
fn the_last_changes_are_written_at_the_end() {
    let (_dir, path) = file();
    let hub = Hub::start(&path);
    hub.retain("homeassistant/x", who(), "one");
    hub.retain("homeassistant/x", who(), "");
    hub.retain("homeassistant/y", who(), "two");
    hub.writer.finish();
    assert_eq!(rows(&path, "retained"), 1);
}

#[test]
fn every_observer_is_offline_after_a_restart() {
    let (_dir, path) = file();
    let hub = Hub::start(&path);
    let topic = format!("meshcore/SJC/{}/status", "AB".repeat(32));
    hub.retain(&topic, None, r#"{"status":"online","origin":"Hill"}"#);
    hub.writer.finish();
    let hub = Hub::start(&path);
    let told = &hub.retained()[0].1;
    assert!(told.contains(r#""status":"offline""#) && told.contains("Hill"), "{told}");
    assert!(!hub.state().keepsakes().presence.observers()[0].online);
}

#[test]
fn a_damaged_file_is_put_aside_and_the_hub_goes_on_with_a_new_one() {
    for start in [&b"this is no database at all"[..], b"SQLite format 3\0"] {
        let (_dir, path) = file();
        let damage = [start, &vec![0x5A; 20_000]].concat();
        std::fs::write(&path, &damage).unwrap();
        let hub = Hub::start(&path);
        hub.retain("homeassistant/x", who(), "one");
        hub.committed();
        assert_eq!(rows(&path, "retained"), 1);
        assert_eq!(hub.trouble(), None);
        assert_eq!(hub.counters.reasons.count("state_file_failed"), 1);
        let aside = path.with_file_name(format!("{FILE}.damaged"));
        assert_eq!(std::fs::read(aside).unwrap(), damage);
    }
}

#[test]
fn a_file_of_a_newer_meshbox_is_left_alone() {
    let (_dir, path) = file();
    Hub::start(&path).writer.finish();
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.pragma_update(None, "user_version", 99).unwrap();
    drop(conn);
    let hub = Hub::start(&path);
    hub.retain("homeassistant/x", who(), "one");
    hub.committed();
    assert_eq!(hub.retained().len(), 1, "memory works");
    let trouble = hub.trouble().unwrap();
    assert!(trouble.contains("newer meshbox (version 99"), "{trouble}");
    assert!(!hub.counters.snapshot(0, 0).ok);
    hub.writer.finish();
    assert_eq!(rows(&path, "retained"), 0);
}

#[test]
fn a_file_that_cannot_be_written_keeps_nobody_waiting_and_is_written_whole_later() {
    let (dir, path) = file();
    let inside = dir.path().join("gone").join(FILE);
    let hub = Hub::start(&inside);
    hub.retain("homeassistant/x", who(), "one");
    hub.committed();
    assert!(hub.trouble().unwrap().contains("in memory only"));
    // Somebody mends it; the next attempt writes everything.
    std::fs::create_dir(inside.parent().unwrap()).unwrap();
    let deadline = Instant::now() + crate::broker::rig::PATIENCE;
    while hub.trouble().is_some() {
        assert!(Instant::now() < deadline, "it is not written again");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert_eq!(rows(&inside, "retained"), 1);
    drop(path);
}

#[test]
fn a_commit_that_fails_keeps_nobody_waiting_and_what_was_there_stays() {
    let (_dir, path) = file();
    let hub = Hub::start(&path);
    hub.retain("homeassistant/x", who(), "one");
    hub.committed();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    hub.retain("homeassistant/y", who(), "two");
    hub.committed();
    assert!(hub.trouble().unwrap().contains("locked"), "{:?}", hub.trouble());
    other.execute_batch("COMMIT").unwrap();
    drop(hub);
    let hub = Hub::start(&path);
    assert!(!hub.retained().is_empty());
}

/// The tables of version 1, and a row in each that later versions have changed.
const VERSION_1: &str = "
    CREATE TABLE retained (topic TEXT PRIMARY KEY, payload BLOB NOT NULL, qos INTEGER NOT NULL,
        owner TEXT, at_ms INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE sessions (id INTEGER PRIMARY KEY, identity TEXT NOT NULL, client_id TEXT NOT NULL,
        filters TEXT NOT NULL, away_since_ms INTEGER, keep_ms INTEGER NOT NULL);
    CREATE TABLE queued (session INTEGER NOT NULL, serial INTEGER NOT NULL, topic TEXT NOT NULL,
        payload BLOB NOT NULL, qos INTEGER NOT NULL, retain INTEGER NOT NULL,
        at_ms INTEGER NOT NULL, PRIMARY KEY (session, serial)) WITHOUT ROWID;
    CREATE TABLE claims (key BLOB PRIMARY KEY, identity TEXT NOT NULL, at_ms INTEGER NOT NULL)
        WITHOUT ROWID;
    CREATE TABLE bindings (account TEXT PRIMARY KEY, key BLOB NOT NULL, at_ms INTEGER NOT NULL)
        WITHOUT ROWID;
    INSERT INTO retained VALUES ('homeassistant/x', x'6F6E65', 1, 'account hass', 1000);
    INSERT INTO sessions VALUES (3, 'account hass', 'client', '{\"meshcore/#\":1,\"a\":0}', 900, 60000);
    INSERT INTO queued VALUES (3, 7, 'meshcore/x', x'717565756564', 1, 0, 950);
    INSERT INTO claims VALUES (zeroblob(32), 'account hass', 5);
    PRAGMA user_version = 1;";

fn columns(path: &Path) -> Vec<String> {
    let conn = rusqlite::Connection::open(path).unwrap();
    let tables = ["retained", "sessions", "queued", "claims", "bindings"];
    let columns = tables.iter().flat_map(|table| {
        let mut info = conn.prepare(&format!("PRAGMA table_info({table})")).unwrap();
        let column = |row: &rusqlite::Row<'_>| {
            let (name, kind, default): (String, String, Option<String>) =
                (row.get(1)?, row.get(2)?, row.get(4)?);
            Ok(format!("{table}.{name} {kind} {default:?}"))
        };
        let mut all: Vec<String> =
            info.query_map([], column).unwrap().collect::<Result<_, _>>().unwrap();
        all.sort();
        all
    });
    columns.collect()
}

#[test]
fn a_file_of_the_first_version_is_brought_forward_with_all_that_is_in_it() {
    let (_dir, path) = file();
    rusqlite::Connection::open(&path).unwrap().execute_batch(VERSION_1).unwrap();
    let hub = Hub::start(&path);
    assert_eq!(hub.retained(), [("homeassistant/x".to_owned(), "one".to_owned())]);
    let key = (who().unwrap(), "client".to_owned());
    let (outbox, present) = hub.state().keepsakes().outboxes.resume(&key, None, 1_000).unwrap();
    assert!(present);
    let plain = |filter: &str, qos| (filter.to_owned(), Grant::plain(qos));
    let filters = [plain("a", QoS::AtMostOnce), plain("meshcore/#", QoS::AtLeastOnce)];
    assert_eq!(outbox.filters(), filters);
    let mut payloads = Vec::new();
    outbox.drain(1_000, |o| {
        payloads.push(o.item.payload);
        true
    });
    assert_eq!(payloads, ["queued"]);
    let (key, identity) = (ObserverKey([0; 32]), who().unwrap());
    assert_eq!(hub.state().claims(), [Claim { key, identity, at_ms: 5 }]);
    // A key may have several holders since.
    hub.state().claim(Claim { key, identity: Identity::Observer(key), at_ms: 6 }).unwrap();
    hub.committed();
    assert_eq!(rows(&path, "claims"), 2);
    assert_eq!(hub.trouble(), None);
    hub.writer.finish();
    // And again: nothing is done twice.
    Hub::start(&path).writer.finish();
    let (_other, fresh) = file();
    Hub::start(&fresh).writer.finish();
    assert_eq!(columns(&path), columns(&fresh));
}

#[test]
fn what_was_said_of_a_message_and_granted_to_a_session_outlives_a_restart() {
    let (_dir, path) = file();
    let hub = Hub::start(&path);
    let said = Arc::new(Properties { passed_on: Box::from(*b"\x03\0\x01t"), expiry_s: Some(60) });
    let (payload, from) = (Bytes::from_static(b"x"), who().unwrap());
    let ours = Copy::ours("meshcore/x", &payload, 1_000);
    let copy = Copy { said: Some(&said), from: Some(&from), author: Author(u64::MAX), ..ours };
    let message = Retained {
        topic: copy.topic.into(),
        payload: payload.clone(),
        said: Some(Arc::clone(&said)),
        qos: QoS::AtLeastOnce,
        owner: Some(from.clone()),
        author: copy.author,
        at_ms: 1_000,
    };
    let message = Retained { topic: "homeassistant/x".into(), ..message };
    hub.state().keepsakes().shelf().keep(message.clone()).unwrap();
    let key = (from.clone(), "client".to_owned());
    let (outbox, _) = hub.state().keepsakes().outboxes.resume(&key, None, 0).unwrap();
    let grants = [Grant::read(0b1101, 268_435_455), Grant::read(0b0001, 0), Grant::read(0b0100, 5)];
    for (filter, grant) in ["meshcore/#", "meshcore/x", "routed"].iter().zip(grants) {
        outbox.subscribe(filter, grant);
    }
    let before = outbox.filters();
    hub.state().keepsakes().outboxes.offer(&copy, &mut 0);
    hub.committed();
    drop(outbox);
    hub.writer.finish();

    let hub = Hub::start(&path);
    let all = [("#".to_owned(), Grant::plain(QoS::AtLeastOnce))];
    let retained = hub.state().keepsakes().shelf().matching(&all, Author(5), 1_000);
    assert_eq!(retained, [message]);
    let (outbox, _) = hub.state().keepsakes().outboxes.resume(&key, None, 0).unwrap();
    assert_eq!(outbox.filters(), before);
    let mut items = Vec::new();
    outbox.drain(2_000, |o| {
        items.push(o.item);
        true
    });
    assert_eq!((items[0].said.as_ref(), items[0].at_ms), (Some(&said), 1_000));
    assert_eq!(items[0].subscriptions.iter().map(|id| id.get()).collect::<Vec<_>>(), [268_435_455]);
    outbox.leave(2_000);
    drop(outbox);
    hub.writer.finish();

    // Its interval goes on while the hub is off.
    let hub = Hub::at(&path, 61_000);
    assert_eq!(hub.state().keepsakes().shelf().matching(&all, Author(5), 61_000), []);
    let (outbox, _) = hub.state().keepsakes().outboxes.resume(&key, None, 61_000).unwrap();
    outbox.drain(61_000, |o| panic!("{o:?}"));
    assert!(hub.counters.broker_messages_expired.get() >= 1);
}
