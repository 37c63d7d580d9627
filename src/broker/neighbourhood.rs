//! Gathers the facts about the network around us that [`super::access`] judges by.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::access::Neighbourhood;

/// The facts, gathered again when they are old: prefixes change while a hub runs.
#[derive(Debug, Default)]
pub(super) struct Surroundings(Mutex<Option<(Instant, Arc<Neighbourhood>)>>);

/// How long facts are good for.
const GOOD_FOR: Duration = Duration::from_secs(30);

impl Surroundings {
    /// The facts now. Reads a few short files of `/proc` at most twice a minute.
    pub(super) fn now(&self) -> Arc<Neighbourhood> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, facts)) = known.as_ref() {
            if at.elapsed() < GOOD_FOR {
                return Arc::clone(facts);
            }
        }
        let facts = Arc::new(look());
        *known = Some((Instant::now(), Arc::clone(&facts)));
        facts
    }
}

fn look() -> Neighbourhood {
    let gateways = if in_container() {
        let v4 = read("/proc/net/route");
        let v6 = read("/proc/net/ipv6_route");
        gateways_v4(&v4).map(IpAddr::V4).chain(gateways_v6(&v6).map(IpAddr::V6)).collect()
    } else {
        Vec::new()
    };
    Neighbourhood { prefixes: own_prefixes(), gateways }
}

fn in_container() -> bool {
    Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists()
}

fn own_prefixes() -> Vec<(Ipv6Addr, u8)> {
    // Without the list nobody counts as near who is not so by the kind of address alone.
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let v6 = interfaces.into_iter().filter_map(|interface| match interface.addr {
        if_addrs::IfAddr::V6(v6) if !v6.ip.is_loopback() => {
            let bits = v6.netmask.to_bits().leading_ones();
            Some((v6.ip, u8::try_from(bits).unwrap_or(128)))
        }
        _ => None,
    });
    v6.collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Default routes of `/proc/net/route`: destination and mask are zero, addresses are hexadecimal in
/// the machine's byte order (Linux `net/ipv4/fib_trie.c`).
fn gateways_v4(table: &str) -> impl Iterator<Item = Ipv4Addr> {
    table.lines().skip(1).filter_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (destination, gateway) = (words.next()?, words.next()?);
        let gateway = u32::from_str_radix(gateway, 16).ok()?;
        (destination == "00000000" && gateway != 0).then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
    })
}

/// Default routes of `/proc/net/ipv6_route`: destination, length, source, length, next hop, all
/// hexadecimal in network order (Linux `net/ipv6/route.c`).
fn gateways_v6(table: &str) -> impl Iterator<Item = Ipv6Addr> {
    table.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (destination, length) = (words.next()?, words.next()?);
        let next_hop = u128::from_str_radix(words.nth(2)?, 16).ok()?;
        let default = length == "00" && destination.bytes().all(|b| b == b'0');
        (default && next_hop != 0).then(|| Ipv6Addr::from_bits(next_hop))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_default_gateway_is_read_from_the_kernels_table() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n\
                     eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\n\
                     eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\n";
        let found: Vec<_> = gateways_v4(table).collect();
        assert_eq!(found, [Ipv4Addr::new(172, 17, 0, 1)]);
    }

    #[test]
    fn the_default_gateway_is_read_from_the_kernels_ipv6_table() {
        let zero = "0".repeat(32);
        let table = format!(
            "{zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 1 0 00000003 eth0\n\
             fe800000000000000000000000000000 40 {zero} 00 {zero} 00000100 1 0 00000001 eth0\n\
             {zero} 00 {zero} 00 {zero} ffffffff 1 0 00200200 lo\n"
        );
        let found: Vec<_> = gateways_v6(&table).collect();
        assert_eq!(found, ["fe80::1".parse::<Ipv6Addr>().unwrap()]);
    }

    #[test]
    fn a_table_of_anything_is_no_trouble() {
        for table in ["", "x", "\n\n\n", "a b c d e f g\na b\n"] {
            assert_eq!(gateways_v4(table).count() + gateways_v6(table).count(), 0);
        }
    }

    #[test]
    fn looking_around_works_here() {
        let surroundings = Surroundings::default();
        assert_eq!(surroundings.now(), surroundings.now());
    }
}
