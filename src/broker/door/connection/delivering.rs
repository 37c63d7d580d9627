//! The way of copies to the client: retained messages first, then what waits in its queue (QoS 1),
//! and what the router brings (QoS 0).

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::mqttbytes::QoS;

use super::super::events::{End, Event, Waiting};
use super::super::session::Subscription;
use super::Connection;
use super::oversight::{Emission, emit};
use crate::broker::board::Sort;
use crate::broker::frame::{Disconnect, Flags, Properties};
use crate::broker::outbox::{Item, Outbox, Outgoing};
use crate::broker::retained::Retained;
use crate::broker::router::Delivery;

/// Retained messages on their way to a client that has subscribed.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// With the identifier of the subscription that brings it.
    pub(super) messages: VecDeque<(Retained, Option<NonZeroU32>)>,
    /// The next one waits for the client's acknowledgements.
    pub(super) blocked: bool,
}

/// A client that subscribes again and again and never acknowledges keeps no more of them waiting.
const MAX_BACKLOG: usize = 12_000;

impl<S> Connection<S> {
    /// Goes on with a session that was kept: what it had subscribed to at QoS 0 the router delivers.
    pub(super) fn resume(&mut self) {
        let Some(outbox) = &self.outbox else { return };
        outbox.narrow(self.session.receive_maximum());
        for filter in self.session.resume(outbox.filters()) {
            outbox.unsubscribe(&filter);
        }
        let filters = self.session.routed();
        if filters.is_empty() || !self.house.router.has_room_for(filters.len()) {
            return;
        }
        let subscriber = self.house.router.subscriber(self.author);
        self.waiting = Some(Waiting::Answer(subscriber.subscribe(filters), None));
        self.subscriber = Some(subscriber);
    }

    pub(super) fn subscribe(&mut self, mut subscription: Subscription) -> Result<(), End> {
        for denied in &subscription.denied {
            self.refused(Sort::Subscription, denied.reason, &denied.topic);
        }
        let routed = subscription.granted.iter().filter(|(_, grant)| grant.is_routed()).count();
        let queued = subscription.granted.len() - routed;
        if !self.house.router.has_room_for(routed) || !self.house.outboxes().has_room_for(queued) {
            let reason = "subscribe_to_too_many_filters_in_all";
            self.refused(Sort::Subscription, reason, "");
            self.session.refuse(&mut subscription, reason);
        }
        self.seat.subscribes(self.session.subscriptions());
        if !subscription.granted.is_empty() && self.backlog.messages.len() > MAX_BACKLOG {
            return Err(End::Closed("retained_never_acknowledged"));
        }
        if queued > 0 && self.outbox.is_none() && !subscription.granted.is_empty() {
            let (identity, client_id) = self.called.clone();
            let outbox = self.house.outboxes().open(identity, client_id);
            outbox.narrow(self.session.receive_maximum());
            self.outbox = Some(outbox);
        }
        for (filter, grant) in &subscription.granted {
            if let Some(outbox) = &self.outbox {
                // The new one stands before the old one ends: a copy may come twice, none is missed.
                outbox.subscribe(filter, *grant);
            }
        }
        if queued > 0 || self.keeps() {
            self.house.state.changed();
        }
        let routed = subscription.granted.iter().filter(|(_, grant)| grant.is_routed());
        let routed: Vec<_> = routed.cloned().collect();
        if routed.is_empty() {
            self.subscribed(subscription);
            return Ok(());
        }
        let subscriber =
            self.subscriber.get_or_insert_with(|| self.house.router.subscriber(self.author));
        self.waiting = Some(Waiting::Answer(subscriber.subscribe(routed), Some(subscription)));
        Ok(())
    }

    pub(super) fn unsubscribe(&mut self, filters: Vec<String>) {
        self.seat.subscribes(self.session.subscriptions());
        if let Some(outbox) = &self.outbox {
            filters.iter().for_each(|filter| outbox.unsubscribe(filter));
        }
        if self.keeps() {
            self.house.state.changed();
        }
        if let Some(subscriber) = &self.subscriber {
            self.waiting = Some(Waiting::Answer(subscriber.unsubscribe(filters), None));
        }
    }

    pub(super) fn answered(&mut self) {
        if let Some(Waiting::Answer(_, Some(subscription))) = self.waiting.take() {
            self.subscribed(subscription);
        }
    }

    fn subscribed(&mut self, subscription: Subscription) {
        self.session.subscribed(&subscription);
        // Also for a subscription that was there before (MQTT-3.8.4-3), unless it was asked otherwise.
        let id = subscription.retained.first().and_then(|(_, grant)| grant.id);
        let retained = self.house.retained(&subscription.retained, self.author);
        self.backlog.messages.extend(retained.into_iter().map(|message| (message, id)));
        let granted = |filter: &String| {
            subscription.granted.iter().any(|(f, grant)| f == filter && !grant.is_routed())
        };
        let left: Vec<_> = subscription.replaced.into_iter().filter(granted).collect();
        if let Some(subscriber) = self.subscriber.as_ref().filter(|_| !left.is_empty()) {
            self.waiting = Some(Waiting::Answer(subscriber.unsubscribe(left), None));
        }
    }

