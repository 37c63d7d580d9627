//! What a client subscribes to.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::num::NonZeroU32;

use rumqttc::mqttbytes::QoS;

use super::{Session, Step};
use crate::broker::access::Denied;
use crate::broker::frame::{Filter, RetainHandling, Subscribe, Unsubscribe};
use crate::broker::grant::Grant;
use crate::broker::reason::{self, Reason};
use crate::message::topic::normalised;

/// A SUBSCRIBE that has been judged.
#[derive(Debug, PartialEq)]
pub(in crate::broker::door) struct Subscription {
    /// Its packet id.
    pub(in crate::broker::door) pkid: u16,
    /// The answer to each of its filters.
    pub(in crate::broker::door) codes: Vec<Result<QoS, Reason>>,
    /// The filters that were granted, those included that the connection had before.
    pub(in crate::broker::door) granted: Vec<(String, Grant)>,
    /// Those of them that want the retained messages.
    pub(in crate::broker::door) retained: Vec<(String, Grant)>,
    /// Those of them that it had with another QoS: that subscription is replaced (MQTT-3.8.4-3).
    pub(in crate::broker::door) replaced: Vec<String>,
    /// The filters that were refused, and why.
    pub(in crate::broker::door) denied: Vec<Denied>,
}

/// Filters that one connection may have.
pub(super) const MAX_FILTERS: usize = 100;

impl Session {
    /// Goes on with what an earlier connection had subscribed to. Returns what the client may not
    /// have any more.
    pub(in crate::broker::door) fn resume(
        &mut self,
        subscriptions: Vec<(String, Grant)>,
    ) -> Vec<String> {
        let mut lost = Vec::new();
        for (filter, grant) in subscriptions {
            if self.may_have(&filter).is_ok() {
                self.subscriptions.insert(filter, grant);
            } else {
                lost.push(filter);
            }
        }
        lost
    }

    /// The filters whose copies the router brings.
    pub(in crate::broker::door) fn routed(&self) -> Vec<(String, Grant)> {
        let routed = self.subscriptions.iter().filter(|(_, grant)| grant.is_routed());
        routed.map(|(filter, grant)| (filter.clone(), *grant)).collect()
    }

    /// The filters that it has.
    pub(in crate::broker::door) fn subscriptions(&self) -> impl Iterator<Item = &String> {
        self.subscriptions.keys()
    }

    /// Answers a SUBSCRIBE.
    pub(in crate::broker::door) fn subscribed(&mut self, subscription: &Subscription) {
        let Subscription { pkid, codes, denied, .. } = subscription;
        let reason = denied.first().map(|denied| denied.reason);
        self.writer.suback(&mut self.out, *pkid, codes, reason);
    }

    /// Takes back what a SUBSCRIBE was granted, for a reason of this name.
    pub(in crate::broker::door) fn refuse(
        &mut self,
        subscription: &mut Subscription,
        reason: &'static str,
    ) {
        for (filter, _) in subscription.granted.drain(..) {
            self.subscriptions.remove(&filter);
        }
        subscription.retained.clear();
        subscription.replaced.clear();
        subscription.denied.push(Denied { reason, topic: String::new() });
        subscription.codes.fill(Err(reason::of_subscribe(reason)));
    }

    /// Judges a SUBSCRIBE.
    pub(super) fn subscribe(&mut self, subscribe: Subscribe) -> Result<Step, &'static str> {
        if subscribe.pkid == 0 {
            return Err("packet_id_0");
        }
        let mut answer = Subscription {
            pkid: subscribe.pkid,
            codes: Vec::new(),
            granted: Vec::new(),
            retained: Vec::new(),
            replaced: Vec::new(),
            denied: Vec::new(),
        };
        for filter in subscribe.filters {
            // As the topics are that it shall match.
            let path = normalised(&filter.path).into_owned();
            match self.may_have(&path) {
                Ok(()) => self.grant(path, &filter, subscribe.id, &mut answer),
                Err(reason) => {
                    answer.denied.push(Denied { reason, topic: path });
                    answer.codes.push(Err(reason::of_subscribe(reason)));
                }
            }
        }
        Ok(Step::Subscribe(answer))
    }

    fn grant(
        &mut self,
        path: String,
        filter: &Filter,
        id: Option<NonZeroU32>,
        answer: &mut Subscription,
    ) {
        // QoS 2 is granted as 1 (MQTT-3.8.4-6): a copy may come twice after a break.
        let qos = match filter.qos {
            QoS::AtMostOnce => QoS::AtMostOnce,
            QoS::AtLeastOnce | QoS::ExactlyOnce => QoS::AtLeastOnce,
        };
        let (no_local, retain_as_published) = (filter.no_local, filter.retain_as_published);
        let grant = Grant { qos, no_local, retain_as_published, id };
        let before = self.subscriptions.insert(path.clone(), grant);
        if before.is_some_and(|before| before.qos != qos) {
            answer.replaced.push(path.clone());
        }
        let retained = match filter.retained {
            RetainHandling::Always => true,
            RetainHandling::IfNew => before.is_none(),
            RetainHandling::Never => false,
        };
        if retained {
            answer.retained.push((path.clone(), grant));
        }
        answer.granted.push((path, grant));
        answer.codes.push(Ok(qos));
    }

    fn may_have(&self, filter: &str) -> Result<(), &'static str> {
        if filter.contains('\0') {
            return Err("subscribe_to_malformed_filter");
        }
        self.gate.subscribe(&self.who, filter)?;
        if self.subscriptions.len() >= MAX_FILTERS && !self.subscriptions.contains_key(filter) {
            return Err("subscribe_to_too_many_filters");
        }
        Ok(())
    }

    /// Always answered, also for what was never subscribed (MQTT-3.10.4-5).
    pub(super) fn unsubscribe(&mut self, unsubscribe: Unsubscribe) -> Result<Step, &'static str> {
        let Unsubscribe { pkid, filters } = unsubscribe;
        if pkid == 0 {
            return Err("packet_id_0");
        }
        if filters.is_empty() {
            return Err("unsubscribe_from_nothing");
        }
        let (mut had, mut codes) = (Vec::new(), Vec::new());
        for filter in filters {
            let filter = normalised(&filter).into_owned();
            if self.subscriptions.remove(&filter).is_some() {
                had.push(filter);
                codes.push(Reason::Success);
            } else {
                codes.push(Reason::NoSubscription);
            }
        }
        self.writer.unsuback(&mut self.out, pkid, &codes);
        Ok(Step::Unsubscribe(had))
    }
}
