//! What we tell beyond CoreScope, under one key of our own: `meshbox`.
//!
//! | key under `opened` | in |
//! |---|---|
//! | `kind`: `text`, `command`, `post`, `request`, `response`, `path`, `login`, `query` | all |
//! | `node`, `peer`: our node's key and the other's | all |
//! | `direction`: `received`, `sent`, `unknown` (both keys begin alike) | all |
//! | `certain`: false where only the MAC of two bytes says so | all |
//! | `timestamp`: the sender's clock; `attempt` | text, command, post |
//! | `text`; `ackHash`: the `extraHash` of the ACK it asks for | text, post |
//! | `author`: the start of the author's key | post |
//! | `tag` | request, response, login, query |
//! | `asked`: what for | request, query |
//! | `parameters` | request |
//! | `body` | response, path with a response |
//! | `path`, `hashSize` | path, query |
//! | `ackHash`, or `tag` and `body` | path that brings one |
//!
//! Commands, answers to commands and passwords are left out: any of them may be a secret.

use super::super::unsealed::Unsealed;
use crate::packet::Path;
use crate::packet::hex::Hex;
use crate::packet::inside::{Asked, Contents, Extra, Response, Said};

use serde::Serialize;

/// The object under `meshbox`.
#[derive(Serialize)]
pub(super) struct Own<'a> {
    opened: Opened<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Opened<'a> {
    kind: &'static str,
    node: Hex<'a>,
    peer: Hex<'a>,
    direction: String,
    certain: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<Hex<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash_size: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Hex<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Hex<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ack_hash: Option<String>,
}

impl<'a> Own<'a> {
    pub(super) fn of(unsealed: &'a Unsealed) -> Option<Self> {
        let mut opened = Opened::by(unsealed);
        match unsealed.contents()? {
            Contents::Text(text) => {
                opened.timestamp = Some(text.timestamp);
                opened.attempt = Some(text.attempt);
                opened.ack_hash = unsealed.ack_code().map(ack_hash);
                opened.say(text.said);
            }
            Contents::Request(request) => {
                opened.kind = "request";
                opened.tag = Some(request.tag);
                opened.asked = Some(request.kind.to_string());
                opened.parameters = Some(Hex(request.parameters));
            }
            Contents::Response(response) => {
                opened.kind = "response";
                opened.respond(response);
            }
            Contents::Path(returned) => {
                opened.kind = "path";
                opened.lead(returned.path);
                match returned.extra {
                    Extra::Ack(ack) => opened.ack_hash = Some(ack_hash(ack.code)),
                    Extra::Response(response) => opened.respond(response),
                    Extra::Nothing { .. } => {}
                }
            }
            Contents::Anonymous(anonymous) => {
                opened.tag = Some(anonymous.tag);
                opened.kind = "login";
                if let Asked::Query(query, path) = anonymous.asked {
                    opened.kind = "query";
                    opened.asked = Some(query.to_string());
                    opened.lead(path);
                }
            }
        }
        Some(Self { opened })
    }
}

impl<'a> Opened<'a> {
    fn by(unsealed: &'a Unsealed) -> Self {
        Self {
            kind: "text",
            node: Hex(&unsealed.node),
            peer: Hex(&unsealed.peer),
            direction: unsealed.direction.to_string(),
            certain: unsealed.certain,
            timestamp: None,
            attempt: None,
            author: None,
            text: None,
            hash_size: None,
            path: None,
            tag: None,
            asked: None,
            parameters: None,
            body: None,
            ack_hash: None,
        }
    }

    fn say(&mut self, said: Said<'a>) {
        match said {
            Said::Plain(text) => self.text = Some(text),
            Said::Command(_) => self.kind = "command",
            Said::Signed { author, text } => {
                self.kind = "post";
                (self.author, self.text) = (Some(Hex(author)), Some(text));
            }
        }
    }

    fn respond(&mut self, response: Response<'a>) {
        (self.tag, self.body) = (Some(response.tag), Some(Hex(response.body)));
    }

    /// Hops as in the `path_json` column.
    fn lead(&mut self, path: Path<'a>) {
        self.hash_size = Some(path.size());
        self.path = Some(path.hops().map(|hop| format!("{:X}", Hex(hop))).collect());
    }
}

/// An ACK's code as CoreScope writes it in `extraHash`, so that the two can be found together.
fn ack_hash(code: [u8; 4]) -> String {
    format!("{:08x}", u32::from_le_bytes(code))
}
