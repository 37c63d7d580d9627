//! Our own broker: where it listens, and who may come in.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::error::Error;
use super::file;
use super::judge::Judge;
use super::logins::{self, Logins};
use super::network::Network;
use super::policy::{self, Policy};
use super::sessions::Sessions;
use super::tree::{At, Dialect};

/// MQTT's registered port, on every address.
const DEFAULT_BIND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 1883);

/// Connections that are served at the same time, on all listeners together: far more than a region
/// has gateways, and at most 50 MB of memory.
const MAX_CONNECTIONS: usize = 1_000;

/// As many as anyone may ask for: the router has a place for each.
pub const MOST_CONNECTIONS: usize = 10_000;

/// One address may have a quarter of them, so that it takes four addresses to keep everyone else
/// out; far more than the gateways behind one household's or club's address.
const PARTS: usize = 4;

/// Our own broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Off: no listener at all.
    pub enabled: bool,
    /// Where it listens; empty where it is off.
    pub listeners: Vec<Listener>,
    /// Connections at the same time, on all listeners together.
    pub max_connections: usize,
    /// The same from one address; this machine has no such bound.
    pub max_connections_per_address: usize,
    /// Whose word about a client's address is taken.
    pub trusted_proxies: Vec<Network>,
    /// What waits for its subscribers.
    pub sessions: Sessions,
    /// What its clients may do, and how much.
    pub policy: Policy,
    /// Who is known by name.
    pub logins: Logins,
}

impl Broker {
    /// A broker with these listeners and the default limits.
    pub fn with(listeners: Vec<Listener>) -> Self {
        Self {
            enabled: true,
            listeners,
            max_connections: MAX_CONNECTIONS,
            max_connections_per_address: MAX_CONNECTIONS / PARTS,
            trusted_proxies: Vec::new(),
            sessions: Sessions::default(),
            policy: Policy::default(),
            logins: Logins::default(),
        }
    }
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
    /// The certificate to show; present where the transport is encrypted, and only there.
    pub certificate: Option<CertificateFiles>,
    /// Whether every connection begins with a PROXY protocol header (version 2).
    pub proxy_protocol: bool,
    /// Host names, in lower case, whose pages may use it from within browsers (WebSocket only).
    pub origins: Vec<String>,
}

impl Listener {
    /// A listener for plain TCP.
    pub fn tcp(bind: SocketAddr, access: Access) -> Self {
        Self {
            transport: Transport::Tcp,
            bind,
            access,
            certificate: None,
            proxy_protocol: false,
            origins: Vec::new(),
        }
    }
}

/// Two PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and those between it and the authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What is spoken below MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Plain TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket over TCP.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Transport {
    const WORDS: [(&'static str, Self); 4] =
        [("tcp", Self::Tcp), ("tls", Self::Tls), ("ws", Self::Ws), ("wss", Self::Wss)];

    /// Whether it is encrypted.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// Whether MQTT travels in WebSocket frames.
    pub fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }
}

/// The word of the config file.
impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::WORDS.iter().find(|(_, transport)| transport == self);
        f.write_str(word.map_or("", |(word, _)| word))
    }
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

impl Access {
    const WORDS: [(&'static str, Self); 4] = [
        ("anyone", Self::Anyone),
        ("lan", Self::Lan),
        ("local", Self::Local),
        ("accounts", Self::Accounts),
    ];

    /// What it means, for people.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Anyone => "anyone from anywhere, without a login",
            Self::Lan => "without a login from private addresses, with one from elsewhere",
            Self::Local => "this machine only",
            Self::Accounts => "always with a login",
        }
    }
}

impl Broker {
    /// Whether anybody has a password here.
    pub fn has_accounts(&self) -> bool {
        !self.logins.accounts.accounts.is_empty()
    }
}

/// The word of the config file.
impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::WORDS.iter().find(|(_, access)| access == self);
        f.write_str(word.map_or("", |(word, _)| word))
    }
}

/// The broker that will run.
///
/// In CoreScope's mode there is none unless the file has a `broker` section: mosquitto runs beside
/// it.
pub(super) fn judge(judge: &mut Judge<'_>) -> Result<Broker, Error> {
    let section = judge.written.file.broker.as_ref();
    let by_itself = judge.written.dialect == Dialect::Toml || section.is_some();
    let enabled = section.and_then(|section| section.enabled).unwrap_or(by_itself);
    let written = section.and_then(|section| section.listeners.as_deref()).unwrap_or_default();

    let sessions = super::sessions::judge(judge)?;
    let policy = policy::judge(judge)?;
    let logins = logins::judge(judge, enabled)?;
    let mut listeners: Vec<Listener> = Vec::new();
    let at = At::key("broker").then("listeners");
    for (index, written) in written.iter().enumerate() {
        let at = at.index(index);
        let listener = listener(judge, &at, written)?;
        if let Some(other) = listeners.iter().find(|other| overlap(other.bind, listener.bind)) {
            let what = match other.bind == listener.bind {
                true => format!("{} is taken by a listener above", listener.bind),
                false => format!(
                    "{} is taken by the listener on {} above, which has every address",
                    listener.bind, other.bind
                ),
            };
            let what = format!("{what}; give each its own port");
            return Err(judge.error(&at.then("bind"), what));
        }
        listeners.push(listener);
    }
    if listeners.is_empty() {
        listeners.push(Listener::tcp(DEFAULT_BIND, Access::Lan));
    }
    let mut broker = limits(judge, Broker { enabled, ..Broker::with(listeners) })?;
    broker.trusted_proxies = trusted_proxies(judge)?;
    broker.sessions = sessions;
    broker.policy = policy;
    broker.logins = logins;
    if enabled {
        super::risks::judge(judge, &broker)?;
    } else {
        broker.listeners.clear();
    }
    Ok(broker)
}

