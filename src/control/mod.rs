//! The running hub's door for its own people: a Unix socket beside the database.
//!
//! `meshbox.sock` in the data directory, mode 0600, speaks JSON lines: one [`Ask`] in, one answer
//! out. [`instance`] keeps a second hub away from the same data.

pub mod client;
pub mod instance;
pub mod server;
pub mod stats_file;

pub use client::{AskError, ask_claims, ask_clients, ask_release, ask_status};
pub use instance::{Instance, InstanceError};
pub use server::{Server, ServerError};
pub use stats_file::StatsFile;

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What may be asked: one JSON object a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "camelCase")]
pub enum Ask {
    /// The health snapshot; answered with a [`crate::counters::Snapshot`].
    Status,
    /// Who is connected to our broker, who was refused and why, who was spoken for; answered with
    /// [`crate::broker::board::Clients`].
    Clients,
    /// Which keys somebody has logged in for; answered with a list of
    /// [`crate::broker::board::ClaimRow`].
    Claims,
    /// That a key be nobody's again; answered with [`crate::broker::board::Released`].
    Release {
        /// The key, 64 hex digits.
        key: String,
    },
}

/// The answer to a line that is no [`Ask`], or to one that cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What is wrong with it.
    pub error: String,
}

/// How the answer to a line that is no [`Ask`] begins: whoever asked and whoever answers are not of the
/// same version.
pub(crate) const NOT_A_QUESTION: &str = "not a question";

/// The socket's path for a database: `meshbox.sock` in the same directory.
pub fn socket_path(db_path: &Path) -> PathBuf {
    data_dir(db_path).join("meshbox.sock")
}

/// The directory of a database file; `.` for a bare file name.
pub fn data_dir(db_path: &Path) -> &Path {
    match db_path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}
