//! What `meshbox status` says about the clients of our broker, in a hundred columns.

use super::layout::{brief, entry, short, size, table};
use super::span;
use crate::broker::board::{Clients, ConnectionRow, ObserverRow, RefusalRow, Sort};
use crate::counters::QueueState;

/// So many connections, and so many refusals, are shown beside the rest of the status.
const IN_SHORT: usize = 10;
const REFUSALS_IN_SHORT: usize = 5;

/// So many characters of an identity, and of a client id, are shown in a column.
const IDENTITY: usize = 14;
const CLIENT_ID: usize = 20;

/// The connections and the newest refusals, as far as they are few.
pub(super) fn in_short(clients: &Clients) -> String {
    let mut text = String::new();
    if !clients.connections.is_empty() {
        let shown = &clients.connections[..clients.connections.len().min(IN_SHORT)];
        text.push_str(&format!("connections ({})\n", clients.connections.len()));
        text.push_str(&connection_table(shown, clients.now_ms));
        text.push_str(&more(clients.connections.len(), IN_SHORT, "--connections"));
    }
    if !clients.away.is_empty() {
        let shown = &clients.away[..clients.away.len().min(IN_SHORT)];
        text.push_str(&away_list(clients.away.len(), shown, clients.now_ms));
        text.push_str(&more(clients.away.len(), IN_SHORT, "--connections"));
    }
    if !clients.refusals.is_empty() {
        let shown = &clients.refusals[..clients.refusals.len().min(REFUSALS_IN_SHORT)];
        text.push_str("recent refusals\n");
        text.extend(shown.iter().map(|row| refusal(row, clients.now_ms)));
        text.push_str(&more(clients.refusals.len(), REFUSALS_IN_SHORT, "--refusals"));
    }
    text
}

/// Every connection, and every session that is kept for a client that is away.
pub(super) fn connections(clients: &Clients) -> String {
    let mut text = match &clients.connections[..] {
        [] => "nobody is connected\n".to_owned(),
        rows => connection_table(rows, clients.now_ms),
    };
    if !clients.away.is_empty() {
        text.push_str(&away_list(clients.away.len(), &clients.away, clients.now_ms));
    }
    text
}

/// Every refusal that is remembered.
pub(super) fn refusals(clients: &Clients) -> String {
    if clients.refusals.is_empty() {
        return "nothing was refused since the hub started\n".to_owned();
    }
    clients.refusals.iter().map(|row| refusal(row, clients.now_ms)).collect()
}

/// Every observer that is remembered.
pub(super) fn observers(clients: &Clients) -> String {
    if clients.observers.is_empty() {
        return "nobody was heard since the hub started\n".to_owned();
    }
    clients.observers.iter().map(|row| observer(row, clients.now_ms)).collect()
}

fn more(all: usize, shown: usize, flag: &str) -> String {
    match all.saturating_sub(shown) {
        0 => String::new(),
        more => format!("  … and {more} more: meshbox status {flag}\n"),
    }
}

fn connection_table(rows: &[ConnectionRow], now_ms: i64) -> String {
    let head = ["from", "as", "client id", "since", "last", "in", "out"];
    let several = rows.iter().any(|row| row.listener != rows[0].listener);
    let row = |row: &ConnectionRow| {
        let name = match &row.identity {
            // A token's identity is its key; of a key the first digits tell it apart.
            Some(identity) => format!("{} ({})", short(identity, IDENTITY), row.role),
            None => row.role.clone(),
        };
        let cells = [
            row.from.clone(),
            name,
            short(&row.client_id, CLIENT_ID),
            brief(now_ms - row.since_ms),
            row.last_message_ms.map_or_else(|| "–".to_owned(), |at| brief(now_ms - at)),
            row.messages_in.to_string(),
            row.messages_out.to_string(),
        ];
        (cells, remarks(row, several, now_ms))
    };
    table(&head, rows.iter().map(row))
}

