//! From a message to the rows to be: envelope, packet and opened channel come together here.
//!
//! A [`Record`] owns its [`Message`](crate::message::Message), and with it the receipt and the place
//! in the queue, so both end when the record does: after the commit.
//!
//! | to know | read |
//! |---|---|
//! | which message becomes what | `recorder.rs` |
//! | what a row holds | [`rows`](Record) |
//! | CoreScope's JSON of a payload | [`decoded`](Decoded) |
//! | where home is, for adverts from elsewhere | [`crate::area`] |
//! | whose messages are taken | [`Observers`] |
//! | how packets of our own nodes are opened | [`Opener`] |
//! | all that can be told about one packet, without a message | [`Reading`] |
//! | why a message becomes no record | `refusal.rs`, [`crate::packet::Error`], [`crate::envelope::Unread`] |

mod advert;
mod companion;
mod decoded;
mod inside;
mod observers;
mod opener;
mod reading;
mod recorder;
mod refusal;
mod rows;
mod rules;
mod unsealed;
mod verdicts;

pub use decoded::Decoded;
pub use inside::Inside;
pub use observers::Observers;
pub use opener::Opener;
pub use reading::{Reading, signature_is_good};
pub use recorder::{Recorder, Unrecorded};
pub use rows::{Activity, Body, DroppedRow, NodeRow, ObserverRow, PacketRow, Record, StatusRow};
pub use rules::{Rules, SourceRules};
pub use unsealed::{Direction, Unsealed};
