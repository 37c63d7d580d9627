//! Who our broker knows by name, and how it judges tokens: `broker.accountsFile`, `.audience`,
//! `.tokenSkewSec`, `.bindFirstKey`.

use std::net::IpAddr;
use std::time::Duration;

use super::accounts::AccountsFile;
use super::error::Error;
use super::file;
use super::judge::Judge;
use super::tree::At;

/// Beside the config file.
const ACCOUNTS_FILE: &str = "accounts.toml";

/// Seconds: gateways without a clock of their own are minutes off until they have found the time.
pub const TOKEN_SKEW_SEC: i64 = 300;

/// Who is known by name, and how tokens are judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logins {
    /// The accounts.
    pub accounts: AccountsFile,
    /// For whom a token may be.
    pub audience: Audience,
    /// How far the clocks of gateways may be off.
    pub token_skew: Duration,
}

/// For whom a token may be: names of ours. The addresses that this machine has at the time of the
/// login are added then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audience {
    /// Host names of this machine, and those of the configuration, in lower case.
    pub names: Vec<String>,
    /// Anybody (`"*"`).
    pub any: bool,
}

impl Audience {
    /// The names, and the addresses of this machine's interfaces now; empty: anybody.
    pub fn now(&self) -> Vec<String> {
        if self.any {
            return Vec::new();
        }
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        let addresses = interfaces.iter().map(|interface| interface.ip().to_string());
        self.names.iter().cloned().chain(addresses).collect()
    }
}

/// Everything about logins; the accounts are read only where there is a broker.
pub(super) fn judge(judge: &mut Judge<'_>, enabled: bool) -> Result<Logins, Error> {
    let none = file::Broker::default();
    let written = judge.written;
    let section = written.file.broker.as_ref().unwrap_or(&none);
    let at = At::key("broker");
    let skew = section.token_skew_sec;
    let skew = judge.whole_at(&at.then("tokenSkewSec"), skew, TOKEN_SKEW_SEC, 0..=86_400)?;
    let path = judge.beside(accounts_file(section.accounts_file.as_deref()));
    let accounts = match enabled {
        true => AccountsFile::load(&path)?,
        false => AccountsFile { path, ..AccountsFile::default() },
    };
    judge.notes.extend(accounts.note.clone());
    Ok(Logins {
        accounts,
        audience: audience(judge, &at.then("audience"), section.audience.as_deref())?,
        token_skew: Duration::from_secs(skew.unsigned_abs()),
    })
}

/// The file of accounts, relative to the config file, where that names this one.
pub(super) fn accounts_file(named: Option<&str>) -> &str {
    named.filter(|path| !path.is_empty()).unwrap_or(ACCOUNTS_FILE)
}

fn audience(judge: &Judge<'_>, at: &At, written: Option<&[String]>) -> Result<Audience, Error> {
    let mut names = judge.machine.names.clone();
    names.push("localhost".into());
    let mut any = false;
    for (index, name) in written.unwrap_or_default().iter().enumerate() {
        let name = name.trim().trim_end_matches('.').to_ascii_lowercase();
        any |= name == "*";
        if name.parse::<IpAddr>().is_err() && (name.is_empty() || name.contains(['/', ':', ' '])) {
            let what = "is no host name; write it as hub.example.org, without https:// and port";
            return Err(judge.error(&at.index(index), what));
        }
        names.push(name);
    }
    names.retain(|name| !name.is_empty() && name != "*");
    let mut known = std::collections::BTreeSet::new();
    names.retain(|name| known.insert(name.clone()));
    Ok(Audience { names, any })
}
