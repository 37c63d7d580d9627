//! The hub's side of the control socket.

use super::{Ask, NOT_A_QUESTION, Refusal, socket_path};
use crate::broker::board::{ClaimRow, Clients, Released};
use crate::clock::Clock;
use crate::counters::{Counters, Snapshot};
use crate::supervise::{say, supervise};

use serde::Serialize;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Makes the health snapshot of this moment.
pub type Health = Arc<dyn Fn() -> Snapshot + Send + Sync>;

/// Tells who the clients of the broker are at this moment.
pub type Guests = Arc<dyn Fn() -> Clients + Send + Sync>;

/// Tells which keys are claimed, or why it cannot.
pub type ListClaims = dyn Fn() -> Result<Vec<ClaimRow>, String> + Send + Sync;

/// Takes a key back, or says why it cannot; done when it is kept.
pub type ReleaseKey = dyn Fn(String) -> Releasing + Send + Sync;

/// What becomes of [`ReleaseKey`].
pub type Releasing = Pin<Box<dyn Future<Output = Result<Released, String>> + Send>>;

/// What is told of claims, and done about them.
#[derive(Clone)]
pub struct Claims {
    /// Tells all of them.
    pub list: Arc<ListClaims>,
    /// Takes a key back.
    pub release: Arc<ReleaseKey>,
}

/// What a server is made of.
#[derive(Clone)]
pub struct Parts {
    /// Makes the answer to [`Ask::Status`].
    pub health: Health,
    /// Makes the answer to [`Ask::Clients`].
    pub clients: Guests,
    /// Makes the answers to [`Ask::Claims`] and [`Ask::Release`].
    pub claims: Claims,
    /// Where trouble is counted.
    pub counters: Arc<Counters>,
    /// The time, for the log.
    pub clock: Clock,
}

/// The longest line that is read, in bytes; every known question is far shorter.
const MAX_LINE: u64 = 4096;

/// How long a peer may take for its first question: programs ask at once, and one that is silent
/// must not keep the others waiting.
const FIRST_WORD_WITHIN: Duration = Duration::from_secs(1);

/// How long a peer may take for a further question and for reading the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many peers are served at a time; more of them wait in the system's backlog. So few that they
/// do not use up the files of the process, so many that nobody waits for a while of silent ones.
const MAX_PEERS: usize = 64;

/// How long accepting rests after an error, which would come again at once.
const REST: Duration = Duration::from_secs(1);

/// The open control socket. The file goes away with [`Server::stop`].
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

/// The control socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot open the control socket {}: {source}; a socket's path has at most 107 bytes and its \
     directory must be ours",
    path.display()
)]
pub struct ServerError {
    path: PathBuf,
    source: io::Error,
}

impl Server {
    /// Opens the socket beside the database. The caller holds the [`super::Instance`] of the
    /// directory, so a socket that is still there is a leftover and is replaced.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn start(db_path: &Path, parts: Parts) -> Result<Self, ServerError> {
        let path = socket_path(db_path);
        let listener = bind(&path).map_err(|source| ServerError { path: path.clone(), source })?;
        let shutdown = CancellationToken::new();
        let panicked = say("the control socket", Arc::clone(&parts.counters), parts.clock.clone());
        let (listener, quiet) = (Arc::new(listener), shutdown.clone());
        let make = move || accept(Arc::clone(&listener), parts.clone(), quiet.clone());
        let task = tokio::spawn(supervise(shutdown.clone(), make, panicked));
        Ok(Self { path, shutdown, task })
    }

    /// Closes the socket and removes its file.
    pub async fn stop(self) {
        self.shutdown.cancel();
        // A panic in the supervisor itself leaves nothing to stop.
        let _ = self.task.await;
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Binds under a name of its own, makes it private, then moves it into place: nobody ever sees the
/// socket with wider permissions, and a leftover of a killed hub is replaced in the same step.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let fresh = path.with_extension("new");
    match std::fs::remove_file(&fresh) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(&fresh)?;
    std::fs::set_permissions(&fresh, Permissions::from_mode(0o600))?;
    std::fs::rename(&fresh, path)?;
    Ok(listener)
}

async fn accept(listener: Arc<UnixListener>, parts: Parts, shutdown: CancellationToken) {
    let peers = Arc::new(Semaphore::new(MAX_PEERS));
    loop {
        let Ok(place) = Arc::clone(&peers).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (parts, shutdown) = (parts.clone(), shutdown.clone());
                tokio::spawn(async move {
                    let _place = place;
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        // A peer that goes away in the middle is no concern of ours.
                        _ = serve(stream, &parts) => {}
                    }
                });
            }
            Err(error) => {
                let reasons = &parts.counters.reasons;
                if let Some(times) = reasons.note("control_accept_failed", parts.clock.now_ms()) {
                    tracing::warn!(times, "control socket: cannot accept: {error}");
                }
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(REST) => {}
                }
            }
        }
    }
}

