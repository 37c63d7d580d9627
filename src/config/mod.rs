//! The configuration: what the user wrote ([`file`]), the environment ([`env`]), and [`Config`],
//! what the program uses.

use crate::message::queue::Bounds;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything the program uses, with every default filled in and every value judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where it comes from, for the start line.
    pub origin: Origin,
    /// The SQLite file.
    pub db_path: PathBuf,
    /// How packets are hashed.
    pub content_hash: ContentHash,
    /// Channel keys, later entries over earlier ones: name and 16 or 32 bytes.
    pub channel_keys: Vec<ChannelKey>,
    /// Region names whose scope codes are recognised.
    pub hash_regions: Vec<String>,
    /// Whether adverts with a bad signature are dropped.
    pub validate_signatures: bool,
    /// Bounds of what is received and not yet committed.
    pub ingest: Bounds,
    /// How long a record waits for company before its batch is committed.
    pub commit_interval: Duration,
    /// Nodes that were not heard for so long move to `inactive_nodes`.
    pub node_retention: Duration,
    /// Our own broker.
    pub broker: Broker,
    /// External brokers to take in.
    pub sources: Vec<Source>,
    /// What was accepted and does nothing yet, one line each.
    pub notes: Vec<String>,
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

/// A channel and how its key was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelKey {
    /// `hashChannels`: the key follows from the name, which starts with `#`.
    Hashtag(String),
    /// `channelKeys` or the file of `channelKeysPath`: name and 16 or 32 bytes.
    Given(String, Vec<u8>),
}

/// Our own broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Off: no listener at all.
    pub enabled: bool,
    /// Where it listens.
    pub listeners: Vec<Listener>,
}

/// One listener of our own broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// What is spoken below MQTT.
    pub transport: Transport,
    /// Where; port 0 lets the system choose.
    pub bind: SocketAddr,
    /// Who may come in without a login.
    pub access: Access,
}

/// What is spoken below MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Plain TCP.
    Tcp,
}

/// Who may come in without a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anyone from anywhere.
    Anyone,
    /// Anonymous from loopback and private addresses, login from elsewhere.
    Lan,
    /// Loopback only.
    Local,
    /// Always a login.
    Accounts,
}

/// One external broker to take in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Unique; the tag in logs and counters.
    pub name: String,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Login name; `None`: anonymous.
    pub username: Option<String>,
    /// Password.
    pub password: Option<secret::Secret>,
    /// Filters to subscribe to, never empty, without duplicates.
    pub topics: Vec<String>,
    /// Regions whose packets are taken; empty: all.
    pub iata_filter: Vec<String>,
    /// The region of packets whose topic and payload have none.
    pub region: Option<String>,
    /// Whether the broker keeps our session while we are away.
    pub persistent_session: bool,
}

pub mod secret;

/// x
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct Error;
impl Config {
    /// x
    pub fn load(
        _e: Option<&std::path::Path>,
        _env: &dyn Fn(&str) -> Option<String>,
        _w: &std::path::Path,
    ) -> Result<Self, Error> {
        Err(Error)
    }
}
