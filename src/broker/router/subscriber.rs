//! A connection's subscriptions, kept alive across routers by a task of their own.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::mqttbytes::QoS;
use rumqttd::local::LinkRx;
use rumqttd::protocol::Packet;
use rumqttd::{Forward, Notification};
use tokio::sync::{mpsc, oneshot, watch};

use super::keeper::MAX_FILTERS;
use super::link::{self, Generation, Gone, Link};
use super::watched::{Watched, skipped};
use super::{Shared, Slot, parcel};
use crate::broker::frame::Properties;
use crate::broker::grant::Grant;
use crate::broker::identity::Author;

/// A connection's end: what it asks for, and the copies it gets.
///
/// Copies wait in a short channel; when it is full they wait in the router's log, and when that
/// rolls over they are lost and counted. Nothing else waits for a slow subscriber.
#[derive(Debug)]
pub(in crate::broker) struct Subscriber {
    commands: mpsc::Sender<Command>,
    /// The copies, in the order of each filter's log.
    pub(in crate::broker) deliveries: mpsc::Receiver<Delivery>,
}

/// A copy for a subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::broker) struct Delivery {
    /// Where it was published.
    pub(in crate::broker) topic: Bytes,
    /// What was published.
    pub(in crate::broker) payload: Bytes,
    /// What its publisher said of it, and when it arrived.
    pub(in crate::broker) said: Option<(Arc<Properties>, i64)>,
    /// It was published with the retain flag, and the subscription wants to know.
    pub(in crate::broker) retain: bool,
    /// The identifier of the subscription that it comes by.
    pub(in crate::broker) subscription: Option<NonZeroU32>,
}

#[derive(Debug)]
enum Command {
    Subscribe(Vec<(String, Grant)>, oneshot::Sender<()>),
    Unsubscribe(Vec<String>, oneshot::Sender<()>),
}

/// Copies on their way to one connection.
const DELIVERIES: usize = 16;

/// Commands on their way; a connection waits for the answer to each.
const COMMANDS: usize = 1;

/// How long a subscriber goes on reading a router that is being replaced.
const FAREWELL: Duration = Duration::from_millis(20);

/// Pause between attempts to open a link.
const LINK_AGAIN: Duration = Duration::from_secs(1);

/// Opens a subscriber; its task ends when it is dropped.
pub(super) fn open(shared: &Arc<Shared>, author: Author) -> Subscriber {
    let (commands, inbox) = mpsc::channel(COMMANDS);
    let (outbox, deliveries) = mpsc::channel(DELIVERIES);
    shared.pumps.fetch_add(1, Ordering::AcqRel);
    let pump = Pump {
        slot: Slot::take(shared),
        generations: shared.generations.subscribe(),
        link: None,
        author,
        filters: Vec::new(),
        last_number: 0,
        inbox,
        outbox,
        owed: 0,
        answer: None,
        joining: None,
    };
    shared.tasks.spawn(pump.run());
    Subscriber { commands, deliveries }
}

impl Subscriber {
    /// Subscribes, in place of an earlier grant for the same filter; the answer comes when whatever is
    /// published from then on will be delivered. Wait for it before the next command.
    pub(in crate::broker) fn subscribe(
        &self,
        filters: Vec<(String, Grant)>,
    ) -> oneshot::Receiver<()> {
        let (done, answer) = oneshot::channel();
        self.command(Command::Subscribe(filters, done));
        answer
    }

    /// Unsubscribes; copies that are on their way still come. Wait for the answer as well.
    pub(in crate::broker) fn unsubscribe(&self, filters: Vec<String>) -> oneshot::Receiver<()> {
        let (done, answer) = oneshot::channel();
        self.command(Command::Unsubscribe(filters, done));
        answer
    }

    fn command(&self, command: Command) {
        // There is room, since every answer is waited for. Were there none, the command's sender
        // would be dropped, and that is an answer, too.
        let _ = self.commands.try_send(command);
    }
}

