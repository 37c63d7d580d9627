//! A TCP proxy on loopback that misbehaves when told to: it freezes, delays, cuts, resets, refuses.
//!
//! It runs on a thread of its own, so that it serves tests that block and tests that do not.
//!
//! ```text
//!  client ──Up──> proxy ──Up──> target
//!         <─Down─       <─Down─
//! ```

use super::PATIENCE;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// The proxy; dropping it ends it and every connection through it.
pub(crate) struct Proxy {
    runtime: Option<Runtime>,
    shared: Arc<Shared>,
    /// Where it listens.
    pub(crate) at: SocketAddr,
    /// Bound and never listening: while the proxy refuses, nobody else gets its port.
    _port: TcpSocket,
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From whoever dialled.
    Up,
    /// From the target.
    Down,
}

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They pass.
    Pass,
    /// Nothing moves, the end of the stream neither; the sockets stay open: half-open, as after
    /// a router lost its power. What waits passes later.
    Freeze,
    /// What is read at once waits for so long.
    Delay(Duration),
    /// So many bytes pass (of all connections together), and the connection they end on ends so.
    /// From then on bytes pass.
    Cut(u64, End),
}

/// How a connection ends, on both its sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With a FIN.
    Close,
    /// With a RST.
    Reset,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    orders: watch::Sender<Orders>,
    accepted: AtomicU64,
    /// How many are open, by how often all had been ended when they came.
    open: Mutex<BTreeMap<u64, u64>>,
    bytes: [AtomicU64; 2],
    listening: watch::Sender<bool>,
}

#[derive(Clone, Copy, Debug)]
struct Orders {
    modes: [Mode; 2],
    refuse: bool,
    /// How often all connections were ended, and how the last time.
    ended: (u64, End),
}

impl Proxy {
    /// Starts one in front of `target`; everything passes.
    pub(crate) fn start(target: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let port = bound(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let at = port.local_addr().unwrap();
        let orders = Orders { modes: [Mode::Pass; 2], refuse: false, ended: (0, End::Close) };
        let shared = Arc::new(Shared {
            target,
            orders: watch::Sender::new(orders),
            accepted: AtomicU64::new(0),
            open: Mutex::default(),
            bytes: [AtomicU64::new(0), AtomicU64::new(0)],
            listening: watch::Sender::new(false),
        });
        runtime.spawn(accept(Arc::clone(&shared), at));
        let proxy = Self { runtime: Some(runtime), shared, at, _port: port };
        wait("the proxy listens", || *proxy.shared.listening.borrow());
        proxy
    }

    /// What happens to one direction from now on, on connections that are open and on later ones.
    pub(crate) fn set(&self, way: Way, mode: Mode) {
        self.shared.orders.send_modify(|orders| orders.modes[way as usize] = mode);
    }

    /// The same for both directions.
    pub(crate) fn set_both(&self, mode: Mode) {
        self.shared.orders.send_modify(|orders| orders.modes = [mode; 2]);
    }

    /// Whether new connections are refused, as if nothing listened; true once this returns.
    pub(crate) fn refuse(&self, refuse: bool) {
        self.shared.orders.send_modify(|orders| orders.refuse = refuse);
        wait("the proxy obeys", || *self.shared.listening.borrow() != refuse);
    }

    /// Ends every connection that is open; they are gone once this returns.
    pub(crate) fn end(&self, how: End) {
        let mut times = 0;
        self.shared.orders.send_modify(|orders| {
            orders.ended = (orders.ended.0 + 1, how);
            times = orders.ended.0;
        });
        // New ones may come meanwhile.
        let old = || self.shared.open.lock().unwrap().range(..times).any(|(_, open)| *open > 0);
        wait("its connections end", || !old());
    }

    /// How many connections it has accepted.
    pub(crate) fn connections(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many of them are open.
    pub(crate) fn open(&self) -> u64 {
        self.shared.open.lock().unwrap().values().sum()
    }

    /// How many bytes have passed in a direction, on all connections.
    pub(crate) fn bytes(&self, way: Way) -> u64 {
        self.shared.bytes[way as usize].load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for its end is not allowed within another runtime.
            runtime.shutdown_background();
        }
    }
}

/// The proxy has a thread of its own: waiting here holds up nothing that is waited for.
fn wait(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "gave up waiting: {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

fn bound(at: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(at)?;
    Ok(socket)
}

async fn accept(shared: Arc<Shared>, at: SocketAddr) {
    let mut orders = shared.orders.subscribe();
    loop {
        let _ = orders.wait_for(|o| !o.refuse).await;
        let listener = bound(at).unwrap().listen(1_024).unwrap();
        shared.listening.send_replace(true);
        listen(&shared, &listener, &mut orders).await;
        drop(listener);
        shared.listening.send_replace(false);
    }
}

async fn listen(
    shared: &Arc<Shared>,
    listener: &TcpListener,
    orders: &mut watch::Receiver<Orders>,
) {
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                let (shared, orders) = (Arc::clone(shared), shared.orders.subscribe());
                let times = orders.borrow().ended.0;
                *shared.open.lock().unwrap().entry(times).or_default() += 1;
                tokio::spawn(async move {
                    let _ = serve(&shared, client, orders, times).await;
                    *shared.open.lock().unwrap().entry(times).or_default() -= 1;
                });
            }
            _ = orders.wait_for(|o| o.refuse) => return,
        }
    }
}

