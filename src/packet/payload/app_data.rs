//! What an advert says about its node (firmware `src/helpers/AdvertDataHelpers.cpp`).
//!
//! ```text
//! flags | lat  lon | feature 1 | feature 2 | name
//!   1   |  4 + 4   |     2     |     2     | rest
//!       |  0x10    |   0x20    |   0x40    | 0x80     there when this flag is set
//! ```
//!
//! The low nibble of the flags is the node's type. Positions are degrees × 10⁶. The name is UTF-8
//! without a terminator, at most 31 bytes; firmware before 1.17 may cut it within a character. When
//! the flags promise more than there is, the firmware takes none of it
//! (`AdvertDataParser::isValid`), and so do we.
//!
//! CoreScope reads two more things, which no firmware sends: the name ends at a NUL, and a sensor
//! may have telemetry after it ([`Fields::telemetry`]).

use super::name::{Quoted, clean};
use crate::packet::cursor::{Cursor, Truncated, split};
use crate::packet::sink::Sink;

use std::fmt;

/// What an advert says about its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppData<'a> {
    /// Nothing.
    Absent,
    /// Flags and what they promise.
    Fields(Fields<'a>),
    /// Flags that promise more than there is, and the bytes that follow them.
    Truncated(Flags, &'a [u8]),
}

/// The first byte of the app data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(pub u8);

/// App data that holds what its flags promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields<'a> {
    /// What kind of node it is.
    pub node_type: NodeType,
    /// Where it is.
    pub position: Option<Position>,
    /// Feature word 1; no stock firmware sets it.
    pub feature1: Option<u16>,
    /// Feature word 2; no stock firmware sets it.
    pub feature2: Option<u16>,
    /// Whether it has a name.
    pub named: bool,
    /// The name, if there is one, and whatever follows.
    pub tail: &'a [u8],
}

/// Degrees × 10⁶.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Degrees north × 10⁶.
    pub lat_e6: i32,
    /// Degrees east × 10⁶.
    pub lon_e6: i32,
}

/// What CoreScope looks for behind a sensor's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Telemetry {
    /// Millivolts, 1–10,000.
    pub battery_mv: Option<u16>,
    /// Degrees Celsius × 100, −5,000–10,000.
    pub temperature_centi: Option<i16>,
}

/// An advert type: what kind of node it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeType(u8);

impl NodeType {
    /// 4: a sensor.
    pub const SENSOR: Self = Self(4);

    /// The type that the low four bits stand for.
    pub fn from_nibble(bits: u8) -> Self {
        Self(bits & 15)
    }

    /// 0–15.
    pub fn nibble(self) -> u8 {
        self.0
    }
}

impl fmt::Display for NodeType {
    /// The role as CoreScope writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("none"),
            1 => f.write_str("companion"),
            2 => f.write_str("repeater"),
            3 => f.write_str("room"),
            4 => f.write_str("sensor"),
            other => write!(f, "type-{other}"),
        }
    }
}

impl Flags {
    /// The low nibble.
    pub fn node_type(self) -> NodeType {
        NodeType::from_nibble(self.0)
    }

    /// 0x10.
    pub fn has_position(self) -> bool {
        self.0 & 0x10 != 0
    }

    /// 0x20.
    pub fn has_feature1(self) -> bool {
        self.0 & 0x20 != 0
    }

    /// 0x40.
    pub fn has_feature2(self) -> bool {
        self.0 & 0x40 != 0
    }

    /// 0x80.
    pub fn has_name(self) -> bool {
        self.0 & 0x80 != 0
    }
}

impl Position {
    /// Degrees north.
    pub fn lat(self) -> f64 {
        f64::from(self.lat_e6) / 1e6
    }

    /// Degrees east.
    pub fn lon(self) -> f64 {
        f64::from(self.lon_e6) / 1e6
    }
}

impl<'a> AppData<'a> {
    /// Reads all that is left.
    pub fn parse(cursor: &mut Cursor<'a>) -> Self {
        let Ok(flags) = cursor.u8().map(Flags) else {
            return Self::Absent;
        };
        let mut fields = *cursor;
        match Fields::parse(flags, &mut fields) {
            Ok(fields) => Self::Fields(fields),
            Err(_) => Self::Truncated(flags, cursor.rest()),
        }
    }

    /// The flags, when there are any.
    pub fn flags(&self) -> Option<Flags> {
        match self {
            Self::Absent => None,
            Self::Fields(fields) => Some(fields.flags()),
            Self::Truncated(flags, _) => Some(*flags),
        }
    }

