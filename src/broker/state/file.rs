//! The file itself: opening, reading, committing.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::claims::{Binding, Claim};
use super::keepsakes::{Changes, Keepsakes};
use super::rows;
use crate::broker::retained::Retained;

/// The open file.
#[derive(Debug)]
pub(super) struct File {
    conn: Connection,
}

/// What the file had.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    retained: Vec<Retained>,
    sessions: Vec<rows::Session>,
    claims: Vec<Claim>,
    bindings: Vec<Binding>,
    /// Rows that made no sense.
    pub(super) skipped: u64,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// A later meshbox wrote it: it is left alone.
    #[error(
        "it was written by a newer meshbox (version {0}, this one knows {VERSION}): update, or move it away"
    )]
    Newer(i64),
    /// Its contents are no database any more.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// The system or SQLite refuses.
    #[error("{0}")]
    Failed(String),
}

/// The layout that this program writes (`PRAGMA user_version`).
const VERSION: i64 = 2;

/// Pages of 4 KiB: 128 MiB, several times what the bounds in memory add up to.
const MAX_PAGES: i64 = 32 * 1024;

/// Nobody else has business with the file; who has it open by hand is waited for a little.
const BUSY: Duration = Duration::from_millis(500);

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged(error.to_string())
            }
            // A row of the wrong kind, a table that is missing: not what we have written.
            Some(ErrorCode::Unknown) | None => Self::Damaged(error.to_string()),
            Some(_) => Self::Failed(error.to_string()),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl File {
    /// Opens the file, or makes it, and reads all of it.
    ///
    /// # Errors
    /// [`Error`]; the file is as it was.
    pub(super) fn open(path: &Path) -> Result<(Self, Loaded), Error> {
        make_private(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags)?;
        conn.busy_timeout(BUSY)?;
        let version: i64 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version > VERSION {
            return Err(Error::Newer(version));
        }
        let verdict: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(Error::Damaged(verdict));
        }
        conn.pragma_update(None, "journal_mode", "WAL")?;
        // What waits here for an acknowledgement must survive a power cut.
        conn.pragma_update(None, "synchronous", "FULL")?;
        conn.pragma_update(None, "journal_size_limit", 1 << 20)?;
        conn.pragma_update(None, "max_page_count", MAX_PAGES)?;
        if version == 0 {
            let all = format!("BEGIN; {} PRAGMA user_version = {VERSION}; COMMIT", rows::SCHEMA);
            conn.execute_batch(&all)?;
        } else {
            let done = usize::try_from(version - 1).unwrap_or(0);
            for (step, version) in rows::STEPS.iter().zip(2..).skip(done) {
                let all = format!("BEGIN; {step} PRAGMA user_version = {version}; COMMIT");
                conn.execute_batch(&all)?;
            }
        }
        let loaded = Loaded::read(&conn)?;
        Ok((Self { conn }, loaded))
    }

    /// Puts a damaged file aside, so that a new one can take its place. Returns where it is.
    pub(super) fn put_aside(path: &Path) -> io::Result<PathBuf> {
        let aside = beside(path, ".damaged");
        fs::rename(path, &aside)?;
        for end in ["-wal", "-shm"] {
            match fs::rename(beside(path, end), beside(&aside, end)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(aside)
    }

    /// Commits.
    ///
    /// # Errors
    /// [`Error`]; nothing has changed then.
    pub(super) fn commit(&mut self, changes: &Changes, whole: bool) -> Result<(), Error> {
        let tx = self.conn.transaction()?;
        rows::write(&tx, changes, whole)?;
        tx.commit()?;
        Ok(())
    }
}

impl Loaded {
    fn read(conn: &Connection) -> Result<Self, Error> {
        let mut loaded = Self::default();
        let mut retained = conn.prepare("SELECT * FROM retained")?;
        for message in retained.query_map([], rows::read_retained)? {
            match message? {
                Some(message) => loaded.retained.push(message),
                None => loaded.skipped += 1,
            }
        }
        let mut sessions = conn.prepare("SELECT * FROM sessions ORDER BY id")?;
        let mut queued = conn.prepare("SELECT * FROM queued WHERE session = ? ORDER BY serial")?;
        for session in sessions.query_map([], rows::read_session)? {
            let Some((id, kept)) = session? else {
                loaded.skipped += 1;
                continue;
            };
            let copies = queued.query_map([rows::integer(id)], rows::read_queued)?;
            loaded.sessions.push((id, kept, copies.collect::<Result<_, _>>()?));
        }
        let mut claims = conn.prepare("SELECT * FROM claims")?;
        for claim in claims.query_map([], rows::read_claim)? {
            match claim? {
                Some(claim) => loaded.claims.push(claim),
                None => loaded.skipped += 1,
            }
        }
        let mut bindings = conn.prepare("SELECT * FROM bindings")?;
        let bindings = bindings.query_map([], rows::read_binding)?;
        loaded.bindings = bindings.collect::<Result<_, _>>()?;
        Ok(loaded)
    }

    /// Puts everything back where it lives. Every observer is offline now.
    pub(super) fn restore(self, keepsakes: &Keepsakes, now_ms: i64) {
        // First, and without the shelf: whoever speaks holds presence while it takes the shelf.
        let told = self.retained.into_iter().map(|message| {
            let at = (message.at_ms, now_ms);
            let own = message.owner.is_none();
            let restored = || keepsakes.presence.restore(&message.topic, &message.payload, at);
            let told = own.then(restored).flatten();
            (message, told)
        });
        let told: Vec<_> = told.collect();
        let mut shelf = keepsakes.shelf();
        for (message, told) in told {
            match told {
                // Said since, by who is there.
                Some(_) if shelf.has(&message.topic) => {}
                // There is always room for what this program says itself.
                Some(payload) => {
                    let _ = shelf.keep(Retained { payload, at_ms: now_ms, ..message });
                }
                None => shelf.restore(message, now_ms),
            }
        }
        drop(shelf);
        for (id, kept, queued) in self.sessions {
            keepsakes.outboxes.restore(id, kept, queued, now_ms);
        }
        keepsakes.claims().restore(self.claims, self.bindings);
    }
}

/// Makes the file if it is missing, for its owner alone: names, keys and messages are in it. SQLite
/// gives the files that it puts beside it the same mode.
fn make_private(path: &Path) -> io::Result<()> {
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(())
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}
