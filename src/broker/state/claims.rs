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
    /// By key: everyone who has logged in for it, the first one first.
    claims: BTreeMap<ObserverKey, Vec<Claim>>,
    bindings: BTreeMap<Arc<str>, Binding>,
    changed_claims: BTreeSet<ObserverKey>,
    changed_bindings: BTreeSet<Arc<str>>,
}

/// Keys that may be claimed by token, and bindings: each costs a hundred bytes, and anybody who may log
/// in can make keys.
pub(super) const MAX_CLAIMS: usize = 10_000;

/// There are too many already.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_CLAIMS} keys are claimed already")]
pub(in crate::broker) struct TooMany;

/// What the file does not know yet.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Changes {
    /// Everyone who holds a key now; nobody: it is free again.
    pub(super) claims: Vec<(ObserverKey, Vec<Claim>)>,
    /// `None`: it is gone.
    pub(super) bindings: Vec<(Arc<str>, Option<Binding>)>,
}

impl Claims {
    /// Every claim.
    pub(super) fn claims(&self) -> Vec<Claim> {
        self.claims.values().flatten().cloned().collect()
    }

    /// Every binding.
    pub(super) fn bindings(&self) -> Vec<Binding> {
        self.bindings.values().cloned().collect()
    }

    /// Notes a claim in place of an earlier one of the same holder.
    pub(super) fn claim(&mut self, claim: Claim) -> Result<(), TooMany> {
        // Accounts are as many as their file has.
        let by_token = matches!(claim.identity, Identity::Observer(_));
        let is_new = !self.claims.contains_key(&claim.key);
        if by_token && is_new && self.claims.len() >= MAX_CLAIMS {
            return Err(TooMany);
        }
        self.changed_claims.insert(claim.key);
        self.put(claim);
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
        self.let_go(its);
        if let Some(binding) = self.bindings.remove(account) {
            self.changed_bindings.insert(binding.account);
        }
    }

    /// Forgets that somebody holds a key.
    pub(super) fn release(&mut self, key: ObserverKey, holder: &Identity) {
        self.let_go(|claim| claim.key == key && claim.identity == *holder);
    }

    fn let_go(&mut self, goes: impl Fn(&Claim) -> bool) {
        let changed = &mut self.changed_claims;
        self.claims.retain(|key, holders| {
            let before = holders.len();
            holders.retain(|claim| !goes(claim));
            if holders.len() < before {
                changed.insert(*key);
            }
            !holders.is_empty()
        });
    }

    fn put(&mut self, claim: Claim) {
        let holders = self.claims.entry(claim.key).or_default();
        match holders.iter_mut().find(|it| it.identity == claim.identity) {
            Some(held) => *held = claim,
            None => holders.push(claim),
        }
    }

    /// Puts back what the file had.
    pub(super) fn restore(&mut self, mut claims: Vec<Claim>, bindings: Vec<Binding>) {
        claims.sort_by_key(|claim| claim.at_ms);
        claims.into_iter().for_each(|claim| self.put(claim));
        self.bindings.extend(bindings.into_iter().map(|b| (Arc::clone(&b.account), b)));
    }

    pub(super) fn changes(&mut self) -> Changes {
        let claims = std::mem::take(&mut self.changed_claims).into_iter();
        let bindings = std::mem::take(&mut self.changed_bindings).into_iter();
        Changes {
            claims: claims
                .map(|key| (key, self.claims.get(&key).cloned().unwrap_or_default()))
                .collect(),
            bindings: bindings
                .map(|name| (Arc::clone(&name), self.bindings.get(&name).cloned()))
                .collect(),
        }
    }

    pub(super) fn everything(&mut self) -> Changes {
        self.changed_claims.clear();
        self.changed_bindings.clear();
        Changes {
            claims: self.claims.iter().map(|(key, holders)| (*key, holders.clone())).collect(),
            bindings: self
                .bindings
                .values()
                .map(|b| (Arc::clone(&b.account), Some(b.clone())))
                .collect(),
        }
    }
}
