//! Which messages are passed on to a broker, and as what. Pure.

use super::recent::Recent;
use super::voices::{Voices, Word};
use crate::config::{Login, Uplink};
use crate::message::{Heard, Origin, OriginKind};

use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Regions that uploaders have before anybody sets one.
const PLACEHOLDERS: [&str; 3] = ["XXX", "XYZ", "LOC"];

/// What is passed on to one broker.
#[derive(Debug)]
pub(super) struct Chooser {
    settings: Arc<Uplink>,
    /// Sources that are this very broker: what they bring came from there.
    echoes: Vec<Arc<str>>,
    /// The observers that have a login of their own, in upper case; `None`: one login for all.
    keys: Option<Vec<String>>,
    recent: Mutex<Recent>,
    voices: Mutex<Voices>,
}

/// A message as that broker is to get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// The topic there.
    pub(super) topic: String,
    /// The payload there.
    pub(super) payload: Bytes,
    /// Whether it is to be retained.
    pub(super) retain: bool,
    /// Which of the logins sends it.
    pub(super) lane: usize,
}

/// Why a message stays here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stays {
    /// It is not what this uplink is for.
    Filtered,
    /// That broker would close the connection, or it would go in a circle: counted by this name.
    Refused(&'static str),
}

impl Chooser {
    /// For an uplink, with the names of the sources that are its own broker, and the observers whose
    /// keys are here, in the order of its logins.
    pub(super) fn new(
        settings: Arc<Uplink>,
        echoes: Vec<Arc<str>>,
        keys: Option<Vec<String>>,
    ) -> Self {
        let (recent, voices) = (Mutex::default(), Mutex::default());
        Self { settings, echoes, keys, recent, voices }
    }

    /// Judges a message, which from now on is known. What comes of it, in order: a word on its
    /// observer's presence may go before it.
    pub(super) fn choose(&self, heard: &Heard) -> Result<Vec<Chosen>, Stays> {
        if let Some(presence) = heard.presence {
            let (region, key, _) = parts(&heard.topic).ok_or(Stays::Filtered)?;
            let said = (presence.online, presence.news);
            let word = self.voices().hear((region, key), said, &heard.payload);
            return Ok(word.and_then(|word| self.tell(&word, heard.at_ms)).into_iter().collect());
        }
        let chosen = self.judge(heard)?;
        if !lock(&self.recent).is_new(&chosen.topic, &chosen.payload, heard.at_ms) {
            return Err(Stays::Refused("uplink_repeated"));
        }
        let Some((region, key, kind)) = parts(&heard.topic) else { return Ok(vec![chosen]) };
        let word = self.voices().pass((region, &key.to_uppercase(), kind), &heard.payload);
        let before = word.and_then(|word| self.tell(&word, heard.at_ms));
        Ok(before.into_iter().chain([chosen]).collect())
    }

    /// A word as it is passed on; `None` where statuses of this observer are not.
    pub(super) fn tell(&self, word: &Word, now_ms: i64) -> Option<Chosen> {
        let chosen = self.say(word, now_ms)?;
        self.voices().told(word);
        lock(&self.recent).is_new(&chosen.topic, &chosen.payload, now_ms);
        Some(chosen)
    }

    /// A word as it would be passed on.
    pub(super) fn say(&self, word: &Word, now_ms: i64) -> Option<Chosen> {
        let heard = Heard {
            topic: word.topic(),
            payload: word.payload(now_ms),
            origin: Origin { kind: OriginKind::Account, name: Arc::default() },
            payload_type: None,
            position: None,
            presence: None,
            at_ms: now_ms,
        };
        self.judge(&heard).ok()
    }

    /// A message goes out only now, after it waited.
    pub(super) fn waited(&self, topic: &str, payload: &[u8], came_ms: i64, now_ms: i64) {
        lock(&self.recent).waited(topic, payload, came_ms, now_ms);
    }

