//! Which keys belong to somebody, and which account speaks for which key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::broker::identity::{Identity, ObserverKey};

/// A key that somebody has logged in for: nobody else speaks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::broker) struct Claim {
    /// The key.
    pub(in crate::broker) key: ObserverKey,
    /// Who.
    pub(in crate::broker) identity: Identity,
    /// Our clock when it was made, in milliseconds since the Unix epoch.
    pub(in crate::broker) at_ms: i64,
}

/// The key that an account has learnt at its first use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::broker) struct Binding {
    /// The account's name.
    pub(in crate::broker) account: Arc<str>,
    /// Its key.
    pub(in crate::broker) key: ObserverKey,
    /// Our clock when it was learnt, in milliseconds since the Unix epoch.
    pub(in crate::broker) at_ms: i64,
}

/// All of them, and which of them the file does not know.
#[derive(Debug, Default)]
pub(in crate::broker) struct Claims {
    claims: BTreeMap<ObserverKey, Claim>,
    bindings: BTreeMap<Arc<str>, Binding>,
    changed_claims: BTreeSet<ObserverKey>,
    changed_bindings: BTreeSet<Arc<str>>,
}

/// Most of either: a token is needed for each, and each costs a hundred bytes.
pub(super) const MAX_CLAIMS: usize = 10_000;

/// There are too many already.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_CLAIMS} keys are claimed already")]
pub(in crate::broker) struct TooMany;

/// What the file does not know yet; `None`: it is gone.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Changes {
    pub(super) claims: Vec<(ObserverKey, Option<Claim>)>,
    pub(super) bindings: Vec<(Arc<str>, Option<Binding>)>,
}

impl Claims {
    /// Every claim.
    pub(super) fn claims(&self) -> Vec<Claim> {
        self.claims.values().cloned().collect()
    }

    /// Every binding.
    pub(super) fn bindings(&self) -> Vec<Binding> {
        self.bindings.values().cloned().collect()
    }

    /// Notes a claim in place of an earlier one to the same key.
    pub(super) fn claim(&mut self, claim: Claim) -> Result<(), TooMany> {
        if self.claims.len() >= MAX_CLAIMS && !self.claims.contains_key(&claim.key) {
            return Err(TooMany);
        }
        self.changed_claims.insert(claim.key);
        self.claims.insert(claim.key, claim);
        Ok(())
    }

    /// Notes a binding in place of the account's earlier one.
    pub(super) fn bind(&mut self, binding: Binding) -> Result<(), TooMany> {
        if self.bindings.len() >= MAX_CLAIMS && !self.bindings.contains_key(&binding.account) {
            return Err(TooMany);
        }
        self.changed_bindings.insert(Arc::clone(&binding.account));
        self.bindings.insert(Arc::clone(&binding.account), binding);
        Ok(())
    }

    /// Forgets an account's binding and claims, when the account is gone.
    pub(super) fn forget(&mut self, account: &str) {
        let its = |claim: &Claim| matches!(&claim.identity, Identity::Account(name) if **name == *account);
        let keys: Vec<_> = self.claims.values().filter(|c| its(c)).map(|c| c.key).collect();
        for key in keys {
            self.claims.remove(&key);
            self.changed_claims.insert(key);
        }
        if let Some(binding) = self.bindings.remove(account) {
            self.changed_bindings.insert(binding.account);
        }
    }

    /// Puts back what the file had.
    pub(super) fn restore(&mut self, claims: Vec<Claim>, bindings: Vec<Binding>) {
        self.claims.extend(claims.into_iter().map(|c| (c.key, c)));
        self.bindings.extend(bindings.into_iter().map(|b| (Arc::clone(&b.account), b)));
    }

    pub(super) fn changes(&mut self) -> Changes {
        let claims = std::mem::take(&mut self.changed_claims).into_iter();
        let bindings = std::mem::take(&mut self.changed_bindings).into_iter();
        Changes {
            claims: claims.map(|key| (key, self.claims.get(&key).cloned())).collect(),
            bindings: bindings
                .map(|name| (Arc::clone(&name), self.bindings.get(&name).cloned()))
                .collect(),
        }
    }

    pub(super) fn everything(&mut self) -> Changes {
        self.changed_claims.clear();
        self.changed_bindings.clear();
        Changes {
            claims: self.claims.values().map(|c| (c.key, Some(c.clone()))).collect(),
            bindings: self
                .bindings
                .values()
                .map(|b| (Arc::clone(&b.account), Some(b.clone())))
                .collect(),
        }
    }
}
