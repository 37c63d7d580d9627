//! The keys, regions and switches that inputs are read with.

use super::inside;

use meshbox::crypto::channel::{Keyring, hashtag_key};
use meshbox::crypto::scope::Regions;
use meshbox::packet::hash::Formula;
use meshbox::record::{Rules, SourceRules};

use std::collections::HashMap;

/// The name of the source that the messages come from; it has a filter.
pub(super) const SOURCE: &str = "region";

/// The channel of a key with 32 bytes.
pub(super) const WIDE: &str = "wide";

/// Channel keys by name, of both lengths; no two have one channel hash, so that only one can fit.
pub(super) fn keys() -> Vec<(String, Vec<u8>)> {
    let hashtag = |name: &str| (name.to_owned(), hashtag_key(name).to_vec());
    vec![hashtag("#bot"), hashtag("#test"), (WIDE.to_owned(), (0..32).collect())]
}

/// Rules with keys and regions; `strict` ones check signatures and hash as CoreScope of April 2026.
pub(super) fn rules(strict: bool) -> Rules {
    let iata_filter = vec!["SJC".into(), "SEA".into()];
    let filter = SourceRules { iata_filter, region: None };
    let rules = Rules {
        keyring: Keyring::new(keys()).expect("these keys have the right lengths"),
        node_keys: inside::NODES.to_vec(),
        regions: Regions::new(["#ottawa", "#test"].map(str::to_owned)),
        sources: HashMap::from([(SOURCE.into(), filter)]),
        ..Rules::default()
    };
    match strict {
        false => rules,
        true => Rules { formula: Formula::CoreScope202604, validate_signatures: true, ..rules },
    }
}
