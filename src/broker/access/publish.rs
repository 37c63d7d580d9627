//! Who may publish where.

use super::Rules;
use super::topic::{
    Speech, is_foreign_gateway, is_internal, is_meshcore, is_serial_commands, keys,
};
use crate::broker::access::{Nearness, Whose};
use crate::broker::identity::{ObserverKey, Who};
use crate::config::Role;

/// Where an allowed message goes, beside to subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) enum Lane {
    /// Into the pipeline: it is acknowledged when it is stored.
    Pipeline,
    /// Nowhere else: the box's other users speak with each other.
    Subscribers,
}

/// A publish is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) struct Permit {
    /// Where it goes.
    pub(in crate::broker) lane: Lane,
    /// The key that the client's account is to be bound to first.
    pub(in crate::broker) binds: Option<ObserverKey>,
}

/// Says whose a key is to the client that is judged.
pub(super) type Claimed<'a> = &'a dyn Fn(&ObserverKey) -> Whose;

/// Whether a client may publish to a topic, which is normalised.
///
/// # Errors
/// The reason's name.
pub(super) fn may_publish(
    who: &Who,
    topic: &str,
    rules: &Rules,
    claimed: Claimed<'_>,
) -> Result<Permit, &'static str> {
    if topic.is_empty() {
        return Err("publish_to_empty_topic");
    }
    if topic.contains(['+', '#']) {
        return Err("publish_to_wildcard_topic");
    }
    if topic.starts_with('$') {
        return Err("publish_to_dollar_topic");
    }
    let binds = if is_meshcore(topic) {
        in_meshcore(who, topic, rules, claimed)?
    } else {
        elsewhere(who, topic, rules, claimed)?;
        None
    };
    let stored = is_meshcore(topic) || is_foreign_gateway(topic);
    let lane = if stored { Lane::Pipeline } else { Lane::Subscribers };
    Ok(Permit { lane, binds })
}

fn in_meshcore(
    who: &Who,
    topic: &str,
    rules: &Rules,
    claimed: Claimed<'_>,
) -> Result<Option<ObserverKey>, &'static str> {
    match who.role {
        Some(Role::Admin) => return Ok(None),
        Some(Role::Reader | Role::Limited) => return Err("publish_by_a_reader"),
        None | Some(Role::Publisher) => {}
    }
    if is_internal(topic) {
        return Err("publish_to_internal");
    }
    if is_serial_commands(topic) {
        return Err("publish_to_serial_commands");
    }
    if let Some(own) = who.key {
        let speech = Speech::of(topic).ok_or("publish_without_own_key")?;
        if speech.key != own {
            return Err("publish_for_another_key");
        }
        return if speech.is_known() { Ok(None) } else { Err("publish_to_unknown_subtopic") };
    }
    unclaimed(topic, claimed)?;
    let learns = rules.bind_first_key && who.role == Some(Role::Publisher);
    let speech = Speech::of(topic).filter(|speech| learns && speech.is_known());
    Ok(speech.map(|speech| speech.key))
}

/// In the trees of the box's other users.
fn elsewhere(
    who: &Who,
    topic: &str,
    rules: &Rules,
    claimed: Claimed<'_>,
) -> Result<(), &'static str> {
    if who.role == Some(Role::Admin) {
        return Ok(());
    }
    if !rules.allows(topic) {
        return Err("publish_outside_meshcore");
    }
    match who.role {
        None if who.from == Nearness::Outside => Err("publish_outside_meshcore_from_outside"),
        Some(Role::Limited) => Err("publish_by_a_reader"),
        Some(Role::Publisher) if !is_foreign_gateway(topic) => Err("publish_without_own_key"),
        // A reader is no gateway, wherever it says that it is one.
        Some(Role::Reader) if is_foreign_gateway(topic) => Err("publish_by_a_reader"),
        _ if is_foreign_gateway(topic) => match who.key {
            Some(own) if keys(topic).any(|key| key != own) => Err("publish_for_another_key"),
            Some(_) => Ok(()),
            None => unclaimed(topic, claimed),
        },
        _ => Ok(()),
    }
}

/// Nobody else has claimed a key in the topic.
fn unclaimed(topic: &str, claimed: Claimed<'_>) -> Result<(), &'static str> {
    let others = |key| claimed(&key) == Whose::Others;
    if keys(topic).any(others) { Err("publish_for_a_claimed_key") } else { Ok(()) }
}
