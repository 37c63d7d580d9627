//! Who may subscribe to what, and how much of a message a subscriber gets.

use rumqttc::mqttbytes::valid_filter;

use super::Rules;
use super::publish::Claimed;
use super::topic::{Speech, is_internal, is_meshcore, is_serial, keys, routable};
use crate::broker::access::{Nearness, Whose};
use crate::broker::identity::{ObserverKey, Who};
use crate::config::Role;

/// How much of a message a subscriber gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) enum View {
    /// All of it.
    Whole,
    /// What [`super::redact`] leaves of it.
    Redacted,
    /// It is withheld.
    Nothing,
}

/// What limited readers get: the mesh's traffic, and that an observer is there. A list of neighbours
/// tells where a receiver stands, `debug` and `serial` may tell anything.
const LIMITED_SUBTOPICS: [&str; 4] = ["packets", "status", "raw", "decoded"];

/// Whether a client may subscribe to a filter.
///
/// # Errors
/// The reason's name; the SUBACK code is 0x80.
pub(super) fn may_subscribe(who: &Who, filter: &str, rules: &Rules) -> Result<(), &'static str> {
    if !valid_filter(filter) {
        return Err("subscribe_to_malformed_filter");
    }
    if filter == "$share" || filter.starts_with("$share/") {
        return Err("subscribe_shared");
    }
    if filter.starts_with('$') {
        return Err("subscribe_to_dollar_filter");
    }
    if !routable(filter) {
        return Err("subscribe_to_unroutable_filter");
    }
    match who.role {
        Some(Role::Admin) => Ok(()),
        None if who.from == Nearness::Loopback => Ok(()),
        None if who.from == Nearness::Lan && rules.allows(filter) => Ok(()),
        None => Err("subscribe_without_login"),
        Some(Role::Publisher) => {
            let own = who.key.is_some_and(|own| is_own_commands(filter, own));
            if own { Ok(()) } else { Err("subscribe_by_a_publisher") }
        }
        Some(Role::Reader) if rules.allows(filter) => Ok(()),
        Some(Role::Reader) => by_reader(filter, &rules.allow_topics),
        Some(Role::Limited) => by_reader(filter, &[]),
    }
}

/// `meshcore/{region or +}/{own key}/serial/commands`.
fn is_own_commands(filter: &str, own: ObserverKey) -> bool {
    Speech::of(filter)
        .is_some_and(|speech| speech.key == own && speech.subtopic == "serial/commands")
}

fn by_reader(filter: &str, trees: &[String]) -> Result<(), &'static str> {
    if is_internal(filter) {
        return Err("subscribe_to_internal");
    }
    if is_serial(filter) {
        return Err("subscribe_to_serial");
    }
    let served = overlap(filter, "meshcore/#") || trees.iter().any(|tree| overlap(filter, tree));
    if served { Ok(()) } else { Err("subscribe_outside_meshcore") }
}

/// Whether some topic matches both filters.
fn overlap(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a.split('/'), b.split('/'));
    loop {
        match (a.next(), b.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

/// How much of a message on a topic a client may see, whatever filter brought it.
pub(super) fn may_receive(who: &Who, topic: &str, rules: &Rules, claimed: Claimed<'_>) -> View {
    let private = is_meshcore(topic) && (is_internal(topic) || is_serial(topic));
    let sees = match who.role {
        Some(Role::Admin) => true,
        // Whoever is on this machine may be a gateway that takes commands without a login.
        None if who.from == Nearness::Loopback => {
            let theirs = private && keys(topic).any(|key| claimed(&key) != Whose::Nobodys);
            let internal = private && is_internal(topic);
            !internal && !theirs
        }
        None => who.from == Nearness::Lan && rules.allows(topic),
        Some(Role::Publisher) => who.key.is_some_and(|own| is_own_commands(topic, own)),
        Some(Role::Reader) => (is_meshcore(topic) && !private) || rules.allows(topic),
        Some(Role::Limited) => {
            return if limited(topic) { View::Redacted } else { View::Nothing };
        }
    };
    if sees { View::Whole } else { View::Nothing }
}

fn limited(topic: &str) -> bool {
    let Some(rest) = topic.strip_prefix("meshcore/") else { return false };
    if is_internal(topic) || is_serial(topic) {
        return false;
    }
    rest.starts_with("message/")
        || rest.rsplit('/').next().is_some_and(|last| LIMITED_SUBTOPICS.contains(&last))
}
