//! Which message makes a broker hang up. Pure.

/// Messages under way at once.
pub(super) const WINDOW: usize = 20;

/// A message that was alone under way so often when the broker hung up is set aside.
pub(super) const STRIKES: u32 = 3;

/// After so many that were set aside with nothing acknowledged between them it is not the messages.
const INNOCENT: u32 = 10;

/// What was learnt from connections that broke.
#[derive(Debug, Default)]
pub(super) struct Suspect {
    /// So many messages go one by one.
    careful: usize,
    /// The message that was alone under way at the last hang-up, and how often.
    last: (u64, u32),
    in_a_row: u32,
}

impl Suspect {
    /// How many messages may be under way.
    pub(super) fn window(&self) -> usize {
        if self.careful > 0 { 1 } else { WINDOW }
    }

    /// A message was acknowledged.
    pub(super) fn acknowledged(&mut self) {
        self.careful = self.careful.saturating_sub(1);
        self.in_a_row = 0;
    }

    /// The connection broke with so many under way. Given the only one that was, where the broker hung
    /// up on it: whether it is to be set aside.
    pub(super) fn broke(&mut self, in_flight: usize, alone: Option<u64>) -> Option<u64> {
        self.careful = self.careful.max(in_flight);
        let number = alone?;
        let strikes = if self.last.0 == number { self.last.1.saturating_add(1) } else { 1 };
        self.last = (number, strikes);
        if strikes < STRIKES || self.is_innocent() {
            return None;
        }
        self.careful = self.careful.saturating_sub(1);
        self.in_a_row += 1;
        Some(number)
    }

    /// The broker hangs up whatever it is sent.
    pub(super) fn is_innocent(&self) -> bool {
        self.in_a_row >= INNOCENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_break_messages_go_one_by_one_until_those_under_way_are_through() {
        let mut suspect = Suspect::default();
        assert_eq!((suspect.window(), suspect.broke(3, None)), (WINDOW, None));
        for _ in 0..3 {
            assert_eq!(suspect.window(), 1);
            suspect.acknowledged();
        }
        assert_eq!(suspect.window(), WINDOW);
    }

    #[test]
    fn a_message_is_set_aside_at_the_third_time_in_a_row() {
        let mut suspect = Suspect::default();
        let broke: Vec<_> = [7, 7, 8, 7, 7, 7].map(|n| suspect.broke(1, Some(n))).into();
        assert_eq!(broke, [None, None, None, None, None, Some(7)]);
    }

    #[test]
    fn a_broker_that_hangs_up_on_everything_does_not_empty_the_spool() {
        let mut suspect = Suspect::default();
        let mut set_aside = 0;
        for number in 1..=100 {
            for _ in 0..3 {
                set_aside += usize::from(suspect.broke(1, Some(number)).is_some());
            }
        }
        assert_eq!((set_aside, suspect.is_innocent()), (10, true));
        suspect.acknowledged();
        assert!(!suspect.is_innocent());
    }
}
