//! Comma-separated values as RFC 4180 has them: a header, lines that end in CRLF, quotes where they
//! are needed and doubled within.
//!
//! Names come from whoever sends an advert. A spreadsheet takes a cell for a formula that begins
//! with `=`, `+`, `-`, `@`, a tab or a line end (also in their full-width forms), quoted or not; such
//! a text gets a `'` in front (OWASP "CSV injection"). Numbers stay as they are. Whoever needs
//! every text unchanged takes JSON lines.

use crate::store::Cell;

use std::io::{self, Write};

/// The names of the columns.
pub(super) fn header(names: &[&str], out: &mut dyn Write) -> io::Result<()> {
    write!(out, "{}\r\n", names.join(","))
}

/// One row.
pub(super) fn line(row: &[Cell], out: &mut dyn Write) -> io::Result<()> {
    for (at, cell) in row.iter().enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        match cell {
            Cell::Null => {}
            Cell::Integer(number) => write!(out, "{number}")?,
            Cell::Real(number) => write!(out, "{number}")?,
            Cell::Text(value) | Cell::Json(value) => text(value, out)?,
        }
    }
    out.write_all(b"\r\n")
}

fn text(value: &str, out: &mut dyn Write) -> io::Result<()> {
    let guard = if is_formula(value) { "'" } else { "" };
    // An unquoted cell may lose its outer blanks.
    let outer = value.starts_with(' ') || value.ends_with(' ');
    if outer || value.contains([',', '"', '\r', '\n']) {
        write!(out, "\"{guard}{}\"", value.replace('"', "\"\""))
    } else {
        write!(out, "{guard}{value}")
    }
}

fn is_formula(value: &str) -> bool {
    // Some programs look behind blanks as well.
    let begins = value.trim_start_matches(' ');
    begins.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv(row: &[Cell]) -> String {
        let mut out = Vec::new();
        line(row, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn of(text: &str) -> String {
        csv(&[Cell::Text(text.into())])
    }

    #[test]
    fn quotes_are_there_where_they_are_needed() {
        assert_eq!(of("Hill"), "Hill\r\n");
        assert_eq!(of("Hill, top"), "\"Hill, top\"\r\n");
        assert_eq!(of("the \"Hill\""), "\"the \"\"Hill\"\"\"\r\n");
        assert_eq!(of("two\nlines"), "\"two\nlines\"\r\n");
        assert_eq!(of(" Hill"), "\" Hill\"\r\n");
        let json = Cell::Json(r#"["7D"]"#.into());
        assert_eq!(csv(&[Cell::Null, json, Cell::Null]), ",\"[\"\"7D\"\"]\",\r\n");
    }

    #[test]
    fn a_strangers_name_is_no_formula() {
        assert_eq!(of("=1+1"), "'=1+1\r\n");
        assert_eq!(of("@SUM(A1)"), "'@SUM(A1)\r\n");
        assert_eq!(of("-node"), "'-node\r\n");
        assert_eq!(of("\t=1"), "'\t=1\r\n");
        assert_eq!(of(" =1"), "\"' =1\"\r\n");
        assert_eq!(of("＝1"), "'＝1\r\n");
        assert_eq!(of("=HYPERLINK(\"x\")"), "\"'=HYPERLINK(\"\"x\"\")\"\r\n");
        assert_eq!(of("a=1"), "a=1\r\n");
    }

    #[test]
    fn numbers_are_never_guarded() {
        assert_eq!(csv(&[Cell::Real(-7.5), Cell::Integer(-90)]), "-7.5,-90\r\n");
    }
}
