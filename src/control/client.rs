//! The asking side of the control socket.

use super::{Ask, NOT_A_QUESTION, Refusal, socket_path};
use crate::broker::board::{ClaimRow, Clients, Released};
use crate::counters::Snapshot;

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;

/// How long the hub may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("no hub is running on {}; is dbPath the one it was started with?", .0.display())]
    NotRunning(PathBuf),
    /// The socket belongs to somebody else.
    #[error("may not open {}; ask as the user that runs the hub, or as root", .0.display())]
    NotAllowed(PathBuf),
    /// The hub is there and does not answer properly.
    #[error("the hub at {} does not answer: {reason}", path.display())]
    NoAnswer {
        /// The socket.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// The hub does not know the question.
    #[error(
        "the hub at {} is of another version than this program ({}) and cannot do that; start it \
         again, or use its own program",
        .0.display(),
        env!("CARGO_PKG_VERSION")
    )]
    OtherVersion(PathBuf),
    /// The hub says why not.
    #[error("{0}")]
    Refused(String),
}

/// Asks the hub that runs on this database for its health snapshot.
///
/// # Errors
/// [`AskError`], in one line.
pub fn ask_status(db_path: &Path) -> Result<Snapshot, AskError> {
    answered(db_path, &Ask::Status)
}

/// Asks the hub that runs on this database about the clients of its broker.
///
/// # Errors
/// [`AskError`], in one line.
pub fn ask_clients(db_path: &Path) -> Result<Clients, AskError> {
    answered(db_path, &Ask::Clients)
}

/// Asks the hub that runs on this database which keys somebody has logged in for.
///
/// # Errors
/// [`AskError`], in one line.
pub fn ask_claims(db_path: &Path) -> Result<Vec<ClaimRow>, AskError> {
    answered(db_path, &Ask::Claims)
}

/// Asks the hub that runs on this database to take a key back.
///
/// # Errors
/// [`AskError`], in one line.
pub fn ask_release(db_path: &Path, key: &str) -> Result<Released, AskError> {
    answered(db_path, &Ask::Release { key: key.to_owned() })
}

fn answered<T: DeserializeOwned>(db_path: &Path, question: &Ask) -> Result<T, AskError> {
    let path = socket_path(db_path);
    let line = ask(&path, question)?;
    serde_json::from_str(&line).map_err(|error| match serde_json::from_str(&line) {
        Ok(Refusal { error }) if error.starts_with(NOT_A_QUESTION) => AskError::OtherVersion(path),
        Ok(Refusal { error }) => AskError::Refused(error),
        Err(_) => AskError::NoAnswer { path, reason: error.to_string() },
    })
}

fn ask(path: &Path, question: &Ask) -> Result<String, AskError> {
    let stream = UnixStream::connect(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            AskError::NotRunning(path.to_owned())
        }
        io::ErrorKind::PermissionDenied => AskError::NotAllowed(path.to_owned()),
        _ => AskError::NoAnswer { path: path.to_owned(), reason: error.to_string() },
    })?;
    exchange(&stream, question)
        .map_err(|error| AskError::NoAnswer { path: path.to_owned(), reason: error.to_string() })
}

fn exchange(mut stream: &UnixStream, question: &Ask) -> io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_string(question)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer)
}
