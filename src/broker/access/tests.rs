//! The rules as tables: who, where, and what comes of it.

mod readme;

use std::sync::Arc;

use super::*;
use crate::config::Role;

/// Claimed by the account `hill`.
const CLAIMED: &str = "AA00AA00AA00AA00AA00AA00AA00AA00AA00AA00AA00AA00AA00AA00AA00AA00";
/// Nobody's.
const FREE: &str = "BB11BB11BB11BB11BB11BB11BB11BB11BB11BB11BB11BB11BB11BB11BB11BB11";

fn key(hex: &str) -> ObserverKey {
    topic::key(hex).unwrap()
}

fn anonymous(from: Nearness) -> Who {
    Who::anonymous("10.0.0.9".parse().unwrap(), from)
}

fn account(name: &str, role: Role, own: Option<&str>) -> Who {
    Who {
        identity: Identity::Account(name.into()),
        role: Some(role),
        key: own.map(key),
        from: Nearness::Outside,
    }
}

fn token(own: &str) -> Who {
    Who {
        identity: Identity::Observer(key(own)),
        role: Some(Role::Publisher),
        key: Some(key(own)),
        from: Nearness::Outside,
    }
}

#[derive(Debug)]
struct OneClaim;

impl Claims for OneClaim {
    fn whose(&self, asked: &ObserverKey, asks: &Identity) -> Whose {
        match (*asked == key(CLAIMED), *asks == Identity::Account("hill".into())) {
            (false, _) => Whose::Nobodys,
            (true, true) => Whose::Own,
            (true, false) => Whose::Others,
        }
    }

    fn bind(&self, _: &Binding) -> Result<(), &'static str> {
        Ok(())
    }
}

fn gate(bind_first_key: bool) -> Gate {
    let allow_topics = ["homeassistant/#", "zigbee2mqtt/+/set", "meshrank/#"];
    let allow_topics = allow_topics.map(str::to_owned).to_vec();
    Gate { rules: Rules { allow_topics, bind_first_key }, claims: Arc::new(OneClaim) }
}

fn real(topic: &str) -> String {
    topic.replace("CLAIMED", CLAIMED).replace("FREE", FREE)
}

const STORED: Result<Lane, &str> = Ok(Lane::Pipeline);
const PASSED: Result<Lane, &str> = Ok(Lane::Subscribers);

