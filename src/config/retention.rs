//! How long things are kept, and how the file gives back its space.

use std::time::Duration;

use super::error::Error;
use super::judge::Judge;
use super::tree::{At, Dialect};

/// How long things are kept (`retention`, `neighborEdgesMaxAgeDays`), and the upkeep of the file
/// (`db`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Nodes that were not heard for so long move to `inactive_nodes`.
    pub nodes: Duration,
    /// Observers that were silent for so long are marked inactive and lose their metrics; `None`:
    /// never.
    pub observers: Option<Duration>,
    /// Observers' metrics and dropped packets.
    pub metrics: Duration,
    /// Packets with their observations, since they were last heard; `None`: for ever.
    pub packets: Option<Duration>,
    /// Coverage reports; `None`: for ever.
    pub client_receptions: Option<Duration>,
    /// Neighbours that were not seen together again.
    pub neighbor_edges: Duration,
    /// Bytes of the file in use beyond which the oldest packets go; `None`: no limit.
    pub max_db_bytes: Option<u64>,
    /// Pages given back to the file system after each round that deleted something.
    pub vacuum_pages: u32,
    /// Whether the file is rewritten at the start where that frees space.
    pub vacuum_on_startup: bool,
}

/// CoreScope's defaults.
impl Default for Retention {
    fn default() -> Self {
        Self {
            nodes: days(7),
            observers: Some(days(14)),
            metrics: days(30),
            packets: None,
            client_receptions: None,
            neighbor_edges: days(5),
            max_db_bytes: None,
            vacuum_pages: 1_024,
            vacuum_on_startup: false,
        }
    }
}

impl Retention {
    /// Nothing goes by its age or for want of room.
    pub fn for_ever() -> Self {
        Self {
            nodes: days(MOST_DAYS),
            observers: None,
            metrics: days(MOST_DAYS),
            neighbor_edges: days(MOST_DAYS),
            ..Self::default()
        }
    }
}

/// Days; a hundred years. Beyond it nothing ages anyway.
const MOST_DAYS: u64 = 36_500;

/// 16 TiB; SQLite's own limit is higher.
const MOST_MB: i64 = 16 * 1024 * 1024;

const MIB: u64 = 1024 * 1024;

/// 4 GiB of pages of 4 KiB.
const MOST_PAGES: i64 = 1024 * 1024;

/// CoreScope's rules: whatever is not positive means the default, or never where that is the
/// default; of `observerDays` a negative number means never.
pub(super) fn judge(judge: &Judge<'_>) -> Result<Retention, Error> {
    let file = &judge.written.file;
    let default = Retention::default();
    let written = file.retention.as_ref();
    let positive = |days_written: Option<i64>| {
        days_written.filter(|days| *days > 0).map(|many| days(many.unsigned_abs()))
    };
    let observer_days = written.and_then(|it| it.observer_days);
    let observers = match observer_days {
        Some(never) if never < 0 => None,
        written => positive(written).or(default.observers),
    };
    let node_days = positive(written.and_then(|it| it.node_days));
    let metrics_days = positive(written.and_then(|it| it.metrics_days));
    Ok(Retention {
        nodes: node_days.unwrap_or(default.nodes),
        observers,
        metrics: metrics_days.unwrap_or(default.metrics),
        packets: positive(written.and_then(|it| it.packet_days)),
        client_receptions: positive(written.and_then(|it| it.client_rx_days)),
        neighbor_edges: positive(file.neighbor_edges_max_age_days)
            .unwrap_or(default.neighbor_edges),
        max_db_bytes: max_db_bytes(judge)?,
        vacuum_pages: vacuum_pages(judge, default.vacuum_pages)?,
        vacuum_on_startup: file.db.as_ref().and_then(|it| it.vacuum_on_startup).unwrap_or(false),
    })
}

fn max_db_bytes(judge: &Judge<'_>) -> Result<Option<u64>, Error> {
    let written = judge.written.file.retention.as_ref().and_then(|it| it.max_db_mb);
    match written.unwrap_or_default() {
        0 => Ok(None),
        mib if (1..=MOST_MB).contains(&mib) => Ok(Some(mib.unsigned_abs().saturating_mul(MIB))),
        wrong => {
            let at = At::key("retention").then("maxDbMB");
            Err(judge.error(&at, format!("{wrong} is no size; use 1 to {MOST_MB}, or 0 for none")))
        }
    }
}

fn vacuum_pages(judge: &Judge<'_>, default: u32) -> Result<u32, Error> {
    let written = judge.written.file.db.as_ref().and_then(|it| it.incremental_vacuum_pages);
    let corescope = judge.written.dialect == Dialect::CoreScope;
    let pages = match written {
        None => return Ok(default),
        // CoreScope takes zero and less for its default.
        Some(pages) if pages <= 0 && corescope => return Ok(default),
        Some(pages) => pages,
    };
    match u32::try_from(pages) {
        Ok(whole) if (1..=MOST_PAGES).contains(&pages) => Ok(whole),
        _ => {
            let at = At::key("db").then("incrementalVacuumPages");
            Err(judge.error(&at, format!("{pages} is out of range; use 1 to {MOST_PAGES}")))
        }
    }
}

fn days(days: u64) -> Duration {
    Duration::from_secs(days.min(MOST_DAYS) * 24 * 60 * 60)
}
