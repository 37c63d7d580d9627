//! Numbers as publishers write them: numbers, texts, texts with a unit.

/// Units that may follow a number, in the order in which they are looked for (CoreScope's).
const UNITS: [&str; 6] = ["dBm", "dB", "mW", "km", "mi", "m"];

/// Reads a number from a text such as `-110`, ` 7 dB` or `1e1`; one unit in any case is taken off.
/// NaN, infinities and everything beyond the range of `f64` are no numbers.
pub(super) fn from_text(text: &str) -> Option<f64> {
    without_unit(text.trim()).trim().parse().ok().filter(|n: &f64| n.is_finite())
}

/// The nearest whole number, halves away from zero; `None` beyond the range of `i64`.
pub(super) fn whole(number: f64) -> Option<i64> {
    let rounded = number.round();
    // −2⁶³ is exact; 2⁶³ is the first number beyond, and NaN is in no range.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the range is checked and the number whole"
    )]
    (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0)
        .contains(&rounded)
        .then_some(rounded as i64)
}

fn without_unit(text: &str) -> &str {
    let number_before = |unit: &&str| {
        let (number, end) = text.split_at_checked(text.len().checked_sub(unit.len())?)?;
        end.eq_ignore_ascii_case(unit).then_some(number)
    };
    UNITS.iter().find_map(number_before).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_unit_in_any_case_is_taken_off() {
        for (text, bare) in [
            ("-110dBm", "-110"),
            ("-110DBM", "-110"),
            ("5.5dB", "5.5"),
            ("100mW", "100"),
            ("1.5km", "1.5"),
            ("500m", "500"),
            ("10mi", "10"),
            ("42", "42"),
            ("", ""),
            ("hello", "hello"),
            ("3 dB dB", "3 dB "),
            ("ñ", "ñ"),
        ] {
            assert_eq!(without_unit(text), bare, "{text:?}");
        }
    }

    #[test]
    fn texts_that_are_numbers() {
        for (text, number) in [
            ("7.25", 7.25),
            ("  -7.5 ", -7.5),
            ("0", 0.0),
            ("-110dBm", -110.0),
            ("-97 dBm", -97.0),
            (" 7 dB", 7.0),
            ("1e1", 10.0),
            ("1000m", 1000.0),
            ("+5", 5.0),
            (".5", 0.5),
            ("12.25", 12.25),
        ] {
            assert_eq!(from_text(text), Some(number), "{text:?}");
        }
    }

    #[test]
    fn texts_that_are_none() {
        for text in [
            "",
            " ",
            "abc",
            "Unknown",
            "dBm",
            "NaN",
            "nan",
            "Inf",
            "-inf",
            "infinity",
            "+Infinity",
            "1e999",
            "0x10",
            "1,5",
            "1_000",
            "7 volts",
            "--1",
        ] {
            assert_eq!(from_text(text), None, "{text:?}");
        }
    }

    #[test]
    fn whole_numbers_are_the_nearest_halves_away_from_zero() {
        for (number, nearest) in [
            (3500.7, 3501),
            (0.5, 1),
            (-0.5, -1),
            (2.5, 3),
            (-1.5, -2),
            (0.403, 0),
            (1e12, 1_000_000_000_000),
        ] {
            assert_eq!(whole(number), Some(nearest), "{number}");
        }
        assert_eq!(whole(-9_223_372_036_854_775_808.0), Some(i64::MIN));
        for number in [9.3e18, -9.3e18, 9_223_372_036_854_775_808.0, f64::NAN, f64::INFINITY] {
            assert_eq!(whole(number), None, "{number}");
        }
    }
}
