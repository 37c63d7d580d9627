//! Accounts of our own broker: `accounts.toml` beside the config.
//!
//! ```toml
//! [accounts.roof]
//! role = "publisher"            # publisher, reader, limited, admin
//! key = "7E76…"                 # the observer that it speaks for; without: any, or the first it names
//! maxConnections = 2            # at the same time; without: as many as the listener takes
//! password = "$argon2id$…"      # meshbox account passwd roof
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::Deserialize;

use super::error::Error;
use super::judge::error_at;
use super::nearest::nearest;
use super::parse;
use super::password::PasswordHash;
use super::read;
use super::search;
use super::tree::{At, Dialect};

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Publishes for one observer, the gateway that it is.
    Publisher,
    /// Subscribes to everything but `…/internal`.
    Reader,
    /// Subscribes as a reader does, without what tells where a receiver stands.
    Limited,
    /// Publishes and subscribes everywhere.
    Admin,
}

/// One account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its user name; 64 hex digits are in upper case.
    pub name: Arc<str>,
    /// What it may do.
    pub role: Role,
    /// The observer that it speaks for.
    pub key: Option<[u8; 32]>,
    /// Connections that it may have at the same time.
    pub max_connections: Option<u32>,
    /// Its password.
    pub password: PasswordHash,
}

/// All accounts by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts(BTreeMap<Arc<str>, Account>);

/// The file of accounts as it was when it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountsFile {
    /// Where it is, or would be.
    pub path: PathBuf,
    /// What is in it.
    pub accounts: Accounts,
    /// By what a change is seen; `None`: there is no file.
    pub stamp: Option<Stamp>,
    /// Something that a person should know, in one line: others can read it.
    pub note: Option<String>,
}

/// By what a change of a file is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

/// What the user wrote.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Written {
    accounts: BTreeMap<String, WrittenAccount>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WrittenAccount {
    role: Option<String>,
    key: Option<String>,
    max_connections: Option<i64>,
    password: Option<String>,
}

/// The longest user name, in characters.
const LONGEST_NAME: usize = 100;

/// Bytes of the file that are read: ten thousand accounts.
const LARGEST: u64 = 4 << 20;

impl Role {
    const WORDS: [(&'static str, Self); 4] = [
        ("publisher", Self::Publisher),
        ("reader", Self::Reader),
        ("limited", Self::Limited),
        ("admin", Self::Admin),
    ];
}

/// The word of the file.
impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::WORDS.iter().find(|(_, role)| role == self);
        f.pad(word.map_or("", |(word, _)| word))
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        if let Some((_, role)) = Self::WORDS.iter().find(|(known, _)| *known == word) {
            return Ok(*role);
        }
        let words = Self::WORDS.map(|(word, _)| word);
        let near = nearest(word, words).map(|near| format!(", perhaps {near:?}"));
        let near = near.unwrap_or_default();
        Err(format!("is not one of {}; use one of these{near}", words.join(", ")))
    }
}

/// The name under which an account is kept: that of a public key in upper case, since uploaders write
/// it in either.
///
/// # Errors
/// What keeps it from being the name of an account.
pub fn account_name(name: &str) -> Result<String, &'static str> {
    if name.is_empty() || name.chars().count() > LONGEST_NAME {
        return Err("is no user name; give it 1 to 100 characters");
    }
    if name.contains(char::is_control) {
        return Err("has control characters; use letters and digits");
    }
    if name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("v1_")) {
        return Err("begins with v1_, as logins by token do; choose another name");
    }
    Ok(if key_bytes(name).is_some() { name.to_ascii_uppercase() } else { name.to_owned() })
}

/// A public key in hex.
pub fn key_bytes(digits: &str) -> Option<[u8; 32]> {
    hex::decode(digits).ok()?.try_into().ok()
}

