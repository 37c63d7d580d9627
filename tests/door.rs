//! The door over real sockets and with clients from outside.
//!
//! The broker runs alone: `rig` stands in for the pipeline, and completes receipts as each test
//! wants.

mod access;
pub(crate) mod accounts;
mod client5;
mod clients;
mod compatibility;
mod conformance;
mod hostile;
mod insiders;
mod login;
mod outside;
mod proxied;
mod publish;
mod rig;
mod rows;
mod silent;
mod stop;
mod storm;
mod subscribe;
mod table;
mod tls;
mod told;
mod version5;
mod websocket;
mod whole;
