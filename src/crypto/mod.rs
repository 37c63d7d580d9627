//! Keys, MACs, signatures: channel messages, adverts, region scopes. Pure: no I/O, no clock, no log.

pub mod advert;
pub mod channel;
pub mod scope;
