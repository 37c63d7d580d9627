//! Channels and their keys.

use std::fmt;

use super::error::Error;
use super::judge::{Blame, Judge};
use super::key_file;
use super::tree::{At, Dialect};

/// A channel and how its key was given.
#[derive(Clone, PartialEq, Eq)]
pub enum ChannelKey {
    /// `hashChannels`: the key follows from the name, which starts with `#`.
    Hashtag(String),
    /// `channelKeys` or the file of `channelKeysPath`: name and 16 or 32 bytes.
    Given(String, Vec<u8>),
}

impl ChannelKey {
    /// The channel's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Hashtag(name) | Self::Given(name, _) => name,
        }
    }
}

/// A key is a secret: its length is all that is shown.
impl fmt::Debug for ChannelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hashtag(name) => write!(f, "Hashtag({name:?})"),
            Self::Given(name, key) => write!(f, "Given({name:?}, {} bytes)", key.len()),
        }
    }
}

/// All keys, in CoreScope's order, so that a later one goes over an earlier one of the same name:
/// the key file, `hashChannels`, `channelKeys`.
pub(super) fn judge(judge: &mut Judge<'_>) -> Result<Vec<ChannelKey>, Error> {
    let mut keys = key_file::read(judge)?;
    let file = &judge.written.file;
    for name in file.hash_channels.iter().flatten().map(|name| name.trim()) {
        if name.is_empty() {
            continue;
        }
        let name = if name.starts_with('#') { name.to_owned() } else { format!("#{name}") };
        let given = file.channel_keys.as_ref().is_some_and(|keys| keys.contains_key(&name));
        let channel = ChannelKey::Hashtag(name);
        if !given && !keys.contains(&channel) {
            keys.push(channel);
        }
    }
    let at = At::key("channelKeys");
    for (name, hex) in file.channel_keys.iter().flatten() {
        // CoreScope's files are full of `_comment` keys.
        if judge.written.dialect == Dialect::CoreScope && name.starts_with("_comment") {
            continue;
        }
        match key_bytes(hex) {
            Ok(bytes) => keys.push(ChannelKey::Given(name.clone(), bytes)),
            Err(what) => judge.complain(&Blame::Key(at.then(name)), &what)?,
        }
    }
    Ok(keys)
}

/// 16 or 32 bytes from their hex digits.
pub(super) fn key_bytes(hex: &str) -> Result<Vec<u8>, String> {
    let hex = hex.trim();
    match hex::decode(hex) {
        Ok(bytes) if bytes.len() == 16 || bytes.len() == 32 => Ok(bytes),
        Ok(_) => Err(format!("has {} hex digits; a channel key has 32 or 64", hex.len())),
        Err(_) => Err("is not hex; a channel key has 32 or 64 hex digits".into()),
    }
}
