//! The reference files, and our reading of each of their packets.

use crate::support::reference;

use meshbox::crypto::channel::{Keyring, hashtag_key};
use meshbox::crypto::scope::Regions;
use meshbox::packet::hash::{Digest, Formula};
use meshbox::packet::{Frame, TransportCodes, hex};
use meshbox::record::{Reading, Rules, signature_is_good};
use serde_json::{Value, json};
use std::sync::OnceLock;

/// A packet, what they make of it, and what we make of it.
pub(super) struct Case {
    /// How the packet came about: `real`, `observed-path`, `vector`, `synth`, or not told.
    pub kind: String,
    /// As it is in the file.
    pub raw_hex: String,
    /// What CoreScope of April 2026 makes of it.
    pub original: Value,
    /// What CoreScope of July 2026 makes of it.
    pub later: Value,
    /// The firmware's own hash, where it was asked.
    pub firmware: Option<String>,
    /// What we make of it, with the same keys.
    pub ours: Value,
}

/// The keys with which the reference was made.
fn rules() -> Rules {
    let read = |name| -> Option<Value> {
        let text = std::fs::read_to_string(reference(name)?).unwrap();
        Some(serde_json::from_str(&text).unwrap())
    };
    let (Some(config), Some(rainbow)) = (read("replay-config.json"), read("channel-rainbow.json"))
    else {
        return Rules::default();
    };
    let strings = |key: &str| -> Vec<String> {
        let list = config[key].as_array().unwrap();
        list.iter().map(|s| s.as_str().unwrap().to_owned()).collect()
    };
    let given = |keys: &Value| -> Vec<(String, Vec<u8>)> {
        let keys = keys.as_object().unwrap().iter();
        keys.map(|(name, key)| (name.clone(), hex::parse(key.as_str().unwrap()).unwrap())).collect()
    };
    let mut keys = given(&rainbow);
    keys.extend(strings("hashChannels").into_iter().map(|name| {
        let key = hashtag_key(&name).to_vec();
        (name, key)
    }));
    keys.extend(given(&config["channelKeys"]));
    Rules {
        keyring: Keyring::new(keys).unwrap(),
        regions: Regions::new(strings("hashRegions")),
        validate_signatures: true,
        ..Rules::default()
    }
}

/// The captured and generated packets, read once for all tests: checking their signatures takes its
/// time.
pub(super) fn packets() -> Option<&'static [Case]> {
    static PACKETS: OnceLock<Option<Vec<Case>>> = OnceLock::new();
    PACKETS.get_or_init(|| cases("packets.jsonl")).as_deref()
}

/// A file's packets; `None` where the reference data are not there.
pub(super) fn cases(name: &str) -> Option<Vec<Case>> {
    let text = std::fs::read_to_string(reference(name)?).unwrap();
    let rules = rules();
    let cases: Vec<Case> = text.lines().map(|line| case(line, &rules)).collect();
    assert!(cases.len() > 50);
    Some(cases)
}

fn case(line: &str, rules: &Rules) -> Case {
    let mut line: Value = serde_json::from_str(line).unwrap();
    let raw_hex = line.get("raw_hex").or(line.get("hex")).unwrap().as_str().unwrap().to_owned();
    let kind = line["kind"].as_str().unwrap_or_default().to_owned();
    let firmware = line["fw_hash"].as_str().map(str::to_lowercase);
    let [original, later] = ["original", "later"].map(|who| normalised(line[who].take()));
    let ours = read(&raw_hex, rules);
    Case { kind, raw_hex, original, later, firmware, ours }
}

/// One shape for all files: `vectors.jsonl` has the decoded JSON as text, the path in one object,
/// and says neither route nor scope.
fn normalised(mut theirs: Value) -> Value {
    let fields = theirs.as_object_mut().unwrap();
    if let Some(path) = fields.remove("path") {
        let text = fields["decoded_json"].as_str().unwrap();
        let decoded = serde_json::from_str(text).unwrap();
        fields.insert("decoded_json".into(), decoded);
        fields.insert("path_json".into(), path["hops"].clone());
        fields.insert("hash_size".into(), path["hashSize"].clone());
    }
    if let Some(codes) = fields.remove("transportCodes").filter(Value::is_object) {
        fields.insert("transport_codes".into(), json!([codes["code1"], codes["code2"]]));
    }
    if fields.get("is_transport_scoped") == Some(&json!(true)) {
        fields.entry("scope_name").or_insert(json!(""));
    }
    let accepted = fields.contains_key("decoded_json");
    fields.insert("ok".into(), json!(accepted));
    theirs
}

fn read(raw_hex: &str, rules: &Rules) -> Value {
    let bytes = match hex::parse(raw_hex) {
        Ok(bytes) => bytes,
        Err(error) => return json!({ "ok": false, "error": error.name() }),
    };
    let frame = match Frame::parse(&bytes) {
        Ok(frame) => frame,
        Err(error) => return json!({ "ok": false, "error": error.name() }),
    };
    let reading = Reading::of(frame, rules, |advert, _| Some(signature_is_good(advert)));
    let packet = &reading.packet;
    let old = Digest::of(&frame, Formula::CoreScope202604).content_hash();
    let mut ours = json!({
        "ok": true,
        "hash": reading.digest.content_hash().to_string(),
        "hash_2026_04": old.to_string(),
        "route_type": packet.header.route.bits(),
        "payload_type": packet.header.payload_type.nibble(),
        "payload_version": packet.header.version,
        "path_json": serde_json::from_str::<Value>(&reading.path_json()).unwrap(),
        "hash_size": packet.hash_size().unwrap_or(0),
        "decoded_json": reading.decoded(),
        "transport_codes": packet.transport.map(TransportCodes::wire_hex),
        "channel_hash": reading.channel_column(),
        "from_pubkey": reading.from_pubkey(),
        "signature_valid": reading.signature_valid(),
        "scope_name": reading.scope_name(rules),
    });
    ours.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    ours
}
