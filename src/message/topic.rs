//! How the region and the observer of a topic are written: one spelling for the door that forwards
//! them and for the pipeline that stores them.

use std::borrow::Cow;

/// Whether this is a public key: 64 hex digits.
pub fn is_key(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// How an observer's id is stored: a public key in upper case, anything else verbatim.
pub fn canonical_key(key: &str) -> Cow<'_, str> {
    if is_key(key) { upper(key) } else { Cow::Borrowed(key) }
}

/// A topic or filter with the region and the key of `meshcore/{region}/{key}/…` in upper case;
/// everything else is left as it is.
///
/// The second level of `meshcore/client/…` and `meshcore/repeater/…` is a word and no region, and in
/// `meshcore/{key}/…` it is the key.
pub fn normalised(topic: &str) -> Cow<'_, str> {
    let Some(rest) = topic.strip_prefix("meshcore/") else { return Cow::Borrowed(topic) };
    let mut levels = rest.splitn(3, '/');
    let (first, second, tail) = (levels.next().unwrap_or_default(), levels.next(), levels.next());
    let (first, second) = match second {
        _ if is_key(first) => (upper(first), second.map(Cow::Borrowed)),
        Some(key) if is_key(key) && matches!(first, "client" | "repeater" | "message") => {
            (Cow::Borrowed(first), Some(upper(key)))
        }
        Some(key) if is_key(key) => (upper(first), Some(upper(key))),
        _ => return Cow::Borrowed(topic),
    };
    if let (Cow::Borrowed(_), None | Some(Cow::Borrowed(_))) = (&first, &second) {
        return Cow::Borrowed(topic);
    }
    let mut normal = format!("meshcore/{first}");
    for level in [second.as_deref(), tail].into_iter().flatten() {
        normal.push('/');
        normal.push_str(level);
    }
    Cow::Owned(normal)
}

fn upper(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|b| b.is_ascii_lowercase()) {
        Cow::Owned(text.to_ascii_uppercase())
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "7e7662676F7F0850A8A355BAAFBFC1EB7B4174C340442D7D7161C9474A2C9400";

    #[test]
    fn a_key_is_upper_cased_and_anything_else_stays() {
        assert_eq!(canonical_key(KEY), KEY.to_ascii_uppercase());
        assert_eq!(canonical_key("abc"), "abc");
        assert_eq!(canonical_key(&KEY[1..]), &KEY[1..]);
        assert_eq!(canonical_key(&KEY.replace('7', "g")), KEY.replace('7', "g"));
    }

    #[test]
    fn region_and_key_are_upper_cased_and_nothing_else() {
        let upper = KEY.to_ascii_uppercase();
        for (topic, expected) in [
            ("meshcore/sjc/KEY/packets", "meshcore/SJC/UPPER/packets"),
            ("meshcore/Test/KEY/serial/commands", "meshcore/TEST/UPPER/serial/commands"),
            ("meshcore/+/KEY/serial/commands", "meshcore/+/UPPER/serial/commands"),
            ("meshcore//KEY/packets", "meshcore//UPPER/packets"),
            ("meshcore/sjc/KEY", "meshcore/SJC/UPPER"),
            ("meshcore/KEY/packets", "meshcore/UPPER/packets"),
            ("meshcore/KEY", "meshcore/UPPER"),
            ("meshcore/client/KEY/packets", "meshcore/client/UPPER/packets"),
            // No key, no change: only the whole form says what is a region.
            ("meshcore/sjc/ab12/packets", "meshcore/sjc/ab12/packets"),
            ("meshcore/sjc/#", "meshcore/sjc/#"),
            ("meshcore/events/connection", "meshcore/events/connection"),
            ("meshcore", "meshcore"),
            ("mynetwork/sjc/KEY/packets", "mynetwork/sjc/KEY/packets"),
        ] {
            let (topic, expected) = (topic.replace("KEY", KEY), expected.replace("UPPER", &upper));
            let expected = expected.replace("KEY", KEY);
            assert_eq!(normalised(&topic), expected);
            assert!(matches!(normalised(&expected), Cow::Borrowed(_)), "{expected} is normal");
        }
    }
}
