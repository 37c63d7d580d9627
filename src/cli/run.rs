//! `meshbox run`: the hub, until a signal ends it.

use super::{load_config, log};
use crate::app::{Hub, STOP_WITHIN, tell_systemd};
use crate::clock::Clock;
use crate::config::Config;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use tokio::signal::unix::{SignalKind, signal};

/// Arguments of `meshbox run`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// The config file; without it broker.toml, then config.json in the working directory, then
    /// /etc/meshbox/broker.toml, then the built-in defaults
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Threads for sockets and timers. Decoding and writing have threads of their own.
const WORKERS: usize = 2;

/// Runs the hub until SIGTERM or SIGINT, or until a part of it that must not end has ended (exit 1:
/// a service manager starts it again).
///
/// # Errors
/// Whatever keeps it from starting, in one line.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    log::start();
    log::panics_in_one_line();
    let config = load_config(args.config.as_deref())?;
    raise_file_limit(config.broker.max_connections);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let code = runtime.block_on(serve(&config));
    // The router's own thread never ends; it holds nothing that matters.
    runtime.shutdown_background();
    code
}

async fn serve(config: &Config) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    announce_config(config);
    let hub = Hub::start(config, Clock::system()).await?;
    announce_hub(&hub, config);
    tell_systemd(NotifyState::Ready);
    let broken = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        defect = hub.broken() => Some(defect),
    };
    tell_systemd(NotifyState::Stopping);
    if let Some(defect) = &broken {
        tracing::error!("{defect}: the hub ends, so that it can be started again");
    }
    say("stopping: what was received is being stored; a second signal ends it at once");
    let stopped = tokio::select! {
        stopped = hub.stop(Instant::now() + STOP_WITHIN) => stopped,
        _ = terminate.recv() => return Ok(ended_at_once()),
        _ = interrupt.recv() => return Ok(ended_at_once()),
    };
    match stopped {
        Ok(()) => {
            say("stopped");
            Ok(if broken.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Err(unfinished) => {
            say(&unfinished.to_string());
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Open files that a hub may need beside its clients' connections: the database, the control socket
/// and the other brokers, which must not go short when the clients have taken theirs.
const FILES: u64 = 3_096;

/// Most systems give 1,024 files and allow far more to whoever asks.
fn raise_file_limit(connections: usize) {
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(FILES);
    let limit = getrlimit(Resource::Nofile);
    let allowed = limit.maximum.map_or(wanted, |most| most.min(wanted));
    if limit.current.is_some_and(|now| now < allowed) {
        // Refused, there is nothing to be done: accepting rests whenever they run out.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), ..limit });
    }
}

fn announce_config(config: &Config) {
    say(&format!("config: {}", config.origin));
    for note in &config.notes {
        say(&format!("note: {note}"));
    }
    say(&format!("database: {}", config.db_path.display()));
}

fn announce_hub(hub: &Hub, config: &Config) {
    for at in hub.listening() {
        say(&format!("listening {} {} {}", at.service, at.transport, at.address));
    }
    for source in &config.sources {
        say(&format!("source {} {}", source.name, source.remote));
    }
    say("ready");
}

fn ended_at_once() -> ExitCode {
    say("ended at once: what was not yet committed is lost or will be sent again");
    ExitCode::FAILURE
}

/// A line on stdout, at once. A closed stdout must not stop the hub.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
