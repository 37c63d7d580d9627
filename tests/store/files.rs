//! Opening: fresh files, CoreScope's, damaged and foreign ones.

use super::*;
use crate::support::reference;

use meshbox::store::OpenError;
use std::collections::BTreeMap;

fn refusal(path: &Path) -> OpenError {
    let clock = Clock::by_hand(START_MS);
    match store::start(options(path), clock, Arc::default()) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => {
            let line = error.to_string();
            assert!(
                line.contains(&*path.to_string_lossy()) || line.contains("directory"),
                "{line}"
            );
            assert!(!line.contains('\n') && line.len() < 300, "{line}");
            error
        }
    }
}

/// Each table's columns (name, type, not null, default, key) and each index, as SQLite tells them.
fn shape(path: &Path) -> BTreeMap<String, String> {
    let tables = "SELECT name, (SELECT json_group_array(json_array(name, type, \"notnull\",
        dflt_value, pk)) FROM pragma_table_info(m.name))
        FROM sqlite_master m WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    let rest = "SELECT name, sql FROM sqlite_master WHERE type <> 'table' AND sql IS NOT NULL
        UNION ALL SELECT m.name || ' ' || i.name, i.origin || i.\"unique\" || i.partial
        FROM sqlite_master m, pragma_index_list(m.name) i WHERE m.type = 'table'";
    let uri = format!("file:{}?immutable=1", path.display());
    let conn = Connection::open_with_flags(
        uri,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI,
    )
    .unwrap();
    let mut shape = BTreeMap::new();
    for sql in [tables, rest] {
        let mut statement = conn.prepare(sql).unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let text: String = row.get(1).unwrap();
            let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
            shape.insert(row.get(0).unwrap(), text.replace(" = ", "="));
        }
    }
    shape
}

fn names(path: &Path, table: &str) -> Vec<String> {
    let uri = format!("file:{}?immutable=1", path.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let conn = Connection::open_with_flags(uri, flags).unwrap();
    let mut statement = conn.prepare(&format!("SELECT name FROM {table} ORDER BY 1")).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_fresh_file_has_the_schema_of_july_2026_and_our_three_tables() {
    let Some(later) = reference("replay-later.db") else { return };
    let mut bed = Bed::new();
    bed.finish();
    let (mut ours, theirs) = (shape(&bed.path), shape(&later));
    ours.retain(|name, _| !name.starts_with("meshbox_"));
    let both: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    for name in both {
        assert_eq!(ours.get(name), theirs.get(name), "{name}");
    }
    assert_eq!(names(&bed.path, "_migrations"), names(&later, "_migrations"));
    assert_eq!(names(&bed.path, "_async_migrations"), names(&later, "_async_migrations"));
    assert_eq!(bed.one::<i64>("SELECT COUNT(*) FROM _async_migrations WHERE status = 'done'"), 2);
}

#[test]
fn a_fresh_file_vacuums_incrementally_keeps_a_wal_and_carries_our_version() {
    let bed = Bed::new();
    assert_eq!(bed.one::<i64>("PRAGMA auto_vacuum"), 2);
    assert_eq!(bed.one::<String>("PRAGMA journal_mode"), "wal");
    assert_eq!(bed.one::<i64>("PRAGMA user_version"), 1);
    for table in ["nodes", "inactive_nodes"] {
        let columns: String =
            bed.one(&format!("SELECT group_concat(name) FROM pragma_table_info('{table}')"));
        assert!(columns.ends_with("default_scope,multibyte_sup,multibyte_evidence"), "{columns}");
    }
}

#[test]
fn the_directory_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = Bed::on(&dir.path().join("a/b/meshcore.db"));
    bed.store([packet(1, "A", 0)]);
    assert_eq!(bed.count("observations"), 1);
}

#[test]
fn an_empty_file_becomes_a_database() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meshcore.db");
    std::fs::write(&path, b"").unwrap();
    let mut bed = Bed::on(&path);
    bed.store([packet(1, "A", 0)]);
    assert_eq!(bed.one::<i64>("PRAGMA auto_vacuum"), 2);
}

