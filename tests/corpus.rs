//! Captured and synthetic packets beside what both CoreScopes make of them.
//!
//! Every packet of the reference files is read and compared, field by field, with CoreScope of
//! July 2026; its hash also with CoreScope of April 2026 and with the firmware. What differs must
//! have a name in [`explain`], and every name its exact count.

mod cases;

use cases::{Case, cases, packets};
use meshbox::crypto::channel::{channel_hash, hashtag_key};
use meshbox::message::{Message, Origin, OriginKind, Receipt};
use meshbox::packet::{Frame, Packet, Payload, Undecodable, hex};
use meshbox::record::{Body, Recorder, Rules};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// One field that differs.
struct Difference<'a> {
    case: &'a Case,
    field: &'a str,
}

/// The firmware drops such a packet before it looks further (`Dispatcher::tryParsePacket`).
const RESERVED_VERSION: &str = "a payload of a reserved version is not read";
/// The firmware clips it (`Mesh::onRecvPacket`): beyond, nothing is signed as far as it sees.
const APP_DATA_BEYOND_32: &str = "app data counts up to its 32nd byte, to read and to verify";
/// The firmware takes none of it (`AdvertDataParser::isValid`); CoreScope skips what is missing.
const APP_DATA_TRUNCATED: &str = "app data that ends before what its flags promise is not read";
/// CoreScope cuts at the 32nd byte, and leaves the pieces of a character.
const NAME_CUT: &str = "a name is cut between characters, not within one";
/// The firmware drops it (`BaseChatMesh::onGroupDataRecv`); CoreScope ignores the flags.
const NOT_PLAIN_TEXT: &str = "a channel message of another text type than plain stays closed";
/// The path of a TRACE holds SNRs, with or without a route; CoreScope then takes them for hops.
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
    let Some(cases) = packets() else { return };
    assert_eq!(compare(cases), BTreeMap::from(expected));
}

/// The names above are for what generators made up.
#[test]
fn packets_heard_on_air_agree_without_exception() {
    let Some(cases) = packets() else { return };
    let heard = |case: &&Case| matches!(case.kind.as_str(), "real" | "observed-path");
    assert!(cases.iter().filter(heard).count() > 700);
    assert_eq!(compare(cases.iter().filter(heard)), BTreeMap::from([]));
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

#[test]
fn adverts_are_refused_and_roles_told_as_corescope_does() {
    let Some(cases) = packets() else { return };
    let judged = cases.iter().filter(|case| case.later.get("advert_ok").is_some());
    let alike = judged.filter(|case| !differing_fields(case).contains(&"decoded_json"));
    // Signatures are another matter, and compared above.
    let mut recorder = Recorder::new(Rules::default());
    let (mut accepted, mut refused) = (0, 0);
    for Case { raw_hex, later, .. } in alike {
        match recorder.record(message(raw_hex)) {
            Ok(record) => {
                let Body::Packet(row) = record.body else { panic!("{raw_hex}") };
                assert_eq!(later["advert_ok"], true, "{raw_hex}");
                // An advert that says nothing about its node has a role with CoreScope only.
                if let Some(node) = row.node {
                    assert_eq!(later["role"], node.role, "{raw_hex}");
                    accepted += 1;
                }
            }
            Err(unrecorded) => {
                assert_eq!(unrecorded.reason, "advert_invalid_position", "{raw_hex}");
                let reason = later["advert_reason"].as_str().unwrap();
                assert!(reason.starts_with("invalid l"), "{raw_hex}: {reason}");
                refused += 1;
            }
        }
    }
    assert!(accepted > 400 && refused > 100, "{accepted} accepted, {refused} refused");
}

fn message(raw_hex: &str) -> Message {
    Message {
        topic: "meshcore/SJC/observer/packets".into(),
        payload: json!({ "raw": raw_hex }).to_string().into(),
        origin: Origin { kind: OriginKind::Replay, name: "corpus".into() },
        received_at_ms: 0,
        retained: false,
        receipt: Receipt::none(),
        place: None,
    }
}

/// Every line agrees, or differs by a name; these are the names, and how many lines have each.
#[track_caller]
fn check(name: &str, expected: &[(&'static str, usize)]) {
    let Some(cases) = cases(name) else { return };
    assert_eq!(compare(&cases), expected.iter().copied().collect());
}

/// How many lines differ by each name; panics with what has no name.
fn compare<'a>(cases: impl IntoIterator<Item = &'a Case>) -> BTreeMap<&'static str, usize> {
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
