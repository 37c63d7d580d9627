//! What was refused lately: a bounded list in which no single chatterbox pushes the others out.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};

use super::help::help;
use super::rows::{RefusalRow, Sort};
use super::{Whom, shown};
use crate::broker::limits::Subject;

/// A refusal that happened.
#[derive(Clone, Debug)]
pub(in crate::broker) struct Refused<'a> {
    /// Our clock, in milliseconds since the Unix epoch.
    pub(in crate::broker) at_ms: i64,
    /// What was refused.
    pub(in crate::broker) sort: Sort,
    /// The reason's name.
    pub(in crate::broker) reason: &'static str,
    /// Who it was.
    pub(in crate::broker) whom: Whom<'a>,
    /// Who it said that it is, if we do not know better.
    pub(in crate::broker) name: Option<&'a str>,
    /// The topic or filter, if there is one.
    pub(in crate::broker) about: &'a str,
    /// What is wrong with just this one and what to do; what helps against its like, if there is none.
    pub(in crate::broker) help: Option<&'a str>,
    /// Whose last refusal this is.
    pub(in crate::broker) subject: Option<Subject>,
}

impl Refused<'_> {
    /// What can be done about it.
    pub(super) fn helping(&self) -> String {
        self.help.map_or_else(|| help(self.reason).to_owned(), |help| shown(help, SHOWN_OF_HELP))
    }

    /// Who it was beside the address, about what, and what was wrong: for the log. All that comes from
    /// outside is in quotes, and no longer than it is on the board.
    pub(in crate::broker) fn in_words(&self) -> String {
        let row = row(self);
        let name = row.identity.filter(|name| *name != row.from);
        let mut words = name.map_or_else(String::new, |name| format!(" as {name:?}"));
        words.push_str(&format!(", client id {:?}", row.client_id));
        if !row.about.is_empty() {
            words.push_str(&format!(", {:?}", row.about));
        }
        if !row.help.is_empty() {
            words.push_str(&format!(": {}", row.help));
        }
        words
    }
}

/// The newest last.
#[derive(Debug, Default)]
pub(super) struct Refusals(VecDeque<Kept>);

#[derive(Debug)]
struct Kept {
    /// The address, or what is likely to be one household's or one attacker's.
    place: IpAddr,
    reason: &'static str,
    row: RefusalRow,
}

/// Entries; each is one reason from one address, however often.
const MAX: usize = 200;

/// So many characters of what came from outside are kept.
const SHOWN: usize = 128;

/// The same of what was made of it to help: it may have two keys, or a list of audiences.
const SHOWN_OF_HELP: usize = 512;

impl Refusals {
    /// Notes one: with the entry of the same address and reason, if there is one.
    pub(super) fn add(&mut self, refused: &Refused<'_>) {
        let Refused { at_ms, reason, .. } = *refused;
        let place = place(refused.whom.from);
        let same = |kept: &Kept| kept.reason == reason && kept.place == place;
        let before = self.0.iter().rposition(same).and_then(|at| self.0.remove(at));
        if before.is_none() && self.0.len() >= MAX {
            self.make_room();
        }
        let (first_ms, times) =
            before.map_or((at_ms, 0), |kept| (kept.row.first_ms, kept.row.times));
        let row = RefusalRow { first_ms, times: times + 1, ..row(refused) };
        self.0.push_back(Kept { place, reason, row });
    }

    /// The reason that has most entries gives its oldest up: a wave from many addresses costs its own.
    fn make_room(&mut self) {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for kept in &self.0 {
            *counts.entry(kept.reason).or_default() += 1;
        }
        let most = self.0.iter().map(|kept| counts.get(kept.reason)).max().flatten().copied();
        let oldest = self.0.iter().position(|kept| counts.get(kept.reason).copied() == most);
        self.0.remove(oldest.unwrap_or_default());
    }

    /// The newest first.
    pub(super) fn rows(&self) -> Vec<RefusalRow> {
        self.0.iter().rev().map(|kept| kept.row.clone()).collect()
    }
}

fn row(refused: &Refused<'_>) -> RefusalRow {
    let Whom { from, identity, client_id, listener } = refused.whom;
    let known = identity.map(ToString::to_string);
    RefusalRow {
        at_ms: refused.at_ms,
        first_ms: refused.at_ms,
        times: 1,
        sort: refused.sort,
        from: from.to_canonical().to_string(),
        identity: known.or_else(|| refused.name.map(|name| shown(name, SHOWN))),
        client_id: shown(client_id, SHOWN),
        listener: listener.to_owned(),
        reason: refused.reason.to_owned(),
        about: shown(&without_token(refused.about), SHOWN),
        help: refused.helping(),
    }
}

/// A topic without the secret that MeshRank's have in their third level.
fn without_token(topic: &str) -> Cow<'_, str> {
    let Some(rest) = topic.strip_prefix("meshrank/uplink/") else { return Cow::Borrowed(topic) };
    let after = rest.split_once('/').map_or("", |(_, after)| after);
    Cow::Owned(format!("meshrank/uplink/…/{after}"))
}

/// An IPv4 address, or the network of an IPv6 one, in which anyone has any number of addresses.
fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 @ IpAddr::V4(_) => v4,
    }
}
