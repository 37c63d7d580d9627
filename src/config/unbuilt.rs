//! What is accepted, judged, and does nothing yet: one note for each, so that nobody trusts it.

use super::error::Error;
use super::judge::Judge;
use super::listeners;
use super::tree::{At, Dialect};

/// Where the page will listen.
const WEB_BIND: &str = "0.0.0.0:8080";

/// Judges the values and notes what has no effect.
pub(super) fn judge(judge: &mut Judge<'_>) -> Result<(), Error> {
    web(judge)?;
    settings(judge);
    lists(judge);
    Ok(())
}

/// The page is on by default, and in CoreScope's mode only if the file has a `web` section.
fn web(judge: &mut Judge<'_>) -> Result<(), Error> {
    let section = judge.written.file.web.as_ref();
    let by_itself = judge.written.dialect == Dialect::Toml || section.is_some();
    let at = At::key("web");
    listeners::access(judge, &at, section.and_then(|it| it.access.as_deref()))?;
    let bind = section.and_then(|it| it.bind.as_deref()).unwrap_or(WEB_BIND);
    let bind = listeners::address(judge, &at.then("bind"), bind)?;
    if section.and_then(|it| it.enabled).unwrap_or(by_itself) {
        judge.notes.push(format!("web: not built yet, nothing listens on {bind}"));
    }
    Ok(())
}

/// Settings that each stand alone; one that asks for what happens anyway is not noted.
fn settings(judge: &mut Judge<'_>) {
    let file = &judge.written.file;
    let coverage = file.client_rx_coverage.as_ref().is_some_and(|it| on(it.enabled));
    let asked = [("clientRxCoverage", coverage, "no coverage reports are taken")];
    note(judge, &asked);
}

/// Who is let in, taken or shown.
fn lists(judge: &mut Judge<'_>) {
    let file = &judge.written.file;
    // CoreScope's server alone reads these two; beside it they are its business.
    let hides = judge.written.dialect == Dialect::Toml;
    let asked = [
        ("nodeBlacklist", hides && some(&file.node_blacklist), "there is no page to hide nodes on"),
        ("hiddenNamePrefixes", hides && some(&file.hidden_name_prefixes), "nothing is hidden"),
    ];
    note(judge, &asked);
}

/// Key, whether it asks for anything, and what happens instead.
fn note(judge: &mut Judge<'_>, asked: &[(&str, bool, &str)]) {
    let asked = asked.iter().filter(|(_, asked, _)| *asked);
    let notes = asked.map(|(key, _, instead)| format!("{key}: not built yet, {instead}"));
    judge.notes.extend(notes);
}

fn some(list: &Option<Vec<String>>) -> bool {
    list.as_ref().is_some_and(|list| !list.is_empty())
}

fn on(flag: Option<bool>) -> bool {
    flag == Some(true)
}
