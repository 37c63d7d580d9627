//! What a client publishes.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use bytes::Bytes;
use rumqttc::mqttbytes::QoS;

use super::super::inflight::{Ack, MAX_HELD};
use super::{Session, Step};
use crate::broker::access::Permit;
use crate::broker::frame::{Oversized, Properties, Publish};
use crate::broker::reason::{self, Reason};
use crate::message::Receipt;

/// A publish that may be handed on.
#[derive(Debug)]
pub(in crate::broker::door) struct Publication {
    /// Normalised, judged and allowed.
    pub(in crate::broker::door) topic: String,
    /// Where it goes.
    pub(in crate::broker::door) permit: Permit,
    /// A copy of its own, not a part of the read buffer.
    pub(in crate::broker::door) payload: Bytes,
    /// What the client says of it.
    pub(in crate::broker::door) said: Option<Arc<Properties>>,
    /// How sure the client wants to be.
    pub(in crate::broker::door) qos: QoS,
    /// Whether it is to be retained.
    pub(in crate::broker::door) retain: bool,
    /// What the acknowledgement waits for.
    pub(in crate::broker::door) receipt: Receipt,
}

impl Session {
    /// Says why the publish that was taken in last will be refused.
    pub(in crate::broker::door) fn refuse_last(&mut self, reason: &str) {
        self.inflight.refuse_last(reason::of_publish(reason));
    }

    /// Judges a PUBLISH.
    pub(super) fn publish(&mut self, publish: Publish) -> Result<Step, &'static str> {
        let Some(ack) = self.acknowledgement(publish.qos, publish.pkid)? else {
            return Ok(Step::Nothing);
        };
        if publish.said.as_ref().is_some_and(|said| said.are_too_large()) {
            let reason = "publish_properties_too_large";
            self.settle_denied(ack, reason);
            return Ok(Step::TooLarge(reason));
        }
        let (topic, permit) = match self.gate.publish(&self.who, publish.topic) {
            Ok(allowed) => allowed,
            Err(denied) => {
                self.settle_denied(ack, denied.reason);
                return Ok(Step::Denied(denied));
            }
        };
        let receipt = ack.map_or_else(Receipt::none, |ack| {
            let serial = self.inflight.open(ack);
            Receipt::new(self.mailbox.clone(), self.generation, serial)
        });
        Ok(Step::Publish(Publication {
            topic,
            permit,
            payload: Bytes::copy_from_slice(&publish.payload),
            said: publish.said,
            qos: publish.qos,
            retain: publish.retain,
            receipt,
        }))
    }

    /// Acknowledges a publish in its turn without handing it on.
    fn settle_denied(&mut self, ack: Option<Ack>, reason: &str) {
        if let Some(ack) = ack {
            self.inflight.settle(ack, reason::of_publish(reason));
        }
    }

    /// Acknowledges one that was skipped.
    pub(super) fn oversized(&mut self, what: Oversized) -> Result<Step, &'static str> {
        let ack = self.acknowledgement(what.qos, what.pkid)?.flatten();
        let reason = "publish_too_large";
        self.settle_denied(ack, reason);
        Ok(Step::TooLarge(reason))
    }

    /// How a publish is to be acknowledged; `None` for a QoS 2 message that is here already, which
    /// is not handed on twice (MQTT-4.3.3-2).
    fn acknowledgement(
        &mut self,
        qos: QoS,
        pkid: u16,
    ) -> Result<Option<Option<Ack>>, &'static str> {
        match qos {
            QoS::AtMostOnce => Ok(Some(None)),
            QoS::AtLeastOnce => Ok(Some(Some(Ack::Puback(pkid)))),
            QoS::ExactlyOnce if self.inflight.hold(pkid) => {
                if self.inflight.held() > MAX_HELD {
                    return Err("too_many_unreleased_packet_ids");
                }
                Ok(Some(Some(Ack::Pubrec(pkid))))
            }
            QoS::ExactlyOnce => {
                if !self.inflight.awaits_pubrec(pkid) {
                    self.inflight.settle(Ack::Pubrec(pkid), Reason::Success);
                }
                Ok(None)
            }
        }
    }
}
