//! Any bytes on a connection to the broker.
#![no_main]

#[path = "../invariants/mod.rs"]
#[allow(dead_code, reason = "each target asks for one of them")]
mod invariants;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| invariants::door::check(bytes));
