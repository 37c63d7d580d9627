//! The hub's side of the control socket.

use super::{Ask, Refusal, socket_path};
use crate::clock::Clock;
use crate::counters::{Counters, Snapshot};
use crate::supervise::{say, supervise};

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Makes the health snapshot of this moment.
pub type Health = Arc<dyn Fn() -> Snapshot + Send + Sync>;

/// What a server is made of.
#[derive(Clone)]
pub struct Parts {
    /// Makes the answer to [`Ask::Status`].
    pub health: Health,
    /// Where trouble is counted.
    pub counters: Arc<Counters>,
    /// The time, for the log.
    pub clock: Clock,
}

/// The longest line that is read, in bytes; every known question is far shorter.
const MAX_LINE: u64 = 4096;

/// How long a peer may take for a question and for reading the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many peers are served at a time; more of them wait in the system's backlog.
const MAX_PEERS: usize = 16;

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
                let (health, shutdown) = (Arc::clone(&parts.health), shutdown.clone());
                tokio::spawn(async move {
                    let _place = place;
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        // A peer that goes away in the middle is no concern of ours.
                        _ = serve(stream, &health) => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!("control socket: cannot accept: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn serve(stream: UnixStream, health: &Health) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read);
    loop {
        let mut line = String::new();
        let mut limited = (&mut lines).take(MAX_LINE);
        let read = tokio::time::timeout(PATIENCE, limited.read_line(&mut line))
            .await
            .map_err(io::Error::other)??;
        if read == 0 {
            return Ok(());
        }
        let mut answer = answer(&line, health);
        answer.push('\n');
        tokio::time::timeout(PATIENCE, write.write_all(answer.as_bytes()))
            .await
            .map_err(io::Error::other)??;
        if !line.ends_with('\n') {
            return Ok(());
        }
    }
}

fn answer(line: &str, health: &Health) -> String {
    let answer = match serde_json::from_str::<Ask>(line) {
        Ok(Ask::Status) => serde_json::to_string(&health()),
        Err(error) => serde_json::to_string(&Refusal { error: format!("not a question: {error}") }),
    };
    answer.unwrap_or_else(|error| format!("{{\"error\":\"cannot answer: {error}\"}}"))
}