    /// What that broker knows of our observers.
    pub(super) fn voices(&self) -> MutexGuard<'_, Voices> {
        lock(&self.voices)
    }

    fn judge(&self, heard: &Heard) -> Result<Chosen, Stays> {
        let settings = &self.settings;
        let from_source = heard.origin.kind == OriginKind::Source;
        if from_source && (!settings.sources || self.echoes.contains(&heard.origin.name)) {
            return Err(Stays::Filtered);
        }
        let (region, key, kind) = parts(&heard.topic).ok_or(Stays::Filtered)?;
        let listed = |list: &[String], it: &String| list.is_empty() || list.contains(it);
        let (upper_region, upper_key) = (region.to_uppercase(), key.to_uppercase());
        if !settings.types.iter().any(|it| it == kind)
            || !listed(&settings.regions, &upper_region)
            || !listed(&settings.observers, &upper_key)
            || heard.payload_type.is_some_and(|it| {
                !settings.payload_types.is_empty() && !settings.payload_types.contains(&it)
            })
            || settings
                .area
                .as_ref()
                .zip(heard.position)
                .is_some_and(|(area, (lat, lon))| !area.holds(lat, lon))
        {
            return Err(Stays::Filtered);
        }
        let lane = match &self.keys {
            None => 0,
            Some(keys) => keys.iter().position(|it| *it == upper_key).ok_or(Stays::Filtered)?,
        };
        let strict = settings.needs_origin_id || matches!(settings.login, Login::Token { .. });
        if strict {
            if key.len() != 64 || !key.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(Stays::Refused("uplink_key_refused"));
            }
            let three = region.len() == 3 && region.bytes().all(|it| it.is_ascii_alphabetic());
            let named = three && !PLACEHOLDERS.contains(&upper_region.as_str());
            if !named && !region.eq_ignore_ascii_case("test") {
                return Err(Stays::Refused("uplink_region_refused"));
            }
        }
        let payload = match settings.needs_origin_id {
            true => with_origin_id(&heard.payload, &upper_key),
            false => heard.payload.clone(),
        };
        let topic = topic(&settings.topic, region, key, kind);
        Ok(Chosen { topic, payload, retain: settings.retain && kind == "status", lane })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Region, key and kind of an observer's topic.
pub(super) fn parts(topic: &str) -> Option<(&str, &str, &str)> {
    let mut parts = topic.split('/');
    match [(); 5].map(|()| parts.next()) {
        [Some("meshcore"), Some(region), Some(key), Some(kind), None]
            if !matches!(region, "" | "client" | "message" | "repeater") && !key.is_empty() =>
        {
            Some((region, key, kind))
        }
        _ => None,
    }
}

/// The template with what belongs there: in one pass, so that no part can name another one.
fn topic(template: &str, region: &str, key: &str, kind: &str) -> String {
    let mut made = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        made.push_str(before);
        let known = [("{region}", region), ("{key}", key), ("{type}", kind)];
        rest = match known.iter().find(|(name, _)| from.starts_with(name)) {
            Some((name, value)) => {
                made.push_str(value);
                from.strip_prefix(name).unwrap_or_default()
            }
            None => {
                made.push('{');
                from.strip_prefix('{').unwrap_or_default()
            }
        };
    }
    made.push_str(rest);
    made
}

