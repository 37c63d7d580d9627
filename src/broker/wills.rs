//! Wills that wait: a client of MQTT 5 may ask for some time to come back to its session before its
//! will is published (MQTT 5 §3.1.3.2.2). They are in memory alone: our own end publishes none.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::Instant;

use super::board::{Refused, Sort, Whom};
use super::frame::Will;
use super::identity::Author;
use super::limits::Subject;
use super::register::Recognised;
use super::sessions::Key;

/// A will, and what is known of the client that has left it.
#[derive(Debug)]
pub(super) struct Testament {
    pub(super) will: Will,
    /// Who it was in the end, and with which account.
    pub(super) recognised: Recognised,
    pub(super) client_id: String,
    /// Its address.
    pub(super) from: IpAddr,
    /// Where it came in.
    pub(super) listener: Arc<str>,
    /// Its part of the budget of all wills.
    pub(super) _room: Option<OwnedSemaphorePermit>,
}

impl Testament {
    /// As whom it is published.
    pub(super) fn author(&self) -> Author {
        Author::of(&self.recognised.who.identity, &self.client_id)
    }

    /// A refusal to publish it.
    pub(super) fn refused<'a>(
        &'a self,
        reason: &'static str,
        topic: &'a str,
        at_ms: i64,
    ) -> Refused<'a> {
        let who = &self.recognised.who;
        let subject =
            who.key.map_or_else(|| Subject::Client(who.identity.clone()), Subject::Observer);
        let whom = Whom {
            from: self.from,
            identity: Some(&who.identity),
            client_id: &self.client_id,
            listener: &self.listener,
        };
        let (sort, subject) = (Sort::Publish, Some(subject));
        Refused { at_ms, sort, reason, whom, name: None, about: topic, help: None, subject }
    }
}

/// The wills that wait. There are no more of them than sessions are kept, and no more bytes than all
/// wills may have.
#[derive(Debug, Default)]
pub(super) struct Wills {
    waiting: Mutex<Vec<Waiting>>,
    /// Rings when the next one may be another.
    bell: Notify,
}

#[derive(Debug)]
struct Waiting {
    key: Key,
    due: Instant,
    /// Its session has ended: it is published even if the client is back.
    ended: bool,
    testament: Testament,
}

impl Wills {
    /// Lets the will of this session wait.
    pub(super) fn wait(&self, key: Key, due: Instant, testament: Testament) {
        self.waiting().push(Waiting { key, due, ended: false, testament });
        self.bell.notify_one();
    }

    /// The client is back: its will is not published (MQTT-3.1.3-9), but at once where it has begun
    /// another session.
    pub(super) fn client_is_back(&self, key: &Key, clean_start: bool) {
        let mut waiting = self.waiting();
        if !clean_start {
            return waiting.retain(|will| will.key != *key || will.ended);
        }
        for will in waiting.iter_mut().filter(|will| will.key == *key) {
            (will.due, will.ended) = (Instant::now(), true);
        }
        drop(waiting);
        self.bell.notify_one();
    }

    /// Waits for the next will that is due. One whose client `is_back` although nobody has said so is
    /// dropped. Cancel-safe.
    pub(super) async fn due(&self, is_back: impl Fn(&Key) -> bool) -> Testament {
        loop {
            let next = self.waiting().iter().map(|will| will.due).min();
            match next {
                None => self.bell.notified().await,
                Some(due) if due > Instant::now() => tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    () = self.bell.notified() => {}
                },
                Some(due) => {
                    let mut waiting = self.waiting();
                    let Some(at) = waiting.iter().position(|will| will.due == due) else {
                        continue;
                    };
                    let will = waiting.remove(at);
                    drop(waiting);
                    if will.ended || !is_back(&will.key) {
                        return will.testament;
                    }
                }
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::access::Nearness;
    use crate::broker::identity::{Identity, Who};
    use rumqttc::mqttbytes::QoS;
    use std::time::Duration;

    fn key(id: &str) -> Key {
        (Identity::Account("a".into()), id.to_owned())
    }

    fn testament(topic: &str) -> Testament {
        let from = IpAddr::from([127, 0, 0, 1]);
        let (topic, payload, qos) = (topic.to_owned(), "x".into(), QoS::AtMostOnce);
        let will = Will { topic, payload, retain: false, qos, delay_s: 1, said: None };
        let recognised = Recognised::without_account(Who::anonymous(from, Nearness::Loopback));
        let (client_id, listener) = (String::new(), "test".into());
        Testament { will, recognised, client_id, from, listener, _room: None }
    }

    async fn due(wills: &Wills) -> String {
        wills.due(|key| key.1 == "back").await.will.topic
    }

    #[tokio::test]
    async fn wills_come_when_they_are_due_whatever_the_order() {
        let (wills, now) = (Wills::default(), Instant::now());
        let after = |ms| now + Duration::from_millis(ms);
        wills.wait(key("a"), after(200), testament("a"));
        let (first, ()) = tokio::join!(due(&wills), async {
            wills.wait(key("b"), after(20), testament("b"));
        });
        assert!(first == "b" && now.elapsed() >= Duration::from_millis(20));
        assert!(due(&wills).await == "a" && now.elapsed() >= Duration::from_millis(200));
    }

    #[tokio::test]
    async fn a_client_that_is_back_has_no_will_unless_its_session_is_another_one() {
        let (wills, now) = (Wills::default(), Instant::now());
        let after = |ms| now + Duration::from_millis(ms);
        for (id, ms) in [("a", 10), ("b", 600_000), ("back", 20), ("c", 30)] {
            wills.wait(key(id), after(ms), testament(id));
        }
        wills.client_is_back(&key("a"), false);
        wills.client_is_back(&key("b"), true);
        wills.client_is_back(&key("b"), false);
        assert_eq!([due(&wills).await, due(&wills).await], ["b", "c"]);
        assert!(wills.waiting().is_empty());
    }
}
