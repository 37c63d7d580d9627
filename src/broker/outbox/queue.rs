//! What waits for one subscriber: copies in the order of their arrival, bounded, with the window of
//! those that are sent and not yet acknowledged. Pure: no lock, no clock.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

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

#[cfg(test)]
mod tests {
    use super::*;

    const ROOMY: Bounds = Bounds { messages: 1_000, bytes: 1 << 20 };

    fn item(n: u32, qos: QoS) -> Item {
        let payload = Bytes::from(n.to_string());
        let at_ms = i64::from(n);
        Item { qos, ..Item::of(&Copy::ours("t", &payload, at_ms)) }
    }

    fn filled(range: std::ops::Range<u32>, bounds: Bounds) -> (Queue, u64) {
        let mut queue = Queue::default();
        let lost = range.map(|n| queue.push(item(n, QoS::AtLeastOnce), bounds)).sum();
        (queue, lost)
    }

    fn sent(queue: &mut Queue) -> Vec<(String, u16, bool)> {
        let next = std::iter::from_fn(|| queue.next(0));
        next.map(|o| (String::from_utf8(o.item.payload.to_vec()).unwrap(), o.pkid, o.dup)).collect()
    }

    #[test]
    fn the_window_is_bounded_and_an_acknowledgement_opens_it() {
        let (mut queue, _) = filled(0..100, ROOMY);
        let first = sent(&mut queue);
        assert_eq!(first.len(), WINDOW);
        assert_eq!(first[0], ("0".to_owned(), 1, false));
        assert!(queue.acknowledge(1));
        assert!(!queue.acknowledge(1), "twice");
        assert!(!queue.acknowledge(999), "never sent");
        assert_eq!(sent(&mut queue), [(WINDOW.to_string(), 33, false)]);
    }

    #[test]
    fn what_was_not_acknowledged_is_sent_again_first_with_its_packet_id_and_dup() {
        let (mut queue, _) = filled(0..3, ROOMY);
        sent(&mut queue);
        queue.acknowledge(2);
        queue.push(item(3, QoS::AtLeastOnce), ROOMY);
        queue.resume();
        assert!(!queue.acknowledge(1), "not sent on this connection yet");
        let expected = [("0", 1, true), ("2", 3, true), ("3", 4, false)];
        assert_eq!(sent(&mut queue), expected.map(|(p, id, dup)| (p.to_owned(), id, dup)));
    }

    #[test]
    fn a_client_that_takes_fewer_gets_no_more_whether_new_or_again() {
        let (mut queue, _) = filled(0..6, ROOMY);
        assert_eq!(sent(&mut queue).len(), 6);
        queue.resume();
        queue.narrow(2);
        queue.push(item(6, QoS::AtLeastOnce), ROOMY);
        let ids = |queue: &mut Queue| sent(queue).iter().map(|s| s.1).collect::<Vec<_>>();
        assert_eq!(ids(&mut queue), [1, 2]);
        queue.acknowledge(1);
        assert_eq!(ids(&mut queue), [3]);
        for pkid in 2..6 {
            assert!(queue.acknowledge(pkid));
            // The new one, too, once those that were sent before leave room for it.
            assert_eq!(ids(&mut queue), [pkid + 2]);
        }
    }

    #[test]
    fn a_packet_id_in_use_is_not_given_again_and_none_is_zero() {
        let (mut queue, _) = filled(0..1, ROOMY);
        assert_eq!(sent(&mut queue)[0].1, 1);
        for n in 0..70_000 {
            queue.push(item(n, QoS::AtLeastOnce), ROOMY);
            let pkid = queue.next(0).unwrap().pkid;
            assert!(pkid > 1, "{pkid}");
            assert!(queue.acknowledge(pkid));
        }
    }

    #[test]
    fn qos_0_keeps_its_place_and_needs_no_window() {
        let (mut queue, _) = filled(0..32, ROOMY);
        queue.push(item(500, QoS::AtMostOnce), ROOMY);
        queue.push(item(501, QoS::AtLeastOnce), ROOMY);
        queue.push(item(502, QoS::AtMostOnce), ROOMY);
        let out = sent(&mut queue);
        assert_eq!(out.last().unwrap(), &("500".to_owned(), 0, false));
        queue.acknowledge(1);
        let rest: Vec<_> = sent(&mut queue).into_iter().map(|(p, ..)| p).collect();
        assert_eq!(rest, ["501", "502"]);
    }

    #[test]
    fn a_full_queue_loses_its_oldest_and_counts_them() {
        let bounds = Bounds { messages: 50, ..ROOMY };
        let (mut queue, lost) = filled(0..120, bounds);
        assert_eq!((lost, queue.len()), (70, 50));
        assert_eq!(sent(&mut queue)[0].0, "70");
        let small = Bounds { bytes: 1_000, ..ROOMY };
        let (queue, lost) = filled(0..100, small);
        assert!(queue.bytes() <= 1_000 && lost == 100 - queue.len() as u64);
        // What is larger than all the room is itself what goes.
        let mut queue = Queue::default();
        let huge = Item { payload: vec![0; 2_000].into(), ..item(1, QoS::AtLeastOnce) };
        assert_eq!((queue.push(huge, small), queue.len(), queue.bytes()), (1, 0, 0));
    }

