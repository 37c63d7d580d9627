//! `meshbox account`: who may log in to the hub's broker by name.

mod claims;
mod edit;
mod file;
mod password;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use self::edit::{Change, New};
use self::file::Held;
use self::password::Way;
use crate::config::accounts::{account_name, key_bytes};
use crate::config::{Account, Accounts, AccountsFile, Role};

/// Arguments of `meshbox account`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The config file of the hub, beside which the accounts are
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Let somebody in
    Add(Add),
    /// Let somebody in no more: the connections that it has are ended, too
    Remove {
        /// The user name
        #[arg(value_parser = account_name)]
        name: String,
    },
    /// Show all accounts
    List {
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Give an account another password: the connections that it has are ended
    Passwd {
        /// The user name
        #[arg(value_parser = account_name)]
        name: String,
        #[command(flatten)]
        way: Way,
    },
    /// Show the keys of observers that somebody has logged in for: nobody without a login speaks for
    /// them any more
    Claims {
        /// One JSON list
        #[arg(long)]
        json: bool,
    },
    /// Take a key back, so that its observer can be spoken for without a login again
    Release {
        /// The public key of the observer: 64 hex digits, as `claims` shows them
        #[arg(value_name = "KEY", value_parser = public_key)]
        key: String,
    },
}

#[derive(Debug, clap::Args)]
struct Add {
    /// The user name; the 64 hex digits of a gateway's key make it that gateway's
    #[arg(value_parser = account_name)]
    name: String,
    /// publisher: a gateway; reader: subscribes; limited: subscribes, without what tells where a
    /// receiver stands; admin: everything
    #[arg(long, value_name = "publisher|reader|limited|admin", value_parser = role)]
    role: Role,
    /// The public key of the gateway that a publisher speaks for, and for no other
    #[arg(long, value_name = "HEX", value_parser = public_key)]
    key: Option<String>,
    /// How many connections it may have at the same time; without: as many as the listener takes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    max_connections: Option<u32>,
    #[command(flatten)]
    way: Way,
}

fn role(word: &str) -> Result<Role, String> {
    word.parse()
}

/// In upper case, as uploaders show it.
fn public_key(digits: &str) -> Result<String, &'static str> {
    let key = key_bytes(digits.trim()).ok_or("is no public key; write its 64 hex digits")?;
    Ok(hex::encode_upper(key))
}

/// Does what was asked for, with the accounts of the hub that this configuration is for. Exit code 2:
/// the arguments do not go together.
///
/// # Errors
/// One line that says what was wrong; nothing was changed then.
pub fn run(
    args: &Args,
    env: &dyn Fn(&str) -> Option<String>,
    working_dir: &Path,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let config = args.config.as_deref();
    let hub = || claims::Hub::find(config, env, working_dir);
    let place = || -> anyhow::Result<Place> {
        let (path, config) = AccountsFile::find(config, working_dir)?;
        Ok(Place { path, config })
    };
    match &args.command {
        Command::List { json } => list(&place()?, *json, out)?,
        Command::Add(add) => {
            if let Some(wrong) = add.conflict() {
                writeln!(std::io::stderr(), "meshbox: {wrong}")?;
                return Ok(ExitCode::from(2));
            }
            place()?.add(add, out)?;
        }
        Command::Remove { name } => place()?.remove(name, out)?,
        Command::Passwd { name, way } => place()?.passwd(name, way, out)?,
        Command::Claims { json } => hub()?.list(*json, out)?,
        Command::Release { key } => hub()?.release(key, out)?,
    }
    Ok(ExitCode::SUCCESS)
}

impl Add {
    fn conflict(&self) -> Option<&'static str> {
        let own = key_bytes(&self.name).filter(|_| self.role == Role::Publisher);
        let key = self.key.as_deref().and_then(key_bytes);
        match (key, own) {
            (None, _) => None,
            (Some(_), _) if self.role != Role::Publisher => {
                Some("--key goes with --role publisher; leave it away, or change the role")
            }
            (Some(key), Some(own)) if key != own => {
                Some("--key is not the key that the account is named after; leave it away")
            }
            _ => None,
        }
    }
}

/// Where the accounts are.
struct Place {
    path: PathBuf,
    config: Option<PathBuf>,
}

