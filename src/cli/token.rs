//! `meshbox token`: the tokens with which gateways log in, looked into and made by hand.

mod mint;
mod verify;

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;

use crate::clock::Clock;

/// Arguments of `meshbox token`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say what is in a token, whether the hub would take it, and if not, what to do
    Verify(verify::Args),
    /// Make a token with a node's private key: a user name and a password for one broker
    Mint(mint::Args),
}

/// Does what was asked for. Exit code 1: the token is bad.
///
/// # Errors
/// One line that says what is wrong with what was given.
pub fn run(
    args: &Args,
    env: &dyn Fn(&str) -> Option<String>,
    working_dir: &Path,
    clock: &Clock,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let now_s = clock.now_ms().div_euclid(1_000);
    match &args.command {
        Command::Verify(args) => verify::run(args, env, working_dir, now_s, out),
        Command::Mint(args) => mint::run(args, now_s, out),
    }
}

/// A host name or address, as tokens name their broker; `*` for any.
fn audience(name: &str) -> Result<String, &'static str> {
    let name = name.trim().trim_end_matches('.').to_ascii_lowercase();
    let odd = name.is_empty() || name.contains(['/', ':', ' ']);
    if odd && name.parse::<IpAddr>().is_err() {
        return Err("is no host name; write it as hub.example.org, without https:// and port");
    }
    Ok(name)
}

/// A time as people write it, and as programs do.
fn instant(at_s: i64) -> Option<String> {
    jiff::Timestamp::from_second(at_s).ok().map(|at| at.to_string())
}