async fn serve(stream: UnixStream, parts: &Parts) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read);
    let mut patience = FIRST_WORD_WITHIN;
    loop {
        let mut line = String::new();
        let mut limited = (&mut lines).take(MAX_LINE);
        let read = tokio::time::timeout(patience, limited.read_line(&mut line))
            .await
            .map_err(io::Error::other)??;
        patience = PATIENCE;
        if read == 0 {
            return Ok(());
        }
        let mut answer =
            tokio::time::timeout(PATIENCE, answer(&line, parts)).await.map_err(io::Error::other)?;
        answer.push('\n');
        tokio::time::timeout(PATIENCE, write.write_all(answer.as_bytes()))
            .await
            .map_err(io::Error::other)??;
        if !line.ends_with('\n') {
            return Ok(());
        }
    }
}

async fn answer(line: &str, parts: &Parts) -> String {
    let answer = match serde_json::from_str::<Ask>(line) {
        Ok(Ask::Status) => serde_json::to_string(&(parts.health)()),
        Ok(Ask::Clients) => serde_json::to_string(&(parts.clients)()),
        Ok(Ask::Claims) => in_json((parts.claims.list)()),
        Ok(Ask::Release { key }) => in_json((parts.claims.release)(key).await),
        Err(error) => in_json::<()>(Err(format!("{NOT_A_QUESTION}: {error}"))),
    };
    answer.unwrap_or_else(|error| format!("{{\"error\":\"cannot answer: {error}\"}}"))
}

fn in_json<T: Serialize>(answer: Result<T, String>) -> serde_json::Result<String> {
    match answer {
        Ok(answer) => serde_json::to_string(&answer),
        Err(error) => serde_json::to_string(&Refusal { error }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ask_claims, ask_clients, ask_release, ask_status};
    use super::*;
    use std::io::Read;
    use std::time::Instant;

    fn claims() -> Claims {
        let no = || "the hub runs without its broker".to_owned();
        Claims {
            list: Arc::new(move || Err(no())),
            release: Arc::new(|_| Box::pin(async { Ok(Released::default()) })),
        }
    }

    fn server(dir: &Path) -> (Server, PathBuf) {
        let db = dir.join("meshcore.db");
        let parts = Parts {
            health: Arc::new(|| Snapshot { version: "of the test".into(), ..Snapshot::default() }),
            clients: Arc::new(|| Clients { now_ms: 7, ..Clients::default() }),
            claims: claims(),
            counters: Arc::new(Counters::default()),
            clock: Clock::by_hand(5),
        };
        (Server::start(&db, parts).unwrap(), db)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_question_is_answered_while_many_peers_are_silent() {
        let dir = tempfile::tempdir().unwrap();
        let (server, db) = server(dir.path());
        let dial = || std::os::unix::net::UnixStream::connect(socket_path(&db)).unwrap();
        let mut silent: Vec<_> = (0..MAX_PEERS).map(|_| dial()).collect();
        let started = Instant::now();
        let asked = db.clone();
        let answer = tokio::task::spawn_blocking(move || ask_status(&asked)).await.unwrap();
        assert_eq!(answer.unwrap().version, "of the test");
        assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
        let asked = db.clone();
        let answer = tokio::task::spawn_blocking(move || ask_clients(&asked)).await.unwrap();
        assert_eq!(answer.unwrap().now_ms, 7);
        let asked = db.clone();
        let answers = move || (ask_claims(&asked), ask_release(&asked, "AB"));
        let (refused, released) = tokio::task::spawn_blocking(answers).await.unwrap();
        assert_eq!(refused.unwrap_err().to_string(), "the hub runs without its broker");
        assert_eq!(released.unwrap(), Released::default());
        let closed = tokio::task::spawn_blocking(move || {
            silent[0].set_read_timeout(Some(PATIENCE / 2)).unwrap();
            silent[0].read(&mut [0; 1]).unwrap()
        });
        assert_eq!(closed.await.unwrap(), 0, "a silent one is hung up on");
        server.stop().await;
        assert!(!socket_path(&db).exists());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_health_that_panics_ends_no_more_than_the_peer_that_asked() {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("meshcore.db");
        let asked = std::sync::atomic::AtomicBool::new(false);
        let health = move || {
            assert!(asked.swap(true, std::sync::atomic::Ordering::Relaxed), "a defect");
            Snapshot::default()
        };
        let (health, counters) = (Arc::new(health), Arc::new(Counters::default()));
        let (clients, clock): (Guests, _) = (Arc::new(Clients::default), Clock::by_hand(5));
        let server =
            Server::start(&db, Parts { health, clients, claims: claims(), counters, clock });
        let (first, second) =
            tokio::task::spawn_blocking(move || (ask_status(&db), ask_status(&db))).await.unwrap();
        assert!(first.is_err() && second.is_ok());
        server.unwrap().stop().await;
    }
}
