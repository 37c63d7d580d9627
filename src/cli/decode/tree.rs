//! `meshbox decode` for people: every field with its offset, its bytes and what they mean.

use super::{Fault, letter};
use crate::crypto::channel::Opened;
use crate::packet::hash::{Digest, Formula};
use crate::packet::hex::Hex;
use crate::packet::payload::name::Quoted;
use crate::packet::sink::Line;
use crate::record::{Inside, Reading, Rules};

use std::fmt::Display;
use std::io::{self, Write};

/// Bytes that stand in the field's own line; longer fields have lines of their own below.
const INLINE: usize = 8;
/// Bytes in one of those lines.
const A_LINE: usize = 24;

/// Writes a packet: its fields, what keys tell about it, its hash.
pub(super) fn write(
    reading: &Reading<'_>,
    rules: &Rules,
    colours: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let paint = Paint { colours };
    writeln!(out, "{}", paint.bold(&reading.packet))?;
    for line in reading.packet.outline().lines {
        write_line(&line, paint, out)?;
    }
    for (name, value) in facts(reading, rules) {
        writeln!(out, "  {}  {value}", paint.name(&format!("{name:<22}")))?;
    }
    writeln!(out)
}

/// Writes why something is no packet, and points at the place.
pub(super) fn write_fault(fault: &Fault<'_>, colours: bool, out: &mut dyn Write) -> io::Result<()> {
    let paint = Paint { colours };
    writeln!(out, "{} {fault}", paint.error(&"not a packet:"))?;
    let (shown, mark) = match fault {
        Fault::Text(text, error) => {
            let chars: Vec<char> = text.chars().collect();
            let (start, window) = window(&chars, error.at());
            let shown = window.iter().map(|c| if c.is_control() { '?' } else { *c }).collect();
            (shown, format!("{:1$}^", "", error.at() - start))
        }
        Fault::Bytes(bytes, error) => {
            let (start, window) = window(bytes, error.at());
            let shown = window.iter().map(|b| format!("{b:02X} ")).collect::<String>();
            (shown, format!("{:1$}^^", "", 3 * (error.at() - start)))
        }
    };
    writeln!(out, "    {}", paint.bytes(&shown))?;
    writeln!(out, "    {}", paint.error(&mark))?;
    writeln!(out)
}

/// The surroundings of a place that fit into a line, and where they start.
fn window<T>(all: &[T], at: usize) -> (usize, &[T]) {
    let start = at.saturating_sub(A_LINE / 2).min(all.len());
    let end = (start + A_LINE).min(all.len());
    (start, all.get(start..end).unwrap_or_default())
}

fn write_line(line: &Line, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    let name = format!("{:indent$}{}", "", line.name, indent = line.depth * 2);
    let name = paint.name(&format!("{name:<17}"));
    let inline = line.bytes.len() <= INLINE;
    let bytes = if inline { format!("{:X}", Hex(&line.bytes)) } else { String::new() };
    let bytes = paint.bytes(&format!("{bytes:<16}"));
    let at = match line.bytes.len() {
        0 => paint.offset(&"   "),
        _ => paint.offset(&format_args!("{:3}", line.at)),
    };
    writeln!(out, "  {at}  {name}  {bytes}  {}", line.meaning)?;
    if !inline {
        for row in line.bytes.chunks(A_LINE) {
            writeln!(out, "  {:22}  {}", "", paint.bytes(&format_args!("{:X}", Hex(row))))?;
        }
    }
    Ok(())
}

/// What is told beside the fields.
fn facts(reading: &Reading<'_>, rules: &Rules) -> Vec<(&'static str, String)> {
    let hash = |formula| Digest::of(&reading.frame, formula).content_hash();
    let (new, old) = (hash(Formula::Firmware), hash(Formula::CoreScope202604));
    let mut facts = inside(reading);
    if let Some(scope) = reading.scope_name(rules) {
        let region = if scope.is_empty() { "a region we do not know".into() } else { scope };
        facts.push(("scope", region));
    }
    facts.push(("hash", format!("{new}, by the formula of April 2026 {old}")));
    let anomalies = reading.packet.anomalies().into_iter();
    facts.extend(anomalies.map(|anomaly| ("anomaly", anomaly.to_string())));
    facts
}

fn inside(reading: &Reading<'_>) -> Vec<(&'static str, String)> {
    match &reading.inside {
        Inside::Nothing | Inside::Signature(None) => vec![],
        Inside::Signature(Some(true)) => vec![("signature", "the node's own".into())],
        Inside::Signature(Some(false)) => vec![("signature", "INVALID: damaged or forged".into())],
        Inside::Unsealed(unsealed) => letter::facts(unsealed),
        Inside::Text(Opened::With { channel, content }) => {
            let sender =
                content.sender.iter().map(|s| ("sender", format!("{}, unproven", Quoted(s))));
            let sent = jiff::Timestamp::from_second(i64::from(content.timestamp));
            let mut told = vec![("channel", Quoted(channel).to_string())];
            told.extend(sender);
            told.push(("text", Quoted(&content.message).to_string()));
            told.push(("sent", sent.unwrap_or_default().to_string()));
            told
        }
        Inside::Data(Opened::With { channel, content }) => {
            let (kind, claimed) = (content.data_type, content.data_len);
            let data = match &content.data {
                Some(data) => Hex(data).to_string(),
                None => format!("{claimed} bytes claimed, more than there are"),
            };
            let channel = Quoted(channel).to_string();
            vec![("channel", channel), ("data type", format!("0x{kind:04X}")), ("data", data)]
        }
        Inside::Text(Opened::NoKey) | Inside::Data(Opened::NoKey) => {
            vec![("channel", "too short to hold a message".into())]
        }
        Inside::Text(Opened::Failed) | Inside::Data(Opened::Failed) => {
            vec![("channel", "none of our keys opens it".into())]
        }
    }
}

/// Colours, where they are wanted.
#[derive(Clone, Copy, Debug)]
struct Paint {
    colours: bool,
}

impl Paint {
    fn bold(self, what: &dyn Display) -> String {
        self.with("1", what)
    }

    fn offset(self, what: &dyn Display) -> String {
        self.with("2", what)
    }

    fn name(self, what: &dyn Display) -> String {
        self.with("36", what)
    }

    fn bytes(self, what: &dyn Display) -> String {
        self.with("33", what)
    }

    fn error(self, what: &dyn Display) -> String {
        self.with("1;31", what)
    }

    fn with(self, code: &str, what: &dyn Display) -> String {
        if self.colours { format!("\u{1b}[{code}m{what}\u{1b}[0m") } else { what.to_string() }
    }
}
