//! `meshbox check`: what a configuration means, or which line of it is wrong. Starts nothing.

mod logins;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use crate::app;
use crate::area::{Area, Home};
use crate::broker::Certificate;
use crate::clock::Clock;
use crate::config::{ChannelKey, Config, Login, Retention, Source, Uplink};

/// Arguments of `meshbox check`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// The config file; without it broker.toml, then config.json in the working directory, then
    /// /etc/meshbox/broker.toml, then the built-in defaults
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One JSON object instead of lines for people
    #[arg(long)]
    pub json: bool,
}

/// Prints what would run with this configuration, environment and working directory.
///
/// With `--json` a bad configuration is an object too, `ok` false and the line under `error`, and
/// the exit code is 1.
///
/// # Errors
/// The one line that says what is wrong with the configuration; output that cannot be written.
pub fn run(
    args: &Args,
    env: &dyn Fn(&str) -> Option<String>,
    working_dir: &Path,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let loaded = Config::load(args.config.as_deref(), env, working_dir);
    let loaded = loaded.map_err(anyhow::Error::from).and_then(|config| {
        let nodes = nodes(&config)?;
        let notes = certificates(&config)?;
        Ok((Config { notes, ..config }, nodes))
    });
    match loaded {
        Ok((config, nodes)) if args.json => writeln!(out, "{}", as_json(&config, &nodes))?,
        Ok((config, nodes)) => write!(out, "{}", in_words(&config, &nodes))?,
        Err(error) if args.json => {
            writeln!(out, "{}", json!({"ok": false, "error": error.to_string()}))?;
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => return Err(error),
    }
    Ok(ExitCode::SUCCESS)
}

/// The public keys of the nodes whose packets are opened.
fn nodes(config: &Config) -> anyhow::Result<Vec<String>> {
    app::login_keys(config)?;
    let keys = app::node_keys(&config.node_keys)?;
    Ok(keys.iter().map(|key| hex::encode(key.public_key())).collect())
}

/// The notes, and what there is to be said about the certificates of the listeners.
fn certificates(config: &Config) -> anyhow::Result<Vec<String>> {
    let mut notes = config.notes.clone();
    for files in config.broker.listeners.iter().filter_map(|it| it.certificate.as_ref()) {
        let certificate = Certificate::load(files)?;
        notes.extend(certificate.complaint(Clock::system().now_ms()));
    }
    Ok(notes)
}

fn in_words(config: &Config, nodes: &[String]) -> String {
    let mut lines = vec![
        ("config", config.origin.to_string()),
        ("database", config.db_path.display().to_string()),
        ("hash", config.content_hash.to_string()),
    ];
    for listener in &config.broker.listeners {
        let (transport, bind, access) = (listener.transport, listener.bind, listener.access);
        let words = access.in_words();
        let proxied = if listener.proxy_protocol { ", behind the PROXY protocol" } else { "" };
        let line = format!("mqtt {transport} {bind}, access {access}: {words}{proxied}");
        lines.push(("listener", line));
    }
    if !config.broker.enabled {
        lines.push(("listener", "none, the broker is off".into()));
    } else if config.broker.listeners.is_empty() {
        lines.push(("listener", "none".into()));
    }
    lines.extend(logins::in_words(config));
    lines.extend(config.sources.iter().map(|source| ("source", source_in_words(source))));
    if config.sources.is_empty() {
        lines.push(("source", "none".into()));
    }
    lines.extend(config.uplinks.iter().map(|uplink| ("uplink", uplink_in_words(uplink))));
    lines.push(("observers", observers_in_words(config)));
    lines.push(("channels", channels_in_words(config)));
    lines.push(("regions", list_or(&config.hash_regions, "none")));
    lines.push((
        "adverts",
        match config.validate_signatures {
            true => "dropped if the signature is wrong".into(),
            false => "kept whatever the signature".into(),
        },
    ));
    if let Some(home) = &config.filters.home {
        lines.push(("home", home_in_words(home)));
    }
    let node = |node| ("node key", format!("{node}, whose private messages are opened and stored"));
    lines.extend(nodes.iter().map(node));
    lines.push(("limits", limits_in_words(config)));
    lines.push(("kept", kept_in_words(&config.retention)));
    lines.extend(config.notes.iter().map(|note| ("note", note.clone())));
    lines.iter().map(|(what, text)| format!("{what:<9} {text}\n")).collect()
}

/// Everything but the password and the key.
fn source_in_words(source: &Source) -> String {
    let login = match &source.login {
        Login::Account { username: None, .. } => "anonymous".into(),
        Login::Account { username: Some(name), password: None } => {
            format!("as {name:?} without a password")
        }
        Login::Account { username: Some(name), password: Some(_) } => {
            format!("as {name:?} with a password")
        }
        Login::Token { audience, .. } => format!("with tokens for {audience}"),
    };
    let regions = list_or(&source.iata_filter, "all");
    let fallback = source.region.as_ref().map(|region| format!(", else {region}"));
    let session = if source.persistent_session { "persistent" } else { "clean" };
    format!(
        "{} {}, {login}, topics {}, regions {regions}{}, {session} session",
        source.name,
        source.remote,
        source.topics.join(" "),
        fallback.unwrap_or_default()
    )
}

/// Everything but the password and the keys.
fn uplink_in_words(uplink: &Uplink) -> String {
    let login = match &uplink.login {
        Login::Account { username: None, .. } => "anonymous".to_owned(),
        Login::Account { username: Some(name), .. } => format!("as {name:?}"),
        Login::Token { keys, audience, lifetime, .. } => {
            let many =
                if keys.len() == 1 { "1 key".into() } else { format!("{} keys", keys.len()) };
            format!("with {many}, tokens for {audience} of {} s", lifetime.as_secs())
        }
    };
    format!(
        "{} {}, {login}, topic {}, {}, regions {}, observers {}{}, at most {}/s{}{}; what cannot be \
         sent waits, up to {} MiB and {} h",
        uplink.name,
        uplink.remote,
        uplink.topic,
        uplink.types.join(" "),
        list_or(&uplink.regions, "all"),
        list_or(&uplink.observers, "all"),
        uplink.area.as_ref().map_or_else(String::new, |it| format!(", adverts in {}", area(it))),
        uplink.rate,
        if uplink.retain { ", status retained" } else { "" },
        if uplink.needs_origin_id { ", with origin_id" } else { "" },
        uplink.spool_bytes >> 20,
        uplink.spool_age.as_secs() / 3_600
    )
}

fn channels_in_words(config: &Config) -> String {
    let hashtags = hashtags(config);
    let given = config.channel_keys.len() - hashtags;
    format!("Public, {hashtags} by name, {given} by key")
}

fn hashtags(config: &Config) -> usize {
    config.channel_keys.iter().filter(|key| matches!(key, ChannelKey::Hashtag(_))).count()
}

/// The area that is at home.
fn home_in_words(home: &Home) -> String {
    let area = area(&home.area);
    let fate = if home.drop_foreign { "not stored" } else { "stored and flagged" };
    format!("{area}; adverts from elsewhere are {fate}")
}

fn area(area: &Area) -> String {
    match area {
        Area::Polygon { corners, buffer_km } => {
            format!("a polygon of {} corners and {buffer_km} km around it", corners.len())
        }
        Area::Box { lat: [south, north], lon: [west, east] } => {
            format!("{south} to {north} north, {west} to {east} east")
        }
    }
}

/// Whose messages are taken.
fn observers_in_words(config: &Config) -> String {
    let filters = &config.filters;
    let listed = match filters.observer_blacklist.len() {
        0 => "all".to_owned(),
        listed => format!("all but {listed} that are blacklisted"),
    };
    match list_or(&filters.observer_regions, "") {
        regions if regions.is_empty() => listed,
        regions => format!("{listed}, of regions {regions} only"),
    }
}

fn limits_in_words(config: &Config) -> String {
    format!(
        "{} messages or {} MiB received and not yet stored, a commit every {} ms",
        config.ingest.messages,
        mib(config),
        config.commit_interval.as_millis()
    )
}

fn mib(config: &Config) -> usize {
    config.ingest.bytes / (1024 * 1024)
}

/// How long, in days.
fn kept_in_words(keep: &Retention) -> String {
    let ever = |age: Option<Duration>| match age {
        Some(age) => format!("for {} days", days(age)),
        None => "for ever".to_owned(),
    };
    let size = keep.max_db_bytes.map(|bytes| format!(" within {} MiB", bytes / (1024 * 1024)));
    format!(
        "packets {}{}, nodes {}, observers {}, metrics and dropped packets {}, neighbours {}, \
         coverage reports {}",
        ever(keep.packets),
        size.unwrap_or_default(),
        ever(Some(keep.nodes)),
        ever(keep.observers),
        ever(Some(keep.metrics)),
        ever(Some(keep.neighbor_edges)),
        ever(keep.client_receptions)
    )
}

fn days(age: Duration) -> u64 {
    age.as_secs() / (24 * 60 * 60)
}

fn list_or(list: &[String], none: &str) -> String {
    if list.is_empty() { none.to_owned() } else { list.join(" ") }
}

fn as_json(config: &Config, nodes: &[String]) -> serde_json::Value {
    let listener = |it: &crate::config::Listener| {
        json!({
            "transport": it.transport.to_string(),
            "bind": it.bind.to_string(),
            "access": it.access.to_string(),
            "certificateFile": it.certificate.as_ref().map(|files| &files.certificate),
            "proxyProtocol": it.proxy_protocol,
            "origins": it.origins,
        })
    };
    let source = |it: &Source| {
        let (username, password, audience) = match &it.login {
            Login::Account { username, password } => (username.as_ref(), password.is_some(), None),
            Login::Token { audience, .. } => (None, false, Some(audience)),
        };
        json!({
            "name": it.name, "broker": it.remote.to_string(), "username": username,
            "password": password, "audience": audience, "topics": it.topics,
            "iataFilter": it.iata_filter, "region": it.region,
            "persistentSession": it.persistent_session,
        })
    };
    let hashtags = hashtags(config);
    let proxies = config.broker.trusted_proxies.iter().map(ToString::to_string);
    let proxies: Vec<_> = proxies.collect();
    json!({
        "ok": true,
        "config": config.origin.to_string(),
        "database": config.db_path,
        "contentHash": config.content_hash.to_string(),
        "broker": config.broker.enabled,
        "listeners": config.broker.listeners.iter().map(listener).collect::<Vec<_>>(),
        "maxConnections": config.broker.max_connections,
        "maxConnectionsPerAddress": config.broker.max_connections_per_address,
        "trustedProxies": proxies,
        "logins": logins::as_json(config),
        "sources": config.sources.iter().map(source).collect::<Vec<_>>(),
        "uplinks": config.uplinks.iter().map(|it| json!({
            "name": it.name, "broker": it.remote.to_string(), "topic": it.topic,
            "types": it.types, "regions": it.regions, "observers": it.observers,
            "payloadTypes": it.payload_types, "area": it.area.as_ref().map(area), "sources": it.sources, "rate": it.rate,
            "retain": it.retain, "needsOriginId": it.needs_origin_id,
        })).collect::<Vec<_>>(),
        "channels": {"byName": hashtags, "byKey": config.channel_keys.len() - hashtags},
        "hashRegions": config.hash_regions,
        "nodeKeys": nodes,
        "observerBlacklist": config.filters.observer_blacklist,
        "observerIATAWhitelist": config.filters.observer_regions,
        "nodeBlacklist": config.filters.node_blacklist,
        "home": config.filters.home.as_ref().map(home_in_words),
        "validateSignatures": config.validate_signatures,
        "ingestBufferSize": config.ingest.messages,
        "ingestBufferMB": mib(config),
        "walMaxMB": config.wal_max_bytes / (1024 * 1024),
        "commitIntervalMs": u64::try_from(config.commit_interval.as_millis()).unwrap_or(u64::MAX),
        "nodeDays": days(config.retention.nodes),
        "observerDays": config.retention.observers.map(days),
        "metricsDays": days(config.retention.metrics),
        "packetDays": config.retention.packets.map(days),
        "clientRxDays": config.retention.client_receptions.map(days),
        "neighborEdgesMaxAgeDays": days(config.retention.neighbor_edges),
        "maxDbMB": config.retention.max_db_bytes.map(|bytes| bytes / (1024 * 1024)),
        "notes": config.notes,
    })
}
