//! What the integration tests share: waiting for conditions, finding data and programs.
#![allow(dead_code, reason = "each test uses what it needs")]

pub(crate) mod certificates;
pub(crate) mod database;
pub(crate) mod load;
pub(crate) mod other;
pub(crate) mod packets;
pub(crate) mod process;
pub(crate) mod proxy;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a condition may take before the test gives up. Generous: machines are busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Polls until `probe` gives something, and returns it; panics with `what` after [`PATIENCE`].
pub(crate) fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "gave up waiting: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// The same in a task.
pub(crate) async fn eventually_async<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "gave up waiting: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A file of the reference data beside the checkout (`../shared/data`); says aloud when it is not
/// there, and the caller skips its test.
pub(crate) fn reference(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: {} is not there", path.display());
    None
}

/// A program that a test needs (`mosquitto`, `mosquitto_pub`); says aloud when it is not installed.
/// With `CI` set, a missing program is a failure: there it must be installed.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let dirs = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/opt/homebrew/sbin"];
    let found = dirs.iter().map(|d| PathBuf::from(d).join(name)).find(|p| p.exists());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{name} is not installed");
        eprintln!("SKIPPED: {name} is not installed");
    }
    found
}
