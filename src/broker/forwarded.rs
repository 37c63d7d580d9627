//! Who a client is whose connection came through others: proxies, and web pages. Pure.

use std::net::IpAddr;

use super::websocket::handshake::Said;
use crate::config::Network;

/// Where a client is, as far as we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// Its address, or that of the nearest machine on the way to it that is known.
    pub(super) address: IpAddr,
    /// Why it counts as from outside whatever its address, if it does: the reason's name.
    pub(super) outside: Option<&'static str>,
}

impl Caller {
    /// A client that we see ourselves.
    pub(super) fn seen(address: IpAddr) -> Self {
        Self { address: address.to_canonical(), outside: None }
    }

    fn judged_outside(self, reason: &'static str) -> Self {
        Self { outside: self.outside.or(Some(reason)), ..self }
    }

    /// The client of which a proxy that we trust tells. What it calls its own loopback is ours only
    /// if it runs here.
    pub(super) fn told(self, address: IpAddr) -> Self {
        let address = address.to_canonical();
        let told = Self { address, ..self };
        if address.is_loopback() && !self.address.is_loopback() {
            return Self { address: self.address, ..told }
                .judged_outside("proxy_names_its_own_loopback");
        }
        told
    }

    /// The client of which a proxy that we trust tells nothing.
    pub(super) fn untold(self) -> Self {
        self.judged_outside("proxy_names_no_client")
    }

    /// The client behind a request. A proxy's word counts only if it is one of `trusted`; a page
    /// counts as ours if its host is one of `origins`, or how a local network calls us.
    pub(super) fn behind(self, said: &Said, trusted: &[Network], origins: &[String]) -> Self {
        let caller = match is_among(self.address, trusted) {
            true => self.behind_proxy(said.forwarded_for.as_deref(), trusted),
            false if said.forwarded_for.is_some() || said.forwarded_otherwise => {
                self.judged_outside("forwarded_by_a_stranger")
            }
            false => self,
        };
        match &said.origin {
            Some(origin) if !is_own_page(origin, said.host.as_deref(), origins) => {
                caller.judged_outside("page_of_another_host")
            }
            _ => caller,
        }
    }

    /// Each proxy adds at the end whom it saw: the last that is none of ours is the client. Whatever
    /// stands before that, the client may have written.
    fn behind_proxy(self, forwarded_for: Option<&str>, trusted: &[Network]) -> Self {
        let Some(list) = forwarded_for else { return self.untold() };
        let mut caller = self;
        for hop in list.rsplit(',') {
            let Some(address) = address_of(hop.trim()) else { return caller.untold() };
            caller = caller.told(address);
            if caller.outside.is_some() || !is_among(address, trusted) {
                break;
            }
        }
        caller
    }
}

/// Whether an address is one of a proxy that we trust.
pub(super) fn is_among(address: IpAddr, trusted: &[Network]) -> bool {
    trusted.iter().any(|network| network.contains(address))
}

