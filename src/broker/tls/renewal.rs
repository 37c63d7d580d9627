//! The certificate that is shown now: read again when its files change.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;

use super::certificate::{Certificate, CertificateError};
use crate::clock::Clock;
use crate::config::CertificateFiles;

/// How often the files are looked at. Renewing is a matter of days.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How often an end that is near is said in the log.
const REMIND_EVERY_MS: i64 = 24 * 60 * 60 * 1000;

/// What is shown to clients.
#[derive(Debug)]
pub(in crate::broker) struct Shown {
    files: CertificateFiles,
    now: Mutex<(Stamp, Certificate)>,
}

/// By what a change of the two files is seen. Symbolic links are followed: certbot changes those.
type Stamp = [Option<FileStamp>; 2];

/// Device, inode, size, time of the last change in seconds and nanoseconds.
type FileStamp = (u64, u64, u64, i64, i64);

impl Shown {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub(in crate::broker) fn load(files: CertificateFiles) -> Result<Self, CertificateError> {
        // Before the files: what changes while they are read is seen the next time.
        let stamp = stamp(&files);
        let certificate = Certificate::load(&files)?;
        Ok(Self { now: Mutex::new((stamp, certificate)), files })
    }

    /// Reads the files again if they have changed. True: another certificate is shown from now on.
    ///
    /// # Errors
    /// They hold nothing that can be shown, and what was shown is shown further. It is said once for
    /// each change.
    pub(in crate::broker) fn look_again(&self) -> Result<bool, CertificateError> {
        let stamp = stamp(&self.files);
        if self.lock().0 == stamp {
            return Ok(false);
        }
        let loaded = Certificate::load(&self.files);
        let mut now = self.lock();
        now.0 = stamp;
        now.1 = loaded?;
        Ok(true)
    }

    /// What is shown now.
    pub(in crate::broker) fn certificate(&self) -> Certificate {
        self.lock().1.clone()
    }

    fn lock(&self) -> MutexGuard<'_, (Stamp, Certificate)> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.lock().1.key))
    }
}

fn stamp(files: &CertificateFiles) -> Stamp {
    let of = |file: &Path| {
        let meta = std::fs::metadata(file).ok()?;
        Some((meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
    };
    [of(&files.certificate), of(&files.key)]
}

/// Looks at the files until the broker goes quiet, and says what its owner should know.
pub(in crate::broker) async fn keep_fresh(
    shown: Arc<Shown>,
    clock: Clock,
    quiet: CancellationToken,
) {
    let mut reminded_ms = None;
    loop {
        let (certificate, now_ms) = (shown.certificate(), clock.now_ms());
        let due = reminded_ms.is_none_or(|at: i64| (now_ms - at).abs() >= REMIND_EVERY_MS);
        if let Some(complaint) = certificate.complaint(now_ms).filter(|_| due) {
            tracing::warn!("{complaint}");
            reminded_ms = Some(now_ms);
        }
        tokio::select! {
            () = quiet.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let looking = Arc::clone(&shown);
        let Ok(looked) = tokio::task::spawn_blocking(move || looking.look_again()).await else {
            continue;
        };
        match looked {
            Ok(false) => {}
            Ok(true) => {
                reminded_ms = None;
                let until = shown.certificate().good_until().unwrap_or_else(|| "?".to_owned());
                tracing::info!(
                    "{}: was renewed, good until {until}",
                    shown.files.certificate.display()
                );
            }
            Err(error) => tracing::warn!("{error} (the certificate from before is still shown)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn write(dir: &Path, name: &str) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        fs::write(dir.join("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
    }

    /// `live/` points to one of `archive/…`, as certbot lays them out.
    fn point(live: &Path, to: &Path) {
        for name in ["cert.pem", "key.pem"] {
            let _ = fs::remove_file(live.join(name));
            std::os::unix::fs::symlink(to.join(name), live.join(name)).unwrap();
        }
    }

    #[test]
    fn a_renewed_pair_is_shown_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let [live, first, second] = ["live", "1", "2"].map(|name| dir.path().join(name));
        for folder in [&live, &first, &second] {
            fs::create_dir(folder).unwrap();
        }
        write(&first, "first");
        write(&second, "second");
        point(&live, &first);
        let files =
            CertificateFiles { certificate: live.join("cert.pem"), key: live.join("key.pem") };
        let shown = Shown::load(files).unwrap();
        let before = shown.certificate().fingerprint();
        assert!(!shown.look_again().unwrap());

        point(&live, &second);
        assert!(shown.look_again().unwrap());
        let after = shown.certificate().fingerprint();
        assert_ne!(before, after);

        // Half a renewal: the certificate is there, its key is not yet.
        fs::copy(first.join("cert.pem"), second.join("cert.pem")).unwrap();
        assert!(shown.look_again().is_err());
        assert!(!shown.look_again().unwrap(), "it is said once");
        assert_eq!(shown.certificate().fingerprint(), after);
        fs::copy(first.join("key.pem"), second.join("key.pem")).unwrap();
        assert!(shown.look_again().unwrap());
        assert_eq!(shown.certificate().fingerprint(), before);

        fs::remove_file(live.join("cert.pem")).unwrap();
        assert!(shown.look_again().is_err());
        assert_eq!(shown.certificate().fingerprint(), before);
    }
}
