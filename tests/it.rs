//! Every integration test, in one binary: one link step.

mod bridge;
mod config;
mod corpus;
mod door;
mod hub;
mod layers;
mod replay;
mod store;
mod support;
