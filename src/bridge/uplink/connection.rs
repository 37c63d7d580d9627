//! One connection to a broker: what is under way on it.

use super::super::link::Poller;
use super::super::spool::{Entry, Next, Read};
use super::choose::Chosen;

use rumqttc::{AsyncClient, ClientError, QoS};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// One connection.
pub(super) struct Connection {
    pub(super) client: AsyncClient,
    pub(super) poller: Poller,
    pub(super) connected: bool,
    /// That broker has a will of ours.
    pub(super) has_will: bool,
    /// To be sent next: words on presence, and what was read from the spool.
    pub(super) ready: VecDeque<Entry>,
    /// The last number that was taken from the spool.
    pub(super) after: u64,
    /// What the file of the spool is asked for.
    pub(super) reading: Option<oneshot::Receiver<Read>>,
    /// Given to the client, without a packet id yet.
    asked: VecDeque<Sent>,
    /// By packet id.
    under_way: HashMap<u16, Sent>,
    /// The spool has nothing now.
    pub(super) idle: bool,
    /// When the rate allows the next one.
    pub(super) slow: Option<Instant>,
    /// Nothing new goes out; until then.
    pub(super) leaving: Option<Instant>,
    pub(super) said_goodbye: bool,
}

/// A message under way.
#[derive(Clone, Copy, Debug)]
struct Sent {
    number: u64,
    at: Instant,
}

/// The number of a word on presence, which the spool does not have.
pub(super) const WORD: u64 = 0;

/// How long we wait at the end for what is under way.
const FAREWELL: Duration = Duration::from_millis(1_500);

/// How long the DISCONNECT may take.
const GOODBYE: Duration = Duration::from_millis(500);

impl Connection {
    /// One that is being dialled.
    pub(super) fn new(client: AsyncClient, poller: Poller, has_will: bool) -> Self {
        Self {
            client,
            poller,
            connected: false,
            has_will,
            ready: VecDeque::new(),
            after: 0,
            reading: None,
            asked: VecDeque::new(),
            under_way: HashMap::new(),
            idle: false,
            slow: None,
            leaving: None,
            said_goodbye: false,
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.asked.len() + self.under_way.len()
    }

    /// Whether something may be given to the client.
    pub(super) fn may_send(&self, window: usize) -> bool {
        let words = self.ready.front().is_some_and(|entry| entry.number == WORD);
        self.connected
            && !self.said_goodbye
            && self.in_flight() < window
            && (words || self.leaving.is_none() && self.slow.is_none())
    }

    /// Takes what the spool has next. True: something is ready.
    pub(super) fn take(&mut self, next: impl FnOnce(u64) -> Next) -> Taken {
        if !self.ready.is_empty() {
            return Taken::Ready;
        }
        if self.idle || self.reading.is_some() {
            return Taken::Nothing;
        }
        match next(self.after) {
            Next::Entry(entry) => {
                self.after = entry.number;
                self.ready.push_back(entry);
                Taken::Ready
            }
            Next::Stored => Taken::Stored,
            Next::Crowded | Next::Nothing => {
                self.idle = true;
                Taken::Nothing
            }
        }
    }

    /// The file has answered.
    pub(super) fn read(&mut self, read: Read) {
        self.reading = None;
        // It cannot be read now: later again.
        self.idle = read.upto == self.after;
        self.after = read.upto;
        self.ready.extend(read.entries);
    }

    /// Gives the next one to the client.
    pub(super) fn send(&mut self) -> Result<(), ClientError> {
        let Some(entry) = self.ready.pop_front() else { return Ok(()) };
        let Entry { number, topic, payload, retain, .. } = entry;
        self.client.try_publish(&*topic, QoS::AtLeastOnce, retain, payload.to_vec())?;
        self.asked.push_back(Sent { number, at: Instant::now() });
        Ok(())
    }

    /// Puts words before everything else.
    pub(super) fn say(&mut self, words: impl DoubleEndedIterator<Item = Chosen>, now_ms: i64) {
        for Chosen { topic, payload, retain, .. } in words.rev() {
            let topic = topic.into();
            self.ready.push_front(Entry { number: WORD, topic, payload, retain, at_ms: now_ms });
        }
    }

    /// The client has sent the next one with this packet id.
    pub(super) fn published(&mut self, packet_id: u16) {
        if let Some(sent) = self.asked.pop_front() {
            self.under_way.insert(packet_id, sent);
        }
    }

    /// The broker acknowledges; which one.
    pub(super) fn acknowledged(&mut self, packet_id: u16) -> Option<u64> {
        self.under_way.remove(&packet_id).map(|sent| sent.number)
    }

    /// When the acknowledgement that is due first is too late.
    pub(super) fn overdue(&self, within: Duration) -> Option<Instant> {
        let sent = self.under_way.values().chain(&self.asked);
        sent.map(|sent| sent.at).min().map(|at| at + within)
    }

    /// The only message under way, if there is just one, and it is the spool's.
    pub(super) fn alone(&self) -> Option<u64> {
        let mut sent = self.under_way.values();
        let (Some(only), None, true) = (sent.next(), sent.next(), self.asked.is_empty()) else {
            return None;
        };
        Some(only.number).filter(|number| *number != WORD)
    }

    /// Begins to leave: what is under way has a moment to be acknowledged.
    pub(super) fn leave(&mut self) {
        self.ready.retain(|entry| entry.number == WORD);
        self.leaving = Some(Instant::now() + FAREWELL);
    }

    /// Sends a DISCONNECT, if nothing keeps us any more. False: there is nobody to send it to.
    pub(super) fn say_goodbye(&mut self) -> bool {
        self.said_goodbye = true;
        self.leaving = Some(Instant::now() + GOODBYE);
        self.connected && self.client.try_disconnect().is_ok()
    }

    /// Whether we leave and nothing is under way any more.
    pub(super) fn has_left(&self) -> bool {
        self.leaving.is_some()
            && !self.said_goodbye
            && self.in_flight() == 0
            && self.ready.is_empty()
    }
}

/// What there is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Something is ready.
    Ready,
    /// The file has to be asked.
    Stored,
    /// There is nothing now.
    Nothing,
}

/// The answer of the file; for ever where it is not asked.
pub(super) async fn answered(
    reading: &mut Option<oneshot::Receiver<Read>>,
) -> Result<Read, oneshot::error::RecvError> {
    match reading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}

/// Waits until then; for ever without a time.
pub(super) async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
