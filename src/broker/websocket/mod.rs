//! WebSocket as a stream of bytes: what is read and written here is MQTT, frames are dealt with
//! underneath.
//!
//! [`handshake`] answers the request that opens one; [`WebSocket::new`] takes a stream after that, so
//! that an HTTP server can hand one over as well. Nothing is buffered on the way in; on the way out
//! one frame, of at most 16 KiB.

mod frames;
pub(super) mod handshake;

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::frames::{Due, Unframer};

/// The largest frame that we send: more is sent as several.
const LARGEST_OUT: usize = 16 * 1024;

/// A buffer larger than this is given back when it is empty.
const KEEP_OUT: usize = 2 * 1024;

/// The server's end of a WebSocket, after the handshake.
#[derive(Debug)]
pub(super) struct WebSocket<S> {
    stream: S,
    /// What was read beyond the handshake.
    early: Bytes,
    unframer: Unframer,
    due: Due,
    out: Vec<u8>,
    /// How much of `out` is written.
    written: usize,
    /// We have said the last word.
    closing: bool,
    /// The client has said its last word, or what cannot be understood.
    ended: bool,
    fault: Fault,
}

/// Where a broken rule is told, for whoever looks when the connection has ended.
pub(super) type Fault = Arc<OnceLock<&'static str>>;

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// A WebSocket on a stream after its handshake; `early` is what was read beyond that.
    pub(super) fn new(stream: S, early: Bytes, fault: Fault) -> Self {
        Self {
            stream,
            early,
            unframer: Unframer::default(),
            due: Due::default(),
            out: Vec::new(),
            written: 0,
            closing: false,
            ended: false,
            fault,
        }
    }

    /// Writes what is framed.
    fn poll_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            let n = ready!(Pin::new(&mut self.stream).poll_write(context, rest))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += n;
        }
        self.out.clear();
        self.written = 0;
        if self.out.capacity() > KEEP_OUT {
            self.out = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what is framed, and what the stream underneath still holds.
    fn poll_all_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn say_close(&mut self, code: u16) {
        if !self.closing {
            self.closing = true;
            frames::close(&mut self.out, code);
        }
    }

    /// Takes apart what has been read; returns how much of it is MQTT.
    fn take(&mut self, bytes: &mut [u8]) -> usize {
        let taken = self.unframer.take(bytes, &mut self.due);
        if let Err(violation) = taken {
            let _ = self.fault.set(violation.reason());
            self.say_close(violation.code());
            self.ended = true;
        }
        // A client that does not read gets no second answer before it has got the first.
        if self.out.is_empty() && !self.closing {
            if let Some(payload) = self.due.pong.take() {
                frames::pong(&mut self.out, &payload);
            }
        }
        if let Some(code) = self.due.close.take() {
            // 1005 and its like must not be on the wire (RFC 6455, 7.4.1).
            self.say_close(if (1000..=1003).contains(&code) { code } else { 1000 });
            self.ended = true;
        }
        taken.unwrap_or_default()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let it = &mut *self;
        let before = buf.filled().len();
        loop {
            if it.ended {
                // The end is told once the client has been told.
                return it.poll_all_out(context).map(|_| Ok(()));
            }
            if !it.out.is_empty() {
                // Answers to pings go on their way; reading does not wait for them.
                if let Poll::Ready(Err(error)) = it.poll_all_out(context) {
                    return Poll::Ready(Err(error));
                }
            }
            if it.early.is_empty() {
                ready!(Pin::new(&mut it.stream).poll_read(context, buf))?;
            } else {
                let n = it.early.len().min(buf.remaining());
                buf.put_slice(it.early.get(..n).unwrap_or_default());
                it.early.advance(n);
            }
            let read = buf.filled_mut().get_mut(before..).unwrap_or_default();
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let n = it.take(read);
            buf.set_filled(before + n);
            if n > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.closing {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(self.poll_out(context))?;
        let bytes = bytes.get(..LARGEST_OUT).unwrap_or(bytes);
        if !bytes.is_empty() {
            frames::begin_binary(&mut self.out, bytes.len());
            self.out.extend_from_slice(bytes);
            // What does not go now goes with the next write or flush.
            if let Poll::Ready(Err(error)) = self.poll_out(context) {
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_all_out(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.say_close(1000);
        ready!(self.poll_all_out(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    fn pair(early: &'static [u8]) -> (WebSocket<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(64);
        (WebSocket::new(ours, Bytes::from_static(early), Fault::default()), theirs)
    }

    /// Binary "ab", masked with zeros.
    const AB: &[u8] = b"\x82\x82\0\0\0\0ab";

    #[tokio::test]
    async fn what_came_with_the_handshake_is_not_lost() {
        let (mut socket, mut client) = pair(AB);
        client.write_all(AB).await.unwrap();
        let mut read = [0; 4];
        socket.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"abab");
    }

    #[tokio::test]
    async fn a_ping_is_answered_while_only_reading() {
        let (mut socket, mut client) = pair(b"");
        client.write_all(b"\x89\x82\0\0\0\0hi").await.unwrap();
        client.write_all(AB).await.unwrap();
        let mut read = [0; 2];
        socket.read_exact(&mut read).await.unwrap();
        let mut pong = [0; 4];
        client.read_exact(&mut pong).await.unwrap();
        assert_eq!(&pong, b"\x8a\x02hi");
    }

    #[tokio::test]
    async fn a_close_is_answered_and_ends_the_stream() {
        let (mut socket, mut client) = pair(b"");
        client.write_all(b"\x88\x82\0\0\0\0\x03\xe9").await.unwrap();
        assert_eq!(socket.read(&mut [0; 9]).await.unwrap(), 0);
        let mut close = [0; 4];
        client.read_exact(&mut close).await.unwrap();
        assert_eq!(&close, b"\x88\x02\x03\xe9");
        assert!(socket.write_all(b"x").await.is_err());
    }

    #[tokio::test]
    async fn a_text_frame_is_refused_politely() {
        let (mut socket, mut client) = pair(b"");
        client.write_all(b"\x81\x82\0\0\0\0{}").await.unwrap();
        assert_eq!(socket.read(&mut [0; 9]).await.unwrap(), 0);
        let mut close = [0; 4];
        client.read_exact(&mut close).await.unwrap();
        assert_eq!(&close, b"\x88\x02\x03\xeb");
        assert_eq!(socket.fault.get(), Some(&"websocket_text_frame"));
    }

    #[tokio::test]
    async fn what_is_written_arrives_in_frames_of_bounded_size_and_the_buffer_is_given_back() {
        let (mut socket, mut client) = pair(b"");
        let sent = vec![7; 40_000];
        let read = tokio::spawn(async move {
            let mut all = Vec::new();
            client.read_to_end(&mut all).await.unwrap();
            all
        });
        socket.write_all(&sent).await.unwrap();
        socket.flush().await.unwrap();
        assert!(socket.out.capacity() <= KEEP_OUT);
        socket.shutdown().await.unwrap();
        drop(socket);
        let all = read.await.unwrap();
        let expected_headers = [&[0x82, 126, 0x40, 0][..], &[0x82, 126, 0x40, 0]].concat();
        assert_eq!(all.len(), 40_000 + 4 * 3 + 4);
        assert_eq!([&all[..4], &all[16_388..16_392]].concat(), expected_headers);
        assert!(all.ends_with(b"\x88\x02\x03\xe8"));
    }
}
