//! Which observer a topic speaks for. Pure.

use crate::broker::identity::ObserverKey;

/// A topic of an observer: `meshcore/{region}/{64 hex digits}/…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spoken<'a> {
    /// The region, as sent.
    pub(super) region: &'a str,
    /// The observer's key.
    pub(super) key: ObserverKey,
    /// What follows the key.
    pub(super) subtopic: &'a str,
}

impl<'a> Spoken<'a> {
    /// Reads a topic; `None` for one that names no key.
    pub(super) fn read(topic: &'a str) -> Option<Self> {
        let mut levels = topic.splitn(4, '/');
        let first = levels.next()?;
        let (region, key, subtopic) = (levels.next()?, levels.next()?, levels.next()?);
        if !first.eq_ignore_ascii_case("meshcore") || region.is_empty() || key.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(key, &mut bytes).ok()?;
        Some(Self { region, key: ObserverKey(bytes), subtopic })
    }

    /// Where this observer's presence is told.
    pub(super) fn status_topic(&self) -> String {
        format!("meshcore/{}/{}/status", self.region.to_ascii_uppercase(), self.key)
    }

    /// Whether this is the observer's status.
    pub(super) fn is_status(&self) -> bool {
        self.subtopic == "status"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_names_an_observer_by_its_whole_key_only() {
        let key = "ab".repeat(32);
        let topic = format!("meshcore/sjc/{key}/status");
        let spoken = Spoken::read(&topic).unwrap();
        assert_eq!(spoken.status_topic(), format!("meshcore/SJC/{}/status", "AB".repeat(32)));
        assert!(spoken.is_status());
        let deeper = format!("meshcore/SJC/{key}/serial/responses");
        assert!(!Spoken::read(&deeper).unwrap().is_status());
        for other in [
            "meshcore/SJC/AB12/status".to_owned(),
            format!("meshcore/SJC/{key}"),
            format!("meshcore//{key}/status"),
            format!("other/SJC/{key}/status"),
            format!("meshcore/SJC/{}/status", "zz".repeat(32)),
            "meshcore/status".to_owned(),
            String::new(),
        ] {
            assert_eq!(Spoken::read(&other), None, "{other}");
        }
    }
}
