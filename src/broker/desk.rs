//! What people may ask a broker, and tell it: who is there, what waits for whom, whose key is whose.
//!
//! [`Desk`] is a running broker's. Of one that does not run, [`claims_in`] and [`release_in`] read and
//! change the state file by the same rules; whoever calls them sees to it that no hub starts meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::board::{Board, ClaimRow, Clients, ObserverRow, Released};
use super::identity::ObserverKey;
use super::presence::Observer;
use super::register::{Claims, Register};
use super::state::{ClosedFile, State};
use super::{keeper, remembered};
use crate::clock::Clock;
use crate::config::Accounts;
use crate::config::accounts::key_bytes;
use crate::counters::QueueState;

/// The desk of a running broker; clones share it.
#[derive(Clone, Default)]
pub struct Desk {
    board: Board,
    /// None without a listener.
    inside: Option<(State, Arc<Register>)>,
}

/// Why claims cannot be told or released.
#[derive(Debug, thiserror::Error)]
pub enum ClaimsError {
    /// Nobody can claim anything.
    #[error("the hub runs without its broker (broker.enabled), so nobody logs in for a key")]
    NoBroker,
    /// It is not 64 hex digits.
    #[error("{0:?} is no public key; write its 64 hex digits")]
    NoKey(String),
    /// The state file is damaged, newer, or somebody else's.
    #[error("{} cannot be used: {reason}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
}

impl Desk {
    pub(super) fn new(board: Board, state: State, register: Arc<Register>) -> Self {
        Self { board, inside: Some((state, register)) }
    }

    /// Who is connected, what was refused, and who was spoken for.
    pub fn clients(&self, now_ms: i64) -> Clients {
        let Some((state, _)) = &self.inside else {
            return self.board.clients(now_ms, &BTreeMap::new());
        };
        let mut clients = self.board.clients(now_ms, &state.keepsakes().outboxes.states());
        introduce(&mut clients.observers, state.keepsakes().presence.observers());
        clients
    }

    /// What waits for subscribers at QoS 1, one entry for each.
    pub fn queues(&self) -> Vec<QueueState> {
        let states = self.inside.as_ref().map(|(state, _)| state.keepsakes().outboxes.states());
        states.unwrap_or_default().into_values().collect()
    }

    /// Every key that somebody has logged in for.
    ///
    /// # Errors
    /// There is no broker.
    pub fn claims(&self) -> Result<Vec<ClaimRow>, ClaimsError> {
        let (_, register) = self.inside.as_ref().ok_or(ClaimsError::NoBroker)?;
        Ok(register.claims().rows())
    }

    /// Takes a key back: from now on anybody may speak for it again, until somebody logs in for it.
    /// Returns when that is in the state file, as far as that can be written.
    ///
    /// # Errors
    /// There is no broker, or it is no key.
    pub async fn release(&self, key: &str) -> Result<Released, ClaimsError> {
        let (state, register) = self.inside.as_ref().ok_or(ClaimsError::NoBroker)?;
        let key = observer(key)?;
        let released = register.release(key);
        for row in &released.released {
            tracing::info!("{key} is released: {} had claimed it", row.holder);
        }
        state.written().await;
        Ok(released)
    }
}

/// Every key that somebody has logged in for, by the state file and the accounts of today.
///
/// # Errors
/// [`ClaimsError::File`].
pub fn claims_in(file: &Path, accounts: &Accounts) -> Result<Vec<ClaimRow>, ClaimsError> {
    let opened = ClosedFile::open(file).map_err(|error| unusable(file, &error))?;
    let Some(opened) = opened else { return Ok(Vec::new()) };
    Ok(claims_of(&opened, accounts).rows())
}

/// Takes a key back in the state file.
///
/// # Errors
/// [`ClaimsError`]; nothing has changed then.
pub fn release_in(file: &Path, key: &str, accounts: &Accounts) -> Result<Released, ClaimsError> {
    let key = observer(key)?;
    let opened = ClosedFile::open(file).map_err(|error| unusable(file, &error))?;
    let Some(mut opened) = opened else { return Ok(Released::default()) };
    let released = claims_of(&opened, accounts).release(key, accounts);
    opened.commit().map_err(|error| unusable(file, &error))?;
    Ok(released)
}

/// As the hub would have them at its next start.
fn claims_of(file: &ClosedFile, accounts: &Accounts) -> Claims {
    let state = file.state();
    Claims::new(remembered(state), accounts, Clock::system(), keeper(state.clone()))
}

fn unusable(file: &Path, error: &dyn std::fmt::Display) -> ClaimsError {
    ClaimsError::File { file: file.to_owned(), reason: error.to_string() }
}

fn observer(key: &str) -> Result<ObserverKey, ClaimsError> {
    key_bytes(key.trim()).map(ObserverKey).ok_or_else(|| ClaimsError::NoKey(key.to_owned()))
}

/// What presence knows of observers beside the board: it has a place for each of their regions.
fn introduce(rows: &mut [ObserverRow], mut there: Vec<Observer>) {
    there.sort_by_key(|it| it.last_ms);
    let mut known: HashMap<&str, (bool, Option<&str>)> = HashMap::new();
    for Observer { key, online, client, .. } in &there {
        let (anywhere, last) = known.entry(key).or_default();
        *anywhere |= online;
        *last = client.as_deref();
    }
    for row in rows {
        let Some((online, client)) = row.key.as_deref().and_then(|key| known.get(key)) else {
            continue;
        };
        row.online = Some(*online);
        // Its own status knows more of it than whoever brings it.
        row.client = client.map(str::to_owned).or(row.client.take());
    }
}
