//! WebSocket frames to a stream of bytes and back (RFC 6455, section 5). Pure.
//!
//! ```text
//!  byte 0: FIN RSV RSV RSV opcode   byte 1: MASK length   0, 2 or 8 bytes: length   4 bytes: mask
//! ```
//!
//! MQTT over WebSocket is a stream that knows no frames (MQTT-6.0.0-2), so nothing is put together
//! here: whatever arrived is unmasked where it lies, and frames of any length and number cost the
//! same few bytes.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

/// The longest payload of a control frame (RFC 6455, 5.5).
const LONGEST_CONTROL: usize = 125;

/// The longest header: two bytes, eight of length, four of mask.
const LONGEST_HEADER: usize = 14;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// What a client did that ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    /// MQTT is binary (MQTT-6.0.0-1).
    #[error("a text frame")]
    Text,
    /// Clients mask (RFC 6455, 5.1).
    #[error("an unmasked frame")]
    Unmasked,
    /// Anything else that the standard forbids.
    #[error("a frame that breaks the rules")]
    Malformed,
}

impl Violation {
    /// The status code of the answer (RFC 6455, 7.4.1).
    pub(super) fn code(self) -> u16 {
        match self {
            Self::Text => 1003,
            Self::Unmasked | Self::Malformed => 1002,
        }
    }

    /// The name under which it is counted.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Text => "websocket_text_frame",
            Self::Unmasked => "websocket_unmasked_frame",
            Self::Malformed => "websocket_malformed_frame",
        }
    }
}

/// What is due besides the payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// The payload of the last ping, to be sent back. Earlier ones need no answer (RFC 6455, 5.5.3).
    pub(super) pong: Option<Vec<u8>>,
    /// The client closes, with this status code; nothing after it counts.
    pub(super) close: Option<u16>,
}

/// Takes frames apart, in pieces of any size.
#[derive(Debug, Default)]
pub(super) struct Unframer {
    header: Header,
    frame: Option<Frame>,
    control: Vec<u8>,
    /// A message has begun and not ended.
    fragmented: bool,
    closed: bool,
}

/// The part of a header that has arrived.
#[derive(Debug, Default)]
struct Header {
    bytes: [u8; LONGEST_HEADER],
    len: usize,
}

/// A frame whose payload is arriving.
#[derive(Debug)]
struct Frame {
    opcode: u8,
    left: u64,
    mask: [u8; 4],
}

impl Unframer {
    /// Takes what has arrived apart: returns how many bytes of MQTT are now at the front of `bytes`.
    ///
    /// # Errors
    /// The client broke a rule; nothing after that can be understood.
    pub(super) fn take(&mut self, bytes: &mut [u8], due: &mut Due) -> Result<usize, Violation> {
        let (mut from, mut to) = (0, 0);
        while from < bytes.len() && !self.closed {
            let Some(frame) = &mut self.frame else {
                let Some(byte) = bytes.get(from) else { break };
                from += 1;
                if let Some(frame) = self.header.push(*byte)? {
                    self.begin(frame, due)?;
                }
                continue;
            };
            let left = usize::try_from(frame.left).unwrap_or(usize::MAX);
            let end = from.saturating_add(left).min(bytes.len());
            let Some(payload) = bytes.get_mut(from..end) else { break };
            unmask(payload, &mut frame.mask);
            frame.left -= (end - from) as u64;
            let (opcode, done) = (frame.opcode, frame.left == 0);
            if opcode < CLOSE {
                bytes.copy_within(from..end, to);
                to += end - from;
            } else {
                self.control.extend_from_slice(payload);
            }
            from = end;
            if done {
                self.end(opcode, due);
            }
        }
        Ok(to)
    }

    fn begin(&mut self, frame: Frame, due: &mut Due) -> Result<(), Violation> {
        let fin = self.header.is_final();
        self.header.len = 0;
        match frame.opcode {
            CONTINUATION if self.fragmented => self.fragmented = !fin,
            BINARY if !self.fragmented => self.fragmented = !fin,
            TEXT => return Err(Violation::Text),
            CLOSE | PING | PONG if fin && frame.left <= LONGEST_CONTROL as u64 => {}
            _ => return Err(Violation::Malformed),
        }
        if frame.left == 0 {
            self.end(frame.opcode, due);
        } else {
            self.frame = Some(frame);
        }
        Ok(())
    }