/// One connection, until both sides have ended it or it is ended here.
async fn serve(
    shared: &Shared,
    mut client: TcpStream,
    mut orders: watch::Receiver<Orders>,
    times: u64,
) -> io::Result<()> {
    let mut target = TcpStream::connect(shared.target).await?;
    client.set_nodelay(true)?;
    target.set_nodelay(true)?;
    let end = {
        let ((from, to), (back_from, back_to)) = (client.split(), target.split());
        // `from` and `to` belong to the client, `back_from` and `back_to` to the target.
        let both = async {
            tokio::try_join!(
                pump(shared, Way::Up, from, back_to),
                pump(shared, Way::Down, back_from, to)
            )
            .err()
        };
        tokio::select! {
            end = both => end.unwrap_or(End::Close),
            ordered = orders.wait_for(|o| o.ended.0 > times) => {
                ordered.map_or(End::Close, |o| o.ended.1)
            }
        }
    };
    if end == End::Reset {
        client.set_zero_linger()?;
        target.set_zero_linger()?;
    }
    Ok(())
}

/// Moves one direction until its end; the error says that the whole connection ends, and how.
async fn pump(
    shared: &Shared,
    way: Way,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
) -> Result<(), End> {
    let mut orders = shared.orders.subscribe();
    let mut chunk = vec![0; 16 * 1024];
    let thaw = async |orders: &mut watch::Receiver<Orders>| {
        let _ = orders.wait_for(|o| o.modes[way as usize] != Mode::Freeze).await;
    };
    loop {
        thaw(&mut orders).await;
        // A reset on one side is one on the other too.
        let read = from.read(&mut chunk).await.map_err(|_| End::Reset)?;
        thaw(&mut orders).await;
        if read == 0 {
            let _ = to.shutdown().await;
            return Ok(());
        }
        let mode = orders.borrow().modes[way as usize];
        if let Mode::Delay(time) = mode {
            tokio::time::sleep(time).await;
        }
        let (allowed, end) = allowance(shared, way, read);
        to.write_all(&chunk[..allowed]).await.map_err(|_| End::Reset)?;
        shared.bytes[way as usize].fetch_add(allowed as u64, Ordering::SeqCst);
        if let Some(end) = end {
            return Err(end);
        }
    }
}