impl Accounts {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// One line with the file, the line, the account and what to do; never a password.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Error> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let tree = parse::toml(text)
            .map_err(|malformed| Error::syntax(file, malformed.line, malformed.what))?;
        let error = |at: &At, what: String| error_at(file, &tree, Dialect::Toml, at, what);
        let written: Written =
            read::read(&tree, Dialect::Toml).map_err(|wrong| error(&wrong.at, wrong.what))?;
        let mut accounts = BTreeMap::new();
        for (name, written) in &written.accounts {
            let at = At::key("accounts").then(name);
            let account = account(name, written)
                .map_err(|(key, what)| error(&key.map_or(at.clone(), |key| at.then(key)), what))?;
            if accounts.insert(Arc::clone(&account.name), account).is_some() {
                let what = "is there twice, in upper and in lower case; remove one";
                return Err(error(&at, what.into()));
            }
        }
        Ok(Self(accounts))
    }

    /// The account of a user name.
    pub fn find(&self, name: &str) -> Option<&Account> {
        self.0.get(name).or_else(|| self.0.get(account_name(name).ok()?.as_str()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Account> {
        self.0.values()
    }
}

impl AccountsFile {
    /// Reads the file; without one there are no accounts.
    ///
    /// # Errors
    /// A file that cannot be read or understood: one line that says what to do.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let unreadable = |error: &io::Error| {
            let advice = "let the user that runs the hub read it";
            Error::unreadable(path.display(), error, advice)
        };
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { path: path.to_owned(), ..Self::default() });
            }
            Err(error) => return Err(unreadable(&error)),
        };
        let about = file.metadata().map_err(|error| unreadable(&error))?;
        let mut bytes = Vec::new();
        file.by_ref().take(LARGEST).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::syntax(path, 1, "not UTF-8; save the file in this encoding"))?;
        let mode = about.mode() & 0o777;
        let note = (mode & 0o007 != 0).then(|| {
            format!("anyone on this machine may read {} ({mode:04o}); chmod 600 it", path.display())
        });
        let accounts = Accounts::parse(path, &text)?;
        Ok(Self { path: path.to_owned(), accounts, stamp: Some(Stamp::of(&about)), note })
    }

    /// Where the file of accounts is, or would be, by the configuration that [`Config::load`] would
    /// find, and that configuration's own file. Nothing else of it is judged, and the accounts are not
    /// read: whoever mends them has to find them.
    ///
    /// [`Config::load`]: super::Config::load
    ///
    /// # Errors
    /// A configuration that cannot be read: one line that says what to do.
    pub fn find(
        config: Option<&Path>,
        working_dir: &Path,
    ) -> Result<(PathBuf, Option<PathBuf>), Error> {
        let written = search::find(config, working_dir, Path::new(super::SYSTEM_FILE))?;
        let named = written.file.broker.as_ref().and_then(|it| it.accounts_file.as_deref());
        let config = match &written.origin {
            super::Origin::Defaults => None,
            super::Origin::Toml(path) | super::Origin::CoreScope(path) => {
                Some(working_dir.join(path))
            }
        };
        Ok((written.folder.join(super::logins::accounts_file(named)), config))
    }

    /// By what a change would be seen now; `None` where there is no file, or none that can be seen.
    pub fn stamp_now(path: &Path) -> Option<Stamp> {
        std::fs::metadata(path).ok().map(|about| Stamp::of(&about))
    }
}

impl Stamp {
    fn of(about: &std::fs::Metadata) -> Self {
        Self { modified: about.modified().ok(), bytes: about.len(), inode: about.ino() }
    }
}

