//! External brokers to take in: `mqttSources`, and what stands in for them.

mod login;

pub(super) use login::from_file;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::Error;
use super::file;
use super::judge::{Blame, Judge};
use super::remote::{self, Remote};
use super::topics;
use super::tree::{At, Dialect};
use super::uplinks::Login;
use super::url::{self, BrokerUrl, Scheme};

/// Everything that gateways publish.
const DEFAULT_TOPIC: &str = "meshcore/#";

/// A dial that has not come through by then is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest that may be asked for: nobody would wait for it.
const CONNECT_TIMEOUT_MAX: i64 = 300;

/// As long as CoreScope's watchdog waits.
const STALL: Duration = Duration::from_secs(300);

/// A shorter silence is no sign of anything; a longer one than a week nobody would see end.
const STALL_SECONDS: RangeInclusive<i64> = 10..=604_800;

/// One external broker to take in.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Unique; the tag in logs and counters.
    pub name: String,
    /// Where it is.
    pub remote: Remote,
    /// Who we are there; tokens are of one key.
    pub login: Login,
    /// Filters to subscribe to, never empty, without duplicates, none inside another.
    pub topics: Vec<String>,
    /// Regions whose packets are taken, in upper case; empty: all.
    pub iata_filter: Vec<String>,
    /// The region of packets whose topic and payload have none, in upper case.
    pub region: Option<String>,
    /// Whether the broker keeps our session while we are away.
    pub persistent_session: bool,
    /// How long a dial with its login may take; whole seconds.
    pub connect_timeout: Duration,
    /// So much silence on a connection is worth a word and a new one; `None`: never.
    pub stall: Option<Duration>,
}

impl Source {
    /// A source of this name that takes everything, without a login.
    pub fn new(name: impl Into<String>, remote: Remote) -> Self {
        Self {
            name: name.into(),
            remote,
            login: Login::Account { username: None, password: None },
            topics: vec![DEFAULT_TOPIC.into()],
            iata_filter: Vec::new(),
            region: None,
            persistent_session: true,
            connect_timeout: CONNECT_TIMEOUT,
            stall: Some(STALL),
        }
    }
}

/// A source as it is written, and where.
struct Candidate {
    written: file::Source,
    at: Place,
}

/// Where a source is written.
enum Place {
    /// In `mqttSources`.
    Section(At),
    /// In the oldest files' `mqtt`.
    Legacy,
    /// In `MQTT_BROKER` and `MQTT_TOPIC`.
    Environment,
    /// Nowhere: CoreScope's own default.
    Nowhere,
}

impl Place {
    fn of(&self, key: &str) -> Blame {
        match self {
            Self::Section(at) => Blame::Key(at.then(key)),
            Self::Legacy => {
                let key = if key == "topics" { "topic" } else { key };
                Blame::Key(At::key("mqtt").then(key))
            }
            Self::Environment if key == "topics" => Blame::Variable("MQTT_TOPIC"),
            Self::Environment => Blame::Variable("MQTT_BROKER"),
            Self::Nowhere => Blame::Key(At::key("mqttSources")),
        }
    }
}

/// The sources that will be connected. `binds` are the addresses of our own listeners.
pub(super) fn judge(
    judge: &mut Judge<'_>,
    broker: bool,
    binds: &[SocketAddr],
) -> Result<Vec<Source>, Error> {
    let mut sources: Vec<Source> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for candidate in candidates(judge, broker) {
        let url = address(judge, &candidate, binds)?;
        let name = unique(&candidate, &url, &names);
        names.push(name.clone());
        sources.push(source(judge, &candidate, url, name)?);
    }
    Ok(sources)
}

/// What is written, by CoreScope's precedence: the environment takes the place of all, the oldest
/// form counts only without the newer one. Without any, CoreScope takes the broker beside it.
fn candidates(judge: &Judge<'_>, broker: bool) -> Vec<Candidate> {
    let (file, env) = (&judge.written.file, judge.env);
    let one = |name: &str, broker: &str, topics: Vec<String>, at| {
        let (name, broker, topics) = (Some(name.into()), Some(broker.into()), Some(topics));
        vec![Candidate { written: file::Source { name, broker, topics, ..Default::default() }, at }]
    };
    if let Some(broker) = env.mqtt_broker.as_deref() {
        let topic = env.mqtt_topic.as_deref().unwrap_or(DEFAULT_TOPIC);
        return one("env", broker, vec![topic.into()], Place::Environment);
    }
    let written = file.mqtt_sources.as_deref().unwrap_or_default();
    if !written.is_empty() {
        let at = At::key("mqttSources");
        let candidate = |(index, source): (usize, &file::Source)| Candidate {
            written: source.clone(),
            at: Place::Section(at.index(index)),
        };
        return written.iter().enumerate().map(candidate).collect();
    }
    let legacy = file.mqtt.as_ref();
    if let Some(broker) = legacy.and_then(|it| it.broker.as_deref()).filter(|it| !it.is_empty()) {
        let topic = legacy.and_then(|it| it.topic.clone()).filter(|topic| !topic.is_empty());
        let topics = topic.into_iter().chain([DEFAULT_TOPIC.into()]).collect();
        return one("default", broker, topics, Place::Legacy);
    }
    if judge.written.dialect == Dialect::CoreScope && !broker {
        return one("local", "mqtt://localhost:1883", vec![DEFAULT_TOPIC.into()], Place::Nowhere);
    }
    Vec::new()
}

