//! What can be wrong with a configuration: always one line, with the file, the line, the key, what
//! is wrong and what to do.

use std::fmt::Display;
use std::io;
use std::path::Path;

/// Why there is no configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A config file that cannot be read.
    #[error("{file}: cannot be read: {reason}; {advice}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system says.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// A file that is not TOML or not JSON.
    #[error("{file}:{line}: {what}")]
    Syntax {
        /// The file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong, and what to do.
        what: String,
    },
    /// A key that is unknown, or whose value cannot be used.
    #[error("{file}:{line}: {key}: {what}")]
    Value {
        /// The file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// The key with its tables, such as `mqttSources[1].broker`.
        key: String,
        /// What is wrong, and what to do.
        what: String,
    },
    /// An environment variable whose value cannot be used.
    #[error("{variable}: {what}")]
    Variable {
        /// Its name.
        variable: &'static str,
        /// What is wrong, and what to do.
        what: String,
    },
}

impl Error {
    pub(super) fn unreadable(file: impl Display, reason: &io::Error, advice: &'static str) -> Self {
        Self::Unreadable { file: file.to_string(), reason: in_words(reason), advice }
    }

    pub(super) fn syntax(file: &Path, line: usize, what: impl Into<String>) -> Self {
        Self::Syntax { file: file.display().to_string(), line, what: what.into() }
    }
}

/// The system's words without its number: `No such file or directory`.
pub(super) fn in_words(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text.get(..end).unwrap_or(&text).to_owned(),
        None => text,
    }
}