/// The task between the router and one connection.
struct Pump {
    slot: Slot,
    generations: watch::Receiver<Arc<Generation>>,
    link: Option<Link>,
    /// As whom its client publishes.
    author: Author,
    filters: Vec<Watched>,
    last_number: usize,
    inbox: mpsc::Receiver<Command>,
    outbox: mpsc::Sender<Delivery>,
    /// Subscriptions that the router has yet to confirm. Without that nothing is sure: it takes what
    /// waits in one link's buffer before what was put into another's earlier.
    owed: usize,
    /// Who waits for the confirmations.
    answer: Option<oneshot::Sender<()>>,
    joining: Option<Arc<Generation>>,
}

/// The connection has gone.
struct Left;

impl Pump {
    async fn run(mut self) {
        self.join().await;
        while self.turn().await.is_ok() {}
        if let Some((sender, _)) = self.link.take() {
            link::leave(sender).await;
        }
    }

    async fn turn(&mut self) -> Result<(), Left> {
        tokio::select! {
            command = self.inbox.recv() => self.obey(command.ok_or(Left)?).await,
            notification = next(&mut self.link) => return self.pass_on(notification).await,
            changed = self.generations.changed() => {
                changed.map_err(|_| Left)?;
                self.move_over().await?;
            }
            () = tokio::time::sleep(LINK_AGAIN), if self.link.is_none() => self.join().await,
        }
        Ok(())
    }

    async fn obey(&mut self, command: Command) {
        let (result, done) = match command {
            Command::Subscribe(filters, done) => (self.subscribe(filters).await, done),
            Command::Unsubscribe(filters, done) => (self.unsubscribe(&filters).await, done),
        };
        self.answer = Some(done);
        match result {
            Ok(()) => self.settle(),
            Err(Gone { .. }) => self.unlink(),
        }
    }

    async fn subscribe(&mut self, filters: Vec<(String, Grant)>) -> Result<(), Gone> {
        for (filter, grant) in filters {
            match self.filters.iter().position(|w| w.filter == filter) {
                Some(at) => self.change(at, grant),
                None => {
                    self.last_number += 1;
                    let number = self.last_number;
                    let watched = Watched { filter, grant, number, next: None };
                    self.ask_for(&watched.filter, watched.mark());
                    self.slot.shared.filters.fetch_add(1, Ordering::AcqRel);
                    self.filters.push(watched);
                }
            }
        }
        match &mut self.link {
            Some((sender, _)) => link::ring(sender).await,
            None => Ok(()),
        }
    }

    async fn unsubscribe(&mut self, filters: &[String]) -> Result<(), Gone> {
        let before = self.filters.len();
        self.filters.retain(|w| !filters.contains(&w.filter));
        self.slot.shared.filters.fetch_sub(before - self.filters.len(), Ordering::AcqRel);
        let Some((sender, _)) = &mut self.link else { return Ok(()) };
        for filter in filters {
            link::drop_filter(sender, filter);
        }
        link::ring(sender).await
    }

    fn change(&mut self, at: usize, grant: Grant) {
        let Some(watched) = self.filters.get_mut(at) else { return };
        let unmarked = watched.mark().is_none();
        watched.grant = grant;
        if let (true, Some(mark)) = (unmarked, watched.mark()) {
            let filter = watched.filter.clone();
            self.ask_for(&filter, Some(mark));
        }
    }

    fn ask_for(&mut self, filter: &str, mark: Option<usize>) {
        if self.generations.borrow().note_filter(filter) >= MAX_FILTERS {
            self.slot.shared.enough.notify_one();
        }
        if let Some((sender, _)) = &mut self.link {
            link::add_filter(sender, filter, mark);
            self.owed += 1;
        }
    }

    /// Tells who waits, once everything is confirmed.
    fn settle(&mut self) {
        if self.owed > 0 {
            return;
        }
        if let Some(answer) = self.answer.take() {
            // A connection that does not wait any more has gone.
            let _ = answer.send(());
        }
        if let Some(generation) = self.joining.take() {
            generation.joined.send_modify(|n| *n += 1);
        }
    }

