//! The features that a broker for gateways must have, and the sentences that say that this one has
//! them: which test shows which row. A test below fails if one of them is not there any more.
//!
//! | row | feature | tests |
//! |---|---|---|
//! | 1 | MQTT 3.1.1 over TCP and WebSocket, any path | row_1_any_path_and_the_subprotocol_mqtt_open_a_connection |
//! | 2 | TLS and WSS, handshakes that hold nobody up | row_2_tls_1_2_and_1_3_are_spoken_and_a_client_that_comes_back_is_known, five_hundred_silent_sockets_on_each_listener_keep_nobody_out_and_are_closed |
//! | 3 | CONNACK 4 or 5 and a named reason | row_3_a_token_that_is_not_right_has_a_code_and_a_named_reason |
//! | 4 | `v1_` tokens, audiences, tolerance, a clock that may be wrong | row_4_a_token_comes_in_as_its_key_even_without_any_account, row_4_while_our_clock_is_not_trusted_tokens_are_not_judged_by_it |
//! | 5 | accounts that several publishers share | row_5_accounts_are_judged_once_there_is_one, row_5_a_shared_account_learns_its_key_and_keeps_to_it |
//! | 6 | anonymous from the LAN alone | row_6_without_accounts_unknown_names_from_the_lan_come_in, every_listener_has_its_own_policy |
//! | 7 | a gateway publishes for its own key | row_7_a_gateway_speaks_for_its_own_key_and_is_not_thrown_out_for_more, row_7_the_meshrank_tree_is_taken_where_the_owner_allows_it |
//! | 8 | `origin_id` optional, and no contradiction believed | row_8_the_topic_says_who_heard_it_whatever_the_origin_id_says |
//! | 9 | placeholder regions kept and flagged | row_9_a_placeholder_region_is_kept_and_flagged |
//! | 10 | key and region in upper case | row_10_region_and_key_are_upper_case_in_what_is_stored_and_in_what_is_forwarded |
//! | 11 | a gateway subscribes to its own commands | row_11_a_gateway_subscribes_to_its_own_commands_alone_and_stays_connected |
//! | 12 | subscribers by role, capped, redacted | row_12_admins_readers_and_limited_readers_each_see_what_is_theirs, an_account_has_its_connections_and_no_more |
//! | 13 | retained by subtopic | row_13_what_is_retained_goes_by_the_subtopic_and_not_by_the_wish, row_13_the_retain_policy_of_each_subtopic |
//! | 14 | online and offline from the connection | row_14_online_and_offline_are_the_connections_and_a_will_of_an_earlier_one_does_not_lie |
//! | 15 | rate and duplicates watched per key, counted only | row_15_a_flood_is_counted_and_with_mute_cut_off, row_15_a_packet_sent_eight_times_is_counted_and_with_mute_taken_once |
//! | 16 | logins throttled by address, trusted proxies | row_16_ten_failed_logins_a_minute_and_an_address_waits_for_all_but_what_is_right, row_16_a_trusted_proxy_says_whose_request_it_is |
//! | 17 | 64 KiB a payload, told when it is more | row_17_a_publish_over_64_kib_is_skipped_counted_and_acknowledged_in_its_turn, row_17_the_largest_payload_is_what_the_config_says |
//! | 18 | other topics tolerated | row_18_other_trees_are_passed_on_acknowledged_and_not_stored, row_18_mosquitto_clients_share_a_home_assistant_tree |
//! | 19 | a slow subscriber holds nothing up | row_19_subscribers_that_never_read_hold_up_neither_the_store_nor_other_subscribers, a_slow_subscriber_loses_its_own_copies_counted_and_holds_nobody_up |
//! | 20 | who was there, and who was refused and why | row_20_the_board_shows_who_is_there_and_who_was_refused, row_20_the_registry_knows_first_and_last_and_who_and_the_last_refusal |
//! | 21 | local subscribers get the raw stream | row_21_every_local_subscriber_gets_the_stream_byte_for_byte, a_packet_published_with_mosquitto_pub_is_a_row_within_two_seconds_and_mosquitto_sub_sees_it |
//! | 22 | bridges out and in without loops | two_hubs_that_pass_on_to_each_other_do_not_go_in_circles |
//!
//! And what gateways of every kind send, and must be able to rely on; most of it in `compatibility`:
//!
//! | form | what | tests |
//! |---|---|---|
//! | 1 | payloads 1 to 20 | every_form_that_publishers_send_becomes_its_rows, form_1_every_payload_at_qos_0_comes_in_on_one_connection_that_stays |
//! | 2 | tokens | form_2_tokens_as_every_uploader_writes_them |
//! | 3 | client ids | form_3_client_ids_of_every_length_over_every_transport, form_3_two_uploaders_with_one_client_id_do_not_throw_each_other_out_in_turns |
//! | 4 | WebSocket paths, fragments, pings, packets in a frame | form_4_websocket_paths_fragments_pings_and_packets_that_share_a_frame, frames_are_no_packets |
//! | 5 | keepalives | form_5_keepalives_of_every_length_over_every_transport |
//! | 6 | retained status, empty retained, unrelated topics | form_6_what_is_odd_is_acknowledged_and_never_a_disconnect |
//! | 7 | slow-loris | five_hundred_silent_sockets_on_each_listener_keep_nobody_out_and_are_closed |
//! | 8 | 250 messages a second for ten minutes | form_8_ten_minutes_of_250_messages_a_second_lose_nothing |
//! | 9 | kill -9, power cut, clock of 1970, full disk | kill_minus_9_at_five_moments_loses_nothing_that_was_acknowledged, a_hub_that_starts_with_a_clock_of_1970_or_of_in_ten_years_loses_nothing, a_full_disk_slows_the_senders_and_writing_goes_on_when_there_is_room, a_hub_that_dies_on_a_full_disk_starts_again_on_it |
//! | 10 | a restart with 200 uploaders | form_10_two_hundred_uploaders_are_back_after_a_restart_by_themselves |
//! | 11 | a source whose connection is half open | a_source_that_falls_silent_is_said_and_dialled_anew_and_well_again_with_the_next_message |
//! | 12 | every packet eight times | form_12_a_packet_that_is_sent_eight_times_is_one_observation |

