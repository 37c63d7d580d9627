//! Where the fields of a packet go when it is emitted: bytes for the air, or an outline for people.
//!
//! Each payload is written down once, field by field. A `Vec<u8>` keeps the bytes, an [`Outline`]
//! keeps names, offsets and meanings as well, so the picture that people see cannot differ from
//! what goes on air.

use std::fmt;

/// Takes the fields of a packet in the order of the wire.
pub trait Sink {
    /// A field: its name, its bytes, what they mean.
    fn field(&mut self, name: &'static str, bytes: &[u8], meaning: fmt::Arguments<'_>);

    /// A group of fields begins.
    fn open(&mut self, name: &'static str, meaning: fmt::Arguments<'_>);

    /// The group ends.
    fn close(&mut self);
}

impl Sink for Vec<u8> {
    fn field(&mut self, _: &'static str, bytes: &[u8], _: fmt::Arguments<'_>) {
        self.extend_from_slice(bytes);
    }

    fn open(&mut self, _: &'static str, _: fmt::Arguments<'_>) {}

    fn close(&mut self) {}
}

/// The fields of a packet with their offsets, in the order of the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// Fields and groups; a group's fields follow it, one deeper.
    pub lines: Vec<Line>,
    depth: usize,
    at: usize,
}

/// A field, or a group of the deeper lines that follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// 0 for the packet's own fields, one more within a group.
    pub depth: usize,
    /// Where its first byte is, counted from the packet's first byte.
    pub at: usize,
    /// What it is called.
    pub name: &'static str,
    /// Its bytes; none for a group.
    pub bytes: Vec<u8>,
    /// What they mean, with units; free of control characters.
    pub meaning: String,
}

impl Outline {
    fn line(&mut self, name: &'static str, bytes: &[u8], meaning: fmt::Arguments<'_>) {
        let (depth, at) = (self.depth, self.at);
        self.lines.push(Line {
            depth,
            at,
            name,
            bytes: bytes.to_vec(),
            meaning: meaning.to_string(),
        });
        self.at += bytes.len();
    }
}

impl Sink for Outline {
    fn field(&mut self, name: &'static str, bytes: &[u8], meaning: fmt::Arguments<'_>) {
        self.line(name, bytes, meaning);
    }

    fn open(&mut self, name: &'static str, meaning: fmt::Arguments<'_>) {
        self.line(name, &[], meaning);
        self.depth += 1;
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }
}

/// A number of things, in words: `1 hop`, `2 hops`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count(pub usize, pub &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number, thing) = self;
        write!(f, "{number} {thing}{}", if *number == 1 { "" } else { "s" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outline_counts_offsets_and_depth_by_itself() {
        let mut outline = Outline::default();
        outline.field("a", &[1, 2], format_args!("two"));
        outline.open("group", format_args!("of {}", 1));
        outline.field("b", &[3], format_args!("one"));
        outline.close();
        outline.field("c", &[], format_args!("none"));
        let lines: Vec<_> = outline.lines.iter().map(|l| (l.depth, l.at, l.name)).collect();
        assert_eq!(lines, [(0, 0, "a"), (0, 2, "group"), (1, 2, "b"), (0, 3, "c")]);
        assert_eq!(outline.lines[1].meaning, "of 1");
    }
}
