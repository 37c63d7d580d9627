//! Brokers that our gateways' traffic is passed on to: `uplinks`, and the presets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::error::Error;
use super::judge::Blame;
use super::judge::Judge;
use super::node_keys::NodeKey;
use super::remote::{self, Remote};
use super::secret::Secret;
use super::sources::from_file;
use super::tree::At;
use super::url;
use super::{file, home};
use crate::area::Area;

/// The presets' data file.
const PRESETS: &str = include_str!("presets.toml");

/// The topic that everybody uses.
const TOPIC: &str = "meshcore/{region}/{key}/{type}";

/// What may be passed on; the first two are by default.
const TYPES: [&str; 3] = ["packets", "status", "neighbors"];

/// Messages a second: far above what a region sends, and no burden on a public broker.
const RATE: i64 = 50;

/// MiB on disk; a week of a busy gateway.
const SPOOL_MAX_MB: i64 = 64;

/// An analyzer has no use for older packets.
const SPOOL_MAX_AGE: Duration = Duration::from_secs(7 * 86_400);

/// How long most brokers' tokens are good for.
const LIFETIME_SEC: u64 = 3_600;

/// Seconds; most uploaders' keep-alive.
const KEEP_ALIVE_SEC: u64 = 60;

/// A broker that our gateways' traffic is passed on to.
#[derive(Clone, Debug, PartialEq)]
pub struct Uplink {
    /// Unique; the tag in logs, counters and in the spool.
    pub name: String,
    /// Where it is.
    pub remote: Remote,
    /// Who we are there.
    pub login: Login,
    /// The topic there, with `{region}`, `{key}` and `{type}`.
    pub topic: String,
    /// The kinds of messages: the last part of their topics.
    pub types: Vec<String>,
    /// Regions in upper case; empty: all.
    pub regions: Vec<String>,
    /// Keys of observers in upper case; empty: all.
    pub observers: Vec<String>,
    /// Payload types of packets; empty: all.
    pub payload_types: Vec<u8>,
    /// Where the nodes are whose adverts are passed on; `None`: everywhere. What says no position
    /// passes.
    pub area: Option<Area>,
    /// Whether what sources bring is passed on too.
    pub sources: bool,
    /// Messages a second.
    pub rate: u32,
    /// Whether a status is marked as retained.
    pub retain: bool,
    /// Whether payloads get an `origin_id` where they have none, and placeholder regions and keys
    /// that are not 64 hex digits stay here.
    pub needs_origin_id: bool,
    /// The MQTT keep-alive.
    pub keep_alive: Duration,
    /// Bytes that may wait on disk, for each login.
    pub spool_bytes: u64,
    /// How long they may wait.
    pub spool_age: Duration,
}

/// Who we are at a broker, for sources too.
#[derive(Clone, Debug, PartialEq)]
pub enum Login {
    /// One connection for all observers.
    Account {
        /// Login name; `None`: anonymous.
        username: Option<String>,
        /// Password; only together with a login name.
        password: Option<Secret>,
    },
    /// One connection for each observer whose key is here, and nothing of others.
    Token {
        /// The observers' private keys, never empty.
        keys: Vec<NodeKey>,
        /// The broker's name in tokens.
        audience: String,
        /// How long a token is good for.
        lifetime: Duration,
        /// The owner's public key.
        owner: Option<String>,
        /// The owner's address.
        email: Option<String>,
    },
}

impl Uplink {
    /// An uplink of this name that passes everything of our own gateways on, without a login.
    pub fn new(name: impl Into<String>, remote: Remote) -> Self {
        Self {
            name: name.into(),
            remote,
            login: Login::Account { username: None, password: None },
            topic: TOPIC.into(),
            types: TYPES.iter().take(2).map(|&it| it.into()).collect(),
            regions: Vec::new(),
            observers: Vec::new(),
            payload_types: Vec::new(),
            area: None,
            sources: false,
            rate: RATE.unsigned_abs().try_into().unwrap_or(u32::MAX),
            retain: false,
            needs_origin_id: false,
            keep_alive: Duration::from_secs(KEEP_ALIVE_SEC),
            spool_bytes: SPOOL_MAX_MB.unsigned_abs() << 20,
            spool_age: SPOOL_MAX_AGE,
        }
    }
}

/// A known public broker.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Preset {
    broker: String,
    token: bool,
    password: bool,
    audience: Option<String>,
    lifetime_sec: Option<u64>,
    keep_alive_sec: Option<u64>,
    retain: bool,
    needs_origin_id: bool,
    types: Option<Vec<String>>,
}

fn presets() -> BTreeMap<String, Preset> {
    // A test reads the embedded file: it is never wrong.
    toml::from_str(PRESETS).unwrap_or_default()
}

