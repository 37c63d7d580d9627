//! The command line: one file a subcommand; arguments to calls to an exit code.
//!
//! Exit codes: 0 fine, 1 the thing asked about is wrong, 2 the arguments are.

pub mod account;
pub mod backup;
pub mod check;
pub mod config;
pub mod decode;
pub mod export;
pub mod log;
mod moment;
mod new_file;
pub mod replay;
pub mod run;
pub mod simulate;
pub mod status;
pub mod tls;
pub mod token;

use crate::config::{Config, env};

use anyhow::Context;
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A MeshCore hub in one program.
///
/// Without a command it runs the hub. Mesh gateways publish to its MQTT broker, external brokers are
/// taken in, packets are decoded and kept in SQLite.
#[derive(Debug, Parser)]
#[command(name = "meshbox", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the hub (the default)
    Run(run::Args),
    /// Judge the configuration, and say what it means; starts nothing
    Check(check::Args),
    /// Take packets apart: a tree for people, or JSON
    Decode(decode::Args),
    /// Feed recorded messages, or an existing database, through the pipeline into a database, offline
    Replay(replay::Args),
    /// Play a small mesh toward a broker: to see a hub at work, or to load it
    Simulate(simulate::Args),
    /// Who may log in to the hub's broker by name, and whose the observers' keys are
    Account(account::Args),
    /// Login tokens of gateways: look into one, or make one
    Token(token::Args),
    /// Ask the running hub how it is
    Status(status::Args),
    /// Copy the database, whole and checked, while the hub runs or not
    Backup(backup::Args),
    /// Print packets, nodes or observers as JSON lines or CSV
    Export(export::Args),
    /// Certificates for the hub's own listeners
    Tls(tls::Args),
    /// The configuration itself
    Config(config::Args),
}

/// Runs the command that the arguments ask for.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args.into_iter().map(single_dash)) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    run_command(cli.command.unwrap_or(Command::Run(cli.run))).unwrap_or_else(|error| {
        if reader_left(&error) {
            return ExitCode::SUCCESS;
        }
        // Nothing can be done about a closed stderr.
        let _ = writeln!(io::stderr(), "meshbox: {}", in_one_line(&error));
        ExitCode::FAILURE
    })
}

/// Whether this is only the end of a reader that has seen enough, as in `meshbox check | head -1`.
fn reader_left(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

/// An error and its causes. A room's error often carries its cause's words within its own advice:
/// these are not said twice.
fn in_one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

fn run_command(command: Command) -> anyhow::Result<ExitCode> {
    let out = &mut io::stdout();
    match command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args, &env::of_this_process, &working_dir()?, out),
        Command::Decode(args) => {
            let colours = decode::colours_are_wanted();
            let (stdin, stderr) = (&mut io::stdin().lock(), &mut io::stderr());
            decode::run(&args, decode::Streams { stdin, stdout: out, stderr, colours })
        }
        Command::Replay(args) => replay::run(&args, out),
        Command::Simulate(args) => simulate::run(&args, out),
        Command::Account(args) => account::run(&args, &env::of_this_process, &working_dir()?, out),
        Command::Token(args) => {
            let (env, dir) = (&env::of_this_process, working_dir()?);
            token::run(&args, env, &dir, &crate::clock::Clock::system(), out)
        }
        Command::Status(args) => status::run(&args, out),
        Command::Backup(args) => backup::run(&args, out),
        Command::Export(args) => export::run(&args, out),
        Command::Tls(args) => tls::run(&args, out),
        Command::Config(args) => config::run(&args, out),
    }
}

/// CoreScope's ingestor takes Go flags, so `-config FILE` and `-config=FILE` work as `--config` does.
fn single_dash(argument: OsString) -> OsString {
    match argument.to_str() {
        Some("-config") => "--config".into(),
        Some(text) if text.starts_with("-config=") => format!("-{text}").into(),
        _ => argument,
    }
}

/// Loads the configuration as the environment and the working directory have it.
fn load_config(file: Option<&Path>) -> anyhow::Result<Config> {
    Ok(Config::load(file, &env::of_this_process, &working_dir()?)?)
}

fn working_dir() -> anyhow::Result<PathBuf> {
    std::env::current_dir().context("cannot tell the working directory")
}

/// The database to work on: the one that was named, else the configured one.
fn db_path(named: Option<&Path>, config: Option<&Path>) -> anyhow::Result<PathBuf> {
    match named {
        Some(path) => Ok(path.to_owned()),
        None => Ok(load_config(config)?.db_path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_error_is_one_line_in_which_nothing_is_said_twice() {
        let plain = anyhow::Error::from(io::Error::other("disk full")).context("cannot write");
        assert_eq!(in_one_line(&plain), "cannot write: disk full");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let taken = crate::control::Instance::take(&file.join("data")).unwrap_err();
        let line = in_one_line(&taken.into());
        assert_eq!(line.matches("os error").count(), 1, "{line}");
    }

    #[test]
    fn a_reader_that_has_seen_enough_is_no_error_and_a_broken_disk_is_one() {
        assert!(reader_left(&io::Error::from(io::ErrorKind::BrokenPipe).into()));
        assert!(!reader_left(&io::Error::from(io::ErrorKind::StorageFull).into()));
        assert!(!reader_left(&anyhow::anyhow!("something else")));
    }

    #[test]
    fn go_style_config_flags_are_understood() {
        for args in [["-config", "a.json"].as_slice(), &["-config=a.json"], &["--config", "a.json"]]
        {
            let args = std::iter::once("meshbox").chain(args.iter().copied());
            let cli = Cli::try_parse_from(args.map(|a| single_dash(a.into()))).unwrap();
            assert_eq!(cli.run.config, Some(PathBuf::from("a.json")));
        }
    }
}