    #[test]
    fn what_is_sent_is_never_lost_to_newer_copies() {
        let bounds = Bounds { messages: WINDOW, ..ROOMY };
        let (mut queue, _) = filled(0..32, bounds);
        sent(&mut queue);
        assert_eq!(queue.push(item(99, QoS::AtLeastOnce), bounds), 1);
        queue.resume();
        assert_eq!(sent(&mut queue).len(), WINDOW);
    }

    #[test]
    fn what_waits_too_long_expires() {
        let (mut queue, _) = filled(0..10, ROOMY);
        assert_eq!(queue.expire(4, 0), 4);
        assert_eq!(sent(&mut queue)[0].0, "4");
    }

    #[test]
    fn the_file_hears_only_of_what_is_still_there() {
        let (mut queue, _) = filled(0..3, ROOMY);
        sent(&mut queue);
        queue.acknowledge(1);
        let (new, taken) = queue.news();
        assert_eq!(new.iter().map(|(s, _)| *s).collect::<Vec<_>>(), [2, 3]);
        assert!(taken.is_empty(), "the first one came and went");
        queue.acknowledge(2);
        queue.push(item(9, QoS::AtMostOnce), ROOMY);
        assert!(queue.has_news());
        let (new, taken) = queue.news();
        assert_eq!((new[0].0, taken), (4, vec![2]));
        assert!(!queue.has_news());
        assert_eq!(queue.everything().len(), 2);
    }

    #[test]
    fn what_the_file_had_comes_back_in_order() {
        let mut queue = Queue::default();
        queue.restore(7, item(1, QoS::AtLeastOnce));
        queue.restore(9, item(2, QoS::AtLeastOnce));
        assert!(!queue.has_news());
        queue.push(item(3, QoS::AtLeastOnce), ROOMY);
        assert_eq!(queue.news().0[0].0, 10);
        assert_eq!(
            sent(&mut queue).iter().map(|s| s.0.as_str()).collect::<Vec<_>>(),
            ["1", "2", "3"]
        );
        queue.acknowledge(1);
        assert_eq!(queue.news().1, [7]);
    }

    #[test]
    fn a_copy_sent_ahead_shares_the_window() {
        let (mut queue, _) = filled(0..5, ROOMY);
        assert_eq!(queue.send_first(item(50, QoS::AtLeastOnce)).unwrap().pkid, 1);
        assert_eq!(sent(&mut queue).len(), 5);
        while queue.send_first(item(51, QoS::AtLeastOnce)).is_some() {}
        assert_eq!(queue.len(), WINDOW);
        queue.resume();
        assert!(queue.send_first(item(52, QoS::AtLeastOnce)).is_none());
    }

    fn expiring(n: u32, expiry_s: u32) -> Item {
        let said = Properties { expiry_s: Some(expiry_s), ..Properties::default() };
        Item { said: Some(Arc::new(said)), ..item(n, QoS::AtLeastOnce) }
    }

    #[test]
    fn what_means_nothing_any_more_is_not_sent_and_goes_from_the_middle_too() {
        let mut queue = Queue::default();
        for (n, expiry_s) in [(0, 10), (1, 1), (2, 5), (3, 2)] {
            queue.push(expiring(n, expiry_s), ROOMY);
        }
        queue.push(item(4, QoS::AtLeastOnce), ROOMY);
        queue.news();
        assert_eq!((queue.expire(0, 1_000), queue.take_expired()), (0, 0));
        assert_eq!((queue.expire(0, 2_500), queue.take_expired()), (0, 2));
        assert_eq!(queue.news().1, [2, 4], "the file hears of it");
        let whole: usize = queue.all().map(|(_, item)| cost(&item)).sum();
        assert_eq!(queue.bytes(), whole);
        // Without a look at what has expired it is seen when its turn comes.
        assert_eq!(queue.next(6_000).unwrap().item.at_ms, 0);
        assert_eq!(queue.next(6_000).unwrap().item.at_ms, 4);
        assert_eq!(queue.take_expired(), 1);
        // Its delivery had begun.
        queue.resume();
        assert_eq!(queue.next(60_000).unwrap().item.at_ms, 0);
    }

    #[test]
    fn what_a_copy_costs_is_not_understated() {
        assert!(2 * size_of::<(u64, Item)>() <= OVERHEAD + 64);
        let bare = cost(&item(1, QoS::AtLeastOnce));
        let said = Properties { passed_on: vec![0; 1_000].into(), expiry_s: None };
        let more = Item { said: Some(Arc::new(said)), ..item(1, QoS::AtLeastOnce) };
        assert!(cost(&more) >= bare + 1_000);
    }
}
