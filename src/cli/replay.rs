//! `meshbox replay`: recorded messages, or those that an existing database was made of, through the
//! same pipeline, offline.

mod database;

use super::{load_config, log};
use crate::app::Pipeline;
use crate::clock::{Clock, Trust};
use crate::config::Retention;
use crate::counters::Counters;
use crate::message::{Inlet, Message, Origin, OriginKind, Receipt};
use crate::store::Past;
use database::Fed;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Arguments of `meshbox replay`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Recorded messages, lines of {"topic", "payload" or "payload_hex", "retain"?}; or a database of
    /// CoreScope's or meshbox's, whose observations are taken in anew at the times they were heard
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The database to write; made if it is missing
    #[arg(long, value_name = "PATH")]
    db: PathBuf,
    /// The config file with channel keys, contentHash and the like
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Treat the messages as this source's, with its iataFilter and region
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Print the counts as one JSON object
    #[arg(long)]
    json: bool,
}

/// One line of the file.
#[derive(Deserialize)]
struct Line {
    topic: String,
    payload: Option<String>,
    payload_hex: Option<String>,
    #[serde(default)]
    retain: bool,
}

/// How long the database may take for what is still queued at the end; a slow SD card takes its
/// time, and nobody waits for a replay with a stopwatch.
const FINISH_WITHIN: Duration = Duration::from_secs(600);

/// Replays the file and prints the counts.
///
/// # Errors
/// A line that is no message, by number; a database that cannot be opened or is in use.
pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    log::start();
    let mut file =
        File::open(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let head = head(&mut file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let mut past = past(args, &head)?;
    let mut config = load_config(args.config.as_deref())?;
    config.db_path.clone_from(&args.db);
    // What was heard long ago is old, and still to be taken in whole: the hub lets old things go when
    // it runs on the file, by a clock that it has judged.
    config.retention = Retention::for_ever();
    if let Some(name) = &args.source {
        if !config.sources.iter().any(|s| s.name == *name) {
            bail!("source {name:?} is not in the config; name one of its mqttSources");
        }
    }
    let clock = Clock::system();
    let counters = Arc::new(Counters::default());
    let (inlet, pipeline) =
        Pipeline::start(&config, &clock, &Trust::given(clock.clone()), &counters, None)?;
    let feed = Feed {
        path: &args.file,
        inlet,
        origin: origin(args),
        runtime: tokio::runtime::Builder::new_current_thread().build()?,
    };
    let fed = match &mut past {
        Some(past) => database::feed(past, &feed),
        None => lines(BufReader::new(Cursor::new(head).chain(file)), &feed, &clock)
            .map(|messages| Fed { messages, ..Fed::default() }),
    };
    drop(feed);
    pipeline.finish(Instant::now() + FINISH_WITHIN, || 0)?;
    let fed = fed?;
    let left = match &past {
        Some(past) => Some(past.left_behind(&args.db).map_err(|e| anyhow!(e))?),
        None => None,
    };
    print(&fed, left.as_deref(), &counters, args.json, out)?;
    Ok(ExitCode::SUCCESS)
}

/// What a SQLite file begins with.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// The file's first bytes. They are kept, since a pipe cannot be wound back.
fn head(file: &mut File) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    file.take(MAGIC.len() as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// The database to replay, if the file is one: its first bytes tell, not its name.
fn past(args: &Args, head: &[u8]) -> anyhow::Result<Option<Past>> {
    if head != MAGIC {
        return Ok(None);
    }
    let id = |path: &Path| std::fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    if id(&args.file) == id(&args.db) {
        bail!("--db names {} itself; name a new file", args.file.display());
    }
    Ok(Some(Past::open(&args.file)?))
}

/// Where messages go.
struct Feed<'a> {
    path: &'a Path,
    inlet: Inlet,
    origin: Origin,
    runtime: tokio::runtime::Runtime,
}

impl Feed<'_> {
    fn send(
        &self,
        topic: String,
        payload: Vec<u8>,
        at_ms: i64,
        retained: bool,
    ) -> anyhow::Result<()> {
        let message = Message {
            topic,
            payload: Bytes::from(payload),
            origin: self.origin.clone(),
            received_at_ms: at_ms,
            retained,
            receipt: Receipt::none(),
            place: None,
        };
        self.runtime.block_on(self.inlet.send(message)).context("the pipeline has ended early")
    }
}

fn origin(args: &Args) -> Origin {
    match &args.source {
        Some(name) => Origin { kind: OriginKind::Source, name: name.as_str().into() },
        None => {
            let name = args.file.file_name().unwrap_or_default().to_string_lossy();
            Origin { kind: OriginKind::Replay, name: name.as_ref().into() }
        }
    }
}

fn lines(lines: impl BufRead, feed: &Feed<'_>, clock: &Clock) -> anyhow::Result<u64> {
    let path = feed.path.display();
    let mut count = 0;
    for (number, line) in (1_u64..).zip(lines.lines()) {
        let line = line.with_context(|| format!("{path}:{number}: cannot read"))?;
        if line.trim().is_empty() {
            continue;
        }
        let (line, payload) =
            message(&line).with_context(|| format!("{path}:{number}: not a message"))?;
        feed.send(line.topic, payload, clock.now_ms(), line.retain)?;
        count += 1;
    }
    Ok(count)
}

fn message(line: &str) -> anyhow::Result<(Line, Vec<u8>)> {
    let mut line: Line = serde_json::from_str(line)?;
    let payload = match (line.payload.take(), line.payload_hex.take()) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(hex)) => hex::decode(hex).context("payload_hex")?,
        _ => bail!("give payload or payload_hex, one of them"),
    };
    Ok((line, payload))
}

/// `left`: what a database had that was not carried over; `None` for recorded messages.
fn print(
    fed: &Fed,
    left: Option<&[(&str, u64)]>,
    counters: &Counters,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut numbers = counters.numbers();
    numbers.insert("messages".into(), fed.messages);
    let reasons = counters.reasons.all();
    if json {
        let mut all = serde_json::json!({ "counters": numbers, "reasons": reasons });
        if let Some(left) = left {
            let left: BTreeMap<&str, u64> = left.iter().copied().collect();
            all["database"] = serde_json::json!({
                "observations": fed.observations,
                "observers": fed.observers,
                "unreadable": fed.unreadable,
                "leftBehind": left,
            });
        }
        writeln!(out, "{all}")?;
        return Ok(());
    }
    match left {
        None => writeln!(out, "{} messages", fed.messages)?,
        Some(_) => writeln!(
            out,
            "{} observations by {} observers, as {} messages",
            fed.observations, fed.observers, fed.messages
        )?,
    }
    let told = ["tx_inserted", "tx_dupes", "obs_inserted", "node_upserts", "sig_drops"];
    for name in told {
        writeln!(out, "{:>10}  {name}", numbers.get(name).copied().unwrap_or_default())?;
    }
    for (name, count) in reasons {
        writeln!(out, "{count:>10}  not stored: {name}")?;
    }
    let unreadable =
        [("observations without bytes, text, or hops that a packet can have", fed.unreadable)];
    let left = left.unwrap_or_default().iter().copied();
    for (what, count) in unreadable.into_iter().chain(left).filter(|(_, n)| *n > 0) {
        writeln!(out, "{count:>10}  not carried over: {what}")?;
    }
    Ok(())
}
