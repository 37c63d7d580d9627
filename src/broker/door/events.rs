//! What a connection waits for, one thing at a time or all at once.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::buf::Limit;
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadHalf, WriteHalf};
use tokio::sync::oneshot;

use super::deadlines::Late;
use super::session::Subscription;
use crate::broker::reason::{self, Reason};
use crate::broker::router::{Delivery, Subscriber};
use crate::message::{Completion, Message, Place};

/// What has happened.
pub(super) enum Event {
    /// What a read brought, and whether it had to be waited for.
    Read(io::Result<usize>, bool),
    /// Nothing more has come.
    Drained,
    /// What a write took.
    Wrote(io::Result<()>),
    /// A message has ended.
    Completed(Completion),
    /// The queue has room; without a place it has ended.
    Placed(Option<Place>),
    /// The router has done what was asked.
    Answered,
    /// A copy for the client; none when its subscriptions are gone.
    Delivery(Option<Delivery>),
    /// The client's queue may have something.
    Rung,
    /// A deadline may have passed.
    Timer,
    /// Another connection has the session now.
    TakenOver,
    /// The account is gone or has changed.
    Revoked,
    /// The broker goes on to the next step of its shutdown.
    Signal,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client said goodbye.
    Disconnect,
    /// The client said goodbye, and that its will is to be published all the same.
    DisconnectWithWill,
    /// The client went without a word.
    Gone,
    /// The client was silent or deaf for too long.
    Late(Late),
    /// Another connection has the session now.
    TakenOver,
    /// MQTT wants it closed, or its message could not be stored.
    Closed(&'static str),
    /// It published what it may not, and that is not tolerated. Counted already.
    Forbidden(&'static str),
    /// Its account is gone, or another one now: it has no say any more, and no will.
    Revoked,
    /// We stop.
    Shutdown,
}

impl End {
    /// Whether the will is to be published (MQTT-3.1.2-8).
    pub(super) fn publishes_will(self) -> bool {
        !matches!(self, Self::Disconnect | Self::Revoked | Self::Shutdown)
    }

    /// What a client of MQTT 5 is told, if it is still there and did not go by itself.
    pub(super) fn farewell(self) -> Option<Reason> {
        match self {
            Self::Late(Late::KeepAlive) => Some(Reason::KeepAlive),
            Self::Closed(name) => Some(reason::of_end(name)),
            Self::Forbidden(_) | Self::Revoked => Some(Reason::NotAuthorized),
            Self::Shutdown => Some(Reason::ShuttingDown),
            // It was told before its stream was ended.
            Self::TakenOver => None,
            Self::Disconnect | Self::DisconnectWithWill | Self::Gone | Self::Late(Late::Write) => {
                None
            }
        }
    }

    /// The name under which it is counted, if it is not the ordinary course of things.
    pub(super) fn reason(self) -> Option<&'static str> {
        match self {
            Self::Late(Late::KeepAlive) => Some("keepalive_ran_out"),
            Self::Late(Late::Write) => Some("client_reads_nothing"),
            Self::Closed(reason) => Some(reason),
            // Often two uploaders that were given the same name.
            Self::TakenOver => Some("session_taken_over"),
            Self::Revoked => Some("account_changed"),
            Self::Disconnect
            | Self::DisconnectWithWill
            | Self::Gone
            | Self::Shutdown
            | Self::Forbidden(_) => None,
        }
    }
}

/// How far the shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Reading.
    Open,
    /// Reading only what has been received already.
    Draining(Drain),
    /// Not reading; acknowledging what is in the pipeline.
    Shut,
    /// Everything is acknowledged that ever will be: writing the rest.
    Closing,
}

/// How much more is read of a connection when the shutdown has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Drain {
    /// Bytes.
    pub(super) bytes: usize,
    /// Reads that had to be waited for.
    pub(super) waits: u32,
}

/// What is read when the shutdown begins: more bytes than the system's buffer for a connection holds,
/// and a few pauses of [`DRAIN_PAUSE`], for what is on its way between the system and us.
pub(super) const DRAIN: Drain = Drain { bytes: 1 << 20, waits: 3 };

/// What keeps the connection from being read.
pub(super) enum Waiting {
    /// The queue is full.
    Place(Box<Message>, Pin<Box<dyn Future<Output = Option<Place>> + Send>>),
    /// The router has not taken the subscription, or its end, yet.
    Answer(oneshot::Receiver<()>, Option<Subscription>),
}

/// A connection that brings nothing for so long has nothing to bring.
const DRAIN_PAUSE: Duration = Duration::from_millis(50);

/// Waits until what keeps the connection from being read is over. Cancel-safe.
pub(super) async fn wait(waiting: &mut Option<Waiting>) -> Event {
    match waiting {
        Some(Waiting::Place(_, place)) => Event::Placed(place.await),
        Some(Waiting::Answer(answer, _)) => {
            // A dropped sender is an answer, too: the subscriber's task has gone.
            let _ = answer.await;
            Event::Answered
        }
        None => std::future::pending().await,
    }
}

/// The next copy. Cancel-safe.
pub(super) async fn delivery(subscriber: &mut Option<Subscriber>) -> Option<Delivery> {
    match subscriber {
        Some(subscriber) => subscriber.deliveries.recv().await,
        None => std::future::pending().await,
    }
}

/// Reads; while draining, only what is there or as good as there. Cancel-safe.
pub(super) async fn read<S: AsyncRead>(
    reader: &mut ReadHalf<S>,
    mut space: Limit<&mut BytesMut>,
    phase: Phase,
) -> Event {
    let mut read = std::pin::pin!(reader.read_buf(&mut space));
    if phase == Phase::Open {
        return Event::Read(read.await, true);
    }
    let now = poll_fn(|context| match read.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => Poll::Ready(None),
    });
    match now.await {
        Some(done) => Event::Read(done, false),
        None => match tokio::time::timeout(DRAIN_PAUSE, read).await {
            Ok(done) => Event::Read(done, true),
            Err(_) => Event::Drained,
        },
    }
}

/// Writes some of `out`, and pushes on what the stream itself holds back: `held`, when that is not
/// all gone. Cancel-safe.
pub(super) async fn write<S: AsyncWrite>(
    writer: &mut WriteHalf<S>,
    out: &mut BytesMut,
    held: &mut bool,
) -> io::Result<()> {
    poll_fn(|context| {
        let mut progress = false;
        if !out.is_empty() {
            match Pin::new(&mut *writer).poll_write(context, out) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => out.advance(n),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
            progress = true;
        }
        match Pin::new(&mut *writer).poll_flush(context) {
            Poll::Ready(flushed) => {
                *held = false;
                Poll::Ready(flushed)
            }
            Poll::Pending => {
                *held = true;
                if progress { Poll::Ready(Ok(())) } else { Poll::Pending }
            }
        }
    })
    .await
}
