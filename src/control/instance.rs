//! One hub per data directory.
//!
//! The lock is flock(2) on the directory itself: it needs no file of its own, and the system lets
//! it go when the process ends, however it ends.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Holds the data directory until it is dropped.
#[derive(Debug)]
pub struct Instance {
    _directory: File,
}

/// Why the data directory could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// Another process has it.
    #[error(
        "another meshbox is running on {}; stop it, or give this one another dbPath",
        .0.display()
    )]
    Taken(PathBuf),
    /// The directory cannot be made or opened.
    #[error("cannot use the data directory {}: {source}; check that it exists and is ours", directory.display())]
    Unusable {
        /// The directory.
        directory: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl Instance {
    /// Takes the directory, making it first if it is missing.
    ///
    /// # Errors
    /// [`InstanceError`], naming the directory.
    pub fn take(directory: &Path) -> Result<Self, InstanceError> {
        let unusable = |source| InstanceError::Unusable { directory: directory.to_owned(), source };
        std::fs::create_dir_all(directory).map_err(unusable)?;
        let handle = File::open(directory).map_err(unusable)?;
        match rustix::fs::flock(&handle, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _directory: handle }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(InstanceError::Taken(directory.to_owned())),
            Err(errno) => Err(unusable(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_holder_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = Instance::take(dir.path()).unwrap();
        let second = Instance::take(dir.path()).unwrap_err();
        assert!(second.to_string().starts_with("another meshbox is running on "));
        drop(first);
        Instance::take(dir.path()).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = Instance::take(&file.join("data")).unwrap_err().to_string();
        assert!(error.contains("file/data"), "{error}");
    }
}
