//! A stable client id for each source: random once, kept in the data directory.
//!
//! An external broker keeps our session, and with it the messages that come while we are away, under
//! the client id; a new one at each start would lose them and leave the old session behind.

use super::random::Random;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

/// The file in the data directory: a JSON object, source name to client id.
pub(super) const FILE: &str = "meshbox-clients.json";

/// The ids of this run, and what stood in the way of keeping them.
#[derive(Debug)]
pub(super) struct ClientIds {
    /// Client id by source name.
    pub(super) ids: BTreeMap<String, String>,
    /// One line for the log each.
    pub(super) troubles: Vec<String>,
}

impl ClientIds {
    /// The kept ids of these sources; a source without one gets one, and the file is written anew.
    ///
    /// A file that cannot be read or written stops nothing: it is said in `troubles`. Ids of sources
    /// that are not configured now stay in the file, for the day they come back.
    pub(super) fn load<'a>(
        data_dir: &Path,
        names: impl Iterator<Item = &'a str>,
        random: &Random,
    ) -> Self {
        let mut troubles = Vec::new();
        let mut ids = read(data_dir).unwrap_or_else(|why| {
            let path = data_dir.join(FILE);
            troubles.push(format!(
                "{}: {why}; sources get new client ids, and their old sessions end unread",
                path.display()
            ));
            BTreeMap::new()
        });
        let known = ids.clone();
        for name in names {
            let id = ids.entry(name.to_owned()).or_default();
            if !is_valid(id) {
                *id = format!("meshbox{:016x}", random.number());
            }
        }
        if ids != known {
            if let Err(why) = write(data_dir, &ids) {
                troubles.push(format!(
                    "{}: cannot be written ({why}); client ids will change at the next start: make \
                     the directory writable",
                    data_dir.join(FILE).display()
                ));
            }
        }
        Self { ids, troubles }
    }

    /// The id of one of the sources that were named to [`ClientIds::load`].
    pub(super) fn of(&self, name: &str) -> Arc<str> {
        self.ids.get(name).map_or_else(Arc::default, |id| id.as_str().into())
    }
}

/// What every broker must accept (MQTT-3.1.3-5): 1 to 23 bytes of digits and letters.
fn is_valid(id: &str) -> bool {
    (1..=23).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn read(data_dir: &Path) -> Result<BTreeMap<String, String>, String> {
    match fs::read(data_dir.join(FILE)) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| format!("not readable ({e})")),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(e) => Err(format!("not readable ({e})")),
    }
}

/// Whole or not at all, also when the power goes: a new file, synced, then renamed over the old one.
fn write(data_dir: &Path, ids: &BTreeMap<String, String>) -> io::Result<()> {
    fs::create_dir_all(data_dir)?;
    let fresh = data_dir.join(format!("{FILE}.new"));
    let mut file = File::create(&fresh)?;
    file.write_all(&serde_json::to_vec_pretty(ids)?)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&fresh, data_dir.join(FILE))?;
    File::open(data_dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(dir: &Path, names: &[&str], seed: u64) -> ClientIds {
        ClientIds::load(dir, names.iter().copied(), &Random::seeded(seed))
    }

    #[test]
    fn an_id_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let first = load(dir.path(), &["a", "b"], 1);
        assert!(first.troubles.is_empty());
        assert!(first.ids.values().all(|id| is_valid(id) && id.len() == 23));
        assert_ne!(first.ids["a"], first.ids["b"]);
        assert_eq!(load(dir.path(), &["a", "b"], 2).ids, first.ids);
    }

    #[test]
    fn a_new_source_gets_an_id_and_an_absent_one_keeps_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let first = load(dir.path(), &["a"], 1);
        let second = load(dir.path(), &["b"], 2);
        assert_eq!(second.ids["a"], first.ids["a"]);
        assert_eq!(load(dir.path(), &["a", "b"], 3).ids, second.ids);
    }

    #[test]
    fn a_corrupt_file_means_new_ids_and_is_said() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), b"{\"a\": \"mesh").unwrap();
        let loaded = load(dir.path(), &["a"], 1);
        assert_eq!(loaded.troubles.len(), 1, "{:?}", loaded.troubles);
        assert!(loaded.troubles[0].contains(FILE));
        let again = load(dir.path(), &["a"], 2);
        assert!(again.troubles.is_empty());
        assert_eq!(again.ids, loaded.ids);
    }

    #[test]
    fn an_id_that_a_broker_may_refuse_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), br#"{"a": "", "b": "with space", "c": "good1"}"#).unwrap();
        let loaded = load(dir.path(), &["a", "b", "c"], 1);
        assert!(loaded.ids.values().all(|id| is_valid(id)));
        assert_eq!(loaded.ids["c"], "good1");
    }

    #[test]
    fn a_directory_that_cannot_be_written_stops_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let not_a_directory = dir.path().join("file");
        fs::write(&not_a_directory, b"").unwrap();
        let loaded = load(&not_a_directory, &["a"], 1);
        assert!(is_valid(&loaded.ids["a"]));
        assert!(!loaded.troubles.is_empty());
    }
}
