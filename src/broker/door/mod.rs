//! One connection: from the first byte to the will.
//!
//! [`serve`] is the task, generic over the stream; [`session`] is the protocol, [`deadlines`] the
//! clock, both without a socket. A task never waits for one thing alone: while it waits for room in
//! the queue it does not read, but goes on acknowledging, delivering and noticing that it has to
//! leave.

mod connection;
mod deadlines;
mod events;
mod inflight;
mod rehearsal;
mod session;
mod speaker;
#[cfg(test)]
mod tests;

pub use self::rehearsal::{Rehearsal, Taken};

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::OwnedSemaphorePermit;

use self::connection::{Connection, Remains};
use self::events::End;
use self::speaker::Speaker;
use super::access::{self, Denied, Lane, Nearness};
use super::board::{Entry, Refused, Seat, Sort, Whom};
use super::frame::{Connect, Frames, Limits, Version, Welcome, Will, Writer};
use super::house::{Copy, House, Intake};
use super::identity::Identity;
use super::limits::Subject;
use super::login::refusals::{self, silently, with};
use super::login::{self, Admitted, Refusal, Way};
use super::outbox::Outbox;
use super::reason::Answer;
use super::register::{self, Recognised};
use super::sessions::Hold;
use crate::config::Access;
use crate::message::{Message, Origin, Receipt};

/// Who stands at the door.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    /// Where it came in: transport and address.
    pub(super) listener: Arc<str>,
    /// Its address: as the socket says it, or a proxy that is trusted.
    pub(super) peer: IpAddr,
    /// Whether it counts as from outside, whatever that address.
    pub(super) outside: bool,
    /// Who may come in here.
    pub(super) policy: Access,
    /// Why it has to be told that there is no room for it, if so.
    pub(super) turned_away: Option<&'static str>,
    /// Who it is, whatever its login says.
    #[cfg(test)]
    pub(super) posing_as: Option<super::identity::Who>,
}

/// How long a client may take for its CONNECT.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// The same for one that will be turned away anyhow.
const TURNED_AWAY_WITHIN: Duration = Duration::from_secs(2);

/// How long the connection that held a session may take to leave.
const TAKEOVER_WITHIN: Duration = Duration::from_secs(2);

/// How long, and for how many bytes, we listen on after our last word: closing a socket that has
/// unread bytes resets it, and the last word may be lost on the way.
const LINGER: (Duration, usize) = (Duration::from_millis(500), 256 * 1024);

/// The reason's name for who only looks whether somebody is at home.
pub(super) const GONE: &str = "gone_before_connect";

/// A client that has been let in.
struct Guest {
    admitted: Admitted,
    /// Its connection's number.
    generation: u64,
    recognised: Recognised,
    account_seat: Option<register::Seat>,
    session: Option<Hold>,
    /// A session that is kept.
    outbox: Option<Outbox>,
    welcome: Welcome,
    will_room: Option<OwnedSemaphorePermit>,
}

/// What somebody at the door says of itself.
#[derive(Debug, Default)]
struct Caller {
    client_id: String,
    name: Option<String>,
}

/// Serves one connection to its end.
pub(super) async fn serve<S>(stream: S, visitor: Visitor, house: Arc<House>, intake: Intake)
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut frames = Frames::new(house.policy.max_payload);
    let mut caller = Caller::default();
    let greeted = tokio::select! {
        () = house.quiet.cancelled() => return,
        greeted = greet(&mut reader, &mut frames, &visitor, &mut caller, &house) => greeted,
    };
    let mut guest = match greeted {
        Ok(guest) => guest,
        Err(refusal) => {
            let written = Writer::new(frames.version(), Limits::default());
            let whom = (&visitor, &caller);
            return turn_away((reader, writer), written, whom, refusal, &house).await;
        }
    };
    let mut speaker = Speaker::new(&house, guest.generation, guest.admitted.who.key);
    if let Err(refusal) = guest.settle_in(&house, &mut speaker).await {
        let (written, whom) = (guest.admitted.writer(), (&visitor, &caller));
        return turn_away((reader, writer), written, whom, refusal, &house).await;
    }
    let seat = Arc::new(house.board.enter(guest.generation, guest.entry(&visitor, &house)));
    let _counted = Counted::new(&house);
    let mut out = BytesMut::new();
    guest.admitted.writer().welcome(&mut out, &guest.welcome);
    if say(&mut writer, &out).await.is_err() {
        return;
    }
    let in_hand = (Arc::clone(&seat), intake);
    let streams = (reader, writer);
    let connection = Connection::new(streams, frames, &mut guest, speaker, &house, in_hand);
    let Remains { end, streams, intake, mut speaker, unsent, who } = connection.run().await;
    said_goodbye(end, streams, &seat, &house).await;
    // It may have learnt its key.
    guest.admitted.who = who;
    let Some(intake) = intake else { return };
    if let Some(message) = unsent {
        send_on(message, &house, &intake).await;
    }
    if end.publishes_will() && !house.quiet.is_cancelled() {
        guest.publish_will(&seat, &house, &mut speaker, &intake).await;
    }
}

/// Counts a connection for as long as it lives, however it ends.
struct Counted(Arc<House>);

impl Counted {
    fn new(house: &Arc<House>) -> Self {
        house.counters.broker_connections.increment();
        Self(Arc::clone(house))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.counters.broker_connections.decrement();
    }
}

