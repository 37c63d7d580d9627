//! Parts of the world (`geo_filter`): pure geometry in degrees, by CoreScope's rules.
//!
//! The earth is flat here, which is right for a region of some hundred kilometres. An area across
//! the date line is not one; CoreScope knows none either.

/// Kilometres a degree of latitude, as CoreScope has it.
const KM_PER_DEGREE: f64 = 111.0;

/// The area that is at home, and what happens to adverts from elsewhere (`foreignAdverts.mode`).
#[derive(Clone, Debug, PartialEq)]
pub struct Home {
    /// Where home is.
    pub area: Area,
    /// True: adverts from elsewhere are not stored. False: their nodes are flagged.
    pub drop_foreign: bool,
}

/// A part of the world.
#[derive(Clone, Debug, PartialEq)]
pub enum Area {
    /// Inside the polygon, or at most so far from one of its edges.
    Polygon {
        /// `[degrees north, degrees east]`, three or more; the last one is joined to the first.
        corners: Vec<[f64; 2]>,
        /// Kilometres; zero or less: no margin.
        buffer_km: f64,
    },
    /// Between two parallels and two meridians, which belong to it.
    Box {
        /// Degrees north: the southern and the northern edge.
        lat: [f64; 2],
        /// Degrees east: the western and the eastern edge.
        lon: [f64; 2],
    },
}

impl Area {
    /// Whether a place lies in the area; degrees north and east.
    pub fn holds(&self, lat: f64, lon: f64) -> bool {
        match self {
            Self::Polygon { corners, buffer_km } => {
                is_inside(corners, lat, lon) || is_near(corners, *buffer_km, lat, lon)
            }
            Self::Box { lat: [south, north], lon: [west, east] } => {
                (*south..=*north).contains(&lat) && (*west..=*east).contains(&lon)
            }
        }
    }
}

/// Each edge, from a corner to the next one.
fn edges(corners: &[[f64; 2]]) -> impl Iterator<Item = ([f64; 2], [f64; 2])> + '_ {
    corners.iter().copied().zip(corners.iter().copied().cycle().skip(1))
}

/// Counts the edges that a ray to the east crosses.
fn is_inside(corners: &[[f64; 2]], lat: f64, lon: f64) -> bool {
    let crosses = |([lat_a, lon_a], [lat_b, lon_b]): ([f64; 2], [f64; 2])| {
        (lat_a > lat) != (lat_b > lat)
            && lon < (lon_b - lon_a) * (lat - lat_a) / (lat_b - lat_a) + lon_a
    };
    edges(corners).filter(|edge| crosses(*edge)).count() % 2 == 1
}

fn is_near(corners: &[[f64; 2]], buffer_km: f64, lat: f64, lon: f64) -> bool {
    buffer_km > 0.0
        && edges(corners).any(|(from, to)| distance_km([lat, lon], from, to) <= buffer_km)
}

