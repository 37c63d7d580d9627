//! A connection's part in the budget of all large packets.

use tokio::sync::OwnedSemaphorePermit;

use super::super::events::End;
use crate::broker::house::House;

/// The room of the large packet that arrives, until it is in the queue.
#[derive(Debug, Default)]
pub(super) struct Large(Option<OwnedSemaphorePermit>);

impl Large {
    /// Takes room for the packet of so many bytes that has begun to arrive, or gives it back after
    /// one; not while a packet waits for the queue.
    ///
    /// # Errors
    /// There is no room: the connection ends, and what was QoS 1 or 2 comes again.
    pub(super) fn account(&mut self, wanted: usize, house: &House) -> Result<(), End> {
        if self.0.as_ref().is_none_or(|room| room.num_permits() != wanted) {
            self.0 = None;
            let room = house.room_for_packet(wanted);
            self.0 = room.map_err(|_| End::Closed("too_many_large_packets"))?;
        }
        Ok(())
    }
}
