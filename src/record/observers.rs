//! Observers whose messages are not taken at all, whatever they say.

use super::refusal::{OBSERVER_BLACKLISTED, OBSERVER_REGION_UNLISTED, Refusal};
use crate::envelope;

use std::collections::HashSet;

/// Which observers are taken (`observerBlacklist`, `observerIATAWhitelist`). By default all.
///
/// CoreScope's rules of July 2026 (#962, #914): both hold for packets, for a status and for a
/// companion bridge's messages, by the topic alone; the blacklist is asked first.
#[derive(Clone, Debug, Default)]
pub struct Observers {
    /// In lower case.
    blacklist: HashSet<String>,
    /// In upper case; empty: all.
    regions: HashSet<String>,
}

impl Observers {
    /// Takes all but those of these ids, and only those of these regions, if there are any. Case and
    /// white space around them do not matter; what is empty then is no entry.
    pub fn new<S: AsRef<str>>(
        blacklist: impl IntoIterator<Item = S>,
        regions: impl IntoIterator<Item = S>,
    ) -> Self {
        let lower = |id: S| id.as_ref().trim().to_lowercase();
        let upper = |region: S| region.as_ref().trim().to_uppercase();
        Self {
            blacklist: blacklist.into_iter().map(lower).filter(|id| !id.is_empty()).collect(),
            regions: regions.into_iter().map(upper).filter(|region| !region.is_empty()).collect(),
        }
    }

    /// Lets a message pass, or not.
    pub(super) fn admit(&self, topic: &str) -> Result<(), Refusal> {
        if let Some(id) = self.blacklisted(topic) {
            // Enough to recognise it, too little to publish it.
            let id: String = id.chars().take(8).collect();
            let detail = format!("observer {id}… is in observerBlacklist");
            return Err(Refusal::noise(OBSERVER_BLACKLISTED, &detail));
        }
        match topic.split('/').nth(1) {
            // Not even a place for a region.
            None => Ok(()),
            Some(_) if self.regions.is_empty() => Ok(()),
            Some(region) if self.regions.contains(&region.trim().to_uppercase()) => Ok(()),
            Some(region) => {
                let region: String = region.chars().take(8).collect();
                let detail = format!("region {region:?} is not in observerIATAWhitelist");
                Err(Refusal::noise(OBSERVER_REGION_UNLISTED, &detail))
            }
        }
    }

    /// The observer of a topic, if it is on the list: the third segment, as CoreScope has it, or
    /// whom we would take for the observer in a topic of another form.
    fn blacklisted<'t>(&self, topic: &'t str) -> Option<&'t str> {
        if self.blacklist.is_empty() {
            return None;
        }
        let named = [topic.split('/').nth(2), envelope::observer_of(topic)];
        let listed = |id: &&str| self.blacklist.contains(&id.trim().to_lowercase());
        named.into_iter().flatten().find(listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "7E7662676F7F0850A8A355BAAFBFC1EB7B4174C340442D7D7161C9474A2C9400";

    fn reason(observers: &Observers, topic: &str) -> Option<&'static str> {
        let refusal = observers.admit(&topic.replace("KEY", KEY)).err()?;
        assert!(refusal.noise && !refusal.detail.contains(KEY), "{}", refusal.detail);
        Some(refusal.reason)
    }

    #[test]
    fn a_blacklisted_observer_is_found_in_every_form_of_topic_whatever_its_case() {
        let key = format!(" {} ", KEY.to_lowercase());
        let observers = Observers::new([key.as_str(), "Roof", ""], []);
        for topic in [
            "meshcore/SJC/KEY/packets",
            "meshcore/SJC/KEY/status",
            "meshcore/SJC/KEY",
            "other/x/ KEY /y",
            "meshcore/client/KEY/packets",
            "meshrank/uplink/s3cret/KEY/packets",
            "mynetwork/KEY/packets",
            "meshcore/SJC/ROOF/packets",
        ] {
            assert_eq!(reason(&observers, topic), Some(OBSERVER_BLACKLISTED), "{topic}");
        }
        for topic in ["meshcore/SJC/OTHER/packets", "meshcore/KEYx/a/b", "meshcore", "", "a//"] {
            assert_eq!(reason(&observers, topic), None, "{topic}");
        }
    }

    #[test]
    fn only_listed_regions_are_taken_and_a_companion_bridge_has_none() {
        let observers = Observers::new([], [" sjc ", "SFO", ""]);
        for topic in ["meshcore/SJC/KEY/packets", "meshcore/ sfo /KEY/status", "meshcore"] {
            assert_eq!(reason(&observers, topic), None, "{topic}");
        }
        for topic in [
            "meshcore/LAX/KEY/packets",
            "meshcore/LAX/KEY/status",
            "meshcore//KEY/packets",
            "meshcore/message/channel/0",
            "meshcore/message/direct/abc",
            "meshcore/client/KEY/packets",
        ] {
            assert_eq!(reason(&observers, topic), Some(OBSERVER_REGION_UNLISTED), "{topic}");
        }
    }

    #[test]
    fn the_blacklist_comes_before_the_regions_and_without_lists_all_is_taken() {
        let both = Observers::new([KEY], ["SFO"]);
        assert_eq!(reason(&both, "meshcore/LAX/KEY/packets"), Some(OBSERVER_BLACKLISTED));
        assert_eq!(reason(&both, "meshcore/SFO/KEY/packets"), Some(OBSERVER_BLACKLISTED));
        let all = Observers::new([" "], [""]);
        assert_eq!(reason(&all, "meshcore/LAX/KEY/packets"), None);
    }

    #[test]
    fn what_the_log_may_say_has_the_first_eight_characters_and_no_control_characters() {
        let observers = Observers::new([KEY], ["SFO"]);
        let detail = |topic: &str| observers.admit(topic).unwrap_err().detail;
        let line = detail(&format!("meshcore/SFO/{KEY}/packets"));
        assert_eq!(line, "observer 7E766267… is in observerBlacklist");
        let line = detail("meshcore/\x1B\nlong region/x/packets");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}
