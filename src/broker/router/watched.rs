//! A filter of a subscriber, and how far its log in the router has been read. Pure.

use rumqttc::mqttbytes::matches;

use crate::broker::grant::Grant;

/// A filter, and the place in its log where the next copy comes from.
pub(super) struct Watched {
    pub(super) filter: String,
    pub(super) grant: Grant,
    /// What the router marks its copies with; it need not unless the grant has options.
    pub(super) number: usize,
    pub(super) next: Option<u64>,
}

impl Watched {
    /// The mark that it asks for.
    pub(super) fn mark(&self) -> Option<usize> {
        self.grant.has_options().then_some(self.number)
    }
}

/// How many copies were lost before the one at `at`, which belongs to one of the filters that match
/// its topic: the router does not say which, so the one that expects it, else one whose place is not
/// known yet, else the one that is nearest before it.
pub(super) fn skipped(filters: &mut [Watched], topic: &str, at: u64) -> u64 {
    let matching = filters.iter_mut().filter(|w| matches(topic, &w.filter));
    let rank = |w: &Watched| match w.next {
        Some(next) if next == at => (0, 0),
        None => (1, 0),
        Some(next) if next < at => (2, at - next),
        Some(_) => (3, 0),
    };
    let Some(watched) = matching.min_by_key(|w| rank(w)) else { return 0 };
    let (_, lost) = rank(watched);
    watched.next = Some(at + 1);
    lost
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::mqttbytes::QoS;

    fn watched(filters: &[(&str, Option<u64>)]) -> Vec<Watched> {
        let grant = Grant::plain(QoS::AtMostOnce);
        let watched = |(f, next): &(&str, Option<u64>)| Watched {
            filter: (*f).to_owned(),
            grant,
            number: 1,
            next: *next,
        };
        filters.iter().map(watched).collect()
    }

    #[test]
    fn a_jump_in_a_log_is_that_many_lost_copies() {
        let mut filters = watched(&[("a/#", None)]);
        assert_eq!(skipped(&mut filters, "a/b", 100), 0);
        assert_eq!(skipped(&mut filters, "a/b", 101), 0);
        assert_eq!(skipped(&mut filters, "a/b", 150), 48);
        assert_eq!(skipped(&mut filters, "a/b", 151), 0);
    }

    #[test]
    fn overlapping_filters_have_a_place_each() {
        let mut filters = watched(&[("a/#", Some(5)), ("#", Some(90)), ("b", Some(7))]);
        assert_eq!(skipped(&mut filters, "a/x", 90), 0);
        assert_eq!(skipped(&mut filters, "a/x", 5), 0);
        assert_eq!(skipped(&mut filters, "a/x", 9), 3);
        assert_eq!(
            filters.iter().map(|w| w.next).collect::<Vec<_>>(),
            [Some(10), Some(91), Some(7)]
        );
        assert_eq!(skipped(&mut filters, "nothing/matches", 1_000), 909);
        assert_eq!(skipped(&mut filters, "b", 7), 0);
    }

    #[test]
    fn a_copy_of_a_filter_that_was_left_says_nothing() {
        assert_eq!(skipped(&mut watched(&[("a", Some(1))]), "b", 50), 0);
    }
}
