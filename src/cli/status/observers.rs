//! What `meshbox status` says about observers: when, by whom and from where they were heard.

use super::layout::entry;
use super::span;
use crate::broker::board::{Clients, ObserverRow};

/// Every observer that is remembered.
pub(super) fn all(clients: &Clients) -> String {
    if clients.observers.is_empty() {
        return "nobody was heard since the hub started\n".to_owned();
    }
    clients.observers.iter().map(|row| observer(row, clients.now_ms)).collect()
}

fn observer(row: &ObserverRow, now_ms: i64) -> String {
    let there = match row.online {
        Some(true) => ", online",
        Some(false) => ", offline",
        None => "",
    };
    let name = row.key.as_deref().unwrap_or("topics that name no observer");
    let region = if row.region.is_empty() { "" } else { &format!("  {}", row.region) };
    let token = row.token_ends_ms.map_or_else(String::new, |ends_ms| token(ends_ms, now_ms));
    let lines = [
        ("heard", heard(row, now_ms)),
        ("from", from(row)),
        ("client", client(row)),
        ("token", token),
        ("odd", odd(row)),
        ("refused", refused(row, now_ms)),
    ];
    let mut text = format!("  {name}{region}{there}\n");
    for (title, line) in lines.iter().filter(|(_, line)| !line.is_empty()) {
        text.push_str(&entry(title, line));
    }
    text
}

fn heard(row: &ObserverRow, now_ms: i64) -> String {
    let (last, first) = (span(now_ms - row.last_ms), span(now_ms - row.first_ms));
    let messages = if row.messages == 1 { "message" } else { "messages" };
    format!("{last} ago, first {first} ago, {} {messages}", row.messages)
}

fn from(row: &ObserverRow) -> String {
    let own = row.key.as_deref() == Some(&*row.identity);
    match (own, row.identity == row.from) {
        (true, _) => format!("{} with a token of its key", row.from),
        (false, true) => format!("{} without a login", row.from),
        (false, false) => format!("{} as {}", row.from, row.identity),
    }
}

fn client(row: &ObserverRow) -> String {
    let id = Some(row.client_id.as_str()).filter(|id| !id.is_empty());
    match (row.client.as_deref(), id) {
        (Some(client), Some(id)) => format!("{client}, client id {id}"),
        (Some(client), None) => client.to_owned(),
        (None, Some(id)) => format!("client id {id}"),
        (None, None) => String::new(),
    }
}

/// When a token ends, or has ended.
pub(super) fn token(ends_ms: i64, now_ms: i64) -> String {
    match ends_ms - now_ms {
        left if left >= 0 => format!("its token ends in {}", span(left)),
        left => format!("its token ended {} ago: it logs in with a new one", span(-left)),
    }
}

fn odd(row: &ObserverRow) -> String {
    let counted = [(row.over_rate, "beyond the rate"), (row.duplicates, "sent again")];
    let odd = counted.iter().filter(|(count, _)| *count > 0);
    odd.map(|(count, what)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
}

fn refused(row: &ObserverRow, now_ms: i64) -> String {
    let (Some(reason), Some(at_ms)) = (&row.last_refusal, row.last_refusal_ms) else {
        return String::new();
    };
    let help = if row.help.is_empty() { "" } else { &format!(": {}", row.help) };
    format!("{} ago, {reason}{help}", span(now_ms - at_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(text: &str) {
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
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
        let text = all(&clients);
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
