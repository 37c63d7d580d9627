//! The table "What each may do" of README.md, cell by cell: what it says, and what comes of it.

use super::*;

const README: &str = include_str!("../../../../README.md");

/// A row of the table.
struct Line {
    /// Who, as README says it.
    who: &'static str,
    /// Clients of that kind.
    clients: Vec<Who>,
    publishes: Cell,
    subscribes: Cell,
}

/// What a cell says, topics for which it says yes, and topics for which it says no. One that is
/// subscribed to is a filter, of which the client would get what is published there.
struct Cell {
    says: &'static str,
    yes: &'static [&'static str],
    no: &'static [&'static str],
}

const ANONYMOUS: Cell = Cell {
    says: "`meshcore/#` but `…/internal` and `…/serial/commands`, for keys that nobody has claimed; \
           `allowTopics`",
    yes: &[
        "meshcore/SJC/FREE/packets",
        "meshcore/SJC/FREE/anything",
        "meshcore/SJC/FREE/serial/responses",
        "meshcore/x",
        "homeassistant/sensor/x/config",
    ],
    no: &[
        "meshcore/SJC/FREE/internal",
        "meshcore/SJC/FREE/serial/commands",
        "meshcore/SJC/CLAIMED/packets",
        "other/x",
    ],
};

fn table() -> Vec<Line> {
    let publisher = || vec![token(FREE), account("roof", Role::Publisher, Some(FREE))];
    vec![
        Line {
            who: "without a login, this machine",
            clients: vec![anonymous(Nearness::Loopback)],
            publishes: ANONYMOUS,
            subscribes: Cell {
                says: "everything but `…/internal` and a claimed key's `…/serial/…`",
                yes: &[
                    "meshcore/SJC/FREE/packets",
                    "meshcore/SJC/CLAIMED/packets",
                    "meshcore/SJC/FREE/serial/commands",
                    "homeassistant/x",
                    "other/x",
                ],
                no: &[
                    "meshcore/SJC/FREE/internal",
                    "meshcore/SJC/CLAIMED/serial/commands",
                    "meshcore/SJC/CLAIMED/serial/responses",
                ],
            },
        },
        Line {
            who: "without a login, local network",
            clients: vec![anonymous(Nearness::Lan)],
            publishes: Cell { says: "the same", ..ANONYMOUS },
            subscribes: Cell {
                says: "`allowTopics`",
                yes: &["homeassistant/x", "zigbee2mqtt/lamp/set"],
                no: &[
                    "meshcore/SJC/FREE/packets",
                    "meshcore/#",
                    "zigbee2mqtt/lamp",
                    "other/x",
                    "#",
                ],
            },
        },
        Line {
            who: "without a login, elsewhere (`access = \"anyone\"`)",
            clients: vec![anonymous(Nearness::Outside)],
            publishes: Cell {
                says: "the same without `allowTopics`",
                yes: &["meshcore/SJC/FREE/packets", "meshcore/x"],
                no: &[
                    "meshcore/SJC/FREE/internal",
                    "meshcore/SJC/FREE/serial/commands",
                    "meshcore/SJC/CLAIMED/packets",
                    "homeassistant/sensor/x/config",
                    "other/x",
                ],
            },
            subscribes: Cell {
                says: "nothing",
                yes: &[],
                no: &["meshcore/SJC/FREE/packets", "homeassistant/x", "other/x", "#", "meshcore/#"],
            },
        },
        Line {
            who: "publisher with a key, or a token",
            clients: publisher(),
            publishes: Cell {
                says: "`meshcore/REGION/ITS KEY/` `packets`, `status`, `neighbors`, `config`, `raw`, \
                       `debug`, `decoded`, `filter`, `serial/responses`",
                yes: &[
                    "meshcore/SJC/FREE/packets",
                    "meshcore/SJC/FREE/status",
                    "meshcore/SJC/FREE/neighbors",
                    "meshcore/SJC/FREE/config",
                    "meshcore/SJC/FREE/raw",
                    "meshcore/SJC/FREE/debug",
                    "meshcore/SJC/FREE/decoded",
                    "meshcore/SJC/FREE/filter",
                    "meshcore/SJC/FREE/serial/responses",
                ],
                no: &[
                    "meshcore/SJC/CLAIMED/packets",
                    "meshcore/SJC/OTHER/packets",
                    "meshcore/SJC/FREE/serial/commands",
                    "meshcore/SJC/FREE/internal",
                    "meshcore/SJC/FREE/anything",
                    "meshcore/x",
                    "homeassistant/sensor/x/config",
                    "other/x",
                ],
            },
            subscribes: Cell {
                says: "its own `…/serial/commands`",
                yes: &["meshcore/SJC/FREE/serial/commands"],
                no: &[
                    "meshcore/SJC/CLAIMED/serial/commands",
                    "meshcore/SJC/FREE/packets",
                    "meshcore/#",
                    "homeassistant/x",
                    "#",
                ],
            },
        },
        Line {
            who: "publisher without a key",
            clients: vec![account("club", Role::Publisher, None)],
            publishes: Cell {
                says: "`meshcore/#` as without a login",
                yes: &["meshcore/SJC/FREE/packets", "meshcore/SJC/OTHER/packets", "meshcore/x"],
                no: &[
                    "meshcore/SJC/FREE/internal",
                    "meshcore/SJC/FREE/serial/commands",
                    "meshcore/SJC/CLAIMED/packets",
                    "homeassistant/sensor/x/config",
                    "other/x",
                ],
            },
            subscribes: Cell {
                says: "nothing",
                yes: &[],
                no: &["meshcore/SJC/FREE/serial/commands", "meshcore/#", "homeassistant/x", "#"],
            },
        },
        Line {
            who: "reader",
            clients: vec![account("home", Role::Reader, None)],
            publishes: Cell {
                says: "`allowTopics`",
                yes: &["homeassistant/sensor/x/config", "zigbee2mqtt/lamp/set"],
                no: &["meshcore/SJC/FREE/packets", "meshcore/x", "zigbee2mqtt/lamp", "other/x"],
            },
            subscribes: Cell {
                says: "`meshcore/#` but `…/internal` and `…/serial/…`; `allowTopics`",
                yes: &[
                    "meshcore/SJC/FREE/packets",
                    "meshcore/SJC/CLAIMED/neighbors",
                    "meshcore/x",
                    "homeassistant/x",
                ],
                no: &[
                    "meshcore/SJC/FREE/internal",
                    "meshcore/SJC/FREE/serial/commands",
                    "meshcore/SJC/FREE/serial/responses",
                    "other/x",
                ],
            },
        },
        Line {
            who: "limited reader",
            clients: vec![account("guest", Role::Limited, None)],
            publishes: Cell {
                says: "nothing",
                yes: &[],
                no: &["homeassistant/sensor/x/config", "meshcore/SJC/FREE/packets", "other/x"],
            },
            subscribes: Cell {
                says: "packets, status, raw, decoded and companion messages without SNR, RSSI, score, \
                       stats, model, firmware and position",
                yes: &[
                    "meshcore/SJC/FREE/packets",
                    "meshcore/SJC/FREE/status",
                    "meshcore/SJC/FREE/raw",
                    "meshcore/SJC/FREE/decoded",
                    "meshcore/message/channel/0",
                ],
                no: &[
                    "meshcore/SJC/FREE/neighbors",
                    "meshcore/SJC/FREE/config",
                    "meshcore/SJC/FREE/debug",
                    "meshcore/SJC/FREE/internal",
                    "meshcore/SJC/FREE/serial/responses",
                    "homeassistant/x",
                    "other/x",
                ],
            },
        },
        Line {
            who: "admin",
            clients: vec![account("boss", Role::Admin, None)],
            publishes: Cell {
                says: "everything",
                yes: &[
                    "meshcore/SJC/CLAIMED/packets",
                    "meshcore/SJC/FREE/internal",
                    "meshcore/SJC/CLAIMED/serial/commands",
                    "homeassistant/x",
                    "other/x",
                ],
                no: &[],
            },
            subscribes: Cell {
                says: "everything",
                yes: &[
                    "#",
                    "meshcore/SJC/FREE/internal",
                    "meshcore/SJC/CLAIMED/serial/commands",
                    "other/x",
                ],
                no: &[],
            },
        },
    ]
}

