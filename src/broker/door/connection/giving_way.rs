//! What happens when another connection takes the session over (MQTT-3.1.4-2).
//!
//! The client is hung up on at once: our side of the stream ends. What it sent before is still taken
//! in, as at a shutdown, however long the queue is full: nobody sends QoS 0 again. A message that the
//! client sends again is not waited for: else clients that come back for want of an acknowledgement
//! would fill the house while the database stands still. Nothing more is acknowledged, so QoS 1 comes
//! twice rather than never.

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::super::events::{End, Phase, Waiting};
use super::delivering::Backlog;
use super::{Connection, LAST_WORDS, fires};
use crate::broker::reason::Reason;

impl<S: AsyncRead + AsyncWrite + Send> Connection<S> {
    /// Says what is still to be said, and that it was the last.
    pub(super) async fn hang_up(&mut self) {
        self.session.goodbye(Reason::TakenOver, "session_taken_over");
        let write = self.writer.write_all(&self.session.out);
        // Whatever goes wrong here, the client hears no more of us.
        let _ = tokio::time::timeout(LAST_WORDS, write).await;
        let _ = tokio::time::timeout(LAST_WORDS, self.writer.shutdown()).await;
    }

    /// Takes in what was received before, and then ends.
    pub(super) fn give_way(&mut self) -> Result<(), End> {
        let comes_again =
            matches!(&self.waiting, Some(Waiting::Place(m, _)) if m.receipt.is_awaited());
        if comes_again || matches!(self.phase, Phase::Shut | Phase::Closing) {
            return Err(End::TakenOver);
        }
        self.replaced = true;
        self.subscriber = None;
        self.let_go();
        // It has fired, and would again and again.
        self.taken_over = fires(&tokio_util::sync::CancellationToken::new());
        self.drain();
        Ok(())
    }

    /// Drops the answers that have no reader any more.
    pub(super) fn unsay(&mut self) {
        if self.replaced {
            self.session.out.clear();
            self.backlog = Backlog::default();
        }
    }
}
