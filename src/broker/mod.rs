//! Our own MQTT broker: listeners, the door (one connection), logins, permissions, the router.
use crate::{
    clock::Clock,
    config,
    counters::{Counters, Listening},
    message::Inlet,
};
use std::{sync::Arc, time::Instant};
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
    pub shutdown: CancellationToken,
}
/// x
pub struct Broker {}
/// x
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct BindError;
/// x
pub async fn start(_config: &config::Broker, _parts: Parts) -> Result<Broker, BindError> {
    Ok(Broker {})
}
impl Broker {
    /// x
    pub fn listening(&self) -> &[Listening] {
        &[]
    }
    /// x
    pub async fn quiesce(&self) {}
    /// x
    pub async fn stop(self, _deadline: Instant) {}
}
