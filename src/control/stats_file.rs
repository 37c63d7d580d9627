//! CoreScope's stats file: what its server shows on its MQTT status and performance pages, written
//! once a second by whoever takes packets in (CoreScope #1120, #1043). Off unless a path is given.
//!
//! The file is written under a name of its own, made anew each time and never through a link, private
//! to its owner, and moved into place: a link that somebody planted in `/tmp` leads nowhere.

use crate::clock::Clock;
use crate::counters::{Counters, SourceState};

use jiff::Timestamp;
use rustix::fs::OFlags;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// The task that writes the file.
#[derive(Debug)]
pub struct StatsFile {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

/// How often it is written; CoreScope's server takes an older one for a stopped ingestor.
const EVERY: Duration = Duration::from_secs(1);

impl StatsFile {
    /// Begins to write it. A file that cannot be written is said in the log once a minute, counted as
    /// `stats_file_failed`, and disturbs nothing else.
    pub fn start(path: PathBuf, counters: Arc<Counters>, clock: Clock) -> Self {
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(keep(path, counters, clock, shutdown.clone()));
        Self { shutdown, task }
    }

    /// Ends it; the last file stays.
    pub async fn stop(self) {
        self.shutdown.cancel();
        // A panic in the task has been logged by the panic hook; there is nothing left to stop.
        let _ = self.task.await;
    }
}

async fn keep(path: PathBuf, counters: Arc<Counters>, clock: Clock, shutdown: CancellationToken) {
    let path = Arc::new(path);
    let mut sampler = Sampler::default();
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => {}
        }
        let now_ms = clock.now_ms();
        let text = sampler.sample(&counters, now_ms, disk_use()).to_string();
        let to = Arc::clone(&path);
        // On a disk that hangs this waits, and nobody else does.
        let written = tokio::task::spawn_blocking(move || write(&to, text.as_bytes()));
        let written = tokio::select! {
            () = shutdown.cancelled() => return,
            written = written => written.unwrap_or_else(|e| Err(io::Error::other(e))),
        };
        if let Err(error) = written {
            if let Some(times) = counters.reasons.note("stats_file_failed", now_ms) {
                tracing::warn!("cannot write {} ({times} times): {error}", path.display());
            }
        }
    }
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = Path::new(&temporary);
    match std::fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private(temporary)?;
    let moved = file.write_all(text).and_then(|()| std::fs::rename(temporary, path));
    if moved.is_err() {
        // The error that is told is the first one.
        let _ = std::fs::remove_file(temporary);
    }
    moved
}

/// A new file; whatever has come to lie there meanwhile is not touched.
fn private(path: &Path) -> io::Result<File> {
    let no_link = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(no_link).open(path)
}

/// What `/proc/self/io` has counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct DiskUse {
    read_bytes: u64,
    write_bytes: u64,
    cancelled: u64,
    reads: u64,
    writes: u64,
}

/// `None` on systems that do not tell.
fn disk_use() -> Option<DiskUse> {
    let text = std::fs::read_to_string("/proc/self/io").ok()?;
    let number = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.and_then(|number| number.parse().ok())
    };
    Some(DiskUse {
        read_bytes: number("read_bytes")?,
        write_bytes: number("write_bytes")?,
        cancelled: number("cancelled_write_bytes")?,
        reads: number("syscr")?,
        writes: number("syscw")?,
    })
}

/// Makes the samples; remembers what rates and counts of changes need.
#[derive(Debug, Default)]
struct Sampler {
    last: Option<(i64, DiskUse)>,
    sources: BTreeMap<String, Watched>,
}

/// A source over time, as far as a look every second shows it.
#[derive(Debug, Default)]
struct Watched {
    connected: bool,
    since_ms: i64,
    last_connect: i64,
    last_disconnect: i64,
    connects: u64,
    disconnects: u64,
}

/// A row of CoreScope's `/api/mqtt/status`; times are Unix seconds, 0 for never.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SourceStatus<'a> {
    name: &'a str,
    broker: &'a str,
    connected: bool,
    last_connect_unix: i64,
    last_disconnect_unix: i64,
    last_packet_unix: i64,
    connect_count: u64,
    disconnect_count: u64,
    packets_total: u64,
    #[serde(rename = "packetsLast5m")]
    packets_last_5m: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    last_error: &'a str,
}

