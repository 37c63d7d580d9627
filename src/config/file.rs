//! What the user wrote: every key of `broker.toml` and of CoreScope's `config.json` that means
//! something to us, in CoreScope's spelling where CoreScope has the key.
//!
//! Everything is optional; [`super::judge`] fills in the defaults and judges the values. Who adds a
//! key here explains it in `broker.toml` too: a test compares the two. None of it can be printed
//! with `{:?}`, since keys and passwords are in it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::secret::Secret;

/// The root table.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "camelCase", default)]
pub(super) struct File {
    /// The SQLite file, relative to the working directory.
    pub db_path: Option<String>,
    /// `firmware` or `corescope-2026-04`.
    pub content_hash: Option<String>,
    /// Channel names whose key follows from the name.
    pub hash_channels: Option<Vec<String>>,
    /// Channel names and their keys, 32 or 64 hex digits.
    pub channel_keys: Option<BTreeMap<String, String>>,
    /// A JSON file of channel names and keys.
    pub channel_keys_path: Option<String>,
    /// Region names whose scope codes are recognised.
    pub hash_regions: Option<Vec<String>>,
    /// Files with private keys of nodes whose packets may be opened.
    pub node_keys: Option<Vec<String>>,
    /// Whether adverts with a bad signature are dropped.
    pub validate_signatures: Option<bool>,
    /// Messages received and not yet committed, at most.
    pub ingest_buffer_size: Option<i64>,
    /// The same in MiB.
    #[serde(rename = "ingestBufferMB")]
    pub ingest_buffer_mb: Option<i64>,
    /// How long a record waits for company, in milliseconds.
    pub commit_interval_ms: Option<i64>,
    /// How large the write-ahead log may grow in a burst, in MiB.
    #[serde(rename = "walMaxMB")]
    pub wal_max_mb: Option<i64>,
    /// Where CoreScope's stats file is written, relative to the working directory.
    pub stats_file: Option<String>,
    /// How long things are kept.
    pub retention: Option<Retention>,
    /// Days until a neighbour edge that was not seen again is forgotten.
    pub neighbor_edges_max_age_days: Option<i64>,
    /// Upkeep of the SQLite file.
    pub db: Option<Upkeep>,
    /// Observer metrics.
    pub metrics: Option<Metrics>,
    /// The area whose adverts are at home.
    #[serde(rename = "geo_filter")]
    pub geo_filter: Option<GeoFilter>,
    /// What happens to adverts from outside of it.
    pub foreign_adverts: Option<ForeignAdverts>,
    /// Coverage reports of phones that drive around.
    pub client_rx_coverage: Option<ClientRxCoverage>,
    /// Keys of observers of which nothing is taken.
    pub observer_blacklist: Option<Vec<String>>,
    /// The only regions whose observers are taken.
    #[serde(rename = "observerIATAWhitelist")]
    pub observer_iata_whitelist: Option<Vec<String>>,
    /// Keys of nodes that are not shown.
    pub node_blacklist: Option<Vec<String>>,
    /// Nodes whose name begins so are not shown.
    pub hidden_name_prefixes: Option<Vec<String>>,
    /// Addresses or networks of proxies whose word about a client's address is taken.
    pub trusted_proxies: Option<Vec<String>>,
    /// Our own broker.
    pub broker: Option<Broker>,
    /// The page.
    pub web: Option<Web>,
    /// External brokers to take in.
    pub mqtt_sources: Option<Vec<Source>>,
    /// The single broker of CoreScope's oldest files; no key of `broker.toml`.
    #[serde(skip_serializing)]
    pub mqtt: Option<LegacySource>,
    /// Public brokers to pass our gateways' traffic on to.
    pub uplinks: Option<Vec<Uplink>>,
}

/// `retention`: days unless the name says otherwise.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Retention {
    /// Until a silent node moves to `inactive_nodes`.
    pub node_days: Option<i64>,
    /// Until a silent observer is marked inactive; -1: never.
    pub observer_days: Option<i64>,
    /// Metrics and dropped packets.
    pub metrics_days: Option<i64>,
    /// Packets; 0: for ever.
    pub packet_days: Option<i64>,
    /// Coverage reports; 0: for ever.
    pub client_rx_days: Option<i64>,
    /// Size of the database in MiB beyond which the oldest packets go; 0: no limit.
    #[serde(rename = "maxDbMB")]
    pub max_db_mb: Option<i64>,
}

