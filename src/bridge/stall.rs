//! Tells a connection that has gone quiet from one on which nothing ever comes. Pure: the time is
//! passed in.
//!
//! A connection can be up and dead: half-open, or subscribed where nothing is published. CoreScope
//! had outages of hours that nobody saw (its issues #1212, #1335, #1749). A connection that brought
//! messages and brings none any more is made anew; one that never did is only spoken of, since a new
//! one would not help against a wrong topic or a missing permission.

use std::time::Duration;
use tokio::time::Instant;

/// The watch over one source's silence, across its connections.
#[derive(Debug)]
pub(super) struct Stall {
    /// So much silence is a stall; `None`: none is.
    after: Option<Duration>,
    /// Since when this connection is silent; `None` while there is none.
    since: Option<Instant>,
    /// How long earlier ones were, since something came: a connection that is made anew in short
    /// intervals is no end of a silence.
    before: Duration,
    /// Whether anything ever came.
    ever: bool,
    /// Silences in a row: each is waited for twice as long as the one before.
    times: u32,
}

/// What to do about a silence, and how long it has been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// Messages came and come no more: the connection is made anew.
    Stalled(Duration),
    /// Nothing ever came: a person should look.
    NeverReceived(Duration),
}

/// The longest wait between two words about the same silence.
const LONGEST: Duration = Duration::from_secs(3_600);

impl Stall {
    /// A watch that speaks after so much silence.
    pub(super) fn new(after: Option<Duration>) -> Self {
        Self { after, since: None, before: Duration::ZERO, ever: false, times: 0 }
    }

    /// A connection begins to receive.
    pub(super) fn receiving(&mut self, now: Instant) {
        self.since = Some(now);
    }

    /// A message came that is news. One that the broker had kept says nothing about what it gets now.
    pub(super) fn heard(&mut self, now: Instant) {
        self.since = Some(now);
        self.before = Duration::ZERO;
        self.ever = true;
        self.times = 0;
    }

    /// The connection is over.
    pub(super) fn hung_up(&mut self, now: Instant) {
        if let Some(since) = self.since.take() {
            self.before += now - since;
        }
    }

    /// When to look next.
    pub(super) fn due(&self) -> Option<Instant> {
        let doubled = self.after?.saturating_mul(2_u32.saturating_pow(self.times));
        let wait = doubled.min(LONGEST.max(self.after?));
        Some(self.since? + wait.saturating_sub(self.before))
    }

    /// What to do, once it is due.
    pub(super) fn judge(&mut self, now: Instant) -> Option<Silence> {
        if self.due()? > now {
            return None;
        }
        let silent = self.before + (now - self.since?);
        self.times = self.times.saturating_add(1);
        if self.ever {
            // The next connection has its own time.
            (self.since, self.before) = (None, Duration::ZERO);
            return Some(Silence::Stalled(silent));
        }
        if self.due()? <= now {
            // As long as it can get: begin again, so that the next word comes after the same time.
            (self.since, self.before) = (Some(now), Duration::ZERO);
        }
        Some(Silence::NeverReceived(silent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn watch() -> (Stall, Instant) {
        let (mut stall, now) = (Stall::new(Some(5 * MINUTE)), Instant::now());
        stall.receiving(now);
        (stall, now)
    }

    #[test]
    fn a_connection_that_brought_messages_and_brings_none_is_made_anew() {
        let (mut stall, start) = watch();
        stall.heard(start + MINUTE);
        assert_eq!(stall.judge(start + 5 * MINUTE), None);
        assert_eq!(stall.due(), Some(start + 6 * MINUTE));
        assert_eq!(stall.judge(start + 6 * MINUTE), Some(Silence::Stalled(5 * MINUTE)));
    }

    #[test]
    fn a_quiet_mesh_is_dialled_less_and_less_often_and_at_least_hourly() {
        let (mut stall, mut now) = watch();
        stall.heard(now);
        let mut waits = Vec::new();
        for _ in 0..6 {
            let due = stall.due().unwrap();
            waits.push((due - now).as_secs() / 60);
            assert!(matches!(stall.judge(due), Some(Silence::Stalled(_))));
            stall.hung_up(due);
            assert_eq!(stall.due(), None, "there is nothing to watch between connections");
            now = due;
            stall.receiving(now);
        }
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
        stall.heard(now);
        assert_eq!(stall.due(), Some(now + 5 * MINUTE), "a message begins anew");
    }

    #[test]
    fn where_nothing_ever_came_it_is_only_spoken_of_and_at_least_hourly() {
        let (mut stall, start) = watch();
        let mut said = Vec::new();
        for _ in 0..6 {
            let due = stall.due().unwrap();
            assert!(matches!(stall.judge(due), Some(Silence::NeverReceived(_))));
            said.push((due - start).as_secs() / 60);
        }
        assert_eq!(said, [5, 10, 20, 40, 60, 120]);
    }

    #[test]
    fn connections_that_do_not_last_add_up_to_a_silence_and_the_time_between_them_does_not_count() {
        for ever in [true, false] {
            let (mut stall, start) = watch();
            if ever {
                stall.heard(start);
            }
            stall.hung_up(start + 2 * MINUTE);
            stall.receiving(start + 60 * MINUTE);
            stall.hung_up(start + 62 * MINUTE);
            stall.receiving(start + 90 * MINUTE);
            assert_eq!(stall.due(), Some(start + 91 * MINUTE));
            let silence = stall.judge(start + 91 * MINUTE);
            let expected = if ever { Silence::Stalled } else { Silence::NeverReceived };
            assert_eq!(silence, Some(expected(5 * MINUTE)));
        }
    }

    #[test]
    fn a_watch_that_is_off_never_speaks() {
        let (mut stall, now) = (Stall::new(None), Instant::now());
        stall.receiving(now);
        assert_eq!((stall.due(), stall.judge(now + 1_000 * MINUTE)), (None, None));
    }

    #[test]
    fn a_threshold_longer_than_an_hour_is_kept() {
        let (mut stall, now) = (Stall::new(Some(600 * MINUTE)), Instant::now());
        stall.receiving(now);
        assert_eq!(stall.due(), Some(now + 600 * MINUTE));
    }
}