impl Sampler {
    /// The file's content. What this program does not have is 0 or empty: there is no group commit,
    /// no backfill, no lock between several writers, and no watchdog that ticks by itself.
    fn sample(&mut self, counters: &Counters, now_ms: i64, disk: Option<DiskUse>) -> Value {
        let sources = counters.sources_at(now_ms);
        let liveness: BTreeMap<&str, Value> =
            sources.iter().map(|(name, s)| (name.as_str(), liveness(s))).collect();
        for (name, source) in &sources {
            self.sources.entry(name.clone()).or_default().look(source);
        }
        let watched = &self.sources;
        let statuses: Vec<SourceStatus<'_>> = sources
            .iter()
            .filter_map(|(name, source)| Some(watched.get(name)?.status(name, source)))
            .collect();
        json!({
            "sampledAt": text(now_ms),
            "tx_inserted": counters.tx_inserted.get(),
            "obs_inserted": counters.obs_inserted.get(),
            "tx_dupes": counters.tx_dupes.get(),
            "node_upserts": counters.node_upserts.get(),
            "observer_upserts": counters.observer_upserts.get(),
            "write_errors": counters.write_errors.get(),
            "sig_drops": counters.sig_drops.get(),
            "walCommits": counters.commits.get(),
            "groupCommitFlushes": 0,
            "backfillUpdates": {},
            "procIO": disk.map(|disk| rates(self.last.replace((now_ms, disk)), now_ms, disk)),
            "writer_perf": {},
            "source_liveness": liveness,
            "source_statuses": statuses,
            "watchdogLastTickUnix": 0,
            "watchdogPanicCount": 0,
        })
    }
}

impl Watched {
    fn look(&mut self, source: &SourceState) {
        let since = unix(source.since_ms);
        // The state's beginning moves with every change, so a reconnection between two looks shows.
        let again = source.connected && self.connected && source.since_ms != self.since_ms;
        if again || (source.connected && !self.connected) {
            self.connects += 1;
            self.last_connect = since;
        }
        if again || (!source.connected && self.connected) {
            self.disconnects += 1;
            self.last_disconnect = since;
        }
        (self.connected, self.since_ms) = (source.connected, source.since_ms);
    }

    fn status<'a>(&self, name: &'a str, source: &'a SourceState) -> SourceStatus<'a> {
        SourceStatus {
            name,
            broker: &source.broker,
            connected: source.connected,
            last_connect_unix: self.last_connect,
            last_disconnect_unix: self.last_disconnect,
            last_packet_unix: source.last_message_ms.map_or(0, unix),
            connect_count: self.connects,
            disconnect_count: self.disconnects,
            packets_total: source.messages,
            packets_last_5m: source.messages_last_5m,
            last_error: &source.last_error,
        }
    }
}

/// When something last came, and when something of it was last written.
fn liveness(source: &SourceState) -> Value {
    json!({
        "lastReceiptUnix": source.last_message_ms.map_or(0, unix),
        "lastMessageUnix": source.last_commit_ms.map_or(0, unix),
    })
}

/// Rates since the last sample; zeros in the first one.
fn rates(last: Option<(i64, DiskUse)>, now_ms: i64, disk: DiskUse) -> Value {
    let (at_ms, before) = last.unwrap_or((now_ms, disk));
    let elapsed_ms = u32::try_from(now_ms - at_ms).unwrap_or_default();
    let rate = |of: fn(&DiskUse) -> u64| {
        let more = u32::try_from(of(&disk).saturating_sub(of(&before))).unwrap_or(u32::MAX);
        if elapsed_ms == 0 { 0.0 } else { f64::from(more) * 1_000.0 / f64::from(elapsed_ms) }
    };
    json!({
        "readBytesPerSec": rate(|d| d.read_bytes),
        "writeBytesPerSec": rate(|d| d.write_bytes),
        "cancelledWriteBytesPerSec": rate(|d| d.cancelled),
        "syscallsRead": rate(|d| d.reads),
        "syscallsWrite": rate(|d| d.writes),
        "sampledAt": text(now_ms),
    })
}

fn unix(at_ms: i64) -> i64 {
    at_ms.div_euclid(1_000)
}

/// RFC 3339 in whole seconds, as CoreScope writes it.
fn text(at_ms: i64) -> String {
    Timestamp::from_second(unix(at_ms)).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

#[cfg(test)]
mod tests;