    /// Gives a link up. The filters are noted, and the next link will have them: that is answer
    /// enough.
    fn unlink(&mut self) {
        self.link = None;
        self.joining = None;
        self.owed = 0;
        self.settle();
    }

    /// Opens a link to the newest router, and subscribes to everything there.
    async fn join(&mut self) {
        let generation = Arc::clone(&self.generations.borrow_and_update());
        self.owed = 0;
        self.link = link::connect(&generation, self.slot.name()).await.ok();
        let Some((sender, _)) = &mut self.link else { return self.unlink() };
        for watched in &mut self.filters {
            watched.next = None;
            generation.note_filter(&watched.filter);
            link::add_filter(sender, &watched.filter, watched.mark());
            self.owed += 1;
        }
        self.joining = Some(generation);
        match link::ring(sender).await {
            Ok(()) => self.settle(),
            Err(Gone { .. }) => self.unlink(),
        }
    }

    /// Reads what the old router still has, then joins the new one.
    async fn move_over(&mut self) -> Result<(), Left> {
        while let Ok(notification) = tokio::time::timeout(FAREWELL, next(&mut self.link)).await {
            let over = notification.is_err();
            self.pass_on(notification).await?;
            if over {
                break;
            }
        }
        self.join().await;
        Ok(())
    }

    async fn pass_on(
        &mut self,
        notification: Result<Option<Notification>, Gone>,
    ) -> Result<(), Left> {
        match notification {
            Err(Gone { .. }) => self.unlink(),
            Ok(Some(Notification::Forward(forward))) => return self.deliver(forward).await,
            Ok(Some(Notification::Unschedule)) => {
                // The router has paused this link until it is woken.
                if let Some((_, receiver)) = &self.link {
                    if receiver.wake().await.is_err() {
                        self.unlink();
                    }
                }
            }
            Ok(Some(other)) => {
                if let Some(Packet::SubAck(..)) = other.into() {
                    self.owed = self.owed.saturating_sub(1);
                    self.settle();
                }
            }
            Ok(None) => {}
        }
        Ok(())
    }

    async fn deliver(&mut self, forward: Forward) -> Result<(), Left> {
        let (topic, payload) = (forward.publish.topic, forward.publish.payload);
        if let (Some((_, at)), Ok(name)) = (forward.cursor, std::str::from_utf8(&topic)) {
            let lost = skipped(&mut self.filters, name, at);
            self.slot.shared.counters.broker_copies_lost.add(lost);
        }
        let marks = forward.properties.map(|found| found.subscription_identifiers);
        let mark = marks.and_then(|marks| marks.first().copied());
        let Some(delivery) = self.unpack(topic, payload, mark) else { return Ok(()) };
        self.outbox.send(delivery).await.map_err(|_| Left)
    }

    /// A copy as its subscription wants it; `None`: not at all. `mark`: of the filter that it came by,
    /// where that has options.
    fn unpack(&self, topic: Bytes, sealed: Bytes, mark: Option<usize>) -> Option<Delivery> {
        let grant = match mark {
            None => Grant::plain(QoS::AtMostOnce),
            // One that was left meanwhile wants nothing any more.
            Some(number) => self.filters.iter().find(|w| w.number == number)?.grant,
        };
        let parcel = parcel::open(sealed)?;
        if grant.no_local && parcel.author == self.author {
            return None;
        }
        let retain = parcel.retain && grant.retain_as_published;
        let (payload, said, subscription) = (parcel.payload, parcel.said, grant.id);
        Some(Delivery { topic, payload, said, retain, subscription })
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.slot.shared.filters.fetch_sub(self.filters.len(), Ordering::AcqRel);
        self.slot.shared.pumps.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The next notification; waits for ever without a link. Cancel-safe.
async fn next(link: &mut Option<Link>) -> Result<Option<Notification>, Gone> {
    match link {
        Some((_, receiver)) => receive(receiver).await,
        None => std::future::pending().await,
    }
}

async fn receive(receiver: &mut LinkRx) -> Result<Option<Notification>, Gone> {
    receiver.next().await.map_err(|e| Gone::from(&e))
}
