//! What `meshbox status` says about the connections and sessions of our broker, in a hundred columns.

use super::layout::{brief, short, size, table};
use super::observers::token;
use super::refusals;
use crate::broker::board::{Clients, ConnectionRow};
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
        text.push_str(&refusals::list(shown, clients.now_ms));
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
