//! The data types of MQTT 5 (§1.5), taken off the front of a packet's body one after the other.

/// What is left of a packet's body.
#[derive(Clone, Copy, Debug)]
pub(in crate::broker::frame) struct Fields<'a>(pub(in crate::broker::frame) &'a [u8]);

/// The body ends before the field does.
const SHORT: &str = "malformed_packet";

impl<'a> Fields<'a> {
    /// Whether nothing is left.
    pub(in crate::broker::frame) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// So many bytes.
    pub(in crate::broker::frame) fn take(&mut self, len: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A byte.
    pub(in crate::broker::frame) fn byte(&mut self) -> Result<u8, &'static str> {
        let (first, rest) = self.0.split_first().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*first)
    }

    /// A Two Byte Integer.
    pub(in crate::broker::frame) fn two(&mut self) -> Result<u16, &'static str> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    /// A Four Byte Integer.
    pub(in crate::broker::frame) fn four(&mut self) -> Result<u32, &'static str> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    /// A Variable Byte Integer: seven bits a byte, the lowest first, at most four bytes.
    pub(in crate::broker::frame) fn variable(&mut self) -> Result<u32, &'static str> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                // MQTT-1.5.5-1: no more bytes than the value needs.
                let minimal = shift == 0 || byte != 0;
                return if minimal { Ok(value) } else { Err("malformed_length") };
            }
        }
        Err("malformed_length")
    }

    /// Binary Data: a length of two bytes, and as many.
    pub(in crate::broker::frame) fn binary(&mut self) -> Result<&'a [u8], &'static str> {
        let len = self.two()?;
        self.take(usize::from(len))
    }

    /// A UTF-8 Encoded String, in which U+0000 is forbidden (MQTT-1.5.4-1, MQTT-1.5.4-2).
    pub(in crate::broker::frame) fn text(&mut self) -> Result<&'a str, &'static str> {
        let text = std::str::from_utf8(self.binary()?).map_err(|_| "malformed_text")?;
        if text.contains('\0') { Err("malformed_text") } else { Ok(text) }
    }
}
