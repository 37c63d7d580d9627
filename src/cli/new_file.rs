//! A file that is there whole or not at all: written under a name of its own beside the target,
//! then moved into place.

use anyhow::{Context, bail};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file that is being made; it is taken away again when it is dropped unpublished.
#[derive(Debug)]
pub(super) struct NewFile {
    target: PathBuf,
    temporary: PathBuf,
    file: File,
    force: bool,
    published: bool,
}

impl NewFile {
    /// Begins one for this target, private to its owner (mode 0600).
    ///
    /// # Errors
    /// When the target is there and `force` is not given, when it is no regular file, or when its
    /// directory takes no file.
    pub(super) fn begin(target: &Path, force: bool) -> anyhow::Result<Self> {
        may_replace(target, force)?;
        let Some(name) = target.file_name() else {
            bail!("{} names no file", target.display());
        };
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.tmp", std::process::id()));
        let temporary = target.with_file_name(hidden);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .with_context(|| format!("cannot make a file in {}", directory(target).display()))?;
        Ok(Self { target: target.to_owned(), temporary, file, force, published: false })
    }

    /// Where it is until it is published.
    pub(super) fn path(&self) -> &Path {
        &self.temporary
    }

    /// The open file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Makes it durable and moves it into place.
    ///
    /// # Errors
    /// When the disk does not take it, or somebody else has made the target meanwhile.
    pub(super) fn publish(mut self) -> anyhow::Result<()> {
        let to = || format!("cannot write {}", self.target.display());
        self.file.sync_all().with_context(to)?;
        may_replace(&self.target, self.force)?;
        std::fs::rename(&self.temporary, &self.target).with_context(to)?;
        self.published = true;
        File::open(directory(&self.target)).and_then(|dir| dir.sync_all()).with_context(to)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.published {
            // Whoever sees it left behind sees the error that brought us here as well.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

fn directory(target: &Path) -> &Path {
    match target.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

fn may_replace(target: &Path, force: bool) -> anyhow::Result<()> {
    match std::fs::symlink_metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot write {}", target.display())),
        Ok(there) if there.is_dir() => {
            bail!("{} is a directory; name a file in it", target.display())
        }
        Ok(there) if !there.is_file() => {
            bail!("{} is no regular file; name another one", target.display())
        }
        Ok(_) if !force => {
            bail!("{} is there already; --force replaces it", target.display())
        }
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    fn names(dir: &Path) -> Vec<PathBuf> {
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn a_file_is_there_whole_and_private_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("x");
        let new = NewFile::begin(&target, false).unwrap();
        new.file().write_all(b"half").unwrap();
        assert!(!target.exists());
        drop(new);
        assert_eq!(names(dir.path()), [] as [PathBuf; 0]);
        let new = NewFile::begin(&target, false).unwrap();
        new.file().write_all(b"whole").unwrap();
        new.publish().unwrap();
        assert_eq!(names(dir.path()), std::slice::from_ref(&target));
        assert_eq!(std::fs::read(&target).unwrap(), b"whole");
        assert_eq!(std::fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_there_is_replaced_only_by_force_even_if_it_came_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("x");
        let new = NewFile::begin(&target, false).unwrap();
        std::fs::write(&target, "theirs").unwrap();
        assert!(new.publish().unwrap_err().to_string().contains("--force"));
        assert!(NewFile::begin(&target, false).is_err());
        NewFile::begin(&target, true).unwrap().publish().unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"");
        assert!(NewFile::begin(dir.path(), true).is_err());
        assert_eq!(names(dir.path()), [target]);
    }
}
