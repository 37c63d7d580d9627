//! Our own broker: where it listens, and who may come in.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use super::error::Error;
use super::file;
use super::judge::Judge;
use super::logins::{self, Logins};
use super::tree::{At, Dialect};

/// MQTT's registered port, on every address.
const DEFAULT_BIND: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 1883);

/// Our own broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Broker {
    /// Off: no listener at all.
    pub enabled: bool,
    /// Where it listens; empty where it is off.
    pub listeners: Vec<Listener>,
    /// Who is known by name.
    pub logins: Logins,
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
    fn has_accounts(&self) -> bool {
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

/// The word of the config file.
impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("tcp"),
        }
    }
}

/// The broker that will run, and every address that is meant to be ours, those included whose
/// transport is not built yet.
///
/// In CoreScope's mode there is no broker unless the file has a `broker` section: mosquitto runs
/// beside it.
pub(super) fn judge(judge: &mut Judge<'_>) -> Result<(Broker, Vec<SocketAddr>), Error> {
    let section = judge.written.file.broker.as_ref();
    let by_itself = judge.written.dialect == Dialect::Toml || section.is_some();
    let enabled = section.and_then(|section| section.enabled).unwrap_or(by_itself);
    let written = section.and_then(|section| section.listeners.as_deref()).unwrap_or_default();

    let logins = logins::judge(judge, enabled)?;
    let mut broker = Broker { enabled, listeners: Vec::new(), logins };
    let mut binds: Vec<SocketAddr> = Vec::new();
    let at = At::key("broker").then("listeners");
    for (index, written) in written.iter().enumerate() {
        let at = at.index(index);
        let (transport, listener) = listener(judge, &at, written)?;
        let bind = listener.bind;
        if bind.port() != 0 && binds.contains(&bind) {
            let what = format!("{bind} is taken by a listener above; give each its own port");
            return Err(judge.error(&at.then("bind"), what));
        }
        binds.push(bind);
        if transport != "tcp" && enabled {
            let note = format!("{at}: {transport} is not built yet, nothing listens on {bind}");
            judge.notes.push(note);
        } else if listener.access == Access::Accounts && enabled && !broker.has_accounts() {
            let note = format!("{at}: there are no accounts, {bind} takes logins by token alone");
            judge.notes.push(note);
        }
        if transport == "tcp" {
            broker.listeners.push(listener);
        }
    }
    if written.is_empty() {
        let access = Access::Lan;
        broker.listeners.push(Listener { transport: Transport::Tcp, bind: DEFAULT_BIND, access });
        binds.push(DEFAULT_BIND);
    }
    if !enabled {
        broker.listeners.clear();
        binds.clear();
    }
    Ok((broker, binds))
}

/// A listener as if it were TCP, and the transport it is meant to have.
fn listener(
    judge: &Judge<'_>,
    at: &At,
    written: &file::Listener,
) -> Result<(&'static str, Listener), Error> {
    let words = ["tcp", "tls", "ws", "wss"].map(|word| (word, word));
    let transport =
        judge.word(&at.then("transport"), written.transport.as_deref(), &words, "tcp")?;
    let access = access(judge, at, written.access.as_deref())?;
    let bind = match written.bind.as_deref() {
        None if transport == "tcp" => DEFAULT_BIND,
        None => {
            let what = format!("{transport} has no port of its own; give bind an address:port");
            return Err(judge.error(at, what));
        }
        Some(bind) => address(judge, &at.then("bind"), bind)?,
    };
    Ok((transport, Listener { transport: Transport::Tcp, bind, access }))
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
