//! Channels and their keys.

use std::fmt;
use std::path::{Path, PathBuf};

use super::error::{Error, in_words};
use super::judge::{Blame, Judge};
use super::parse;
use super::tree::{At, Dialect, Value};

/// CoreScope's key file, taken from beside the config file where none is named.
const RAINBOW: &str = "channel-rainbow.json";

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
    let mut keys = key_file(judge)?;
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
        if is_comment(judge, name) {
            continue;
        }
        match key_bytes(hex) {
            Ok(bytes) => keys.push(ChannelKey::Given(name.clone(), bytes)),
            Err(what) => judge.complain(&Blame::Key(at.then(name)), &what)?,
        }
    }
    Ok(keys)
}

/// CoreScope's files are full of `_comment` keys.
fn is_comment(judge: &Judge<'_>, name: &str) -> bool {
    judge.written.dialect == Dialect::CoreScope && name.starts_with("_comment")
}

fn key_bytes(hex: &str) -> Result<Vec<u8>, String> {
    let hex = hex.trim();
    match hex::decode(hex) {
        Ok(bytes) if bytes.len() == 16 || bytes.len() == 32 => Ok(bytes),
        Ok(_) => Err(format!("has {} hex digits; a channel key has 32 or 64", hex.len())),
        Err(_) => Err("is not hex; a channel key has 32 or 64 hex digits".into()),
    }
}

/// The channels of the key file; none where no file is named and none lies beside the config file.
fn key_file(judge: &mut Judge<'_>) -> Result<Vec<ChannelKey>, Error> {
    let named = judge.written.file.channel_keys_path.as_deref().filter(|path| !path.is_empty());
    let (path, blame) = match (judge.env.channel_keys_path.as_deref(), named) {
        (Some(path), _) => {
            (judge.working_dir.join(path), Some(Blame::Variable("CHANNEL_KEYS_PATH")))
        }
        (None, Some(path)) => {
            (named_path(judge, path), Some(Blame::Key(At::key("channelKeysPath"))))
        }
        (None, None) => (judge.beside(RAINBOW), None),
    };
    let text = match (std::fs::read_to_string(&path), &blame) {
        (Ok(text), _) => text,
        (Err(error), None) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        (Err(error), blame) => {
            let what = format!(
                "cannot read {}: {}; name a file that can be read, or none",
                path.display(),
                in_words(&error)
            );
            let beside = Blame::Key(At::key("channelKeysPath"));
            judge.complain(blame.as_ref().unwrap_or(&beside), &what)?;
            return Ok(Vec::new());
        }
    };
    keys_of(judge, &path, &text)
}

/// Relative to the config file; CoreScope's is relative to the working directory, and only where
/// nothing is there, to the config file.
fn named_path(judge: &Judge<'_>, path: &str) -> PathBuf {
    let from_working_dir = judge.working_dir.join(path);
    match judge.written.dialect {
        Dialect::CoreScope if from_working_dir.exists() => from_working_dir,
        _ => judge.beside(path),
    }
}

/// The channels of a key file's text. In CoreScope's mode a bad key or file is one note, since
/// CoreScope itself goes on without it.
fn keys_of(judge: &mut Judge<'_>, path: &Path, text: &str) -> Result<Vec<ChannelKey>, Error> {
    let strict = judge.written.dialect == Dialect::Toml;
    let mut keys = Vec::new();
    let mut bad = Vec::new();
    let mut errors = Vec::new();
    match parse::json(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        Ok(tree) => {
            let Value::Table(entries) = tree.value else {
                let what = "not a JSON object; write {\"#name\": \"hex digits\", …}";
                return unusable(judge, Error::syntax(path, 1, what));
            };
            for entry in entries {
                let what = match &entry.node.value {
                    Value::Null => continue,
                    _ if entry.key.starts_with("_comment") => continue,
                    Value::Text(hex) => match key_bytes(hex) {
                        Ok(bytes) => {
                            keys.push(ChannelKey::Given(entry.key, bytes));
                            continue;
                        }
                        Err(what) => what,
                    },
                    _ => "must be a string; a channel key has 32 or 64 hex digits".into(),
                };
                let (file, key) = (path.display().to_string(), At::key(&entry.key).to_string());
                bad.push(key.clone());
                errors.push(Error::Value { file, line: entry.line, key, what });
            }
        }
        Err(malformed) => {
            return unusable(judge, Error::syntax(path, malformed.line, malformed.what));
        }
    }
    match errors.into_iter().next() {
        Some(error) if strict => return Err(error),
        Some(_) => judge.notes.push(format!(
            "{}: {} of {} keys are no channel keys and are left out, the first is {}",
            path.display(),
            bad.len(),
            bad.len() + keys.len(),
            bad.first().map_or("", String::as_str)
        )),
        None => {}
    }
    Ok(keys)
}

fn unusable(judge: &mut Judge<'_>, error: Error) -> Result<Vec<ChannelKey>, Error> {
    if judge.written.dialect == Dialect::Toml {
        return Err(error);
    }
    judge.notes.push(format!("{error}; none of its channels can be read"));
    Ok(Vec::new())
}