impl Place {
    fn add(&self, add: &Add, out: &mut dyn Write) -> anyhow::Result<()> {
        // Whoever is asked for a password should not be told afterwards that it was for nothing.
        let text = file::text(&self.path)?;
        if Accounts::parse(&self.path, &text)?.find(&add.name).is_some() {
            let (file, name) = (self.path.display(), &add.name);
            anyhow::bail!("{file} has an account {name} already; passwd gives it a new password");
        }
        let chosen = add.way.choose(&add.name)?;
        let (role, key, max_connections) = (add.role, add.key.clone(), add.max_connections);
        let new = New { role, key, max_connections, password: chosen.hash };
        let all = self.change(&add.name, &Change::Add(&new))?;
        let (file, taken) = (self.path.display(), self.taken());
        writeln!(out, "{} is added to {file} as {role}{taken}", add.name)?;
        if all.iter().len() == 1 {
            writeln!(
                out,
                "It is the first account: from now on every user name and password is judged"
            )?;
        }
        show(&add.name, chosen.generated.as_deref(), out)
    }

    fn remove(&self, name: &str, out: &mut dyn Write) -> anyhow::Result<()> {
        let left = self.change(name, &Change::Remove)?;
        let (file, taken) = (self.path.display(), self.taken());
        writeln!(out, "{name} is removed from {file}{taken}")?;
        if left.is_empty() {
            writeln!(
                out,
                "No account is left: a running hub takes any user name from the local network again"
            )?;
        }
        Ok(())
    }

    fn passwd(&self, name: &str, way: &Way, out: &mut dyn Write) -> anyhow::Result<()> {
        self.must_have(name)?;
        let chosen = way.choose(name)?;
        self.change(name, &Change::Password(chosen.hash))?;
        let (file, taken) = (self.path.display(), self.taken());
        writeln!(out, "{name} has a new password in {file}{taken}")?;
        show(name, chosen.generated.as_deref(), out)
    }

    /// Said after every change. Without a config file it is easily the wrong folder.
    fn taken(&self) -> &'static str {
        match self.config {
            Some(_) => "; a running hub takes it within two seconds",
            None => "; a hub that runs in this folder takes it within two seconds",
        }
    }

    fn must_have(&self, name: &str) -> anyhow::Result<()> {
        let text = file::text(&self.path)?;
        match Accounts::parse(&self.path, &text) {
            Ok(accounts) if accounts.find(name).is_none() => anyhow::bail!(
                "{} has no account {name}; `meshbox account list` shows them",
                self.path.display()
            ),
            // A new password may be what mends it.
            _ => Ok(()),
        }
    }

    fn change(&self, name: &str, change: &Change<'_>) -> anyhow::Result<Accounts> {
        let held = Held::take(&self.path, self.config.clone())?;
        let (text, accounts) = edit::edited(&self.path, &file::text(&self.path)?, name, change)?;
        held.write(&text)?;
        Ok(accounts)
    }
}

/// A password that was made: this once.
fn show(name: &str, generated: Option<&str>, out: &mut dyn Write) -> anyhow::Result<()> {
    if let Some(password) = generated {
        writeln!(out, "username  {name}\npassword  {password}")?;
        writeln!(out, "The password is shown this once; only its hash is kept")?;
    }
    Ok(())
}

fn list(place: &Place, as_json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let accounts = Accounts::parse(&place.path, &file::text(&place.path)?)?;
    if as_json {
        let account = |it: &Account| {
            json!({
                "name": &*it.name,
                "role": it.role.to_string(),
                "key": it.key.map(hex::encode_upper),
                "maxConnections": it.max_connections,
            })
        };
        let all: Vec<_> = accounts.iter().map(account).collect();
        writeln!(out, "{}", json!({"file": place.path, "accounts": all}))?;
        return Ok(());
    }
    if accounts.is_empty() {
        writeln!(out, "no accounts in {}", place.path.display())?;
    }
    let width = accounts.iter().map(|it| it.name.chars().count()).max().unwrap_or_default();
    for it in accounts.iter() {
        let key = it.key.map(|key| format!(", for {}", hex::encode_upper(key)));
        let most = it.max_connections.map(|most| format!(", {most} connections at most"));
        let (key, most) = (key.unwrap_or_default(), most.unwrap_or_default());
        writeln!(out, "{:<width$}  {}{key}{most}", it.name, it.role)?;
    }
    Ok(())
}
