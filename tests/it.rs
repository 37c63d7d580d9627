//! Every integration test, in one binary: one link step.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at the first surprise")]

mod accounts;
mod backup;
mod bridge;
mod config;
mod corpus;
mod crash;
mod door;
mod export;
mod filters;
mod fixtures;
mod fuzz_corpus;
mod hub;
mod inside;
mod kept;
mod layers;
mod nodekeys;
mod past;
mod replay;
mod simulate;
mod sources;
mod stats_file;
mod store;
mod support;
mod survival;
mod upgrade;
mod uplinks;
