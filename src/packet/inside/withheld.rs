//! Text that may be a password.

use std::fmt;

/// Text that may be a password or a key: `Debug` and `Display` show dots, and nothing gives it away
/// but [`super::Contents::emit`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Withheld<'a>(&'a [u8]);

impl<'a> Withheld<'a> {
    /// Hides a text.
    pub fn new(text: &'a [u8]) -> Self {
        Self(text)
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0);
    }
}

impl fmt::Debug for Withheld<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Withheld(…)")
    }
}

impl fmt::Display for Withheld<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_withheld_is_not_printed() {
        let password = Withheld::new(b"hunter2");
        assert_eq!(format!("{password} {password:?}"), "… Withheld(…)");
    }
}
