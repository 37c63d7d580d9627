//! How long it takes to make a record of a message, and each step of that: times and allocations.
//!
//! `cargo bench`, or one group of them: `cargo bench packet`.

#![allow(clippy::unwrap_used, reason = "a benchmark ends at the first surprise")]

mod crypto;
mod fixture;
mod message;
mod packet;

use std::time::Duration;

use divan::{AllocProfiler, Divan};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

/// How long each of them runs at least.
const EACH: Duration = Duration::from_millis(100);

fn main() {
    Divan::default().min_time(EACH).config_with_args().main();
}
