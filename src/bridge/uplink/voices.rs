//! What that broker is told of our observers' presence, and what it was told. Pure.
//!
//! A status of the observer itself, or its own will, is passed on as any message. What is made here is
//! our broker's word where the observer said nothing: it vanished, or it began to send without one.

use bytes::Bytes;
use serde_json::Value;
use std::collections::HashMap;

/// The observers of one uplink, by key in upper case.
#[derive(Debug, Default)]
pub(super) struct Voices(HashMap<String, Voice>);

#[derive(Debug, Default)]
struct Voice {
    region: String,
    /// Its name, as it said it last.
    origin: Option<String>,
    /// Whether it is there; `None`: our broker never saw it, it comes from a source.
    there: Option<bool>,
    /// What that broker was told last.
    told: Option<bool>,
    /// Something of it was passed on.
    passed: bool,
}

/// A word on an observer's presence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) region: String,
    pub(super) key: String,
    pub(super) online: bool,
    origin: Option<String>,
}

/// Observers that are known at once: as many as our broker knows.
const MOST: usize = 2_000;

/// A status that is larger is not looked into, in bytes.
const LARGEST: usize = 16 << 10;

impl Word {
    /// Where our gateways would say it themselves.
    pub(super) fn topic(&self) -> String {
        format!("meshcore/{}/{}/status", self.region, self.key)
    }

    /// As a gateway says it.
    pub(super) fn payload(&self, now_ms: i64) -> Bytes {
        let at = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
        let mut body = serde_json::json!({
            "status": if self.online { "online" } else { "offline" },
            "timestamp": at.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string(),
            "origin_id": self.key,
        });
        if let (Some(origin), Some(body)) = (&self.origin, body.as_object_mut()) {
            body.insert("origin".into(), origin.as_str().into());
        }
        body.to_string().into()
    }
}

impl Voices {
    /// Something of this observer was passed on before the hub was started.
    pub(super) fn recall(&mut self, key: &str, region: String) {
        if let Some(voice) = self.voice(key) {
            (voice.region, voice.passed) = (region, true);
        }
    }

    /// Our broker says whether an observer is there; `news`: nobody else has said it. What is to be
    /// told.
    pub(super) fn hear(
        &mut self,
        (region, key): (&str, &str),
        (online, news): (bool, bool),
        payload: &[u8],
    ) -> Option<Word> {
        let voice = self.voice(key)?;
        voice.region = region.to_owned();
        voice.origin = read(payload).1.or(voice.origin.take());
        voice.there = Some(online);
        (voice.passed && news && voice.told != Some(online)).then(|| voice.word(key, online))
    }

    /// A message of an observer is passed on. What is to be told before it.
    pub(super) fn pass(
        &mut self,
        (region, key, kind): (&str, &str, &str),
        payload: &[u8],
    ) -> Option<Word> {
        let voice = self.voice(key)?;
        if voice.region != region {
            voice.region = region.to_owned();
        }
        let first = !std::mem::replace(&mut voice.passed, true);
        if kind == "status" {
            let (online, origin) = read(payload);
            voice.origin = origin.or(voice.origin.take());
            voice.told = online.or(voice.told);
            return None;
        }
        if first && voice.origin.is_none() {
            voice.origin = read(payload).1;
        }
        let there = voice.there.filter(|there| first && voice.told != Some(*there))?;
        Some(voice.word(key, there))
    }

    /// A word went out.
    pub(super) fn told(&mut self, word: &Word) {
        if let Some(voice) = self.0.get_mut(&word.key) {
            voice.told = Some(word.online);
        }
    }

    /// Of our own observers that are there for that broker: that they are not.
    pub(super) fn farewell(&self) -> Vec<Word> {
        let there = |it: &(&String, &Voice)| it.1.there.is_some() && it.1.told == Some(true);
        self.0.iter().filter(there).map(|(key, voice)| voice.word(key, false)).collect()
    }

    /// What that broker is to say when our connection vanishes, for this observer.
    pub(super) fn will(&self, key: &str) -> Option<Word> {
        self.0.get(key).filter(|voice| voice.passed).map(|voice| voice.word(key, false))
    }

    /// That this observer is there, if it is, and that broker was told so.
    pub(super) fn greeting(&self, key: &str) -> Option<Word> {
        let there = |voice: &&Voice| voice.there == Some(true) && voice.told == Some(true);
        self.0.get(key).filter(there).map(|voice| voice.word(key, true))
    }

    /// `None`: there is no room for another one.
    fn voice(&mut self, key: &str) -> Option<&mut Voice> {
        if !self.0.contains_key(key) {
            if self.0.len() >= MOST {
                let gone = self.0.iter().find(|(_, voice)| voice.there != Some(true));
                let gone = gone.map(|(key, _)| key.clone())?;
                self.0.remove(&gone);
            }
            self.0.insert(key.to_owned(), Voice::default());
        }
        self.0.get_mut(key)
    }
}

