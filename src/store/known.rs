//! What the file knows, read once at the start.

use super::open::BUSY;

use rusqlite::{Connection, OpenFlags};
use std::path::Path;

/// When an observer or a node was last heard, in milliseconds since the Unix epoch; by index.
/// `None` without any, or where the file does not tell now.
pub(super) fn newest_ms(conn: &Connection) -> Option<i64> {
    let newest = "SELECT MAX(unixepoch(seen)) FROM
        (SELECT MAX(last_seen) AS seen FROM observers UNION ALL SELECT MAX(last_seen) FROM nodes)";
    let seconds = conn.query_row(newest, [], |row| row.get::<_, Option<i64>>(0));
    seconds.ok().flatten().map(|seconds| seconds.saturating_mul(1_000))
}

/// The public keys of the nodes that were heard last, the last one last; at most `most` of them, by
/// the index on `last_seen` and a connection that cannot write. A file that is not there knows nobody.
///
/// # Errors
/// SQLite's own, such as a file that another program holds or that has no such table. Nothing is
/// lost then: nodes become known again when they are heard.
pub fn known_nodes(path: &Path, most: u32) -> rusqlite::Result<Vec<[u8; 32]>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY)?;
    let mut query =
        conn.prepare("SELECT public_key FROM nodes ORDER BY last_seen DESC LIMIT ?1")?;
    let keys = query.query_map([most], |row| row.get::<_, String>(0))?;
    let mut known = Vec::new();
    for key in keys {
        // Older programs wrote other things than keys as well.
        let bytes: Option<[u8; 32]> =
            hex::decode(key?).ok().and_then(|bytes| bytes.try_into().ok());
        known.extend(bytes);
    }
    known.reverse();
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_heard_last_are_known_and_what_is_no_key_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meshcore.db");
        assert!(known_nodes(&path, 9).unwrap().is_empty());
        assert!(!path.exists(), "it was made");
        let conn = Connection::open(&path).unwrap();
        assert!(known_nodes(&path, 9).is_err(), "no table yet");
        conn.execute_batch("CREATE TABLE nodes (public_key TEXT PRIMARY KEY, last_seen TEXT)")
            .unwrap();
        let key = |n: u8| hex::encode([n; 32]);
        let nodes = [(key(1), "2026-01-01"), (key(3), "2026-01-03"), (key(2), "2026-01-02")];
        for (key, seen) in nodes.iter().map(|(key, seen)| (key.as_str(), seen)) {
            conn.execute("INSERT INTO nodes VALUES (?1, ?2)", (key, seen)).unwrap();
        }
        conn.execute("INSERT INTO nodes VALUES ('sim-1', '2026-01-04')", ()).unwrap();
        assert_eq!(known_nodes(&path, 9).unwrap(), [[1; 32], [2; 32], [3; 32]]);
        assert_eq!(known_nodes(&path, 2).unwrap(), [[3; 32]]);
    }
}
