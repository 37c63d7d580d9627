//! What helps against a refusal, for the person who looks at the list.

/// What can be done; empty for what needs nobody.
pub(super) fn help(reason: &str) -> &'static str {
    HELP.iter().find(|(known, _)| *known == reason).map_or("", |(_, help)| help)
}

/// By the reasons' names; what several have in common stands together.
const HELP: [(&str, &str); 33] = [
    ("login_needed_from_outside", "give it an account, or a listener with access = \"anyone\""),
    ("listener_is_local_only", "use another listener: this one has access = \"local\""),
    ("listener_wants_an_account", "give it an account: this listener has access = \"accounts\""),
    ("client_id_too_long", "give it a client id of at most 1024 bytes"),
    ("client_id_with_nul", "give it a client id without a NUL"),
    ("persistent_without_client_id", "give it a client id, or a clean session"),
    ("mqtt_3_1", "set its MQTT version to 3.1.1 or 5"),
    ("maximum_packet_too_small", "let it take packets of at least 64 bytes"),
    ("mqtt_version_unknown", "set its MQTT version to 3.1.1 or 5"),
    ("not_mqtt", "set its transport to that of the listener"),
    ("first_packet_is_no_connect", "set its transport to that of the listener"),
    ("no_connect_in_time", "it connected and said nothing: look at its network"),
    ("too_many_connections", "find out who opens so many: meshbox status --connections"),
    ("too_many_from_address", "find out who opens so many: meshbox status --connections"),
    ("session_taken_over", "two clients use this id: give each its own"),
    ("keepalive_ran_out", "look at its network: it was silent for longer than it promised"),
    ("client_reads_nothing", "look at its network: it does not read what it subscribed to"),
    ("publish_outside_meshcore", "name the tree in broker.allowTopics if it may be used"),
    ("publish_outside_meshcore_from_outside", "give it a reader's account"),
    ("publish_for_a_claimed_key", "let it log in: this observer's key belongs to an account"),
    ("publish_for_another_key", "use the account or token of that observer"),
    ("publish_without_own_key", "set its topic to meshcore/REGION/ITS OWN KEY/packets"),
    ("publish_to_unknown_subtopic", "gateways publish packets, status, neighbors, config, raw …"),
    ("publish_by_a_reader", "give it an account of role publisher"),
    ("publish_to_internal", "only admins publish there"),
    ("publish_to_serial_commands", "only admins command a gateway"),
    ("publish_too_large", "raise broker.maxPayloadKB if it is meant to be so large"),
    ("publish_over_rate", "look at that uploader: it may be in a loop"),
    ("publish_of_a_duplicate", "restart or update that uploader: it sends each packet again"),
    ("subscribe_without_login", "subscribe from the hub's own machine, or with a reader's account"),
    ("subscribe_by_a_publisher", "give it an account of role reader"),
    ("subscribe_outside_meshcore", "name the tree in broker.allowTopics if it may be used"),
    ("subscribe_shared", "subscribe without $share"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_by_the_rules_says_what_helps_or_is_the_clients_own_mistake() {
        let sources = [
            include_str!("../access/nearness.rs"),
            include_str!("../access/publish.rs"),
            include_str!("../access/subscribe.rs"),
        ];
        // A topic or filter that nobody could serve.
        let own =
            ["malformed", "unroutable", "wildcard", "empty", "dollar", "_to_internal", "serial"];
        let mut seen = 0;
        for source in sources {
            for text in source.split("Err(\"").skip(1) {
                let reason = text.split('"').next().unwrap();
                seen += 1;
                let excused = own.iter().any(|word| reason.contains(word));
                assert!(excused || !help(reason).is_empty(), "{reason}");
            }
        }
        assert!(seen > 15, "the reasons are not found");
    }
}
