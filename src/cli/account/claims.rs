//! `meshbox account claims` and `release`: which keys somebody has logged in for, and taking one back.
//! The running hub decides; without one the state file is read and changed by the same rules.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::broker::board::{ClaimKind, ClaimRow, Released};
use crate::broker::{STATE_FILE, claims_in, release_in};
use crate::config::{Accounts, Config};
use crate::control::{AskError, Instance, InstanceError, ask_claims, ask_release, data_dir};

/// The hub whose claims are asked for, running or not.
pub(super) struct Hub {
    db_path: PathBuf,
    accounts: Accounts,
}

impl Hub {
    /// The one of this configuration.
    ///
    /// # Errors
    /// A configuration that cannot be used, in one line.
    pub(super) fn find(
        config: Option<&Path>,
        env: &dyn Fn(&str) -> Option<String>,
        working_dir: &Path,
    ) -> anyhow::Result<Self> {
        let config = Config::load(config, env, working_dir)?;
        Ok(Self { db_path: config.db_path, accounts: config.broker.logins.accounts.accounts })
    }

    pub(super) fn list(&self, as_json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
        let (rows, place) = match ask_claims(&self.db_path) {
            Err(AskError::NotRunning(_)) => {
                (self.alone(|file| claims_in(file, &self.accounts))?, self.place())
            }
            answer => (answer?, String::new()),
        };
        if as_json {
            writeln!(out, "{}", serde_json::to_string(&rows)?)?;
            return Ok(());
        }
        if rows.is_empty() {
            writeln!(
                out,
                "no key is claimed{place}: nobody has logged in for one by account or token"
            )?;
            return Ok(());
        }
        writeln!(out, "{:<64}  {:<16}  claimed by", "key", "since")?;
        for row in &rows {
            writeln!(out, "{}  {:<16}  {}", row.key, date(row.since_ms), by(row))?;
        }
        Ok(())
    }

    pub(super) fn release(&self, key: &str, out: &mut dyn Write) -> anyhow::Result<()> {
        let (Released { released, kept }, place) = match ask_release(&self.db_path, key) {
            Err(AskError::NotRunning(_)) => {
                (self.alone(|file| release_in(file, key, &self.accounts))?, self.place())
            }
            answer => (answer?, String::new()),
        };
        for row in &released {
            writeln!(out, "{key} is taken back from {}{place}", by(row))?;
            if row.by == ClaimKind::Learnt {
                let name = &row.holder;
                writeln!(out, "{name} learns another key when it publishes for one the next time")?;
            }
        }
        if let Some(row) = kept.first() {
            bail!(
                "{key} is the key of the account {0} and stays claimed as long as that is in \
                 accounts.toml; `meshbox account remove {0}` gives it up",
                row.holder
            );
        }
        if released.is_empty() {
            bail!("{key} is not claimed{place}; `meshbox account claims` shows the keys that are");
        }
        writeln!(out, "Whoever logs in for it by account or token claims it again")?;
        Ok(())
    }

    /// Said where no hub answers: it is easily the wrong folder.
    fn place(&self) -> String {
        let file = data_dir(&self.db_path).join(STATE_FILE);
        match file.exists() {
            true => format!(" in {} (no hub is running)", file.display()),
            false => format!(" (no hub is running, and there is no {})", file.display()),
        }
    }

    /// Works on the state file while no hub can start.
    fn alone<T, E>(&self, work: impl FnOnce(&Path) -> Result<T, E>) -> anyhow::Result<T>
    where
        T: Default,
        E: Into<anyhow::Error>,
    {
        let dir = data_dir(&self.db_path);
        let file = dir.join(STATE_FILE);
        if !file.exists() {
            return Ok(T::default());
        }
        match std::fs::File::open(&file) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => bail!(
                "{}: may not be read; run this as the hub's user, or with sudo",
                file.display()
            ),
            _ => {}
        }
        let _no_hub = match Instance::take(dir) {
            Err(InstanceError::Taken(dir)) => bail!(
                "a hub is starting or stopping on {}, or `meshbox replay` is at work there; try \
                 again in a moment",
                dir.display()
            ),
            taken => taken?,
        };
        work(&file).map_err(Into::into)
    }
}

fn by(row: &ClaimRow) -> String {
    match row.by {
        ClaimKind::Token => "a token of that key".to_owned(),
        ClaimKind::Account => format!("account {}", row.holder),
        ClaimKind::Learnt => format!("account {} (learnt)", row.holder),
    }
}

/// To the minute, UTC.
fn date(at_ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default();
    at.strftime("%Y-%m-%d %H:%MZ").to_string()
}
