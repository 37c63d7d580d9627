//! MeshCore packets: bytes to values and back. Pure: no I/O, no clock, no log, no panic.

pub mod hash;
pub mod payload;
