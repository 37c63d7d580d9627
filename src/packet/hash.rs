//! Content hashes: what makes two receptions one transmission.

/// How packets are hashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Formula {
    /// The firmware's (`Packet::calculatePacketHash`), also CoreScope's of July 2026.
    #[default]
    Firmware,
    /// CoreScope's of April 2026: the whole header byte, no special case for TRACE.
    CoreScope202604,
}
