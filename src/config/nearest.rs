//! The known name that somebody probably meant.

/// The nearest of the known names, if one is near enough to be worth saying: letter case never
/// counts, and up to a third of the letters may be wrong, missing, too many or swapped.
pub(super) fn nearest<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let wrong = wrong.to_ascii_lowercase();
    let limit = (wrong.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (distance(&wrong, &name.to_ascii_lowercase()), name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// How many letters must be changed, added, left out or swapped with their neighbour; a name that
/// holds the other one whole (`sources`, `mqttSources`) is one step away.
fn distance(a: &str, b: &str) -> usize {
    if a != b && a.len() >= 5 && b.contains(a) {
        return 1;
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let changed = last[j] + usize::from(x != y);
            let mut best = changed.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_known_name_is_found_and_a_far_one_is_not_offered() {
        let known = ["dbPath", "mqttSources", "hashChannels", "hashRegions", "web", "listeners"];
        let cases = [
            ("dbpath", Some("dbPath")),
            ("db_path", Some("dbPath")),
            ("mqttSource", Some("mqttSources")),
            ("sources", Some("mqttSources")),
            ("hashChanels", Some("hashChannels")),
            ("hashRegoins", Some("hashRegions")),
            ("listener", Some("listeners")),
            ("wbe", Some("web")),
            ("port", None),
            ("colour", None),
            ("", None),
        ];
        for (wrong, right) in cases {
            assert_eq!(nearest(wrong, known), right, "{wrong}");
        }
    }

    #[test]
    fn distances_are_counted_in_letters_and_swaps() {
        for (a, b, steps) in
            [("", "abc", 3), ("abc", "abc", 0), ("abc", "acb", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!((distance(a, b), distance(b, a)), (steps, steps), "{a} {b}");
        }
    }
}
