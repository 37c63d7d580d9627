//! Reading bytes in order. Nothing else in [`crate::packet`] slices bytes.

/// A place in a run of bytes; every read moves it on, or says how much was missing and where.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
    at: usize,
}

/// Fewer bytes than a field needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{needed} bytes are needed at offset {at}, there are {had}")]
pub struct Truncated {
    /// How many bytes the field needs.
    pub needed: usize,
    /// How many are left.
    pub had: usize,
    /// Where the field starts, counted from the packet's first byte.
    pub at: usize,
}

impl<'a> Cursor<'a> {
    /// At the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self::starting_at(bytes, 0)
    }

    /// At the start of `bytes`, which is the part of a packet that begins at offset `at`: errors
    /// then tell the offset in the packet.
    pub fn starting_at(bytes: &'a [u8], at: usize) -> Self {
        Self { rest: bytes, at }
    }

    /// The offset of the next byte.
    pub fn at(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next `needed` bytes.
    ///
    /// # Errors
    /// [`Truncated`]; the cursor has not moved then.
    pub fn take(&mut self, needed: usize) -> Result<&'a [u8], Truncated> {
        let (taken, rest) = self.rest.split_at_checked(needed).ok_or(self.truncated(needed))?;
        self.rest = rest;
        self.at += needed;
        Ok(taken)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`Truncated`]; the cursor has not moved then.
    pub fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], Truncated> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(self.truncated(N))?;
        self.rest = rest;
        self.at += N;
        Ok(taken)
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        self.at += self.rest.len();
        std::mem::take(&mut self.rest)
    }

    /// The next byte.
    ///
    /// # Errors
    /// [`Truncated`].
    pub fn u8(&mut self) -> Result<u8, Truncated> {
        self.array::<1>().map(|[byte]| *byte)
    }

    /// The next two bytes, little-endian as every number of MeshCore.
    ///
    /// # Errors
    /// [`Truncated`].
    pub fn u16(&mut self) -> Result<u16, Truncated> {
        self.array().map(|bytes| u16::from_le_bytes(*bytes))
    }

    /// The next four bytes, little-endian.
    ///
    /// # Errors
    /// [`Truncated`].
    pub fn u32(&mut self) -> Result<u32, Truncated> {
        self.array().map(|bytes| u32::from_le_bytes(*bytes))
    }

    /// The next four bytes, little-endian, signed.
    ///
    /// # Errors
    /// [`Truncated`].
    pub fn i32(&mut self) -> Result<i32, Truncated> {
        self.array().map(|bytes| i32::from_le_bytes(*bytes))
    }

    fn truncated(&self, needed: usize) -> Truncated {
        Truncated { needed, had: self.rest.len(), at: self.at }
    }
}

/// `bytes` cut into the first `at` and the rest; all of them and nothing when there are fewer.
pub fn split(bytes: &[u8], at: usize) -> (&[u8], &[u8]) {
    bytes.split_at_checked(at).unwrap_or((bytes, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_little_endian() {
        let mut cursor = Cursor::new(&[1, 2, 3, 4, 5, 6, 0xFF, 0xFF, 0xFF, 0xFF, 9]);
        assert_eq!(cursor.u16(), Ok(0x0201));
        assert_eq!(cursor.u32(), Ok(0x0605_0403));
        assert_eq!(cursor.i32(), Ok(-1));
        assert_eq!((cursor.at(), cursor.remaining()), (10, 1));
        assert_eq!(cursor.rest(), &[9]);
        assert_eq!((cursor.at(), cursor.remaining()), (11, 0));
    }

    #[test]
    fn a_field_beyond_the_end_tells_where_it_starts_and_moves_nothing() {
        let mut cursor = Cursor::starting_at(&[1, 2, 3], 100);
        cursor.u8().unwrap();
        let missing = Truncated { needed: 4, had: 2, at: 101 };
        assert_eq!(cursor.u32(), Err(missing));
        assert_eq!(cursor.take(4), Err(missing));
        assert_eq!(cursor.take(2), Ok(&[2, 3][..]));
    }

    #[test]
    fn a_split_behind_the_end_leaves_nothing_over() {
        assert_eq!(split(&[1, 2, 3], 2), (&[1, 2][..], &[3][..]));
        assert_eq!(split(&[1], 2), (&[1][..], &[][..]));
    }
}
