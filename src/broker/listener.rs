//! Listening sockets: bind them, accept, and give each connection a task of its own.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::addresses::{Addresses, Share};
use super::board::{Refused, Sort, Whom};
use super::door::{self, Visitor};
use super::house::{House, Intake};
use crate::config::Access;
use crate::supervise::{say, supervise};

/// Connections that are served at the same time, on all listeners together.
pub(super) const MAX_CONNECTIONS: usize = 1_000;

/// Connections above that which are told so at the same time; the rest is closed without a word.
pub(super) const MAX_REFUSALS: usize = 64;

/// Connections that the system holds for us while we are busy.
const BACKLOG: u32 = 1024;

/// How long accepting rests after an error such as "too many open files", which would come again at
/// once.
const REST: Duration = Duration::from_millis(100);

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

/// Where connections come from.
pub(super) trait Doorstep: Send + Sync + 'static {
    /// What they are.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next one, and who it is. Cancel-safe.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, IpAddr)>> + Send;
}

/// What every listener of a broker needs for the connections it accepts.
#[derive(Clone)]
pub(super) struct Reception {
    pub(super) house: Arc<House>,
    pub(super) intake: Intake,
    /// Where the connections' tasks are awaited.
    pub(super) doors: TaskTracker,
    /// Ends them whatever they are doing.
    pub(super) kill: CancellationToken,
    /// The listener's name: transport and address.
    pub(super) listener: Arc<str>,
    /// Room for connections, and for refusals.
    pub(super) room: Arc<Semaphore>,
    pub(super) refusals: Arc<Semaphore>,
    pub(super) addresses: Addresses,
}

/// Room for a connection among all, and among those of its address.
type Room = (OwnedSemaphorePermit, Option<Share>);

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

/// Accepts until the broker goes quiet. Neither an error nor a panic ends it.
pub(super) async fn watch(doorstep: impl Doorstep, policy: Access, reception: Reception) {
    let house = Arc::clone(&reception.house);
    let panicked = say("accepting connections", Arc::clone(&house.counters), house.clock.clone());
    let doorstep = Arc::new(doorstep);
    let make = move || accept(Arc::clone(&doorstep), policy, reception.clone());
    supervise(house.quiet.clone(), make, panicked).await;
}

async fn accept(doorstep: Arc<impl Doorstep>, policy: Access, reception: Reception) {
    let quiet = reception.house.quiet.clone();
    loop {
        let accepted = tokio::select! {
            () = quiet.cancelled() => return,
            accepted = doorstep.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => reception.receive(stream, peer, policy),
            Err(error) => {
                let note = || format!("a connection could not be accepted: {error}");
                reception.house.note("accept_failed", note);
                tokio::select! {
                    () = quiet.cancelled() => return,
                    () = tokio::time::sleep(REST) => {}
                }
            }
        }
    }
}

