//! Whether our own clock can be believed.
//!
//! A Raspberry Pi without a clock starts in the past, and a clock may jump. What would be wrong with a
//! wrong clock waits until it is trusted: letting go of what is old, judging observers' clocks, the
//! times in login tokens. What arrives is stored all the same.
//!
//! | what is known | the clock is trusted |
//! |---|---|
//! | it is before the release of this program | never |
//! | the system says that it is synchronised, since the last jump | at once |
//! | it is behind what was last stored, by a day at most | once it has caught up |
//! | it is within a day of what was last stored or believed | after ten minutes without a jump |
//! | it is ahead of what was last stored by up to thirty days, since the start: the hub was off | after ten minutes without a jump |
//! | it is farther away | after a day without a jump: time enough to set it right |

use super::{Clock, Mark};

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The day on which this source was released: no clock that is right says less. By hand and not by
/// the build, so that the same source makes the same program; a test ties it to the changelog.
pub const RELEASED: &str = "2026-11-01";

/// A clock that moved against the monotonic one by more than this has jumped; what a running clock is
/// slowed down or sped up by (500 ppm at most) stays far below it.
const JUMP: Duration = Duration::from_secs(3);

/// How long a clock must run without a jump to be believed, and how long if it is far away from what
/// was last stored.
const STEADY: Duration = Duration::from_secs(10 * 60);
const STEADY_FAR: Duration = Duration::from_secs(86_400);

const DAY_MS: i64 = 86_400_000;

/// A hub may have been off for so long; what a clock that is wrong by less would let go of, a right one
/// lets go of within the month.
const OFF_MS: i64 = 30 * DAY_MS;

/// Why the clock is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// It says a time at which this program did not exist.
    #[error("it is before {RELEASED}, when this program was released; set it")]
    BeforeRelease,
    /// It is behind what was stored before.
    #[error("it is {} s behind what was last stored", .behind.as_secs())]
    Behind {
        /// By so much.
        behind: Duration,
    },
    /// It may still jump.
    #[error("it must run for {} min more without a jump, or be synchronised", .left.as_secs().div_ceil(60))]
    Unsettled {
        /// For so long.
        left: Duration,
    },
    /// It is more than a day away from what was last stored or believed.
    #[error(
        "it is {} days {} what was last stored; set it, or it is believed in {} min",
        .days.abs(), if *.days < 0 { "behind" } else { "ahead of" }, .left.as_secs().div_ceil(60)
    )]
    Far {
        /// By so many; negative: behind.
        days: i64,
        /// For so long it must run without a jump.
        left: Duration,
    },
}

/// Judges one clock for everyone: clones share what is known of it.
#[derive(Clone, Debug)]
pub struct Trust {
    clock: Clock,
    /// `None`: it is believed whatever it says.
    judge: Option<Arc<Mutex<Judge>>>,
}

impl Trust {
    /// Begins to judge this clock.
    pub fn judge(clock: Clock) -> Self {
        let judge = Judge { released_ms: released_ms(), ..Judge::default() };
        let trust = Self { clock, judge: Some(Arc::new(Mutex::new(judge))) };
        // It runs from now on, whatever this says.
        let _ = trust.look();
        trust
    }

    /// Believes the clock, for what runs beside no hub.
    pub fn given(clock: Clock) -> Self {
        Self { clock, judge: None }
    }

    /// Something was stored at this time, in milliseconds since the Unix epoch, before we began.
    pub fn stored(&self, at_ms: i64) {
        self.with(|judge, clock| judge.stored(at_ms, clock.ran()));
    }

    /// The time, in milliseconds since the Unix epoch, if it can be believed.
    ///
    /// # Errors
    /// The doubt.
    pub fn now_ms(&self) -> Result<i64, Doubt> {
        let judged = self.with(|judge, clock| {
            let (wall_ms, ran, mark) = (clock.now_ms(), clock.ran(), judge.mark);
            judge.read(Reading { wall_ms, ran, mark }).map(|()| wall_ms)
        });
        judged.unwrap_or_else(|| Ok(self.clock.now_ms()))
    }

    /// When something arrived, by a clock that said `said_ms` then. A clock from before the release is
    /// surely wrong, and what it dates would be older than everything: the time goes on from what was
    /// last stored instead, or from the release.
    pub fn arrival_ms(&self, said_ms: i64) -> i64 {
        self.with(|judge, clock| judge.arrival_ms(said_ms, clock.ran())).unwrap_or(said_ms)
    }

