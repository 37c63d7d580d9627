//! Who was spoken for since the start, by whom, and how that went.

use std::collections::HashMap;

use super::live::Entry;
use super::refusals::Refused;
use super::rows::ObserverRow;
use crate::broker::limits::{Excess, Subject};

/// A message of a subject.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spoken<'a> {
    /// The connection's number.
    pub(super) number: u64,
    pub(super) at_ms: i64,
    pub(super) region: Option<&'a str>,
    pub(super) excess: Excess,
    pub(super) entry: &'a Entry,
}

/// The subjects; bounded.
#[derive(Debug, Default)]
pub(super) struct Observers(HashMap<Subject, Known>);

#[derive(Debug)]
struct Known {
    /// The connection that spoke last.
    number: u64,
    row: ObserverRow,
}

/// Subjects: ten times the largest region known, in 1 MB.
const MAX: usize = 2_000;

/// So many characters of the name of a program are kept.
const SHOWN_OF_CLIENT: usize = 64;

/// So many characters of a region are kept.
const SHOWN_OF_REGION: usize = 16;

impl Observers {
    /// Notes a message. Returns the other connection that spoke for the same observer last.
    pub(super) fn spoke(&mut self, subject: &Subject, spoken: Spoken<'_>) -> Option<u64> {
        if !self.0.contains_key(subject) {
            self.make_room();
            let row = ObserverRow { first_ms: spoken.at_ms, ..introduced(subject, spoken.entry) };
            self.0.insert(subject.clone(), Known { number: spoken.number, row });
        }
        let known = self.0.get_mut(subject)?;
        let before = (known.number != spoken.number).then_some(known.number);
        if before.is_some() {
            let who = introduced(subject, spoken.entry);
            let row = &mut known.row;
            (row.identity, row.from, row.client_id) = (who.identity, who.from, who.client_id);
            (row.token_ends_ms, known.number) = (who.token_ends_ms, spoken.number);
            row.client = who.client;
        }
        let row = &mut known.row;
        row.last_ms = spoken.at_ms;
        row.messages += 1;
        row.over_rate += u64::from(spoken.excess.over_rate);
        row.duplicates += u64::from(spoken.excess.duplicate);
        if let Some(region) = spoken.region.filter(|region| *region != row.region) {
            row.region = super::shown(region, SHOWN_OF_REGION);
        }
        before.filter(|_| matches!(subject, Subject::Observer(_)))
    }

    /// Notes a refusal of one that was heard before. Others would let strangers fill the list.
    pub(super) fn refused(&mut self, subject: &Subject, refused: &Refused<'_>) {
        if let Some(known) = self.0.get_mut(subject) {
            known.row.last_refusal = Some(refused.reason.to_owned());
            known.row.last_refusal_ms = Some(refused.at_ms);
            known.row.help = refused.helping();
        }
    }

    /// Whoever was heard last comes first.
    pub(super) fn rows(&self) -> Vec<ObserverRow> {
        let mut rows: Vec<ObserverRow> = self.0.values().map(|known| known.row.clone()).collect();
        rows.sort_by(|a, b| b.last_ms.cmp(&a.last_ms).then_with(|| a.key.cmp(&b.key)));
        rows
    }

    /// Forgets the half that was silent for longest when there is no room.
    fn make_room(&mut self) {
        if self.0.len() < MAX {
            return;
        }
        let mut times: Vec<i64> = self.0.values().map(|known| known.row.last_ms).collect();
        let (_, median, _) = times.select_nth_unstable(MAX / 2);
        let median = *median;
        self.0.retain(|_, known| known.row.last_ms > median);
    }
}

fn introduced(subject: &Subject, entry: &Entry) -> ObserverRow {
    let key = match subject {
        Subject::Observer(key) => Some(key.to_string()),
        Subject::Client(_) => None,
    };
    ObserverRow {
        key,
        identity: entry.who.identity.to_string(),
        from: entry.from.to_string(),
        client_id: entry.client_id.clone(),
        token_ends_ms: entry.token.ends_ms,
        client: entry.token.client.as_deref().map(|client| super::shown(client, SHOWN_OF_CLIENT)),
        ..ObserverRow::default()
    }
}
