//! Why a message becomes no record. Every reason's name is a counter, so the names are fixed:
//!
//! | from | names |
//! |---|---|
//! | the message ([`Unread`]) | `not_json`, `no_raw`, `unknown_topic`, … |
//! | the hex ([`HexError`]) | `bad_hex`, `odd_hex` |
//! | the packet ([`Error`]) | `packet_too_short`, `transport_codes_missing`, `path_length_missing`, `hash_size_reserved`, `path_too_long`, `path_truncated`, `payload_too_long` |
//! | the rules, here | `iata_filtered`, `advert_key_zero`, `advert_invalid_position` |

use crate::envelope::Unread;
use crate::packet::{Error, HexError};

/// A named reason, and the same in words with numbers for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The name in the counters.
    pub reason: &'static str,
    /// One line without control characters.
    pub detail: String,
    /// True where there is simply nothing to store, and nothing is wrong.
    pub noise: bool,
}

/// The topic's region is not one that the source's `iataFilter` names.
pub(super) const IATA_FILTERED: &str = "iata_filtered";
/// An advert of the key 00…00.
pub(super) const ADVERT_KEY_ZERO: &str = "advert_key_zero";
/// An advert from beyond a pole or the date line.
pub(super) const ADVERT_INVALID_POSITION: &str = "advert_invalid_position";

impl Refusal {
    /// Control characters in `detail`, which may quote strangers, become `?` (CoreScope #1540).
    pub(super) fn new(reason: &'static str, detail: &str) -> Self {
        Self { reason, detail: detail.replace(char::is_control, "?"), noise: false }
    }

    /// The same for what is as it should be and not for us.
    pub(super) fn noise(reason: &'static str, detail: &str) -> Self {
        Self { noise: true, ..Self::new(reason, detail) }
    }
}

impl From<Unread> for Refusal {
    fn from(unread: Unread) -> Self {
        let noise = unread.is_noise();
        Self { noise, ..Self::new(unread.name(), &unread.to_string()) }
    }
}

impl From<HexError> for Refusal {
    fn from(error: HexError) -> Self {
        Self::new(error.name(), &error.to_string())
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::new(error.name(), &error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_writes_control_characters_into_our_log() {
        let refusal = Refusal::new(IATA_FILTERED, "region \"a\nb\u{1b}[31m\u{85}\"");
        assert_eq!(refusal.detail, "region \"a?b?[31m?\"");
    }
}
