//! Channel keys, and opening what was sealed with them (firmware `src/Utils.cpp`, `BaseChatMesh`).
//!
//! A channel has a key of 16 bytes, in rare cases of 32. AES-128-ECB uses the first 16, the MAC all
//! of them. On air a message names its channel by one byte only, so several keys may be candidates;
//! the MAC of two bytes and the shape of the text decide between them.

mod text;

pub use text::GroupText;

use super::cipher::Cipher;
use super::name_key;

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// Every channel key we have, indexed by channel hash, in a fixed order: of two that fit, the one
/// that was given later has the higher priority and wins; the built-in one comes last.
#[derive(Clone)]
pub struct Keyring {
    by_hash: BTreeMap<u8, Vec<Key>>,
}

#[derive(Clone)]
struct Key {
    channel: String,
    cipher: Cipher,
}

/// A GRP_TXT or GRP_DATA as it is on air, without its channel hash byte.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    /// First byte of SHA-256 of the channel's key.
    pub channel_hash: u8,
    /// First two bytes of HMAC-SHA256 over the ciphertext.
    pub mac: [u8; 2],
    /// AES-128-ECB, a multiple of 16 bytes.
    pub ciphertext: &'a [u8],
}

/// What came of trying to open a channel message; [`Opened::status`] is CoreScope's word for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened<T> {
    /// Nothing to try: fewer than 5 bytes of ciphertext, or a keyring without any key.
    NoKey,
    /// None of our keys fits. [`Keyring::channels`] tells whether there was a candidate at all;
    /// CoreScope does not make the difference.
    Failed,
    /// Opened with the key of this channel.
    With {
        /// The channel's name.
        channel: String,
        /// What was inside.
        content: T,
    },
}

/// The inside of a GRP_DATA (firmware ≥ 1.15.0, `docs/number_allocations.md`): data type as u16 LE,
/// length as u8, data, zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupData {
    /// Data type.
    pub data_type: u16,
    /// The length that the sender claims, in bytes.
    pub data_len: u8,
    /// The data; `None` where fewer bytes are there than claimed (CoreScope's error
    /// `inner data_len exceeds buffer`).
    pub data: Option<Vec<u8>>,
}

/// A key that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither 16 nor 32 bytes.
    #[error("channel {channel:?}: a key has 16 or 32 bytes, this one has {bytes}")]
    Length {
        /// The channel's name.
        channel: String,
        /// How many bytes it has.
        bytes: usize,
    },
}

/// The key of the channel `Public`, the same in every MeshCore node (firmware `docs/faq.md`).
pub const PUBLIC_KEY: [u8; 16] = [
    0x8b, 0x33, 0x87, 0xe9, 0xc5, 0xcd, 0xea, 0x6a, 0xc9, 0xe5, 0xed, 0xba, 0xa1, 0x15, 0xcd, 0x72,
];

/// One channel's key, for writing in it.
#[derive(Clone)]
pub struct ChannelKey {
    channel_hash: u8,
    cipher: Cipher,
}

impl ChannelKey {
    /// A key of 16 bytes.
    pub fn new(key: &[u8; 16]) -> Self {
        Self { channel_hash: channel_hash(key), cipher: Cipher::new(key) }
    }

    /// The byte that names the channel on air.
    pub fn channel_hash(&self) -> u8 {
        self.channel_hash
    }

    /// MAC and ciphertext of a plaintext ([`GroupText::emit`]).
    pub fn seal(&self, plain: &[u8]) -> ([u8; 2], Vec<u8>) {
        self.cipher.seal(plain)
    }
}

/// Which channel it is; never the key.
impl std::fmt::Debug for ChannelKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChannelKey({:02X})", self.channel_hash)
    }
}

/// The shortest ciphertext that CoreScope tries at all, in bytes: timestamp and flags.
const SHORTEST: usize = 5;

