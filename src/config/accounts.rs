//! Accounts of our own broker: `accounts.toml` beside the config.

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Publishes for one observer, the gateway that it is.
    Publisher,
    /// Subscribes to everything but `…/internal`.
    Reader,
    /// Subscribes as a reader does, without what tells where a receiver stands.
    Limited,
    /// Publishes and subscribes everywhere.
    Admin,
}