/// The URL of a source, which is none of our own listeners.
fn address(
    judge: &Judge<'_>,
    candidate: &Candidate,
    binds: &[SocketAddr],
) -> Result<BrokerUrl, Error> {
    let blame = candidate.at.of("broker");
    let Some(written) = candidate.written.broker.as_deref() else {
        return Err(judge.blame(&blame, "is missing; give it the URL, such as mqtt://host:1883"));
    };
    let url = url::parse(written).map_err(|what| judge.blame(&blame, what))?;
    let (host, port) = (&url.host, url.port);
    if let Some(bind) = binds.iter().find(|bind| judge.machine.reaches(**bind, host, port)) {
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let what = format!(
            "{host}:{port} is our own listener on {bind}; remove this source, what is published \
             there is taken in anyway"
        );
        return Err(judge.blame(&blame, what));
    }
    let meant_as_topic = !matches!(url.path.as_str(), "" | "/");
    if url.scheme == Scheme::Tcp && meant_as_topic && judge.written.dialect == Dialect::Toml {
        let what = "has a path, which means nothing there; put topics into topics";
        return Err(judge.blame(&blame, what));
    }
    Ok(url)
}

/// The name, or host and port where there is none; one that is taken gets a number.
fn unique(candidate: &Candidate, url: &BrokerUrl, taken: &[String]) -> String {
    let written = candidate.written.name.as_deref().unwrap_or_default().trim();
    let name = match written.replace(char::is_control, "?") {
        name if name.is_empty() => format!("{}:{}", url.host, url.port),
        name => name,
    };
    let mut numbered = (2..).map(|number| format!("{name}-{number}"));
    let is_free = |name: &String| !taken.contains(name);
    Some(name.clone()).filter(is_free).or_else(|| numbered.find(is_free)).unwrap_or(name)
}

fn source(
    judge: &mut Judge<'_>,
    candidate: &Candidate,
    url: BrokerUrl,
    name: String,
) -> Result<Source, Error> {
    let topics = filters(judge, candidate)?;
    let login = login::judge(judge, candidate, &url)?;
    let remote = remote(judge, candidate, url)?;
    let connect_timeout = connect_timeout(judge, candidate)?;
    let stall = stall(judge, candidate)?;
    let written = &candidate.written;
    let upper = |text: &str| text.trim().to_uppercase();
    let regions = written.iata_filter.iter().flatten().map(|region| upper(region));
    let region = written.region.as_deref().map(upper);
    Ok(Source {
        name,
        remote,
        login,
        topics,
        iata_filter: regions.filter(|region| !region.is_empty()).collect(),
        region: region.filter(|region| !region.is_empty()),
        persistent_session: written.persistent_session.unwrap_or(true),
        connect_timeout,
        stall,
    })
}

/// How the broker is reached.
fn remote(judge: &Judge<'_>, candidate: &Candidate, url: BrokerUrl) -> Result<Remote, Error> {
    if let Some(what) = remote::unreachable_by(url.scheme, &url.host) {
        return Err(judge.blame(&candidate.at.of("broker"), what));
    }
    let written = &candidate.written;
    let tls = remote::Written {
        verify: written.reject_unauthorized,
        ca_file: written.ca_file.as_deref(),
        certificate: written.client_certificate.as_deref(),
        key: written.client_key.as_deref(),
    };
    let tls = remote::tls(&tls, url.scheme, |path| judge.beside(path));
    let tls = tls.map_err(|(key, what)| judge.blame(&candidate.at.of(key), what))?;
    Ok(Remote::of(url, tls))
}

fn connect_timeout(judge: &mut Judge<'_>, candidate: &Candidate) -> Result<Duration, Error> {
    match candidate.written.connect_timeout_sec {
        None | Some(0) => Ok(CONNECT_TIMEOUT),
        Some(seconds @ 1..=CONNECT_TIMEOUT_MAX) => Ok(Duration::from_secs(seconds.unsigned_abs())),
        Some(seconds) => {
            let what = format!("{seconds} is no time for a dial; use 1 to {CONNECT_TIMEOUT_MAX}");
            judge.complain(&candidate.at.of("connectTimeoutSec"), &what)?;
            Ok(CONNECT_TIMEOUT)
        }
    }
}

fn stall(judge: &mut Judge<'_>, candidate: &Candidate) -> Result<Option<Duration>, Error> {
    match candidate.written.stall_sec {
        None => Ok(Some(STALL)),
        Some(0) => Ok(None),
        Some(seconds) if STALL_SECONDS.contains(&seconds) => {
            Ok(Some(Duration::from_secs(seconds.unsigned_abs())))
        }
        Some(seconds) => {
            let (least, most) = (STALL_SECONDS.start(), STALL_SECONDS.end());
            let what = format!("{seconds} is no such time; use {least} to {most}, or 0 for never");
            judge.complain(&candidate.at.of("stallSec"), &what)?;
            Ok(Some(STALL))
        }
    }
}

/// The topic filters; one that cannot be one is an error, and in CoreScope's mode left out.
fn filters(judge: &mut Judge<'_>, candidate: &Candidate) -> Result<Vec<String>, Error> {
    let mut filters = Vec::new();
    for filter in candidate.written.topics.iter().flatten() {
        let filter = filter.trim();
        match topics::fault(filter) {
            None => filters.push(filter.to_owned()),
            Some(fault) => {
                judge.complain(&candidate.at.of("topics"), &format!("{filter:?} {fault}"))?;
            }
        }
    }
    if filters.is_empty() {
        filters.push(DEFAULT_TOPIC.into());
    }
    Ok(topics::merged(&filters))
}
