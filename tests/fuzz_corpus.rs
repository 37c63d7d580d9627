//! The fuzz targets' corpus, asked in plain `cargo test`: whatever a fuzzer has found once is asked
//! for ever. See `tests/fuzz/README.md`.

mod connections;
#[path = "fuzz/invariants/mod.rs"]
mod invariants;

use meshbox::packet::hex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn what_holds_for_any_packet_holds_for_the_corpus() {
    replay("packet", invariants::packet::check);
}

#[test]
fn what_holds_for_any_message_holds_for_the_corpus() {
    replay("envelope", invariants::envelope::check);
}

#[test]
fn what_holds_for_any_topic_holds_for_the_corpus() {
    replay("topic", invariants::topic::check);
}

#[test]
fn what_holds_for_any_connection_holds_for_the_corpus() {
    replay("door", invariants::door::check);
}

#[test]
fn every_fixture_is_a_seed() {
    let seeds = seeds();
    assert!(seeds.len() > 100);
    for (name, bytes) in seeds {
        let kept = fs::read(corpus().join(&name)).ok();
        assert!(kept.as_ref() == Some(&bytes), "{name} is missing or old; {MAKE}");
    }
}

/// What to do when a fixture has changed.
const MAKE: &str = "run `cargo test --test it fuzz_corpus::the_seeds_are_made -- --ignored`";

#[test]
#[ignore = "makes the seeds instead of checking them"]
fn the_seeds_are_made() {
    for (name, bytes) in seeds() {
        let file = corpus().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
}

fn replay(target: &str, check: fn(&[u8])) {
    let files = files(&corpus().join(target));
    assert!(files.len() > 30, "{target} has {} files", files.len());
    for file in files {
        // Shown when what follows panics.
        println!("{}", file.display());
        check(&fs::read(&file).unwrap());
    }
}

/// Every packet of the fixtures as bytes, the first one of each type in a message, and what clients
/// send.
fn seeds() -> BTreeMap<String, Vec<u8>> {
    let mut seeds = connections::seeds();
    for payload in files(&root().join("fixtures/packets")) {
        let kind = payload.file_name().unwrap().to_string_lossy().into_owned();
        for (nth, fixture) in files(&payload).into_iter().enumerate() {
            let fact = fixture.file_stem().unwrap().to_string_lossy().into_owned();
            let fixture: Value = serde_json::from_slice(&fs::read(fixture).unwrap()).unwrap();
            let raw = fixture["hex"].as_str().unwrap();
            seeds.insert(format!("packet/{kind}-{fact}"), hex::parse(raw).unwrap());
            if nth == 0 {
                let message = json!({ "origin": "Roof", "raw": raw, "SNR": "5.5", "RSSI": -90 });
                let message = format!(
                    "meshcore/SJC/{}/packets\n{message}",
                    crate::support::packets::OBSERVER
                );
                seeds.insert(format!("envelope/packet-{kind}"), message.into_bytes());
            }
        }
    }
    seeds
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn corpus() -> PathBuf {
    root().join("tests/fuzz/corpus")
}

/// What is in a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}
