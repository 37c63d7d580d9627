//! What leaves the tables, and when.

use super::*;

/// Ids of the observers that are marked inactive.
fn inactive(bed: &Bed) -> String {
    bed.one("SELECT COALESCE(group_concat(id), '') FROM observers WHERE inactive = 1")
}

#[test]
fn blacklisted_observers_are_marked_inactive_at_the_start_whatever_their_case() {
    let mut bed = Bed::new();
    bed.store([packet(1, "Roof", 0), packet(2, "ROOFTOP", 1)]);
    bed.finish();
    let mut options = options(&bed.path);
    options.observer_blacklist = vec![" rOOf ".into(), "unheard of".into()];
    let again = Bed::with_options(options, START_MS);
    assert_eq!(inactive(&again), "Roof");
    assert_eq!(again.count("observations"), 2);
}
