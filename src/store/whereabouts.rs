//! Whether the open file is still the one that people will find under its name.

use super::fault::Fault;

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The file that was opened, by its name and by what the system knows it as.
#[derive(Debug)]
pub(super) struct Whereabouts {
    path: PathBuf,
    /// Device and inode; `None` where they could not be told.
    file: Option<(u64, u64)>,
}

impl Whereabouts {
    /// Of the file that was opened under this name a moment ago.
    pub(super) fn of(path: &Path) -> Self {
        let file = std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
        Self { path: path.to_owned(), file }
    }

    /// A file that was moved, deleted or replaced while it is open takes commits as before, and they
    /// are gone when we end; in WAL mode SQLite does not notice. One `stat` a commit does.
    ///
    /// # Errors
    /// [`Fault::Trouble`]: nothing may be acknowledged.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let Some(file) = self.file else { return Ok(()) };
        let there = match std::fs::metadata(&self.path) {
            Ok(metadata) => (metadata.dev(), metadata.ino()) == file,
            // Any other trouble with the disk is SQLite's to find.
            Err(error) => error.kind() != ErrorKind::NotFound,
        };
        if there {
            return Ok(());
        }
        let path = self.path.display();
        Err(Fault::Trouble(format!(
            "{path} was moved or deleted while the hub runs: put it back, or start the hub again"
        )))
    }
}
