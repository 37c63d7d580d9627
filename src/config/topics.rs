//! Topic filters: which can be one, and which is inside another.

/// What is wrong with a filter by MQTT 3.1.1 §4.7, and what to do; `None`: nothing.
pub(super) fn fault(filter: &str) -> Option<&'static str> {
    if filter.is_empty() {
        return Some("is empty; name a topic filter such as meshcore/#");
    }
    if filter.len() > usize::from(u16::MAX) || filter.contains(char::is_control) {
        return Some("has control characters or more than 65535 bytes; write it as meshcore/#");
    }
    let last = filter.split('/').count() - 1;
    for (nth, level) in filter.split('/').enumerate() {
        if level.contains('#') && (level != "#" || nth != last) {
            return Some("has a # that is not its whole last level; write it as meshcore/#");
        }
        if level.contains('+') && level != "+" {
            return Some("has a + that is not a whole level; write it as meshcore/+/status");
        }
    }
    None
}

/// The filters without those that another one contains: two that overlap so would bring each
/// message twice (CoreScope's own example file has such a pair).
pub(super) fn merged(filters: &[String]) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for filter in filters {
        if kept.iter().any(|other| covers(other, filter)) {
            continue;
        }
        kept.retain(|other| !covers(filter, other));
        kept.push(filter.clone());
    }
    kept
}

/// Whether all that the filter or topic `inner` matches is matched by the filter `outer`.
pub fn covers(outer: &str, inner: &str) -> bool {
    // A wildcard at the start does not match topics that begin with $ (MQTT-4.7.2-1).
    if inner.starts_with('$') && outer.starts_with(['#', '+']) {
        return false;
    }
    let (mut outer, mut inner) = (outer.split('/'), inner.split('/'));
    loop {
        match (outer.next(), inner.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_inside_another_is_left_out_wherever_it_stands() {
        let cases: [(&[&str], &[&str]); 9] = [
            (&["meshcore/+/+/packets", "meshcore/#"], &["meshcore/#"]),
            (&["meshcore/#", "meshcore/SJC/+/packets"], &["meshcore/#"]),
            (&["meshcore/SJC/#", "meshcore/SFO/#"], &["meshcore/SJC/#", "meshcore/SFO/#"]),
            (&["a/+", "a/b", "a/b/c"], &["a/+", "a/b/c"]),
            (&["a/#", "a"], &["a/#"]),
            (&["a/+", "a/#"], &["a/#"]),
            (&["+/b", "a/+"], &["+/b", "a/+"]),
            (&["#", "$SYS/#", "x"], &["#", "$SYS/#"]),
            (&["x", "x"], &["x"]),
        ];
        for (given, left) in cases {
            let given: Vec<String> = given.iter().map(ToString::to_string).collect();
            assert_eq!(merged(&given), left, "{given:?}");
        }
    }

    #[test]
    fn only_filters_of_mqtt_pass() {
        for good in ["#", "+", "a", "a/#", "+/+/#", "/", "a//b", "meshcore/+/+/packets", "$SYS/#"] {
            assert_eq!(fault(good), None, "{good}");
        }
        for bad in ["", "a#", "a/#/b", "#/a", "a+/b", "a/b+", "a\0", "a\nb"] {
            assert!(fault(bad).is_some(), "{bad:?}");
        }
    }
}