/// How much of what was read passes, and whether the connection ends behind it.
fn allowance(shared: &Shared, way: Way, read: usize) -> (usize, Option<End>) {
    let mut passes = (read, None);
    shared.orders.send_if_modified(|orders| {
        let mode = &mut orders.modes[way as usize];
        if let Mode::Cut(left, end) = *mode {
            let allowed = usize::try_from(left).unwrap_or(usize::MAX).min(read);
            let rest = left - allowed as u64;
            if rest == 0 {
                passes = (allowed, Some(end));
                *mode = Mode::Pass;
            } else {
                *mode = Mode::Cut(rest, end);
            }
        }
        false
    });
    passes
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener as Listener, TcpStream as Stream};

    /// A proxy, whoever dialled, and whom it reached.
    fn through() -> (Proxy, Stream, Stream) {
        let target = Listener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = Proxy::start(target.local_addr().unwrap());
        let client = Stream::connect(proxy.at).unwrap();
        let (server, _) = target.accept().unwrap();
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        (proxy, client, server)
    }

    fn read(stream: &mut Stream, count: usize) -> String {
        let mut bytes = vec![0; count];
        stream.read_exact(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// What is read within a moment.
    fn at_once(stream: &mut Stream) -> Result<usize, ErrorKind> {
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let got = stream.read(&mut [0; 16]).map_err(|e| e.kind());
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        got
    }

    #[test]
    fn bytes_pass_both_ways_and_so_does_the_end() {
        let (proxy, mut client, mut server) = through();
        client.write_all(b"up").unwrap();
        server.write_all(b"down").unwrap();
        assert_eq!((read(&mut server, 2), read(&mut client, 4)), ("up".into(), "down".into()));
        assert_eq!((proxy.connections(), proxy.open()), (1, 1));
        wait("they are counted", || (proxy.bytes(Way::Up), proxy.bytes(Way::Down)) == (2, 4));
        drop(client);
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
        drop(server);
        wait("it is over", || proxy.open() == 0);
    }

    #[test]
    fn a_frozen_direction_moves_nothing_not_even_the_end_until_it_thaws() {
        let (proxy, mut client, mut server) = through();
        proxy.set(Way::Down, Mode::Freeze);
        server.write_all(b"late").unwrap();
        client.write_all(b"up").unwrap();
        assert_eq!(read(&mut server, 2), "up", "the other direction is as it was");
        assert_eq!(at_once(&mut client), Err(ErrorKind::WouldBlock));
        drop(server);
        assert_eq!(at_once(&mut client), Err(ErrorKind::WouldBlock));
        proxy.set(Way::Down, Mode::Pass);
        assert_eq!(read(&mut client, 4), "late");
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_reset_and_a_close_are_felt_on_both_sides() {
        for (how, felt) in [(End::Reset, Err(ErrorKind::ConnectionReset)), (End::Close, Ok(0))] {
            let (proxy, mut client, mut server) = through();
            client.write_all(b"x").unwrap();
            read(&mut server, 1);
            proxy.end(how);
            assert_eq!(proxy.open(), 0);
            for stream in [&mut client, &mut server] {
                assert_eq!(stream.read(&mut [0]).map_err(|e| e.kind()), felt, "{how:?}");
            }
        }
    }

    #[test]
    fn a_cut_lets_exactly_so_many_bytes_through_and_comes_once() {
        let (proxy, mut client, mut server) = through();
        proxy.set(Way::Down, Mode::Cut(5, End::Close));
        server.write_all(b"abc").unwrap();
        assert_eq!(read(&mut client, 3), "abc");
        server.write_all(b"defgh").unwrap();
        assert_eq!(read(&mut client, 2), "de");
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        assert_eq!(proxy.bytes(Way::Down), 5);
        assert_eq!(proxy.shared.orders.borrow().modes, [Mode::Pass; 2]);
    }

    #[test]
    fn what_is_delayed_comes_later_and_whole() {
        let (proxy, mut client, mut server) = through();
        let time = Duration::from_millis(60);
        proxy.set(Way::Up, Mode::Delay(time));
        let begin = Instant::now();
        client.write_all(b"slow").unwrap();
        assert_eq!(read(&mut server, 4), "slow");
        assert!(begin.elapsed() >= time);
    }

    #[test]
    fn refused_connections_find_nobody_and_the_port_is_kept_for_later() {
        let (proxy, mut client, mut server) = through();
        proxy.refuse(true);
        let refused = Stream::connect(proxy.at).map_err(|e| e.kind()).map(drop);
        assert_eq!(refused, Err(ErrorKind::ConnectionRefused));
        client.write_all(b"old").unwrap();
        assert_eq!(read(&mut server, 3), "old", "what is open stays");
        proxy.refuse(false);
        Stream::connect(proxy.at).unwrap();
    }
}
