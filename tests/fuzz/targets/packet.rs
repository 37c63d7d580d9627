//! Any bytes as a packet.
#![no_main]

#[path = "../invariants/mod.rs"]
#[allow(dead_code, reason = "each target asks for one of them")]
mod invariants;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| invariants::packet::check(bytes));
