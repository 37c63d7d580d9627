//! The cases of Eclipse Paho's interoperability tests (`eclipse/paho.mqtt.testing`, `client_test.py` and
//! `client_test5.py`), each as a test of its own name, over real sockets. Where the case is about
//! something that is not done here, the test shows the answer that a client gets.
//!
//! | case | what is expected here |
//! |---|---|
//! | basic | copies of all three QoS, 2 as 1; a second CONNECT and a wrong protocol name end it |
//! | retained messages | come with the flag to whoever subscribes later; an empty one deletes |
//! | will message | published when the connection breaks |
//! | zero-length client id | 3.1.1: code 2 unless the session is clean; 5: an id is assigned |
//! | offline message queueing | of a named account, all three QoS, in order |
//! | overlapping subscriptions | one copy at the highest QoS |
//! | keepalive | closed after one and a half; the will is published |
//! | redelivery on reconnect | unacknowledged copies come again with DUP and their packet ids |
//! | subscribe failure | 0x80; in 5 a reason code for each filter |
//! | dollar topics | not published to, and wildcards do not match them |
//! | unsubscribe | no more copies of that filter |
//! | session expiry | honoured within `broker.session.maxHours`, also in DISCONNECT |
//! | shared subscriptions | not done: CONNACK says so, SUBACK 0x9E |
//! | user properties, payload format | passed on unaltered, in order |
//! | publication expiry | counted down while it waits; nothing is delivered after it |
//! | subscribe options | no local, retain as published, all retain handlings |
//! | assigned client id | in the CONNACK, another one each time |
//! | subscription identifiers | of all subscriptions that a copy comes by |
//! | request/response | topic and correlation data pass; no response information is made up |
//! | client topic alias | none is granted: DISCONNECT 0x94 |
//! | server topic alias | never used |
//! | maximum packet size | a larger copy is left out; a larger PUBLISH is answered 0x97, not closed |
//! | will delay | honoured while the session is kept; not published to who is back |
//! | server keep alive | never set: the client's own holds |
//! | flow control 1 | no more unacknowledged copies than the client takes |
//! | flow control 2 | more than 1,000 unreleased QoS 2 messages: DISCONNECT 0x93 |

mod five;
mod flow;
mod options;
mod three;
mod wills;

use std::sync::Arc;
use std::time::{Duration, Instant};

use meshbox::broker::{self, Parts};
use meshbox::clock::Clock;
use meshbox::config::{Access, AccountsFile, Broker, Logins};
use meshbox::counters::Counters;
use meshbox::message::Outcome;
use meshbox::message::queue::queue;
use tokio_util::sync::CancellationToken;

use super::accounts::account;
use super::client5::PASSWORD;
use super::rig::{House, ROOMY, listener};
use crate::support::PATIENCE;

/// The topics that Paho's tests use.
const TOPICS: [&str; 5] = ["TopicA", "TopicA/B", "Topic/C", "TopicA/C", "/TopicA"];

/// A broker with the accounts `a`, `b` and `c`, which may do everything, at a time that stands still.
struct Stage {
    house: House,
    clock: Clock,
    accounts: std::path::PathBuf,
    dir: tempfile::TempDir,
}

fn accounts(names: &[&str]) -> String {
    names.iter().map(|name| account(name, PASSWORD, "role = 'admin'")).collect()
}

impl Stage {
    async fn open() -> Self {
        Self::open_in(tempfile::tempdir().unwrap(), 1_760_000_000_000).await
    }

    /// Stops, and starts again with the same state file, so much later.
    async fn restart_after(self, time: Duration) -> Self {
        self.clock.run(time);
        self.house.broker.quiesce().await;
        assert!(self.house.broker.stop(Instant::now() + PATIENCE).await);
        Self::open_in(self.dir, self.clock.now_ms()).await
    }

    async fn open_in(dir: tempfile::TempDir, now_ms: i64) -> Self {
        let file = dir.path().join("accounts.toml");
        std::fs::write(&file, accounts(&["a", "b", "c"])).unwrap();
        let (inlet, mut outlet) = queue(ROOMY);
        let clock = Clock::by_hand(now_ms);
        let (counters, shutdown) = (Arc::new(Counters::default()), CancellationToken::new());
        let parts = Parts {
            state_file: Some(dir.path().join(broker::STATE_FILE)),
            inlet,
            clock: clock.clone(),
            counters: Arc::clone(&counters),
            clock_trusted: Arc::new(|| true),
            shutdown: shutdown.clone(),
        };
        let logins = Logins { accounts: AccountsFile::load(&file).unwrap(), ..Logins::default() };
        let listeners = vec![listener("127.0.0.1:0", Access::Lan)];
        let config = Broker { logins, ..Broker::with(listeners) };
        let broker = broker::start(&config, parts).await.unwrap();
        let addresses = broker.listening().iter().map(|l| l.address.parse().unwrap()).collect();
        tokio::spawn(async move {
            while let Some(message) = outlet.next().await {
                message.receipt.complete(Outcome::Stored);
            }
        });
        let house = House { broker, counters, shutdown, addresses };
        Self { house, clock, accounts: file, dir }
    }
}
