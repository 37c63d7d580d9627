//! `meshbox replay`: recorded messages through the same pipeline, offline.

use super::{load_config, log};
use crate::app::Pipeline;
use crate::clock::Clock;
use crate::counters::Counters;
use crate::message::{Inlet, Message, Origin, OriginKind, Receipt};

use anyhow::{Context, bail};
use bytes::Bytes;
use serde::Deserialize;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Arguments of `meshbox replay`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Recorded messages: lines of {"topic", "payload" or "payload_hex", "retain"?}
    #[arg(value_name = "FILE.jsonl")]
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
    let file =
        File::open(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let mut config = load_config(args.config.as_deref())?;
    config.db_path.clone_from(&args.db);
    if let Some(name) = &args.source {
        if !config.sources.iter().any(|s| s.name == *name) {
            bail!("source {name:?} is not in the config; name one of its mqttSources");
        }
    }
    let clock = Clock::system();
    let counters = Arc::new(Counters::default());
    let (inlet, pipeline) = Pipeline::start(&config, &clock, &counters)?;
    let origin = origin(args);
    let fed = feed(BufReader::new(file), &args.file, &inlet, &origin, &clock);
    drop(inlet);
    pipeline.finish(Instant::now() + FINISH_WITHIN)?;
    let lines = fed?;
    print(lines, &counters, args.json, out)?;
    Ok(ExitCode::SUCCESS)
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

fn feed(
    lines: impl BufRead,
    path: &Path,
    inlet: &Inlet,
    origin: &Origin,
    clock: &Clock,
) -> anyhow::Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut count = 0;
    for (number, line) in (1_u64..).zip(lines.lines()) {
        let line = line.with_context(|| format!("{}:{number}: cannot read", path.display()))?;
        if line.trim().is_empty() {
            continue;
        }
        let message = message(&line, origin, clock)
            .with_context(|| format!("{}:{number}: not a message", path.display()))?;
        runtime.block_on(inlet.send(message)).context("the pipeline has ended early")?;
        count += 1;
    }
    Ok(count)
}

fn message(line: &str, origin: &Origin, clock: &Clock) -> anyhow::Result<Message> {
    let line: Line = serde_json::from_str(line)?;
    let payload = match (line.payload, line.payload_hex) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(hex)) => hex::decode(hex).context("payload_hex")?,
        _ => bail!("give payload or payload_hex, one of them"),
    };
    Ok(Message {
        topic: line.topic,
        payload: Bytes::from(payload),
        origin: origin.clone(),
        received_at_ms: clock.now_ms(),
        retained: line.retain,
        receipt: Receipt::none(),
        place: None,
    })
}

fn print(lines: u64, counters: &Counters, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut numbers = counters.numbers();
    numbers.insert("messages".into(), lines);
    let reasons = counters.reasons.all();
    if json {
        let all = serde_json::json!({ "counters": numbers, "reasons": reasons });
        writeln!(out, "{all}")?;
        return Ok(());
    }
    writeln!(out, "{lines} messages")?;
    let told = ["tx_inserted", "tx_dupes", "obs_inserted", "node_upserts", "sig_drops"];
    for name in told {
        writeln!(out, "{:>10}  {name}", numbers.get(name).copied().unwrap_or_default())?;
    }
    for (name, count) in reasons {
        writeln!(out, "{count:>10}  not stored: {name}")?;
    }
    Ok(())
}
