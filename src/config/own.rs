//! Our own listeners, as a source would name them.

use std::net::{IpAddr, SocketAddr};

/// The names and addresses under which this machine reaches itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Machine {
    /// Host names, in lower case.
    pub names: Vec<String>,
    /// Addresses of its interfaces.
    pub addresses: Vec<IpAddr>,
}

impl Machine {
    /// Asks the system. What it does not tell stays unknown: a loop is then not seen here.
    pub(super) fn this() -> Self {
        let uname = rustix::system::uname();
        let name = uname.nodename().to_string_lossy().to_ascii_lowercase();
        let short = name.split('.').next().unwrap_or_default().to_owned();
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        Self {
            names: vec![format!("{short}.local"), short, name],
            addresses: interfaces.iter().map(if_addrs::Interface::ip).collect(),
        }
    }

    /// Whether a connection to this host and port would end at a listener of ours. Names are not
    /// looked up: `check` works without a network, and the name server may not be up at the start.
    pub(super) fn reaches(&self, listener: SocketAddr, host: &str, port: u16) -> bool {
        if port != listener.port() {
            return false;
        }
        let bound = listener.ip().to_canonical();
        let everywhere = bound.is_unspecified();
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if let Ok(address) = host.parse::<IpAddr>() {
            let address = address.to_canonical();
            return match everywhere {
                true => is_here(address) || self.addresses.contains(&address),
                false => address == bound || (address.is_unspecified() && bound.is_loopback()),
            };
        }
        if host == "localhost" || host.ends_with(".localhost") || host == "ip6-localhost" {
            return everywhere || bound.is_loopback();
        }
        // A host name of ours may stand for any of our addresses.
        self.names.contains(&host) && (everywhere || !bound.is_loopback())
    }
}

/// Loopback, or the unspecified address, which connects to loopback.
fn is_here(address: IpAddr) -> bool {
    address.is_loopback() || address.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_would_reach_our_own_listener_is_known_by_name_and_address() {
        let machine = Machine {
            names: vec!["pi".into(), "pi.local".into()],
            addresses: vec!["192.168.1.5".parse().unwrap()],
        };
        let everywhere = "0.0.0.0:1883";
        let cases = [
            (everywhere, "localhost", 1883, true),
            (everywhere, "LOCALHOST.", 1883, true),
            (everywhere, "127.0.0.1", 1883, true),
            (everywhere, "127.8.8.8", 1883, true),
            (everywhere, "::1", 1883, true),
            (everywhere, "0.0.0.0", 1883, true),
            (everywhere, "::ffff:192.168.1.5", 1883, true),
            (everywhere, "192.168.1.5", 1883, true),
            (everywhere, "Pi.local", 1883, true),
            (everywhere, "localhost", 1884, false),
            (everywhere, "192.168.1.6", 1883, false),
            (everywhere, "broker.example", 1883, false),
            ("[::]:1883", "127.0.0.1", 1883, true),
            ("127.0.0.1:1883", "localhost", 1883, true),
            ("127.0.0.1:1883", "192.168.1.5", 1883, false),
            ("192.168.1.5:1883", "localhost", 1883, false),
            ("192.168.1.5:1883", "pi", 1883, true),
            ("0.0.0.0:0", "localhost", 1883, false),
        ];
        for (listener, host, port, ours) in cases {
            let listener = listener.parse().unwrap();
            assert_eq!(machine.reaches(listener, host, port), ours, "{listener} {host}:{port}");
        }
    }
}