/// A key that is nobody's, and not that of the publisher.
fn real(topic: &str) -> String {
    super::real(&topic.replace("OTHER", &"CC".repeat(32)))
}

#[test]
fn each_may_publish_what_its_cell_says_and_nothing_else() {
    for Line { who, clients, publishes, .. } in table() {
        for (client, expected) in
            clients.iter().flat_map(|client| [(client, publishes.yes), (client, publishes.no)])
        {
            for topic in expected {
                let allowed = gate(false).publish(client, real(topic)).is_ok();
                assert_eq!(allowed, publishes.yes.contains(topic), "{who}: {topic}");
            }
        }
    }
}

#[test]
fn each_gets_what_its_cell_says_and_nothing_else() {
    for Line { who, clients, subscribes, .. } in table() {
        for client in &clients {
            for topic in subscribes.yes.iter().chain(subscribes.no) {
                let topic_or_filter = real(topic);
                let granted = gate(false).subscribe(client, &topic_or_filter).is_ok();
                let seen = gate(false).view(client, &topic_or_filter);
                let redacted = client.role == Some(Role::Limited);
                let wanted = if redacted { View::Redacted } else { View::Whole };
                let gets = granted && (topic.contains('#') || seen == wanted);
                assert_eq!(gets, subscribes.yes.contains(topic), "{who}: {topic}, {seen:?}");
            }
        }
    }
}

#[test]
fn the_table_of_the_readme_is_this_one() {
    let section = README.split("### What each may do").nth(1).unwrap();
    let lines = section.lines().skip_while(|line| !line.starts_with('|')).skip(2);
    let written = lines.map_while(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let written: Vec<_> = written.collect();
    let here: Vec<_> = table()
        .iter()
        .map(|line| format!("{} | {} | {}", line.who, line.publishes.says, line.subscribes.says))
        .collect();
    assert_eq!(written, here);
}