impl Voice {
    fn word(&self, key: &str, online: bool) -> Word {
        let (region, origin) = (self.region.clone(), self.origin.clone());
        Word { region, key: key.to_owned(), online, origin }
    }
}

/// What a message says of presence, and its observer's name.
fn read(payload: &[u8]) -> (Option<bool>, Option<String>) {
    let read = (payload.len() <= LARGEST).then(|| serde_json::from_slice::<Value>(payload));
    let Some(Ok(said)) = read else { return (None, None) };
    let text = |name| said.get(name).and_then(Value::as_str);
    let online = match text("status") {
        Some(it) if it.eq_ignore_ascii_case("online") => Some(true),
        Some(it) if it.eq_ignore_ascii_case("offline") => Some(false),
        _ => None,
    };
    (online, text("origin").map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HILL: (&str, &str) = ("SJC", "AA");
    const PACKET: &[u8] = br#"{"origin":"Hill","raw":"1500"}"#;

    fn pass(voices: &mut Voices, kind: &str, payload: &[u8]) -> Option<bool> {
        tell(voices, |voices| voices.pass(("SJC", "AA", kind), payload))
    }

    fn hear(voices: &mut Voices, online: bool, news: bool) -> Option<bool> {
        tell(voices, |voices| voices.hear(HILL, (online, news), b"{}"))
    }

    fn tell(voices: &mut Voices, make: impl FnOnce(&mut Voices) -> Option<Word>) -> Option<bool> {
        let word = make(voices)?;
        voices.told(&word);
        Some(word.online)
    }

    #[test]
    fn presence_is_told_once_something_was_passed_on_and_only_where_it_is_news() {
        let mut voices = Voices::default();
        assert_eq!(hear(&mut voices, true, true), None, "nothing of it was passed on");
        assert_eq!(pass(&mut voices, "packets", PACKET), Some(true), "before its first packet");
        assert_eq!(pass(&mut voices, "packets", PACKET), None);
        assert_eq!(hear(&mut voices, false, true), Some(false));
        assert_eq!(hear(&mut voices, false, true), None, "known");
        assert_eq!(hear(&mut voices, true, true), Some(true));
        // It says so itself, as its own will would.
        assert_eq!(hear(&mut voices, false, false), None);
        assert_eq!(pass(&mut voices, "status", br#"{"status":"Offline"}"#), None);
        assert!(voices.farewell().is_empty() && voices.greeting("AA").is_none());
        assert_eq!(hear(&mut voices, true, false), None);
        assert_eq!(pass(&mut voices, "status", br#"{"status":"online"}"#), None);
        assert!(voices.greeting("AA").is_some_and(|word| word.online));
        let farewell = voices.farewell();
        assert_eq!((farewell.len(), farewell[0].online), (1, false));
    }

    #[test]
    fn what_comes_from_a_source_has_no_presence_of_ours() {
        let mut voices = Voices::default();
        assert_eq!(pass(&mut voices, "packets", PACKET), None);
        assert_eq!(pass(&mut voices, "status", br#"{"status":"online"}"#), None);
        assert!(voices.farewell().is_empty());
    }

    #[test]
    fn a_word_is_a_status_as_gateways_send_it() {
        let mut voices = Voices::default();
        assert_eq!(voices.will("AA"), None, "its region is not known");
        pass(&mut voices, "packets", PACKET);
        let will = voices.will("AA").unwrap();
        assert_eq!(will.topic(), "meshcore/SJC/AA/status");
        let said: Value = serde_json::from_slice(&will.payload(1_760_000_000_123)).unwrap();
        let expected = serde_json::json!({
            "status": "offline", "origin": "Hill", "origin_id": "AA",
            "timestamp": "2025-10-09T08:53:20.123000+00:00",
        });
        assert_eq!(said, expected);
        let mut recalled = Voices::default();
        recalled.recall("AA", "SJC".into());
        assert_eq!(recalled.will("AA").unwrap().topic(), "meshcore/SJC/AA/status");
    }

    #[test]
    fn the_number_of_observers_is_bounded() {
        let mut voices = Voices::default();
        for n in 0..2 * MOST {
            voices.pass(("SJC", &n.to_string(), "packets"), PACKET);
        }
        assert_eq!(voices.0.len(), MOST);
        for voice in voices.0.values_mut() {
            voice.there = Some(true);
        }
        assert_eq!(voices.hear(("SJC", "new"), (true, true), b"{}"), None);
        assert_eq!(voices.0.len(), MOST);
    }
}
