//! The area that is at home, and what happens to adverts from elsewhere.

use super::error::Error;
use super::file::GeoFilter;
use super::judge::{Blame, Judge};
use super::tree::{At, Dialect};
use crate::area::{Area, Home};

/// `None` where everywhere is home.
pub(super) fn judge(judge: &mut Judge<'_>) -> Result<Option<Home>, Error> {
    let mode = judge.written.file.foreign_adverts.as_ref().and_then(|it| it.mode.as_deref());
    let at = At::key("foreignAdverts").then("mode");
    let drop_foreign = judge.word(&at, mode, &[("flag", false), ("drop", true)], false)?;
    let Some(written) = judge.written.file.geo_filter.as_ref() else { return Ok(None) };
    let area = area(judge, &At::key("geo_filter"), written)?;
    Ok(area.map(|area| Home { area, drop_foreign }))
}

/// What is written at this place; `None`: everywhere. A polygon goes before a box, as in CoreScope.
pub(super) fn area(
    judge: &mut Judge<'_>,
    at: &At,
    written: &GeoFilter,
) -> Result<Option<Area>, Error> {
    match polygon(judge, at, written)? {
        None => bounds(judge, at, written),
        polygon => Ok(polygon),
    }
}

fn polygon(judge: &mut Judge<'_>, at: &At, written: &GeoFilter) -> Result<Option<Area>, Error> {
    let given = written.polygon.as_deref().unwrap_or_default();
    let mut corners = Vec::new();
    for (index, corner) in given.iter().enumerate() {
        if !is_place(corner) {
            let what = "is no place; write [degrees north, degrees east]";
            judge.complain(&Blame::Key(at.then("polygon").index(index)), what)?;
        }
        // What CoreScope makes of it: more numbers are not looked at, absent ones are zero.
        let degrees = |n: usize| corner.get(n).copied().unwrap_or_default();
        corners.push([degrees(0), degrees(1)]);
    }
    let buffer_km = written.buffer_km.unwrap_or_default();
    if !buffer_km.is_finite() || buffer_km < 0.0 {
        let what = format!("{buffer_km} is no margin; use kilometres, 0 or more");
        judge.complain(&Blame::Key(at.then("bufferKm")), &what)?;
    }
    match corners.len() {
        0 => Ok(None),
        few @ (1 | 2) => {
            let what = format!("has {few} corners and encloses nothing; give 3 or more");
            judge.complain(&Blame::Key(at.then("polygon")), &what)?;
            Ok(None)
        }
        _ => Ok(Some(Area::Polygon { corners, buffer_km })),
    }
}

/// Two numbers that a map has.
fn is_place(corner: &[f64]) -> bool {
    matches!(corner, [lat, lon] if lat.abs() <= 90.0 && lon.abs() <= 180.0)
}

/// All four edges, or no box.
fn bounds(judge: &mut Judge<'_>, at: &At, written: &GeoFilter) -> Result<Option<Area>, Error> {
    let at = Blame::Key(at.clone());
    let edges = [written.lat_min, written.lat_max, written.lon_min, written.lon_max];
    let [Some(south), Some(north), Some(west), Some(east)] = edges else {
        if edges.iter().any(Option::is_some) || written.buffer_km.is_some() {
            let what = "is no area, so that everywhere is inside; give a polygon, or all of latMin, \
                        latMax, lonMin and lonMax";
            judge.complain(&at, what)?;
        }
        return Ok(None);
    };
    // A NaN is no bound either.
    let empty = !(south <= north && west <= east);
    if empty {
        let what = format!(
            "has {south} to {north} north and {west} to {east} east, where nothing is; give the \
             smaller number as min"
        );
        judge.complain(&at, &what)?;
    }
    let usable = !empty || judge.written.dialect == Dialect::CoreScope;
    Ok(usable.then_some(Area::Box { lat: [south, north], lon: [west, east] }))
}
