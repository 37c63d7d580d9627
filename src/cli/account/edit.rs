//! Changes of the text of `accounts.toml`: one account of it, and nothing else.

use std::path::Path;

use anyhow::bail;
use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

use crate::config::accounts::account_name;
use crate::config::password::PasswordHash;
use crate::config::{Accounts, Role};

/// What is to be changed.
pub(super) enum Change<'a> {
    Add(&'a New),
    Remove,
    Password(PasswordHash),
}

/// An account that is to be.
pub(super) struct New {
    pub(super) role: Role,
    pub(super) key: Option<String>,
    pub(super) max_connections: Option<u32>,
    pub(super) password: PasswordHash,
}

/// The text after a change of one account, and the accounts in it.
///
/// # Errors
/// There is such an account already, or none; the text is no file of accounts, and would not be one
/// after the change either: then the line of what is wrong.
pub(super) fn edited(
    path: &Path,
    text: &str,
    name: &str,
    change: &Change<'_>,
) -> anyhow::Result<(String, Accounts)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // A file in which only this account is broken is mended by the change: judge what comes out first.
    let before = Accounts::parse(path, text);
    let Ok(mut document) = text.parse::<DocumentMut>() else {
        return match before {
            Err(error) => Err(error.into()),
            Ok(_) => bail!("{}: cannot be changed by program; edit it", path.display()),
        };
    };
    apply(&mut document, path, name, change)?;
    let after = document.to_string();
    match (Accounts::parse(path, &after), before) {
        (Ok(accounts), _) => Ok((after, accounts)),
        (Err(_), Err(error)) | (Err(error), Ok(_)) => Err(error.into()),
    }
}

fn apply(
    document: &mut DocumentMut,
    path: &Path,
    name: &str,
    change: &Change<'_>,
) -> anyhow::Result<()> {
    let file = path.display();
    let known = known(document, name);
    match (change, known) {
        (Change::Add(_), Some(known)) => {
            bail!("{file} has an account {known} already; passwd gives it a new password")
        }
        (Change::Add(new), None) => match accounts(document) {
            Some(accounts) => {
                accounts.insert(name, Item::Table(table(new)));
            }
            None => bail!("{file}: accounts is no table; write each account as [accounts.NAME]"),
        },
        (_, None) => bail!("{file} has no account {name}; `meshbox account list` shows them"),
        (Change::Remove, Some(known)) => remove(document, &known),
        (Change::Password(hash), Some(known)) => {
            let account = accounts(document)
                .and_then(|accounts| accounts.get_mut(&known))
                .and_then(Item::as_table_like_mut);
            match account {
                Some(account) => set_password(account, hash),
                None => {
                    bail!("{file}: accounts.{known} is no table; write it as [accounts.{known}]")
                }
            }
        }
    }
    Ok(())
}

/// The name as the file writes it.
fn known(document: &DocumentMut, name: &str) -> Option<String> {
    let accounts = document.get("accounts")?.as_table_like()?;
    let is_it = |key: &&str| *key == name || account_name(key).as_deref() == Ok(name);
    accounts.iter().map(|(key, _)| key).find(is_it).map(str::to_owned)
}

fn accounts(document: &mut DocumentMut) -> Option<&mut dyn TableLike> {
    let accounts = document.entry("accounts").or_insert_with(|| {
        let mut accounts = Table::new();
        accounts.set_implicit(true);
        Item::Table(accounts)
    });
    accounts.as_table_like_mut()
}

fn table(new: &New) -> Table {
    let mut table = Table::new();
    table.decor_mut().set_prefix("\n");
    table.insert("role", toml_edit::value(new.role.to_string()));
    if let Some(key) = &new.key {
        table.insert("key", toml_edit::value(key.as_str()));
    }
    if let Some(most) = new.max_connections {
        table.insert("maxConnections", toml_edit::value(i64::from(most)));
    }
    table.insert("password", toml_edit::value(new.password.as_str()));
    table
}

/// A comment behind the password stays.
fn set_password(account: &mut dyn TableLike, hash: &PasswordHash) {
    let mut value = Value::from(hash.as_str());
    match account.get_mut("password").and_then(Item::as_value_mut) {
        Some(old) => {
            *value.decor_mut() = old.decor().clone();
            *old = value;
        }
        None => {
            account.insert("password", Item::Value(value));
        }
    }
}

