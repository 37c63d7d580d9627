//! When a connection has been silent, or deaf, for too long. Pure: the time is passed in.

use std::time::Duration;

use tokio::time::Instant;

/// The two deadlines of a connection.
///
/// The keepalive is judged on received packets alone, and its clock stands still while we ourselves
/// do not read: a client must not be thrown out because our queue is full.
#[derive(Debug)]
pub(super) struct Deadlines {
    patience: Option<Duration>,
    heard: Instant,
    not_reading_since: Option<Instant>,
    unwritten_since: Option<Instant>,
}

/// What has run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// Nothing was received for one and a half keepalives (MQTT-3.1.2-24).
    KeepAlive,
    /// The client has not read anything for [`WRITE_PATIENCE`].
    Write,
}

/// A client that reads nothing for so long is gone, or wants to be.
pub(super) const WRITE_PATIENCE: Duration = Duration::from_secs(30);

impl Deadlines {
    /// For a client that promised a packet in every `keep_alive` seconds; 0 promises nothing.
    pub(super) fn new(keep_alive: u16, now: Instant) -> Self {
        let patience = Duration::from_millis(u64::from(keep_alive) * 1500);
        Self {
            patience: (keep_alive > 0).then_some(patience),
            heard: now,
            not_reading_since: None,
            unwritten_since: None,
        }
    }

    /// A packet was received.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Whether the connection is being read now.
    pub(super) fn reading(&mut self, reading: bool, now: Instant) {
        if !reading {
            self.not_reading_since.get_or_insert(now);
        } else if let Some(since) = self.not_reading_since.take() {
            // What was heard while not reading counts in full from then on.
            self.heard += now - since.max(self.heard);
        }
    }

    /// Whether something waits to be written.
    pub(super) fn writing(&mut self, waiting: bool, now: Instant) {
        if waiting {
            self.unwritten_since.get_or_insert(now);
        } else {
            self.unwritten_since = None;
        }
    }

    /// Something was written.
    pub(super) fn wrote(&mut self) {
        self.unwritten_since = None;
    }

    /// What has run out by now.
    pub(super) fn late(&self, now: Instant) -> Option<Late> {
        if self.keep_alive_at().is_some_and(|at| now >= at) {
            return Some(Late::KeepAlive);
        }
        self.write_at().is_some_and(|at| now >= at).then_some(Late::Write)
    }

    /// When to look again.
    pub(super) fn next(&self) -> Option<Instant> {
        [self.keep_alive_at(), self.write_at()].into_iter().flatten().min()
    }

    fn keep_alive_at(&self) -> Option<Instant> {
        let running = self.not_reading_since.is_none();
        self.patience.filter(|_| running).map(|patience| self.heard + patience)
    }

    fn write_at(&self) -> Option<Instant> {
        self.unwritten_since.map(|since| since + WRITE_PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: f64) -> Duration {
        Duration::from_secs_f64(n)
    }

    #[test]
    fn silence_is_late_after_one_and_a_half_keepalives() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new(10, start);
        assert_eq!(deadlines.late(start + seconds(14.9)), None);
        assert_eq!(deadlines.late(start + seconds(15.0)), Some(Late::KeepAlive));
        deadlines.heard(start + seconds(14.0));
        assert_eq!(deadlines.late(start + seconds(28.9)), None);
        assert_eq!(deadlines.next(), Some(start + seconds(29.0)));
    }

    #[test]
    fn keepalive_zero_never_runs_out() {
        let start = Instant::now();
        let deadlines = Deadlines::new(0, start);
        assert_eq!(deadlines.late(start + seconds(1e6)), None);
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn the_keepalive_stands_still_while_we_do_not_read() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new(10, start);
        deadlines.reading(false, start + seconds(10.0));
        assert_eq!(deadlines.late(start + seconds(1000.0)), None);
        deadlines.reading(true, start + seconds(1000.0));
        assert_eq!(deadlines.late(start + seconds(1004.9)), None);
        assert_eq!(deadlines.late(start + seconds(1005.0)), Some(Late::KeepAlive));
    }

    #[test]
    fn a_packet_taken_from_the_buffer_while_not_reading_counts() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new(10, start);
        deadlines.reading(false, start + seconds(10.0));
        deadlines.heard(start + seconds(50.0));
        deadlines.reading(true, start + seconds(60.0));
        assert_eq!(deadlines.next(), Some(start + seconds(75.0)));
    }

    #[test]
    fn a_client_that_reads_nothing_is_late_and_one_that_reads_a_little_is_not() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new(0, start);
        deadlines.writing(true, start);
        deadlines.writing(true, start + seconds(20.0));
        assert_eq!(deadlines.late(start + seconds(29.9)), None);
        assert_eq!(deadlines.late(start + seconds(30.0)), Some(Late::Write));
        deadlines.wrote();
        deadlines.writing(true, start + seconds(30.0));
        assert_eq!(deadlines.late(start + seconds(59.0)), None);
        deadlines.writing(false, start + seconds(59.0));
        assert_eq!(deadlines.next(), None);
    }
}