    fn end(&mut self, opcode: u8, due: &mut Due) {
        self.frame = None;
        match opcode {
            PING => due.pong = Some(std::mem::take(&mut self.control)),
            CLOSE => {
                self.closed = true;
                let code = self.control.first_chunk().map(|code| u16::from_be_bytes(*code));
                due.close = Some(code.unwrap_or(1000));
            }
            _ => {}
        }
        self.control = Vec::new();
    }
}

impl Header {
    fn is_final(&self) -> bool {
        let [first, ..] = self.bytes;
        first & FIN != 0
    }

    /// Adds a byte; returns the frame when the header is whole.
    fn push(&mut self, byte: u8) -> Result<Option<Frame>, Violation> {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
        }
        self.len += 1;
        let [first, second, rest @ ..] = &self.bytes;
        if first & 0x70 != 0 {
            // Bits of extensions that were never agreed upon: permessage-deflate is not offered.
            return Err(Violation::Malformed);
        }
        if self.len < 2 {
            return Ok(None);
        }
        if second & MASKED == 0 {
            return Err(Violation::Unmasked);
        }
        let (length_bytes, short) = match second & !MASKED {
            126 => (2, 0),
            127 => (8, 0),
            short => (0, u64::from(short)),
        };
        if self.len < 2 + length_bytes + 4 {
            return Ok(None);
        }
        let (length, mask) = rest.split_at_checked(length_bytes).ok_or(Violation::Malformed)?;
        let long = length.iter().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
        if long >> 63 != 0 {
            return Err(Violation::Malformed);
        }
        let mask = mask.first_chunk().ok_or(Violation::Malformed)?;
        Ok(Some(Frame { opcode: first & 0x0F, left: short | long, mask: *mask }))
    }
}

/// Unmasks the next bytes of a payload, and turns the mask to where the ones after them begin.
fn unmask(payload: &mut [u8], mask: &mut [u8; 4]) {
    let mut words = payload.chunks_exact_mut(4);
    for word in &mut words {
        for (byte, key) in word.iter_mut().zip(&*mask) {
            *byte ^= key;
        }
    }
    let rest = words.into_remainder();
    for (byte, key) in rest.iter_mut().zip(&*mask) {
        *byte ^= key;
    }
    mask.rotate_left(rest.len());
}

/// Writes the header of a binary frame that is whole.
pub(super) fn begin_binary(out: &mut Vec<u8>, len: usize) {
    out.push(FIN | BINARY);
    match u8::try_from(len) {
        Ok(short @ 0..=125) => out.push(short),
        _ => match u16::try_from(len) {
            Ok(middle) => {
                out.push(126);
                out.extend_from_slice(&middle.to_be_bytes());
            }
            Err(_) => {
                out.push(127);
                out.extend_from_slice(&(len as u64).to_be_bytes());
            }
        },
    }
}

/// Writes the answer to a ping.
pub(super) fn pong(out: &mut Vec<u8>, payload: &[u8]) {
    control(out, PONG, payload);
}

/// Writes the last frame.
pub(super) fn close(out: &mut Vec<u8>, code: u16) {
    control(out, CLOSE, &code.to_be_bytes());
}

