//! Private keys of nodes, from files.
//!
//! | form | whence |
//! |---|---|
//! | 128 hex digits on a line, a `>` before them or not; lines that begin with `#` are comments | `get prv.key` at a node's serial console |
//! | JSON with `private_key`, and perhaps `public_key` | the app's export of a companion's configuration, key generators |

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::error::{Error, in_words};
use super::judge::Judge;
use super::parse;
use super::secret::KeyBytes;
use super::tree::{At, Dialect, Node, Value};

/// The private key of a node.
#[derive(Clone, PartialEq, Eq)]
pub struct NodeKey {
    /// The file that it is from.
    pub file: PathBuf,
    /// 64 bytes as MeshCore has them: the clamped scalar, then what signing needs (firmware
    /// `src/Identity.cpp`).
    pub private: KeyBytes,
    /// The public key, where the file has it too: whoever uses the private one compares them.
    pub public: Option<[u8; 32]>,
}

/// Bytes of a file that are read: an export with hundreds of contacts has a tenth.
const LARGEST: u64 = 4 << 20;

impl NodeKey {
    /// Reads the file of a node's private key.
    ///
    /// # Errors
    /// One line with the file, what is wrong and what to do; never the key.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = text(path).map_err(|error| {
            Error::unreadable(path.display(), &error, "name a file that can be read")
        })?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.trim_start().starts_with('{') {
            return Self::from_json(path, text);
        }
        let lines = (1..).zip(text.lines().map(str::trim));
        let mut keys = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let wrong = |line, what: &str| Err(Error::syntax(path, line, what));
        let Some((line, digits)) = keys.next() else {
            return wrong(1, "no key; write the 128 hex digits of the node's private key into it");
        };
        if let Some((line, _)) = keys.next() {
            return wrong(line, "a second key; give each node a file of its own");
        }
        let digits = digits.trim_start_matches(['-', '>', ' ', '\t']);
        match private(digits) {
            Ok(private) => Ok(Self { file: path.to_owned(), private, public: None }),
            Err(what) => wrong(line, &what),
        }
    }

    fn from_json(path: &Path, text: &str) -> Result<Self, Error> {
        let tree = parse::json(text)
            .map_err(|malformed| Error::syntax(path, malformed.line, malformed.what))?;
        let error = |key: &str, what: String| {
            let (file, line) = (path.display().to_string(), tree.line_of(&At::key(key), EXACT));
            Error::Value { file, line, key: key.to_owned(), what }
        };
        let Some(digits) = entry(&tree, "private_key") else {
            let what = "is missing; export the node with its private key".to_owned();
            return Err(error("private_key", what));
        };
        let private = match digits {
            Value::Text(digits) => private(digits),
            _ => Err("must be a string of 128 hex digits".into()),
        };
        let public = match entry(&tree, "public_key") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Text(digits)) => bytes(digits, "a public key").map(Some),
            Some(_) => Err("must be a string of 64 hex digits".into()),
        };
        Ok(Self {
            file: path.to_owned(),
            private: private.map_err(|what| error("private_key", what))?,
            public: public.map_err(|what| error("public_key", what))?,
        })
    }
}

/// The private key is a secret.
impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({:?})", self.file)
    }
}

/// All node keys; a file that anyone may read is noted.
pub(super) fn judge(judge: &mut Judge<'_>) -> Result<Vec<NodeKey>, Error> {
    let mut keys: Vec<NodeKey> = Vec::new();
    for (index, name) in judge.written.file.node_keys.iter().flatten().enumerate() {
        let at = At::key("nodeKeys").index(index);
        let path = judge.beside(name);
        let text = text(&path).map_err(|error| {
            let (path, reason) = (path.display(), in_words(&error));
            let what = format!("cannot read {path}: {reason}; name a file that can be read");
            judge.error(&at, what)
        })?;
        let key = NodeKey::parse(&path, &text)?;
        if keys.iter().any(|known| known.private == key.private) {
            judge.notes.push(format!("{at}: the same key as in an earlier file"));
            continue;
        }
        let mode = std::fs::metadata(&path).map_or(0, |it| it.permissions().mode() & 0o777);
        if mode & 0o007 != 0 {
            let path = path.display();
            judge.notes.push(format!("{at}: anyone may read {path} ({mode:04o}); chmod 600 it"));
        }
        keys.push(key);
    }
    Ok(keys)
}

/// Keys in a key file are spelled exactly so.
const EXACT: Dialect = Dialect::Toml;

fn entry<'a>(tree: &'a Node, key: &str) -> Option<&'a Value> {
    let Value::Table(entries) = &tree.value else { return None };
    entries.iter().rev().find(|entry| entry.key == key).map(|entry| &entry.node.value)
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LARGEST).read_to_string(&mut text)?;
    Ok(text)
}

/// A private key from its digits. The scalar is clamped in every key that a node makes; what is not
/// is a key of another form, such as a seed with its public key.
fn private(digits: &str) -> Result<KeyBytes, String> {
    let key: [u8; 64] = bytes(digits, "a node's private key")?;
    let [first, .., last] = key.first_chunk::<32>().copied().unwrap_or_default();
    if first & 7 != 0 || last & 0xC0 != 0x40 {
        let what = "is no private key of MeshCore, whose first half is a clamped scalar; \
                    take what `get prv.key` says at the node's serial console";
        return Err(what.into());
    }
    Ok(KeyBytes::new(key))
}

fn bytes<const N: usize>(digits: &str, what: &str) -> Result<[u8; N], String> {
    let digits = digits.trim();
    let decoded = hex::decode(digits).ok().and_then(|bytes| bytes.try_into().ok());
    decoded.ok_or_else(|| match digits.chars().all(|c| c.is_ascii_hexdigit()) {
        true => format!("has {} hex digits; {what} has {}", digits.len(), 2 * N),
        false => format!("is not hex; {what} has {} hex digits", 2 * N),
    })
}