    /// The fields, when they hold what the flags promise.
    pub fn fields(&self) -> Option<&Fields<'a>> {
        match self {
            Self::Fields(fields) => Some(fields),
            Self::Absent | Self::Truncated(..) => None,
        }
    }

    /// Writes the app data.
    pub fn emit(&self, out: &mut impl Sink) {
        match self {
            Self::Absent => {}
            Self::Fields(fields) => fields.emit(out),
            Self::Truncated(flags, rest) => {
                let promise =
                    format_args!("{}, and more is promised than follows", flags.node_type());
                out.field("flags", &[flags.0], promise);
                super::emit_rest(rest, out);
            }
        }
    }
}

impl<'a> Fields<'a> {
    fn parse(flags: Flags, cursor: &mut Cursor<'a>) -> Result<Self, Truncated> {
        Ok(Self {
            node_type: flags.node_type(),
            position: flags.has_position().then(|| Position::parse(cursor)).transpose()?,
            feature1: flags.has_feature1().then(|| cursor.u16()).transpose()?,
            feature2: flags.has_feature2().then(|| cursor.u16()).transpose()?,
            named: flags.has_name(),
            tail: cursor.rest(),
        })
    }

    /// The flags byte that promises what there is.
    pub fn flags(&self) -> Flags {
        let bit = |there: bool, bit: u8| if there { bit } else { 0 };
        Flags(
            self.node_type.nibble()
                | bit(self.position.is_some(), 0x10)
                | bit(self.feature1.is_some(), 0x20)
                | bit(self.feature2.is_some(), 0x40)
                | bit(self.named, 0x80),
        )
    }

    /// The name for people and for the database: up to the first NUL, cleaned as
    /// [`clean`] does; `None` when nothing is left of it.
    pub fn name(&self) -> Option<String> {
        let (name, _) = self.split_tail();
        Some(clean(name)).filter(|name| !name.is_empty())
    }

    /// The telemetry of a sensor, by CoreScope's convention: behind the name and all the NULs that
    /// follow it, u16 millivolts and i16 hundredths of a degree. A value out of range is none.
    pub fn telemetry(&self) -> Option<Telemetry> {
        if self.node_type != NodeType::SENSOR {
            return None;
        }
        let (_, after) = self.split_tail();
        let mut cursor = Cursor::new(split(after, self.padding(after)).1);
        let (battery, temperature) = (cursor.u16().ok()?, cursor.array().ok()?);
        let temperature = i16::from_le_bytes(*temperature);
        Some(Telemetry {
            battery_mv: Some(battery).filter(|mv| (1..=10_000).contains(mv)),
            temperature_centi: Some(temperature).filter(|t| (-5_000..=10_000).contains(t)),
        })
    }

    /// The name's bytes, and what comes after them.
    fn split_tail(&self) -> (&'a [u8], &'a [u8]) {
        let end = self.tail.iter().position(|b| *b == 0).unwrap_or(self.tail.len());
        split(self.tail, if self.named { end } else { 0 })
    }

    /// How many NULs there are between name and telemetry.
    fn padding(&self, after: &[u8]) -> usize {
        if self.named { after.iter().take_while(|b| **b == 0).count() } else { 0 }
    }

    fn emit(&self, out: &mut impl Sink) {
        out.field("flags", &[self.flags().0], format_args!("{}", self.node_type));
        if let Some(position) = self.position {
            position.emit(out);
        }
        if let Some(feature) = self.feature1 {
            out.field("feature 1", &feature.to_le_bytes(), format_args!("{feature}"));
        }
        if let Some(feature) = self.feature2 {
            out.field("feature 2", &feature.to_le_bytes(), format_args!("{feature}"));
        }
        let (name, after) = self.split_tail();
        if self.named {
            out.field("name", name, format_args!("{}", Quoted(&clean(name))));
        }
        self.emit_after_name(after, out);
    }

    fn emit_after_name(&self, after: &[u8], out: &mut impl Sink) {
        let Some(telemetry) = self.telemetry() else {
            super::emit_rest(after, out);
            return;
        };
        let (padding, after) = split(after, self.padding(after));
        if !padding.is_empty() {
            out.field("padding", padding, format_args!("ends the name"));
        }
        let (battery, after) = split(after, 2);
        let (temperature, after) = split(after, 2);
        match telemetry.battery_mv {
            Some(mv) => out.field("battery", battery, format_args!("{mv} mV")),
            None => out.field("battery", battery, format_args!("out of range")),
        }
        match telemetry.temperature_c() {
            Some(c) => out.field("temperature", temperature, format_args!("{c} °C")),
            None => out.field("temperature", temperature, format_args!("out of range")),
        }
        super::emit_rest(after, out);
    }
}