/// `db`.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Upkeep {
    /// One whole VACUUM at the start.
    pub vacuum_on_startup: Option<bool>,
    /// Pages given back after each pruning.
    pub incremental_vacuum_pages: Option<i64>,
}

/// `metrics`.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metrics {
    /// One sample an observer in so many seconds.
    pub sample_interval_sec: Option<i64>,
}

/// `geo_filter`: a polygon with a margin, or a box; degrees.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "camelCase", default)]
pub(super) struct GeoFilter {
    /// Corners, each `[lat, lon]`.
    pub polygon: Option<Vec<Vec<f64>>>,
    /// Margin around the polygon in km.
    pub buffer_km: Option<f64>,
    /// South edge of the box.
    pub lat_min: Option<f64>,
    /// North edge of the box.
    pub lat_max: Option<f64>,
    /// West edge of the box.
    pub lon_min: Option<f64>,
    /// East edge of the box.
    pub lon_max: Option<f64>,
}

/// `foreignAdverts`.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ForeignAdverts {
    /// `flag` or `drop`.
    pub mode: Option<String>,
}

/// `clientRxCoverage`.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ClientRxCoverage {
    /// Whether the reports are taken.
    pub enabled: Option<bool>,
}

/// `broker`.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Broker {
    /// Off: no listener at all.
    pub enabled: Option<bool>,
    /// None given: one, for TCP.
    pub listeners: Option<Vec<Listener>>,
    /// Topic filters outside `meshcore/` that the box's other users may use.
    pub allow_topics: Option<Vec<String>>,
    /// Whether a forbidden publish ends the connection.
    pub strict: Option<bool>,
    /// Whether a shared account learns its key at first use.
    pub bind_first_key: Option<bool>,
    /// The file of accounts, relative to the config file.
    pub accounts_file: Option<String>,
    /// Further names of this hub that a token may be for.
    pub audience: Option<Vec<String>>,
    /// How far a gateway's clock may be off, in seconds.
    pub token_skew_sec: Option<i64>,
    /// Connections at the same time.
    pub max_connections: Option<i64>,
    /// The same from one address.
    pub max_connections_per_address: Option<i64>,
    /// The largest payload of a client, in KiB.
    #[serde(rename = "maxPayloadKB")]
    pub max_payload_kb: Option<i64>,
    /// What happens to an observer that sends too much, or everything twice: `count` or `mute`.
    pub watch: Option<String>,
    /// What waits for subscribers at QoS 1, and for clients that are away.
    pub session: Option<Session>,
}

/// `broker.session`.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Session {
    /// Messages for one client.
    pub max_messages: Option<i64>,
    /// MiB for all clients together.
    #[serde(rename = "maxMB")]
    pub max_mb: Option<i64>,
    /// How long a session and what waits in it is kept.
    pub max_hours: Option<i64>,
}

/// One of `broker.listeners`.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Listener {
    /// `tcp`, `tls`, `ws` or `wss`.
    pub transport: Option<String>,
    /// `address:port`; port 0: the system chooses.
    pub bind: Option<String>,
    /// `anyone`, `lan`, `local` or `accounts`.
    pub access: Option<String>,
    /// PEM file of the certificate and its chain, relative to the config file.
    pub certificate_file: Option<String>,
    /// PEM file of its private key, relative to the config file.
    pub key_file: Option<String>,
    /// Whether every connection begins with a PROXY protocol header.
    pub proxy_protocol: Option<bool>,
    /// Host names whose pages may use it from browsers.
    pub origins: Option<Vec<String>>,
}

/// `web`.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Web {
    /// Off: no page.
    pub enabled: Option<bool>,
    /// `address:port`.
    pub bind: Option<String>,
    /// As for a listener.
    pub access: Option<String>,
}

