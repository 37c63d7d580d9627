//! Broker URLs, as CoreScope's MQTT library and people write them.

use super::secret::Secret;

/// A broker's address, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerUrl {
    /// What is spoken below MQTT.
    pub scheme: Scheme,
    /// Host name or address, without the brackets of IPv6.
    pub host: String,
    /// The port, the scheme's own where none is given.
    pub port: u16,
    /// What follows host and port, with its `/`; empty where there is nothing.
    pub path: String,
    /// The user name, if there is one.
    pub username: Option<String>,
    /// The password, if there is one.
    pub password: Option<Secret>,
}

/// What is spoken below MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain TCP.
    Tcp,
    /// TLS.
    Tls,
    /// WebSocket.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Scheme {
    /// The name that people use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "mqtt",
            Self::Tls => "mqtts",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// The registered port: MQTT's, or HTTP's for WebSocket.
    fn port(self) -> u16 {
        match self {
            Self::Tcp => 1883,
            Self::Tls => 8883,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }

    fn of(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "mqtt" | "tcp" => Self::Tcp,
            "mqtts" | "mqtt+ssl" | "ssl" | "tls" | "tcps" => Self::Tls,
            "ws" => Self::Ws,
            "wss" => Self::Wss,
            _ => return None,
        })
    }
}

/// Takes a URL apart; without a scheme it is plain MQTT, without a port the scheme's own.
///
/// # Errors
/// What is wrong and what to do; user name and password are never part of it.
pub fn parse(url: &str) -> Result<BrokerUrl, String> {
    let url = url.trim();
    let (scheme, rest) = match url.split_once("://") {
        Some((name, rest)) => match Scheme::of(name) {
            Some(scheme) => (scheme, rest),
            None => {
                return Err(format!(
                    "{:?} is no kind of broker; use mqtt://, mqtts://, ws:// or wss://",
                    format!("{name}://")
                ));
            }
        },
        None => (Scheme::Tcp, url),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // A path before the last @ means that the password has a character of its own kind.
    if path.contains('@') {
        return Err("has a /, ? or # before its @; write these as %2F, %3F, %23 in a password, \
                    or give username and password as keys of their own"
            .into());
    }
    let (login, address) = match authority.rsplit_once('@') {
        Some((login, address)) => (Some(login), address),
        None => (None, authority),
    };
    let (username, password) = login.map_or(Ok((None, None)), credentials)?;
    let (host, port) = host_and_port(address)?;
    Ok(BrokerUrl {
        scheme,
        host,
        port: port.unwrap_or(scheme.port()),
        path: path.to_owned(),
        username,
        password,
    })
}

type Credentials = (Option<String>, Option<Secret>);

fn credentials(login: &str) -> Result<Credentials, String> {
    let (name, password) = match login.split_once(':') {
        Some((name, password)) => (name, Some(password)),
        None => (login, None),
    };
    let plain = |text: &str| {
        unescaped(text).ok_or("has a % in its user name or password that starts no %XX; write %25")
    };
    let name = Some(plain(name)?).filter(|name| !name.is_empty());
    let password = password.map(plain).transpose()?.filter(|password| !password.is_empty());
    Ok((name, password.map(Secret::new)))
}

fn host_and_port(address: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let Some((host, port)) = rest.split_once(']') else {
                return Err("has a [ without its ]; write an IPv6 address as [::1]".into());
            };
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(format!("{host:?} is no IPv6 address; only those take brackets"));
            }
            match port.strip_prefix(':') {
                None if !port.is_empty() => {
                    return Err(format!("{port:?} follows the ]; a port comes after a colon"));
                }
                port => (host, port),
            }
        }
        None => match address.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("has more than one colon; write an IPv6 address as [::1]:1883".into());
            }
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    if host.is_empty() {
        return Err("has no host; write it as mqtt://host:1883".into());
    }
    if !host.chars().all(|c| c.is_alphanumeric() || "-_.:".contains(c)) {
        return Err(format!("{host:?} is no host name; write it as mqtt://host:1883"));
    }
    let port = match port {
        None => None,
        Some(text) => match text.parse() {
            Ok(port) if port > 0 && text.bytes().all(|b| b.is_ascii_digit()) => Some(port),
            // Not quoted: where the @ and the host were forgotten, this is the password.
            _ => return Err("has no port after its colon; use a number from 1 to 65535".into()),
        },
    };
    Ok((host.to_owned(), port))
}

