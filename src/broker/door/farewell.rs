//! The end of a connection: what is said last, and how the stream is closed.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use bytes::BytesMut;

use super::events::End;
use super::greeting::Caller;
use super::{CONNECT_WITHIN, Visitor};
use crate::broker::board::{Refused, Seat, Sort, Whom};
use crate::broker::frame::Writer;
use crate::broker::house::House;
use crate::broker::limits::Subject;
use crate::broker::login::Refusal;

/// How long, and for how many bytes, we listen on after our last word: closing a socket that has
/// unread bytes resets it, and the last word may be lost on the way.
const LINGER: (Duration, usize) = (Duration::from_millis(500), 256 * 1024);

/// The reason's name for who only looks whether somebody is at home.
pub(in crate::broker) const GONE: &str = "gone_before_connect";

/// Writes and flushes, or gives up.
pub(super) async fn say<S: AsyncWrite>(
    writer: &mut WriteHalf<S>,
    words: &[u8],
) -> std::io::Result<()> {
    let written = tokio::time::timeout(CONNECT_WITHIN, async {
        writer.write_all(words).await?;
        // TLS may hold some of it back otherwise.
        writer.flush().await
    });
    written.await.map_err(std::io::Error::from)?
}

/// Tells a client that it may not come in, as far as it can be told.
pub(super) async fn turn_away<S: AsyncRead + AsyncWrite>(
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
pub(super) async fn said_goodbye<S: AsyncRead + AsyncWrite>(
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
