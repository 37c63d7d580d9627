//! The project's own packets: `fixtures/packets/<payload>/<fact>.json`, each with a sentence.
//!
//! They are made from the recipes below, byte for byte the same each time, by
//!
//! ```text
//! cargo test --test it fixtures -- --ignored
//! ```
//!
//! A change of the decoder that changes one of them fails here first; make them again only when the
//! change is meant, and read the difference.

mod craft;
pub(crate) mod db;
mod made;
mod worked;

use meshbox::crypto::channel::{Keyring, hashtag_key};
use meshbox::crypto::scope::Regions;
use meshbox::packet::hash::{Digest, Formula};
use meshbox::packet::sink::{Line, Outline};
use meshbox::packet::{Anomaly, Frame, Header, hex};
use meshbox::record::{Reading, Rules, signature_is_good};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A packet, where it is kept, and what it shows.
struct Recipe {
    payload: &'static str,
    fact: &'static str,
    sentence: &'static str,
    bytes: Vec<u8>,
}

#[test]
fn every_fixture_decodes_to_its_tree_and_emits_its_bytes() {
    let files = files();
    assert!(files.len() > 50);
    for (name, file) in files {
        let hex_of_file = file["hex"].as_str().unwrap();
        let bytes = hex::parse(hex_of_file).unwrap();
        let told = tell(file["sentence"].as_str().unwrap(), &bytes);
        assert_eq!(told, file, "{name}");
        if let Ok(packet) = meshbox::packet::Packet::parse(&bytes) {
            assert_eq!(packet.to_bytes(), bytes, "{name}");
        }
    }
}

#[test]
fn the_fixtures_are_what_the_recipes_make() {
    let made: BTreeSet<(String, String)> =
        recipes().iter().map(|r| (r.name(), hex::Hex(&r.bytes).to_string())).collect();
    let kept: BTreeSet<(String, String)> =
        files().into_iter().map(|(n, f)| (n, f["hex"].as_str().unwrap().to_owned())).collect();
    let difference: Vec<_> = made.symmetric_difference(&kept).collect();
    assert!(difference.is_empty(), "{difference:#?}");
}

#[test]
fn every_payload_type_anomaly_and_error_has_a_fixture() {
    let files = files();
    let strings = |key: &str| -> BTreeSet<String> {
        let found = files.values().filter_map(|f| f[key].as_array()).flatten();
        found.map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(strings("anomalies"), Anomaly::ALL.map(|a| a.name().to_owned()).into());
    let errors: BTreeSet<&str> = files.values().filter_map(|f| f["error"].as_str()).collect();
    assert_eq!(errors.len(), 7, "{errors:?}");
    let types: BTreeSet<u8> = files
        .values()
        .filter(|f| f["error"].is_null())
        .map(|f| Header::from_byte(hex::parse(f["hex"].as_str().unwrap()).unwrap()[0]))
        .map(|header| header.payload_type.nibble())
        .collect();
    assert_eq!(types, (0..16).collect());
}

#[test]
#[ignore = "makes the fixtures instead of checking them"]
fn the_fixtures_are_made() {
    for recipe in recipes() {
        let file = folder().join(recipe.name()).with_extension("json");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let told = told_in_order(recipe.sentence, &recipe.bytes);
        std::fs::write(&file, format!("{told}\n")).unwrap();
    }
}

impl Recipe {
    fn name(&self) -> String {
        format!("{}/{}", self.payload, self.fact)
    }
}

fn recipes() -> Vec<Recipe> {
    let mut recipes = worked::recipes();
    recipes.extend(made::recipes());
    let names: BTreeSet<String> = recipes.iter().map(Recipe::name).collect();
    assert_eq!(names.len(), recipes.len(), "two recipes have one name");
    recipes
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/packets")
}

/// Every fixture by `payload/fact`.
fn files() -> BTreeMap<String, Value> {
    let mut files = BTreeMap::new();
    for payload in std::fs::read_dir(folder()).unwrap().map(Result::unwrap) {
        for file in std::fs::read_dir(payload.path()).unwrap().map(Result::unwrap) {
            let text = std::fs::read_to_string(file.path()).unwrap();
            let (payload, path) = (payload.file_name(), file.path());
            let fact = path.file_stem().unwrap().to_string_lossy().into_owned();
            let name = format!("{}/{fact}", payload.to_string_lossy());
            files.insert(name, serde_json::from_str(&text).unwrap());
        }
    }
    files
}

/// What a fixture says, in this order.
#[derive(Serialize)]
struct Told<'a> {
    sentence: &'a str,
    hex: String,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Outcome {
    Packet {
        hash: String,
        hash_2026_04: String,
        hops: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        scope: Option<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        anomalies: Vec<&'static str>,
        decoded_json: Box<serde_json::Map<String, Value>>,
        tree: Vec<Node>,
    },
    NoPacket {
        error: &'static str,
        at: usize,
        detail: String,
    },
}

/// A field, or a group of fields.
#[derive(Serialize)]
struct Node {
    at: usize,
    name: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    bytes: String,
    meaning: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<Self>,
}

fn tell(sentence: &str, bytes: &[u8]) -> Value {
    serde_json::from_str(&told_in_order(sentence, bytes)).unwrap()
}

fn told_in_order(sentence: &str, bytes: &[u8]) -> String {
    let told = Told { sentence, hex: hex::Hex(bytes).to_string(), outcome: outcome(bytes) };
    serde_json::to_string_pretty(&told).unwrap()
}

fn outcome(bytes: &[u8]) -> Outcome {
    let frame = match Frame::parse(bytes) {
        Ok(frame) => frame,
        Err(e) => {
            return Outcome::NoPacket { error: e.name(), at: e.at(), detail: e.to_string() };
        }
    };
    let rules = rules();
    let reading = Reading::of(frame, &rules, |advert, _| Some(signature_is_good(advert)));
    let hash = |formula| Digest::of(&frame, formula).content_hash().to_string();
    let packet = &reading.packet;
    Outcome::Packet {
        hash: hash(Formula::Firmware),
        hash_2026_04: hash(Formula::CoreScope202604),
        hops: reading.hops(),
        scope: reading.scope_name(&rules),
        anomalies: packet.anomalies().into_iter().map(Anomaly::name).collect(),
        decoded_json: serde_json::from_str(&reading.decoded().to_json()).unwrap(),
        tree: nodes(&packet.outline()),
    }
}

/// The keys and regions that the fixtures are told with.
fn rules() -> Rules {
    let hashtags = ["#test", "#bot", "#LongFast"].map(|n| (n.to_owned(), hashtag_key(n).to_vec()));
    let wide = ("wide".to_owned(), craft::wide_key().to_vec());
    Rules {
        keyring: Keyring::new(hashtags.into_iter().chain([wide])).unwrap(),
        regions: Regions::new(["#ottawa", "#test"].map(str::to_owned)),
        validate_signatures: true,
        ..Rules::default()
    }
}

/// The flat outline as a tree.
fn nodes(outline: &Outline) -> Vec<Node> {
    let mut lines = outline.lines.iter().peekable();
    level(&mut lines, 0)
}

fn level<'a>(
    lines: &mut std::iter::Peekable<impl Iterator<Item = &'a Line>>,
    depth: usize,
) -> Vec<Node> {
    let mut nodes = Vec::new();
    while let Some(line) = lines.next_if(|line| line.depth == depth) {
        let Line { at, name, meaning, .. } = line.clone();
        let bytes = hex::Hex(&line.bytes).to_string();
        let fields = level(lines, depth + 1);
        nodes.push(Node { at, name, bytes, meaning, fields });
    }
    nodes
}
