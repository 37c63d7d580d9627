//! `meshbox config`: about the configuration itself.

use std::io::Write;
use std::process::ExitCode;

use crate::config::EXAMPLE;

/// Arguments of `meshbox config`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Print broker.toml with every option, its default, and when to change it
    Example,
}

/// Prints what was asked for.
///
/// # Errors
/// Output that cannot be written.
pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Example => {
            out.write_all(EXAMPLE.as_bytes())?;
            out.flush()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
