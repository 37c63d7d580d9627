//! The law of imports: which room may know which. An arrow that the table does not have fails.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Room → what it may import: a room's name, or a path inside one.
///
/// Five rooms lie at the bottom for everyone who needs them: `message` (what flows), `clock` (the
/// time as an argument), `counters` (what is counted), `area` (parts of the world, pure) and
/// `supervise` (what starts again after a panic). `control` shows what the broker has written on its
/// `board`; what people want of the broker it hands on to what the app has given it for that.
const LAW: &[(&str, &[&str])] = &[
    ("main", &["*"]),
    ("cli", &["*"]),
    ("app", &["*"]),
    ("area", &[]),
    ("clock", &[]),
    ("counters", &[]),
    ("config", &["area"]),
    ("message", &[]),
    ("supervise", &["counters", "clock"]),
    ("packet", &[]),
    ("crypto", &["packet"]),
    ("envelope", &["message"]),
    ("record", &["packet", "crypto", "envelope", "message", "area"]),
    ("ingest", &["record", "store", "counters", "message", "clock"]),
    ("store", &["record", "config", "counters", "message", "clock"]),
    ("broker", &["message", "config", "crypto::token", "counters", "clock", "supervise"]),
    ("bridge", &["message", "config", "crypto::token", "counters", "clock", "supervise", "area"]),
    ("control", &["store", "counters", "broker::presence", "broker::board", "clock", "supervise"]),
];

/// `packet`, `crypto` and `area` are pure: bytes in, values out.
const IMPURE: &[&str] =
    &["std::fs", "std::net", "std::io", "std::thread", "std::time", "tokio", "tracing", "rusqlite"];

#[test]
fn no_room_imports_what_the_law_does_not_allow() {
    let mut broken = Vec::new();
    for (room, file, text) in sources() {
        let Some(allowed) = LAW.iter().find(|(name, _)| *name == room).map(|(_, to)| *to) else {
            broken.push(format!("{}: room `{room}` is not in the law", file.display()));
            continue;
        };
        for path in crate_paths(&text) {
            let top = path.split("::").next().unwrap_or_default();
            let own = top == room;
            let lawful = allowed.iter().any(|a| {
                *a == "*" || path == *a || path.starts_with(&format!("{a}::")) || *a == top
            });
            let upwards = room == "app" && top == "cli";
            if !own && (!lawful || upwards) {
                broken.push(format!("{}: {room} may not import crate::{path}", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "the law of imports is broken:\n{}", broken.join("\n"));
}

#[test]
fn packet_crypto_and_area_do_no_io_and_know_no_clock_and_no_log() {
    let mut broken = Vec::new();
    for (room, file, text) in sources() {
        if room == "packet" || room == "crypto" || room == "area" {
            let code = without_tests(&text);
            broken.extend(
                IMPURE
                    .iter()
                    .filter(|i| code.contains(*i))
                    .map(|i| format!("{}: {i}", file.display())),
            );
        }
    }
    assert!(broken.is_empty(), "a pure room is not pure:\n{}", broken.join("\n"));
}

#[test]
fn every_room_of_the_law_exists() {
    let rooms: BTreeMap<String, ()> = sources().into_iter().map(|(room, ..)| (room, ())).collect();
    for (room, _) in LAW {
        assert!(rooms.contains_key(*room), "the law knows a room that is not there: {room}");
    }
}

#[test]
fn the_law_sees_braces_inline_paths_and_several_lines() {
    let text = "use crate::{store, broker::{door, access}};\nfn f() { crate::record::make() }\n\
                use crate::envelope::{\n    topic,\n};\n// use crate::commented::out;\n";
    let mut found = crate_paths(text);
    found.sort();
    let expected = ["broker::access", "broker::door", "envelope::topic", "record::make", "store"];
    assert_eq!(found, expected);
}

/// Every source file with its room: the first folder or file name under `src/`.
fn sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") && path != root.join("lib.rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 10, "the sources were not found");
    files
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let inside = path.strip_prefix(&root).unwrap();
            let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
            (first.trim_end_matches(".rs").to_owned(), inside.to_owned(), text)
        })
        .collect()
}

/// Every path that follows `crate::` outside comments, braces opened out.
fn crate_paths(text: &str) -> Vec<String> {
    let code: String =
        text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let boundary = code[..at].chars().next_back();
        if boundary.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        expand("", &code[at + "crate::".len()..], &mut paths);
    }
    paths
}

/// Reads one path at the start of `rest`, `{…}` lists included; returns what follows it.
fn expand<'a>(prefix: &str, rest: &'a str, paths: &mut Vec<String>) -> &'a str {
    let rest = rest.trim_start();
    if let Some(mut inner) = rest.strip_prefix('{') {
        loop {
            inner = inner.trim_start().trim_start_matches(',').trim_start();
            if let Some(after) = inner.strip_prefix('}') {
                return after;
            }
            if inner.is_empty() {
                return inner;
            }
            inner = expand(prefix, inner, paths);
        }
    }
    let end =
        rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '*')).unwrap_or(rest.len());
    if end == 0 {
        return rest.get(1..).unwrap_or_default();
    }
    let path = if prefix.is_empty() {
        rest[..end].to_owned()
    } else {
        format!("{prefix}::{}", &rest[..end])
    };
    match rest[end..].strip_prefix("::") {
        Some(deeper) => expand(&path, deeper, paths),
        None => {
            paths.push(path);
            &rest[end..]
        }
    }
}

/// The file up to its tests, which may do as they like.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}
