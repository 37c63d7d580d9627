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
use std::collections::{BTreeMap, BTreeSet};

/// A packet, what they make of it, and what we make of it.
struct Case {
    /// How the packet came about: `real`, `observed-path`, `vector`, `synth`, or not told.
    kind: String,
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

/// The firmware drops such a packet before it looks further (wire-protocol §2.4, §10 row 9).
const RESERVED_VERSION: &str = "a payload of a reserved version is not read";
/// §4.3 and §10 row 20: beyond them nothing is signed, as far as the firmware sees.
const APP_DATA_BEYOND_32: &str = "app data counts up to its 32nd byte, to read and to verify";
/// §10 row 26.
const APP_DATA_TRUNCATED: &str = "app data that ends before what its flags promise is not read";
/// §10 row 22.
const NAME_CUT: &str = "a name is cut between characters, not within one";
/// §10 row 16.
const NOT_PLAIN_TEXT: &str = "a channel message of another text type than plain stays closed";
/// §4.10: the path of a TRACE holds SNRs, with or without a route.
const NO_ROUTE: &str = "a TRACE without a route names no hops, and has its SNRs";

#[test]
fn packets_agree_with_corescope() {
    let expected = [
        (RESERVED_VERSION, 318),
        (APP_DATA_BEYOND_32, 57),
        (APP_DATA_TRUNCATED, 43),
        (NAME_CUT, 2),
        (NOT_PLAIN_TEXT, 40),
        (NO_ROUTE, 19),
    ];
    check("packets.jsonl", &expected);
}

/// The names above are for what generators made up.
#[test]
fn packets_heard_on_air_agree_without_exception() {
    let Some(mut cases) = cases("packets.jsonl", &rules()) else { return };
    cases.retain(|case| matches!(case.kind.as_str(), "real" | "observed-path"));
    assert!(cases.len() > 700);
    assert_eq!(compare(&cases), BTreeMap::from([]));
}

#[test]
fn bad_packets_agree_with_corescope() {
    check("bad-packets.jsonl", &[(RESERVED_VERSION, 7), (APP_DATA_BEYOND_32, 2)]);
}

#[test]
fn vectors_agree_with_corescope_and_firmware() {
    let expected =
        [(APP_DATA_BEYOND_32, 1), (APP_DATA_TRUNCATED, 1), (NOT_PLAIN_TEXT, 1), (NO_ROUTE, 1)];
    check("vectors.jsonl", &expected);
}

/// Every line agrees, or differs by a name; these are the names, and how many lines have each.
#[track_caller]
fn check(name: &str, expected: &[(&'static str, usize)]) {
    let Some(cases) = cases(name, &rules()) else { return };
    assert_eq!(compare(&cases), expected.iter().copied().collect());
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

/// How many lines differ by each name; panics with what has no name.
fn compare(cases: &[Case]) -> BTreeMap<&'static str, usize> {
    let mut named = BTreeMap::new();
    let mut unnamed = Vec::new();
    for case in cases {
        let mut names = BTreeSet::new();
        for field in differing_fields(case) {
            let difference = Difference { case, field };
            match explain(&difference) {
                Some(name) => drop(names.insert(name)),
                None => unnamed.push(difference.to_string()),
            }
        }
        for name in names {
            *named.entry(name).or_insert(0) += 1;
        }
    }
    let shown = unnamed.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
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
        let said = theirs.get("error").is_some_and(|error| *error != Value::Null);
        let agreed = !said || error_name(theirs["error"].as_str().unwrap()) == ours["error"];
        return if agreed { vec![] } else { vec!["error"] };
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

/// Our name for CoreScope's error.
fn error_name(text: &str) -> &'static str {
    match text {
        t if t.contains("odd length hex") => "odd_hex",
        t if t.contains("invalid byte") => "bad_hex",
        t if t.starts_with("packet too short (need") => "packet_too_short",
        t if t.starts_with("packet too short for transport codes") => "transport_codes_missing",
        t if t.starts_with("packet too short (no path byte") => "path_length_missing",
        t if t.contains("hash_size=4") => "hash_size_reserved",
        t if t.starts_with("invalid path encoding") => "path_too_long",
        t if t.starts_with("packet path length") => "path_truncated",
        t if t.starts_with("packet payload") => "payload_too_long",
        other => panic!("an error that has no name with us: {other}"),
    }
}

/// What no reason excuses: these agree on every packet that both accept.
const ENVELOPE: [&str; 8] = [
    "ok",
    "error",
    "hash",
    "hash_2026_04",
    "fw_hash",
    "route_type",
    "payload_type",
    "payload_version",
];

/// The difference's name, from what the packet is. A difference that has no reason has no name.
fn explain(difference: &Difference<'_>) -> Option<&'static str> {
    let Difference { case, field } = *difference;
    let bytes = hex::parse(&case.raw_hex).ok()?;
    let frame = Frame::parse(&bytes).ok()?;
    let packet = Packet::of(&frame);
    let (theirs, ours) = (&case.later["decoded_json"], &case.ours["decoded_json"]);
    let told = field == "decoded_json";
    let name = match packet.payload {
        Payload::Undecoded { why: Undecodable::Version(_), .. } => RESERVED_VERSION,
        Payload::Undecoded { .. } if frame.is_trace() && !told => NO_ROUTE,
        Payload::Trace(trace) if trace.route.is_empty() => NO_ROUTE,
        Payload::Advert(advert) if !advert.beyond.is_empty() => APP_DATA_BEYOND_32,
        Payload::Advert(advert) if told && advert.app_data.fields().is_none() => APP_DATA_TRUNCATED,
        Payload::Advert(_) if told && is_cut(&theirs["name"], &ours["name"]) => NAME_CUT,
        // A key that fits, but for the type of the text: had it another channel hash, it would be
        // one that CoreScope found by trying every key it has.
        Payload::GroupText(group) if theirs["decryptionStatus"] == "decrypted" => {
            let key = hashtag_key(theirs["channel"].as_str()?);
            (channel_hash(&key) == group.channel_hash).then_some(NOT_PLAIN_TEXT)?
        }
        _ => return None,
    };
    (!ENVELOPE.contains(&field)).then_some(name)
}

/// Whether theirs is ours with the pieces of one more character.
fn is_cut(theirs: &Value, ours: &Value) -> bool {
    let (Some(theirs), Some(ours)) = (theirs.as_str(), ours.as_str()) else { return false };
    theirs.strip_prefix(ours).is_some_and(|rest| rest.chars().all(|c| c == '\u{fffd}'))
}

impl std::fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { case: Case { raw_hex, later, original, firmware, ours, .. }, field } = self;
        let theirs = match *field {
            "hash_2026_04" => &original["hash"],
            "fw_hash" => &Value::from(firmware.clone()),
            _ => &later[*field],
        };
        write!(f, "{raw_hex}\n  {field}\n    theirs {theirs}\n    ours   {}", ours[*field])
    }
}
