//! From the first byte to the CONNACK: who is it, may it come in, and what is kept for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, ReadHalf};

use super::farewell::GONE;
use super::speaker::Speaker;
use super::{CONNECT_WITHIN, Guest, Visitor};
use crate::broker::access::{self, Nearness};
use crate::broker::board::Entry;
use crate::broker::frame::{Connect, Frames, Version, Welcome};
use crate::broker::house::House;
use crate::broker::identity::Identity;
use crate::broker::login::refusals::{self, silently, with};
use crate::broker::login::{self, Admitted, Refusal, Way};
use crate::broker::reason::Answer;
use crate::message::Origin;

/// The same for one that will be turned away anyhow.
const TURNED_AWAY_WITHIN: Duration = Duration::from_secs(2);

/// How long the connection that held a session may take to leave.
const TAKEOVER_WITHIN: Duration = Duration::from_secs(2);

/// What somebody at the door says of itself.
#[derive(Debug, Default)]
pub(super) struct Caller {
    pub(super) client_id: String,
    pub(super) name: Option<String>,
}

/// Waits for the CONNECT and judges it.
pub(super) async fn greet<S: AsyncRead>(
    reader: &mut ReadHalf<S>,
    frames: &mut Frames,
    visitor: &Visitor,
    caller: &mut Caller,
    house: &House,
) -> Result<Guest, Refusal> {
    let patience = if visitor.turned_away.is_some() { TURNED_AWAY_WITHIN } else { CONNECT_WITHIN };
    let connect = tokio::time::timeout(patience, connect(reader, frames)).await;
    let connect = connect.map_err(|_| silently("no_connect_in_time"))??;
    caller.client_id.clone_from(&connect.client_id);
    caller.name = connect.login.as_ref().map(|login| login.name.clone());
    if let Some(reason) = visitor.turned_away {
        return Err(with(Answer::ServiceUnavailable, reason));
    }
    let from = match visitor.outside {
        true => Nearness::Outside,
        false => access::nearness(visitor.peer, &house.surroundings.now()),
    };
    login::check(&connect)?;
    let has_accounts = house.register.has_accounts();
    let mut way = login::way(connect.login.as_ref(), visitor.policy, from, has_accounts)?;
    let unknown_name = match &mut way {
        Way::Anonymous { unknown_name } => unknown_name.take(),
        Way::Token { .. } | Way::Password { .. } => None,
    };
    let recognised = house.register.recognise(way, visitor.peer, from).await?;
    let admitted = Admitted::new(connect, recognised.who.clone(), unknown_name);
    #[cfg(test)]
    let admitted = match &visitor.posing_as {
        Some(who) => Admitted { who: who.clone(), ..admitted },
        None => admitted,
    };
    let generation = house.next_generation();
    let (account_seat, session, outbox, will_room) = (None, None, None, None);
    let welcome = Welcome::new(house.policy.max_payload);
    Ok(Guest {
        admitted,
        recognised,
        account_seat,
        generation,
        session,
        outbox,
        welcome,
        will_room,
    })
}

async fn connect<S: AsyncRead>(
    reader: &mut ReadHalf<S>,
    frames: &mut Frames,
) -> Result<Connect, Refusal> {
    loop {
        if let Some(connect) = login::read_connect(frames)? {
            return Ok(connect);
        }
        match reader.read_buf(&mut frames.space()).await {
            Ok(n) if n > 0 => {}
            _ => return Err(silently(GONE)),
        }
    }
}

