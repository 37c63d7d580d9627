//! Follows `accounts.toml` while the hub runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Register, Remembered};
use crate::config::AccountsFile;
use crate::config::accounts::Stamp;

/// How often the file is looked at: one system call.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks at the file again and again until the broker goes quiet, and takes up what was kept of
/// claims if that could be read only later.
pub(in crate::broker) async fn follow(
    register: Arc<Register>,
    recalled: impl Fn() -> Option<Remembered>,
    quiet: CancellationToken,
) {
    let mut seen = register.file().stamp;
    loop {
        tokio::select! {
            () = quiet.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if let Some(remembered) = recalled() {
            register.recall(remembered);
        }
        let path = register.file().path.clone();
        let now = AccountsFile::stamp_now(&path);
        if now != seen {
            seen = now;
            register.read_again(path, now).await;
        }
    }
}

impl Register {
    /// Takes what is in the file now. While it cannot be read or understood, or is not there, the
    /// accounts stay as they were: an editor's slip must not open the door, or close it for all.
    async fn read_again(&self, path: PathBuf, stamp: Option<Stamp>) {
        let before = self.file().accounts.iter().len();
        let shown = path.display().to_string();
        if stamp.is_none() {
            self.keep(before, &format!("{shown} is gone"));
            return;
        }
        let loaded = tokio::task::spawn_blocking(move || AccountsFile::load(&path)).await;
        let file = match loaded {
            Ok(Ok(file)) => file,
            Ok(Err(error)) => return self.keep(before, &error.to_string()),
            Err(defect) => return self.keep(before, &defect.to_string()),
        };
        if let Some(note) = &file.note {
            tracing::warn!("{note}");
        }
        let now = file.accounts.iter().len();
        let ended = self.replace(file);
        self.counters.broker_accounts_reloads.increment();
        tracing::info!("{shown} has changed: {now} accounts; {}", changed(&ended));
    }

    fn keep(&self, accounts: usize, why: &str) {
        let _ = self.counters.reasons.note("accounts_file_broken", self.clock.now_ms());
        tracing::error!(
            "{why}: the {accounts} accounts that were there before stay until it is mended"
        );
    }
}

fn changed(names: &[Arc<str>]) -> String {
    match names {
        [] => "no connection is ended".to_owned(),
        names => format!("connections of {} are ended", names.join(", ")),
    }
}
