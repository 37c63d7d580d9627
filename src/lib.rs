//! meshbox: a MeshCore hub in one program.
//!
//! Gateways ("observers") hear LoRa packets and publish them over MQTT; meshbox takes them in,
//! decodes them and keeps them in SQLite, in the schema that CoreScope reads.
//!
//! ```text
//! broker::door ──┐                                             ┌─> store::writer ── commit ──> Receipt
//!                ├─> Message ─> Envelope ─> Packet ─> Record ──┤
//! bridge::source ┘   who, when  topic+JSON  bytes     rows     └─> after the commit: live feed
//!        broker::door ── a copy of each allowed publish ──> broker::router ──> local subscribers
//! ```
//!
//! A message goes one way. The only thing that comes back is its [`message::Receipt`], after the
//! commit: acknowledged means stored.
//!
//! # Where to change what
//!
//! | to add or change | go to |
//! |---|---|
//! | a payload type of MeshCore | one file in [`packet::payload`]; its JSON in [`record`]`::decoded` |
//! | a key, a MAC, a signature, a scope code | [`crypto`] |
//! | a JSON spelling or a topic form of some publisher | [`envelope`] |
//! | what a message means for the tables | [`record`] |
//! | what a part of the world is (`geo_filter`) | [`area`] |
//! | a column, a table, an index | [`store`]`::schema`, and the statement in [`store`]`::statements` that fills it |
//! | a listener, a login, a permission of the broker | [`broker`]`::listener`, `::login`, `::access` |
//! | what an older database lacks | [`store`]`::upgrade` if it takes no time, else a step of [`store`]`::migrate` |
//! | how another broker is dialled and subscribed to | [`bridge`] |
//! | a key of the config file | [`config`]`::file`, its judgement beside it, and its line in `broker.toml` |
//! | a command | one file in [`cli`] |
//! | what a running hub can be asked, or told to do | [`control`], by what [`app`] hands it |
//! | a number that people or programs watch | [`counters`] |
//!
//! # Who may import whom
//!
//! Lower rooms never import upper ones; `tests/layers.rs` holds the table and fails on an arrow that
//! it does not have. [`packet`] and [`crypto`] are pure: no I/O, no clock, no log. [`broker`] and
//! [`bridge`] never meet [`packet`], [`store`] or each other. [`app`] alone knows every room.

pub mod app;
pub mod area;
pub mod bridge;
pub mod broker;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod counters;
pub mod crypto;
pub mod envelope;
pub mod ingest;
pub mod message;
pub mod packet;
pub mod record;
pub mod store;
pub mod supervise;
