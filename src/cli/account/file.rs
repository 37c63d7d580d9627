//! `accounts.toml` on disk: read and written by one at a time, never half, never for all to read, and
//! always so that the hub can read it.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::cli::new_file::NewFile;

/// The file of accounts while nobody else changes it: flock(2) on its folder.
pub(super) struct Held {
    path: PathBuf,
    config: Option<PathBuf>,
    _lock: File,
}

/// Who a file belongs to, and who may read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owned {
    user: u32,
    group: u32,
    mode: u32,
}

impl Held {
    /// Waits for whoever changes it now. A link is followed: what it names is changed.
    ///
    /// # Errors
    /// There is no folder for it, or none that can be read.
    pub(super) fn take(path: &Path, config: Option<PathBuf>) -> anyhow::Result<Self> {
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let folder = folder(&path);
        let lock = File::open(folder)
            .with_context(|| format!("{}: no such folder to write to", folder.display()))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
            .with_context(|| format!("cannot lock {}", folder.display()))?;
        Ok(Self { path, config, _lock: lock })
    }

    /// Puts a new text in its place.
    ///
    /// # Errors
    /// It belongs to somebody else, or the disk does not take it.
    pub(super) fn write(&self, text: &str) -> anyhow::Result<()> {
        let owned = self.owned()?;
        let new = NewFile::begin(&self.path, true)?;
        let to = || format!("cannot write {}", self.path.display());
        new.file().write_all(text.as_bytes()).with_context(to)?;
        if let Some(Owned { user, group, mode }) = owned {
            let made = new.file().metadata().with_context(to)?;
            if (made.uid(), made.gid()) != (user, group) {
                fchown(new.file(), Some(user), Some(group)).with_context(to)?;
            }
            // After the owner: a change of that may take bits of the mode away.
            let mode = std::fs::Permissions::from_mode(mode);
            new.file().set_permissions(mode).with_context(to)?;
        }
        new.publish()
    }

    /// As the old one was, less what everybody may. A new one that root makes is for whom the folder
    /// is for, and for the group that may read the config file: else `sudo meshbox account add` would
    /// lock the hub out. `None`: ours alone.
    fn owned(&self) -> anyhow::Result<Option<Owned>> {
        let root = rustix::process::geteuid().is_root();
        match std::fs::metadata(&self.path) {
            Ok(old) => {
                if !root && old.uid() != rustix::process::geteuid().as_raw() {
                    let (file, user) = (self.path.display(), old.uid());
                    bail!("{file} belongs to user {user}; run this as that user, or with sudo");
                }
                let mode = 0o600 | (old.mode() & 0o040);
                Ok(Some(Owned { user: old.uid(), group: old.gid(), mode }))
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot look at {}", self.path.display()))
            }
            Err(_) if !root => Ok(None),
            Err(_) => {
                let folder = std::fs::metadata(folder(&self.path))
                    .with_context(|| format!("cannot look at {}", folder(&self.path).display()))?;
                let config = self.config.as_deref().and_then(|it| std::fs::metadata(it).ok());
                Ok(Some(for_the_hub(&folder, config.as_ref())))
            }
        }
    }
}

fn for_the_hub(folder: &std::fs::Metadata, config: Option<&std::fs::Metadata>) -> Owned {
    let user = folder.uid();
    match config.filter(|it| it.mode() & 0o040 != 0 && it.gid() != 0) {
        Some(config) => Owned { user, group: config.gid(), mode: 0o640 },
        None => Owned { user, group: folder.gid(), mode: 0o600 },
    }
}

/// The text of the file; empty where there is none.
///
/// # Errors
/// It cannot be read, or is no text.
pub(super) fn text(path: &Path) -> anyhow::Result<String> {
    match std::fs::read(path) {
        Ok(bytes) => String::from_utf8(bytes)
            .map_err(|_| anyhow::anyhow!("{}: not UTF-8; save it as such", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            bail!("{}: may not be read; run this as the hub's user, or with sudo", path.display())
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
