//! Tables and blocks of text that fit into a terminal of a hundred columns.

/// Columns that a line of text may have; a name or topic that is longer stays whole.
const WIDE: usize = 98;

/// Columns that the titles of a block take.
const TITLE: usize = 14;

/// Columns as wide as their widest entry; the last one ends where it ends. Below a row stands what is
/// to be remarked about it, if anything is.
pub(super) fn table<const N: usize>(
    head: &[&str; N],
    rows: impl Iterator<Item = ([String; N], String)>,
) -> String {
    let mut rows: Vec<_> = rows.collect();
    rows.insert(0, (head.map(str::to_owned), String::new()));
    let width = |column: usize| rows.iter().map(|(row, _)| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or_default());
    let mut text = String::new();
    for (row, remark) in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(&format!("  {}\n", cells.collect::<Vec<_>>().join("  ").trim_end()));
        if !remark.is_empty() {
            text.push_str(&wrapped("      ", "      ", remark));
        }
    }
    text
}

/// A line of a block: a title, and a text beside it that goes on below itself.
pub(super) fn entry(title: &str, text: &str) -> String {
    wrapped(&format!("    {title:<0$}", TITLE - 4), &" ".repeat(TITLE), text)
}

/// A text in lines, between words.
fn wrapped(first: &str, further: &str, text: &str) -> String {
    let (mut lines, mut line) = (String::new(), first.to_owned());
    let mut is_empty = true;
    for word in text.split(' ') {
        let would_be = line.chars().count() + 1 + word.chars().count();
        if !is_empty && would_be > WIDE {
            lines.push_str(line.trim_end());
            lines.push('\n');
            (line, is_empty) = (further.to_owned(), true);
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    lines.push_str(line.trim_end());
    lines.push('\n');
    lines
}

/// The beginning of a long name: of a key's 64 digits nobody reads more than the first.
pub(super) fn short(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        return name.to_owned();
    }
    let mut short: String = name.chars().take(most.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// A duration in the largest unit that matters, for columns.
pub(super) fn brief(ms: i64) -> String {
    let secs = ms.max(0) / 1000;
    match secs {
        0..=59 => format!("{secs} s"),
        60..=3599 => format!("{} min", secs / 60),
        3600..=86_399 => format!("{} h", secs / 3600),
        _ => format!("{} d", secs / 86_400),
    }
}

/// So many bytes, for people.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} bytes"),
        10_000..=9_999_999 => format!("{} kB", bytes / 1_000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_goes_on_below_itself_and_a_long_word_stays_whole() {
        let text = entry("help", &"word ".repeat(40));
        assert!(text.lines().all(|line| line.chars().count() <= WIDE), "{text}");
        let mut lines = text.lines();
        assert!(lines.next().unwrap().starts_with("    help      word word"), "{text}");
        assert!(lines.all(|line| line.starts_with("              word")), "{text}");
        let topic = "x".repeat(150);
        assert_eq!(entry("topic", &topic), format!("    topic     {topic}\n"));
    }

    #[test]
    fn units_are_those_that_matter() {
        assert_eq!(
            [59_999, 60_000, 7_300_000, 200_000_000].map(brief),
            ["59 s", "1 min", "2 h", "2 d"]
        );
        assert_eq!([9_999, 45_678, 12_345_678].map(size), ["9999 bytes", "45 kB", "12 MB"]);
        assert_eq!((short("abc", 3), short("abcd", 3)), ("abc".into(), "ab…".into()));
    }
}
