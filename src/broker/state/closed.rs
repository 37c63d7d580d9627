//! The file of a hub that does not run: its claims, for a person who changes them.

use std::path::Path;
use std::sync::Arc;

use super::file::{Error, File};
use super::{Keepsakes, State, Writer};
use crate::broker::outbox::Outboxes;
use crate::clock::Clock;
use crate::config::Sessions;
use crate::counters::Counters;

/// The file, with its claims in memory and nothing else.
pub(in crate::broker) struct ClosedFile {
    file: File,
    memory: Writer,
}

impl ClosedFile {
    /// Opens the file; `None`: there is none. An older layout is brought up to date.
    ///
    /// # Errors
    /// It is damaged, newer, or cannot be read; it is left as it is.
    pub(in crate::broker) fn open(path: &Path) -> Result<Option<Self>, Error> {
        if !path.try_exists()? {
            return Ok(None);
        }
        let (file, loaded) = File::open(path)?;
        let counters = Arc::new(Counters::default());
        let outboxes = Outboxes::new(Sessions::default(), Arc::clone(&counters));
        let keepsakes = Keepsakes::new(outboxes, Arc::clone(&counters));
        loaded.restore_claims(&keepsakes);
        let told = (counters, Clock::system());
        Ok(Some(Self { file, memory: State::start(None, keepsakes, told) }))
    }

    /// What the claims are changed by.
    pub(in crate::broker) fn state(&self) -> &State {
        &self.memory.state
    }

    /// Writes what has changed.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub(in crate::broker) fn commit(&mut self) -> Result<(), Error> {
        let changes = self.state().keepsakes().changes(false, 0);
        if changes.is_empty() { Ok(()) } else { self.file.commit(&changes, false) }
    }
}
