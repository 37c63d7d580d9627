//! `meshbox status`: how the running hub is.

mod clients;
mod layout;
mod observers;
mod refusals;

use super::db_path;
use crate::broker::board::Clients;
use crate::control::{ask_clients, ask_status};
use crate::counters::{MigrationState, Snapshot, SourceState, UplinkState};

use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `meshbox status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The config file that the hub was started with
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The hub's database, instead of a config file
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    db: Option<PathBuf>,
    /// One JSON object: the health snapshot, or what else is asked for
    #[arg(long)]
    json: bool,
    /// Every client that is connected to our broker, what waits for it, and the sessions that are kept
    /// for those that are away
    #[arg(long, conflicts_with_all = ["refusals", "observers"])]
    connections: bool,
    /// What was refused lately, why, and what helps
    #[arg(long, conflicts_with = "observers")]
    refusals: bool,
    /// Every observer that a client spoke for since the hub started: when, by whom, from where
    #[arg(long)]
    observers: bool,
}

/// Prints the running hub's health snapshot. Exit 0 when all is well, 1 when something needs a
/// person. About clients alone, exit 0.
///
/// # Errors
/// When no hub runs on that database, or it does not answer.
pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let path = db_path(args.db.as_deref(), args.config.as_deref())?;
    if args.connections || args.refusals || args.observers {
        return about_clients(args, &ask_clients(&path)?, out);
    }
    let snapshot = ask_status(&path)?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&snapshot)?)?;
    } else {
        write!(out, "{}", in_words(&snapshot))?;
        write!(out, "{}", clients::in_short(&ask_clients(&path)?))?;
    }
    Ok(if snapshot.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn about_clients(args: &Args, all: &Clients, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let json = match args {
        Args { json: false, .. } => None,
        Args { connections: true, .. } => {
            let both = json!({"connections": all.connections, "away": all.away});
            Some(both.to_string())
        }
        Args { refusals: true, .. } => Some(serde_json::to_string(&all.refusals)?),
        Args { .. } => Some(serde_json::to_string(&all.observers)?),
    };
    let text = match args {
        Args { connections: true, .. } => clients::connections(all),
        Args { refusals: true, .. } => refusals::all(all),
        Args { .. } => observers::all(all),
    };
    match json {
        Some(json) => writeln!(out, "{json}")?,
        None => write!(out, "{text}")?,
    }
    Ok(ExitCode::SUCCESS)
}

fn in_words(snapshot: &Snapshot) -> String {
    let mut lines = vec![format!(
        "meshbox {} (pid {}), up {}: {}",
        snapshot.version,
        snapshot.pid,
        span(snapshot.now_ms - snapshot.started_at_ms),
        if snapshot.ok { "all is well" } else { "something needs you" }
    )];
    for at in &snapshot.listeners {
        let (service, transport, address, access) =
            (&at.service, &at.transport, &at.address, &at.access);
        lines.push(format!("listening  {service} {transport} {address} (access: {access})"));
    }
    for (name, source) in &snapshot.sources {
        lines.push(format!("source     {name}: {}", source_in_words(source, snapshot.now_ms)));
    }
    for (name, uplink) in &snapshot.uplinks {
        lines.push(format!("uplink     {name}: {}", uplink_in_words(uplink, snapshot.now_ms)));
    }
    lines.push(writer_in_words(snapshot));
    if let Some(trouble) = &snapshot.state_file.trouble {
        lines.push(format!("state      {}: TROUBLE: {trouble}", snapshot.state_file.file));
    }
    if let Some(migration) = &snapshot.writer.migration {
        lines.push(migration_in_words(migration, snapshot.now_ms));
    }
    if let Some(pinned) = &snapshot.writer.pinned {
        let since = span(i64::try_from(pinned.for_secs).unwrap_or(i64::MAX).saturating_mul(1000));
        let limit = pinned.limit_bytes >> 20;
        lines.push(format!("log        {pinned}, for {since}; walMaxMB is {limit}"));
    }
    if let Some(doubt) = &snapshot.clock.doubt {
        let waits = "nothing is let go for its age until then";
        lines.push(format!("clock      not trusted: {doubt}; {waits}"));
    }
    let count = |name: &str| snapshot.counters.get(name).copied().unwrap_or_default();
    lines.push(format!(
        "queue      {} messages, {} bytes received and not yet committed{}",
        count("queue_messages"),
        count("queue_bytes"),
        snapshot.ingest.trouble.as_ref().map_or_else(String::new, |t| format!("; TROUBLE: {t}"))
    ));
    for (title, group) in [("counters", &snapshot.counters), ("reasons", &snapshot.reasons)] {
        let counted: Vec<String> = group
            .iter()
            .filter(|(name, n)| **n > 0 && !name.starts_with("queue_"))
            .map(|(name, n)| format!("           {n:>10}  {name}"))
            .collect();
        if !counted.is_empty() {
            lines.push(title.to_owned());
            lines.extend(counted);
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

fn writer_in_words(snapshot: &Snapshot) -> String {
    let writer = &snapshot.writer;
    let last = writer.last_commit_ms.map_or_else(
        || "nothing committed yet".to_owned(),
        |at| {
            let (ago, batch) = (span(snapshot.now_ms - at), writer.last_batch);
            let records = if batch == 1 { "record" } else { "records" };
            let took = writer.last_commit_took_ms;
            format!("last commit {ago} ago, {batch} {records} in {took} ms")
        },
    );
    let trouble = writer.trouble.as_ref().map_or_else(String::new, |t| format!("; TROUBLE: {t}"));
    format!("database   {}: {last}{trouble}", writer.database)
}

fn migration_in_words(migration: &MigrationState, now_ms: i64) -> String {
    let (step, left) = (&migration.step, migration.steps_left);
    let (since, steps) =
        (span(now_ms - migration.since_ms), if left == 1 { "step" } else { "steps" });
    let done = match migration.total {
        0 => String::new(),
        total => format!(" ({} %)", migration.done.min(total) * 100 / total),
    };
    let trouble =
        migration.trouble.as_ref().map_or_else(String::new, |t| format!("; TROUBLE: {t}"));
    format!("migration  {step}{done}, {left} {steps} left; since {since}{trouble}")
}

fn source_in_words(source: &SourceState, now_ms: i64) -> String {
    let state = if source.connected { "connected" } else { "not connected" };
    let since = span(now_ms - source.since_ms);
    let last = source.last_message_ms.map_or_else(
        || "no message yet".to_owned(),
        |at| format!("last {} ago", span(now_ms - at)),
    );
    let mut text = format!(
        "{state} for {since} ({}), {} message{} ({} in 5 min), {last}",
        source.broker,
        source.messages,
        if source.messages == 1 { "" } else { "s" },
        source.messages_last_5m
    );
    if let Some(at) = source.last_commit_ms {
        text.push_str(&format!(", stored {} ago", span(now_ms - at)));
    }
    if !source.connected {
        text.push_str(&format!(", {} after {} attempts", source.step, source.attempts));
    }
    match source.away_ms(now_ms) {
        Some(away) if source.connected => {
            text.push_str(&format!(", {}, not steady for {}", source.step, span(away)));
        }
        Some(_) if source.connects == 0 => text.push_str(", never connected"),
        // Half-open, it was gone before it was seen to go.
        Some(away) if away > now_ms - source.since_ms => {
            text.push_str(&format!(", last heard {} ago", span(away)));
        }
        _ => {}
    }
    if source.silent {
        text.push_str(", SILENT");
    }
    if source.side_buffer > 0 {
        text.push_str(&format!(", {} wait for room", source.side_buffer));
    }
    if !source.last_error.is_empty() {
        text.push_str(&format!("; {}", source.last_error));
    }
    text
}

fn uplink_in_words(uplink: &UplinkState, now_ms: i64) -> String {
    let state = if uplink.connected { "connected" } else { "not connected" };
    let last = uplink
        .last_sent_ms
        .map_or_else(|| "none yet".to_owned(), |at| format!("the last {} ago", span(now_ms - at)));
    let mut text = format!(
        "{state} for {} ({}), {} passed on, {last}; {} wait ({} bytes)",
        span(now_ms - uplink.since_ms),
        uplink.broker,
        uplink.sent,
        uplink.waiting,
        uplink.waiting_bytes
    );
    if let Some(at) = uplink.waiting_since_ms {
        text.push_str(&format!(" for {}", span(now_ms - at)));
    }
    for (count, what) in [
        (uplink.unwritten, "of them not on disk"),
        (uplink.expired, "expired"),
        (uplink.lost, "lost: the hub was too busy, or its disk took nothing"),
        (uplink.set_aside, "set aside"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    if !uplink.last_error.is_empty() {
        text.push_str(&format!("; {}", uplink.last_error));
    }
    text
}

/// A duration in the two largest units that matter.
pub(super) fn span(ms: i64) -> String {
    let secs = ms.max(0) / 1000;
    match secs {
        0..=59 => format!("{secs} s"),
        60..=3599 => format!("{} min {} s", secs / 60, secs % 60),
        3600..=86_399 => format!("{} h {} min", secs / 3600, secs % 3600 / 60),
        _ => format!("{} d {} h", secs / 86_400, secs % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::{Counters, Pinned, Reader};

    #[test]
    fn trouble_and_reasons_are_told_in_words() {
        let counters = Counters::default();
        counters.tx_inserted.add(3);
        counters.reasons.note("not_json", 0);
        counters.writer(|w| (w.last_commit_ms, w.last_batch) = (Some(89_000), 1));
        counters.writer(|w| w.trouble = Some("the disk is full".into()));
        counters.state_file(|s| s.file = "meshbox-state.db".into());
        counters.state_file(|s| s.trouble = Some("it is locked".into()));
        counters.source("region", |s| {
            s.last_error = "connection refused".into();
            s.away_since_ms = Some(0);
        });
        counters.source("hill", |s| {
            (s.since_ms, s.away_since_ms, s.attempts, s.connects) = (80_000, Some(40_000), 2, 1);
        });
        counters.source("club", |s| {
            (s.connected, s.step, s.since_ms) = (true, "receiving".into(), 60_000);
            (s.broker, s.side_buffer) = ("mqtts://club.example:8883".into(), 12);
            s.heard(70_000);
            s.last_commit_ms = Some(71_000);
        });
        counters.ingest(|i| i.trouble = Some("9 messages wait".into()));
        let migration = MigrationState {
            step: "merging duplicate observations".into(),
            done: 1_000,
            total: 3_000,
            steps_left: 4,
            since_ms: 80_000,
            trouble: Some("no room".into()),
        };
        counters.writer(|w| w.migration = Some(migration));
        let text = in_words(&counters.snapshot(0, 90_000));
        for part in [
            "merging duplicate observations (33 %), 4 steps left; since 10 s; TROUBLE: no room",
            "up 1 min 30 s: something needs you",
            "last commit 1 s ago, 1 record in 0 ms; TROUBLE: the disk is full",
            "meshbox-state.db: TROUBLE: it is locked",
            "3  tx_inserted",
            "1  not_json",
            "region: not connected",
            ", never connected; connection refused\n",
            "hill: not connected for 10 s (), 0 messages (0 in 5 min), no message yet,  after 2 \
             attempts, last heard 50 s ago\n",
            "club: connected for 30 s (mqtts://club.example:8883), 1 message (1 in 5 min), last 20 \
             s ago, stored 19 s ago, 12 wait for room\n",
            "0 bytes received and not yet committed; TROUBLE: 9 messages wait",
            "connection refused",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
    }

    #[test]
    fn a_reader_that_keeps_the_log_and_a_clock_that_is_not_trusted_are_told() {
        let counters = Counters::default();
        let reader = |pid, command: &str| Reader { pid, command: command.into() };
        let mut pinned = Pinned { wal_bytes: 80 << 20, limit_bytes: 64 << 20, ..Pinned::default() };
        pinned.for_secs = 125;
        counters.writer(|w| w.pinned = Some(pinned.clone()));
        counters.clock(|c| c.doubt = Some("it is 5 s behind what was last stored".into()));
        let told = || in_words(&counters.snapshot(0, 90_000));
        let text = told();
        for part in [
            "something needs you",
            "log        another program reads and keeps 80 MB in the write-ahead log, for 2 min 5 s; \
             walMaxMB is 64\n",
            "clock      not trusted: it is 5 s behind what was last stored; nothing is let go",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
        pinned.readers = vec![reader(7, "sqlite3"), reader(9, "corescope")];
        pinned.wal_bytes = 20 << 20;
        counters.writer(|w| w.pinned = Some(pinned));
        let text = told();
        assert!(
            text.contains("sqlite3 (pid 7), corescope (pid 9) reads and keeps 20 MB"),
            "{text}"
        );
        assert!(text.contains("all is well"), "below the limit nobody has to come:\n{text}");
    }

    #[test]
    fn spans_use_two_units() {
        assert_eq!(span(-5), "0 s");
        assert_eq!(span(61_000), "1 min 1 s");
        assert_eq!(span(7_260_000), "2 h 1 min");
        assert_eq!(span(180_000_000), "2 d 2 h");
    }
}
