//! A config file as a tree whose nodes know their lines. TOML and JSON look alike from here on.
//!
//! Nothing here can be printed with `{:?}`: a value may be a password.

use std::fmt;

/// Which rules a file follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// meshbox's own file, also no file at all: an unknown key is an error.
    Toml,
    /// CoreScope's `config.json`: unknown keys are somebody else's, the case of letters in keys
    /// does not matter, `null` is as good as absent (Go's `encoding/json`).
    CoreScope,
}

/// A value and where it stands.
#[derive(Clone, PartialEq)]
pub(super) struct Node {
    /// Line, from 1.
    pub line: usize,
    pub value: Value,
}

#[derive(Clone, PartialEq)]
pub(super) enum Value {
    /// JSON only.
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    /// TOML only; no key of ours takes one.
    Date,
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// A key with its value, in the order of the file.
#[derive(Clone, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    /// The key's line; its value may begin on a later one.
    pub line: usize,
    pub node: Node,
}

/// The way from the root to a value: `mqttSources[1].broker`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct At(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl At {
    /// A key of the root table.
    pub(super) fn key(key: &str) -> Self {
        Self::default().then(key)
    }

    /// A key of the table that is here.
    pub(super) fn then(&self, key: &str) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Key(key.to_owned()));
        Self(steps)
    }

    /// An element of the list that is here.
    pub(super) fn index(&self, index: usize) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Index(index));
        Self(steps)
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    let bare = |c: char| c.is_ascii_alphanumeric() || "_-#".contains(c);
                    let dot = if nth > 0 { "." } else { "" };
                    if !key.is_empty() && key.chars().all(bare) {
                        write!(f, "{dot}{key}")?;
                    } else {
                        write!(f, "{dot}{key:?}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Node {
    /// An empty table: no file at all.
    pub(super) fn empty() -> Self {
        Self { line: 1, value: Value::Table(Vec::new()) }
    }

    /// The line of what is there, or of the nearest that is there above it.
    pub(super) fn line_of(&self, at: &At, dialect: Dialect) -> usize {
        let (mut node, mut line) = (self, self.line);
        for step in &at.0 {
            let below = match (step, &node.value) {
                (Step::Key(key), Value::Table(entries)) => entries
                    .iter()
                    .rev()
                    .find(|entry| dialect.same_key(&entry.key, key))
                    .map(|entry| (&entry.node, entry.line)),
                (Step::Index(index), Value::List(nodes)) => {
                    nodes.get(*index).map(|node| (node, node.line))
                }
                _ => None,
            };
            match below {
                Some(found) => (node, line) = found,
                None => break,
            }
        }
        line
    }
}

impl Dialect {
    /// Whether a key as written is this key of ours.
    pub(super) fn same_key(self, written: &str, ours: &str) -> bool {
        match self {
            Self::Toml => written == ours,
            Self::CoreScope => written.eq_ignore_ascii_case(ours),
        }
    }
}

/// Offsets in a text to line numbers.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at).collect())
    }

    /// The line, from 1, that holds this byte.
    pub(super) fn at(&self, offset: usize) -> usize {
        self.0.partition_point(|newline| *newline < offset) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_written_as_people_would_point_at_it() {
        let at = At::key("mqttSources").index(1).then("broker");
        assert_eq!(at.to_string(), "mqttSources[1].broker");
        assert_eq!(At::key("channelKeys").then("#test").to_string(), "channelKeys.#test");
        assert_eq!(
            At::key("channelKeys").then("my\nclub").to_string(),
            r#"channelKeys."my\nclub""#
        );
    }

    #[test]
    fn lines_count_from_one_and_a_newline_belongs_to_its_line() {
        let lines = Lines::of("a\nbc\n");
        assert_eq!([0, 1, 2, 4, 5].map(|offset| lines.at(offset)), [1, 1, 2, 2, 3]);
    }
}