use std::collections::BTreeSet;
use std::path::Path;

/// Every function under a folder that a test attribute stands before.
fn tests_in(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_in(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let mut marked = false;
            for line in text.lines().map(str::trim_start) {
                if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                    marked = true;
                } else if let Some(rest) = line.trim_start_matches("async ").strip_prefix("fn ") {
                    if marked {
                        found.insert(rest.split('(').next().unwrap().to_owned());
                    }
                    marked = false;
                }
            }
        }
    }
}

/// The tables above: the number in each row, and the tests in it.
fn rows(of: &str) -> Vec<(usize, Vec<String>)> {
    let text = include_str!("table.rs");
    let table = text.lines().skip_while(|line| !line.starts_with(&format!("//! | {of} |"))).skip(2);
    table
        .map_while(|line| {
            let mut cells = line
                .strip_prefix("//! |")?
                .trim_end_matches('|')
                .split(" | ")
                .collect::<Vec<_>>()
                .into_iter();
            let number = cells.next()?.trim().parse().ok()?;
            let tests = cells.next_back()?.split(',').map(|name| name.trim().to_owned());
            Some((number, tests.collect()))
        })
        .collect()
}

#[test]
fn every_row_has_a_test_that_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut there = BTreeSet::new();
    tests_in(&root.join("tests"), &mut there);
    tests_in(&root.join("src"), &mut there);
    for (of, count) in [("row", 22), ("form", 12)] {
        let rows = rows(of);
        let numbers: Vec<_> = rows.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (1..=count).collect::<Vec<_>>(), "{of}s");
        for (number, tests) in rows {
            for name in tests {
                assert!(there.contains(&name), "{of} {number}: there is no test {name}");
                let about = name.strip_prefix(&format!("{of}_")).and_then(|n| n.split('_').next());
                assert!(about.is_none_or(|n| n == number.to_string()), "{name} in {of} {number}");
            }
        }
    }
}
