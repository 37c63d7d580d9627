//! Who may come in without a login, and who may publish, subscribe to and receive what: pure rules.
//!
//! | | publishes | subscribes to |
//! |---|---|---|
//! | without a login, near | `meshcore/` but `…/internal` and `…/serial/commands`, for keys that nobody else has claimed; `allowTopics` | on this machine everything, in the LAN `allowTopics` |
//! | without a login, outside | the same without `allowTopics` | nothing |
//! | publisher with a key | what a gateway says, for its own key | its own `serial/commands` |
//! | publisher without a key | as without a login | nothing |
//! | reader | `allowTopics` | `meshcore/` but `…/internal` and `…/serial/…`; `allowTopics` |
//! | limited reader | nothing | `meshcore/` as a reader, redacted |
//! | admin | everything | everything |
//!
//! A wildcard may span what is forbidden: then the copies are withheld ([`Gate::view`]). Names
//! returned as errors are the reasons under which a refusal is counted, logged and listed.

mod nearness;
mod publish;
mod redact;
mod subscribe;
#[cfg(test)]
mod tests;
mod topic;

pub(super) use nearness::{Nearness, Neighbourhood, admit_anonymous, nearness};
pub(super) use publish::{Lane, Permit};
pub(super) use redact::Redacted;
pub(super) use subscribe::View;
pub(super) use topic::{Speech, routable};

use std::fmt;
use std::sync::Arc;

use super::identity::{Identity, ObserverKey, Who};
use crate::config::covers;
use crate::message::topic::normalised;

/// What the rules go by beside who asks and for what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    /// Filters outside `meshcore/` that the box's other users may use; none overlaps `meshcore/#`.
    pub(super) allow_topics: Vec<String>,
    /// Whether an account without a key gets the first that it publishes for.
    pub(super) bind_first_key: bool,
}

/// An account learns its key: the first that it published for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binding {
    /// The account.
    pub(super) identity: Identity,
    /// The key that is its own from now on.
    pub(super) key: ObserverKey,
}

/// Whose a key is, to somebody who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Nobody has claimed it.
    Nobodys,
    /// Whoever asks has claimed it, perhaps beside others.
    Own,
    /// Others have, and whoever asks has not.
    Others,
}

/// What is known of accounts and the keys that are theirs.
pub(super) trait Claims: fmt::Debug + Send + Sync {
    /// Whose a key is, to `asks`.
    fn whose(&self, key: &ObserverKey, asks: &Identity) -> Whose;

    /// Binds an account to a key, and keeps that. Again for the same key: nothing to do.
    ///
    /// # Errors
    /// The reason's name: the account, or the key, is bound otherwise by now.
    fn bind(&self, binding: &Binding) -> Result<(), &'static str>;
}

/// Nobody has claimed anything, and nothing can be bound: there are no accounts.
#[derive(Debug)]
pub(super) struct Unclaimed;

impl Claims for Unclaimed {
    fn whose(&self, _key: &ObserverKey, _asks: &Identity) -> Whose {
        Whose::Nobodys
    }

    fn bind(&self, _binding: &Binding) -> Result<(), &'static str> {
        Err("there_are_no_accounts")
    }
}

/// The rules with what they go by; all connections share it.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    pub(super) rules: Rules,
    pub(super) claims: Arc<dyn Claims>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { rules: Rules::default(), claims: Arc::new(Unclaimed) }
    }
}

impl Gate {
    /// Normalises the topic of a publish or a will, and judges it.
    ///
    /// # Errors
    /// The reason's name.
    pub(super) fn publish(&self, who: &Who, topic: String) -> Result<(String, Permit), Denied> {
        let normal = match normalised(&topic) {
            std::borrow::Cow::Borrowed(_) => None,
            std::borrow::Cow::Owned(normal) => Some(normal),
        };
        let topic = normal.unwrap_or(topic);
        let whose = |key: &ObserverKey| self.claims.whose(key, &who.identity);
        match publish::may_publish(who, &topic, &self.rules, &whose) {
            Ok(permit) => Ok((topic, permit)),
            Err(reason) => Err(Denied { reason, topic }),
        }
    }

    /// Judges a filter.
    ///
    /// # Errors
    /// The reason's name; the SUBACK code is 0x80.
    pub(super) fn subscribe(&self, who: &Who, filter: &str) -> Result<(), &'static str> {
        subscribe::may_subscribe(who, filter, &self.rules)
    }

    /// How much of a message on `topic` a client may see.
    pub(super) fn view(&self, who: &Who, topic: &str) -> View {
        let whose = |key: &ObserverKey| self.claims.whose(key, &who.identity);
        subscribe::may_receive(who, topic, &self.rules, &whose)
    }
}

/// A publish that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Denied {
    /// The reason's name.
    pub(super) reason: &'static str,
    /// Where it wanted to go.
    pub(super) topic: String,
}

impl Rules {
    /// Whether a topic lies in one of the other trees, or a filter wholly inside one.
    fn allows(&self, topic_or_filter: &str) -> bool {
        self.allow_topics.iter().any(|allowed| covers(allowed, topic_or_filter))
    }
}
