//! What `meshbox status` says about the clients of our broker, in tables.

use super::span;
use crate::broker::board::{Clients, ConnectionRow, ObserverRow, RefusalRow, Sort};

/// So many connections and refusals are shown beside the rest of the status.
const IN_SHORT: usize = 10;

/// The connections and the newest refusals, as far as they are few.
pub(super) fn in_short(clients: &Clients) -> String {
    let mut text = String::new();
    if !clients.connections.is_empty() {
        let shown = &clients.connections[..clients.connections.len().min(IN_SHORT)];
        text.push_str(&format!("connections ({})\n", clients.connections.len()));
        text.push_str(&connection_table(shown, clients.now_ms));
        text.push_str(&more(clients.connections.len(), "--connections"));
    }
    if !clients.refusals.is_empty() {
        let shown = &clients.refusals[..clients.refusals.len().min(IN_SHORT)];
        text.push_str("recent refusals\n");
        text.push_str(&refusal_table(shown, clients.now_ms));
        text.push_str(&more(clients.refusals.len(), "--refusals"));
    }
    text
}

/// Every connection.
pub(super) fn connections(clients: &Clients) -> String {
    if clients.connections.is_empty() {
        return "nobody is connected\n".to_owned();
    }
    connection_table(&clients.connections, clients.now_ms)
}

/// Every refusal that is remembered.
pub(super) fn refusals(clients: &Clients) -> String {
    if clients.refusals.is_empty() {
        return "nothing was refused since the hub started\n".to_owned();
    }
    refusal_table(&clients.refusals, clients.now_ms)
}

/// Every observer that is remembered.
pub(super) fn observers(clients: &Clients) -> String {
    if clients.observers.is_empty() {
        return "nobody was heard since the hub started\n".to_owned();
    }
    let rows = clients.observers.iter().map(|row| observer_row(row, clients.now_ms));
    let head = ["observer", "region", "spoken for by", "last", "messages", "odd"];
    table(&head, rows)
}

fn more(all: usize, flag: &str) -> String {
    match all.saturating_sub(IN_SHORT) {
        0 => String::new(),
        more => format!("  … and {more} more: meshbox status {flag}\n"),
    }
}

fn connection_table(rows: &[ConnectionRow], now_ms: i64) -> String {
    let head = ["from", "as", "client id", "on", "since", "last", "in", "out", "waiting", "odd"];
    let row = |row: &ConnectionRow| {
        let name = match &row.identity {
            // A token's identity is its key; of a key the first digits tell it apart.
            Some(identity) => format!("{} ({})", short(identity), row.role),
            None => row.role.clone(),
        };
        [
            row.from.clone(),
            name,
            short(&row.client_id),
            row.listener.clone(),
            span(now_ms - row.since_ms),
            row.last_message_ms.map_or_else(|| "–".to_owned(), |at| ago(now_ms - at)),
            row.messages_in.to_string(),
            row.messages_out.to_string(),
            format!("{}/{}", row.unacknowledged, row.queued),
            row.flags.join(", "),
        ]
    };
    table(&head, rows.iter().map(row))
}

fn refusal_table(rows: &[RefusalRow], now_ms: i64) -> String {
    let head = ["last", "times", "what", "from", "as", "client id", "reason", "about", "help"];
    let row = |row: &RefusalRow| {
        let sort = match row.sort {
            Sort::Connection => "connection",
            Sort::Closed => "closed",
            Sort::Publish => "publish",
            Sort::Subscription => "subscription",
        };
        [
            ago(now_ms - row.at_ms),
            row.times.to_string(),
            sort.to_owned(),
            row.from.clone(),
            row.identity.as_deref().map_or_else(String::new, short),
            short(&row.client_id),
            row.reason.clone(),
            row.about.clone(),
            row.help.clone(),
        ]
    };
    table(&head, rows.iter().map(row))
}

fn observer_row(row: &ObserverRow, now_ms: i64) -> [String; 6] {
    let mut odd = Vec::new();
    for (count, what) in [(row.over_rate, "over the rate"), (row.duplicates, "sent again")] {
        if count > 0 {
            odd.push(format!("{count} {what}"));
        }
    }
    odd.extend(row.last_refusal.clone());
    if let Some(ends) = row.token_ends_ms {
        odd.push(format!("token ends in {}", span(ends - now_ms)));
    }
    [
        row.key.as_deref().map_or_else(|| "–".to_owned(), short),
        row.region.clone(),
        format!("{} from {}", short(&row.identity), row.from),
        ago(now_ms - row.last_ms),
        row.messages.to_string(),
        odd.join(", "),
    ]
}

fn ago(ms: i64) -> String {
    format!("{} ago", span(ms))
}

/// The beginning of a long name: of a key's 64 digits nobody reads more than the first.
fn short(name: &str) -> String {
    const MOST: usize = 24;
    if name.chars().count() <= MOST {
        return name.to_owned();
    }
    let mut short: String = name.chars().take(MOST - 1).collect();
    short.push('…');
    short
}

/// Columns as wide as their widest entry; the last one ends where it ends.
fn table<const N: usize>(head: &[&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut rows: Vec<[String; N]> = rows.collect();
    rows.insert(0, head.map(str::to_owned));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or_default());
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("  {}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(n: i64) -> RefusalRow {
        RefusalRow {
            at_ms: n,
            first_ms: n,
            times: 3,
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

    #[test]
    fn connections_are_a_table_whose_columns_stand_in_line() {
        let row = |from: &str, id: &str| ConnectionRow {
            from: from.into(),
            role: "anonymous".into(),
            client_id: id.into(),
            listener: "tcp 0.0.0.0:1883".into(),
            messages_in: 12,
            last_message_ms: Some(58_000),
            ..ConnectionRow::default()
        };
        let mut odd = row("192.168.1.20", &"meshcore_".repeat(9));
        odd.flags = vec!["same_client_id".into()];
        let clients = Clients {
            now_ms: 60_000,
            connections: vec![row("10.0.0.1", "é"), odd],
            ..Clients::default()
        };
        let text = connections(&clients);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1],
            "  10.0.0.1      anonymous  é                         tcp 0.0.0.0:1883  1 min 0 s  \
             2 s ago  12  0    0/0"
        );
        assert!(lines[2].contains("meshcore_meshcore_meshc…"), "{text}");
        assert!(lines[2].ends_with("0/0      same_client_id"), "{text}");
    }

    #[test]
    fn the_short_form_shows_ten_and_says_where_the_others_are() {
        assert_eq!(in_short(&Clients::default()), "");
        let refusals = (0..12).map(refusal).collect();
        let text = in_short(&Clients { refusals, now_ms: 5_000, ..Clients::default() });
        assert_eq!(text.lines().count(), 13);
        assert!(
            text.contains("publish_to_internal  meshcore/SJC/x/internal  only admins"),
            "{text}"
        );
        assert!(text.ends_with("… and 2 more: meshbox status --refusals\n"), "{text}");
    }

    #[test]
    fn observers_tell_who_speaks_for_them_and_what_is_odd() {
        let row = ObserverRow {
            key: Some("A".repeat(64)),
            identity: "roof".into(),
            from: "10.0.0.1".into(),
            region: "SJC".into(),
            duplicates: 7,
            token_ends_ms: Some(61_000),
            last_refusal: Some("publish_too_large".into()),
            ..ObserverRow::default()
        };
        let text = observers(&Clients { observers: vec![row], ..Clients::default() });
        for part in [
            "AAA…",
            "roof from 10.0.0.1",
            "7 sent again, publish_too_large, token ends in 1 min 1 s",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
    }
}
