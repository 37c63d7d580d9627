//! Who is left out.

use super::error::Error;
use super::home;
use super::judge::{Blame, Judge};
use super::tree::At;
use crate::area::Home;

/// Who is left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filters {
    /// Observers of which nothing is taken (`observerBlacklist`): ids in lower case, no two alike.
    pub observer_blacklist: Vec<String>,
    /// The only regions that are taken (`observerIATAWhitelist`), in upper case; empty: all.
    pub observer_regions: Vec<String>,
    /// Nodes that are not to be shown (`nodeBlacklist`), in lower case. They are stored like any
    /// other, as with CoreScope, whose ingestor does not know this list: what hides is the page.
    pub node_blacklist: Vec<String>,
    /// The area that is at home; `None`: everywhere.
    pub home: Option<Home>,
}

/// Hex digits of a public key.
const KEY_DIGITS: usize = 64;

pub(super) fn judge(judge: &mut Judge<'_>) -> Result<Filters, Error> {
    let home = home::judge(judge)?;
    let file = &judge.written.file;
    let lower = |text: &str| text.to_lowercase();
    let filters = Filters {
        observer_blacklist: list(file.observer_blacklist.as_deref(), lower),
        observer_regions: list(file.observer_iata_whitelist.as_deref(), str::to_uppercase),
        node_blacklist: list(file.node_blacklist.as_deref(), lower),
        home,
    };
    cut_keys(judge, "observerBlacklist", file.observer_blacklist.as_deref())?;
    cut_keys(judge, "nodeBlacklist", file.node_blacklist.as_deref())?;
    Ok(filters)
}

/// Trimmed, without what is empty, without doubles.
fn list(written: Option<&[String]>, spelled: impl Fn(&str) -> String) -> Vec<String> {
    let mut list: Vec<String> = Vec::new();
    for entry in written.unwrap_or_default().iter().map(|entry| spelled(entry.trim())) {
        if !entry.is_empty() && !list.contains(&entry) {
            list.push(entry);
        }
    }
    list
}

/// A key that was copied in part would never match, and nobody would notice. What is no hex may be
/// the name that an observer has in its topic.
fn cut_keys(judge: &mut Judge<'_>, key: &str, written: Option<&[String]>) -> Result<(), Error> {
    for (index, entry) in written.unwrap_or_default().iter().enumerate() {
        let digits = entry.trim();
        let hex = digits.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if hex && digits.len() != KEY_DIGITS {
            let length = digits.len();
            let what = format!("has {length} hex digits; give all {KEY_DIGITS} of the key");
            judge.complain(&Blame::Key(At::key(key).index(index)), &what)?;
        }
    }
    Ok(())
}