/// An address as proxies write it: alone, or with a port.
fn address_of(hop: &str) -> Option<IpAddr> {
    if let Ok(address) = hop.parse() {
        return Some(address);
    }
    if let Ok(socket) = hop.parse::<std::net::SocketAddr>() {
        return Some(socket.ip());
    }
    hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// Endings of names that only a local network gives (RFC 6762, RFC 8375, and what routers use).
/// Nobody on the internet can put a page under such a name.
const LOCAL_ENDINGS: [&str; 5] = [".local", ".localhost", ".home.arpa", ".internal", ".lan"];

/// Whether a page is one of ours: its host is listed, or it is the host that the client asked for and
/// a name or address that a page from elsewhere cannot have. A public name is not enough: whoever
/// owns it can let it mean an address of the local network (DNS rebinding).
fn is_own_page(origin: &str, host: Option<&str>, origins: &[String]) -> bool {
    let Some((_, page)) = origin.split_once("://") else { return false };
    let page = host_of(page).to_ascii_lowercase();
    if origins.contains(&page) {
        return true;
    }
    let same = host.is_some_and(|host| host_of(host).eq_ignore_ascii_case(&page));
    let is_address = page.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    let is_local = !page.is_empty()
        && (!page.contains('.') || LOCAL_ENDINGS.iter().any(|ending| page.ends_with(ending)));
    same && (is_address || is_local)
}

/// The host of `host:port`, without the port.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(list: &[&str]) -> Vec<Network> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn behind(peer: &str, forwarded_for: Option<&str>, trusted: &[&str]) -> (String, bool) {
        let said = Said { forwarded_for: forwarded_for.map(Into::into), ..Said::default() };
        let caller = Caller::seen(peer.parse().unwrap());
        let caller = caller.behind(&said, &networks(trusted), &[]);
        (caller.address.to_string(), caller.outside.is_some())
    }

    #[test]
    fn the_last_hop_that_is_no_proxy_of_ours_is_the_client() {
        let proxies: &[&str] = &["10.0.0.1", "10.0.0.2", "127.0.0.1"];
        let cases = [
            // peer, X-Forwarded-For, client, outside whatever the address
            ("10.0.0.1", Some("203.0.113.7"), "203.0.113.7", false),
            ("::ffff:10.0.0.1", Some("203.0.113.7"), "203.0.113.7", false),
            ("10.0.0.1", Some("127.0.0.1, 203.0.113.7"), "203.0.113.7", false),
            ("10.0.0.1", Some("203.0.113.7, 10.0.0.2"), "203.0.113.7", false),
            ("10.0.0.1", Some("192.168.1.9:51234"), "192.168.1.9", false),
            ("10.0.0.1", Some("[2001:db8::1]:443"), "2001:db8::1", false),
            ("10.0.0.1", Some("[2001:db8::1]"), "2001:db8::1", false),
            ("127.0.0.1", Some("127.0.0.1"), "127.0.0.1", false),
            ("127.0.0.1", Some("192.168.1.9"), "192.168.1.9", false),
            // A proxy elsewhere that calls its own machine by its loopback name, or is told to.
            ("10.0.0.1", Some("127.0.0.1"), "10.0.0.1", true),
            ("10.0.0.1", Some("::ffff:127.0.0.1"), "10.0.0.1", true),
            // A proxy that does not say for whom.
            ("10.0.0.1", None, "10.0.0.1", true),
            ("10.0.0.1", Some("unknown"), "10.0.0.1", true),
            ("10.0.0.1", Some("203.0.113.7, "), "10.0.0.1", true),
            ("10.0.0.1", Some("mallory, 10.0.0.2"), "10.0.0.2", true),
            // Not a proxy of ours.
            ("10.0.0.3", Some("192.168.1.9"), "10.0.0.3", true),
            ("127.0.0.2", Some("127.0.0.1"), "127.0.0.2", true),
            ("10.0.0.3", None, "10.0.0.3", false),
        ];
        for (peer, forwarded_for, client, outside) in cases {
            let found = behind(peer, forwarded_for, proxies);
            assert_eq!(found, (client.to_owned(), outside), "{peer} {forwarded_for:?}");
        }
    }

    #[test]
    fn other_forwarding_headers_from_a_stranger_count_too_and_a_trusted_proxy_may_add_them() {
        let said = |forwarded_for: Option<&str>| Said {
            forwarded_for: forwarded_for.map(Into::into),
            forwarded_otherwise: true,
            ..Said::default()
        };
        let seen = Caller::seen("127.0.0.1".parse().unwrap());
        assert_eq!(seen.behind(&said(None), &[], &[]).outside, Some("forwarded_by_a_stranger"));
        let trusted = networks(&["127.0.0.1"]);
        assert_eq!(seen.behind(&said(None), &trusted, &[]).outside, Some("proxy_names_no_client"));
        let told = seen.behind(&said(Some("10.0.0.9")), &trusted, &[]);
        assert_eq!(told, Caller::seen("10.0.0.9".parse().unwrap()));
    }

    #[test]
    fn a_page_of_another_host_is_outside_and_one_of_ours_is_not() {
        let cases = [
            ("http://192.168.1.10:8080", "192.168.1.10:8083", true),
            ("http://[fd00::1]", "[fd00::1]:8083", true),
            ("http://meshpi.local", "meshpi.local:8083", true),
            ("http://MeshPi", "meshpi:8083", true),
            ("http://localhost:3000", "localhost:8083", true),
            ("https://map.example.org", "hub.example.org", true),
            ("https://map.example.org:444", "192.168.1.10:8083", true),
            ("https://evil.example", "192.168.1.10:8083", false),
            ("http://192.168.1.11", "192.168.1.10:8083", false),
            // DNS rebinding: the attacker's own name leads here.
            ("http://evil.example:8083", "evil.example:8083", false),
            ("http://evil.map.example.org", "evil.map.example.org", false),
            ("null", "192.168.1.10:8083", false),
            ("file://", "", false),
            ("", "192.168.1.10", false),
        ];
        let origins = ["map.example.org".to_owned()];
        for (origin, host, own) in cases {
            assert_eq!(is_own_page(origin, Some(host), &origins), own, "{origin} {host}");
        }
        assert!(!is_own_page("http://192.168.1.10", None, &origins));
    }

    #[test]
    fn a_client_that_is_no_browser_names_no_page() {
        assert_eq!(behind("10.0.0.3", None, &[]), ("10.0.0.3".to_owned(), false));
    }
}
