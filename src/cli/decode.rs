//! `meshbox decode`: what is in a packet, for people as a tree, for programs as JSON.

mod answer;
mod letter;
mod tree;

use crate::app;
use crate::config::NodeKey;
use crate::crypto::channel::Keyring;
use crate::packet::{Frame, hex};
use crate::record::{Opener, Reading, Rules, signature_is_good};

use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `meshbox decode`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one JSON object a packet
    #[arg(long)]
    json: bool,
    /// Channel keys: a JSON file of names and hex keys, as CoreScope's channel-rainbow.json
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// The private key of a node, 128 hex digits or an export as JSON: opens what it sent and got; may
    /// be given more than once
    #[arg(long, value_name = "FILE")]
    node_key: Vec<PathBuf>,
    /// The public key of a node that it wrote to or heard from, 64 hex digits; keys of adverts that
    /// are decoded before are known anyway
    #[arg(long, value_name = "HEX", requires = "node_key")]
    peer: Vec<String>,
    /// Packets in hex; - reads one a line from stdin
    #[arg(value_name = "HEX", required = true)]
    packets: Vec<String>,
}

/// Decodes each packet and prints what is in it; `colours` only in the tree.
///
/// Exit code 0 when all are packets, 1 when one is not (a payload that cannot be read is kept and
/// named, its packet still is one), 2 when the keys cannot be read.
///
/// # Errors
/// When stdin cannot be read or stdout cannot be written. A reader that has seen enough and closed
/// our stdout is no error.
pub fn run(
    args: &Args,
    stdin: &mut dyn BufRead,
    stdout: &mut dyn Write,
    colours: bool,
) -> anyhow::Result<ExitCode> {
    let (keyring, opener) = match keys(args) {
        Ok(keys) => keys,
        Err(error) => {
            // Nothing can be done about a closed stderr.
            let _ = writeln!(io::stderr(), "meshbox: {error:#}");
            return Ok(ExitCode::from(2));
        }
    };
    let rules = Rules { keyring, validate_signatures: true, ..Rules::default() };
    let mut printer = Printer { rules, opener, json: args.json, colours, stdout, all_well: true };
    match printer.all(&args.packets, stdin) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ if printer.all_well => Ok(ExitCode::SUCCESS),
        _ => Ok(ExitCode::FAILURE),
    }
}

/// Whether a person with a colour terminal reads our stdout (<https://no-color.org>).
pub fn colours_are_wanted() -> bool {
    let unset = |name: &str| std::env::var_os(name).is_none_or(|value| value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdout().is_terminal() && unset("NO_COLOR") && !dumb
}

fn keys(args: &Args) -> anyhow::Result<(Keyring, Option<Opener>)> {
    let keyring = args.keys.as_deref().map_or(Ok(Keyring::default()), load_keys)?;
    let files = args.node_key.iter().map(|file| NodeKey::load(file));
    let mut opener = Opener::new(app::node_keys(&files.collect::<Result<Vec<_>, _>>()?)?);
    for peer in &args.peer {
        let key = hex::parse(peer).with_context(|| format!("--peer {peer:?}"))?;
        let Ok(key) = <[u8; 32]>::try_from(key) else {
            bail!("--peer {peer:?}: a public key has 64 hex digits");
        };
        opener.iter_mut().for_each(|opener| opener.hear(&key));
    }
    Ok((keyring, opener))
}

fn load_keys(file: &Path) -> anyhow::Result<Keyring> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {file:?}"))?;
    let keys: BTreeMap<String, String> = serde_json::from_str(&text)
        .with_context(|| format!("{file:?} is not a JSON object of channel names and hex keys"))?;
    let keys = keys.into_iter().map(|(channel, key)| {
        let bytes = hex::parse(&key).with_context(|| format!("{file:?}: channel {channel:?}"))?;
        Ok((channel, bytes))
    });
    let keys: Vec<_> = keys.collect::<anyhow::Result<_>>()?;
    Keyring::new(keys).with_context(|| format!("{file:?}"))
}

struct Printer<'a> {
    rules: Rules,
    opener: Option<Opener>,
    json: bool,
    colours: bool,
    stdout: &'a mut dyn Write,
    all_well: bool,
}

impl Printer<'_> {
    fn all(&mut self, packets: &[String], stdin: &mut dyn BufRead) -> io::Result<()> {
        for packet in packets {
            if packet == "-" {
                self.lines(stdin)?;
            } else {
                self.one(packet)?;
            }
        }
        self.stdout.flush()
    }

    /// A line that is no UTF-8 is no hex either, and is said to be none.
    fn lines(&mut self, stdin: &mut dyn BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        while stdin.read_until(b'\n', &mut line)? > 0 {
            let text = String::from_utf8_lossy(&line);
            self.one(text.trim_end_matches(['\r', '\n']))?;
            line.clear();
        }
        Ok(())
    }

    fn one(&mut self, raw_hex: &str) -> io::Result<()> {
        let bytes = match hex::parse(raw_hex) {
            Ok(bytes) => bytes,
            Err(error) => return self.no_packet(raw_hex, &Fault::Text(raw_hex, error)),
        };
        let frame = match Frame::parse(&bytes) {
            Ok(frame) => frame,
            Err(error) => return self.no_packet(raw_hex, &Fault::Bytes(&bytes, error)),
        };
        let judge = |advert: &_, _| Some(signature_is_good(advert));
        let mut reading = Reading::of(frame, &self.rules, judge);
        if let Some(opener) =
            self.opener.as_mut().filter(|_| reading.signature_valid() != Some(false))
        {
            opener.take(&reading.packet, &mut reading.inside);
        }
        if self.json {
            self.line(&answer::of(raw_hex, &reading, &self.rules))
        } else {
            tree::write(&reading, &self.rules, self.colours, self.stdout)
        }
    }

    fn no_packet(&mut self, raw_hex: &str, fault: &Fault<'_>) -> io::Result<()> {
        self.all_well = false;
        if self.json {
            self.line(&answer::of_fault(raw_hex, fault))
        } else {
            tree::write_fault(fault, self.colours, self.stdout)
        }
    }

    fn line(&mut self, answer: &answer::Answer<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut *self.stdout, answer)?;
        writeln!(self.stdout)
    }
}

/// Why something is no packet.
#[derive(Debug)]
enum Fault<'a> {
    Text(&'a str, crate::packet::HexError),
    Bytes(&'a [u8], crate::packet::Error),
}

impl std::fmt::Display for Fault<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(_, error) => error.fmt(f),
            Self::Bytes(_, error) => error.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