/// Every preset, and the key of the login that it wants.
#[cfg(test)]
pub(super) fn preset_names() -> Vec<(String, Option<&'static str>)> {
    let login = |preset: &Preset| match (preset.token, preset.password) {
        (true, _) => Some("keyFiles"),
        (false, true) => Some("username"),
        (false, false) => None,
    };
    presets().into_iter().map(|(name, preset)| (name, login(&preset))).collect()
}

/// The uplinks that will be connected. `binds` are the addresses of our own listeners.
pub(super) fn judge(judge: &mut Judge<'_>, binds: &[SocketAddr]) -> Result<Vec<Uplink>, Error> {
    let presets = presets();
    let mut uplinks: Vec<Uplink> = Vec::new();
    let file = &judge.written.file;
    for (index, written) in file.uplinks.iter().flatten().enumerate() {
        let at = At::key("uplinks").index(index);
        let area = match &written.geo_filter {
            Some(written) => home::area(judge, &at.then("geo_filter"), written)?,
            None => None,
        };
        let one = One { judge, written, at, area };
        let uplink = one.uplink(&presets, binds)?;
        if uplinks.iter().any(|known| known.name == uplink.name) {
            let what = format!("{:?} is the name of another one; give each its own", uplink.name);
            return Err(one.wrong("name", what));
        }
        uplinks.push(uplink);
    }
    Ok(uplinks)
}

/// An uplink as it is written, and where.
struct One<'a> {
    judge: &'a Judge<'a>,
    written: &'a file::Uplink,
    at: At,
    area: Option<Area>,
}