/// The comment right above an account goes with it; what stands above that, behind an empty line, is
/// about the file and stays.
fn remove(document: &mut DocumentMut, name: &str) {
    let removed = accounts(document).and_then(|accounts| accounts.remove(name));
    let Some(Item::Table(removed)) = removed else { return };
    let above = removed.decor().prefix().and_then(|it| it.as_str()).unwrap_or_default();
    let Some(end) = above.rfind("\n\n").filter(|end| above[..*end].contains('#')) else { return };
    let kept = &above[..=end];
    let position = removed.position();
    let next =
        document.get_mut("accounts").and_then(Item::as_table_like_mut).and_then(|accounts| {
            let tables = accounts.iter_mut().filter_map(|(_, item)| item.as_table_mut());
            tables.filter(|table| table.position() > position).min_by_key(|table| table.position())
        });
    match next {
        Some(next) => {
            let own = next.decor().prefix().and_then(|it| it.as_str()).unwrap_or_default();
            let gap = if own.starts_with('\n') { "" } else { "\n" };
            let prefix = format!("{kept}{gap}{own}");
            next.decor_mut().set_prefix(prefix);
        }
        None => {
            let own = document.trailing().as_str().unwrap_or_default();
            let trailing = format!("{kept}{own}");
            document.set_trailing(trailing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str =
        "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";

    fn hash() -> PasswordHash {
        PasswordHash::make(b"new", &[7; 16]).unwrap()
    }

    fn change(text: &str, name: &str, change: &Change<'_>) -> Result<String, String> {
        let edited = edited(Path::new("accounts.toml"), &text.replace("OLD", OLD), name, change);
        let shown = |text: String| text.replace(OLD, "OLD").replace(hash().as_str(), "NEW");
        edited.map(|(text, _)| shown(text)).map_err(|error| error.to_string())
    }

    fn add(text: &str, name: &str) -> Result<String, String> {
        let new =
            New { role: Role::Publisher, key: None, max_connections: Some(2), password: hash() };
        change(text, name, &Change::Add(&new))
    }

    const FILE: &str = "# ours\n\n# the roof\n[accounts.roof] # up there\nrole = 'publisher'\n\
                        password = 'OLD' # weak\n\n# the rest\n[accounts.ha]\nrole = \"reader\"\n\
                        password = \"OLD\"\n# the end\n";

    #[test]
    fn an_account_is_added_behind_the_others_and_nothing_else_changes() {
        let added = "[accounts.\"Home Assistant\"]\nrole = \"publisher\"\nmaxConnections = 2\n\
                     password = \"NEW\"\n";
        assert_eq!(add("", "Home Assistant").unwrap().trim_start(), added);
        let file = add(FILE, "Home Assistant").unwrap();
        assert_eq!(file, FILE.replace("# the end\n", &format!("\n{added}# the end\n")));
        let again = add(&file.replace("NEW", OLD), "Home Assistant").unwrap_err();
        assert!(again.contains("already; passwd"), "{again}");
        let inline = add("accounts = {}\n", "x").unwrap();
        assert!(
            inline.starts_with("accounts = {x = {") || inline.starts_with("accounts = { x = {")
        );
    }

    #[test]
    fn a_password_changes_alone() {
        let changed = change(FILE, "roof", &Change::Password(hash())).unwrap();
        let expected = FILE.replace("'OLD' # weak", "\"NEW\" # weak");
        assert_eq!(changed, expected);
        let without = "[accounts.a]\nrole = 'reader'\n";
        let changed = change(without, "a", &Change::Password(hash())).unwrap();
        assert_eq!(changed, format!("{without}password = \"NEW\"\n"));
        let key = "ab".repeat(32);
        let file = format!("[accounts.{key}]\nrole = 'publisher'\npassword = 'OLD'\n");
        let changed = change(&file, &key.to_uppercase(), &Change::Password(hash())).unwrap();
        assert_eq!(changed, file.replace("'OLD'", "\"NEW\""));
    }

    #[test]
    fn an_account_goes_with_its_comment_and_that_of_the_file_stays() {
        let without = change(FILE, "roof", &Change::Remove).unwrap();
        assert_eq!(without, format!("# ours\n{}", FILE.split_once("weak\n").unwrap().1));
        let without = change(FILE, "ha", &Change::Remove).unwrap();
        assert_eq!(
            without,
            FILE.replace(&FILE[FILE.find("\n# the rest").unwrap()..], "# the end\n")
        );
        let alone = "# ours\n\n[accounts.a]\nrole = 'reader'\npassword = 'OLD'\n";
        assert_eq!(change(alone, "a", &Change::Remove).unwrap(), "# ours\n");
        let none = change(FILE, "b", &Change::Remove).unwrap_err();
        assert_eq!(none, "accounts.toml has no account b; `meshbox account list` shows them");
    }

    #[test]
    fn a_broken_file_is_named_with_its_line_unless_the_change_mends_it() {
        let broken = "[accounts.a]\nrole = 'raeder'\npassword = 'OLD'\n";
        let error = add(broken, "b").unwrap_err();
        assert!(error.starts_with("accounts.toml:2: accounts.a.role: is not one of"), "{error}");
        assert_eq!(change(broken, "a", &Change::Remove).unwrap(), "");
        let error = add("[accounts.a\n", "b").unwrap_err();
        assert!(error.starts_with("accounts.toml:1: not TOML"), "{error}");
        for text in ["accounts = 1\n", "[accounts]\na = 1\n", "[other]\n"] {
            let error = add(text, "b").unwrap_err();
            assert!(error.starts_with("accounts.toml:"), "{text}: {error}");
        }
    }
}
