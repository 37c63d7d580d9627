//! Opening the spool's file: a damaged one is moved out of the way.

use super::Plan;
use super::file::{File, FileError, Stored};
use crate::clock::Trust;

use std::path::{Path, PathBuf};

/// What waits for an uplink that is configured no more is kept so long: it may come back.
const ORPHAN_AGE_MS: i64 = 7 * 86_400_000;

/// A lane's row, what it has, and the region of its observer.
pub(super) type Kept = (i64, Stored, Option<String>);

/// Opens the file and reads what each lane has.
pub(super) fn open(plan: &Plan, trust: &Trust) -> Result<(File, Vec<Kept>), FileError> {
    let read = |path: &Path| {
        let file = File::open(path)?;
        let kept: rusqlite::Result<Vec<_>> =
            plan.lanes.iter().map(|(name, _)| file.lane(name)).collect();
        let unusable = |source| FileError::Unusable { path: path.to_owned(), source };
        Ok((file, kept.map_err(unusable)?))
    };
    let opened = match read(&plan.path) {
        Err(FileError::Unusable { source, .. }) if is_damaged(&source) => {
            let aside = beside(&plan.path, trust.said_ms());
            tracing::error!(
                "the spool {} is damaged ({source}); it is moved to {}, and what waited in it is \
                 not passed on",
                plan.path.display(),
                aside.display()
            );
            let moved = std::fs::rename(&plan.path, &aside);
            for ending in ["-wal", "-shm"] {
                let mut name = plan.path.clone().into_os_string();
                name.push(ending);
                // Without its database it means nothing, and would spoil the new one.
                let _ = std::fs::remove_file(name);
            }
            let unmoved = |reason| FileError::Unmoved { path: plan.path.clone(), reason };
            moved.map_err(unmoved)?;
            read(&plan.path)
        }
        other => other,
    };
    let (file, kept) = opened?;
    let ids: Vec<i64> = kept.iter().map(|(id, ..)| *id).collect();
    let Ok(now_ms) = trust.now_ms() else { return Ok((file, kept)) };
    match file.forget_orphans(&ids, now_ms.saturating_sub(ORPHAN_AGE_MS)) {
        Ok(0) => {}
        Ok(gone) => tracing::info!("forgot {gone} messages of uplinks that are configured no more"),
        Err(error) => tracing::warn!("old messages of former uplinks stay in the spool: {error}"),
    }
    Ok((file, kept))
}

fn is_damaged(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

fn beside(path: &Path, now_ms: i64) -> PathBuf {
    let mut name = path.to_path_buf().into_os_string();
    name.push(format!(".damaged-{now_ms}"));
    name.into()
}
