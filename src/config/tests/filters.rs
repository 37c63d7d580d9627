//! Who is left out, and how long things are kept.

use super::*;

/// A key, and another spelling of it.
const KEY: &str = "7e7662676f7f0850a8a355baafbfc1eb7b4174c340442d7d7161c9474a2c9400";

#[test]
fn lists_are_trimmed_and_freed_of_case_of_doubles_and_of_what_is_empty() {
    let text = format!(
        r#"{{"observerBlacklist": [" {} ", "{KEY}", "", "Roof"],
            "observerIATAWhitelist": ["sjc", " SFO", "SJC", " "],
            "nodeBlacklist": ["{}"]}}"#,
        KEY.to_uppercase(),
        KEY.to_uppercase()
    );
    let config = json(&text).unwrap();
    assert_eq!(config.filters.observer_blacklist, [KEY, "roof"]);
    assert_eq!(config.filters.observer_regions, ["SJC", "SFO"]);
    assert_eq!(config.filters.node_blacklist, [KEY]);
    assert_eq!(config.notes, [""; 0]);
    assert_eq!(toml("").unwrap().filters, Filters::default());
}

#[test]
fn a_key_that_was_copied_in_part_is_an_error_and_a_note_in_corescopes_file() {
    for key in ["observerBlacklist", "nodeBlacklist"] {
        assert_eq!(
            line(toml(&format!("{key} = [\n'Roof', '{}']", &KEY[..16]))),
            format!("broker.toml:2: {key}[1]: has 16 hex digits; give all 64 of the key")
        );
        let config = json(&format!(r#"{{"{key}": ["{}"]}}"#, &KEY[..16])).unwrap();
        assert_eq!(config.notes, [format!("{key}[0]: has 16 hex digits; give all 64 of the key")]);
    }
}