/// What there is to say about a connection beside the columns.
fn remarks(row: &ConnectionRow, several_listeners: bool, now_ms: i64) -> String {
    let mut all = Vec::new();
    if several_listeners {
        all.push(format!("on {}", row.listener));
    }
    if row.unacknowledged > 0 {
        all.push(format!("{} of its publishes not acknowledged yet", row.unacknowledged));
    }
    let waiting = waiting(row.queued, row.queued_bytes, row.lost);
    all.extend(Some(waiting).filter(|it| !it.is_empty()));
    all.extend(row.token_ends_ms.map(|ends_ms| token(ends_ms, now_ms)));
    all.extend(row.flags.iter().map(|flag| odd(flag)));
    all.join("; ")
}

/// What waits for a subscriber, and what it has lost; empty where that is nothing.
fn waiting(copies: u64, bytes: u64, lost: u64) -> String {
    let size = if bytes > 0 { format!(" ({})", size(bytes)) } else { String::new() };
    match (copies, lost) {
        (0, 0) => String::new(),
        (waiting, 0) => format!("{waiting} copies wait for it{size}"),
        (0, lost) => format!("{lost} copies lost, since it read too slowly"),
        (waiting, lost) => {
            format!("{waiting} copies wait for it{size}, {lost} lost, since it read too slowly")
        }
    }
}

fn token(ends_ms: i64, now_ms: i64) -> String {
    match ends_ms - now_ms {
        left if left >= 0 => format!("its token ends in {}", span(left)),
        left => format!("its token ended {} ago: it logs in with a new one", span(-left)),
    }
}

/// A flag of the board in words.
fn odd(flag: &str) -> String {
    let words = match flag {
        "placeholder_region" => "its region is a placeholder: set its iata",
        "same_client_id" => "another client has the same client id",
        "same_observer" => "another client speaks for the same observer",
        "over_rate" => "it sends too much",
        "duplicates" => "it sends packets again",
        other => other,
    };
    words.to_owned()
}

fn away_list(all: usize, rows: &[QueueState], now_ms: i64) -> String {
    let head = ["whose", "client id", "away", "ends in", "waiting", "size", "lost"];
    let row = |row: &QueueState| {
        let since = |at: Option<i64>| at.map_or_else(|| "–".to_owned(), |at| brief(now_ms - at));
        let cells = [
            short(&row.identity, CLIENT_ID),
            short(&row.client_id, CLIENT_ID),
            since(row.away_since_ms),
            row.kept_until_ms.map_or_else(|| "–".to_owned(), |at| brief(at - now_ms)),
            row.messages.to_string(),
            size(row.bytes),
            row.lost.to_string(),
        ];
        (cells, String::new())
    };
    format!("sessions of clients that are away ({all})\n{}", table(&head, rows.iter().map(row)))
}

fn refusal(row: &RefusalRow, now_ms: i64) -> String {
    let sort = match row.sort {
        Sort::Connection => "a connection",
        Sort::Closed => "a connection was ended,",
        Sort::Publish => "a publish",
        Sort::Subscription => "a subscription",
    };
    let mut text = format!("  {}, {}", row.reason, ago(now_ms - row.at_ms));
    if row.times > 1 {
        text.push_str(&format!(", {} times", row.times));
        let within = row.at_ms - row.first_ms;
        if within >= 1_000 {
            text.push_str(&format!(" within {}", span(within)));
        }
    }
    text.push('\n');
    let named = row.identity.as_deref().filter(|name| *name != row.from);
    let name = named.map_or_else(String::new, |name| format!(" as {name}"));
    let id = match row.client_id.as_str() {
        "" => String::new(),
        id => format!(", client id {id}"),
    };
    text.push_str(&entry("what", &format!("{sort} from {}{name}{id}", row.from)));
    for (title, about) in [("topic", &row.about), ("help", &row.help)] {
        if !about.is_empty() {
            text.push_str(&entry(title, about));
        }
    }
    text
}