/// From a place to the nearest point of an edge.
fn distance_km(place: [f64; 2], from: [f64; 2], to: [f64; 2]) -> f64 {
    // A degree of longitude is shorter than one of latitude: by the edge's own mean latitude.
    let shrink = f64::midpoint(from[0], to[0]).to_radians().cos();
    let flat = |[lat, lon]: [f64; 2]| {
        ((lon - from[1]) * KM_PER_DEGREE * shrink, (lat - from[0]) * KM_PER_DEGREE)
    };
    let ((px, py), (ex, ey)) = (flat(place), flat(to));
    let length_squared = ex * ex + ey * ey;
    let along = if length_squared > 0.0 {
        ((px * ex + py * ey) / length_squared).clamp(0.0, 1.0)
    } else {
        0.0
    };
    (px - along * ex).hypot(py - along * ey)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A square of two degrees around 38° north, 122° west.
    const SQUARE: [[f64; 2]; 4] = [[37.0, -123.0], [37.0, -121.0], [39.0, -121.0], [39.0, -123.0]];

    fn polygon(corners: &[[f64; 2]], buffer_km: f64) -> Area {
        Area::Polygon { corners: corners.to_vec(), buffer_km }
    }

    fn check(area: &Area, cases: &[(f64, f64, bool)]) {
        for (lat, lon, held) in cases {
            assert_eq!(area.holds(*lat, *lon), *held, "{lat} {lon} in {area:?}");
        }
    }

    #[test]
    fn a_square_holds_what_is_inside_whichever_way_round_it_is_written() {
        let cases = [
            (38.0, -122.0, true),
            (37.001, -122.999, true),
            (38.999, -121.001, true),
            (36.999, -122.0, false),
            (39.001, -122.0, false),
            (38.0, -123.001, false),
            (38.0, -120.999, false),
            (-38.0, -122.0, false),
            (38.0, 122.0, false),
        ];
        let mut backwards = SQUARE;
        backwards.reverse();
        for corners in [SQUARE, backwards] {
            check(&polygon(&corners, 0.0), &cases);
        }
        // The ray goes east, so that the southern and the western edge are inside.
        check(&polygon(&SQUARE, 0.0), &[(37.0, -122.0, true), (39.0, -122.0, false)]);
        check(&polygon(&SQUARE, 0.0), &[(38.0, -123.0, true), (38.0, -121.0, false)]);
    }

    #[test]
    fn a_polygon_with_a_bay_does_not_hold_the_bay() {
        let bay = [
            [0.0, 0.0],
            [0.0, 10.0],
            [10.0, 10.0],
            [10.0, 6.0],
            [3.0, 5.0],
            [10.0, 4.0],
            [10.0, 0.0],
        ];
        let cases = [(8.0, 5.0, false), (8.0, 2.0, true), (8.0, 8.0, true), (2.0, 5.0, true)];
        check(&polygon(&bay, 0.0), &cases);
    }

    #[test]
    fn a_triangle_is_cut_along_its_slope() {
        let triangle = [[0.0, 0.0], [0.0, 4.0], [4.0, 0.0]];
        check(&polygon(&triangle, 0.0), &[(1.9, 1.9, true), (2.1, 2.1, false), (0.1, 3.8, true)]);
    }

    #[test]
    fn the_margin_is_counted_in_kilometres_from_the_nearest_edge() {
        // 0.09° of latitude are 9.99 km.
        let cases = [(36.91, -122.0, true), (36.9, -122.0, false), (39.09, -122.0, true)];
        check(&polygon(&SQUARE, 10.0), &cases);
        // East and west a degree is 111 × cos 38° = 87.5 km: 0.114° are 9.97 km, 0.115° are 10.06.
        let cases = [(38.0, -120.886, true), (38.0, -120.885, false), (38.0, -123.114, true)];
        check(&polygon(&SQUARE, 10.0), &cases);
        // Beyond a corner it is the corner that is near, not the edge's straight line.
        check(&polygon(&SQUARE, 10.0), &[(36.93, -123.07, true), (36.92, -123.09, false)]);
        check(&polygon(&SQUARE, -10.0), &[(36.999, -122.0, false), (38.0, -122.0, true)]);
    }

    #[test]
    fn the_edge_from_the_last_corner_to_the_first_has_a_margin_too() {
        let triangle = [[0.0, 0.0], [0.0, 4.0], [4.0, 0.0]];
        check(&polygon(&triangle, 10.0), &[(2.0, -0.09, true), (2.0, -0.1, false)]);
    }

    #[test]
    fn corners_that_coincide_divide_nothing_by_zero() {
        let point = [[1.0, 1.0]; 3];
        check(&polygon(&point, 0.0), &[(1.0, 1.0, false)]);
        check(&polygon(&point, 1.0), &[(1.0, 1.0, true), (1.008, 1.0, true), (1.01, 1.0, false)]);
        let doubled = [SQUARE[0], SQUARE[0], SQUARE[1], SQUARE[2], SQUARE[2], SQUARE[3]];
        check(&polygon(&doubled, 0.0), &[(38.0, -122.0, true), (40.0, -122.0, false)]);
    }

    #[test]
    fn a_box_holds_its_edges() {
        let area = Area::Box { lat: [37.0, 39.0], lon: [-123.0, -121.0] };
        let cases = [
            (37.0, -123.0, true),
            (39.0, -121.0, true),
            (38.0, -122.0, true),
            (36.999_999, -122.0, false),
            (39.000_001, -122.0, false),
            (38.0, -123.000_001, false),
            (38.0, -120.999_999, false),
        ];
        check(&area, &cases);
    }
}