/// One of `mqttSources`.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Source {
    /// The tag in logs and counters.
    pub name: Option<String>,
    /// Its URL.
    pub broker: Option<String>,
    /// Login name.
    pub username: Option<String>,
    /// Password.
    #[cfg_attr(test, serde(serialize_with = "given"))]
    pub password: Option<Secret>,
    /// A file with the password, relative to the config file.
    pub password_file: Option<String>,
    /// The private key that tokens are made with, relative to the config file.
    pub key_file: Option<String>,
    /// The broker's name in tokens.
    pub audience: Option<String>,
    /// `false`: any certificate will do.
    pub reject_unauthorized: Option<bool>,
    /// A PEM file of certificates to believe, relative to the config file.
    pub ca_file: Option<String>,
    /// Our certificate for that broker, a PEM file.
    pub client_certificate: Option<String>,
    /// Its private key.
    pub client_key: Option<String>,
    /// Filters to subscribe to.
    pub topics: Option<Vec<String>>,
    /// Regions whose packets are taken.
    pub iata_filter: Option<Vec<String>>,
    /// The region of what has none.
    pub region: Option<String>,
    /// How long a dial with its login may take.
    pub connect_timeout_sec: Option<i64>,
    /// Whether that broker keeps our session while we are away.
    pub persistent_session: Option<bool>,
    /// Seconds of silence until the connection is made anew.
    pub stall_sec: Option<i64>,
}

/// `mqtt`.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "camelCase", default)]
pub(super) struct LegacySource {
    /// Its URL.
    pub broker: Option<String>,
    /// A filter beside `meshcore/#`.
    pub topic: Option<String>,
}

/// One of `uplinks`.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Uplink {
    /// The tag in logs and counters.
    pub name: Option<String>,
    /// A known public broker.
    pub preset: Option<String>,
    /// Its URL, where it is no known one.
    pub broker: Option<String>,
    /// Login name.
    pub username: Option<String>,
    /// Password.
    #[cfg_attr(test, serde(serialize_with = "given"))]
    pub password: Option<Secret>,
    /// A file with the password, relative to the config file.
    pub password_file: Option<String>,
    /// Private keys of our observers, relative to the config file.
    pub key_files: Option<Vec<String>>,
    /// Whom tokens are for.
    pub audience: Option<String>,
    /// The owner's public key, for tokens.
    pub owner: Option<String>,
    /// The owner's address, for tokens.
    pub email: Option<String>,
    /// The topic there, with `{region}`, `{key}` and `{type}`.
    pub topic: Option<String>,
    /// `packets`, `status`, `neighbors`.
    pub types: Option<Vec<String>>,
    /// Regions that are passed on.
    pub regions: Option<Vec<String>>,
    /// Keys of observers that are passed on.
    pub observers: Option<Vec<String>>,
    /// Payload types (0 to 15) of packets that are passed on.
    pub payload_types: Option<Vec<i64>>,
    /// The area whose adverts are passed on.
    #[serde(rename = "geo_filter")]
    pub geo_filter: Option<GeoFilter>,
    /// Whether what sources bring is passed on too.
    pub sources: Option<bool>,
    /// Messages a second.
    pub rate: Option<i64>,
    /// Whether a status is marked as retained.
    pub retain: Option<bool>,
    /// Whether payloads get an `origin_id` where they have none.
    pub needs_origin_id: Option<bool>,
    /// `false`: any certificate will do.
    pub reject_unauthorized: Option<bool>,
    /// A PEM file of certificates to believe, relative to the config file.
    pub ca_file: Option<String>,
    /// Our certificate for that broker, a PEM file.
    pub client_certificate: Option<String>,
    /// Its private key.
    pub client_key: Option<String>,
    /// What waits on disk, in MiB at most.
    #[serde(rename = "spoolMaxMB")]
    pub spool_max_mb: Option<i64>,
    /// How long it may wait.
    pub spool_max_age: Option<String>,
}

#[cfg(test)]
fn given<S: serde::Serializer>(secret: &Option<Secret>, out: S) -> Result<S::Ok, S::Error> {
    serde::Serialize::serialize(&secret.is_some().then_some(true), out)
}
