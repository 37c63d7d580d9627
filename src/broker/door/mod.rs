//! One connection: from the first byte to the will.
//!
//! [`serve`] is the task, generic over the stream: [`greeting`], [`connection`], [`farewell`] and
//! [`wills`], in this order. [`session`] is the protocol, [`deadlines`] the clock, both without a
//! socket. A task never waits for one thing alone: while it waits for room in
//! the queue it does not read, but goes on acknowledging, delivering and noticing that it has to
//! leave.

mod connection;
mod deadlines;
mod events;
mod farewell;
mod greeting;
mod inflight;
mod rehearsal;
mod session;
mod speaker;
#[cfg(test)]
mod tests;
mod wills;

pub(super) use self::farewell::GONE;
pub use self::rehearsal::{Rehearsal, Taken};
pub(super) use self::wills::publish_waiting;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;

use self::connection::{Connection, Remains};
use self::farewell::{said_goodbye, say, turn_away};
use self::greeting::{Caller, greet};
use self::speaker::Speaker;
use self::wills::send_on;
use super::frame::{Frames, Limits, Welcome, Writer};
use super::house::{House, Intake};
use super::login::Admitted;
use super::outbox::Outbox;
use super::register::{self, Recognised};
use super::sessions::Hold;
use crate::config::Access;

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

/// How long a client may take for its CONNECT, and for what we say to it before it is let in.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

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
        // It was let in, and has vanished.
        guest.outbox = None;
        if !house.quiet.is_cancelled() && house.register.still_knows(&guest.recognised) {
            guest.leave_will(&visitor, &house, &mut speaker, &intake).await;
        }
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
        guest.leave_will(&visitor, &house, &mut speaker, &intake).await;
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
