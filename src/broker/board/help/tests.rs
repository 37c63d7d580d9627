//! Every reason for a refusal has help, and what it is answered with.

use super::*;
use crate::broker::reason::{self, Reason};
use std::collections::BTreeSet;
use std::path::Path;

/// What is counted under a name and refuses nobody.
const NO_REFUSALS: [&str; 24] = [
    "accept_failed",
    "accounts_file_broken",
    "claim_without_room",
    "copy_larger_than_client_takes",
    "gone_before_connect",
    "message_lost_at_shutdown",
    "over_rate",
    "placeholder_region",
    "presence_of_too_many_observers",
    "presence_without_room",
    "retained_over_own_share",
    "retained_without_room",
    "same_client_id",
    "same_observer",
    "session_not_kept",
    "state_file_failed",
    "subscriber_queue_full",
    "task_panic",
    "topic_not_for_subscribers",
    "will_without_room",
    // These say why a client counts as from outside, before it is refused for that.
    "forwarded_by_a_stranger",
    "page_of_another_host",
    "proxy_names_its_own_loopback",
    "proxy_names_no_client",
];

/// Names of columns, fields and settings, and of what cannot be where there are no accounts.
const NO_REASONS: [&str; 11] = [
    "at_ms",
    "away_since_ms",
    "client_id",
    "client_version",
    "expiry_s",
    "journal_mode",
    "journal_size_limit",
    "keep_ms",
    "max_page_count",
    "origin_id",
    "there_are_no_accounts",
];

/// Every text in the code of a folder that looks like a reason's name.
fn names(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        match (path.is_dir(), name) {
            (true, "tests") | (false, "tests.rs" | "rig.rs" | "help.rs") => {}
            (true, _) => names(&path, found),
            (false, _) => names_in(&std::fs::read_to_string(&path).unwrap(), found),
        }
    }
}

fn names_in(text: &str, found: &mut BTreeSet<String>) {
    let code = text.split("mod tests {").next().unwrap();
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let is_name = |text: &&str| {
        let first = text.chars().next().is_some_and(|c| c.is_ascii_lowercase());
        first && text.contains('_') && text.chars().all(is_plain)
    };
    found.extend(code.split('"').filter(is_name).map(str::to_owned));
}

#[test]
fn every_reason_for_a_refusal_says_what_helps_and_there_is_help_for_nothing_else() {
    let mut found = BTreeSet::new();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    names(&src.join("broker"), &mut found);
    names_in(&std::fs::read_to_string(src.join("crypto/token/error.rs")).unwrap(), &mut found);
    assert!(found.len() > 120, "the reasons are not found: {found:?}");
    let excused = |name: &&String| {
        NO_REFUSALS.contains(&name.as_str()) || NO_REASONS.contains(&name.as_str())
    };
    let helpless: Vec<_> =
        found.iter().filter(|name| !excused(name) && help(name).is_empty()).collect();
    assert!(helpless.is_empty(), "no help for {helpless:?}");
    for name in HELP.iter().flat_map(|(names, _)| *names) {
        assert!(found.contains(*name), "nobody is refused for {name}");
        assert!(!excused(&&(*name).to_owned()), "{name}");
        let times = HELP.iter().filter(|(names, _)| names.contains(name)).count();
        assert_eq!(times, 1, "{name}");
    }
    for name in NO_REFUSALS.iter().chain(&NO_REASONS) {
        assert!(found.contains(*name), "{name} is not there any more");
    }
}

#[test]
fn what_helps_fits_on_a_line() {
    for (names, help) in HELP {
        assert!(help.chars().count() <= 88, "{names:?}: {}", help.chars().count());
    }
}

/// What a client of MQTT 5 is told about each publish and each filter that is refused.
#[test]
fn every_refused_publish_and_filter_has_its_code() {
    use Reason::{FilterInvalid, Implementation, NotAuthorized, Quota, Shared, TopicInvalid};
    let cases = [
        ("publish_by_a_reader", NotAuthorized),
        ("publish_for_a_claimed_key", NotAuthorized),
        ("publish_for_another_key", NotAuthorized),
        ("publish_of_a_duplicate", Quota),
        ("publish_outside_meshcore", NotAuthorized),
        ("publish_outside_meshcore_from_outside", NotAuthorized),
        ("publish_over_rate", Quota),
        ("publish_properties_too_large", Quota),
        ("publish_to_dollar_topic", NotAuthorized),
        ("publish_to_empty_topic", TopicInvalid),
        ("publish_to_internal", NotAuthorized),
        ("publish_to_serial_commands", NotAuthorized),
        ("publish_to_unknown_subtopic", NotAuthorized),
        ("publish_to_wildcard_topic", TopicInvalid),
        ("publish_too_large", Quota),
        ("publish_without_own_key", NotAuthorized),
        ("subscribe_by_a_publisher", NotAuthorized),
        ("subscribe_outside_meshcore", NotAuthorized),
        ("subscribe_shared", Shared),
        ("subscribe_to_dollar_filter", NotAuthorized),
        ("subscribe_to_internal", NotAuthorized),
        ("subscribe_to_malformed_filter", FilterInvalid),
        ("subscribe_to_serial", NotAuthorized),
        ("subscribe_to_too_many_filters", Quota),
        ("subscribe_to_too_many_filters_in_all", Quota),
        ("subscribe_to_unroutable_filter", Implementation),
        ("subscribe_without_login", NotAuthorized),
    ];
    // These are no answers to a publish or a SUBSCRIBE: the packet itself is malformed.
    let malformed = ["publish_with_qos_3", "publish_without_topic", "subscribe_to_nothing"];
    for name in HELP.iter().flat_map(|(names, _)| *names) {
        let code = match name.split_once('_').map(|(what, _)| what) {
            Some("publish") => reason::of_publish(name),
            Some("subscribe") => reason::of_subscribe(name),
            _ => continue,
        };
        if !malformed.contains(name) {
            let expected = cases.iter().find(|(it, _)| it == name).map(|(_, code)| *code);
            assert_eq!(Some(code), expected, "{name}");
        }
    }
}