impl One<'_> {
    fn wrong(&self, key: &str, what: impl Into<String>) -> Error {
        self.judge.error(&self.at.then(key), what)
    }

    fn uplink(
        &self,
        presets: &BTreeMap<String, Preset>,
        binds: &[SocketAddr],
    ) -> Result<Uplink, Error> {
        let written = self.written;
        let unnamed = Preset::default();
        let preset = match (&written.preset, &written.broker) {
            (None, None) => {
                let what = "is missing; give the URL of a broker, or the name of a preset";
                return Err(self.wrong("broker", what));
            }
            (Some(_), Some(_)) => {
                return Err(self.wrong("broker", "is given beside preset; keep one of the two"));
            }
            (None, Some(_)) => &unnamed,
            (Some(name), None) => {
                let words: Vec<&str> = presets.keys().map(String::as_str).collect();
                presets.get(name.trim()).ok_or_else(|| {
                    let what = format!("is not one of {}; use one of these", words.join(", "));
                    self.wrong("preset", what)
                })?
            }
        };
        let remote = self.remote(written.broker.as_deref().unwrap_or(&preset.broker), binds)?;
        let fallback = format!("{}:{}", remote.host, remote.port);
        let name = written.name.clone().or_else(|| written.preset.clone()).unwrap_or(fallback);
        let upper = |list: &Option<Vec<String>>| -> Vec<String> {
            list.iter().flatten().map(|it| it.trim().to_uppercase()).collect()
        };
        let rate = self.judge.whole_at(&self.at.then("rate"), written.rate, RATE, 1..=100_000)?;
        let mib = self.at.then("spoolMaxMB");
        let mib = self.judge.whole_at(&mib, written.spool_max_mb, SPOOL_MAX_MB, 1..=1_048_576)?;
        let keep_alive = preset.keep_alive_sec.unwrap_or(KEEP_ALIVE_SEC);
        Ok(Uplink {
            login: self.login(preset, &remote)?,
            topic: self.topic()?,
            types: self.types(preset)?,
            regions: upper(&written.regions),
            observers: upper(&written.observers),
            payload_types: self.payload_types()?,
            area: self.area.clone(),
            sources: written.sources.unwrap_or(false),
            rate: rate.unsigned_abs().try_into().unwrap_or(u32::MAX),
            retain: written.retain.unwrap_or(preset.retain),
            needs_origin_id: written.needs_origin_id.unwrap_or(preset.needs_origin_id),
            keep_alive: Duration::from_secs(keep_alive),
            spool_bytes: mib.unsigned_abs() << 20,
            spool_age: self.spool_age()?,
            ..Uplink::new(name.replace(char::is_control, "?"), remote)
        })
    }

    fn remote(&self, broker: &str, binds: &[SocketAddr]) -> Result<Remote, Error> {
        let url = url::parse(broker).map_err(|what| self.wrong("broker", what))?;
        if url.username.is_some() || url.password.is_some() {
            return Err(self.wrong("broker", "has a login in it; use username and password"));
        }
        if let Some(what) = remote::unreachable_by(url.scheme, &url.host) {
            return Err(self.wrong("broker", what));
        }
        let (host, port) = (&url.host, url.port);
        if let Some(bind) = binds.iter().find(|b| self.judge.machine.reaches(**b, host, port)) {
            let what = format!(
                "{host}:{port} is our own listener on {bind}; name the broker that is to get it"
            );
            return Err(self.wrong("broker", what));
        }
        let tls = remote::Written {
            verify: self.written.reject_unauthorized,
            ca_file: self.written.ca_file.as_deref(),
            certificate: self.written.client_certificate.as_deref(),
            key: self.written.client_key.as_deref(),
        };
        let tls = remote::tls(&tls, url.scheme, |path| self.judge.beside(path));
        Ok(Remote::of(url, tls.map_err(|(key, what)| self.wrong(key, what))?))
    }

    fn login(&self, preset: &Preset, remote: &Remote) -> Result<Login, Error> {
        let written = self.written;
        let files = written.key_files.as_deref().unwrap_or_default();
        if files.is_empty() && preset.token {
            let what = "is missing; this broker takes an observer's traffic only with a token of \
                        its own key: name the files of your gateways' private keys";
            return Err(self.wrong("keyFiles", what));
        }
        if files.is_empty() && preset.password && written.username.is_none() {
            let what = "is missing; this broker wants a login: ask its people for username and \
                        password";
            return Err(self.wrong("username", what));
        }
        if files.is_empty() {
            return self.account();
        }
        let load = |(index, file): (usize, &String)| {
            NodeKey::load(&self.judge.beside(file)).map_err(|error| {
                let at = self.at.then("keyFiles").index(index);
                self.judge.error(&at, error.to_string())
            })
        };
        let keys = files.iter().enumerate().map(load).collect::<Result<_, _>>()?;
        let audience = written.audience.clone().or_else(|| preset.audience.clone());
        Ok(Login::Token {
            keys,
            audience: audience.unwrap_or_else(|| remote.host.clone()),
            lifetime: Duration::from_secs(preset.lifetime_sec.unwrap_or(LIFETIME_SEC)),
            owner: written.owner.clone(),
            email: written.email.clone(),
        })
    }

    fn account(&self) -> Result<Login, Error> {
        let written = self.written;
        let username = written.username.clone().filter(|name| !name.is_empty());
        let password = match (&written.password, written.password_file.as_deref()) {
            (Some(_), Some(_)) => {
                let what = "is given beside password; keep one of the two";
                return Err(self.wrong("passwordFile", what));
            }
            (None, Some(file)) => {
                Some(from_file(self.judge, &Blame::Key(self.at.then("passwordFile")), file)?)
            }
            (given, None) => given.clone(),
        };
        if username.is_none() && password.is_some() {
            let what = "stands without username, and MQTT has no such login; add username";
            return Err(self.wrong("password", what));
        }
        Ok(Login::Account { username, password })
    }

    fn topic(&self) -> Result<String, Error> {
        let topic = self.written.topic.clone().unwrap_or_else(|| TOPIC.into());
        if topic.is_empty() || topic.contains(['+', '#', '\0']) {
            let what = "is no topic to publish on; use {region}, {key} and {type}, no + and no #";
            return Err(self.wrong("topic", what));
        }
        Ok(topic)
    }

    fn types(&self, preset: &Preset) -> Result<Vec<String>, Error> {
        let default = || TYPES.iter().take(2).map(|&it| it.to_owned()).collect();
        let types = self.written.types.clone().or_else(|| preset.types.clone());
        let types = types.unwrap_or_else(default);
        match types.iter().position(|it| !TYPES.contains(&it.as_str())) {
            None => Ok(types),
            Some(index) => {
                let at = self.at.then("types").index(index);
                Err(self.judge.error(&at, format!("use one of {}", TYPES.join(", "))))
            }
        }
    }

    fn payload_types(&self) -> Result<Vec<u8>, Error> {
        let written = self.written.payload_types.iter().flatten();
        let judged = written.map(|&number| u8::try_from(number).ok().filter(|it| *it < 16));
        let judged: Option<Vec<u8>> = judged.collect();
        judged.ok_or_else(|| self.wrong("payloadTypes", "are numbers from 0 to 15"))
    }

    fn spool_age(&self) -> Result<Duration, Error> {
        let Some(text) = self.written.spool_max_age.as_deref() else { return Ok(SPOOL_MAX_AGE) };
        let text = text.trim();
        let unit = match text.chars().last() {
            Some('d') => 86_400,
            Some('h') => 3_600,
            Some('m') => 60,
            _ => 0_u64,
        };
        let number = text.get(..text.len().saturating_sub(1)).unwrap_or_default();
        match number.parse::<u32>() {
            Ok(number) if number > 0 && unit > 0 => {
                Ok(Duration::from_secs(u64::from(number) * unit))
            }
            _ => {
                Err(self.wrong("spoolMaxAge", "is no time; write it as \"7d\", \"12h\" or \"30m\""))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_read_and_its_broker_is_a_url() {
        let read: Result<BTreeMap<String, Preset>, _> = toml::from_str(PRESETS);
        let read = read.unwrap();
        assert!(read.len() > 20 && read["letsmesh-us"].token && !read["waev-b"].retain);
        for (name, preset) in read {
            assert!(url::parse(&preset.broker).is_ok(), "{name}");
        }
    }
}