/// The key to blame, if it is one alone, and what is wrong.
type Fault = (Option<&'static str>, String);

fn account(name: &str, written: &WrittenAccount) -> Result<Account, Fault> {
    let of = |key| move |what: &str| (Some(key), what.to_owned());
    let name = account_name(name).map_err(|what| (None, what.to_owned()))?;
    let role: Role = match written.role.as_deref() {
        Some(word) => word.trim().parse().map_err(|what| (Some("role"), what))?,
        None => return Err((None, "has no role; give it one, such as role = \"reader\"".into())),
    };
    let Some(password) = written.password.as_deref() else {
        return Err((None, "has no password; make one with `meshbox account passwd`".into()));
    };
    let password = PasswordHash::parse(password.trim()).map_err(of("password"))?;
    let max_connections = match written.max_connections {
        None => None,
        Some(most) => Some(
            u32::try_from(most)
                .ok()
                .filter(|most| (1..=10_000).contains(most))
                .ok_or_else(|| of("maxConnections")("is not 1 to 10000; use one of these"))?,
        ),
    };
    let key = key_of(&name, role, written.key.as_deref()).map_err(of("key"))?;
    Ok(Account { name: name.into(), role, key, max_connections, password })
}

/// The observer that an account speaks for: one that has a key for its name speaks for that.
fn key_of(name: &str, role: Role, written: Option<&str>) -> Result<Option<[u8; 32]>, &'static str> {
    let named = key_bytes(name).filter(|_| role == Role::Publisher);
    let Some(written) = written else { return Ok(named) };
    if role != Role::Publisher {
        return Err("goes with the role publisher; remove it, or change the role");
    }
    let key = key_bytes(written.trim()).ok_or("is no public key; write its 64 hex digits")?;
    match named {
        Some(named) if named != key => Err("is not the account's name; make them the same"),
        _ => Ok(Some(key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const HASH: &str =
        "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";

    fn parse(text: &str) -> Result<Accounts, String> {
        let text = text.replace("HASH", HASH);
        Accounts::parse(Path::new("accounts.toml"), &text).map_err(|error| error.to_string())
    }

    #[test]
    fn accounts_have_roles_keys_caps_and_passwords() {
        let key = "ab".repeat(32);
        let accounts = parse(&format!(
            "# ours\n[accounts.roof]\nrole = 'publisher'\nkey = '{key}'\npassword = 'HASH'\n\
             [accounts.\"Home Assistant\"]\nrole = 'reader'\nmaxConnections = 2\npassword = 'HASH'\n\
             [accounts.{key}]\nrole = 'publisher'\npassword = 'HASH'\n"
        ))
        .unwrap();
        assert_eq!(accounts.iter().len(), 3);
        let roof = accounts.find("roof").unwrap();
        assert_eq!((roof.role, roof.key), (Role::Publisher, Some([0xAB; 32])));
        let reader = accounts.find("Home Assistant").unwrap();
        assert_eq!(
            (reader.role, reader.key, reader.max_connections),
            (Role::Reader, None, Some(2))
        );
        for name in [key.clone(), key.to_uppercase()] {
            assert_eq!(accounts.find(&name).unwrap().key, Some([0xAB; 32]));
        }
        assert!(accounts.find("Roof").is_none() && accounts.find("").is_none());
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_one_line_with_its_place_and_no_password() {
        let key = "ab".repeat(32);
        let good = "role = 'reader'\npassword = 'HASH'\n";
        let cases = [
            (
                "[accounts.a]\nrole = 'raeder'\n",
                "accounts.toml:2: accounts.a.role: is not one of \
              publisher, reader, limited, admin; use one of these, perhaps \"reader\"",
            ),
            (
                "\n[accounts.a]\nrole = 'reader'\n",
                "accounts.toml:2: accounts.a: has no password; make \
              one with `meshbox account passwd`",
            ),
            (
                "[accounts.a]\n",
                "accounts.toml:1: accounts.a: has no role; give it one, such as role = \
              \"reader\"",
            ),
            (
                "[accounts.a]\nrole = 'reader'\npassword = 'hunter2'\n",
                "accounts.toml:3: \
              accounts.a.password: is no argon2id hash ($argon2id$v=19$…); make it with `meshbox \
              account passwd`",
            ),
            (
                "[accounts.a]\nmaxConections = 3\n",
                "accounts.toml:2: accounts.a.maxConections: unknown \
              key; did you mean maxConnections",
            ),
            (
                &format!("[accounts.a]\nmaxConnections = 0\n{good}"),
                "accounts.toml:2: \
              accounts.a.maxConnections: is not 1 to 10000; use one of these",
            ),
            (
                &format!("[accounts.a]\nkey = '{key}'\n{good}"),
                "accounts.toml:2: accounts.a.key: goes \
              with the role publisher; remove it, or change the role",
            ),
            (
                &format!("[accounts.v1_x]\n{good}"),
                "accounts.toml:1: accounts.v1_x: begins with v1_, as \
              logins by token do; choose another name",
            ),
            ("[accounts.a]\n[accounts.a]\n", "accounts.toml:2: not TOML: duplicate key"),
        ];
        for (text, line) in cases {
            assert_eq!(parse(text).unwrap_err(), line, "{text}");
        }
        let twice = format!("[accounts.{key}]\n{good}[accounts.{}]\n{good}", key.to_uppercase());
        assert!(parse(&twice).unwrap_err().contains("is there twice"));
    }

    #[test]
    fn a_file_that_is_not_there_has_no_accounts_and_one_for_all_to_read_is_noted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("accounts.toml");
        let none = AccountsFile::load(&path).unwrap();
        assert!(none.accounts.is_empty() && none.stamp.is_none() && none.note.is_none());
        std::fs::write(&path, "").unwrap();
        for (mode, noted) in [(0o600, false), (0o640, false), (0o644, true)] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let file = AccountsFile::load(&path).unwrap();
            assert_eq!(file.note.is_some(), noted, "{mode:o}");
            assert_eq!(file.stamp, AccountsFile::stamp_now(&path));
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let error = AccountsFile::load(&path).unwrap_err().to_string();
        assert!(error.contains("let the user that runs the hub read it"), "{error}");
    }
}
