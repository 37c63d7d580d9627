//! Text from strangers, made fit for a log line.

/// One line without control characters, cut to 200 characters (CoreScope #1540).
pub(super) fn line(text: &str) -> String {
    let shown = |c: char| if is_treacherous(c) { '?' } else { c };
    cut(text, LONGEST_LINE).map(shown).collect()
}

const LONGEST_LINE: usize = 200;

/// Where a message comes from: its origin's name and its topic.
pub(super) fn whence(origin: &str, of_topic: &str) -> String {
    format!("from {} on {}", line(origin), topic(of_topic))
}

/// A topic with its long segments cut, so that keys are recognised and not published; what stands in
/// MeshRank's place for the token is not shown at all.
fn topic(topic: &str) -> String {
    let hidden = topic.starts_with("meshrank/");
    let segments = topic.split('/').take(MOST_SEGMENTS).enumerate();
    let shown: Vec<String> = segments
        .map(|(at, segment)| match at {
            2 if hidden => "…".to_owned(),
            _ => cut(segment, LONGEST_SEGMENT).collect(),
        })
        .collect();
    line(&shown.join("/"))
}

const MOST_SEGMENTS: usize = 6;
const LONGEST_SEGMENT: usize = 8;

/// The first `most` characters, and an ellipsis where there are more.
fn cut(text: &str, most: usize) -> impl Iterator<Item = char> {
    let more = text.chars().nth(most).is_some();
    text.chars().take(most).chain(more.then_some('…'))
}

/// What ends a line, moves the cursor, or turns the direction of writing.
fn is_treacherous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_no_control_characters_and_an_end() {
        assert_eq!(line("a\nb\r\x1B[31m\0\u{85}\u{202E}ü☀"), "a?b??[31m???ü☀");
        assert_eq!(line(&"x".repeat(200)), "x".repeat(200));
        assert_eq!(line(&"ü".repeat(1_000)), format!("{}…", "ü".repeat(200)));
    }

    #[test]
    fn a_topic_shows_the_start_of_its_keys_and_no_token() {
        let key = "7E7662676F7F0850A8A355BAAFBFC1EB7B4174C340442D7D7161C9474A2C9400";
        assert_eq!(topic(&format!("meshcore/SJC/{key}/packets")), "meshcore/SJC/7E766267…/packets");
        assert_eq!(
            topic(&format!("meshrank/uplink/s3cret/{key}/x")),
            "meshrank/uplink/…/7E766267…/x"
        );
        assert_eq!(topic("a/\n\x1B/b"), "a/??/b");
        assert!(topic(&"/x".repeat(10_000)).len() < 20);
    }
}
