//! The door over real sockets and with clients from outside.
//!
//! The broker runs alone: `rig` stands in for the pipeline, and completes receipts as each test
//! wants.

mod accounts;
mod hostile;
mod login;
mod outside;
mod publish;
mod rig;
mod stop;
mod subscribe;
