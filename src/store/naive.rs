//! Observers whose clock is wrong, as one batch shows them.

use super::fault::Fault;
use super::stamp;
use super::statements::Statements;
use super::tally::Span;

use rusqlite::params;

/// Messages whose clock was wrong, as CoreScope counts them (#1478): the count goes on from one to the
/// next, and begins anew with one that comes more than a day after the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Naive {
    /// Of the last one.
    skew_seconds: i64,
    count: i64,
    span: Span,
    /// Whether the count began anew within the batch.
    anew: bool,
}

const DAY_MS: i64 = 86_400_000;

impl Naive {
    pub(super) fn of(skew_seconds: i64, at_ms: i64) -> Self {
        Self { skew_seconds, count: 1, span: Span::of(at_ms), anew: false }
    }

    pub(super) fn add(&mut self, skew_seconds: i64, at_ms: i64) {
        if at_ms.saturating_sub(self.span.last_ms) > DAY_MS {
            *self = Self { anew: true, ..Self::of(skew_seconds, at_ms) };
            return;
        }
        self.skew_seconds = skew_seconds;
        self.count += 1;
        self.span.stretch(at_ms);
    }

    /// Writes it to its observer's row.
    pub(super) fn write(
        &self,
        sql: &mut Statements<'_>,
        rowid: i64,
        latest: &str,
    ) -> Result<(), Fault> {
        let Self { skew_seconds, count, span, anew } = *self;
        let since = stamp::iso(span.first_ms.saturating_sub(DAY_MS));
        let last = stamp::iso(span.last_ms);
        sql.update_observer_clock.execute(params![
            rowid,
            skew_seconds,
            count,
            anew,
            since,
            last,
            latest
        ])?;
        Ok(())
    }
}
