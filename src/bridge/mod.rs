//! Other brokers: `source` takes their traffic in, `uplink` passes ours on.
use crate::{clock::Clock, config, counters::Counters, message::Inlet};
use std::{path::PathBuf, sync::Arc, time::Instant};
use tokio_util::sync::CancellationToken;
/// x
pub struct Parts {
    /// x
    pub inlet: Inlet,
    /// x
    pub clock: Clock,
    /// x
    pub counters: Arc<Counters>,
    /// x
    pub data_dir: PathBuf,
    /// x
    pub shutdown: CancellationToken,
}
/// x
pub struct Bridge {}
/// x
pub fn start(_sources: &[config::Source], _parts: Parts) -> Bridge {
    Bridge {}
}
impl Bridge {
    /// x
    pub async fn quiesce(&self) {}
    /// x
    pub async fn stop(self, _deadline: Instant) {}
}
