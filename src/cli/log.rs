//! Log lines on stderr, and what a panic looks like in them.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::FormatTime;

/// The environment variable that changes what is logged, in tracing's syntax (`debug`,
/// `meshbox::broker=trace`).
const VARIABLE: &str = "MESHBOX_LOG";

/// What is logged without it. The router speaks only of its own accidents, which we name ourselves.
const DEFAULT: &str = "info,rumqttd=off,rumqttc=off";

/// Starts logging. A second call in one process changes nothing.
pub fn start() {
    let filter = EnvFilter::builder()
        .parse(std::env::var(VARIABLE).unwrap_or_else(|_| DEFAULT.to_owned()))
        .unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // A log that nobody takes any more (a closed pipe, a full disk) is no reason to stop: the
        // complaint about it would go the same way, and panic.
        .log_internal_errors(false)
        .with_timer(Utc);
    // Under systemd the journal has the time already.
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        let _ = log.without_time().try_init();
    } else {
        let _ = log.try_init();
    }
}

/// Makes every panic one log line; the hub catches them where they happen and goes on.
pub fn panics_in_one_line() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, |l| format!(" at {l}"));
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("a thread");
        let payload = panic.payload();
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        tracing::error!("panic in {thread}{place}: {text}");
    }));
}

/// `2026-11-23T14:05:09Z`: the same clock and form as the database.
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, w: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        write!(w, "{:.0}", jiff::Timestamp::now())
    }
}
