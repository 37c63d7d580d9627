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
use super::access;
use super::frame::{Connect, Frames, Limits, Version, Welcome, Will, Writer};
use super::house::{House, Intake};
use super::login::{self, Admitted, Refusal};
use super::reason::Answer;
use super::sessions::Hold;
use crate::config::Access;
use crate::message::{Message, Origin, Receipt};

/// Who stands at the door.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visitor {
    /// Its address as the socket says it.
    pub(super) peer: IpAddr,
    /// Who may come in here.
    pub(super) policy: Access,
    /// Why it has to be told that there is no room for it, if so.
    pub(super) turned_away: Option<&'static str>,
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
const GONE: &str = "gone_before_connect";

/// A client that has been let in.
struct Guest {
    admitted: Admitted,
    welcome: Welcome,
    session: Option<Hold>,
    will_room: Option<OwnedSemaphorePermit>,
}

/// Serves one connection to its end.
pub(super) async fn serve<S>(stream: S, visitor: Visitor, house: Arc<House>, intake: Intake)
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut frames = Frames::default();
    let greeted = tokio::select! {
        () = house.quiet.cancelled() => return,
        greeted = greet(&mut reader, &mut frames, visitor, &house) => greeted,
    };
    let mut guest = match greeted {
        Ok(guest) => guest,
        Err(refusal) => {
            let written = Writer::new(frames.version(), Limits::default());
            return turn_away((reader, writer), written, visitor, refusal, &house).await;
        }
    };
    guest.settle_in(&house).await;
    let _counted = Counted::new(&house);
    let mut out = BytesMut::new();
    guest.admitted.writer().welcome(&mut out, &guest.welcome);
    if say(&mut writer, &out).await.is_err() {
        return;
    }
    let connection = Connection::new((reader, writer), frames, &guest, &house, intake);
    let Remains { end, streams, intake, unsent } = connection.run().await;
    said_goodbye(end, streams, visitor, &house).await;
    let Some(intake) = intake else { return };
    if let Some(message) = unsent {
        send_on(message, &house, &intake).await;
    }
    if end.publishes_will() && !house.quiet.is_cancelled() {
        guest.publish_will(&house, &intake).await;
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
    visitor: Visitor,
    house: &House,
) -> Result<Guest, Refusal> {
    let patience = if visitor.turned_away.is_some() { TURNED_AWAY_WITHIN } else { CONNECT_WITHIN };
    let connect = tokio::time::timeout(patience, connect(reader, frames)).await;
    let connect = connect.map_err(|_| Refusal { code: None, reason: "no_connect_in_time" })??;
    if let Some(reason) = visitor.turned_away {
        let code = Some(Answer::ServiceUnavailable);
        return Err(Refusal { code, reason });
    }
    let from = access::nearness(visitor.peer, &house.surroundings.now());
    let admitted = login::judge(connect, visitor.peer, from, visitor.policy)?;
    let welcome = Welcome::default();
    Ok(Guest { admitted, welcome, session: None, will_room: None })
}

async fn connect<S: AsyncRead>(
    reader: &mut ReadHalf<S>,
    frames: &mut Frames,
) -> Result<Connect, Refusal> {
    loop {
        if let Some(connect) = login::read_connect(frames)? {
            return Ok(connect);
        }
        match reader.read_buf(frames.space()).await {
            Ok(n) if n > 0 => {}
            _ => return Err(Refusal { code: None, reason: GONE }),
        }
    }
}

async fn say<S: AsyncWrite>(writer: &mut WriteHalf<S>, words: &[u8]) -> std::io::Result<()> {
    let written = tokio::time::timeout(CONNECT_WITHIN, writer.write_all(words)).await;
    written.map_err(std::io::Error::from)?
}

async fn turn_away<S: AsyncRead + AsyncWrite>(
    (reader, mut writer): (ReadHalf<S>, WriteHalf<S>),
    written: Writer,
    visitor: Visitor,
    refusal: Refusal,
    house: &House,
) {
    house.counters.broker_refused.increment();
    if refusal.reason == GONE {
        // Health checks and port scans do that all day.
        let _ = house.counters.reasons.note(GONE, house.clock.now_ms());
    } else {
        house.note(refusal.reason, || format!("a connection from {} was refused", visitor.peer));
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
    visitor: Visitor,
    house: &House,
) {
    tracing::debug!(peer = %visitor.peer, ?end, "connection ended");
    if let Some(reason) = end.reason() {
        house.note(reason, || format!("a connection from {} was closed", visitor.peer));
    }
    match end {
        End::TakenOver => house.counters.broker_takeovers.increment(),
        End::Shutdown | End::Closed(_) => linger(reader, writer).await,
        End::Disconnect | End::DisconnectWithWill | End::Gone | End::Late(_) => {}
    }
}

impl Guest {
    /// Takes the session, waiting for its last holder to leave (its will must not come after what
    /// this one says), and finds room for the will.
    async fn settle_in(&mut self, house: &House) {
        if let Some(name) = self.admitted.unknown_name.as_deref() {
            house.note_unknown_name(name, &self.admitted.who.identity);
        }
        self.grant(house);
        if let Some(key) = self.admitted.session_key() {
            let (hold, before) = house.sessions.take(key);
            self.session = Some(hold);
            if let Some(gone) = before {
                // A slow one is not waited for: it publishes its will when it can.
                let _ = tokio::time::timeout(TAKEOVER_WITHIN, gone.cancelled()).await;
            }
        }
        if let Some(will) = &self.admitted.will {
            self.will_room = house.room_for_will(will);
            if self.will_room.is_none() {
                self.admitted.will = None;
            }
        }
    }

    /// Settles what an MQTT 5 client is granted: a name if it has none, and no session that outlives
    /// the connection, since none is kept yet.
    fn grant(&mut self, house: &House) {
        if self.admitted.version == Version::V5 && self.admitted.client_id.is_empty() {
            let id = house.client_id();
            self.admitted.client_id.clone_from(&id);
            self.welcome.assigned_id = Some(id);
        }
        if self.admitted.session.expiry_s > 0 {
            self.admitted.session.expiry_s = 0;
            self.welcome.expiry_s = Some(0);
        }
    }

    fn origin(&self) -> Origin {
        self.admitted.who.origin()
    }

    /// Publishes the will through the same checks as any publish, waiting for room in the queue.
    async fn publish_will(&mut self, house: &House, intake: &Intake) {
        let Some(Will { topic, payload, retain, .. }) = self.admitted.will.take() else { return };
        let who = &self.admitted.who;
        let allowed = if topic.contains('\0') {
            Err("nul_in_topic")
        } else {
            access::may_publish(who, &topic)
        };
        if let Err(reason) = allowed {
            house.note(reason, || format!("the will of {} was not published", self.origin().name));
            return;
        }
        house.counters.broker_wills.increment();
        house.copy(&topic, &payload, retain);
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
