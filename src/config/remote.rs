//! How another broker is reached: for `mqttSources` and `uplinks` alike.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use super::url::{BrokerUrl, Scheme};

/// Another broker's address, and what its TLS wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// What is spoken below MQTT.
    pub scheme: Scheme,
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// For WebSocket: path and query, with its `/`.
    pub path: String,
    /// For TLS: whom to believe, and who we are.
    pub tls: ClientTls,
}

/// A client's side of TLS. Files are read at each dial, so that renewed ones count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    /// False: any certificate will do (`rejectUnauthorized = false`).
    pub verify: bool,
    /// A PEM file of certificates to believe beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate chain and its private key, two PEM files.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl Default for ClientTls {
    /// Believes what the system believes.
    fn default() -> Self {
        Self { verify: true, ca_file: None, identity: None }
    }
}

impl Remote {
    /// Plain MQTT.
    pub fn mqtt(host: impl Into<String>, port: u16) -> Self {
        let (host, path) = (host.into(), String::new());
        Self { scheme: Scheme::Tcp, host, port, path, tls: ClientTls::default() }
    }

    /// From a URL.
    pub(super) fn of(url: BrokerUrl, tls: ClientTls) -> Self {
        let path = match url.scheme {
            Scheme::Ws | Scheme::Wss if url.path.starts_with('/') => url.path,
            Scheme::Ws | Scheme::Wss => format!("/{}", url.path),
            Scheme::Tcp | Scheme::Tls => String::new(),
        };
        Self { scheme: url.scheme, host: url.host, port: url.port, path, tls }
    }

    /// The URL to dial, without a login and with its query.
    pub fn url(&self) -> String {
        format!("{}://{}:{}{}", self.scheme.name(), self.bracketed(), self.port, self.path)
    }

    /// The host as it stands before a port: an IPv6 address in brackets.
    pub fn bracketed(&self) -> Cow<'_, str> {
        if self.host.contains(':') {
            format!("[{}]", self.host).into()
        } else {
            self.host.as_str().into()
        }
    }
}

/// The URL for people, without credentials: a query may hold a token, and is left out.
impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host) = (self.scheme.name(), self.bracketed());
        let (path, query) = match self.path.split_once('?') {
            Some((path, _)) => (path, "?***"),
            None => (self.path.as_str(), ""),
        };
        write!(f, "{scheme}://{host}:{}{path}{query}", self.port)
    }
}

/// What is written of TLS beside a URL.
pub(super) struct Written<'w> {
    pub(super) verify: Option<bool>,
    pub(super) ca_file: Option<&'w str>,
    pub(super) certificate: Option<&'w str>,
    pub(super) key: Option<&'w str>,
}

/// The key that is to blame for a mistake, and what is wrong.
pub(super) type Mistake = (&'static str, String);

/// Judges what is written of TLS; `beside` completes a path.
pub(super) fn tls(
    written: &Written<'_>,
    scheme: Scheme,
    beside: impl Fn(&str) -> PathBuf,
) -> Result<ClientTls, Mistake> {
    let given = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(&beside);
    let (ca_file, certificate, key) =
        (given(written.ca_file), given(written.certificate), given(written.key));
    let encrypted = matches!(scheme, Scheme::Tls | Scheme::Wss);
    let named = [("caFile", &ca_file), ("clientCertificate", &certificate), ("clientKey", &key)];
    if let Some((name, _)) = named.iter().find(|(_, file)| file.is_some() && !encrypted) {
        let what = format!(
            "means nothing with {}://; use mqtts:// or wss://, or leave it out",
            scheme.name()
        );
        return Err((name, what));
    }
    for (name, file) in named {
        if let Some(path) = file.as_ref().filter(|path| !path.is_file()) {
            let what = format!("{} is no file; name one in PEM form", path.display());
            return Err((name, what));
        }
    }
    let verify = written.verify.unwrap_or(true);
    if !verify && ca_file.is_some() {
        let what = "has no meaning beside rejectUnauthorized = false; keep one of the two";
        return Err(("caFile", what.to_owned()));
    }
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => {
            return Err(("clientCertificate", "needs clientKey beside it".to_owned()));
        }
        (None, Some(_)) => {
            return Err(("clientKey", "needs clientCertificate beside it".to_owned()));
        }
    };
    Ok(ClientTls { verify, ca_file, identity })
}

/// Why a scheme cannot reach a host.
///
/// The MQTT client gives a name without brackets to the resolver, and one with them to TLS (rumqttc
/// 0.25 `eventloop.rs`): an IPv6 address works with plain MQTT alone.
pub(super) fn unreachable_by(scheme: Scheme, host: &str) -> Option<String> {
    (host.contains(':') && scheme != Scheme::Tcp).then(|| {
        format!(
            "{}:// cannot reach an IPv6 address; give the broker a name, in DNS or /etc/hosts",
            scheme.name()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::url;
    use super::*;

    #[test]
    fn what_people_are_shown_of_a_url_has_neither_login_nor_query() {
        let written = "wss://me:hunter2@b.example/mqtt?token=hunter2";
        let remote = Remote::of(url::parse(written).unwrap(), ClientTls::default());
        assert_eq!(remote.to_string(), "wss://b.example:443/mqtt?***");
        assert_eq!(remote.url(), "wss://b.example:443/mqtt?token=hunter2");
        let plain = Remote::of(url::parse("ws://[::1]/mqtt").unwrap(), ClientTls::default());
        assert_eq!((plain.to_string(), plain.url()), ("ws://[::1]:80/mqtt".into(), plain.url()));
    }
}
