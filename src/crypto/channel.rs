//! Channel keys, and opening what was sealed with them (firmware `src/Utils.cpp`, `BaseChatMesh`).

/// Every channel key we have, indexed by channel hash, in a fixed order.
#[derive(Clone, Debug, Default)]
pub struct Keyring {}

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

/// What came of trying to open a channel message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened<T> {
    /// No key for this channel hash, or too short to hold anything.
    NoKey,
    /// There are keys for this channel hash, and none of them fits.
    Failed,
    /// Opened with the key of this channel.
    With {
        /// The channel's name.
        channel: String,
        /// What was inside.
        content: T,
    },
}

/// The inside of a GRP_TXT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupText {
    /// The sender's clock, Unix seconds.
    pub timestamp: u32,
    /// The name before the first `": "`, by CoreScope's rule; unauthenticated.
    pub sender: Option<String>,
    /// The text after the sender, or the whole text.
    pub message: String,
}

/// The inside of a GRP_DATA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupData {
    /// Data type (firmware `docs/number_allocations.md`).
    pub data_type: u16,
    /// The data.
    pub data: Vec<u8>,
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

impl Keyring {
    /// Builds the keyring from names and keys of 16 or 32 bytes; a later entry of the same name
    /// replaces an earlier one. The built-in `Public` key is always there, of lowest priority.
    ///
    /// # Errors
    /// The first key of a wrong length.
    pub fn new(keys: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<Self, KeyError> {
        let _ = keys.into_iter();
        Ok(Self {})
    }

    /// Opens a GRP_TXT.
    pub fn open_text(&self, sealed: Sealed<'_>) -> Opened<GroupText> {
        let _ = sealed;
        Opened::NoKey
    }

    /// Opens a GRP_DATA.
    pub fn open_data(&self, sealed: Sealed<'_>) -> Opened<GroupData> {
        let _ = sealed;
        Opened::NoKey
    }
}

/// The key of a hashtag channel: the first 16 bytes of SHA-256 of its name, `#` included.
pub fn hashtag_key(name: &str) -> [u8; 16] {
    let _ = name;
    [0; 16]
}