impl Position {
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Truncated> {
        Ok(Self { lat_e6: cursor.i32()?, lon_e6: cursor.i32()? })
    }

    fn emit(self, out: &mut impl Sink) {
        let side = |e6: i32, positive, negative| if e6 < 0 { negative } else { positive };
        let north = side(self.lat_e6, "north", "south");
        let (lat, lon) = (self.lat().abs(), self.lon().abs());
        out.field("lat", &self.lat_e6.to_le_bytes(), format_args!("{lat:.6}° {north}"));
        let east = side(self.lon_e6, "east", "west");
        out.field("lon", &self.lon_e6.to_le_bytes(), format_args!("{lon:.6}° {east}"));
    }
}

impl Telemetry {
    /// Degrees Celsius.
    pub fn temperature_c(&self) -> Option<f64> {
        self.temperature_centi.map(|centi| f64::from(centi) / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> AppData<'_> {
        AppData::parse(&mut Cursor::new(bytes))
    }

    fn telemetry(tail: &[u8], flags: u8) -> Option<(Option<u16>, Option<f64>)> {
        let bytes = [&[flags][..], tail].concat();
        let telemetry = parse(&bytes).fields().unwrap().telemetry();
        telemetry.map(|t| (t.battery_mv, t.temperature_c()))
    }

    #[test]
    fn position_features_and_name_come_in_this_order() {
        let mut bytes = vec![0xF2];
        bytes.extend(37_000_000i32.to_le_bytes());
        bytes.extend((-122_100_000i32).to_le_bytes());
        bytes.extend([1, 2, 3, 4]);
        bytes.extend(b"MRR2-R");
        let data = parse(&bytes);
        let fields = data.fields().unwrap();
        assert_eq!(fields.flags(), Flags(0xF2));
        let position = fields.position.unwrap();
        assert_eq!((position.lat(), position.lon()), (37.0, -122.1));
        assert_eq!((fields.feature1, fields.feature2), (Some(0x0201), Some(0x0403)));
        assert_eq!(fields.name().as_deref(), Some("MRR2-R"));
        assert_eq!(fields.node_type.to_string(), "repeater");
    }

    #[test]
    fn nothing_is_taken_when_the_flags_promise_more_than_there_is() {
        for bytes in [&[0x11, 1, 2, 3][..], &[0x21, 1], &[0x41], &[0xF1, 1, 2, 3, 4, 5, 6, 7, 8, 9]]
        {
            assert_eq!(parse(bytes), AppData::Truncated(Flags(bytes[0]), &bytes[1..]));
        }
        assert_eq!(parse(&[]), AppData::Absent);
    }

    #[test]
    fn a_name_without_its_flag_is_none() {
        assert_eq!(parse(b"\x01abc").fields().unwrap().name(), None);
        assert_eq!(parse(b"\x81").fields().unwrap().name(), None);
    }

    #[test]
    fn roles_are_corescopes() {
        let roles: Vec<String> =
            (0..=5).map(|bits| NodeType::from_nibble(bits).to_string()).collect();
        assert_eq!(roles, ["none", "companion", "repeater", "room", "sensor", "type-5"]);
    }

    #[test]
    fn a_sensor_may_have_telemetry_behind_its_name() {
        assert_eq!(telemetry(b"S\0\x74\x0e\x22\x0b", 0x84), Some((Some(3700), Some(28.5))));
        assert_eq!(telemetry(b"S\0\x74\x0e\xda\xfd", 0x84), Some((Some(3700), Some(-5.5))));
        assert_eq!(telemetry(b"S\0\x74\x0e\0\0", 0x84), Some((Some(3700), Some(0.0))));
        assert_eq!(telemetry(b"\x74\x0e\x22\x0b", 0x04), Some((Some(3700), Some(28.5))));
    }

    #[test]
    fn telemetry_out_of_range_is_none_and_each_value_stands_alone() {
        assert_eq!(telemetry(b"S\0\x11\x27\x11\x27", 0x84), Some((None, None)));
        assert_eq!(telemetry(b"\0\0\x10\x27", 0x04), Some((None, Some(100.0))));
        assert_eq!(telemetry(b"S\0\x74\x0e\x22", 0x84), None);
        assert_eq!(telemetry(b"S\0\x74\x0e\x22\x0b", 0x82), None);
    }

    #[test]
    fn a_low_battery_byte_of_zero_is_taken_for_padding_as_corescope_does() {
        assert_eq!(telemetry(b"S\0\x00\x0e\x22\x0b\x01", 0x84), Some((Some(8718), Some(2.67))));
    }
}
