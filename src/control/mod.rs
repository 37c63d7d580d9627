//! The running hub's door for its own people: a Unix socket beside the database.
//!
//! `meshbox.sock` in the data directory, mode 0600, speaks JSON lines: one [`Ask`] in, one answer
//! out. [`instance`] keeps a second hub away from the same data.

pub mod client;
pub mod instance;
pub mod server;
pub mod stats_file;

pub use client::{AskError, ask_clients, ask_status};
pub use instance::{Instance, InstanceError};
pub use server::{Server, ServerError};
pub use stats_file::StatsFile;

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What may be asked: one JSON object a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "camelCase")]
pub enum Ask {
    /// The health snapshot; answered with a [`crate::counters::Snapshot`].
    Status,
    /// Who is connected to our broker, who was refused and why, who was spoken for; answered with
    /// [`crate::broker::board::Clients`].
    Clients,
}

/// The answer to a line that is no [`Ask`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What is wrong with it.
    pub error: String,
}

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
