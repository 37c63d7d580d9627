//! The path: hashes of repeaters (firmware `src/Packet.h`, `Packet::isValidPathLen`).
//!
//! ```text
//! path length:  7 6  | 5 4 3 2 1 0        path: count × size bytes
//!              ------+-------------
//!              size-1|    count
//! ```
//!
//! A hash is the first `size` bytes of a repeater's public key. On a flood it tells who has
//! forwarded the packet, first hop first; on a direct route, who still has to, next hop first, and
//! each takes itself off. Sizes are 1, 2 and 3; size code 3 is reserved and refused even with no
//! hops. The path has at most 64 bytes.
//!
//! In a TRACE the path holds no hashes: there is one signed byte a hop, the SNR at which that hop
//! heard the packet ([`super::payload::trace`]).

use super::cursor::Cursor;
use super::error::Error;
use super::sink::{Count, Sink};

/// The most bytes a path has (firmware `MAX_PATH_SIZE`).
pub const MAX_PATH: usize = 64;

/// The hashes in a packet's envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path<'a> {
    size: u8,
    bytes: &'a [u8],
}

impl<'a> Path<'a> {
    /// No hops, hash size 1: the path length is 0x00.
    pub const EMPTY: Self = Self { size: 1, bytes: &[] };

    /// A path of hashes of `size` bytes; `None` when a size is not 1–3, the bytes are no whole
    /// hashes, or they are more than 63 hashes or 64 bytes.
    ///
    /// ```
    /// use meshbox::packet::Path;
    /// let path = Path::new(2, &[0x7D, 0x1D, 0x1F, 0x5D]).unwrap();
    /// assert_eq!((path.count(), path.length_byte()), (2, 0x42));
    /// assert_eq!(Path::new(2, &[0x7D]), None);
    /// ```
    pub fn new(size: u8, bytes: &'a [u8]) -> Option<Self> {
        let whole = matches!(size, 1..=3) && bytes.len() % usize::from(size) == 0;
        let path = Self { size, bytes };
        (whole && bytes.len() <= MAX_PATH && path.count() <= 63).then_some(path)
    }

    /// Reads the path length and the path.
    ///
    /// # Errors
    /// The path's bounds, in [`Error`].
    pub fn parse(cursor: &mut Cursor<'a>) -> Result<Self, Error> {
        let at = cursor.at();
        let byte = cursor.u8().map_err(|_| Error::PathLengthMissing { at })?;
        let size = (byte >> 6) + 1;
        if size == 4 {
            return Err(Error::HashSizeReserved { byte, at });
        }
        let length = usize::from(size) * usize::from(byte & 63);
        if length > MAX_PATH {
            return Err(Error::PathTooLong { byte, bytes: length, at });
        }
        match cursor.take(length) {
            Ok(bytes) => Ok(Self { size, bytes }),
            Err(e) => Err(Error::PathTruncated { needed: e.needed, had: e.had, at: e.at }),
        }
    }

    /// The path length byte.
    pub fn length_byte(&self) -> u8 {
        (self.size - 1) << 6 | self.count()
    }

    /// How many bytes a hash has: 1, 2 or 3.
    pub fn size(&self) -> u8 {
        self.size
    }

    /// How many hashes there are: 0–63.
    pub fn count(&self) -> u8 {
        let count = self.bytes.len() / usize::from(self.size);
        u8::try_from(count).unwrap_or(u8::MAX)
    }

    /// The path's bytes: count × size of them.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The hashes, in the order of the wire.
    pub fn hops(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        self.bytes.chunks_exact(usize::from(self.size))
    }

    pub(super) fn emit(&self, out: &mut impl Sink) {
        let (count, size) = (self.count(), self.size);
        let hops = Count(count.into(), "hop");
        let meaning = format_args!("{hops}, {size}-byte hashes");
        out.field("path length", &[self.length_byte()], meaning);
        if !self.bytes.is_empty() {
            out.open("path", format_args!("hashes of repeaters"));
            for (index, hop) in self.hops().enumerate() {
                out.field("hop", hop, format_args!("{} of {count}", index + 1));
            }
            out.close();
        }
    }

    /// The same bytes as a TRACE has them: SNRs.
    pub(super) fn emit_as_snrs(&self, out: &mut impl Sink) {
        let meaning = format_args!("{} done", Count(self.count().into(), "hop"));
        out.field("path length", &[self.length_byte()], meaning);
        if !self.bytes.is_empty() {
            out.open("path", format_args!("the SNR at which each hop heard it"));
            for (index, byte) in self.bytes.iter().enumerate() {
                let snr = super::quarter_db(*byte);
                out.field("snr", &[*byte], format_args!("{snr} dB at hop {}", index + 1));
            }
            out.close();
        }
    }
}

impl Default for Path<'_> {
    fn default() -> Self {
        Self::EMPTY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<Path<'_>, Error> {
        Path::parse(&mut Cursor::new(bytes))
    }

    #[test]
    fn size_and_count_share_a_byte() {
        for (byte, size, count) in [(0x00, 1, 0), (0x05, 1, 5), (0x45, 2, 5), (0x8A, 3, 10)] {
            let mut bytes = vec![byte];
            bytes.resize(65, 0xAB);
            let path = parse(&bytes).unwrap();
            assert_eq!((path.size(), path.count()), (size, count));
            assert_eq!(path.bytes().len(), usize::from(size * count));
            assert_eq!(path.length_byte(), byte);
        }
    }

    #[test]
    fn the_reserved_hash_size_is_refused_even_with_no_hops() {
        assert_eq!(parse(&[0xC0]), Err(Error::HashSizeReserved { byte: 0xC0, at: 0 }));
    }

    #[test]
    fn more_than_64_bytes_are_refused_before_they_are_looked_for() {
        let expected = Error::PathTooLong { byte: 0x65, bytes: 74, at: 0 };
        assert_eq!(parse(&[0x65]), Err(expected));
    }

    #[test]
    fn a_path_beyond_the_packet_is_refused() {
        let expected = Error::PathTruncated { needed: 15, had: 2, at: 1 };
        assert_eq!(parse(&[0x85, 1, 2]), Err(expected));
        assert_eq!(expected.at(), 3);
        assert_eq!(parse(&[]), Err(Error::PathLengthMissing { at: 0 }));
    }

    #[test]
    fn a_path_is_built_within_the_same_bounds() {
        assert!(Path::new(2, &[0; 64]).is_some());
        assert!(Path::new(1, &[0; 63]).is_some());
        for (size, length) in [(0, 0), (4, 4), (2, 3), (1, 64), (2, 66), (3, 66)] {
            assert!(Path::new(size, &vec![0; length]).is_none(), "{size} {length}");
        }
    }
}
