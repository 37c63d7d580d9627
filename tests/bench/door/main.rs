//! The door alone beside a real mosquitto: the same load on each in one run, both as processes of their
//! own. Behind the door nothing is stored: whatever comes in is acknowledged at once. Prints the
//! table in README "Numbers".
//!
//! `cargo bench --bench door` runs everything, `cargo bench --bench door -- messages` or
//! `… -- memory` a half of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark ends at the first surprise"
)]
#![allow(clippy::cast_precision_loss, reason = "numbers for people")]

mod broker;
#[path = "../hub/child.rs"]
#[allow(dead_code, reason = "of a child process in general only")]
mod child;
mod memory;
mod messages;
#[path = "../mosquitto.rs"]
mod mosquitto;
mod server;
mod subscriber;
#[path = "../hub/traffic.rs"]
#[allow(dead_code, reason = "bursts only")]
mod traffic;

use broker::Broker;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::Path;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Its own descriptors, and those of the brokers that it starts.
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    if let [first, dir] = &arguments[..] {
        if first == server::FLAG {
            return server::serve(Path::new(dir));
        }
    }
    let asked: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|asked| *asked == name);
    let dir = tempfile::tempdir().unwrap();
    let Some(mosquitto) = Broker::mosquitto(dir.path()) else {
        eprintln!("mosquitto is not installed: there is nothing to compare with");
        return;
    };
    let mut rows = Vec::new();
    if wanted("memory") {
        rows.extend(memory::run(dir.path()));
    }
    if wanted("messages") {
        rows.extend(messages::run(&[Broker::door(dir.path()), mosquitto]));
    }
    println!("| figure | the door | mosquitto | the door's share |\n|---|---|---|---|");
    rows.iter().for_each(|row| println!("| {} |", row.join(" | ")));
}

/// A line of the table, which is said at once, too.
fn row(what: String, ours: f64, theirs: f64, as_text: impl Fn(f64) -> String) -> [String; 4] {
    let row = [what, as_text(ours), as_text(theirs), format!("{:.2}", ours / theirs)];
    eprintln!("  {}", row.join(" | "));
    row
}