#[test]
fn a_file_that_lacks_nothing_is_not_written_when_it_is_opened() {
    let mut bed = Bed::new();
    bed.store([packet(1, "A", 0)]);
    bed.finish();
    let before = std::fs::read(&bed.path).unwrap();
    let mut again = Bed::on(&bed.path);
    again.finish();
    assert!(std::fs::read(&bed.path).unwrap() == before);
}

#[test]
fn a_newer_file_is_refused_and_left_as_it_is() {
    let mut bed = Bed::new();
    bed.store([packet(1, "A", 0)]);
    bed.finish();
    Connection::open(&bed.path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = std::fs::read(&bed.path).unwrap();
    let error = refusal(&bed.path);
    assert!(matches!(error, OpenError::Newer { found: 99, known: 1, .. }), "{error:?}");
    assert!(std::fs::read(&bed.path).unwrap() == before);
}

#[test]
fn what_is_no_database_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in
        [("text", b"hello, this is no database at all".to_vec()), ("short", b"x".to_vec())]
    {
        let path = dir.path().join(name);
        std::fs::write(&path, &bytes).unwrap();
        let error = refusal(&path);
        assert!(matches!(error, OpenError::NotADatabase { .. }), "{error:?}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn a_damaged_file_is_refused_and_left_as_it_is() {
    let mut bed = Bed::new();
    bed.store((0..500).map(|n| packet(n, "A", 0)));
    bed.finish();
    let mut bytes = std::fs::read(&bed.path).unwrap();
    bytes[100..4_096].fill(0x5a);
    std::fs::write(&bed.path, &bytes).unwrap();
    let error = refusal(&bed.path);
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert!(std::fs::read(&bed.path).unwrap() == bytes);
}

#[test]
fn another_programs_database_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE songs (title TEXT)").unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = refusal(&path);
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
    assert!(std::fs::read(&path).unwrap() == before);
}

#[test]
fn the_old_layout_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v2.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch(
            "CREATE TABLE transmissions (id INTEGER PRIMARY KEY, raw_hex TEXT, hash TEXT);
             CREATE TABLE observations (id INTEGER PRIMARY KEY, transmission_id INTEGER,
               observer_id TEXT, observer_name TEXT, path_json TEXT, timestamp TEXT)",
        )
        .unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = refusal(&path);
    assert!(matches!(error, OpenError::OldLayout { .. }), "{error:?}");
    assert!(std::fs::read(&path).unwrap() == before);
}

#[test]
fn a_directory_that_cannot_be_made_or_written_is_an_error_that_names_it() {
    // /proc takes no file, not even from root.
    let error = refusal(Path::new("/proc/meshbox/meshcore.db"));
    assert!(matches!(error, OpenError::Directory { .. }), "{error:?}");
    let error = refusal(Path::new("/proc/meshcore.db"));
    assert!(matches!(error, OpenError::Unopened { .. }), "{error:?}");
    let dir = tempfile::tempdir().unwrap();
    let error = refusal(dir.path());
    assert!(matches!(error, OpenError::Unopened { .. }), "{error:?}");
}

#[test]
fn a_file_without_write_permission_is_an_error_that_says_so() {
    use std::os::unix::fs::PermissionsExt;
    let mut bed = Bed::new();
    bed.finish();
    std::fs::set_permissions(&bed.path, std::fs::Permissions::from_mode(0o444)).unwrap();
    if std::fs::OpenOptions::new().write(true).open(&bed.path).is_ok() {
        eprintln!("SKIPPED: root may write every file");
        return;
    }
    let error = refusal(&bed.path);
    assert!(matches!(error, OpenError::ReadOnly { .. }), "{error:?}");
}

#[test]
fn a_file_that_another_program_keeps_to_itself_is_an_error_that_says_so() {
    let mut bed = Bed::new();
    bed.finish();
    let other = Connection::open(&bed.path).unwrap();
    other.pragma_update(None, "locking_mode", "EXCLUSIVE").unwrap();
    other.execute_batch("BEGIN EXCLUSIVE; DELETE FROM nodes; COMMIT").unwrap();
    let error = refusal(&bed.path);
    assert!(matches!(error, OpenError::Locked { .. }), "{error:?}");
}
