//! What an advert may do to the table of nodes.

use super::refusal::{ADVERT_FOREIGN, ADVERT_INVALID_POSITION, ADVERT_KEY_ZERO, Refusal};
use super::rows::NodeRow;
use crate::area::Home;
use crate::packet::hex::Hex;
use crate::packet::payload::Advert;
use crate::packet::payload::app_data::{Fields, Position};

/// Refuses an advert that no node sends: CoreScope's `ValidateAdvert`, as far as its rules can be
/// broken by bytes. Such a packet is not stored at all.
pub(super) fn validate(advert: &Advert<'_>) -> Result<(), Refusal> {
    if advert.public_key == &[0; 32] {
        return Err(Refusal::new(ADVERT_KEY_ZERO, "the advert's public key is all zeros"));
    }
    let Some(position) = advert.app_data.fields().and_then(|f| f.position) else {
        return Ok(());
    };
    let off = |what: &str, degrees: f64, limit: f64| {
        let detail = format!(
            "the advert of {} is at {what} {degrees:.6}, beyond ±{limit}",
            Hex(advert.public_key)
        );
        Err(Refusal::new(ADVERT_INVALID_POSITION, &detail))
    };
    match (position.lat(), position.lon()) {
        (lat, _) if lat.abs() > 90.0 => off("latitude", lat, 90.0),
        (_, lon) if lon.abs() > 180.0 => off("longitude", lon, 180.0),
        _ => Ok(()),
    }
}

/// Refuses an advert from outside of the area that is at home, where those are to be dropped.
pub(super) fn admit(advert: &Advert<'_>, home: Option<&Home>) -> Result<(), Refusal> {
    match home.filter(|home| home.drop_foreign) {
        Some(home) if is_foreign(advert, home) == Some(true) => {
            let key = Hex(advert.public_key).to_string();
            let detail = format!("the advert of {key:.8}… comes from outside of geo_filter");
            Err(Refusal::noise(ADVERT_FOREIGN, &detail))
        }
        _ => Ok(()),
    }
}

/// Whether an advert's position is outside; `None` without a position. A node that does not say
/// where it is may be at home (CoreScope's `geo_filter`).
fn is_foreign(advert: &Advert<'_>, home: &Home) -> Option<bool> {
    let position = advert.app_data.fields()?.position.filter(is_somewhere)?;
    Some(!home.area.holds(position.lat(), position.lon()))
}

/// The advertiser's row: none when the advert says nothing that holds about its node.
pub(super) fn node(
    advert: &Advert<'_>,
    default_scope: Option<String>,
    home: Option<&Home>,
) -> Option<NodeRow> {
    let fields = advert.app_data.fields()?;
    let position = fields.position.filter(is_somewhere);
    let telemetry = fields.telemetry();
    Some(NodeRow {
        public_key: Hex(advert.public_key).to_string(),
        name: fields.name(),
        role: role(fields),
        lat: position.map(Position::lat),
        lon: position.map(Position::lon),
        battery_mv: telemetry.and_then(|t| t.battery_mv).map(i64::from),
        temperature_c: telemetry.and_then(|t| t.temperature_c()),
        default_scope,
        foreign: home.and_then(|home| is_foreign(advert, home)),
    })
}

fn role(fields: &Fields<'_>) -> String {
    fields.node_type.to_string()
}

/// 0/0 is what a node sends that has no position. CoreScope stores it, which puts the node into the
/// Gulf of Guinea and overwrites the position that was known; we keep the one that was known.
fn is_somewhere(position: &Position) -> bool {
    (position.lat_e6, position.lon_e6) != (0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::area::Area;
    use crate::packet::payload::app_data::{AppData, NodeType};

    fn advert<'a>(key: &'a [u8; 32], position: Option<(i32, i32)>, tail: &'a [u8]) -> Advert<'a> {
        let fields = Fields {
            node_type: NodeType::from_nibble(2),
            position: position.map(|(lat_e6, lon_e6)| Position { lat_e6, lon_e6 }),
            feature1: None,
            feature2: None,
            named: !tail.is_empty(),
            tail,
        };
        let app_data = AppData::Fields(fields);
        Advert { public_key: key, timestamp: 0, signature: &[0; 64], app_data, beyond: &[] }
    }

    #[test]
    fn positions_on_the_edge_of_the_world_are_valid_and_those_beyond_are_not() {
        let judge = |lat, lon| validate(&advert(&[1; 32], Some((lat, lon)), b"")).err();
        assert_eq!(judge(90_000_000, 180_000_000), None);
        assert_eq!(judge(-90_000_000, -180_000_000), None);
        for (lat, lon, text) in [
            (90_000_001, 0, "latitude 90.000001, beyond ±90"),
            (0, -180_000_001, "longitude -180.000001, beyond ±180"),
        ] {
            let refusal = judge(lat, lon).unwrap();
            assert_eq!(refusal.reason, ADVERT_INVALID_POSITION);
            assert!(refusal.detail.ends_with(text), "{}", refusal.detail);
        }
    }

    #[test]
    fn the_key_of_zeros_is_nobodys() {
        assert_eq!(validate(&advert(&[0; 32], None, b"")).unwrap_err().reason, ADVERT_KEY_ZERO);
    }

    #[test]
    fn zero_zero_is_no_position_and_no_name_is_none() {
        let row = node(&advert(&[1; 32], Some((0, 0)), b""), None, None).unwrap();
        assert_eq!((row.lat, row.lon, row.name), (None, None, None));
        let row = node(&advert(&[1; 32], Some((0, 1_000_000)), b"N"), None, None).unwrap();
        assert_eq!((row.lat, row.lon, row.name.as_deref()), (Some(0.0), Some(1.0), Some("N")));
        assert_eq!((row.role.as_str(), row.public_key.len()), ("repeater", 64));
    }

    #[test]
    fn an_advert_is_foreign_by_its_position_alone() {
        let area = Area::Box { lat: [37.0, 39.0], lon: [-123.0, -121.0] };
        let mut home = Home { area, drop_foreign: false };
        for (position, foreign) in [
            (Some((38_000_000, -122_000_000)), Some(false)),
            (Some((40_000_000, -122_000_000)), Some(true)),
            (Some((0, 1)), Some(true)),
            (Some((0, 0)), None),
            (None, None),
        ] {
            let advert = advert(&[0xAB; 32], position, b"");
            let row = node(&advert, None, Some(&home)).unwrap();
            assert_eq!(row.foreign, foreign, "{position:?}");
            assert_eq!(node(&advert, None, None).unwrap().foreign, None);
            assert_eq!(admit(&advert, Some(&home)), Ok(()));
            home.drop_foreign = true;
            let dropped = admit(&advert, Some(&home)).err().map(|refusal| refusal.reason);
            assert_eq!(dropped, (foreign == Some(true)).then_some(ADVERT_FOREIGN), "{position:?}");
            home.drop_foreign = false;
        }
    }

    #[test]
    fn an_advert_that_says_nothing_changes_no_node() {
        let mut silent = advert(&[1; 32], None, b"");
        silent.app_data = AppData::Absent;
        assert_eq!(node(&silent, None, None), None);
    }
}
