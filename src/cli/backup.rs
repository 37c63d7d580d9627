//! `meshbox backup`: a copy of the database, whole and checked.

use super::db_path;
use super::new_file::NewFile;
use crate::store::{Copied, back_up};

use anyhow::bail;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Arguments of `meshbox backup`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The copy to make; private to you (mode 0600), there whole or not at all
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The config file that the hub was started with
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The database, instead of a config file
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    db: Option<PathBuf>,
    /// Replace FILE if it is there
    #[arg(long)]
    force: bool,
    /// Print what was done as one JSON object
    #[arg(long)]
    json: bool,
}

/// Copies the database and says in one line what the copy holds.
///
/// # Errors
/// When there is no sound copy, in one line; nothing is left behind then.
pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let database = db_path(args.db.as_deref(), args.config.as_deref())?;
    judge(&database, &args.file)?;
    let new = NewFile::begin(&args.file, args.force)?;
    let copied = back_up(&database, new.path())?;
    new.publish()?;
    print(args, &database, &copied, started.elapsed(), out)?;
    Ok(ExitCode::SUCCESS)
}

/// A copy must not take the place of the database itself, nor lie beside another one's WAL: SQLite
/// would take that for the copy's own.
fn judge(database: &Path, target: &Path) -> anyhow::Result<()> {
    let id = |path: &Path| std::fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    if id(target).is_some() && id(target) == id(database) {
        bail!("{} is the database itself; name another file", target.display());
    }
    for ending in ["-wal", "-journal"] {
        let mut beside = target.as_os_str().to_owned();
        beside.push(ending);
        if Path::new(&beside).exists() {
            let beside = Path::new(&beside).display();
            bail!("{beside} is there, so {} is in use; name another file", target.display());
        }
    }
    Ok(())
}

fn print(
    args: &Args,
    database: &Path,
    copied: &Copied,
    took: Duration,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let (from, to) = (database.display(), args.file.display());
    if args.json {
        let rows: serde_json::Map<_, _> =
            copied.rows.iter().map(|(table, rows)| ((*table).to_owned(), (*rows).into())).collect();
        let done = serde_json::json!({
            "database": from.to_string(),
            "file": to.to_string(),
            "bytes": copied.bytes,
            "rows": rows,
            "tookMs": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        });
        writeln!(out, "{done}")?;
        return Ok(());
    }
    let rows: Vec<String> = copied.rows.iter().map(|(t, rows)| format!("{rows} {t}")).collect();
    let (bytes, rows, secs) = (copied.bytes, rows.join(", "), took.as_secs_f64());
    writeln!(out, "copied {from} to {to}: {bytes} bytes, checked, {rows}, in {secs:.1} s")?;
    Ok(())
}
