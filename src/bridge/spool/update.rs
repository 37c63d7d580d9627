//! One transaction for all lanes.

use super::Bounds;
use super::file::{Change, File, Stored};
use super::queue::{Changed, Work, cost};

/// A lane as the file knows it.
pub(super) struct Known {
    pub(super) id: i64,
    pub(super) bounds: Bounds,
    pub(super) stored: Stored,
}

/// Does to the file what is to be done, and what age and bounds want; `now_ms`: ages are looked at.
/// `sync`: the disk has it for good when it is committed.
pub(super) fn update(
    file: &mut File,
    works: &[Work],
    lanes: &[Known],
    now_ms: Option<i64>,
    sync: bool,
) -> rusqlite::Result<Vec<Changed>> {
    let change = file.change(sync)?;
    let mut changes = Vec::new();
    for (work, lane) in works.iter().zip(lanes) {
        changes.push(update_lane(&change, work, lane, now_ms)?);
    }
    if sync {
        change.touch()?;
    }
    change.commit()?;
    Ok(changes)
}

fn update_lane(
    change: &Change<'_>,
    work: &Work,
    lane: &Known,
    now_ms: Option<i64>,
) -> rusqlite::Result<Changed> {
    let mut stored = lane.stored;
    for &number in &work.remove {
        if let Some(left) = change.remove(lane.id, number)? {
            stored.leave(left);
        }
    }
    for entry in &work.insert {
        change.insert(lane.id, entry)?;
        stored.messages += 1;
        stored.bytes += cost(entry);
        stored.last = entry.number;
    }
    if let Some(region) = &work.region {
        change.remember(lane.id, region)?;
    }
    let mut expired = 0;
    let age_ms = i64::try_from(lane.bounds.age.as_millis()).unwrap_or(i64::MAX);
    let before = now_ms.map(|now_ms| now_ms.saturating_sub(age_ms));
    loop {
        let over = stored.bytes > lane.bounds.bytes;
        let left = match before {
            _ if over => change.remove_oldest(lane.id, None)?,
            Some(before) => change.remove_oldest(lane.id, Some(before))?,
            None => None,
        };
        let Some(left) = left else { break };
        stored.leave(left);
        expired += 1;
    }
    Ok(Changed { stored, expired })
}