impl Guest {
    /// Takes a seat among those of its account, finds room for the will, and takes the session, waiting
    /// for its last holder to leave (its will must not come after what this one says). Whoever finds no
    /// seat has said nothing, thrown nobody out and claimed nothing.
    pub(super) async fn settle_in(
        &mut self,
        house: &House,
        speaker: &mut Speaker,
    ) -> Result<(), Refusal> {
        if let Some(name) = self.admitted.unknown_name.as_deref() {
            house.note_unknown_name(name, &self.admitted.who.identity);
        }
        self.name(house);
        self.account_seat = house.register.seat(&self.recognised, &self.admitted.client_id)?;
        if let Some(will) = &self.admitted.will {
            self.will_room = house.room_for_will(will);
            if self.will_room.is_none() {
                self.admitted.will = None;
            }
        }
        // Before an old connection of this client can say that its observer is gone.
        if let Some(will) = &self.admitted.will {
            let allowed = house.gate.publish(&self.admitted.who, will.topic.clone());
            // One that is still to learn its key has not spoken for any.
            if allowed.is_ok_and(|(_, permit)| permit.binds.is_none()) {
                speaker.has_will(&will.topic);
            }
        }
        if let Some(key) = self.admitted.session_key() {
            let inherit = |before| speaker.inherits(before);
            let (hold, before) = house.sessions.take(key, self.generation, inherit);
            self.session = Some(hold);
            if let Some(gone) = before {
                // A slow one is not waited for: it publishes its will when it can.
                let _ = tokio::time::timeout(TAKEOVER_WITHIN, gone.cancelled()).await;
            }
        }
        if let Some(key) = self.admitted.session_key() {
            house.wills.client_is_back(&key, self.admitted.session.clean_start);
        }
        self.find_session(house);
        if self.account_seat.as_ref().is_some_and(|seat| seat.revoked().is_cancelled()) {
            // What was kept for the account may have been let go before this session was begun.
            if let Some(key) = self.admitted.session_key() {
                house.outboxes().discard(&key);
            }
            return Err(refusals::account_changed());
        }
        house.register.let_in(&self.recognised.who);
        if let Some(own) = self.recognised.who.key {
            speaker.is(own);
        }
        Ok(())
    }

    /// Gives a client of MQTT 5 that has no name one (MQTT-3.1.3-7).
    fn name(&mut self, house: &House) {
        if self.admitted.version == Version::V5 && self.admitted.client_id.is_empty() {
            let id = house.client_id();
            self.admitted.client_id.clone_from(&id);
            self.welcome.assigned_id = Some(id);
        }
    }

    /// Takes up the session that was kept, or ends it, as the client wants it (MQTT-3.1.2-4,
    /// MQTT-3.1.2-6), and says for how long it will be kept.
    fn find_session(&mut self, house: &House) {
        let wanted_s = self.admitted.session.expiry_s;
        let granted = self.keep_session(house).map_or(0, |keep| keep.as_secs());
        let granted_s = u32::try_from(granted).unwrap_or(u32::MAX);
        self.welcome.expiry_s = (granted_s != wanted_s).then_some(granted_s);
    }

    /// For how long the session is kept after this connection; `None`: there is none. Sessions are
    /// kept for names, not for addresses: whoever has an address today may be somebody else tomorrow.
    fn keep_session(&mut self, house: &House) -> Option<Duration> {
        let named = !matches!(self.admitted.who.identity, Identity::Anonymous(_));
        let key = self.admitted.session_key().filter(|_| named)?;
        let wish = self.admitted.session;
        if wish.clean_start {
            house.outboxes().discard(&key);
            house.state.changed();
        }
        if wish.expiry_s == 0 && house.outboxes().kept_for(&key).is_none() {
            return None;
        }
        let keep = house.outboxes().bounded(Duration::from_secs(wish.expiry_s.into()));
        let resumed = house.outboxes().resume(&key, Some(keep), house.clock.now_ms());
        house.state.changed();
        let Some((outbox, present)) = resumed else {
            house.note("session_not_kept", || {
                format!("a session of {} is not kept: there are too many", key.0)
            });
            return None;
        };
        (self.outbox, self.welcome.session_present) = (Some(outbox), present);
        Some(keep)
    }

    /// As the board shows it.
    pub(super) fn entry(&self, visitor: &Visitor, house: &House) -> Entry {
        Entry {
            who: self.admitted.who.clone(),
            from: visitor.peer,
            client_id: self.admitted.client_id.clone(),
            listener: Arc::clone(&visitor.listener),
            protocol: self.admitted.version.name(),
            keep_alive: self.admitted.keep_alive,
            since_ms: house.clock.now_ms(),
            token: self.recognised.token.clone().unwrap_or_default(),
        }
    }

    pub(super) fn origin(&self) -> Origin {
        self.admitted.who.origin()
    }
}
