//! What waits for one subscriber: copies in the order of their arrival, bounded, with the window of
//! those that are sent and not yet acknowledged. Pure: no lock, no clock.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use rumqttc::mqttbytes::QoS;

use crate::broker::copy::Copy;
use crate::broker::frame::Properties;

/// A copy for a subscriber. Topic, payload and properties are shared with the other subscribers'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::broker) struct Item {
    /// Where it was published: printable ASCII.
    pub(in crate::broker) topic: Arc<str>,
    /// What was published.
    pub(in crate::broker) payload: Bytes,
    /// What its publisher said of it.
    pub(in crate::broker) said: Option<Arc<Properties>>,
    /// 0 or 1: the lesser of what was published and what was granted (MQTT-3.8.4-6).
    pub(in crate::broker) qos: QoS,
    /// It was retained before the subscription (MQTT-3.3.1-8), or was published so and the subscription
    /// wants to know.
    pub(in crate::broker) retain: bool,
    /// The identifiers of the subscriptions that it comes by.
    pub(in crate::broker) subscriptions: Vec<NonZeroU32>,
    /// Our clock when it arrived, in milliseconds since the Unix epoch.
    pub(in crate::broker) at_ms: i64,
}

impl Item {
    /// A copy of this, for nobody in particular.
    pub(super) fn of(copy: &Copy<'_>) -> Self {
        Self {
            topic: copy.topic.into(),
            payload: copy.payload.clone(),
            said: copy.said.cloned(),
            qos: copy.served_qos(),
            retain: false,
            subscriptions: Vec::new(),
            at_ms: copy.at_ms,
        }
    }

    /// When it means nothing any more; `None`: never.
    fn over_at_ms(&self) -> Option<i64> {
        self.said.as_ref().and_then(|said| said.over_at_ms(self.at_ms))
    }
}

/// A copy as it is to be written to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::broker) struct Outgoing {
    /// What.
    pub(in crate::broker) item: Item,
    /// The packet id of QoS 1, 0 for QoS 0.
    pub(in crate::broker) pkid: u16,
    /// It was sent before, on an earlier connection (MQTT-3.3.1-1).
    pub(in crate::broker) dup: bool,
}

/// Most copies at QoS 1 that are sent and not acknowledged: enough to keep a client busy over a slow
/// link, and few enough for the small buffers of a microcontroller.
pub(super) const WINDOW: usize = 32;

/// What a waiting copy costs beside its topic, payload and properties, in bytes.
const OVERHEAD: usize = 192;

/// What may wait for one subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Copies.
    pub(super) messages: usize,
    /// Bytes of topics, payloads, properties and [`OVERHEAD`].
    pub(super) bytes: usize,
}

/// The copies of one subscriber.
#[derive(Debug, Default)]
pub(super) struct Queue {
    sent: VecDeque<Sent>,
    waiting: VecDeque<(u64, Item)>,
    bytes: usize,
    last_serial: u64,
    last_pkid: u16,
    /// Serials up to this one may stand in the file.
    written: u64,
    /// Serials that may stand in the file and are here no more.
    taken: Vec<u64>,
    /// The client takes fewer than [`WINDOW`].
    narrower: Option<usize>,
    /// None of those that wait is over before this.
    over_from_ms: Option<i64>,
    /// Those that were over, since somebody asked.
    expired: u64,
}

#[derive(Debug)]
struct Sent {
    serial: u64,
    pkid: u16,
    item: Item,
    /// To be sent again on this connection.
    again: bool,
}

/// What the file does not know yet: copies with their serials, and the serials of those that left.
pub(super) type News = (Vec<(u64, Item)>, Vec<u64>);

impl Queue {
    /// Bytes of all that is here.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Copies that are here, the unacknowledged included.
    pub(super) fn len(&self) -> usize {
        self.sent.len() + self.waiting.len()
    }

    /// Whether there are copies that were not sent yet.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Puts a copy at the end. Returns how many had to go for it, the oldest that were not sent yet
    /// first.
    pub(super) fn push(&mut self, item: Item, bounds: Bounds) -> u64 {
        let serial = self.next_serial();
        self.wait(serial, item);
        let mut lost = 0;
        while (self.len() > bounds.messages || self.bytes > bounds.bytes) && self.lose_oldest() {
            lost += 1;
        }
        lost
    }

    /// Gives up the oldest copy that was not sent yet. False: there is none.
    pub(super) fn lose_oldest(&mut self) -> bool {
        let Some((serial, item)) = self.waiting.pop_front() else { return false };
        self.leave(serial, &item);
        true
    }

    /// Gives up what waits and arrived before `oldest_ms`; returns how many that were. What means
    /// nothing any more goes, too.
    pub(super) fn expire(&mut self, oldest_ms: i64, now_ms: i64) -> u64 {
        if self.over_from_ms.is_some_and(|from| from <= now_ms) {
            let all = std::mem::take(&mut self.waiting);
            self.over_from_ms = None;
            for (serial, item) in all {
                if item.over_at_ms().is_some_and(|at| at <= now_ms) {
                    self.leave(serial, &item);
                    self.expired += 1;
                } else {
                    self.bytes -= cost(&item);
                    self.wait(serial, item);
                }
            }
        }
        let mut lost = 0;
        while self.waiting.front().is_some_and(|(_, item)| item.at_ms < oldest_ms) {
            lost += u64::from(self.lose_oldest());
        }
        lost
    }

    /// How many copies meant nothing any more before they could be sent, since the last call.
    pub(super) fn take_expired(&mut self) -> u64 {
        std::mem::take(&mut self.expired)
    }