    /// Writes what may be written now of all that is not the router's.
    pub(super) fn deliver_own(&mut self) {
        self.backlog.blocked = false;
        while self.session.can_deliver() {
            let Some((kept, id)) = self.backlog.messages.front() else { break };
            let over =
                |said: &Arc<Properties>| said.are_over(kept.at_ms, self.house.clock.now_ms());
            if kept.said.as_ref().is_some_and(over) {
                self.house.counters.broker_messages_expired.increment();
                self.backlog.messages.pop_front();
                continue;
            }
            let flags = match (kept.qos, &self.outbox) {
                (QoS::AtMostOnce, _) | (_, None) => Flags { retain: true, ..Flags::default() },
                (_, Some(outbox)) => match outbox.send_first(as_item(kept, *id)) {
                    Some(sent) => Flags { pkid: sent.pkid, dup: false, retain: true },
                    None => {
                        self.backlog.blocked = true;
                        break;
                    }
                },
            };
            if let Some((kept, id)) = self.backlog.messages.pop_front() {
                let said = kept.said.as_deref().map(|said| (said, kept.at_ms));
                let (topic, payload, subscriptions) =
                    (kept.topic.as_bytes(), &kept.payload, id.as_slice());
                if !self.emit(&Emission { topic, payload, said, subscriptions, flags }) {
                    self.acknowledged(flags.pkid);
                }
            }
        }
        // What is withheld makes room for what comes after it.
        while self.deliver_queued() {}
    }

    /// Writes what is in the queue, as far as it may be. True: there was something to be withheld, and
    /// there may be more.
    fn deliver_queued(&mut self) -> bool {
        if !self.session.can_deliver() || !self.may_deliver() {
            return false;
        }
        let Some(outbox) = &self.outbox else { return false };
        let (session, house) = (&mut self.session, &self.house);
        let (mut withheld, mut sent, name) = (Vec::new(), false, &self.origin.name);
        outbox.drain(house.clock.now_ms(), |Outgoing { item, pkid, dup }| {
            sent = true;
            let copy = Emission {
                topic: item.topic.as_bytes(),
                payload: &item.payload,
                said: item.said.as_deref().map(|said| (said, item.at_ms)),
                subscriptions: &item.subscriptions,
                flags: Flags { pkid, dup, retain: item.retain },
            };
            if !emit(house, session, (&self.seat, name), &copy) {
                withheld.push(pkid);
            }
            session.can_deliver()
        });
        let again = !withheld.is_empty();
        withheld.into_iter().for_each(|pkid| self.acknowledged(pkid));
        if self.keeps() && sent {
            self.house.state.changed();
        }
        again
    }

    /// Whether copies may follow now. What waits for acknowledgements holds up nothing that was sent
    /// before it.
    pub(super) fn may_deliver(&self) -> bool {
        self.backlog.messages.is_empty() || self.backlog.blocked
    }

    pub(super) fn acknowledged(&mut self, pkid: u16) {
        if self.outbox.as_ref().is_some_and(|outbox| outbox.acknowledge(pkid)) && self.keeps() {
            self.house.state.changed();
        }
    }

    pub(super) fn deliver(&mut self, copy: Option<Delivery>) -> Result<(), End> {
        let mut next = copy.ok_or(End::Closed("subscriptions_lost")).map(Some)?;
        while let Some(copy) = next {
            self.pass_on(&copy);
            let subscriber = self.subscriber.as_mut().filter(|_| self.session.can_deliver());
            next = subscriber.and_then(|s| s.deliveries.try_recv().ok());
        }
        Ok(())
    }

    /// Writes a copy that the router has brought.
    fn pass_on(&mut self, copy: &Delivery) {
        let Delivery { topic, payload, said, retain, subscription } = copy;
        let said = said.as_ref().map(|(said, at_ms)| (&**said, *at_ms));
        let over = said.is_some_and(|(s, at_ms)| s.are_over(at_ms, self.house.clock.now_ms()));
        if over {
            return self.house.counters.broker_messages_expired.increment();
        }
        let flags = Flags { retain: *retain, ..Flags::default() };
        let subscriptions = subscription.as_slice();
        self.emit(&Emission { topic, payload, said, subscriptions, flags });
    }

    /// The client says goodbye, perhaps with another time for which its session is to be kept.
    pub(super) fn dismiss(&self, goodbye: Disconnect) -> End {
        if let (Some(outbox), Some(expiry_s), true) = (&self.outbox, goodbye.expiry_s, self.kept) {
            outbox.keep(Duration::from_secs(expiry_s.into()));
        }
        if goodbye.with_will { End::DisconnectWithWill } else { End::Disconnect }
    }

    /// Lets go of the session, which begins the time for which it is kept, if it is.
    pub(super) fn let_go(&mut self) {
        if let Some(outbox) = self.outbox.take() {
            let (lost, name) = (outbox.lost(), &self.origin.name);
            if lost > 0 {
                tracing::info!("a client of {name} has lost {lost} messages for want of reading");
            }
            outbox.leave(self.house.clock.now_ms());
            self.house.state.changed();
        }
    }

    fn keeps(&self) -> bool {
        self.outbox.is_some() && self.kept
    }
}

fn as_item(kept: &Retained, id: Option<NonZeroU32>) -> Item {
    Item {
        topic: kept.topic.clone(),
        payload: kept.payload.clone(),
        said: kept.said.clone(),
        qos: QoS::AtLeastOnce,
        retain: true,
        subscriptions: id.into_iter().collect(),
        at_ms: kept.at_ms,
    }
}

/// Waits until the queue may have something. Cancel-safe.
pub(super) async fn rung(outbox: Option<&Outbox>) -> Event {
    match outbox {
        Some(outbox) => outbox.rung().await,
        None => std::future::pending().await,
    }
    Event::Rung
}
