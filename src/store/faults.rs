//! Faults that only a test can bring about.

use crate::record::{Body, Record};

/// A record with this hash makes the writer panic.
const PANIC: &str = "panic";

pub(super) fn perhaps_panic(record: &Record) {
    if let Body::Packet(row) = &record.body {
        assert_ne!(row.hash, PANIC, "a test asked for it");
    }
}