/// Whether two listeners cannot be there at the same time. `0.0.0.0` and `[::]` can, each with its
/// own family; either alone has both families.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    if one.port() == 0 || one.port() != other.port() {
        return false;
    }
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    let pair = one.ip().is_unspecified() && other.ip().is_unspecified();
    one == other || (everywhere && (!pair || one.is_ipv4() == other.is_ipv4()))
}

fn limits(judge: &Judge<'_>, broker: Broker) -> Result<Broker, Error> {
    let section = judge.written.file.broker.as_ref();
    let at = |key| At::key("broker").then(key);
    let whole = |key, written: Option<i64>, default: usize| {
        let [default, most] =
            [default, MOST_CONNECTIONS].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        let number = judge.whole_at(&at(key), written, default, 1..=most)?;
        Ok(usize::try_from(number).unwrap_or(usize::MAX))
    };
    let all = section.and_then(|it| it.max_connections);
    let all = whole("maxConnections", all, MAX_CONNECTIONS)?;
    let each = section.and_then(|it| it.max_connections_per_address);
    let each = whole("maxConnectionsPerAddress", each, all.div_ceil(PARTS))?;
    Ok(Broker { max_connections: all, max_connections_per_address: each, ..broker })
}

fn trusted_proxies(judge: &Judge<'_>) -> Result<Vec<Network>, Error> {
    let written = judge.written.file.trusted_proxies.iter().flatten().enumerate();
    let network = |(index, text): (usize, &String)| {
        let at = At::key("trustedProxies").index(index);
        let network: Network = text.trim().parse().map_err(|()| {
            let what = format!("{text:?} is no address; write 192.168.1.2, 10.0.0.0/8 or fd00::/8");
            judge.error(&at, what)
        })?;
        if network.is_everything() {
            let what = "would believe anybody's word; name the proxy's own address";
            return Err(judge.error(&at, what));
        }
        Ok(network)
    };
    written.map(network).collect()
}

fn listener(judge: &Judge<'_>, at: &At, written: &file::Listener) -> Result<Listener, Error> {
    let transport = written.transport.as_deref();
    let transport =
        judge.word(&at.then("transport"), transport, &Transport::WORDS, Transport::Tcp)?;
    let access = access(judge, at, written.access.as_deref())?;
    let bind = match written.bind.as_deref() {
        None if transport == Transport::Tcp => DEFAULT_BIND,
        None => {
            let what = format!("{transport} has no port of its own; give bind an address:port");
            return Err(judge.error(at, what));
        }
        Some(bind) => address(judge, &at.then("bind"), bind)?,
    };
    let origins = written.origins.iter().flatten();
    let origins: Vec<_> = origins.map(|host| host.trim().to_ascii_lowercase()).collect();
    if !origins.is_empty() && !transport.is_websocket() {
        let what = format!("is for ws and wss, and this is {transport}; remove it");
        return Err(judge.error(&at.then("origins"), what));
    }
    if let Some(host) = origins.iter().find(|host| host.is_empty() || host.contains(['/', ' '])) {
        let what = format!("{host:?} is no host name; write it as map.example.org");
        return Err(judge.error(&at.then("origins"), what));
    }
    Ok(Listener {
        certificate: certificate(judge, at, written, transport)?,
        proxy_protocol: written.proxy_protocol.unwrap_or(false),
        transport,
        bind,
        access,
        origins,
    })
}

/// The certificate of an encrypted listener. The files are read when the broker starts.
fn certificate(
    judge: &Judge<'_>,
    at: &At,
    written: &file::Listener,
    transport: Transport,
) -> Result<Option<CertificateFiles>, Error> {
    let given =
        |path: &Option<String>| path.as_deref().map(str::trim).unwrap_or_default().to_owned();
    let (certificate, key) = (given(&written.certificate_file), given(&written.key_file));
    if transport.is_encrypted() {
        let missing = match (certificate.is_empty(), key.is_empty()) {
            (true, true) => "certificateFile and keyFile",
            (true, false) => "certificateFile",
            (false, true) => "keyFile",
            (false, false) => {
                let (certificate, key) = (judge.beside(&certificate), judge.beside(&key));
                return Ok(Some(CertificateFiles { certificate, key }));
            }
        };
        let what = format!(
            "{transport} needs {missing}; name the files that certbot made, or make a pair with \
             `meshbox tls self-signed`"
        );
        return Err(judge.error(at, what));
    }
    for (name, path) in [("certificateFile", certificate), ("keyFile", key)] {
        if !path.is_empty() {
            let instead = if transport == Transport::Ws { "wss" } else { "tls" };
            let what = format!(
                "{transport} is not encrypted and has no use for it; set transport = \
                 \"{instead}\", or remove it"
            );
            return Err(judge.error(&at.then(name), what));
        }
    }
    Ok(None)
}

/// The `access` of a listener or of the page.
pub(super) fn access(judge: &Judge<'_>, at: &At, written: Option<&str>) -> Result<Access, Error> {
    judge.word(&at.then("access"), written, &Access::WORDS, Access::Lan)
}

/// `address:port` to listen on.
pub(super) fn address(judge: &Judge<'_>, at: &At, written: &str) -> Result<SocketAddr, Error> {
    written.trim().parse().map_err(|_| {
        let what = format!(
            "{written:?} is no address:port; write it as 0.0.0.0:1883, 127.0.0.1:1883 or [::]:1883"
        );
        judge.error(at, what)
    })
}