impl Reception {
    fn receive<S>(&self, stream: S, peer: IpAddr, policy: Access)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.house.counters.broker_accepted.increment();
        let (room, turned_away) = match self.room_for(peer) {
            Ok(room) => (room, None),
            Err(reason) => {
                let Ok(room) = Arc::clone(&self.refusals).try_acquire_owned() else {
                    self.house.counters.broker_refused.increment();
                    return self.close(peer, reason);
                };
                ((room, None), Some(reason))
            }
        };
        let listener = Arc::clone(&self.listener);
        let visitor = Visitor {
            listener,
            peer,
            policy,
            turned_away,
            #[cfg(test)]
            posing_as: None,
        };
        let (house, intake) = (Arc::clone(&self.house), self.intake.clone());
        let kill = self.kill.clone();
        self.doors.spawn(async move {
            tokio::select! {
                () = kill.cancelled() => {}
                () = door::serve(stream, visitor, house, intake) => {}
            }
            drop(room);
        });
    }

    /// Notes that a connection was closed without a word.
    fn close(&self, peer: IpAddr, reason: &'static str) {
        self.house.refuse(&Refused {
            at_ms: self.house.clock.now_ms(),
            sort: Sort::Connection,
            reason,
            whom: Whom { from: peer, identity: None, client_id: "", listener: &self.listener },
            name: None,
            about: "",
            subject: None,
        });
    }

    /// Room for one more connection from there, or the name of the reason why there is none.
    fn room_for(&self, peer: IpAddr) -> Result<Room, &'static str> {
        let share = self.addresses.share(peer).ok_or("too_many_from_address")?;
        let room = Arc::clone(&self.room).try_acquire_owned();
        Ok((room.map_err(|_| "too_many_connections")?, Some(share)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::rig::{Rig, eventually};
    use rumqttc::mqttbytes::v4::{Connect, ConnectReturnCode, Packet};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::sync::{Mutex, mpsc};

    /// A doorstep that says what the test tells it; once it has nothing more to say, it fails.
    struct Scripted {
        streams: Mutex<mpsc::Receiver<DuplexStream>>,
        failures: Arc<std::sync::atomic::AtomicU64>,
    }

    impl Doorstep for Scripted {
        type Stream = DuplexStream;

        async fn accept(&self) -> io::Result<(DuplexStream, IpAddr)> {
            if let Ok(stream) = self.streams.lock().await.try_recv() {
                return Ok((stream, "127.0.0.1".parse().unwrap()));
            }
            self.failures.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Err(io::Error::from_raw_os_error(24))
        }
    }

    fn reception(rig: &Rig, room: usize, refusals: usize) -> Reception {
        Reception {
            house: Arc::clone(&rig.house),
            intake: rig.intake.clone(),
            doors: rig.doors.clone(),
            kill: CancellationToken::new(),
            listener: "test".into(),
            room: Arc::new(Semaphore::new(room)),
            refusals: Arc::new(Semaphore::new(refusals)),
            addresses: Addresses::default(),
        }
    }

    async fn log_in(stream: &mut DuplexStream) -> [u8; 4] {
        let mut out = bytes::BytesMut::new();
        Packet::Connect(Connect::new("x")).write(&mut out, usize::MAX).unwrap();
        stream.write_all(&out).await.unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn case_7_used_up_descriptors_make_accepting_rest_and_it_recovers() {
        let rig = Rig::new().await;
        let (sender, streams) = mpsc::channel(1);
        let failures = Arc::default();
        let doorstep = Scripted { streams: Mutex::new(streams), failures: Arc::clone(&failures) };
        let failed = || failures.load(std::sync::atomic::Ordering::Relaxed);
        let started = std::time::Instant::now();
        let loop_ = tokio::spawn(watch(doorstep, Access::Lan, reception(&rig, 10, 10)));
        eventually("it has failed a few times", || failed() >= 5).await;
        // It rests between the errors instead of spinning, and the log says so once.
        assert!(started.elapsed() >= REST * 4);
        assert!(u128::from(failed()) <= 2 + started.elapsed().as_millis() / REST.as_millis());
        assert_eq!(rig.house.counters.reasons.count("accept_failed"), failed());
        let (mut client, ours) = duplex(1024);
        sender.send(ours).await.unwrap();
        assert_eq!(log_in(&mut client).await, [0x20, 2, 0, 0]);
        rig.house.quiet.cancel();
        loop_.await.unwrap();
    }

    /// A doorstep that panics before it says anything.
    struct Faulty(Scripted, std::sync::atomic::AtomicBool);

    impl Doorstep for Faulty {
        type Stream = DuplexStream;

        async fn accept(&self) -> io::Result<(DuplexStream, IpAddr)> {
            let well = self.1.swap(true, std::sync::atomic::Ordering::Relaxed);
            assert!(well, "a defect");
            Doorstep::accept(&self.0).await
        }
    }

    #[tokio::test]
    async fn a_panic_while_accepting_is_counted_and_the_next_client_comes_in_on_the_same_socket() {
        let rig = Rig::new().await;
        let (sender, streams) = mpsc::channel(1);
        let scripted = Scripted { streams: Mutex::new(streams), failures: Arc::default() };
        let doorstep = Faulty(scripted, false.into());
        let watched = tokio::spawn(watch(doorstep, Access::Lan, reception(&rig, 10, 10)));
        let (mut client, ours) = duplex(1024);
        sender.send(ours).await.unwrap();
        assert_eq!(log_in(&mut client).await, [0x20, 2, 0, 0]);
        assert_eq!(rig.house.counters.reasons.count("task_panic"), 1);
        rig.house.quiet.cancel();
        watched.await.unwrap();
    }

    #[tokio::test]
    async fn one_connection_too_many_is_told_so_with_code_3() {
        let rig = Rig::new().await;
        let reception = reception(&rig, 1, 1);
        let arrive = || {
            let (client, ours) = duplex(1024);
            reception.receive(ours, "127.0.0.1".parse().unwrap(), Access::Lan);
            client
        };
        let mut first = arrive();
        assert_eq!(log_in(&mut first).await, [0x20, 2, 0, 0]);
        let mut second = arrive();
        // While the second is being told, there is no room even for telling the third.
        let mut third = arrive();
        assert_eq!(third.read(&mut [0; 4]).await.unwrap(), 0);
        let unavailable = ConnectReturnCode::ServiceUnavailable as u8;
        assert_eq!(log_in(&mut second).await, [0x20, 2, 0, unavailable]);
        drop((first, second));
        eventually("there is room again", || reception.room.available_permits() == 1).await;
        assert_eq!(log_in(&mut arrive()).await, [0x20, 2, 0, 0]);
        assert_eq!(rig.house.counters.reasons.count("too_many_connections"), 2);
    }

    #[tokio::test]
    async fn an_address_that_has_too_many_is_told_so_with_code_3_and_others_come_in() {
        let rig = Rig::new().await;
        let reception = reception(&rig, 10, 1);
        let arrive = |from: &str| {
            let (client, ours) = duplex(1024);
            reception.receive(ours, from.parse().unwrap(), Access::Lan);
            client
        };
        let share = || reception.addresses.share("10.0.0.9".parse().unwrap());
        let mut others: Vec<_> = std::iter::from_fn(share).collect();
        let unavailable = ConnectReturnCode::ServiceUnavailable as u8;
        assert_eq!(log_in(&mut arrive("10.0.0.9")).await, [0x20, 2, 0, unavailable]);
        assert_eq!(rig.house.counters.reasons.count("too_many_from_address"), 1);
        assert_eq!(log_in(&mut arrive("10.0.0.8")).await, [0x20, 2, 0, 0]);
        assert_eq!(log_in(&mut arrive("127.0.0.1")).await, [0x20, 2, 0, 0]);
        others.pop();
        let mut last = arrive("10.0.0.9");
        assert_eq!(log_in(&mut last).await, [0x20, 2, 0, 0]);
        assert!(share().is_none(), "it counts for as long as it is connected");
        drop(last);
        eventually("it is given back", || share().is_some()).await;
    }

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
