//! The project's own packets, as bytes.

use meshbox::packet::hex;
use serde_json::Value;

use std::fs;
use std::path::Path;

/// One fixture of each payload type, by its name in `fixtures/packets`.
pub(crate) const ONE_OF_EACH: [&str; 14] = [
    "req/direct",
    "response/direct",
    "txt_msg/four_hops",
    "ack/four_bytes",
    "advert/heard_repeater",
    "grp_txt/heard_public",
    "grp_data/in_test",
    "anon_req/heard",
    "path/heard",
    "trace/heard_four_of_five",
    "multipart/ack",
    "control/heard_response",
    "reserved/type_12",
    "raw_custom/four_bytes",
];

/// The bytes of a fixture.
pub(crate) fn bytes(name: &str) -> Vec<u8> {
    hex::parse(&raw(name)).unwrap()
}

/// A fixture in upper-case hex, as gateways send it.
pub(crate) fn raw(name: &str) -> String {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/packets");
    let file = fs::read(fixtures.join(name).with_extension("json")).unwrap();
    let fixture: Value = serde_json::from_slice(&file).unwrap();
    fixture["hex"].as_str().unwrap().to_ascii_uppercase()
}
