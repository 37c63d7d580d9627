//! Who is left out, and how long things are kept.

use super::*;
use crate::area::{Area, Home};

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

#[test]
fn home_is_a_polygon_or_else_a_box_or_else_everywhere() {
    let home = |text: &str| toml(text).unwrap().filters.home;
    let corners = vec![[1.0, 2.0], [3.5, 4.0], [5.0, -6.0]];
    let polygon = "[geo_filter]\npolygon = [[1, 2], [3.5, 4], [5, -6]]\n";
    let bounds = "latMin = 1\nlatMax = 2.5\nlonMin = -3\nlonMax = 4\n";
    let area = Area::Polygon { corners: corners.clone(), buffer_km: 0.0 };
    assert_eq!(home(polygon), Some(Home { area, drop_foreign: false }));
    let area = Area::Polygon { corners, buffer_km: 20.0 };
    let text = format!("{polygon}{bounds}bufferKm = 20\n[foreignAdverts]\nmode = 'drop'");
    assert_eq!(home(&text), Some(Home { area, drop_foreign: true }));
    let area = Area::Box { lat: [1.0, 2.5], lon: [-3.0, 4.0] };
    assert_eq!(home(&format!("[geo_filter]\n{bounds}")), Some(Home { area, drop_foreign: false }));
    for text in
        ["", "[geo_filter]", "[geo_filter]\npolygon = []", "[foreignAdverts]\nmode = 'drop'"]
    {
        assert_eq!(home(text), None, "{text}");
    }
}

#[test]
fn an_area_that_is_none_is_an_error_and_in_corescopes_file_a_note() {
    let no_area = "geo_filter: is no area, so that everywhere is inside; give a polygon, or all of \
                   latMin, latMax, lonMin and lonMax";
    for (key, value, what) in [
        (
            "polygon",
            "[[1, 2], [3, 4]]",
            "geo_filter.polygon: has 2 corners and encloses nothing; give 3 or more",
        ),
        (
            "polygon",
            "[[1, 2], [100, 4], [5, 6]]",
            "geo_filter.polygon[1]: is no place; write [degrees north, degrees east]",
        ),
        (
            "polygon",
            "[[1, 2], [3, 4], [5]]",
            "geo_filter.polygon[2]: is no place; write [degrees north, degrees east]",
        ),
        ("latMin", "1", no_area),
        ("bufferKm", "1", no_area),
        ("bufferKm", "-1", "geo_filter.bufferKm: -1 is no margin; use kilometres, 0 or more"),
    ] {
        let error = line(toml(&format!("[geo_filter]\n{key} = {value}")));
        assert!(error.ends_with(what), "{error}");
        let config = json(&format!(r#"{{"geo_filter": {{"{key}": {value}}}}}"#)).unwrap();
        assert_eq!(config.notes.first().map(String::as_str), Some(what));
    }
    let text = "[geo_filter]\nlatMin = 2\nlatMax = 1\nlonMin = 3\nlonMax = 4";
    assert_eq!(
        line(toml(text)),
        "broker.toml:1: geo_filter: has 2 to 1 north and 3 to 4 east, where nothing is; give the \
         smaller number as min"
    );
}

#[test]
fn days_that_are_not_positive_mean_the_default_or_never() {
    let keep = |text: &str| toml(text).unwrap().retention;
    let age = |days: u64| Duration::from_secs(days * 86_400);
    let default = Retention::default();
    assert_eq!(keep(""), default);
    for days in [-5, -1, 0] {
        let text = format!(
            "neighborEdgesMaxAgeDays = {days}\n[retention]\nmetricsDays = {days}\n\
             packetDays = {days}\nclientRxDays = {days}\nnodeDays = {days}"
        );
        assert_eq!(keep(&text), default, "{days}");
    }
    let observers = |days: i64| keep(&format!("[retention]\nobserverDays = {days}")).observers;
    assert_eq!((observers(-1), observers(0), observers(3)), (None, Some(age(14)), Some(age(3))));
    let text = "neighborEdgesMaxAgeDays = 1\n[retention]\nmetricsDays = 2\npacketDays = 3\n\
                clientRxDays = 4\nmaxDbMB = 5\n[db]\nvacuumOnStartup = true\n\
                incrementalVacuumPages = 6";
    let expected = Retention {
        neighbor_edges: age(1),
        metrics: age(2),
        packets: Some(age(3)),
        client_receptions: Some(age(4)),
        max_db_bytes: Some(5 << 20),
        vacuum_on_startup: true,
        vacuum_pages: 6,
        ..default.clone()
    };
    assert_eq!(keep(text), expected);
    let config = json(r#"{"db": {"incrementalVacuumPages": 0}, "retention": {"packetDays": 7}}"#);
    let expected = Retention { packets: Some(age(7)), ..default };
    assert_eq!(config.unwrap().retention, expected);
}

#[test]
fn sizes_out_of_range_are_errors() {
    assert_eq!(
        line(toml("[retention]\nmaxDbMB = -1")),
        "broker.toml:2: retention.maxDbMB: -1 is no size; use 1 to 16777216, or 0 for none"
    );
    assert_eq!(
        line(toml("[db]\nincrementalVacuumPages = 0")),
        "broker.toml:2: db.incrementalVacuumPages: 0 is out of range; use 1 to 1048576"
    );
}
