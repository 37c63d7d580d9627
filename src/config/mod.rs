//! The configuration: what the user wrote, the environment ([`mod@env`]), and [`Config`], what the
//! program uses.
//!
//! ```text
//! search ── text ─> parse ── tree with lines ─> read ── file::File ─> judge ─> Config
//!                                                                       ^
//!                                                  environment, key files, this machine
//! ```
//!
//! Two kinds of file lead to one [`Config`]: meshbox's own `broker.toml`, where an unknown key is
//! an error, and CoreScope's `config.json` as it is. To give a room its section: a field in
//! `file.rs`, its explanation in `broker.toml`, its values judged in a file named after it, and its
//! line taken out of `unbuilt.rs`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub mod accounts;
mod channels;
pub mod env;
mod error;
mod file;
mod filters;
mod home;
mod judge;
mod key_file;
mod listeners;
mod logins;
mod nearest;
mod network;
mod node_keys;
mod own;
mod parse;
pub mod password;
mod policy;
mod read;
mod remote;
mod retention;
mod risks;
mod search;
pub mod secret;
mod sessions;
mod sources;
#[cfg(test)]
mod tests;
mod topics;
mod tree;
mod unbuilt;
mod uplinks;
mod url;

pub use accounts::{Account, Accounts, AccountsFile, Role};
pub use channels::ChannelKey;
pub use error::Error;
pub use filters::Filters;
pub use listeners::{Access, Broker, CertificateFiles, Listener, MOST_CONNECTIONS, Transport};
pub use logins::{Audience, Logins, TOKEN_SKEW_SEC};
pub use network::Network;
pub use node_keys::NodeKey;
pub use policy::{Policy, Watch};
pub use remote::{ClientTls, Remote};
pub use retention::Retention;
pub use sessions::Sessions;
pub use sources::Source;
pub use topics::covers;
pub use uplinks::{Login, Uplink};
pub use url::{BrokerUrl, Scheme, parse as broker_url};

/// `broker.toml` as it is shipped: every option with its default, commented out.
pub const EXAMPLE: &str = include_str!("../../broker.toml");

/// The last place that is looked at.
const SYSTEM_FILE: &str = "/etc/meshbox/broker.toml";

/// Everything the program uses, with every default filled in and every value judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where it comes from, for the start line.
    pub origin: Origin,
    /// The SQLite file.
    pub db_path: PathBuf,
    /// How packets are hashed.
    pub content_hash: ContentHash,
    /// Channel keys, later entries over earlier ones of the same name.
    pub channel_keys: Vec<ChannelKey>,
    /// Private keys of nodes of the user's, whose sealed packets are opened.
    pub node_keys: Vec<NodeKey>,
    /// Region names whose scope codes are recognised, as they are written.
    pub hash_regions: Vec<String>,
    /// Whether adverts with a bad signature are dropped.
    pub validate_signatures: bool,
    /// Who is left out.
    pub filters: Filters,
    /// Bounds of what is received and not yet committed.
    pub ingest: Ingest,
    /// How long a record waits for company before its batch is committed.
    pub commit_interval: Duration,
    /// Bytes that the write-ahead log may have in a burst (`walMaxMB`).
    pub wal_max_bytes: u64,
    /// One sample of an observer's metrics is kept in so long.
    pub sample_interval: Duration,
    /// How long things are kept.
    pub retention: Retention,
    /// Where CoreScope's stats file is written, if it is.
    pub stats_file: Option<PathBuf>,
    /// Our own broker.
    pub broker: Broker,
    /// External brokers to take in.
    pub sources: Vec<Source>,
    /// Brokers that what our gateways publish is passed on to.
    pub uplinks: Vec<Uplink>,
    /// What was accepted and has no effect, or another one than one might think; one line each.
    pub notes: Vec<String>,
}

/// Bounds of what is received and not yet committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ingest {
    /// Messages (`ingestBufferSize`).
    pub messages: usize,
    /// Bytes of topics, payloads and overhead (`ingestBufferMB`).
    pub bytes: usize,
}

/// Where a configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The embedded defaults.
    Defaults,
    /// meshbox's own file.
    Toml(PathBuf),
    /// CoreScope's file.
    CoreScope(PathBuf),
}

/// How packets are hashed (`contentHash`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentHash {
    /// The firmware's formula, also CoreScope's of July 2026.
    Firmware,
    /// CoreScope's formula of April 2026.
    CoreScope202604,
}

impl Config {
    /// Finds, reads and judges the configuration: the file `explicit` if one is named, else
    /// `broker.toml`, else `config.json` in the working directory, else
    /// `/etc/meshbox/broker.toml`, else the defaults; then `DB_PATH`, `MQTT_BROKER`, `MQTT_TOPIC`,
    /// `CHANNEL_KEYS_PATH` and `CORESCOPE_INGESTOR_STATS`, for which `env` is asked (at the rim [`env::of_this_process`]).
    ///
    /// A relative `dbPath` begins at `working_dir`; key files and password files begin at the
    /// config file.
    ///
    /// # Errors
    /// One line with file, line, key, what is wrong and what to do.
    pub fn load(
        explicit: Option<&Path>,
        env: &dyn Fn(&str) -> Option<String>,
        working_dir: &Path,
    ) -> Result<Self, Error> {
        let written = search::find(explicit, working_dir, Path::new(SYSTEM_FILE))?;
        Self::judged(&written, env, working_dir, &own::Machine::this())
    }

    fn judged(
        written: &search::Written,
        env: &dyn Fn(&str) -> Option<String>,
        working_dir: &Path,
        machine: &own::Machine,
    ) -> Result<Self, Error> {
        let env = &env::Env::read(env);
        judge::Judge { written, env, working_dir, machine, notes: Vec::new() }.config()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => f.write_str("embedded defaults"),
            Self::Toml(path) => write!(f, "{}", path.display()),
            Self::CoreScope(path) => write!(f, "{} (CoreScope's)", path.display()),
        }
    }
}

/// The word of the config file.
impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Firmware => "firmware",
            Self::CoreScope202604 => "corescope-2026-04",
        })
    }
}