/// `%41` to `A`; `None` where a `%` is followed by anything else or the bytes are no text.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_broker_url_is_taken_apart() {
        use Scheme::{Tcp, Tls, Ws, Wss};
        let cases = [
            ("mqtt://b.example:1884", Tcp, "b.example", 1884, ""),
            ("mqtt://b.example", Tcp, "b.example", 1883, ""),
            ("tcp://10.0.0.1", Tcp, "10.0.0.1", 1883, ""),
            ("b.example:1885", Tcp, "b.example", 1885, ""),
            ("b.example", Tcp, "b.example", 1883, ""),
            (" MQTT://b.example/ ", Tcp, "b.example", 1883, "/"),
            ("mqtt://[::1]", Tcp, "::1", 1883, ""),
            ("mqtt://[fe80::1]:1884", Tcp, "fe80::1", 1884, ""),
            ("mqtts://b", Tls, "b", 8883, ""),
            ("ssl://b", Tls, "b", 8883, ""),
            ("tls://b:1", Tls, "b", 1, ""),
            ("mqtt+ssl://b", Tls, "b", 8883, ""),
            ("ws://b/mqtt", Ws, "b", 80, "/mqtt"),
            ("wss://b:8443/mqtt?x=1", Wss, "b", 8443, "/mqtt?x=1"),
            ("wss://b", Wss, "b", 443, ""),
        ];
        for (url, scheme, host, port, path) in cases {
            let found = parse(url).unwrap();
            assert_eq!(
                (found.scheme, found.host.as_str(), found.port, found.path.as_str()),
                (scheme, host, port, path),
                "{url}"
            );
            assert_eq!((found.username, found.password), (None, None), "{url}");
        }
    }

    #[test]
    fn user_name_and_password_come_out_of_the_url_with_their_percent_signs_undone() {
        let cases = [
            ("mqtt://bob@h", Some("bob"), None),
            ("mqtt://bob:s3:cr@t@h:1", Some("bob"), Some("s3:cr@t")),
            ("mqtt://b%40b:p%2Fq%C3%A9@h", Some("b@b"), Some("p/qé")),
            ("mqtt://:@h", None, None),
        ];
        for (url, username, password) in cases {
            let found = parse(url).unwrap();
            assert_eq!(found.host, "h", "{url}");
            assert_eq!(found.username.as_deref(), username, "{url}");
            assert_eq!(found.password.as_ref().map(Secret::reveal), password, "{url}");
        }
    }

    #[test]
    fn a_bad_url_is_named_without_its_password() {
        let cases = [
            ("http://bob:hunter2@h", "\"http://\" is no kind of broker"),
            ("mqtt://bob:hunter2@", "has no host"),
            ("", "has no host"),
            ("mqtt://:1883", "has no host"),
            ("mqtt://bob:hunter2@h:99999", "has no port after its colon"),
            ("mqtt://bob:hunter2", "has no port after its colon"),
            ("mqtt://h:0", "has no port after its colon"),
            ("mqtt://h:", "has no port after its colon"),
            ("mqtt://h:+5", "has no port after its colon"),
            ("mqtt://::1:1883", "has more than one colon"),
            ("mqtt://[::1", "has a [ without its ]"),
            ("mqtt://[h]:1", "\"h\" is no IPv6 address"),
            ("mqtt://[::1]1883", "\"1883\" follows the ]"),
            ("mqtt://bob:hunter2%@h", "has a % in its user name or password"),
            ("mqtt://bob:hunter2/x@h", "has a /, ? or # before its @"),
            ("mqtt://two words", "\"two words\" is no host name"),
        ];
        for (url, start) in cases {
            let what = parse(url).unwrap_err();
            assert!(what.starts_with(start), "{url}: {what}");
            assert!(what.contains(';') && !what.contains("hunter2"), "{url}: {what}");
        }
    }
}
