//! What `meshbox decode` tells people about a packet that a node's key opened.

use crate::packet::Path;
use crate::packet::hex::Hex;
use crate::packet::inside::{Asked, Contents, Extra, Response, Said, TextMessage};
use crate::packet::payload::name::Quoted;
use crate::record::{Direction, Unsealed};

/// Names and values, in the order in which they are printed.
pub(super) fn facts(unsealed: &Unsealed) -> Vec<(&'static str, String)> {
    let mut facts = ends(unsealed);
    if !unsealed.certain {
        facts.push(("certainty", "the MAC fits, which happens by chance in 1 of 65536".into()));
    }
    match unsealed.contents() {
        Some(Contents::Text(text)) => {
            facts.extend(message(&text));
            facts.extend(unsealed.ack_code().map(|code| ("ack code", Hex(&code).to_string())));
        }
        Some(Contents::Request(request)) => {
            facts.push(("asks for", request.kind.to_string()));
            facts.push(("tag", format!("{:08x}", request.tag)));
            facts.push(("parameters", Hex(request.parameters).to_string()));
        }
        Some(Contents::Response(response)) => facts.extend(answer(&response)),
        Some(Contents::Path(returned)) => {
            facts.push(("path back", hops(returned.path)));
            match returned.extra {
                Extra::Ack(ack) => facts.push(("with an ack", ack.to_string())),
                Extra::Response(response) => facts.extend(answer(&response)),
                Extra::Nothing { .. } => {}
            }
        }
        Some(Contents::Anonymous(anonymous)) => {
            match anonymous.asked {
                Asked::Login(secret) => facts.push(("login with", secret.to_string())),
                Asked::Query(query, path) => {
                    facts.push(("asks for", query.to_string()));
                    facts.push(("answer along", hops(path)));
                }
            }
            facts.push(("tag", format!("{:08x}", anonymous.tag)));
        }
        None => {}
    }
    facts
}

fn message(text: &TextMessage<'_>) -> Vec<(&'static str, String)> {
    let mut facts = match text.said {
        Said::Plain(said) => vec![("text", Quoted(said).to_string())],
        Said::Command(secret) => vec![("command or answer", secret.to_string())],
        Said::Signed { author, text } => {
            vec![("author", format!("key {}…", Hex(author))), ("post", Quoted(text).to_string())]
        }
    };
    facts.push(("sent", utc(text.timestamp)));
    facts.push(("attempt", (u16::from(text.attempt) + 1).to_string()));
    facts
}

fn answer(response: &Response<'_>) -> [(&'static str, String); 2] {
    let (tag, body) = (format!("{:08x}", response.tag), Hex(response.body).to_string());
    [("answers tag", tag), ("answer", body)]
}

fn ends(unsealed: &Unsealed) -> Vec<(&'static str, String)> {
    let (node, peer) = (Hex(&unsealed.node).to_string(), Hex(&unsealed.peer).to_string());
    match unsealed.direction {
        Direction::Received => vec![("from", peer), ("to our node", node)],
        Direction::Sent => vec![("from our node", node), ("to", peer)],
        Direction::Unknown => vec![("between our node", node), ("and", peer)],
    }
}

fn hops(path: Path<'_>) -> String {
    let hops: Vec<_> = path.hops().map(|hop| format!("{:X}", Hex(hop))).collect();
    if hops.is_empty() { "no hops".to_owned() } else { hops.join(" ") }
}

fn utc(seconds: u32) -> String {
    jiff::Timestamp::from_second(i64::from(seconds)).unwrap_or_default().to_string()
}