fn control(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    let payload = payload.get(..LONGEST_CONTROL).unwrap_or(payload);
    out.push(FIN | opcode);
    out.push(u8::try_from(payload.len()).unwrap_or(0));
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A masked frame as a client sends it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            len @ 0..=125 => bytes.push(MASKED | u8::try_from(len).unwrap()),
            len @ 126..=0xFFFF => {
                bytes.push(MASKED | 126);
                bytes.extend(u16::try_from(len).unwrap().to_be_bytes());
            }
            len => {
                bytes.push(MASKED | 127);
                bytes.extend((len as u64).to_be_bytes());
            }
        }
        let mask = [0x37, 0xFA, 0x21, 0x3D];
        bytes.extend(mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        bytes
    }

    fn whole(bytes: &[u8]) -> Result<(Vec<u8>, Due), Violation> {
        pieces(bytes, bytes.len().max(1))
    }

    fn pieces(bytes: &[u8], size: usize) -> Result<(Vec<u8>, Due), Violation> {
        let (mut unframer, mut due, mut out) = (Unframer::default(), Due::default(), Vec::new());
        for piece in bytes.chunks(size) {
            let mut piece = piece.to_vec();
            let len = unframer.take(&mut piece, &mut due)?;
            out.extend_from_slice(&piece[..len]);
        }
        Ok((out, due))
    }

    #[test]
    fn the_standards_example_is_understood() {
        // RFC 6455, 5.7, as a binary frame.
        let bytes = [0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(whole(&bytes).unwrap().0, b"Hello");
    }

    #[test]
    fn fragments_with_a_ping_between_them_are_one_stream() {
        let bytes = [
            frame(BINARY, b"one "),
            frame(FIN | PING, b"are you there"),
            frame(CONTINUATION, b""),
            frame(FIN | CONTINUATION, b"stream"),
            frame(FIN | PONG, b"unasked"),
            frame(FIN | BINARY, &vec![b'x'; 70_000]),
        ]
        .concat();
        for size in [1, 2, 3, 7, 1000, bytes.len()] {
            let (out, due) = pieces(&bytes, size).unwrap();
            assert_eq!((&out[..10], out.len()), (&b"one stream"[..], 70_010), "{size}");
            assert_eq!(due.pong.as_deref(), Some(&b"are you there"[..]));
        }
    }

    #[test]
    fn a_close_ends_it_and_nothing_after_it_counts() {
        let close = frame(FIN | CLOSE, &1001_u16.to_be_bytes());
        let bytes = [frame(FIN | BINARY, b"last"), close, frame(FIN | BINARY, b"no")].concat();
        let (out, due) = whole(&bytes).unwrap();
        assert_eq!((&out[..], due.close), (&b"last"[..], Some(1001)));
        assert_eq!(whole(&frame(FIN | CLOSE, b"")).unwrap().1.close, Some(1000));
    }

    #[test]
    fn broken_rules_have_names_and_codes() {
        let long_ping = frame(FIN | PING, &[0; 126]);
        let interleaved = [frame(BINARY, b"a"), frame(FIN | BINARY, b"b")].concat();
        let endless = [&[0x82, 0xFF][..], &[0xFF; 8], &[0; 4]].concat();
        let cases: [(&[u8], Violation); 9] = [
            (&frame(FIN | TEXT, b"{}"), Violation::Text),
            (&[0x82, 0x01, 0x00], Violation::Unmasked),
            (&frame(FIN | 0x40 | BINARY, b"deflated"), Violation::Malformed),
            (&frame(FIN | CONTINUATION, b"of nothing"), Violation::Malformed),
            (&frame(FIN | 3, b"reserved"), Violation::Malformed),
            (&frame(PING, b"in parts"), Violation::Malformed),
            (&long_ping, Violation::Malformed),
            (&interleaved, Violation::Malformed),
            (&endless, Violation::Malformed),
        ];
        for (bytes, violation) in cases {
            assert_eq!(whole(bytes).unwrap_err(), violation, "{bytes:x?}");
        }
        assert_eq!((Violation::Text.code(), Violation::Malformed.code()), (1003, 1002));
    }

    #[test]
    fn our_own_frames_have_the_shortest_length() {
        for (len, header) in [(0, 2), (125, 2), (126, 4), (0xFFFF, 4), (0x1_0000, 10)] {
            let mut out = Vec::new();
            begin_binary(&mut out, len);
            assert_eq!(out.len(), header, "{len}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_split_mean_the_same_and_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            size in 1_usize..40,
        ) {
            prop_assert_eq!(pieces(&bytes, size), whole(&bytes));
        }

        #[test]
        fn a_stream_survives_any_framing(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..8),
            size in 1_usize..400,
        ) {
            let bytes: Vec<u8> = parts.iter().flat_map(|part| frame(FIN | BINARY, part)).collect();
            prop_assert_eq!(pieces(&bytes, size).unwrap().0, parts.concat());
        }
    }
}
