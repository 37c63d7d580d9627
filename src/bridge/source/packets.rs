//! What a source does with each packet of its broker, and with each completion of the pipeline.

use super::super::acks::{Ack, Due};
use super::super::failure::{Failure, Step};
use super::super::link::{Leaving, Link, Progress};
use super::{Ended, Source};
use crate::message::{Completion, MAX_PAYLOAD, Message, Origin, OriginKind, Outcome, Receipt};

use bytes::Bytes;
use rumqttc::{ConnAck, Packet, Publish, QoS, SubAck, SubscribeReasonCode};
use std::ops::ControlFlow;
use std::sync::Arc;
use tokio::time::Instant;
use tracing::{info, warn};

impl Source {
    pub(super) fn on_packet(&mut self, link: &mut Link, packet: Packet) -> ControlFlow<Ended> {
        link.heard = Instant::now();
        match packet {
            Packet::Publish(publish) => self.on_publish(link, &publish),
            Packet::ConnAck(connack) if link.progress == Progress::Dialling => {
                return self.on_connack(link, &connack);
            }
            Packet::SubAck(suback) => return self.on_suback(link, &suback),
            // Answers to pings; rumqttc judges the rest.
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn on_connack(&mut self, link: &mut Link, connack: &ConnAck) -> ControlFlow<Ended> {
        let now = self.clock.now_ms();
        self.state(|s| {
            s.connected = true;
            s.connects += 1;
            s.since_ms = now;
            s.step = Step::Subscribing.as_str().into();
        });
        let session = match connack.session_present {
            _ if self.discard => "our session was discarded",
            true => "our session was kept",
            false => "a new session",
        };
        info!(
            "source {}: attempt {}: connected to {}, {session}",
            self.name, self.attempt, self.broker
        );
        if std::mem::take(&mut self.discard) {
            link.leave(Leaving::Discarded);
            return ControlFlow::Continue(());
        }
        match link.subscribe(&self.filters) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => {
                let words = format!("no valid filter among {}", self.bad_filters.join(", "));
                ControlFlow::Break(Ended::Broken(Failure::new(Step::Subscribing, words)))
            }
        }
    }

    fn on_suback(&mut self, link: &mut Link, suback: &SubAck) -> ControlFlow<Ended> {
        if link.progress != Progress::Subscribing {
            return ControlFlow::Continue(());
        }
        let answers = self.filters.iter().zip(&suback.return_codes);
        let refused = answers.filter(|(_, code)| **code == SubscribeReasonCode::Failure);
        let mut refused: Vec<&str> = refused.map(|(filter, _)| filter.as_str()).collect();
        let all = refused.len() == self.filters.len();
        refused.extend(self.bad_filters.iter().map(String::as_str));
        let words = if refused.is_empty() {
            String::new()
        } else {
            format!("not subscribed, refused: {}", refused.join(", "))
        };
        if all {
            return ControlFlow::Break(Ended::Broken(Failure::new(Step::Subscribing, words)));
        }
        if !words.is_empty() {
            warn!("source {}: {words}: {}", self.name, Step::Subscribing.advice(&self.credentials));
        }
        if suback.return_codes.contains(&SubscribeReasonCode::Success(QoS::AtMostOnce)) {
            info!(
                "source {}: this broker grants QoS 0 alone; what comes while we are away is lost",
                self.name
            );
        }
        link.receiving();
        self.stall.receiving(Instant::now());
        let shaky = self.shaky;
        self.state(|s| {
            s.step = Step::Receiving.as_str().into();
            // Why it is silent stays until something comes.
            if !(s.silent && words.is_empty()) {
                s.last_error = words;
            }
            if !shaky {
                s.away_since_ms = None;
            }
        });
        ControlFlow::Continue(())
    }

    fn on_publish(&mut self, link: &mut Link, publish: &Publish) {
        let comes_again = publish.qos != QoS::AtMostOnce && self.settings.persistent_session;
        // Whatever is ignored is not acknowledged either.
        match link.progress {
            _ if self.quiet => return,
            Progress::Full | Progress::Leaving(_) if comes_again => return,
            Progress::Full => link.leave(Leaving::NoRoom),
            _ => {}
        }
        let now = self.clock.now_ms();
        self.counters.bridge_messages.increment();
        if !publish.retain {
            self.stall.heard(Instant::now());
        }
        link.brought = true;
        self.shaky = false;
        if self.intake.is_overfull() {
            // Nothing that its broker would send again comes so far.
            self.state(|s| s.heard(now));
            return self.say_lost(now);
        }
        let receipt = match publish.qos {
            QoS::AtMostOnce => Receipt::none(),
            qos => {
                let serial = link.acks.expect(Ack { packet_id: publish.pkid, qos });
                Receipt::new(self.mailbox.clone(), self.generation, serial)
            }
        };
        if publish.payload.len() > MAX_PAYLOAD {
            self.refuse_too_large(publish, receipt, now);
        } else {
            self.intake.take_in(Message {
                topic: publish.topic.clone(),
                // A slice of the read buffer would keep all of that buffer in memory.
                payload: Bytes::copy_from_slice(&publish.payload),
                origin: Origin { kind: OriginKind::Source, name: Arc::clone(&self.name) },
                received_at_ms: now,
                retained: publish.retain,
                receipt,
                place: None,
            });
        }
        let waiting = self.intake.waiting() as u64;
        self.state(|s| {
            s.heard(now);
            s.away_since_ms = None;
            if s.silent && !publish.retain {
                s.silent = false;
                s.last_error.clear();
            }
            s.side_buffer = waiting;
        });
    }

    fn refuse_too_large(&self, publish: &Publish, receipt: Receipt, now: i64) {
        receipt.complete(Outcome::Refused);
        if let Some(times) = self.counters.reasons.note("source_message_too_large", now) {
            warn!(
                "source {}: refused {times} message(s) of more than {MAX_PAYLOAD} bytes, the last \
                 with {} on {:?}",
                self.name,
                publish.payload.len(),
                // Quoted and cut: a topic may hold anything, line ends too.
                publish.topic.chars().take(100).collect::<String>()
            );
        }
    }

    pub(super) fn on_completion(&self, link: &mut Link, completion: Completion) {
        if completion.generation != self.generation {
            return;
        }
        link.acks.complete(completion.serial, completion.outcome);
        while let Some(due) = link.acks.next() {
            match due {
                Due::Acknowledge(ack) => link.acknowledge(ack),
                // Already on the way out: it comes again on the next connection, in this run or not.
                Due::Failed if self.quiet || matches!(link.progress, Progress::Leaving(_)) => {}
                Due::Failed => link.leave(Leaving::Failed),
            }
        }
    }
}