    /// The clock that is judged.
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// The time, right or wrong, in milliseconds since the Unix epoch.
    pub fn said_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// The time, if it can be believed; asks the system whether the clock is synchronised. To be called about once a
    /// second, so that no jump is missed.
    ///
    /// # Errors
    /// The doubt.
    pub fn look(&self) -> Result<i64, Doubt> {
        self.with(|judge, clock| judge.mark = clock.synchronised());
        self.now_ms()
    }

    fn with<T>(&self, act: impl FnOnce(&mut Judge, &Clock) -> T) -> Option<T> {
        let judge = self.judge.as_ref()?;
        // Under the lock, so that readings come in their order. What it holds is whole at any time.
        let mut judge = judge.lock().unwrap_or_else(PoisonError::into_inner);
        Some(act(&mut judge, &self.clock))
    }
}

fn released_ms() -> i64 {
    let date = RELEASED.parse::<jiff::civil::Date>().ok();
    let at = date.and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC).ok());
    at.map_or(0, |at| at.timestamp().as_millisecond())
}

/// What the clocks say at one moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    wall_ms: i64,
    /// By the clock that never jumps.
    ran: Duration,
    /// The last synchronisation.
    mark: Option<Mark>,
}

/// The judgement; pure.
#[derive(Debug, Default)]
struct Judge {
    released_ms: i64,
    /// The newest time that is known to have been, and when that was known: of the file at first,
    /// then of the clock while it is trusted.
    newest: Option<(i64, Duration)>,
    last: Option<Reading>,
    steady_since: Duration,
    /// It has jumped since it was believed, or since the start.
    jumped: bool,
    /// The last synchronisation, and the last one before the last jump, which says nothing of the
    /// time after it.
    mark: Option<Mark>,
    stale: Option<Mark>,
}

impl Judge {
    fn stored(&mut self, at_ms: i64, ran: Duration) {
        if self.newest.is_none_or(|(newest_ms, _)| newest_ms < at_ms) {
            self.newest = Some((at_ms, ran));
        }
    }

    fn read(&mut self, now: Reading) -> Result<(), Doubt> {
        match self.last {
            Some(last) if jumped(last, now) => {
                self.jumped = true;
                self.steady_since = now.ran;
                self.stale = last.mark;
                // Nothing is in the file: at least there is a time before the jump.
                if self.newest.is_none() && last.wall_ms >= self.released_ms {
                    self.newest = Some((last.wall_ms, last.ran));
                }
            }
            Some(_) => {}
            None => self.steady_since = now.ran,
        }
        self.last = Some(now);
        let judged = self.judge(now);
        if judged.is_ok() {
            self.jumped = false;
            self.newest = Some((now.wall_ms, now.ran));
        }
        judged
    }

    fn arrival_ms(&self, said_ms: i64, ran: Duration) -> i64 {
        if said_ms >= self.released_ms {
            return said_ms;
        }
        let (newest_ms, at) = self.newest.unwrap_or_default();
        newest_ms.max(self.released_ms).saturating_add(millis(ran.saturating_sub(at)))
    }

    fn judge(&self, now: Reading) -> Result<(), Doubt> {
        if now.wall_ms < self.released_ms {
            return Err(Doubt::BeforeRelease);
        }
        if now.mark.is_some() && now.mark != self.stale {
            return Ok(());
        }
        let left =
            |steady: Duration| steady.saturating_sub(now.ran.saturating_sub(self.steady_since));
        let (newest_ms, at) = self.newest.unwrap_or((now.wall_ms, now.ran));
        let ahead_ms = now.wall_ms.saturating_sub(newest_ms);
        let margin_ms = if self.jumped { DAY_MS } else { OFF_MS };
        let too_far_ms = millis(now.ran.saturating_sub(at)).saturating_add(margin_ms);
        if ahead_ms < -DAY_MS || ahead_ms > too_far_ms {
            let (days, left) = (ahead_ms / DAY_MS, left(STEADY_FAR));
            return if left.is_zero() { Ok(()) } else { Err(Doubt::Far { days, left }) };
        }
        if ahead_ms < 0 {
            let behind = Duration::from_millis(ahead_ms.unsigned_abs());
            return Err(Doubt::Behind { behind });
        }
        let left = left(STEADY);
        if left.is_zero() { Ok(()) } else { Err(Doubt::Unsettled { left }) }
    }
}

/// Whether the one clock moved otherwise than the other.
fn jumped(last: Reading, now: Reading) -> bool {
    let moved = now.wall_ms.saturating_sub(last.wall_ms);
    let apart = moved.saturating_sub(millis(now.ran.saturating_sub(last.ran)));
    apart.unsigned_abs() > JUMP.as_millis().try_into().unwrap_or(u64::MAX)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
