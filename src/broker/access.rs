//! Who may come in without a login, and what they may do: pure rules.
//!
//! Facts about the network around us come in as a [`Neighbourhood`]; names returned as errors are
//! the reasons under which a refusal is counted and logged.

use std::net::{IpAddr, Ipv6Addr};

use rumqttc::mqttbytes::valid_filter;

use super::identity::Who;
use crate::config::Access;

/// How far away a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nearness {
    /// This machine.
    Loopback,
    /// A private address, or one of our own IPv6 prefixes.
    Lan,
    /// Anywhere else, or whatever a container's gateway hides.
    Outside,
}

/// What is known of the network around us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Neighbourhood {
    /// The IPv6 prefixes of our own interfaces: address and length in bits.
    pub(super) prefixes: Vec<(Ipv6Addr, u8)>,
    /// In a container: the default gateways, from whose address any outside client may seem to come.
    pub(super) gateways: Vec<IpAddr>,
}

/// A prefix shorter than this is no network that a household or a company holds.
const SHORTEST_OWN_PREFIX: u8 = 48;

/// Longest topic or filter that goes to the router, in bytes: it never forgets one before it is
/// rebuilt, so ten thousand of them must stay small.
pub(super) const LONGEST_ROUTED: usize = 1024;

/// Judges a peer address. IPv4-mapped addresses count as the IPv4 address that they hold; a public
/// IPv4 subnet of ours does not count as near, since on a hosted server its neighbours are strangers.
pub(super) fn nearness(peer: IpAddr, around: &Neighbourhood) -> Nearness {
    let peer = peer.to_canonical();
    if peer.is_loopback() {
        return Nearness::Loopback;
    }
    if around.gateways.contains(&peer) {
        return Nearness::Outside;
    }
    let near = match peer {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => {
            v6.is_unique_local()
                || v6.is_unicast_link_local()
                || around.prefixes.iter().any(|p| holds(*p, v6))
        }
    };
    if near { Nearness::Lan } else { Nearness::Outside }
}

/// Whether a client without a login may come in.
///
/// # Errors
/// The reason's name.
pub(super) fn admit_anonymous(policy: Access, from: Nearness) -> Result<(), &'static str> {
    match (policy, from) {
        (Access::Anyone, _)
        | (Access::Lan, Nearness::Loopback | Nearness::Lan)
        | (Access::Local, Nearness::Loopback) => Ok(()),
        (Access::Lan, Nearness::Outside) => Err("login_needed_from_outside"),
        (Access::Local, Nearness::Lan | Nearness::Outside) => Err("listener_is_local_only"),
        (Access::Accounts, _) => Err("listener_wants_an_account"),
    }
}

/// Whether a client may publish to a topic.
///
/// # Errors
/// The reason's name.
pub(super) fn may_publish(_who: &Who, topic: &str) -> Result<(), &'static str> {
    if topic.is_empty() {
        return Err("publish_to_empty_topic");
    }
    if topic.contains(['+', '#']) {
        return Err("publish_to_wildcard_topic");
    }
    if topic.starts_with('$') {
        return Err("publish_to_dollar_topic");
    }
    let mut levels = topic.split('/');
    if levels.next() != Some("meshcore") {
        return Err("publish_outside_meshcore");
    }
    let mut before = "";
    for level in levels {
        if level == "internal" {
            return Err("publish_to_internal");
        }
        if before == "serial" && level == "commands" {
            return Err("publish_to_serial_commands");
        }
        before = level;
    }
    Ok(())
}

/// Whether a client may subscribe to a filter.
///
/// # Errors
/// The reason's name; the SUBACK code is 0x80.
pub(super) fn may_subscribe(who: &Who, filter: &str) -> Result<(), &'static str> {
    if !valid_filter(filter) {
        return Err("subscribe_to_malformed_filter");
    }
    if filter == "$share" || filter.starts_with("$share/") {
        return Err("subscribe_shared");
    }
    if filter.starts_with('$') {
        return Err("subscribe_to_dollar_filter");
    }
    if !routable(filter) {
        return Err("subscribe_to_unroutable_filter");
    }
    if who.from != Nearness::Loopback {
        return Err("subscribe_without_login");
    }
    Ok(())
}

/// Whether a topic or a filter may reach the router: printable ASCII, and not too long.
///
/// The router slices topics by bytes and panics inside a wider character (rumqttd 0.20
/// `protocol/mod.rs`, `matches`).
pub(super) fn routable(name: &str) -> bool {
    name.len() <= LONGEST_ROUTED && name.bytes().all(|b| (b' '..=b'~').contains(&b))
}

