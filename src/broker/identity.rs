//! Who a client is to us, and what follows from it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::access::Nearness;
use crate::config::Role;
use crate::message::{Origin, OriginKind};

/// The public key of an observer: what a gateway speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ObserverKey(pub(super) [u8; 32]);

/// As in topics: 64 upper-case hexadecimal digits.
impl fmt::Display for ObserverKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode_upper(self.0))
    }
}

/// Who a client is to us: what its session, its origin and its limits are known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Identity {
    /// No login; known by address alone, IPv4-mapped ones unwrapped.
    Anonymous(IpAddr),
    /// A name of `accounts.toml`.
    Account(Arc<str>),
    /// The holder of a private key, shown by a `v1_` token.
    Observer(ObserverKey),
}

/// As the log and `meshbox_origins` name it: the address, the account's name, the key.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous(address) => write!(f, "{address}"),
            Self::Account(name) => f.write_str(name),
            Self::Observer(key) => write!(f, "{key}"),
        }
    }
}

/// Who a message is by, as `no local` wants it: the same client, whichever connection it has. A number
/// that fits beside each copy, the same in every run of the program; 0: this program itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Author(pub(super) u64);

impl Author {
    /// The client that is known by this identity and calls itself so.
    pub(super) fn of(identity: &Identity, client_id: &str) -> Self {
        let mut hash = Sha256::new();
        let kind = match identity {
            Identity::Anonymous(_) => [0],
            Identity::Account(_) => [1],
            Identity::Observer(_) => [2],
        };
        hash.update(kind);
        hash.update(identity.to_string());
        // In no name, so that none runs into the other.
        hash.update([0xFF]);
        hash.update(client_id);
        let hash = hash.finalize();
        let first = hash.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
        Self(first.max(1))
    }
}

/// A client that has been let in, as [`super::access`] judges it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Who {
    /// Who it is.
    pub(super) identity: Identity,
    /// What it may do; `None` without a login.
    pub(super) role: Option<Role>,
    /// The one observer that it speaks for; `None` for one that is not bound to a key.
    pub(super) key: Option<ObserverKey>,
    /// How far away it is.
    pub(super) from: Nearness,
}

impl Who {
    /// A client without a login.
    pub(super) fn anonymous(address: IpAddr, from: Nearness) -> Self {
        let identity = Identity::Anonymous(address.to_canonical());
        Self { identity, role: None, key: None, from }
    }

    /// Whether what it publishes is a gateway's own word; an admin speaks about gateways.
    pub(super) fn is_gateway(&self) -> bool {
        matches!(self.role, None | Some(Role::Publisher))
    }

    /// As the store keeps it.
    pub(super) fn origin(&self) -> Origin {
        let kind = match self.identity {
            Identity::Anonymous(_) => OriginKind::Anonymous,
            Identity::Account(_) | Identity::Observer(_) => OriginKind::Account,
        };
        Origin { kind, name: self.identity.to_string().into() }
    }
}
