//! Which messages are passed on to a broker, and as what. Pure.

use crate::config::{Login, Uplink};
use crate::message::{Heard, OriginKind};

use bytes::Bytes;
use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

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
    recent: Recent,
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
        Self { settings, echoes, keys, recent: Recent::default() }
    }

    /// Judges a message.
    pub(super) fn choose(&mut self, heard: &Heard) -> Result<Chosen, Stays> {
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
            || settings.area.as_ref().zip(heard.position).is_some_and(|(area, (lat, lon))| {
                !area.holds(lat, lon)
            })
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
        if !self.recent.is_new(&topic, &payload, heard.at_ms) {
            return Err(Stays::Refused("uplink_repeated"));
        }
        Ok(Chosen { topic, payload, retain: self.settings.retain && kind == "status", lane })
    }
}

/// Region, key and kind of an observer's topic.
fn parts(topic: &str) -> Option<(&str, &str, &str)> {
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

/// What was passed on lately: what comes back from there, or a second time, goes no further.
#[derive(Debug, Default)]
struct Recent {
    hasher: RandomState,
    known: HashSet<u64>,
    /// The oldest first, with the time when it came.
    order: VecDeque<(u64, i64)>,
}

/// How long a message may be on its way around, in milliseconds.
const WINDOW_MS: i64 = 10 * 60_000;

/// Messages in the window, at most (0.5 MB).
const WINDOW: usize = 20_000;

impl Recent {
    fn is_new(&mut self, topic: &str, payload: &[u8], now_ms: i64) -> bool {
        while let Some(&(hash, at_ms)) = self.order.front() {
            // A clock that jumped back leaves the bound.
            if self.order.len() < WINDOW && now_ms.saturating_sub(at_ms) < WINDOW_MS {
                break;
            }
            self.known.remove(&hash);
            self.order.pop_front();
        }
        let hash = self.hasher.hash_one((topic.to_ascii_uppercase(), payload));
        let new = self.known.insert(hash);
        if new {
            self.order.push_back((hash, now_ms));
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::area::Area;
    use crate::config::Remote;
    use crate::message::Origin;

    const KEY: &str = "7E7662676F7F0850A8A355BAAFBFC1EB7B4174C340442D7D7161C9474A2C9400";

    fn heard(topic: &str, kind: OriginKind) -> Heard {
        Heard {
            topic: topic.into(),
            payload: r#"{"raw":"1500"}"#.into(),
            origin: Origin { kind, name: "region".into() },
            payload_type: Some(5),
            position: None,
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
        for (position, passes) in [(Some((1.0, 2.0)), true), (Some((2.1, 2.0)), false), (None, true)] {
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
        let chosen = chooser(|_| {}).choose(&message).unwrap();
        assert_eq!((chosen.topic, &chosen.payload), (message.topic.clone(), &message.payload));
        let chosen = chooser(|u| u.needs_origin_id = true).choose(&message).unwrap();
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
        let mut chooser = chooser(|_| {});
        let mut message = heard(&format!("meshcore/SJC/{KEY}/packets"), OriginKind::Account);
        assert!(chooser.choose(&message).is_ok());
        assert_eq!(chooser.choose(&message), Err(Stays::Refused("uplink_repeated")));
        message.at_ms = WINDOW_MS;
        assert!(chooser.choose(&message).is_ok());
        for n in 0..2 * WINDOW {
            message.payload = n.to_string().into();
            assert!(chooser.choose(&message).is_ok());
        }
        assert_eq!((chooser.recent.known.len(), chooser.recent.order.len()), (WINDOW, WINDOW));
    }
}
