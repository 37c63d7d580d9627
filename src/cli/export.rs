//! `meshbox export`: packets, nodes or observers as JSON lines or CSV.

mod csv;
mod jsonl;

use super::db_path;
use super::moment::Moment;
use super::new_file::NewFile;
use crate::clock::Clock;
use crate::store::{Export, What};

use anyhow::Context;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `meshbox export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to export: packets (a line each time one was heard), nodes or observers
    #[arg(value_enum)]
    what: Table,
    /// jsonl: one JSON object a line; csv: RFC 4180, with a ' before any text that a spreadsheet
    /// would take for a formula, since names come from strangers
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// Heard (nodes and observers: last seen) since then: 2026-11-01, 2026-11-01T12:00:00Z, or 24h
    /// or 7d for so long ago
    #[arg(long, value_name = "TIME", value_parser = Moment::parse, allow_hyphen_values = true)]
    since: Option<Moment>,
    /// Heard before then
    #[arg(long, value_name = "TIME", value_parser = Moment::parse, allow_hyphen_values = true)]
    until: Option<Moment>,
    /// The config file that the hub was started with
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The database, instead of a config file; one of CoreScope's will do
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    db: Option<PathBuf>,
    /// Write to this file instead, private to you (mode 0600), there whole or not at all
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file if it is there
    #[arg(long, requires = "output")]
    force: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Table {
    Packets,
    Nodes,
    Observers,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Jsonl,
    Csv,
}

/// Writes the rows as they are read; no table is ever in memory as a whole.
///
/// # Errors
/// A database that cannot be read, output that cannot be written. A reader that has seen enough
/// (`| head`) is none.
pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let what = match args.what {
        Table::Packets => What::Packets,
        Table::Nodes => What::Nodes,
        Table::Observers => What::Observers,
    };
    let database = db_path(args.db.as_deref(), args.config.as_deref())?;
    let now_ms = Clock::system().now_ms();
    let at = |moment: Option<Moment>| moment.map(|m| m.ms(now_ms));
    let mut export = Export::open(&database, what, at(args.since), at(args.until))?;
    let Some(target) = &args.output else {
        let written = write(&mut export, what, args.format, &mut BufWriter::new(out));
        return match written {
            Err(Stop::Written(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                Ok(ExitCode::SUCCESS)
            }
            written => done(written, "cannot write"),
        };
    };
    let new = NewFile::begin(target, args.force)?;
    let written = write(&mut export, what, args.format, &mut BufWriter::new(new.file()));
    let code = done(written, &format!("cannot write {}", target.display()))?;
    new.publish()?;
    Ok(code)
}

/// What ended an export early.
enum Stop {
    Read(rusqlite::Error),
    Written(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Written(error)
    }
}

fn done(written: Result<(), Stop>, what: &str) -> anyhow::Result<ExitCode> {
    match written {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Stop::Read(error)) => Err(error).context("cannot read the database"),
        Err(Stop::Written(error)) => Err(error).context(what.to_owned()),
    }
}

fn write(export: &mut Export, what: What, format: Format, out: &mut dyn Write) -> Result<(), Stop> {
    let names: Vec<&str> = what.columns().collect();
    if matches!(format, Format::Csv) {
        csv::header(&names, out)?;
    }
    loop {
        let rows = export.next_slice().map_err(Stop::Read)?;
        if rows.is_empty() {
            out.flush()?;
            return Ok(());
        }
        for row in &rows {
            match format {
                Format::Csv => csv::line(row, out)?,
                Format::Jsonl => jsonl::line(&names, row, out)?,
            }
        }
    }
}
