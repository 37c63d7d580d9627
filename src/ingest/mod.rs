//! The loop from message to record: counts every outcome by name, never stops for a message.
//!
//! | what becomes of a message | its receipt | log |
//! |---|---|---|
//! | a record | ends with the record, after the commit | – |
//! | nothing to store (noise) | stored: acknowledge | – |
//! | bad input | refused: acknowledge | a warning, at most once a minute a reason |
//! | a panic, the first time | failed: it is sent again | an error, at most once a minute |
//! | a panic before | refused: acknowledge | a warning, at most once a minute |
//! | the writer has ended | failed: it is sent again | an error, at most once a minute |

mod panicked;
mod show;
mod tap;

use crate::clock::Trust;
use crate::counters::Counters;
use crate::message::{Feed, Message, Outcome, Outlet};
use crate::record::{Recorder, Unrecorded};
use crate::store::Sink;
use panicked::Panicked;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio_util::sync::CancellationToken;
use tracing::Level;

/// Starts the pipeline on a thread of its own. It ends, and drops its sink, when every inlet is gone
/// and the queue is empty.
///
/// Full: while the writer does not keep up, [`Sink::put`] waits, the queue fills, and the doors stop
/// reading; nothing is dropped.
///
/// `feed` gets a copy of what is taken; when it is full the copy is lost, and counted.
///
/// However it ends, `ended` is cancelled.
///
/// # Errors
/// When the system has no thread to give.
pub fn start(
    outlet: Outlet,
    mut recorder: Recorder,
    sink: Sink,
    feed: Option<Feed>,
    trust: Trust,
    counters: Arc<Counters>,
    ended: CancellationToken,
) -> std::io::Result<JoinHandle<()>> {
    let mut counted = 0;
    let mismatches = Arc::clone(&counters);
    let judge = trust.clone();
    let record = move |mut message: Message| {
        recorder.doubt_clock(judge.now_ms().is_err());
        message.received_at_ms = judge.arrival_ms(message.received_at_ms);
        let copy = feed.as_ref().and_then(|_| tap::copy(&message));
        let record = recorder.record(message);
        if let (Some(feed), Some(copy)) = (&feed, copy) {
            if tap::finished(copy, &record).is_some_and(|heard| !feed.give(heard)) {
                mismatches.reasons.note("uplink_feed_full", judge.said_ms());
            }
        }
        let so_far = recorder.origin_id_mismatches();
        mismatches.origin_id_mismatches.add(so_far.saturating_sub(counted));
        counted = so_far;
        record
    };
    let put = move |record| sink.put(record);
    let ingest = Ingest { make: record, put, say, trust, counters, panicked: Panicked::default() };
    let ending = ended.drop_guard();
    std::thread::Builder::new().name("ingest".into()).spawn(move || {
        let _ending = ending;
        ingest.run(outlet);
    })
}

fn say(level: Level, line: &str) {
    match level {
        Level::ERROR => tracing::error!("{line}"),
        _ => tracing::warn!("{line}"),
    }
}

/// The loop, with what makes records of messages, what takes them, and the log as arguments.
struct Ingest<Make, Put, Say> {
    make: Make,
    put: Put,
    say: Say,
    trust: Trust,
    counters: Arc<Counters>,
    panicked: Panicked,
}

/// A message whose like panicked before.
const PANICKED_BEFORE: &str = "panicked_before";
/// A message on which the pipeline panicked.
const PANICKED: &str = "panicked";
/// A record that nobody takes any more.
const STORE_ENDED: &str = "store_ended";

impl<Make, Put, Say, Record> Ingest<Make, Put, Say>
where
    Make: FnMut(Message) -> Result<Record, Unrecorded>,
    Put: FnMut(Record) -> Result<(), Box<Record>>,
    Say: FnMut(Level, &str),
{
    fn run(mut self, mut outlet: Outlet) {
        while let Some(message) = outlet.recv() {
            self.take(message);
        }
    }

    fn take(&mut self, message: Message) {
        self.counters.ingest_messages.increment();
        if self.panicked.contains(&message.topic, &message.payload) {
            self.refuse(message, PANICKED_BEFORE, "the pipeline panicked on it before");
            return;
        }
        let (topic, payload) = (message.topic.clone(), message.payload.clone());
        let from = Arc::clone(&message.origin.name);
        // A panic unwinds through the message, whose dropped receipt says that it failed. What the
        // recorder remembers is a cache, whole or not: at worst it forgets.
        match catch_unwind(AssertUnwindSafe(|| (self.make)(message))) {
            Ok(Ok(record)) => self.store(record),
            Ok(Err(unrecorded)) => self.end(unrecorded),
            Err(_) => {
                self.counters.ingest_panics.increment();
                self.panicked.remember(&topic, &payload);
                self.note(Level::ERROR, PANICKED, || {
                    format!(
                        "a message {} made the pipeline panic; sent again, it is refused",
                        show::whence(&from, &topic)
                    )
                });
            }
        }
    }

    fn store(&mut self, record: Record) {
        match (self.put)(record) {
            Ok(()) => self.counters.ingest_records.increment(),
            // Dropping the record fails its receipt: it is sent again when there is a writer again.
            Err(record) => {
                drop(record);
                self.note(Level::ERROR, STORE_ENDED, || {
                    "the writer has ended: nothing is stored any more".to_owned()
                });
            }
        }
    }

    /// Ends a message that is no record.
    fn end(&mut self, unrecorded: Unrecorded) {
        let Unrecorded { message, reason, detail, noise } = unrecorded;
        if noise {
            self.counters.reasons.note(reason, self.trust.said_ms());
            message.receipt.complete(Outcome::Stored);
        } else {
            self.refuse(*message, reason, &detail);
        }
    }

    fn refuse(&mut self, message: Message, reason: &'static str, detail: &str) {
        self.note(Level::WARN, reason, || {
            let whence = show::whence(&message.origin.name, &message.topic);
            format!("refused a message {whence}: {}", show::line(detail))
        });
        message.receipt.complete(Outcome::Refused);
    }

    /// Counts a reason, and says so if the log has not spoken of it for a minute.
    fn note(&mut self, level: Level, reason: &'static str, what: impl FnOnce() -> String) {
        if let Some(times) = self.counters.reasons.note(reason, self.trust.said_ms()) {
            let line = format!("{} ({reason}, {times} since the last such line)", what());
            (self.say)(level, &line);
        }
    }
}

#[cfg(test)]
mod tests;
