//! The loop of an admitted connection: waits for whatever comes next, and deals with it.

mod delivering;
mod giving_way;
mod handing_on;
mod large;
mod oversight;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use self::delivering::{Backlog, rung};
use self::large::Large;
use super::Guest;
use super::deadlines::Deadlines;
use super::events::{DRAIN, End, Event, Phase, Waiting, delivery, read, wait, write};
use super::session::{Session, Step};
use super::speaker::Speaker;
use crate::broker::board::{Seat, Sort};
use crate::broker::frame::{Frame, Frames, Packet};
use crate::broker::house::{House, Intake};
use crate::broker::identity::{Author, Who};
use crate::broker::outbox::Outbox;
use crate::broker::router::Subscriber;
use crate::broker::sessions::Key;
use crate::message::{Completion, Message, Origin};

/// An admitted connection.
pub(super) struct Connection<S> {
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    frames: Frames,
    session: Session,
    inbox: mpsc::UnboundedReceiver<Completion>,
    house: Arc<House>,
    origin: Origin,
    seat: Arc<Seat>,
    /// Where messages go; gone once nothing more will be read.
    intake: Option<Intake>,
    phase: Phase,
    /// The broker is stopping.
    stopping: bool,
    /// Another connection has the session: nothing more is said to this client.
    replaced: bool,
    /// The stream holds back some of what was written to it, as TLS does while its socket is full.
    held: bool,
    waiting: Option<Waiting>,
    large: Large,
    subscriber: Option<Subscriber>,
    /// Copies at QoS 1.
    outbox: Option<Outbox>,
    /// The session outlives the connection.
    kept: bool,
    /// Who the client is, and what it calls itself.
    called: Key,
    /// The same for `no local`.
    author: Author,
    backlog: Backlog,
    speaker: Speaker,
    deadlines: Deadlines,
    timer: Pin<Box<Sleep>>,
    revoked: Pin<Box<WaitForCancellationFutureOwned>>,
    taken_over: Pin<Box<WaitForCancellationFutureOwned>>,
    /// The next of the broker's two signals.
    signal: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// How long a client may take for our last words.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A buffer larger than this is given back when it is empty.
const KEEP_OUT: usize = 16 * 1024;

/// What is left of a connection when it has ended.
pub(super) struct Remains<S> {
    /// Why it ended.
    pub(super) end: End,
    /// The stream, for the farewell.
    pub(super) streams: (ReadHalf<S>, WriteHalf<S>),
    /// The way into the pipeline, for the will; gone once nothing more is taken in.
    pub(super) intake: Option<Intake>,
    /// What it said about observers; dropped after the will.
    pub(super) speaker: Speaker,
    /// A message that was received, waits for the queue, and will not be sent again.
    pub(super) unsent: Option<Message>,
    /// Who it was in the end.
    pub(super) who: Who,
}

impl<S: AsyncRead + AsyncWrite + Send> Connection<S> {
    /// For a guest who has been told that it may come in.
    pub(super) fn new(
        (reader, writer): (ReadHalf<S>, WriteHalf<S>),
        frames: Frames,
        guest: &mut Guest,
        speaker: Speaker,
        house: &Arc<House>,
        (seat, intake): (Arc<Seat>, Intake),
    ) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "one completion per receipt, bounded in number"
        )]
        let (mailbox, inbox) = mpsc::unbounded_channel();
        let taken_over = guest.session.as_ref().map(|hold| hold.taken_over().clone());
        let revoked = guest.account_seat.as_ref().map(|seat| seat.revoked().clone());
        let now = Instant::now();
        let outbox = guest.outbox.take();
        let called = (guest.admitted.who.identity.clone(), guest.admitted.client_id.clone());
        let mut connection = Self {
            reader,
            writer,
            frames,
            session: Session::new(
                guest.generation,
                guest.admitted.who.clone(),
                (guest.admitted.writer(), guest.admitted.session.expiry_s > 0),
                Arc::clone(&house.gate),
                mailbox,
            ),
            inbox,
            house: Arc::clone(house),
            origin: guest.origin(),
            seat,
            intake: Some(intake),
            phase: Phase::Open,
            stopping: false,
            replaced: false,
            held: false,
            waiting: None,
            large: Large::default(),
            subscriber: None,
            kept: outbox.is_some(),
            outbox,
            author: Author::of(&called.0, &called.1),
            called,
            backlog: Backlog::default(),
            speaker,
            deadlines: Deadlines::new(guest.admitted.keep_alive, now),
            timer: Box::pin(tokio::time::sleep_until(now)),
            revoked: fires(&revoked.unwrap_or_default()),
            taken_over: fires(&taken_over.unwrap_or_default()),
            signal: fires(&house.quiet),
        };
        connection.resume();
        connection
    }

    /// Runs to the end.
    pub(super) async fn run(mut self) -> Remains<S> {
        let end = loop {
            if let Err(end) = self.work() {
                break end;
            }
            let event = self.event().await;
            if matches!(event, Event::TakenOver) {
                self.hang_up().await;
            }
            if let Err(end) = self.on(event) {
                break end;
            }
        };
        if let Some(why) = end.farewell() {
            // What was stored before it went wrong is acknowledged, if the client still listens.
            self.session.goodbye(why, end.reason().unwrap_or_default());
            let write = async {
                self.writer.write_all(&self.session.out).await?;
                self.writer.flush().await
            };
            let _ = tokio::time::timeout(LAST_WORDS, write).await;
        }
        self.let_go();
        let (unsent, streams) = (self.unsent(), (self.reader, self.writer));
        let who = self.session.who().clone();
        Remains { end, streams, intake: self.intake, speaker: self.speaker, unsent, who }
    }

    /// Does all that can be done without waiting.
    fn work(&mut self) -> Result<(), End> {
        let now = Instant::now();
        self.unsay();
        while self.may_take_in() {
            let Some(frame) = self.frames.next().map_err(End::Closed)? else { break };
            self.deadlines.heard(now);
            self.take_in(frame)?;
        }
        if self.waiting.is_none() {
            self.large.account(self.frames.wants(), &self.house)?;
        }
        self.unsay();
        if self.phase == Phase::Open {
            self.deliver_own();
        }
        if self.is_drained() {
            self.drained()?;
        }
        let written = !self.owes();
        let over = match self.phase {
            Phase::Shut => written && self.session.is_settled(),
            Phase::Closing => written,
            Phase::Open | Phase::Draining(_) => false,
        };
        if over {
            return Err(End::Shutdown);
        }
        self.deadlines.reading(self.may_take_in(), now);
        self.deadlines.writing(!written, now);
        self.report();
        if let Some(next) = self.deadlines.next() {
            // Later deadlines wait until the timer fires: it is then set anew.
            if next < self.timer.deadline() || self.timer.is_elapsed() {
                self.timer.as_mut().reset(next);
            }
        }
        Ok(())
    }

    /// Whether enough has been read to end. A client that does not read what we say is not waited for;
    /// what waits for the queue, or for its receipt, is.
    fn is_drained(&self) -> bool {
        let Phase::Draining(left) = self.phase else { return false };
        let enough = left.bytes == 0 || left.waits == 0 || !self.session.can_deliver();
        enough && self.waiting.is_none()
    }

    fn may_take_in(&self) -> bool {
        let open = matches!(self.phase, Phase::Open | Phase::Draining(_));
        open && self.waiting.is_none() && self.may_deliver() && self.session.has_room()
    }

    /// Waits for what comes next. Cancel-safe, so that nothing is lost when another branch wins.
    async fn event(&mut self) -> Event {
        let (may_read, has_deadline) = (self.may_take_in(), self.deadlines.next().is_some());
        let copies = self.phase == Phase::Open && self.session.can_deliver();
        let deliver = copies && self.backlog.messages.is_empty() && self.subscriber.is_some();
        let owes = self.owes();
        tokio::select! {
            () = &mut self.taken_over => Event::TakenOver,
            () = &mut self.revoked => Event::Revoked,
            () = &mut self.signal, if self.phase != Phase::Closing => Event::Signal,
            Some(completion) = self.inbox.recv() => Event::Completed(completion),
            event = wait(&mut self.waiting), if self.waiting.is_some() => event,
            copy = delivery(&mut self.subscriber), if deliver => Event::Delivery(copy),
            event = rung(self.outbox.as_ref()), if copies => event,
            written = write(&mut self.writer, &mut self.session.out, &mut self.held), if owes => {
                Event::Wrote(written)
            }
            // Room is made only if it is read: the expression itself is evaluated in any case.
            event = async { read(&mut self.reader, self.frames.space(), self.phase).await },
                if may_read => event,
            () = &mut self.timer, if has_deadline => Event::Timer,
        }
    }

    fn on(&mut self, event: Event) -> Result<(), End> {
        match event {
            Event::Read(read, waited) => self.read(read, waited)?,
            Event::Drained => self.drained()?,
            Event::Wrote(written) => self.wrote(&written)?,
            Event::Completed(completion) => self.completed(completion)?,
            Event::Placed(place) => self.placed(place)?,
            Event::Answered => self.answered(),
            Event::Delivery(copy) => self.deliver(copy)?,
            // The work is done before the next event.
            Event::Rung => {}
            Event::Timer => self.timed_out()?,
            Event::Revoked => return Err(End::Revoked),
            Event::TakenOver => self.give_way()?,
            Event::Signal => self.signalled()?,
        }
        Ok(())
    }

    fn timed_out(&self) -> Result<(), End> {
        self.deadlines.late(Instant::now()).map_or(Ok(()), |late| Err(End::Late(late)))
    }

    fn read(&mut self, read: io::Result<usize>, waited: bool) -> Result<(), End> {
        let n = read.unwrap_or_default();
        if n == 0 {
            return Err(if self.replaced { End::TakenOver } else { End::Gone });
        }
        self.frames.filled(n);
        if self.frames.is_skipping() {
            // A packet that is only skipped is slow to end; its bytes are signs of life, too.
            self.deadlines.heard(Instant::now());
        }
        if let Phase::Draining(left) = &mut self.phase {
            left.bytes = left.bytes.saturating_sub(n);
            left.waits = left.waits.saturating_sub(u32::from(waited));
        }
        Ok(())
    }

    /// Whether anything is still to be written.
    fn owes(&self) -> bool {
        self.held || !self.session.out.is_empty()
    }

    fn wrote(&mut self, written: &io::Result<()>) -> Result<(), End> {
        match written {
            Ok(()) => self.deadlines.wrote(),
            Err(_) => return Err(End::Gone),
        }
        let out = &mut self.session.out;
        if out.is_empty() && out.capacity() > KEEP_OUT {
            *out = BytesMut::new();
        }
        Ok(())
    }

    fn completed(&mut self, first: Completion) -> Result<(), End> {
        let mut next = Some(first);
        while let Some(completion) = next {
            self.session.complete(completion).map_err(End::Closed)?;
            next = self.inbox.try_recv().ok();
        }
        Ok(())
    }

    fn take_in(&mut self, frame: Frame) -> Result<(), End> {
        if matches!(frame, Frame::Oversized(_) | Frame::Packet(Packet::Publish(_))) {
            self.house.counters.broker_publishes.increment();
            self.seat.received(self.house.clock.now_ms());
        }
        match self.session.frame(frame).map_err(End::Closed)? {
            Step::Nothing => Ok(()),
            Step::Publish(publication) => self.hand_on(publication),
            Step::Denied(denied) => self.forbidden(denied.reason, &denied.topic),
            Step::TooLarge(reason) => {
                self.refused(Sort::Publish, reason, "");
                Ok(())
            }
            Step::Subscribe(subscription) => self.subscribe(subscription),
            Step::Unsubscribe(filters) => {
                self.unsubscribe(filters);
                Ok(())
            }
            Step::Acknowledged(pkid) => {
                self.acknowledged(pkid);
                Ok(())
            }
            Step::Disconnect(goodbye) => Err(self.dismiss(goodbye)),
        }
    }

    /// The broker goes on to the next step of its shutdown.
    fn signalled(&mut self) -> Result<(), End> {
        if !self.stopping {
            self.stopping = true;
            self.signal = fires(&self.house.closing);
            self.drain();
            return Ok(());
        }
        self.phase = Phase::Closing;
        if let Some(message) = self.unsent() {
            self.house.note_lost(&message);
        }
        self.intake = None;
        self.inbox.try_recv().map_or(Ok(()), |completion| self.completed(completion))
    }

    /// From now on only what has been received already is read.
    fn drain(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Draining(DRAIN);
            // Whoever subscribed a moment ago will subscribe again.
            self.backlog = Backlog::default();
        }
    }

    /// All is read that was received.
    fn drained(&mut self) -> Result<(), End> {
        if self.replaced {
            return Err(End::TakenOver);
        }
        self.phase = Phase::Shut;
        self.intake = None;
        Ok(())
    }
}

fn fires(token: &CancellationToken) -> Pin<Box<WaitForCancellationFutureOwned>> {
    Box::pin(token.clone().cancelled_owned())
}
