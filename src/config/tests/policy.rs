//! What the clients of our own broker may do.

use super::super::{Policy, Watch};
use super::*;

fn policy(text: &str) -> Policy {
    toml(&format!("[broker]\n{text}")).unwrap().broker.policy
}

#[test]
fn a_broker_is_lenient_by_default() {
    let expected = Policy {
        allow_topics: vec![],
        strict: false,
        bind_first_key: false,
        max_payload: 65_536,
        watch: Watch::Count,
    };
    assert_eq!(policy(""), expected);
    assert_eq!(toml("").unwrap().broker.policy, expected);
}

#[test]
fn a_policy_is_as_it_is_written() {
    let text = "allowTopics = [' homeassistant/# ', 'meshrank/#', 'homeassistant/x']\n\
                strict = true\nbindFirstKey = true\nmaxPayloadKB = 256\nwatch = 'mute'";
    let expected = Policy {
        allow_topics: vec!["homeassistant/#".into(), "meshrank/#".into()],
        strict: true,
        bind_first_key: true,
        max_payload: 262_144,
        watch: Watch::Mute,
    };
    assert_eq!(policy(text), expected);
}

#[test]
fn other_trees_are_named_and_are_not_ours() {
    for (filter, words) in [
        ("#", "begins with a wildcard"),
        ("+/x", "begins with a wildcard"),
        ("meshcore/#", "has rules of its own"),
        ("meshcore/SJC/x", "has rules of its own"),
        ("meshcore", "has rules of its own"),
        ("$SYS/#", "is kept for brokers"),
        ("home#", "not its whole last level"),
        ("zuhause/grün/#", "not plain ASCII"),
        ("", "is empty"),
    ] {
        let error = toml(&format!("[broker]\nallowTopics = ['x/#', '{filter}']")).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("broker.allowTopics[1]") && error.contains(words), "{error}");
    }
}

#[test]
fn numbers_and_words_out_of_bounds_are_errors() {
    for (text, words) in [
        ("maxPayloadKB = 0", "0 is too small"),
        ("maxPayloadKB = 257", "257 is too large"),
        ("watch = 'mutes'", "perhaps \"mute\""),
    ] {
        let error = toml(&format!("[broker]\n{text}")).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
