//! What `meshbox status` says about refusals: who, what, and what helps.

use super::layout::entry;
use super::span;
use crate::broker::board::{Clients, RefusalRow, Sort};

/// Every refusal that is remembered.
pub(super) fn all(clients: &Clients) -> String {
    if clients.refusals.is_empty() {
        return "nothing was refused since the hub started\n".to_owned();
    }
    list(&clients.refusals, clients.now_ms)
}

/// These refusals.
pub(super) fn list(rows: &[RefusalRow], now_ms: i64) -> String {
    rows.iter().map(|row| refusal(row, now_ms)).collect()
}

fn refusal(row: &RefusalRow, now_ms: i64) -> String {
    let sort = match row.sort {
        Sort::Connection => "a connection",
        Sort::Closed => "a connection was ended,",
        Sort::Publish => "a publish",
        Sort::Subscription => "a subscription",
    };
    let mut text = format!("  {}, {} ago", row.reason, span(now_ms - row.at_ms));
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

#[cfg(test)]
mod tests {
    use super::super::clients::in_short;
    use super::*;

    fn fits(text: &str) {
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }

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
        let text = all(&clients);
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
}
