//! The PROXY protocol, version 2: a proxy's first bytes say whose connection it passes on.
//!
//! ```text
//!  12 bytes signature · version and command · family and protocol · length (2) · addresses, TLVs
//! ```
//!
//! Described in HAProxy's `doc/proxy-protocol.txt`, section 2.2. Version 1, which is text, is not
//! taken.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::IpAddr;

use tokio::io::{AsyncRead, AsyncReadExt};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The longest rest: addresses of Unix sockets take 216 bytes, TLVs such as a client's certificate
/// name a few hundred.
const LONGEST: usize = 2 * 1024;

/// Whose connection a proxy passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// A client at this address.
    Client(IpAddr),
    /// Its own, or of something without an address.
    Nobody,
}

/// Reads the header, and not a byte more.
///
/// # Errors
/// The name of the reason why there is none.
pub(super) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Told, &'static str> {
    let gone = |_| super::door::GONE;
    let mut signature = [0; SIGNATURE.len()];
    stream.read_exact(&mut signature).await.map_err(gone)?;
    if signature.starts_with(b"PROXY ") {
        return Err("proxy_protocol_version_1");
    }
    if signature != SIGNATURE {
        return Err("proxy_header_missing");
    }
    let mut head = [0; 4];
    stream.read_exact(&mut head).await.map_err(gone)?;
    let [version_and_command, family, high, low] = head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST {
        return Err("proxy_header_too_large");
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await.map_err(gone)?;
    told(version_and_command, family, &rest).ok_or("proxy_header_malformed")
}

/// What the parts of a header mean; `None`: nothing.
fn told(version_and_command: u8, family: u8, rest: &[u8]) -> Option<Told> {
    match version_and_command {
        // LOCAL: the proxy itself, to see whether we are well.
        0x20 => return Some(Told::Nobody),
        0x21 => {}
        _ => return None,
    }
    Some(match family >> 4 {
        1 => Told::Client(IpAddr::from(*rest.get(..12)?.first_chunk::<4>()?)),
        2 => Told::Client(IpAddr::from(*rest.get(..36)?.first_chunk::<16>()?)),
        0 | 3 => Told::Nobody,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    async fn of(bytes: &[u8]) -> (Result<Told, &'static str>, usize) {
        let mut stream = bytes;
        (read(&mut stream).await, stream.len())
    }

    #[tokio::test]
    async fn clients_of_both_families_are_told_and_what_follows_is_left_alone() {
        let v4 = [203, 0, 113, 7, 10, 0, 0, 1, 0xC0, 0, 0x07, 0x5B];
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets());
        // A TLV behind the addresses is passed over.
        let v4_and_more = [&v4[..], &[3, 0, 4, 1, 2, 3, 4]].concat();
        let cases = [
            (header(0x21, 0x11, &v4), Told::Client("203.0.113.7".parse().unwrap())),
            (header(0x21, 0x11, &v4_and_more), Told::Client("203.0.113.7".parse().unwrap())),
            (header(0x21, 0x21, &v6), Told::Client("2001:db8::7".parse().unwrap())),
            (header(0x20, 0x00, &[]), Told::Nobody),
            (header(0x20, 0x11, &v4), Told::Nobody),
            (header(0x21, 0x00, &[]), Told::Nobody),
            (header(0x21, 0x31, &[0; 216]), Told::Nobody),
        ];
        for (bytes, told) in cases {
            let all = [&bytes[..], b"\x10MQTT"].concat();
            assert_eq!(of(&all).await, (Ok(told), 5));
            for len in 0..bytes.len() {
                assert_eq!(of(&bytes[..len]).await.0, Err("gone_before_connect"), "{len}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_named() {
        let cases = [
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(), "proxy_protocol_version_1"),
            (b"PROXY UNKNOWN\r\n".to_vec(), "proxy_protocol_version_1"),
            (b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01x".to_vec(), "proxy_header_missing"),
            (header(0x11, 0x11, &[0; 12]), "proxy_header_malformed"),
            (header(0x22, 0x11, &[0; 12]), "proxy_header_malformed"),
            (header(0x21, 0x11, &[0; 11]), "proxy_header_malformed"),
            (header(0x21, 0x21, &[0; 35]), "proxy_header_malformed"),
            (header(0x21, 0x41, &[0; 36]), "proxy_header_malformed"),
            (header(0x21, 0x11, &[0; 2049]), "proxy_header_too_large"),
        ];
        for (bytes, reason) in cases {
            assert_eq!(of(&bytes).await.0, Err(reason));
        }
    }
}
