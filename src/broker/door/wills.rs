//! What a client leaves behind: its will, and a message that found no room.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::speaker::Speaker;
use super::{Guest, Visitor};
use crate::broker::access::{Denied, Lane, Permit};
use crate::broker::copy::Copy;
use crate::broker::frame::Will;
use crate::broker::house::{House, Intake};
use crate::broker::wills::Testament;
use crate::message::{Message, Receipt};

impl Guest {
    /// Publishes the will, or lets it wait for as long as the client wants that and its session is
    /// kept (MQTT-3.1.2-8, MQTT-3.1.3-9).
    pub(super) async fn leave_will(
        &mut self,
        visitor: &Visitor,
        house: &House,
        speaker: &mut Speaker,
        intake: &Intake,
    ) {
        let Some(will) = self.admitted.will.take() else { return };
        let wanted = Duration::from_secs(will.delay_s.into());
        self.recognised.who = self.admitted.who.clone();
        let testament = Testament {
            will,
            recognised: self.recognised.clone(),
            client_id: self.admitted.client_id.clone(),
            from: visitor.peer,
            listener: Arc::clone(&visitor.listener),
            _room: self.will_room.take(),
        };
        let key = self.admitted.session_key();
        let kept = key.and_then(|key| house.outboxes().kept_for(&key).map(|keep| (key, keep)));
        match kept.map(|(key, keep)| (key, keep.min(wanted))) {
            Some((key, delay)) if !delay.is_zero() => {
                house.wills.wait(key, Instant::now() + delay, testament);
            }
            _ => publish(testament, house, speaker, intake).await,
        }
    }
}

/// Publishes the wills that have waited, one after the other, until nothing more is to be accepted.
pub(in crate::broker) async fn publish_waiting(house: Arc<House>, intake: Intake) {
    loop {
        let testament = tokio::select! {
            () = house.quiet.cancelled() => return,
            testament = house.wills.due(|key| house.sessions.is_held(key)) => testament,
        };
        // What is not said by the account that there is now is not said.
        if house.register.still_knows(&testament.recognised) {
            let own = testament.recognised.who.key;
            let mut speaker = Speaker::new(&house, house.next_generation(), own);
            publish(testament, &house, &mut speaker, &intake).await;
        }
    }
}

/// Publishes a will through the same checks as any publish, waiting for room in the queue.
async fn publish(testament: Testament, house: &House, speaker: &mut Speaker, intake: &Intake) {
    let (topic, permit) = match judge(&testament, house) {
        Ok(allowed) => allowed,
        Err(Denied { reason, topic }) => {
            return house.refuse(&testament.refused(reason, &topic, house.clock.now_ms()));
        }
    };
    house.counters.broker_wills.increment();
    let (author, origin) = (testament.author(), testament.recognised.who.origin());
    let Testament { will: Will { payload, retain, qos, said, .. }, recognised, .. } = testament;
    let at_ms = house.clock.now_ms();
    let (from, said) = (Some(&recognised.who.identity), said.as_ref());
    let copy = Copy { topic: &topic, payload: &payload, said, qos, retain, from, author, at_ms };
    speaker.wills(&topic, &payload, || {
        house.copy(&copy);
    });
    if permit.lane == Lane::Subscribers {
        return house.counters.broker_passed.increment();
    }
    let message = Message {
        topic,
        payload,
        origin,
        received_at_ms: at_ms,
        retained: false,
        receipt: Receipt::none(),
        place: None,
    };
    house.counters.broker_held.increment();
    send_on(message, house, intake).await;
}

fn judge(testament: &Testament, house: &House) -> Result<(String, Permit), Denied> {
    let Will { topic, said, .. } = &testament.will;
    let denied = |reason, topic| Err(Denied { reason, topic });
    if topic.contains('\0') {
        return denied("nul_in_topic", topic.clone());
    }
    if said.as_ref().is_some_and(|said| said.are_too_large()) {
        return denied("publish_properties_too_large", topic.clone());
    }
    let (topic, permit) = house.gate.publish(&testament.recognised.who, topic.clone())?;
    // A key is learnt by speaking, not by vanishing.
    match permit.binds {
        None => Ok((topic, permit)),
        Some(_) => denied("publish_for_another_key", topic),
    }
}

/// Hands on what is left when a connection has ended, waiting for room in the queue. It counts as
/// held before.
pub(super) async fn send_on(message: Message, house: &House, intake: &Intake) {
    let cost = message.cost();
    tokio::select! {
        () = house.closing.cancelled() => house.note_lost(&message),
        place = intake.inlet.place(cost) => {
            // Without a place the pipeline has ended, and so does the message.
            let message = Message { place, ..message };
            if intake.inlet.try_send(message).is_ok() {
                house.counters.broker_held.decrement();
            }
        }
    }
}