fn observer(row: &ObserverRow, now_ms: i64) -> String {
    let there = match row.online {
        Some(true) => ", online",
        Some(false) => ", offline",
        None => "",
    };
    let name = row.key.as_deref().unwrap_or("topics that name no observer");
    let region = if row.region.is_empty() { "" } else { &format!("  {}", row.region) };
    let mut text = format!("  {name}{region}{there}\n");
    let first = ago(now_ms - row.first_ms);
    let messages = if row.messages == 1 { "message" } else { "messages" };
    let (last, count) = (ago(now_ms - row.last_ms), row.messages);
    text.push_str(&entry("heard", &format!("{last}, first {first}, {count} {messages}")));
    let own = row.key.as_deref() == Some(&*row.identity);
    let login = match (own, row.identity == row.from) {
        (true, _) => " with a token of its key".to_owned(),
        (false, true) => " without a login".to_owned(),
        (false, false) => format!(" as {}", row.identity),
    };
    text.push_str(&entry("from", &format!("{}{login}", row.from)));
    let id = Some(row.client_id.as_str()).filter(|id| !id.is_empty());
    let client = match (row.client.as_deref(), id) {
        (Some(client), Some(id)) => format!("{client}, client id {id}"),
        (Some(client), None) => client.to_owned(),
        (None, Some(id)) => format!("client id {id}"),
        (None, None) => String::new(),
    };
    let mut odd = Vec::new();
    for (count, what) in [(row.over_rate, "beyond the rate"), (row.duplicates, "sent again")] {
        if count > 0 {
            odd.push(format!("{count} {what}"));
        }
    }
    let token = row.token_ends_ms.map_or_else(String::new, |ends_ms| token(ends_ms, now_ms));
    let refused = match (&row.last_refusal, row.last_refusal_ms) {
        (Some(reason), Some(at_ms)) => {
            let help = if row.help.is_empty() { "" } else { &format!(": {}", row.help) };
            format!("{}, {reason}{help}", ago(now_ms - at_ms))
        }
        _ => String::new(),
    };
    let lines =
        [("client", client), ("token", token), ("odd", odd.join(", ")), ("refused", refused)];
    for (title, line) in lines.iter().filter(|(_, line)| !line.is_empty()) {
        text.push_str(&entry(title, line));
    }
    text
}

