//! From what the user wrote to what the program uses: defaults filled in, values judged.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Ingest;
use super::env::Env;
use super::error::Error;
use super::file::File;
use super::nearest::nearest;
use super::own::Machine;
use super::search::Written;
use super::tree::{At, Dialect, Node};
use super::{
    Config, ContentHash, channels, filters, listeners, node_keys, retention, sources, unbuilt,
    uplinks,
};

/// CoreScope's default, relative to the working directory.
const DB_PATH: &str = "data/meshcore.db";

/// CoreScope's default; about half an hour of a busy mesh.
const INGEST_BUFFER_SIZE: i64 = 50_000;

/// MiB; what a Raspberry Pi with 512 MB can spare.
const INGEST_BUFFER_MB: i64 = 16;

/// Milliseconds; one commit a second is what a slow SD card bears for years.
const COMMIT_INTERVAL_MS: i64 = 1_000;

/// MiB that the write-ahead log may have in a burst; at 16 it is copied at everyday traffic anyway.
const WAL_MAX_MB: i64 = 64;

/// Seconds, CoreScope's default; also how often most observers tell.
const SAMPLE_INTERVAL_SEC: i64 = 300;

const MIB: usize = 1024 * 1024;

/// Who is to blame for a value: the config file, or a variable that goes over it.
#[derive(Clone, Debug)]
pub(super) enum Blame {
    Key(At),
    Variable(&'static str),
}

/// What is judged, with what it is judged by.
pub(super) struct Judge<'a> {
    pub written: &'a Written,
    pub env: &'a Env,
    pub working_dir: &'a Path,
    pub machine: &'a Machine,
    /// What was accepted and has no effect.
    pub notes: Vec<String>,
}

