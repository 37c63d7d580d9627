//! The file of channel keys: CoreScope's `channel-rainbow.json`, names to hex digits.

use std::io;
use std::path::{Path, PathBuf};

use super::channels::{ChannelKey, key_bytes};
use super::error::{Error, in_words};
use super::judge::{Blame, Judge};
use super::parse;
use super::tree::{At, Dialect, Entry, Value};

/// Read from beside the config file where no other one is named.
const BESIDE: &str = "channel-rainbow.json";

/// The channels of the key file, in its order; none where no file is named and none lies beside
/// the config file.
pub(super) fn read(judge: &mut Judge<'_>) -> Result<Vec<ChannelKey>, Error> {
    let named = judge.written.file.channel_keys_path.as_deref().filter(|path| !path.is_empty());
    let key = Blame::Key(At::key("channelKeysPath"));
    let (path, blame, may_be_absent) = match (judge.env.channel_keys_path.as_deref(), named) {
        (Some(path), _) => {
            (judge.working_dir.join(path), Blame::Variable("CHANNEL_KEYS_PATH"), false)
        }
        (None, Some(path)) => (named_path(judge, path), key, false),
        (None, None) => (judge.beside(BESIDE), key, true),
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if may_be_absent && error.kind() == io::ErrorKind::NotFound => {
            return Ok(Vec::new());
        }
        Err(error) => {
            let (path, reason) = (path.display(), in_words(&error));
            let what = format!("cannot read {path}: {reason}; name a file that can be read");
            judge.complain(&blame, &what)?;
            return Ok(Vec::new());
        }
    };
    let (keys, errors) = channels(&path, text.strip_prefix('\u{feff}').unwrap_or(&text));
    let (left_out, all) = (errors.len(), errors.len() + keys.len());
    match errors.into_iter().next() {
        None => {}
        Some(error) if judge.written.dialect == Dialect::Toml => return Err(error),
        // CoreScope goes on without a key that it cannot use.
        Some(error) => judge.notes.push(match left_out {
            1 => format!("left out: {error}"),
            _ => format!("left out {left_out} of {all} channel keys, the first is {error}"),
        }),
    }
    Ok(keys)
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

/// The channels of the file's text, and what is wrong with the others.
fn channels(path: &Path, text: &str) -> (Vec<ChannelKey>, Vec<Error>) {
    let tree = match parse::json(text) {
        Ok(tree) => tree,
        Err(malformed) => {
            let error = Error::syntax(path, malformed.line, malformed.what);
            return (Vec::new(), vec![error]);
        }
    };
    let Value::Table(entries) = tree.value else {
        let what = "not an object; write {\"#name\": \"32 hex digits\"}";
        return (Vec::new(), vec![Error::syntax(path, tree.line, what)]);
    };
    let (mut keys, mut errors) = (Vec::new(), Vec::new());
    for entry in entries {
        let (line, key) = (entry.line, At::key(&entry.key).to_string());
        match channel(entry) {
            None => {}
            Some(Ok(channel)) => keys.push(channel),
            Some(Err(what)) => {
                errors.push(Error::Value { file: path.display().to_string(), line, key, what });
            }
        }
    }
    (keys, errors)
}

/// `None`: no channel at all, but a comment.
fn channel(entry: Entry) -> Option<Result<ChannelKey, String>> {
    match &entry.node.value {
        _ if entry.key.starts_with("_comment") => None,
        Value::Null => None,
        Value::Text(hex) => Some(key_bytes(hex).map(|key| ChannelKey::Given(entry.key, key))),
        _ => Some(Err("must be a string; a channel key has 32 or 64 hex digits".into())),
    }
}