fn ago(ms: i64) -> String {
    format!("{} ago", span(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(n: i64) -> RefusalRow {
        RefusalRow {
            at_ms: n,
            first_ms: n,
            times: 1,
            sort: Sort::Publish,
            from: "10.0.0.9".into(),
            identity: None,
            client_id: "meshcore_A".into(),
            listener: "tcp 0.0.0.0:1883".into(),
            reason: "publish_to_internal".into(),
            about: "meshcore/SJC/x/internal".into(),
            help: "only admins publish there".into(),
        }
    }

    fn connected(from: &str, id: &str) -> ConnectionRow {
        ConnectionRow {
            from: from.into(),
            role: "anonymous".into(),
            client_id: id.into(),
            listener: "tcp 0.0.0.0:1883".into(),
            messages_in: 12,
            last_message_ms: Some(58_000),
            ..ConnectionRow::default()
        }
    }

    fn fits(text: &str) {
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }

    #[test]
    fn connections_are_a_table_with_remarks_below_the_rows() {
        let mut odd = connected("192.168.1.20", &"meshcore_".repeat(9));
        odd.flags = vec!["same_client_id".into()];
        (odd.identity, odd.role) = (Some("AB".repeat(32)), "publisher".into());
        (odd.unacknowledged, odd.queued, odd.queued_bytes, odd.lost) = (2, 7, 45_678, 3);
        odd.token_ends_ms = Some(121_000);
        let clients = Clients {
            now_ms: 60_000,
            connections: vec![connected("10.0.0.1", "é"), odd],
            ..Clients::default()
        };
        let text = connections(&clients);
        fits(&text);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1],
            "  10.0.0.1      anonymous                   é                     1 min  2 s   12  0"
        );
        assert!(lines[2].contains("ABABABABABABA… (publisher)  meshcore_meshcore_m…  "), "{text}");
        let remark = lines[3..].iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        assert_eq!(
            remark,
            "2 of its publishes not acknowledged yet; 7 copies wait for it (45 kB), 3 lost, since it \
             read too slowly; its token ends in 1 min 1 s; another client has the same client id"
        );
    }

    #[test]
    fn sessions_of_clients_that_are_away_tell_what_waits_and_for_how_long() {
        let away = QueueState {
            identity: "home".into(),
            client_id: "hass".into(),
            kept: true,
            away_since_ms: Some(0),
            kept_until_ms: Some(86_400_000),
            messages: 120,
            bytes: 45_678,
            lost: 3,
            ..QueueState::default()
        };
        let clients = Clients { now_ms: 7_200_000, away: vec![away], ..Clients::default() };
        for text in [connections(&clients), in_short(&clients)] {
            fits(&text);
            let row = "  home   hass       2 h   22 h     120      45 kB  3\n";
            assert!(text.contains("sessions of clients that are away (1)\n"), "{text}");
            assert!(text.ends_with(row), "{text}");
        }
    }

    #[test]
    fn the_short_form_shows_five_refusals_and_says_where_the_others_are() {
        assert_eq!(in_short(&Clients::default()), "");
        let refusals = (0..7).map(refused).collect();
        let text = in_short(&Clients { refusals, now_ms: 5_000, ..Clients::default() });
        fits(&text);
        assert_eq!(text.matches("publish_to_internal, ").count(), 5);
        assert!(text.ends_with("… and 2 more: meshbox status --refusals\n"), "{text}");
    }

    #[test]
    fn a_refusal_tells_who_what_and_what_helps() {
        let mut row = refused(60_000);
        (row.times, row.first_ms, row.identity) = (3, 0, Some("roof".into()));
        row.about = format!("meshcore/SJC/{}/internal", "AB".repeat(32));
        row.help = "word ".repeat(30);
        let clients = Clients { refusals: vec![row], now_ms: 62_000, ..Clients::default() };
        let text = refusals(&clients);
        fits(&text);
        assert!(text.starts_with(&format!(
            "  publish_to_internal, 2 s ago, 3 times within 1 min 0 s\n\
             {0}what      a publish from 10.0.0.9 as roof, client id meshcore_A\n\
             {0}topic     meshcore/SJC/{1}/internal\n\
             {0}help      word word",
            "    ",
            "AB".repeat(32)
        )));
    }

    #[test]
    fn row_20_an_observer_is_shown_whole_in_a_hundred_columns() {
        let row = ObserverRow {
            key: Some("A".repeat(64)),
            identity: "roof".into(),
            from: "10.0.0.1".into(),
            client_id: "meshcore_A".into(),
            client: Some("meshcoretomqtt/1.1.0".into()),
            online: Some(true),
            region: "SJC".into(),
            first_ms: 1_000,
            last_ms: 3_600_000,
            messages: 12,
            duplicates: 7,
            token_ends_ms: Some(3_661_000),
            last_refusal: Some("publish_too_large".into()),
            last_refusal_ms: Some(3_540_000),
            help: "raise broker.maxPayloadKB if it is meant to be so large".into(),
            ..ObserverRow::default()
        };
        let clients = Clients { now_ms: 3_601_000, observers: vec![row], ..Clients::default() };
        let text = observers(&clients);
        fits(&text);
        let expected = [
            &format!("  {}  SJC, online", "A".repeat(64)),
            "    heard     1 s ago, first 1 h 0 min ago, 12 messages",
            "    from      10.0.0.1 as roof",
            "    client    meshcoretomqtt/1.1.0, client id meshcore_A",
            "    token     its token ends in 1 min 0 s",
            "    odd       7 sent again",
            "    refused   1 min 1 s ago, publish_too_large: raise broker.maxPayloadKB if it is meant to be \
             so",
            "              large",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected, "{text}");
    }
}