impl Judge<'_> {
    /// Judges all of it.
    pub(super) fn config(mut self) -> Result<Config, Error> {
        let written = self.written;
        let file = &written.file;
        if written.dialect == Dialect::Toml && file.mqtt.is_some() {
            let what = "unknown key; did you mean mqttSources";
            return Err(self.error(&At::key("mqtt"), what));
        }
        let broker = listeners::judge(&mut self)?;
        let binds: Vec<_> = broker.listeners.iter().map(|listener| listener.bind).collect();
        let sources = sources::judge(&mut self, broker.enabled, &binds)?;
        let uplinks = uplinks::judge(&mut self, &binds)?;
        let channel_keys = channels::judge(&mut self)?;
        let node_keys = node_keys::judge(&mut self)?;
        if broker.listeners.is_empty() && sources.is_empty() {
            self.notes.push("no listener and no source: nothing comes in".into());
        }
        let filters = filters::judge(&mut self)?;
        let retention = retention::judge(&self)?;
        unbuilt::judge(&mut self)?;
        let ingest = self.ingest()?;
        let interval = self.whole(
            "commitIntervalMs",
            file.commit_interval_ms,
            COMMIT_INTERVAL_MS,
            1..=60_000,
        )?;
        let wal_max_mib = self.whole("walMaxMB", file.wal_max_mb, WAL_MAX_MB, 16..=16_384)?;
        Ok(Config {
            origin: written.origin.clone(),
            db_path: self.db_path(),
            content_hash: self.content_hash()?,
            channel_keys,
            node_keys,
            hash_regions: hash_regions(file),
            validate_signatures: file.validate_signatures.unwrap_or(true),
            filters,
            ingest,
            commit_interval: Duration::from_millis(interval.unsigned_abs()),
            wal_max_bytes: wal_max_mib.unsigned_abs().saturating_mul(1024 * 1024),
            sample_interval: self.sample_interval()?,
            retention,
            stats_file: self.stats_file(),
            broker,
            sources,
            uplinks,
            notes: self.notes,
        })
    }

    /// An error of the file, with the line of the key or of the nearest that is there.
    pub(super) fn error(&self, at: &At, what: impl Into<String>) -> Error {
        error_at(&self.written.name, &self.written.tree, self.written.dialect, at, what.into())
    }

    /// An error of the file or of the environment.
    pub(super) fn blame(&self, blame: &Blame, what: impl Into<String>) -> Error {
        match blame {
            Blame::Key(at) => self.error(at, what),
            Blame::Variable(variable) => Error::Variable { variable, what: what.into() },
        }
    }

    /// Something that CoreScope takes without a word and that has no effect there: an error in our
    /// own file, a note in CoreScope's.
    pub(super) fn complain(&mut self, blame: &Blame, what: &str) -> Result<(), Error> {
        if self.written.dialect == Dialect::Toml {
            return Err(self.blame(blame, what));
        }
        let place = match blame {
            Blame::Key(at) => at.to_string(),
            Blame::Variable(variable) => (*variable).to_owned(),
        };
        self.notes.push(format!("{place}: {what}"));
        Ok(())
    }

    /// A path beside the config file.
    pub(super) fn beside(&self, path: &str) -> PathBuf {
        self.written.folder.join(path)
    }

    /// One of a few words; the default where nothing is written.
    pub(super) fn word<T: Copy>(
        &self,
        at: &At,
        written: Option<&str>,
        words: &[(&'static str, T)],
        default: T,
    ) -> Result<T, Error> {
        let Some(written) = written.map(str::trim) else { return Ok(default) };
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == written) {
            return Ok(*meaning);
        }
        let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let near = nearest(written, known.iter().copied())
            .map_or_else(String::new, |near| format!(", perhaps {near:?}"));
        Err(self.error(at, format!("is not one of {}; use one of these{near}", known.join(", "))))
    }

    /// A whole number within bounds; the default where nothing is written.
    pub(super) fn whole(
        &self,
        key: &str,
        written: Option<i64>,
        default: i64,
        range: RangeInclusive<i64>,
    ) -> Result<i64, Error> {
        self.whole_at(&At::key(key), written, default, range)
    }

    /// The same for a key that is not in the root table.
    pub(super) fn whole_at(
        &self,
        at: &At,
        written: Option<i64>,
        default: i64,
        range: RangeInclusive<i64>,
    ) -> Result<i64, Error> {
        let value = written.unwrap_or(default);
        if range.contains(&value) {
            return Ok(value);
        }
        let (least, most) = (range.start(), range.end());
        Err(self.error(
            at,
            format!("{value} is too {}; use {least} to {most}", {
                if value < *least { "small" } else { "large" }
            }),
        ))
    }

    fn ingest(&self) -> Result<Ingest, Error> {
        let file = &self.written.file;
        // CoreScope takes zero and less for its default.
        let size = match self.written.dialect {
            Dialect::CoreScope => file.ingest_buffer_size.filter(|size| *size > 0),
            Dialect::Toml => file.ingest_buffer_size,
        };
        let messages = self.whole("ingestBufferSize", size, INGEST_BUFFER_SIZE, 1..=10_000_000)?;
        let mib =
            self.whole("ingestBufferMB", file.ingest_buffer_mb, INGEST_BUFFER_MB, 1..=2_047)?;
        let size = |number| usize::try_from(number).unwrap_or(usize::MAX);
        Ok(Ingest { messages: size(messages), bytes: size(mib).saturating_mul(MIB) })
    }

    fn sample_interval(&self) -> Result<Duration, Error> {
        let at = At::key("metrics").then("sampleIntervalSec");
        let written = self.written.file.metrics.as_ref().and_then(|it| it.sample_interval_sec);
        // CoreScope takes zero and less for its default.
        let written = match self.written.dialect {
            Dialect::CoreScope => written.filter(|seconds| *seconds > 0),
            Dialect::Toml => written,
        };
        let seconds = self.whole_at(&at, written, SAMPLE_INTERVAL_SEC, 1..=86_400)?;
        Ok(Duration::from_secs(seconds.unsigned_abs()))
    }

    fn db_path(&self) -> PathBuf {
        let written = self.written.file.db_path.as_deref().filter(|path| !path.is_empty());
        self.working_dir.join(self.env.db_path.as_deref().or(written).unwrap_or(DB_PATH))
    }

    fn stats_file(&self) -> Option<PathBuf> {
        let path = self.env.stats_file.as_deref().or(self.written.file.stats_file.as_deref());
        path.filter(|path| !path.is_empty()).map(|path| self.working_dir.join(path))
    }

    fn content_hash(&self) -> Result<ContentHash, Error> {
        let words = [
            ("firmware", ContentHash::Firmware),
            ("corescope-2026-04", ContentHash::CoreScope202604),
        ];
        let written = self.written.file.content_hash.as_deref();
        self.word(&At::key("contentHash"), written, &words, ContentHash::Firmware)
    }
}

fn hash_regions(file: &File) -> Vec<String> {
    let mut regions: Vec<String> = Vec::new();
    for name in file.hash_regions.iter().flatten().map(|name| name.trim()) {
        if !name.is_empty() && !regions.iter().any(|known| known == name) {
            regions.push(name.to_owned());
        }
    }
    regions
}

/// An error of a file with the line of the key, or of the nearest that is there above it.
pub(super) fn error_at(file: &Path, tree: &Node, dialect: Dialect, at: &At, what: String) -> Error {
    let (file, line) = (file.display().to_string(), tree.line_of(at, dialect));
    if *at == At::default() {
        return Error::Syntax { file, line, what };
    }
    Error::Value { file, line, key: at.to_string(), what }
}