/// The rows of a table: topic, and what comes of it.
type Rows<'a, T> = &'a [(&'a str, T)];

#[track_caller]
fn publishes(who: &Who, rows: Rows<'_, Result<Lane, &str>>) {
    for (topic, expected) in rows {
        let judged = gate(false).publish(who, real(topic));
        let judged = judged.map(|(_, permit)| permit.lane).map_err(|denied| denied.reason);
        assert_eq!(judged, *expected, "{topic:?}");
    }
}

#[track_caller]
fn subscribes(who: &Who, rows: Rows<'_, Result<(), &str>>) {
    for (filter, expected) in rows {
        assert_eq!(gate(false).subscribe(who, &real(filter)), *expected, "{filter:?}");
    }
}

#[track_caller]
fn sees(who: &Who, rows: Rows<'_, View>) {
    for (topic, expected) in rows {
        assert_eq!(gate(false).view(who, &real(topic)), *expected, "{topic:?}");
    }
}

#[test]
fn row_7_what_an_anonymous_client_may_publish() {
    publishes(
        &anonymous(Nearness::Lan),
        &[
            ("meshcore/SJC/FREE/packets", STORED),
            ("meshcore/SJC/AB12/packets", STORED),
            ("meshcore/SJC/AB12/status", STORED),
            ("meshcore", STORED),
            ("meshcore/", STORED),
            ("meshcore/SJC/AB12/serial/responses", STORED),
            ("meshcore/SJC/commands", STORED),
            ("meshcore/ü/AB12/packets", STORED),
            ("meshcore/SJC/CLAIMED/packets", Err("publish_for_a_claimed_key")),
            ("meshcore/CLAIMED/packets", Err("publish_for_a_claimed_key")),
            ("meshcore/client/CLAIMED/packets", Err("publish_for_a_claimed_key")),
            ("meshcore/SJC/FREE/CLAIMED", Err("publish_for_a_claimed_key")),
            ("meshcore/SJC/AB12/internal", Err("publish_to_internal")),
            ("meshcore/SJC/AB12/internal/x", Err("publish_to_internal")),
            ("meshcore/SJC/AB12/serial/commands", Err("publish_to_serial_commands")),
            ("meshcore/SJC/AB12/serial/commands/x", Err("publish_to_serial_commands")),
            ("meshcored/x", Err("publish_outside_meshcore")),
            ("Meshcore/x", Err("publish_outside_meshcore")),
            ("/meshcore/x", Err("publish_outside_meshcore")),
            ("other/x", Err("publish_outside_meshcore")),
            ("é", Err("publish_outside_meshcore")),
            ("meshcore/#", Err("publish_to_wildcard_topic")),
            ("meshcore/+/x", Err("publish_to_wildcard_topic")),
            ("", Err("publish_to_empty_topic")),
            ("$SYS/x", Err("publish_to_dollar_topic")),
            ("$", Err("publish_to_dollar_topic")),
        ],
    );
    let lower = CLAIMED.to_lowercase();
    let judged = gate(false)
        .publish(&anonymous(Nearness::Loopback), format!("meshcore/sjc/{lower}/packets"))
        .unwrap_err();
    assert_eq!(judged.reason, "publish_for_a_claimed_key", "the case of letters hides nothing");
}

#[test]
fn row_18_other_trees_by_nearness() {
    let elsewhere = [
        ("homeassistant/sensor/x/config", PASSED),
        ("zigbee2mqtt/lamp/set", PASSED),
        ("zigbee2mqtt/lamp", Err("publish_outside_meshcore")),
        ("homeassistantx/y", Err("publish_outside_meshcore")),
        // What a gateway says there is stored, and its key is as protected as ever.
        ("meshrank/uplink/secret/FREE/packets", STORED),
        ("meshrank/uplink/secret/CLAIMED/packets", Err("publish_for_a_claimed_key")),
        // Home Assistant may speak of a node by its key.
        ("homeassistant/sensor/CLAIMED/config", PASSED),
    ];
    publishes(&anonymous(Nearness::Lan), &elsewhere);
    publishes(&anonymous(Nearness::Loopback), &elsewhere);
    publishes(
        &anonymous(Nearness::Outside),
        &[
            ("homeassistant/sensor/x/config", Err("publish_outside_meshcore_from_outside")),
            ("meshcore/SJC/FREE/packets", STORED),
        ],
    );
}

#[test]
fn row_7_a_publisher_speaks_for_its_own_key_alone() {
    for who in [token(FREE), account("roof", Role::Publisher, Some(FREE))] {
        publishes(
            &who,
            &[
                ("meshcore/SJC/FREE/packets", STORED),
                ("meshcore/SJC/FREE/status", STORED),
                ("meshcore/SJC/FREE/neighbors", STORED),
                ("meshcore/SJC/FREE/config", STORED),
                ("meshcore/SJC/FREE/raw", STORED),
                ("meshcore/SJC/FREE/debug", STORED),
                ("meshcore/SJC/FREE/decoded", STORED),
                ("meshcore/SJC/FREE/filter", STORED),
                ("meshcore/SJC/FREE/serial/responses", STORED),
                ("meshcore/client/FREE/packets", STORED),
                ("meshcore/FREE/packets", STORED),
                ("meshcore//FREE/packets", STORED),
                ("meshrank/uplink/secret/FREE/packets", STORED),
                ("meshcore/SJC/FREE/serial/commands", Err("publish_to_serial_commands")),
                ("meshcore/SJC/FREE/internal", Err("publish_to_internal")),
                ("meshcore/SJC/FREE/packets/x", Err("publish_to_unknown_subtopic")),
                ("meshcore/SJC/FREE/else", Err("publish_to_unknown_subtopic")),
                ("meshcore/SJC/CLAIMED/packets", Err("publish_for_another_key")),
                ("meshcore/SJC/AB12/packets", Err("publish_without_own_key")),
                ("meshcore/packets", Err("publish_without_own_key")),
                ("meshrank/uplink/secret/CLAIMED/packets", Err("publish_for_another_key")),
                ("homeassistant/sensor/x/config", Err("publish_without_own_key")),
                ("other/x", Err("publish_outside_meshcore")),
                ("$SYS/x", Err("publish_to_dollar_topic")),
            ],
        );
    }
    // Its own claim is no obstacle, and neither is that its key came by another way.
    for who in [token(CLAIMED), account("hill", Role::Publisher, Some(CLAIMED))] {
        publishes(&who, &[("meshcore/SJC/CLAIMED/packets", STORED)]);
    }
}

#[test]
fn row_5_a_shared_account_speaks_for_every_unclaimed_key() {
    publishes(
        &account("club", Role::Publisher, None),
        &[
            ("meshcore/SJC/FREE/packets", STORED),
            ("meshcore/packets", STORED),
            ("meshcore/SJC/CLAIMED/packets", Err("publish_for_a_claimed_key")),
            ("meshcore/SJC/FREE/internal", Err("publish_to_internal")),
            ("homeassistant/sensor/x/config", Err("publish_without_own_key")),
        ],
    );
    // The one that holds the claim, by name.
    let holder = account("hill", Role::Publisher, None);
    publishes(&holder, &[("meshcore/SJC/CLAIMED/packets", STORED)]);
}

#[test]
fn row_5_bind_first_key_binds_an_account_to_the_first_key_it_speaks_for() {
    let binds = |who: &Who, topic: &str, asked: bool| {
        let (_, permit) = gate(asked).publish(who, real(topic)).unwrap();
        permit.binds
    };
    let club = account("club", Role::Publisher, None);
    assert_eq!(binds(&club, "meshcore/SJC/FREE/packets", true), Some(key(FREE)));
    assert_eq!(binds(&club, "meshcore/SJC/FREE/packets", false), None);
    assert_eq!(binds(&club, "meshcore/SJC/AB12/packets", true), None);
    assert_eq!(binds(&club, "meshcore/packets", true), None);
    assert_eq!(binds(&club, "meshcore/SJC/FREE/else", true), None);
    assert_eq!(binds(&token(FREE), "meshcore/SJC/FREE/packets", true), None);
    let stranger = anonymous(Nearness::Loopback);
    assert_eq!(binds(&stranger, "meshcore/SJC/FREE/packets", true), None);
    let admin = account("boss", Role::Admin, None);
    assert_eq!(binds(&admin, "meshcore/SJC/FREE/packets", true), None);
}

#[test]
fn row_12_what_readers_and_admins_may_publish() {
    let no = Err("publish_by_a_reader");
    publishes(
        &account("home", Role::Reader, None),
        &[
            ("homeassistant/sensor/x/config", PASSED),
            ("zigbee2mqtt/lamp/set", PASSED),
            ("meshcore/SJC/FREE/packets", no),
            ("meshrank/uplink/secret/FREE/packets", no),
            ("other/x", Err("publish_outside_meshcore")),
        ],
    );
    publishes(
        &account("guest", Role::Limited, None),
        &[("homeassistant/sensor/x/config", no), ("meshcore/SJC/FREE/packets", no)],
    );
    publishes(
        &account("boss", Role::Admin, None),
        &[
            ("meshcore/SJC/CLAIMED/packets", STORED),
            ("meshcore/SJC/CLAIMED/internal", STORED),
            ("meshcore/SJC/CLAIMED/serial/commands", STORED),
            ("homeassistant/sensor/x/config", PASSED),
            ("other/x", PASSED),
            ("$SYS/x", Err("publish_to_dollar_topic")),
        ],
    );
}

#[test]
fn filters_that_nobody_gets() {
    let long = "a/".repeat(topic::LONGEST_ROUTED);
    for who in [anonymous(Nearness::Loopback), account("boss", Role::Admin, None)] {
        subscribes(
            &who,
            &[
                ("#", Ok(())),
                ("+", Ok(())),
                ("meshcore/#", Ok(())),
                ("meshcore/+/+/packets", Ok(())),
                ("", Err("subscribe_to_malformed_filter")),
                ("a/#/b", Err("subscribe_to_malformed_filter")),
                ("a+", Err("subscribe_to_malformed_filter")),
                ("a/b#", Err("subscribe_to_malformed_filter")),
                ("$share/g/a", Err("subscribe_shared")),
                ("$share/g", Err("subscribe_shared")),
                ("$share", Err("subscribe_shared")),
                ("$SYS/#", Err("subscribe_to_dollar_filter")),
                ("é/#", Err("subscribe_to_unroutable_filter")),
                ("a\u{7f}", Err("subscribe_to_unroutable_filter")),
                ("a\tb", Err("subscribe_to_unroutable_filter")),
                (long.as_str(), Err("subscribe_to_unroutable_filter")),
            ],
        );
    }
}

#[test]
fn row_11_a_publisher_subscribes_to_its_own_commands_alone() {
    let no = Err("subscribe_by_a_publisher");
    for who in [token(FREE), account("roof", Role::Publisher, Some(FREE))] {
        subscribes(
            &who,
            &[
                ("meshcore/SJC/FREE/serial/commands", Ok(())),
                ("meshcore/+/FREE/serial/commands", Ok(())),
                ("meshcore/SJC/FREE/serial/#", no),
                ("meshcore/SJC/FREE/+/commands", no),
                ("meshcore/SJC/+/serial/commands", no),
                ("meshcore/SJC/CLAIMED/serial/commands", no),
                ("meshcore/SJC/FREE/packets", no),
                ("meshcore/#", no),
                ("#", no),
                ("homeassistant/#", no),
                ("$SYS/#", Err("subscribe_to_dollar_filter")),
            ],
        );
        sees(
            &who,
            &[
                ("meshcore/SJC/FREE/serial/commands", View::Whole),
                ("meshcore/SJC/CLAIMED/serial/commands", View::Nothing),
                ("meshcore/SJC/FREE/packets", View::Nothing),
                ("meshcore/SJC/FREE/internal", View::Nothing),
            ],
        );
    }
    subscribes(
        &account("club", Role::Publisher, None),
        &[("meshcore/SJC/FREE/serial/commands", no), ("meshcore/#", no)],
    );
}

#[test]
fn row_12_what_readers_may_subscribe_to_and_see() {
    let home = account("home", Role::Reader, None);
    let guest = account("guest", Role::Limited, None);
    for who in [&home, &guest] {
        subscribes(
            who,
            &[
                ("#", Ok(())),
                ("meshcore/#", Ok(())),
                ("meshcore/+/+/+", Ok(())),
                ("+/+/FREE/packets", Ok(())),
                ("meshcore/SJC/FREE/internal", Err("subscribe_to_internal")),
                ("+/+/+/internal", Err("subscribe_to_internal")),
                ("meshcore/SJC/FREE/serial/commands", Err("subscribe_to_serial")),
                ("meshcore/SJC/FREE/serial/#", Err("subscribe_to_serial")),
                ("other/#", Err("subscribe_outside_meshcore")),
                ("meshcored/#", Err("subscribe_outside_meshcore")),
            ],
        );
    }
    let outside = Err("subscribe_outside_meshcore");
    subscribes(&home, &[("homeassistant/#", Ok(())), ("zigbee2mqtt/#", Ok(()))]);
    subscribes(&guest, &[("homeassistant/#", outside), ("zigbee2mqtt/#", outside)]);
    sees(
        &home,
        &[
            ("meshcore/SJC/FREE/packets", View::Whole),
            ("meshcore/SJC/FREE/neighbors", View::Whole),
            ("homeassistant/sensor/x/config", View::Whole),
            ("meshcore/SJC/FREE/internal", View::Nothing),
            ("meshcore/SJC/FREE/serial/commands", View::Nothing),
            ("meshcore/SJC/FREE/serial/responses", View::Nothing),
            ("other/x", View::Nothing),
        ],
    );
    sees(
        &guest,
        &[
            ("meshcore/SJC/FREE/packets", View::Redacted),
            ("meshcore/SJC/FREE/status", View::Redacted),
            ("meshcore/SJC/FREE/raw", View::Redacted),
            ("meshcore/message/channel/0", View::Redacted),
            ("meshcore/SJC/FREE/neighbors", View::Nothing),
            ("meshcore/SJC/FREE/config", View::Nothing),
            ("meshcore/SJC/FREE/debug", View::Nothing),
            ("meshcore/SJC/FREE/internal", View::Nothing),
            ("meshcore/SJC/FREE/internal/status", View::Nothing),
            ("meshcore/SJC/FREE/serial/commands", View::Nothing),
            ("homeassistant/sensor/x/status", View::Nothing),
        ],
    );
}

#[test]
fn row_21_what_subscribers_without_a_login_get() {
    let no = Err("subscribe_without_login");
    subscribes(
        &anonymous(Nearness::Lan),
        &[
            ("meshcore/#", no),
            ("#", no),
            ("+/sensor/#", no),
            ("homeassistant/#", Ok(())),
            ("homeassistant/sensor/+/config", Ok(())),
            ("zigbee2mqtt/lamp/set", Ok(())),
            ("zigbee2mqtt/#", no),
        ],
    );
    subscribes(&anonymous(Nearness::Outside), &[("homeassistant/#", no), ("meshcore/#", no)]);
    sees(
        &anonymous(Nearness::Loopback),
        &[
            ("meshcore/SJC/FREE/packets", View::Whole),
            ("meshcore/SJC/CLAIMED/packets", View::Whole),
            ("homeassistant/sensor/x/config", View::Whole),
            ("meshcore/SJC/FREE/serial/commands", View::Whole),
            ("meshcore/SJC/CLAIMED/serial/commands", View::Nothing),
            ("meshcore/SJC/FREE/internal", View::Nothing),
        ],
    );
    sees(
        &anonymous(Nearness::Lan),
        &[("meshcore/SJC/FREE/packets", View::Nothing), ("zigbee2mqtt/a/set", View::Whole)],
    );
    sees(
        &account("boss", Role::Admin, None),
        &[("meshcore/SJC/FREE/internal", View::Whole), ("other/x", View::Whole)],
    );
}

#[test]
fn row_10_a_topic_comes_out_normalised_allowed_or_not() {
    let who = token(FREE);
    let lower = FREE.to_lowercase();
    let judge = |kind: &str| gate(false).publish(&who, format!("meshcore/sjc/{lower}/{kind}"));
    assert_eq!(judge("packets").unwrap().0, format!("meshcore/SJC/{FREE}/packets"));
    assert_eq!(judge("else").unwrap_err().topic, format!("meshcore/SJC/{FREE}/else"));
}

#[test]
fn placeholder_regions_are_known() {
    let of = |topic: &str| Speech::of(&real(topic)).map(|s| s.has_placeholder());
    for region in ["XXX", "LOC", "XYZ"] {
        assert_eq!(of(&format!("meshcore/{region}/FREE/packets")), Some(true));
    }
    assert_eq!(of("meshcore/SJC/FREE/packets"), Some(false));
    assert_eq!(of("meshcore/client/FREE/packets"), Some(false));
    assert_eq!(of("meshcore/SJC/AB12/packets"), None);
}