/// Hands on what is left when a connection has ended, waiting for room in the queue. It counts as
/// held before.
async fn send_on(message: Message, house: &House, intake: &Intake) {
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

/// Waits for the CONNECT and judges it.
async fn greet<S: AsyncRead>(
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

async fn say<S: AsyncWrite>(writer: &mut WriteHalf<S>, words: &[u8]) -> std::io::Result<()> {
    let written = tokio::time::timeout(CONNECT_WITHIN, async {
        writer.write_all(words).await?;
        // TLS may hold some of it back otherwise.
        writer.flush().await
    });
    written.await.map_err(std::io::Error::from)?
}

async fn turn_away<S: AsyncRead + AsyncWrite>(
    (reader, mut writer): (ReadHalf<S>, WriteHalf<S>),
    written: Writer,
    (visitor, caller): (&Visitor, &Caller),
    refusal: Refusal,
    house: &House,
) {
    house.counters.broker_refused.increment();
    if refusal.reason == GONE {
        // Health checks and port scans do that all day.
        let _ = house.counters.reasons.note(GONE, house.clock.now_ms());
    } else {
        let as_whom = caller.name.as_deref().and_then(|name| house.register.key_of(name));
        house.refuse(&Refused {
            at_ms: house.clock.now_ms(),
            sort: Sort::Connection,
            reason: refusal.reason,
            whom: Whom {
                from: visitor.peer,
                identity: None,
                client_id: &caller.client_id,
                listener: &visitor.listener,
            },
            name: caller.name.as_deref(),
            about: "",
            help: refusal.help.as_deref(),
            subject: as_whom.map(Subject::Observer),
        });
    }
    let mut out = BytesMut::new();
    let told = refusal.code.is_some_and(|code| written.turn_away(&mut out, code, refusal.reason));
    if told && say(&mut writer, &out).await.is_ok() {
        linger(reader, writer).await;
    }
}

/// Says that nothing more will be written, and waits a little for the client to agree.
async fn linger<S: AsyncRead + AsyncWrite>(mut reader: ReadHalf<S>, mut writer: WriteHalf<S>) {
    let (time, bytes) = LINGER;
    let listen_on = async {
        writer.shutdown().await?;
        let mut sink = [0; 1024];
        let mut left = bytes;
        while left > 0 {
            match reader.read(&mut sink).await? {
                0 => break,
                n => left = left.saturating_sub(n),
            }
        }
        std::io::Result::Ok(())
    };
    // Whatever goes wrong here, the connection is over.
    let _ = tokio::time::timeout(time, listen_on).await;
}

/// Closes a connection as its end wants it, and counts what was not the client's own wish.
async fn said_goodbye<S: AsyncRead + AsyncWrite>(
    end: End,
    (reader, writer): (ReadHalf<S>, WriteHalf<S>),
    seat: &Seat,
    house: &House,
) {
    tracing::debug!(peer = %seat.whom().from, ?end, "connection ended");
    if let Some(reason) = end.reason() {
        house.refuse(&seat.refused(Sort::Closed, reason, "", house.clock.now_ms()));
    }
    match end {
        End::TakenOver => house.counters.broker_takeovers.increment(),
        End::Shutdown | End::Closed(_) | End::Forbidden(_) | End::Revoked => {
            linger(reader, writer).await;
        }
        End::Disconnect | End::DisconnectWithWill | End::Gone | End::Late(_) => {}
    }
}

impl Guest {
    /// Takes a seat among those of its account, finds room for the will, and takes the session, waiting
    /// for its last holder to leave (its will must not come after what this one says). Whoever finds no
    /// seat has said nothing, thrown nobody out and claimed nothing.
    async fn settle_in(&mut self, house: &House, speaker: &mut Speaker) -> Result<(), Refusal> {
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
        if wish.expiry_s == 0 && !house.outboxes().has(&key) {
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
    fn entry(&self, visitor: &Visitor, house: &House) -> Entry {
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

    fn origin(&self) -> Origin {
        self.admitted.who.origin()
    }

    /// Publishes the will through the same checks as any publish, waiting for room in the queue.
    async fn publish_will(
        &mut self,
        seat: &Seat,
        house: &House,
        speaker: &mut Speaker,
        intake: &Intake,
    ) {
        let Some(Will { topic, payload, retain, qos, .. }) = self.admitted.will.take() else {
            return;
        };
        let who = &self.admitted.who;
        let allowed = if topic.contains('\0') {
            Err(Denied { reason: "nul_in_topic", topic })
        } else {
            house.gate.publish(who, topic).and_then(|(topic, permit)| {
                // A key is learnt by speaking, not by vanishing.
                match permit.binds {
                    None => Ok((topic, permit)),
                    Some(_) => Err(Denied { reason: "publish_for_another_key", topic }),
                }
            })
        };
        let (topic, permit) = match allowed {
            Ok(allowed) => allowed,
            Err(Denied { reason, topic }) => {
                let now_ms = house.clock.now_ms();
                return house.refuse(&seat.refused(Sort::Publish, reason, &topic, now_ms));
            }
        };
        house.counters.broker_wills.increment();
        let copy = Copy { topic: &topic, payload: &payload, qos, retain, from: &who.identity };
        speaker.wills(&topic, &payload, || {
            house.copy(&copy);
        });
        if permit.lane == Lane::Subscribers {
            return house.counters.broker_passed.increment();
        }
        let message = Message {
            topic,
            payload,
            origin: self.origin(),
            received_at_ms: house.clock.now_ms(),
            retained: false,
            receipt: Receipt::none(),
            place: None,
        };
        house.counters.broker_held.increment();
        send_on(message, house, intake).await;
    }
}
