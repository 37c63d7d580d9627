//! Listening sockets of the system: bind them, and set up what they accept.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::listener::Doorstep;

/// Connections that the system holds for us while we are busy.
const BACKLOG: u32 = 1024;

/// A peer that vanished without a word is found out after these, also when it promised no keepalive.
const PROBE_AFTER: Duration = Duration::from_secs(120);
const PROBE_EVERY: Duration = Duration::from_secs(30);

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {cause}; {advice}")]
pub struct BindError {
    address: SocketAddr,
    advice: &'static str,
    // Not a `source`: the message has it already.
    cause: io::Error,
}

/// Binds an address; returns it with the port that the system gave. `0.0.0.0` and `[::]` both mean
/// every address of both families, where there is IPv6, unless the other one is to be bound `beside`.
///
/// # Errors
/// [`BindError`], in words for the user.
pub(super) fn bind(
    address: SocketAddr,
    beside: bool,
) -> Result<(TcpListener, SocketAddr), BindError> {
    let listener = if address.ip().is_unspecified() && !beside {
        let both = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), address.port());
        match open(both, false) {
            Err(e) if address.is_ipv4() && is_without_ipv6(&e) => open(address, true),
            other => other,
        }
    } else {
        open(address, true)
    };
    let listener = listener.and_then(|l| l.local_addr().map(|a| (l, a.port())));
    let (listener, port) = listener.map_err(|cause| BindError::new(address, cause))?;
    Ok((listener, SocketAddr::new(address.ip(), port)))
}

impl BindError {
    fn new(address: SocketAddr, cause: io::Error) -> Self {
        let advice = match cause.kind() {
            io::ErrorKind::AddrInUse => {
                "another program, perhaps another broker, has this port: stop it, or choose \
                 another port with `bind` in [[broker.listeners]]"
            }
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need a privilege (CAP_NET_BIND_SERVICE): choose a higher one"
            }
            io::ErrorKind::AddrNotAvailable => {
                "this machine does not have this address: choose one that it has, or 0.0.0.0 for all"
            }
            _ => "choose another address with `bind` in [[broker.listeners]]",
        };
        Self { address, advice, cause }
    }
}

fn open(address: SocketAddr, own_family_only: bool) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    // A hub that starts again must not wait for the connections of the last one to be forgotten.
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, own_family_only)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The errors of a system that was built, or is run, without IPv6.
fn is_without_ipv6(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    let without =
        [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL, Errno::NOPROTOOPT, Errno::PROTONOSUPPORT];
    errno.is_some_and(|errno| without.contains(&errno))
}

impl Doorstep for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, IpAddr)> {
        let (stream, peer) = Self::accept(self).await?;
        // Neither is worth a connection: without them it is slower to answer, or to be given up.
        let _ = stream.set_nodelay(true);
        let _ = probe(&stream);
        Ok((stream, peer.ip().to_canonical()))
    }
}

fn probe(stream: &TcpStream) -> rustix::io::Result<()> {
    sockopt::set_tcp_keepidle(stream, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, PROBE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, 4)?;
    sockopt::set_socket_keepalive(stream, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bind_error_is_one_line_that_says_what_to_do() {
        let address: SocketAddr = "0.0.0.0:1883".parse().unwrap();
        let cases = [
            (io::ErrorKind::AddrInUse, "another broker"),
            (io::ErrorKind::PermissionDenied, "privilege"),
            (io::ErrorKind::AddrNotAvailable, "0.0.0.0 for all"),
        ];
        for (kind, words) in cases {
            let error = BindError::new(address, kind.into()).to_string();
            assert!(error.contains("0.0.0.0:1883") && error.contains(words), "{error}");
            assert!(!error.contains('\n'));
        }
    }

    #[tokio::test]
    async fn both_families_can_be_bound_side_by_side() {
        let (_v6, address) = bind("[::]:0".parse().unwrap(), true).unwrap();
        let v4 = SocketAddr::new("0.0.0.0".parse().unwrap(), address.port());
        assert!(bind(v4, true).is_ok());
    }

    #[tokio::test]
    async fn binding_reports_the_port_that_the_system_gave() {
        for wanted in ["0.0.0.0:0", "[::]:0", "127.0.0.1:0", "[::1]:0"] {
            let wanted: SocketAddr = wanted.parse().unwrap();
            let (listener, address) = bind(wanted, false).unwrap();
            assert_eq!(address.ip(), wanted.ip());
            assert_eq!(address.port(), listener.local_addr().unwrap().port());
        }
    }
}
