//! What helps against a refusal, for the person who looks at the list.

#[cfg(test)]
mod tests;

/// What can be done; empty for a name that nobody is refused by.
pub(super) fn help(reason: &str) -> &'static str {
    HELP.iter().find(|(names, _)| names.contains(&reason)).map_or("", |(_, help)| help)
}

/// By the reasons' names; those that the same helps against stand together.
const HELP: &[(&[&str], &str)] = &[
    // Who may come in.
    (&["login_needed_from_outside"], "give it an account, or a listener with access = \"anyone\""),
    (&["listener_is_local_only"], "use another listener: this one has access = \"local\""),
    (&["listener_wants_an_account"], "give it an account: this listener has access = \"accounts\""),
    (&["account_unknown"], "make the account with `meshbox account add`, or correct the user name"),
    (&["password_wrong"], "correct the password, or set another one with `meshbox account passwd`"),
    (
        &["account_connections_used_up"],
        "raise its maxConnections, or end one: meshbox status --connections",
    ),
    (&["account_changed"], "nothing, if you have just changed the account: it comes again"),
    (&["login_queue_full"], "nothing: many log in at once, and it comes again"),
    (&["login_throttled"], "correct its login: the address waits a minute after ten wrong ones"),
    (
        &["token_user_name_without_key"],
        "set its user name to v1_ and the 64 hex digits of its public key",
    ),
    (
        &["token_malformed", "token_claim_missing", "token_too_long", "token_of_another_kind"],
        "its password is no token of the usual form: look into it with `meshbox token verify -`",
    ),
    (
        &["token_of_another_key", "token_signature_wrong"],
        "let it sign with the private key of the public key in its user name",
    ),
    (
        &["token_audience_wrong"],
        "set its audience to a name of this hub, or add that to broker.audience",
    ),
    (&["token_expired", "token_from_the_future"], "set its clock, or that of this machine"),
    (
        &["too_many_connections", "too_many_from_address"],
        "find out who opens so many: meshbox status --connections",
    ),
    // What it speaks.
    (&["client_id_too_long"], "give it a client id of at most 1024 bytes"),
    (&["client_id_with_nul"], "give it a client id without a NUL"),
    (&["persistent_without_client_id"], "give it a client id, or a clean session"),
    (&["mqtt_3_1", "mqtt_version_unknown"], "set its MQTT version to 3.1.1 or 5"),
    (&["maximum_packet_too_small"], "let it take packets of at least 64 bytes"),
    (&["connect_too_large"], "shorten its will, or its password: a login has 16 KB"),
    (
        &["auth_method_unknown", "auth_without_method", "auth_data_without_method"],
        "switch its extended authentication off: use a user name and a password",
    ),
    (
        &["not_mqtt", "first_packet_is_no_connect", "not_http", "mqtt_without_websocket"],
        "set its transport to that of the listener",
    ),
    (&["tls_on_plain_listener"], "switch its TLS off, or use a listener with transport = \"tls\""),
    (
        &["plain_on_tls_listener"],
        "switch its TLS on: this listener has transport = \"tls\" or \"wss\"",
    ),
    (
        &["http_without_websocket"],
        "use a listener with transport = \"ws\": this one takes plain MQTT",
    ),
    (&["http_without_upgrade"], "nothing is shown here: this is a WebSocket listener for MQTT"),
    (
        &["no_connect_in_time", "handshake_too_slow"],
        "it connected and said nothing: look at its network",
    ),
    (
        &["tls_certificate_refused_by_client"],
        "give it the certificate of the hub, or of who signed it",
    ),
    (
        &["tls_version_or_cipher_unknown"],
        "update its TLS: this hub takes 1.2 and 1.3 with forward secrecy",
    ),
    (&["tls_protocol_name_unknown"], "let it ask for no protocol by ALPN, or for mqtt or http/1.1"),
    (&["tls_handshake_failed"], "look at its TLS settings"),
    (
        &["proxy_not_trusted"],
        "name the proxy in trustedProxies, or use a listener without proxyProtocol",
    ),
    (
        &["proxy_header_not_expected"],
        "set proxyProtocol = true on this listener, or switch it off at the proxy",
    ),
    (
        &["proxy_header_missing"],
        "switch the PROXY protocol on at the proxy, or proxyProtocol off here",
    ),
    (&["proxy_protocol_version_1"], "let the proxy speak version 2 of the PROXY protocol"),
    (
        &["proxy_header_malformed", "proxy_header_too_large"],
        "look at the proxy: its header is no PROXY protocol, version 2",
    ),
    (
        &[
            "websocket_request_malformed",
            "websocket_request_too_large",
            "websocket_version_unknown",
            "websocket_malformed_frame",
            "websocket_unmasked_frame",
        ],
        "update its WebSocket library, or what stands between it and the hub",
    ),
    (&["websocket_subprotocol_unknown"], "let it ask for the subprotocol mqtt"),
    (&["websocket_text_frame"], "let it send binary frames"),
    // How a connection ends.
    (&["session_taken_over"], "two clients use this id: give each its own"),
    (&["keepalive_ran_out"], "look at its network: it was silent for longer than it promised"),
    (&["client_reads_nothing"], "look at its network: it does not read what it subscribed to"),
    (
        &["retained_never_acknowledged"],
        "update it: it subscribes again and again and acknowledges nothing",
    ),
    (
        &["topic_alias_not_granted", "too_many_unreleased_packet_ids", "packet_too_large"],
        "update its MQTT library: it does not keep to what the CONNACK grants",
    ),
    (
        &[
            "malformed_length",
            "malformed_flags",
            "malformed_packet",
            "malformed_text",
            "malformed_properties",
            "malformed_connect",
            "unknown_property",
            "unknown_reason_code",
            "nul_in_topic",
            "publish_with_qos_3",
            "reserved_bits_set",
            "second_connect",
            "packet_that_only_a_server_sends",
            "packet_id_0",
            "unsubscribe_from_nothing",
            "subscribe_to_nothing",
            "property_twice",
            "property_not_allowed",
            "property_value_not_allowed",
            "publish_without_topic",
            "shared_without_local",
            "session_expiry_too_late",
        ],
        "update its MQTT library: it breaks the rules of MQTT",
    ),
    (
        &["too_many_large_packets"],
        "nothing, if it was once: too many large messages came at the same time",
    ),
    (&["message_not_stored"], "look at the database: meshbox status"),
    (
        &["pipeline_ended", "subscriptions_lost"],
        "nothing: it connects again; if it goes on, look at the log",
    ),
    // What it publishes.
    (
        &["publish_outside_meshcore", "subscribe_outside_meshcore"],
        "name the tree in broker.allowTopics if it may be used",
    ),
    (&["publish_outside_meshcore_from_outside"], "give it a reader's account"),
    (
        &["publish_for_a_claimed_key"],
        "let it log in as that observer, or free the key: meshbox account release KEY",
    ),
    (&["publish_for_another_key"], "use the account or token of that observer"),
    (&["publish_without_own_key"], "set its topic to meshcore/REGION/ITS OWN KEY/packets"),
    (
        &["publish_to_unknown_subtopic"],
        "gateways publish packets, status, neighbors, config, raw …",
    ),
    (&["publish_by_a_reader"], "give it an account of role publisher"),
    (&["publish_to_internal"], "only admins publish there"),
    (&["publish_to_serial_commands"], "only admins command a gateway"),
    (
        &["publish_to_empty_topic", "publish_to_wildcard_topic", "publish_to_dollar_topic"],
        "correct its topic: nobody can publish there",
    ),
    (&["publish_too_large"], "raise broker.maxPayloadKB if it is meant to be so large"),
    (
        &["publish_properties_too_large"],
        "shorten what it sets beside the payload (user properties): 4 KiB fit",
    ),
    (&["publish_over_rate"], "look at that uploader: it may be in a loop"),
    (&["publish_of_a_duplicate"], "restart or update that uploader: it sends each packet again"),
    // What it subscribes to.
    (
        &["subscribe_without_login"],
        "subscribe from the hub's own machine, or with a reader's account",
    ),
    (&["subscribe_by_a_publisher"], "give it an account of role reader"),
    (&["subscribe_to_internal", "subscribe_to_serial"], "only admins see that"),
    (
        &["subscribe_to_dollar_filter"],
        "there is no $SYS here: `meshbox status` shows how the hub is",
    ),
    (&["subscribe_shared"], "subscribe without $share"),
    (
        &["subscribe_to_malformed_filter", "subscribe_to_unroutable_filter"],
        "correct its filter: plain ASCII, + and # alone between slashes",
    ),
    (
        &["subscribe_to_too_many_filters", "subscribe_to_too_many_filters_in_all"],
        "let it use wildcards: it has too many filters",
    ),
];