    /// The next copy to write; `None` when there is none, or when the window is full. What was sent
    /// before is sent again whatever its interval: its delivery had begun (MQTT-3.3.2-5).
    pub(super) fn next(&mut self, now_ms: i64) -> Option<Outgoing> {
        let (window, underway) = (self.window(), self.sent.iter().filter(|s| !s.again).count());
        if let Some(sent) = self.sent.iter_mut().find(|sent| sent.again) {
            if underway >= window {
                return None;
            }
            sent.again = false;
            return Some(Outgoing { item: sent.item.clone(), pkid: sent.pkid, dup: true });
        }
        let over = |item: &Item| item.over_at_ms().is_some_and(|at| at <= now_ms);
        while self.waiting.front().is_some_and(|(_, item)| over(item)) {
            self.expired += u64::from(self.lose_oldest());
        }
        let (_, item) = self.waiting.front()?;
        if item.qos != QoS::AtMostOnce && !self.window_has_room() {
            return None;
        }
        let (serial, item) = self.waiting.pop_front()?;
        self.shrink();
        if item.qos == QoS::AtMostOnce {
            self.leave(serial, &item);
            return Some(Outgoing { item, pkid: 0, dup: false });
        }
        Some(self.launch(serial, item))
    }

    /// Sends a copy ahead of those that wait; `None` when the window is full.
    pub(super) fn send_first(&mut self, item: Item) -> Option<Outgoing> {
        if !self.window_has_room() || self.sent.iter().any(|sent| sent.again) {
            return None;
        }
        self.bytes += cost(&item);
        let serial = self.next_serial();
        Some(self.launch(serial, item))
    }

    /// The client has acknowledged a packet id. False: it was not sent, or is acknowledged already.
    pub(super) fn acknowledge(&mut self, pkid: u16) -> bool {
        // In order as a rule, so this finds the first one.
        let Some(at) = self.sent.iter().position(|s| s.pkid == pkid && !s.again) else {
            return false;
        };
        if let Some(sent) = self.sent.remove(at) {
            self.leave(sent.serial, &sent.item);
        }
        true
    }

    /// The client of this connection takes no more than so many unacknowledged.
    pub(super) fn narrow(&mut self, receive_maximum: usize) {
        self.narrower = (receive_maximum < WINDOW).then_some(receive_maximum);
    }

    /// The client is back: what it has not acknowledged is sent again, first and in the same order
    /// (MQTT-4.4.0-1, MQTT-4.6.0-1).
    pub(super) fn resume(&mut self) {
        self.sent.iter_mut().for_each(|sent| sent.again = true);
    }

    /// What has changed since the last call, for the file.
    pub(super) fn news(&mut self) -> News {
        let since = self.written;
        self.written = self.last_serial;
        (self.all().filter(|(s, _)| *s > since).collect(), std::mem::take(&mut self.taken))
    }

    /// Everything, for a file that is written anew.
    pub(super) fn everything(&mut self) -> Vec<(u64, Item)> {
        self.written = self.last_serial;
        self.taken.clear();
        self.all().collect()
    }

    /// Whether [`Self::news`] would have something to say.
    pub(super) fn has_news(&self) -> bool {
        !self.taken.is_empty() || self.written != self.last_serial
    }

    /// Puts back what the file had, in the order of the serials. Packet ids are given anew: the
    /// file does not keep them.
    pub(super) fn restore(&mut self, serial: u64, item: Item) {
        self.last_serial = self.last_serial.max(serial);
        self.written = self.last_serial;
        self.wait(serial, item);
    }

    fn wait(&mut self, serial: u64, item: Item) {
        self.bytes += cost(&item);
        if let Some(over_at_ms) = item.over_at_ms() {
            self.over_from_ms = Some(self.over_from_ms.map_or(over_at_ms, |at| at.min(over_at_ms)));
        }
        self.waiting.push_back((serial, item));
    }

    fn all(&self) -> impl Iterator<Item = (u64, Item)> {
        let sent = self.sent.iter().map(|sent| (sent.serial, sent.item.clone()));
        sent.chain(self.waiting.iter().cloned())
    }

    fn window(&self) -> usize {
        self.narrower.unwrap_or(WINDOW)
    }

    fn window_has_room(&self) -> bool {
        self.sent.len() < self.window()
    }

    fn launch(&mut self, serial: u64, item: Item) -> Outgoing {
        let pkid = self.next_pkid();
        self.sent.push_back(Sent { serial, pkid, item: item.clone(), again: false });
        Outgoing { item, pkid, dup: false }
    }

    fn next_serial(&mut self) -> u64 {
        self.last_serial += 1;
        self.last_serial
    }

    /// A packet id that is not in use (MQTT-2.3.1-4).
    fn next_pkid(&mut self) -> u16 {
        loop {
            self.last_pkid = self.last_pkid.checked_add(1).unwrap_or(1);
            // The window is far smaller than the ids are many.
            if !self.sent.iter().any(|sent| sent.pkid == self.last_pkid) {
                return self.last_pkid;
            }
        }
    }

    fn leave(&mut self, serial: u64, item: &Item) {
        self.bytes -= cost(item);
        // What comes and goes between two commits never touches the file.
        if serial <= self.written {
            self.taken.push(serial);
        }
    }

    fn shrink(&mut self) {
        if self.waiting.is_empty() && self.waiting.capacity() > 64 {
            self.waiting = VecDeque::new();
        }
    }
}

fn cost(item: &Item) -> usize {
    let said = item.said.as_ref().map_or(0, |said| said.cost());
    let marks = item.subscriptions.len() * size_of::<NonZeroU32>();
    item.topic.len() + item.payload.len() + said + marks + OVERHEAD
}
