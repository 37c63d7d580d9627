//! Where the configuration is looked for.

use std::io;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::file::File;
use super::parse;
use super::read;
use super::tree::{Dialect, Node};
use super::{Origin, judge};

/// What was found, read but not judged.
pub(super) struct Written {
    pub origin: Origin,
    pub dialect: Dialect,
    /// The file as messages name it.
    pub name: PathBuf,
    /// Its folder: paths of key files and password files begin there.
    pub folder: PathBuf,
    pub tree: Node,
    pub file: File,
}

/// The file that `--config` names, else `broker.toml`, else `config.json` in the working directory,
/// else the system's file, else the embedded defaults.
///
/// # Errors
/// A named file that is not there, a file that cannot be read or is not what it should be.
pub(super) fn find(
    named: Option<&Path>,
    working_dir: &Path,
    system_file: &Path,
) -> Result<Written, Error> {
    if let Some(named) = named {
        let path = working_dir.join(named);
        let text = std::fs::read(&path).map_err(|error| {
            Error::unreadable(named.display(), &error, "name a file that can be read")
        })?;
        let dialect = dialect_of(named, &text);
        return written(named.to_owned(), &path, dialect, text);
    }
    let candidates = [
        (working_dir.join("broker.toml"), Dialect::Toml),
        (working_dir.join("config.json"), Dialect::CoreScope),
        (system_file.to_owned(), Dialect::Toml),
    ];
    for (path, dialect) in candidates {
        match std::fs::read(&path) {
            Ok(text) => return written(path.clone(), &path, dialect, text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let advice = "let this user read it, or name another file with --config";
                return Err(Error::unreadable(path.display(), &error, advice));
            }
        }
    }
    Ok(Written {
        origin: Origin::Defaults,
        dialect: Dialect::Toml,
        name: PathBuf::from("defaults"),
        folder: working_dir.to_owned(),
        tree: Node::empty(),
        file: File::default(),
    })
}

/// By its ending; where that says nothing, an object's brace at the start means JSON.
fn dialect_of(path: &Path, text: &[u8]) -> Dialect {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    match ending.as_deref() {
        Some("json") => Dialect::CoreScope,
        Some("toml") => Dialect::Toml,
        _ if text.trim_ascii_start().starts_with(b"{") => Dialect::CoreScope,
        _ => Dialect::Toml,
    }
}

fn written(name: PathBuf, path: &Path, dialect: Dialect, bytes: Vec<u8>) -> Result<Written, Error> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        Error::syntax(&name, line, "not UTF-8; save the file in this encoding")
    })?;
    // Some editors put a byte order mark at the start.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let tree = match dialect {
        Dialect::Toml => parse::toml(text),
        Dialect::CoreScope => parse::json(text),
    }
    .map_err(|malformed| Error::syntax(&name, malformed.line, malformed.what))?;
    let file = read::read(&tree, dialect)
        .map_err(|wrong| judge::error_at(&name, &tree, dialect, &wrong.at, wrong.what))?;
    let origin = match dialect {
        Dialect::Toml => Origin::Toml(name.clone()),
        Dialect::CoreScope => Origin::CoreScope(name.clone()),
    };
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    Ok(Written { origin, dialect, name, folder, tree, file })
}