/// The payload with `origin_id`, where it is a JSON object without one; else as it is.
fn with_origin_id(payload: &Bytes, key: &str) -> Bytes {
    type Object = serde_json::Map<String, serde_json::Value>;
    let Ok(object) = serde_json::from_slice::<Object>(payload) else { return payload.clone() };
    let given = object.get("origin_id").and_then(serde_json::Value::as_str);
    if given.is_some_and(|it| !it.is_empty()) || object.contains_key("origin_id") {
        return payload.clone();
    }
    let Some(at) = payload.iter().position(|byte| *byte == b'{') else { return payload.clone() };
    let (start, rest) = payload.split_at(at + 1);
    let comma = if object.is_empty() { "" } else { "," };
    [start, format!("\"origin_id\":\"{key}\"{comma}").as_bytes(), rest].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::area::Area;
    use crate::config::Remote;
    use crate::message::Presence;

    const KEY: &str = "7E7662676F7F0850A8A355BAAFBFC1EB7B4174C340442D7D7161C9474A2C9400";

    fn heard(topic: &str, kind: OriginKind) -> Heard {
        Heard {
            topic: topic.into(),
            payload: r#"{"raw":"1500"}"#.into(),
            origin: Origin { kind, name: "region".into() },
            payload_type: Some(5),
            position: None,
            presence: None,
            at_ms: 0,
        }
    }

    fn chooser(change: impl FnOnce(&mut Uplink)) -> Chooser {
        let mut settings = Uplink::new("up", Remote::mqtt("b.example", 1883));
        change(&mut settings);
        Chooser::new(Arc::new(settings), vec!["echo".into()], None)
    }

    #[test]
    fn topics_are_chosen_by_kind_region_observer_payload_type_and_origin() {
        let own = OriginKind::Anonymous;
        let packets = format!("meshcore/sjc/{KEY}/packets");
        type Change = fn(&mut Uplink);
        let cases: [(&str, OriginKind, Change, Result<(), Stays>); 12] = [
            (&packets, own, |_| {}, Ok(())),
            (&packets, OriginKind::Account, |u| u.regions = vec!["SJC".into()], Ok(())),
            (&packets, own, |u| u.regions = vec!["SFO".into()], Err(Stays::Filtered)),
            (&packets, own, |u| u.observers = vec![KEY.into()], Ok(())),
            (&packets, own, |u| u.observers = vec!["AA".into()], Err(Stays::Filtered)),
            (&packets, own, |u| u.payload_types = vec![4], Err(Stays::Filtered)),
            (&packets, own, |u| u.types = vec!["status".into()], Err(Stays::Filtered)),
            (&packets, OriginKind::Source, |_| {}, Err(Stays::Filtered)),
            (&packets, OriginKind::Source, |u| u.sources = true, Ok(())),
            ("meshcore/SJC/short/packets", own, |_| {}, Ok(())),
            (
                "meshcore/SJC/short/packets",
                own,
                |u| u.needs_origin_id = true,
                Err(Stays::Refused("uplink_key_refused")),
            ),
            ("meshcore/message/direct/x", own, |_| {}, Err(Stays::Filtered)),
        ];
        for (topic, kind, change, expected) in cases {
            let chosen = chooser(change).choose(&heard(topic, kind)).map(drop);
            assert_eq!(chosen, expected, "{topic} {kind:?}");
        }
        let mut message = heard(&packets, OriginKind::Source);
        message.origin.name = "echo".into();
        let own_broker = chooser(|u| u.sources = true).choose(&message);
        assert_eq!(own_broker, Err(Stays::Filtered));
        for (position, passes) in
            [(Some((1.0, 2.0)), true), (Some((2.1, 2.0)), false), (None, true)]
        {
            let area = Area::Box { lat: [0.0, 2.0], lon: [0.0, 3.0] };
            let message = Heard { position, ..heard(&packets, own) };
            let chosen = chooser(|u| u.area = Some(area)).choose(&message).is_ok();
            assert_eq!(chosen, passes, "{position:?}");
        }
        let placeholder = heard(&format!("meshcore/XXX/{KEY}/packets"), own);
        let refused = chooser(|u| u.needs_origin_id = true).choose(&placeholder);
        assert_eq!(refused, Err(Stays::Refused("uplink_region_refused")));
    }

    #[test]
    fn the_payload_stays_as_it_is_unless_origin_id_is_needed_and_missing() {
        let message = heard(&format!("meshcore/SJC/{KEY}/packets"), OriginKind::Anonymous);
        let chosen = chooser(|_| {}).choose(&message).unwrap().remove(0);
        assert_eq!((chosen.topic, &chosen.payload), (message.topic.clone(), &message.payload));
        let chosen = chooser(|u| u.needs_origin_id = true).choose(&message).unwrap().remove(0);
        assert_eq!(chosen.payload, format!(r#"{{"origin_id":"{KEY}","raw":"1500"}}"#));
        let key = |payload: &'static str| with_origin_id(&payload.into(), "K");
        assert_eq!(key(" {}"), r#" {"origin_id":"K"}"#);
        for untouched in [r#"{"origin_id":"x"}"#, "[]", "no json", ""] {
            assert_eq!(key(untouched), untouched);
        }
    }

    #[test]
    fn a_template_is_filled_in_one_pass() {
        assert_eq!(topic("a/{type}/{key}/{region}/{x}", "{key}", "K", "t"), "a/t/K/{key}/{x}");
    }

    #[test]
    fn what_was_passed_on_goes_no_second_time_for_a_while() {
        let chooser = chooser(|_| {});
        let mut message = heard(&format!("meshcore/SJC/{KEY}/packets"), OriginKind::Account);
        assert!(chooser.choose(&message).is_ok());
        assert_eq!(chooser.choose(&message), Err(Stays::Refused("uplink_repeated")));
        message.at_ms = 3_600_000;
        assert!(chooser.choose(&message).is_ok());
    }

    #[test]
    fn our_brokers_word_on_presence_goes_where_a_status_would() {
        let word = |chooser: &Chooser, online, at_ms| {
            let presence = Some(Presence { online, news: true });
            let topic = format!("meshcore/SJC/{KEY}/status");
            chooser
                .choose(&Heard { presence, at_ms, ..heard(&topic, OriginKind::Account) })
                .unwrap()
        };
        let packet = heard(&format!("meshcore/SJC/{KEY}/packets"), OriginKind::Account);
        let retaining = chooser(|u| u.retain = true);
        assert_eq!(word(&retaining, true, 0), []);
        let both = retaining.choose(&packet).unwrap();
        assert_eq!(both.iter().map(|it| it.retain).collect::<Vec<_>>(), [true, false]);
        let gone = word(&retaining, false, 5);
        assert_eq!(gone[0].topic, format!("meshcore/SJC/{KEY}/status"));
        // What comes back from there is known.
        let back =
            Heard { payload: gone[0].payload.clone(), topic: gone[0].topic.clone(), ..packet };
        assert_eq!(retaining.choose(&back), Err(Stays::Refused("uplink_repeated")));
        let without = chooser(|u| u.types = vec!["packets".into()]);
        word(&without, true, 0);
        let packet = heard(&format!("meshcore/SJC/{KEY}/packets"), OriginKind::Account);
        assert_eq!(without.choose(&packet).unwrap().len(), 1);
        assert_eq!(word(&without, false, 5), []);
    }
}
