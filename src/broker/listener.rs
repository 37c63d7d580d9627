//! Listeners: accept, and give each connection a task of its own, in which everything else happens:
//! whatever a client does, or does not do, the next one is accepted.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::addresses::{Addresses, Share};
use super::arrival::{self, Site, Stream};
use super::board::{Refused, Sort, Whom};
use super::door::{self, Visitor};
use super::forwarded::Caller;
use super::house::{House, Intake};
use crate::supervise::{say, supervise};

/// Connections above the bound which are told so at the same time; the rest is closed without a word.
pub(super) const MAX_REFUSALS: usize = 64;

/// How long accepting rests after an error such as "too many open files", which would come again at
/// once.
const REST: Duration = Duration::from_millis(100);

/// How long a client may take for everything below MQTT: TLS, and the request of a WebSocket. A small
/// processor needs seconds for the first.
const ARRIVE_WITHIN: Duration = Duration::from_secs(10);

/// The same for one that will be turned away anyhow.
const TURNED_AWAY_WITHIN: Duration = Duration::from_secs(3);

/// Where connections come from.
pub(super) trait Doorstep: Send + Sync + 'static {
    /// What they are.
    type Stream: Stream;

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

/// Accepts until the broker goes quiet. Neither an error nor a panic ends it.
pub(super) async fn watch(doorstep: impl Doorstep, site: Arc<Site>, reception: Reception) {
    let house = Arc::clone(&reception.house);
    let panicked = say("accepting connections", Arc::clone(&house.counters), house.clock.clone());
    let doorstep = Arc::new(doorstep);
    let make = move || accept(Arc::clone(&doorstep), Arc::clone(&site), reception.clone());
    supervise(house.quiet.clone(), make, panicked).await;
}

async fn accept(doorstep: Arc<impl Doorstep>, site: Arc<Site>, reception: Reception) {
    let quiet = reception.house.quiet.clone();
    loop {
        let accepted = tokio::select! {
            () = quiet.cancelled() => return,
            accepted = doorstep.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => reception.receive(stream, peer, &site),
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
    fn receive<S: Stream>(&self, stream: S, peer: IpAddr, site: &Arc<Site>) {
        self.house.counters.broker_accepted.increment();
        // The connections of a proxy are those of its clients: who they are is not known yet.
        let share = if site.hears(peer) { Ok(None) } else { self.share(peer).map(Some) };
        let (room, turned_away) = match share.and_then(|share| Ok((self.room()?, share))) {
            Ok(room) => (room, None),
            Err(reason) => {
                let Ok(room) = Arc::clone(&self.refusals).try_acquire_owned() else {
                    return self.refuse(peer, reason);
                };
                ((room, None), Some(reason))
            }
        };
        let (reception, site) = (self.clone(), Arc::clone(site));
        self.doors.spawn(async move {
            let kill = reception.kill.clone();
            tokio::select! {
                () = kill.cancelled() => {}
                () = reception.attend(stream, peer, &site, (room, turned_away)) => {}
            }
        });
    }

    /// Everything about one connection, from its first byte to its last.
    async fn attend<S: Stream>(
        self,
        stream: S,
        peer: IpAddr,
        site: &Site,
        ((room, mut share), mut turned_away): (Room, Option<&'static str>),
    ) {
        let patience = turned_away.map_or(ARRIVE_WITHIN, |_| TURNED_AWAY_WITHIN);
        let arriving = tokio::time::timeout(patience, arrival::arrive(stream, peer, site));
        let arrived = tokio::select! {
            () = self.house.quiet.cancelled() => return,
            arrived = arriving => arrived.unwrap_or(Err("handshake_too_slow")),
        };
        let arrival = match arrived {
            Ok(arrival) => arrival,
            Err(reason) => return self.refuse(peer, reason),
        };
        let Caller { address, outside } = arrival.caller;
        if share.is_none() && turned_away.is_none() {
            match self.share(address) {
                Ok(taken) => share = Some(taken),
                Err(reason) => turned_away = Some(reason),
            }
        }
        if let Some(reason) = outside {
            let words = || format!("a connection from {address} counts as from outside");
            self.house.note(reason, words);
        }
        let outside = outside.is_some();
        let visitor = Visitor {
            listener: Arc::clone(&self.listener),
            peer: address,
            outside,
            policy: site.access,
            turned_away,
            #[cfg(test)]
            posing_as: None,
        };
        let Self { house, intake, listener, .. } = self;
        door::serve(arrival.stream, visitor, Arc::clone(&house), intake).await;
        if let Some(reason) = arrival.fault.get() {
            house.refuse(&silent(&house, Sort::Closed, reason, (address, &listener)));
        }
        drop((room, share));
    }

    /// Notes that a connection was closed without a word of MQTT.
    fn refuse(&self, peer: IpAddr, reason: &'static str) {
        self.house.counters.broker_refused.increment();
        if reason == door::GONE {
            // Health checks and port scans do that all day.
            let _ = self.house.counters.reasons.note(reason, self.house.clock.now_ms());
        } else {
            let at = (peer.to_canonical(), &*self.listener);
            self.house.refuse(&silent(&self.house, Sort::Connection, reason, at));
        }
    }

    /// Room for one more connection among all.
    fn room(&self) -> Result<OwnedSemaphorePermit, &'static str> {
        Arc::clone(&self.room).try_acquire_owned().map_err(|_| "too_many_connections")
    }

    /// The same among those of its address.
    fn share(&self, peer: IpAddr) -> Result<Share, &'static str> {
        self.addresses.share(peer).ok_or("too_many_from_address")
    }
}

/// A refusal of somebody of whom nothing is known but the address and the listener.
fn silent<'a>(
    house: &House,
    sort: Sort,
    reason: &'static str,
    (from, listener): (IpAddr, &'a str),
) -> Refused<'a> {
    let whom = Whom { from, identity: None, client_id: "", listener };
    let at_ms = house.clock.now_ms();
    Refused { at_ms, sort, reason, whom, name: None, about: "", help: None, subject: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::rig::{Rig, eventually};
    use crate::config::{Access, Listener};
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

    fn lan() -> Arc<Site> {
        let listener = Listener::tcp("127.0.0.1:0".parse().unwrap(), Access::Lan);
        Arc::new(Site::of(&listener, &[], None).unwrap())
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
            addresses: Addresses::with_most(250),
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
        let loop_ = tokio::spawn(watch(doorstep, lan(), reception(&rig, 10, 10)));
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
        let watched = tokio::spawn(watch(doorstep, lan(), reception(&rig, 10, 10)));
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
            reception.receive(ours, "127.0.0.1".parse().unwrap(), &lan());
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
            reception.receive(ours, from.parse().unwrap(), &lan());
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
}
