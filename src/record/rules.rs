//! What decides how messages become records.

use super::observers::Observers;
use crate::area::Home;
use crate::crypto::channel::Keyring;
use crate::crypto::peer::NodeKey;
use crate::crypto::scope::Regions;
use crate::message::{Origin, OriginKind};
use crate::packet::hash::Formula;

use std::collections::HashMap;
use std::sync::Arc;

/// What decides how messages become records; built once by `app` from the configuration.
#[derive(Debug, Default)]
pub struct Rules {
    /// Channel keys.
    pub keyring: Keyring,
    /// Private keys of nodes of ours, whose sealed packets are opened; none: nothing is tried.
    pub node_keys: Vec<NodeKey>,
    /// Regions whose scope codes are recognised.
    pub regions: Regions,
    /// How packets are hashed.
    pub formula: Formula,
    /// Whether adverts with a bad signature are dropped.
    pub validate_signatures: bool,
    /// The area that is at home; `None`: everywhere.
    pub home: Option<Home>,
    /// Whose messages are taken.
    pub observers: Observers,
    /// What is special about a source, by its name.
    pub sources: HashMap<Arc<str>, SourceRules>,
}

/// What is special about an external broker's messages.
#[derive(Clone, Debug, Default)]
pub struct SourceRules {
    /// Regions (the topic's second segment, whatever its case) whose packets are taken; empty: all.
    /// Never applied to a status (CoreScope #694).
    pub iata_filter: Vec<String>,
    /// The region where neither payload nor topic has one.
    pub region: Option<String>,
}

impl Rules {
    /// The rules of the source that brought a message; none for our own broker's clients.
    pub fn of(&self, origin: &Origin) -> Option<&SourceRules> {
        match origin.kind {
            OriginKind::Source | OriginKind::Replay => self.sources.get(&origin.name),
            OriginKind::Anonymous | OriginKind::Account => None,
        }
    }
}

impl SourceRules {
    /// The topic's region, if it is one whose packets are not taken. A topic of one segment has
    /// none, and passes.
    pub fn refuses<'t>(&self, topic: &'t str) -> Option<&'t str> {
        let region = topic.split('/').nth(1)?;
        let taken = self.iata_filter.is_empty()
            || self.iata_filter.iter().any(|r| r.eq_ignore_ascii_case(region.trim()));
        (!taken).then_some(region)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(regions: &[&str]) -> SourceRules {
        let iata_filter = regions.iter().map(ToString::to_string).collect();
        SourceRules { iata_filter, region: None }
    }

    #[test]
    fn the_filter_looks_at_the_second_segment_whatever_its_case() {
        let rules = filter(&["SJC", "SFO"]);
        assert_eq!(rules.refuses("meshcore/SJC/KEY/packets"), None);
        assert_eq!(rules.refuses("meshcore/LAX/KEY/packets"), Some("LAX"));
        assert_eq!(rules.refuses("meshcore/ sjc/KEY/packets"), None);
        assert_eq!(rules.refuses("meshcore"), None);
    }

    #[test]
    fn no_filter_takes_all() {
        assert_eq!(filter(&[]).refuses("meshcore/LAX/KEY/packets"), None);
    }

    #[test]
    fn a_client_of_our_own_broker_is_no_source_even_by_its_name() {
        let rules = Rules {
            sources: HashMap::from([("region".into(), filter(&["SJC"]))]),
            ..Rules::default()
        };
        let of = |kind| rules.of(&Origin { kind, name: "region".into() }).is_some();
        assert!(of(OriginKind::Source) && of(OriginKind::Replay));
        assert!(!of(OriginKind::Account) && !of(OriginKind::Anonymous));
    }
}
