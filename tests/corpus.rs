//! Captured and synthetic packets beside what both CoreScopes make of them.
//!
//! Every packet of the reference files is read and compared, field by field, with CoreScope of
//! July 2026; its hash also with CoreScope of April 2026 and with the firmware. What differs must
//! have a name in [`explain`], and every name its exact count.

use crate::support::reference;

use meshbox::crypto::channel::{Keyring, channel_hash, hashtag_key};
use meshbox::crypto::scope::Regions;
use meshbox::packet::hash::{Digest, Formula};
use meshbox::packet::{Frame, Packet, Payload, TransportCodes, Undecodable, hex};
use meshbox::record::{Reading, Rules, signature_is_good};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A packet, what they make of it, and what we make of it.
struct Case {
    raw_hex: String,
    original: Value,
    later: Value,
    firmware: Option<String>,
    ours: Value,
}

/// One field that differs.
struct Difference<'a> {
    case: &'a Case,
    field: &'a str,
}

#[test]
fn packets_agree_with_corescope() {
    let Some(cases) = cases("packets.jsonl", &rules()) else { return };
    assert_eq!(compare(&cases), BTreeMap::from([]));
}

#[test]
fn bad_packets_agree_with_corescope() {
    let Some(cases) = cases("bad-packets.jsonl", &rules()) else { return };
    assert_eq!(compare(&cases), BTreeMap::from([]));
}

#[test]
fn vectors_agree_with_corescope_and_firmware() {
    let Some(cases) = cases("vectors.jsonl", &rules()) else { return };
    assert_eq!(compare(&cases), BTreeMap::from([]));
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

fn cases(name: &str, rules: &Rules) -> Option<Vec<Case>> {
    let text = std::fs::read_to_string(reference(name)?).unwrap();
    let cases: Vec<Case> = text.lines().map(|line| case(line, rules)).collect();
    assert!(cases.len() > 50);
    Some(cases)
}

fn case(line: &str, rules: &Rules) -> Case {
    let mut line: Value = serde_json::from_str(line).unwrap();
    let raw_hex = line.get("raw_hex").or(line.get("hex")).unwrap().as_str().unwrap().to_owned();
    let firmware = line["fw_hash"].as_str().map(str::to_lowercase);
    let [original, later] = ["original", "later"].map(|who| normalised(line[who].take()));
    let ours = read(&raw_hex, rules);
    Case { raw_hex, original, later, firmware, ours }
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

/// How often each named difference occurs; panics with what has no name.
fn compare(cases: &[Case]) -> BTreeMap<&'static str, usize> {
    let mut named = BTreeMap::new();
    let mut unnamed = Vec::new();
    for case in cases {
        for field in differing_fields(case) {
            let difference = Difference { case, field };
            match explain(&difference) {
                Some(name) => *named.entry(name).or_insert(0) += 1,
                None => unnamed.push(show(&difference)),
            }
        }
    }
    let shown = unnamed.iter().take(30).cloned().collect::<Vec<_>>().join("\n");
    assert!(unnamed.is_empty(), "{} differences without a name:\n{shown}", unnamed.len());
    named
}

/// Every field of `later` that ours does not equal, and those hashes of the others.
fn differing_fields(case: &Case) -> Vec<&'static str> {
    let (theirs, ours) = (&case.later, &case.ours);
    if !same(&theirs["ok"], &ours["ok"]) {
        return vec!["ok"];
    }
    if ours["ok"] == false {
        return vec![];
    }
    let vector = theirs.get("route_type").is_none();
    let unsaid = |field: &str| vector && NOT_IN_VECTORS.contains(&field);
    let mut fields: Vec<&str> = COMPARED.to_vec();
    fields.retain(|field| !unsaid(field) && !same(&theirs[*field], &ours[*field]));
    if case.original["ok"] == true && case.original["hash"] != ours["hash_2026_04"] {
        fields.push("hash_2026_04");
    }
    if case.firmware.as_ref().is_some_and(|hash| *hash != ours["hash"]) {
        fields.push("fw_hash");
    }
    fields
}

const COMPARED: [&str; 12] = [
    "hash",
    "route_type",
    "payload_type",
    "payload_version",
    "transport_codes",
    "path_json",
    "hash_size",
    "decoded_json",
    "channel_hash",
    "from_pubkey",
    "signature_valid",
    "scope_name",
];

/// Fields that `vectors.jsonl` does not have.
const NOT_IN_VECTORS: [&str; 7] = [
    "route_type",
    "payload_type",
    "payload_version",
    "channel_hash",
    "from_pubkey",
    "signature_valid",
    "scope_name",
];

/// Equal as JSON; 12 and 12.0 are the same number.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| same(v, w)))
        }
        _ => a == b,
    }
}

fn explain(d: &Difference<'_>) -> Option<&'static str> {
    let bytes = hex::parse(&d.case.raw_hex).ok()?;
    let frame = Frame::parse(&bytes).ok()?;
    let packet = Packet::of(&frame);
    let theirs = &d.case.later["decoded_json"];
    Some(match (packet.payload, d.field) {
        (Payload::Undecoded { why: Undecodable::Version(_), .. }, _) => RESERVED_VERSION,
        (Payload::Undecoded { .. }, "path_json" | "hash_size") if frame.is_trace() => NO_ROUTE,
        (Payload::Trace(trace), "path_json" | "hash_size" | "decoded_json")
            if trace.route.is_empty() =>
        {
            NO_ROUTE
        }
        (Payload::Advert(advert), "decoded_json" | "signature_valid")
            if !advert.beyond.is_empty() =>
        {
            APP_DATA_BEYOND_32
        }
        (Payload::Advert(advert), "decoded_json") if advert.app_data.fields().is_none() => {
            APP_DATA_TRUNCATED
        }
        (Payload::Advert(_), "decoded_json")
            if theirs["name"] != d.case.ours["decoded_json"]["name"] =>
        {
            NAME_CUT
        }
        (Payload::GroupText(group), "decoded_json" | "channel_hash")
            if theirs["decryptionStatus"] == "decrypted" =>
        {
            let key = hashtag_key(theirs["channel"].as_str()?);
            if channel_hash(&key) == group.channel_hash { NOT_PLAIN_TEXT } else { OTHER_CHANNEL }
        }
        _ => return None,
    })
}
const RESERVED_VERSION: &str = "a reserved version is not read (wire-protocol: firmware drops it)";
const NO_ROUTE: &str = "a TRACE without a route names no hops: its path holds SNRs";
const NOT_PLAIN_TEXT: &str = "NOT_PLAIN_TEXT";
const OTHER_CHANNEL: &str = "OTHER_CHANNEL";
const APP_DATA_BEYOND_32: &str =
    "app data counts up to its 32nd byte, to read and to verify (firmware)";
const APP_DATA_TRUNCATED: &str =
    "app data that ends before what its flags promise is not read (firmware)";
const NAME_CUT: &str = "a name is cut between characters, not within one";

fn show(d: &Difference<'_>) -> String {
    let x = |v: &Value| v.get(d.field).map(ToString::to_string).unwrap_or_default();
    format!(
        "{}\n  {}\n   later {}\n   ours  {}",
        d.case.raw_hex,
        d.field,
        x(&d.case.later),
        x(&d.case.ours)
    )
}