fn holds((prefix, bits): (Ipv6Addr, u8), address: Ipv6Addr) -> bool {
    if !(SHORTEST_OWN_PREFIX..=128).contains(&bits) {
        return false;
    }
    let mask = u128::MAX << (128 - u32::from(bits));
    prefix.to_bits() & mask == address.to_bits() & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn stranger(from: Nearness) -> Who {
        Who::anonymous(ip("10.0.0.9"), from)
    }

    #[test]
    fn nearness_of_addresses() {
        let around = Neighbourhood {
            prefixes: vec![
                ("2001:db8:1:2::5".parse().unwrap(), 64),
                ("2400::".parse().unwrap(), 12),
                ("2a00:1:1::7".parse().unwrap(), 128),
            ],
            gateways: vec![ip("172.17.0.1")],
        };
        let cases = [
            ("127.0.0.1", Nearness::Loopback),
            ("127.8.9.1", Nearness::Loopback),
            ("::1", Nearness::Loopback),
            ("::ffff:127.0.0.1", Nearness::Loopback),
            ("10.1.2.3", Nearness::Lan),
            ("172.16.0.1", Nearness::Lan),
            ("172.32.0.1", Nearness::Outside),
            ("192.168.7.7", Nearness::Lan),
            ("::ffff:192.168.7.7", Nearness::Lan),
            ("169.254.3.3", Nearness::Lan),
            ("fe80::1", Nearness::Lan),
            ("fd12:3456::1", Nearness::Lan),
            ("2001:db8:1:2:aaaa::9", Nearness::Lan),
            ("2001:db8:1:3::9", Nearness::Outside),
            ("2a00:1:1::7", Nearness::Lan),
            ("2a00:1:1::8", Nearness::Outside),
            // A prefix that half the internet shares is not ours.
            ("2400:1::1", Nearness::Outside),
            ("8.8.8.8", Nearness::Outside),
            ("::ffff:8.8.8.8", Nearness::Outside),
            ("100.64.0.1", Nearness::Outside),
            // The container's gateway is a private address and hides anyone.
            ("172.17.0.1", Nearness::Outside),
            ("::ffff:172.17.0.1", Nearness::Outside),
            ("172.17.0.2", Nearness::Lan),
        ];
        for (address, expected) in cases {
            assert_eq!(nearness(ip(address), &around), expected, "{address}");
        }
    }

    #[test]
    fn who_comes_in_without_a_login() {
        use Nearness::{Lan, Loopback, Outside};
        let outside = Err("login_needed_from_outside");
        let local = Err("listener_is_local_only");
        let account = Err("listener_wants_an_account");
        let cases = [
            (Access::Anyone, [(Loopback, Ok(())), (Lan, Ok(())), (Outside, Ok(()))]),
            (Access::Lan, [(Loopback, Ok(())), (Lan, Ok(())), (Outside, outside)]),
            (Access::Local, [(Loopback, Ok(())), (Lan, local), (Outside, local)]),
            (Access::Accounts, [(Loopback, account), (Lan, account), (Outside, account)]),
        ];
        for (policy, rows) in cases {
            for (from, expected) in rows {
                assert_eq!(admit_anonymous(policy, from), expected, "{policy:?} {from:?}");
            }
        }
    }

    #[test]
    fn what_an_anonymous_client_may_publish() {
        let cases = [
            ("meshcore/SJC/AB12/packets", Ok(())),
            ("meshcore/SJC/AB12/status", Ok(())),
            ("meshcore", Ok(())),
            ("meshcore/", Ok(())),
            ("meshcore/SJC/AB12/serial/responses", Ok(())),
            ("meshcore/SJC/commands", Ok(())),
            ("meshcore/ü/AB12/packets", Ok(())),
            ("meshcore/SJC/AB12/internal", Err("publish_to_internal")),
            ("meshcore/SJC/AB12/internal/x", Err("publish_to_internal")),
            ("meshcore/SJC/AB12/serial/commands", Err("publish_to_serial_commands")),
            ("meshcore/SJC/AB12/serial/commands/x", Err("publish_to_serial_commands")),
            ("meshcored/x", Err("publish_outside_meshcore")),
            ("Meshcore/x", Err("publish_outside_meshcore")),
            ("/meshcore/x", Err("publish_outside_meshcore")),
            ("homeassistant/x", Err("publish_outside_meshcore")),
            ("é", Err("publish_outside_meshcore")),
            ("meshcore/#", Err("publish_to_wildcard_topic")),
            ("meshcore/+/x", Err("publish_to_wildcard_topic")),
            ("", Err("publish_to_empty_topic")),
            ("$SYS/x", Err("publish_to_dollar_topic")),
            ("$", Err("publish_to_dollar_topic")),
        ];
        for (topic, expected) in cases {
            assert_eq!(may_publish(&stranger(Nearness::Lan), topic), expected, "{topic:?}");
        }
    }

    #[test]
    fn what_an_anonymous_client_may_subscribe_to() {
        let long = "a/".repeat(LONGEST_ROUTED);
        let cases = [
            ("#", Ok(())),
            ("+", Ok(())),
            ("meshcore/#", Ok(())),
            ("meshcore/+/+/packets", Ok(())),
            ("", Err("subscribe_to_malformed_filter")),
            ("a/#/b", Err("subscribe_to_malformed_filter")),
            ("a+", Err("subscribe_to_malformed_filter")),
            ("a/b#", Err("subscribe_to_malformed_filter")),
            ("$share/g/a", Err("subscribe_shared")),
            ("$share/g", Err("subscribe_shared")),
            ("$share", Err("subscribe_shared")),
            ("$SYS/#", Err("subscribe_to_dollar_filter")),
            ("é/#", Err("subscribe_to_unroutable_filter")),
            ("a\u{7f}", Err("subscribe_to_unroutable_filter")),
            ("a\tb", Err("subscribe_to_unroutable_filter")),
            (long.as_str(), Err("subscribe_to_unroutable_filter")),
        ];
        for (filter, expected) in cases {
            assert_eq!(
                may_subscribe(&stranger(Nearness::Loopback), filter),
                expected,
                "{filter:?}"
            );
        }
        for from in [Nearness::Lan, Nearness::Outside] {
            assert_eq!(
                may_subscribe(&stranger(from), "meshcore/#"),
                Err("subscribe_without_login")
            );
        }
    }
}