impl Keyring {
    /// Builds the keyring from names and keys of 16 or 32 bytes; a later entry of the same name
    /// replaces an earlier one. The built-in `Public` key is always there, of lowest priority.
    ///
    /// The name `public` in any case is `Public` (CoreScope #777); of several spellings the exact
    /// one wins, and whichever wins keeps its key, the built-in one giving way.
    ///
    /// # Errors
    /// The first key of a wrong length.
    pub fn new(keys: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<Self, KeyError> {
        let mut entries: Vec<(String, Vec<u8>)> = vec![(PUBLIC.to_owned(), PUBLIC_KEY.to_vec())];
        let mut exact_public = false;
        for (channel, key) in keys {
            if !matches!(key.len(), 16 | 32) {
                return Err(KeyError::Length { channel, bytes: key.len() });
            }
            let channel = if channel.eq_ignore_ascii_case(PUBLIC) {
                if exact_public && channel != PUBLIC {
                    continue;
                }
                exact_public = channel == PUBLIC;
                PUBLIC.to_owned()
            } else {
                channel
            };
            // Where the name was, it keeps its rank: `Public` stays last, whoever gave its key.
            match entries.iter_mut().find(|(name, _)| *name == channel) {
                Some((_, old)) => *old = key,
                None => entries.push((channel, key)),
            }
        }
        let mut ring = Self::empty();
        for (channel, key) in entries.into_iter().rev() {
            ring.by_hash
                .entry(channel_hash(&key))
                .or_default()
                .push(Key { channel, cipher: Cipher::new(&key) });
        }
        Ok(ring)
    }

    /// A keyring without any key, not even `Public`: it opens nothing.
    pub fn empty() -> Self {
        Self { by_hash: BTreeMap::new() }
    }

    /// The names of the channels with this hash, in the order in which they are tried.
    pub fn channels(&self, channel_hash: u8) -> impl Iterator<Item = &str> {
        self.candidates(channel_hash).map(|key| key.channel.as_str())
    }

    /// Opens a GRP_TXT: the channel hash selects the candidates, then the MAC, the whole blocks,
    /// the text type 0 (firmware `BaseChatMesh` drops all others) and the shape of the text decide.
    pub fn open_text(&self, sealed: Sealed<'_>) -> Opened<GroupText> {
        self.open(sealed, GroupText::parse)
    }

    /// Opens a GRP_DATA: the channel hash selects the candidates, then the MAC and the whole blocks
    /// decide.
    pub fn open_data(&self, sealed: Sealed<'_>) -> Opened<GroupData> {
        self.open(sealed, GroupData::parse)
    }

    fn open<T>(&self, sealed: Sealed<'_>, parse: fn(&[u8]) -> Option<T>) -> Opened<T> {
        if self.by_hash.is_empty() || sealed.ciphertext.len() < SHORTEST {
            return Opened::NoKey;
        }
        self.candidates(sealed.channel_hash)
            .find_map(|key| {
                let content = parse(&key.cipher.open(sealed.mac, sealed.ciphertext)?)?;
                Some(Opened::With { channel: key.channel.clone(), content })
            })
            .unwrap_or(Opened::Failed)
    }

    fn candidates(&self, channel_hash: u8) -> impl Iterator<Item = &Key> {
        self.by_hash.get(&channel_hash).into_iter().flatten()
    }
}

/// The built-in `Public` key alone.
impl Default for Keyring {
    fn default() -> Self {
        let public = Key { channel: PUBLIC.to_owned(), cipher: Cipher::new(&PUBLIC_KEY) };
        Self { by_hash: BTreeMap::from([(channel_hash(&PUBLIC_KEY), vec![public])]) }
    }
}

/// Names only, never keys.
impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.by_hash.values().flatten().map(|key| &key.channel)).finish()
    }
}

/// How CoreScope spells the built-in channel.
const PUBLIC: &str = "Public";

impl<T> Opened<T> {
    /// CoreScope's `decryptionStatus`.
    pub fn status(&self) -> &'static str {
        match self {
            Self::NoKey => "no_key",
            Self::Failed => "decryption_failed",
            Self::With { .. } => "decrypted",
        }
    }
}

impl GroupData {
    fn parse(plain: &[u8]) -> Option<Self> {
        let ([low, high, data_len], rest) = plain.split_first_chunk()?;
        Some(Self {
            data_type: u16::from_le_bytes([*low, *high]),
            data_len: *data_len,
            data: rest.get(..usize::from(*data_len)).map(<[u8]>::to_vec),
        })
    }
}

/// The key of a hashtag channel: the first 16 bytes of SHA-256 of its name, `#` included.
pub fn hashtag_key(name: &str) -> [u8; 16] {
    name_key(name)
}

/// The byte that names a key's channel on air: the first of SHA-256 over 16 bytes, or over all 32
/// where the upper half is not zero (firmware `BaseChatMesh::addChannel`).
pub fn channel_hash(key: &[u8]) -> u8 {
    let hashed = match key.split_at_checked(16) {
        Some((lower, upper)) if upper.iter().all(|b| *b == 0) => lower,
        _ => key,
    };
    let [first, ..] = <[u8; 32]>::from(Sha256::digest(hashed));
    first
}

#[cfg(test)]
mod tests;
