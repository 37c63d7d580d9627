//! A certificate with its key, read from two PEM files and judged.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};

use super::validity::not_after;
use crate::config::CertificateFiles;

/// A file larger than this is none of ours.
const LARGEST_FILE: u64 = 1 << 20;

/// Who renews automatically does it a month before; a fortnight before, it has not worked.
const SOON_MS: i64 = 14 * 24 * 60 * 60 * 1000;

/// A certificate that can be shown.
#[derive(Clone, Debug)]
pub struct Certificate {
    file: PathBuf,
    not_after: Option<Timestamp>,
    fingerprint: [u8; 32],
    pub(super) key: Arc<CertifiedKey>,
}

/// Why a certificate cannot be shown: one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file that the hub cannot read.
    #[error("{}: cannot be read: {cause}; {advice}", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        // Not a `source`: the message has it already.
        /// What the system says.
        cause: io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// A file without what it should hold.
    #[error("{}: has no {what} in PEM form; {advice}", file.display())]
    Missing {
        /// Which.
        file: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// A file that is damaged.
    #[error("{}: {what}; get it anew from where it came", file.display())]
    Damaged {
        /// Which.
        file: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Two files that do not belong together.
    #[error(
        "{}: is not the key of {}; name the two files of one pair", key.display(),
        certificate.display()
    )]
    NotAPair {
        /// The one.
        certificate: PathBuf,
        /// The other.
        key: PathBuf,
    },
}

impl Certificate {
    /// Reads and judges the pair.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn load(files: &CertificateFiles) -> Result<Self, CertificateError> {
        let chain = chain(&files.certificate)?;
        let first = chain.first().cloned().unwrap_or_else(|| CertificateDer::from(Vec::new()));
        let key = private_key(&files.key)?;
        let key = CertifiedKey::from_der(chain, key, &default_provider()).map_err(|e| match e {
            TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                let (certificate, key) = (files.certificate.clone(), files.key.clone());
                CertificateError::NotAPair { certificate, key }
            }
            TlsError::InvalidCertificate(_) => {
                damaged(&files.certificate, "is no certificate that can be used")
            }
            other => damaged(&files.key, &format!("is no key that can be used ({other})")),
        })?;
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, &first).as_ref());
        let (file, not_after) = (files.certificate.clone(), not_after(&first));
        Ok(Self { file, not_after, fingerprint, key: Arc::new(key) })
    }

    /// SHA-256 of the certificate, as `openssl x509 -fingerprint` prints it.
    pub fn fingerprint(&self) -> String {
        let pairs: Vec<_> = self.fingerprint.iter().map(|byte| format!("{byte:02X}")).collect();
        pairs.join(":")
    }

    /// Until when it is good, as a date; unknown if the certificate does not say it readably.
    pub fn good_until(&self) -> Option<String> {
        self.not_after.map(|end| end.strftime("%F").to_string())
    }

    /// What its owner should know at this time, in milliseconds since 1970, if anything.
    pub fn complaint(&self, now_ms: i64) -> Option<String> {
        let (end, file) = (self.not_after?, self.file.display());
        let left = end.as_millisecond() - now_ms;
        let date = end.strftime("%F");
        if left <= 0 {
            Some(format!(
                "{file}: has expired on {date}, and clients that check it stay away: renew it"
            ))
        } else if left < SOON_MS {
            Some(format!("{file}: expires on {date}, and has not been renewed yet"))
        } else {
            None
        }
    }
}

fn damaged(file: &Path, what: &str) -> CertificateError {
    CertificateError::Damaged { file: file.to_owned(), what: what.to_owned() }
}

fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let bytes = read(file)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.map_err(|e| damaged(file, &format!("is damaged ({e})")))?;
    if chain.is_empty() {
        let advice = "certificateFile is the one with BEGIN CERTIFICATE, certbot's fullchain.pem";
        return Err(CertificateError::Missing { file: file.into(), what: "certificate", advice });
    }
    Ok(chain)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let bytes = read(file)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            let is_locked = String::from_utf8_lossy(&bytes).contains("ENCRYPTED PRIVATE KEY");
            let advice = match is_locked {
                true => {
                    "it is locked with a password: take that away with `openssl pkey -in … -out …`"
                }
                false => "keyFile is the one with BEGIN PRIVATE KEY, certbot's privkey.pem",
            };
            CertificateError::Missing { file: file.into(), what: "private key", advice }
        }
        other => damaged(file, &format!("is damaged ({other})")),
    })
}

fn read(file: &Path) -> Result<Vec<u8>, CertificateError> {
    let read = File::open(file).and_then(|open| {
        let mut bytes = Vec::new();
        open.take(LARGEST_FILE).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    read.map_err(|cause| {
        let advice = match cause.kind() {
            io::ErrorKind::PermissionDenied => {
                "let the user that runs the hub read it, and pass through its folders"
            }
            _ => "name a file that is there, or make a pair with `meshbox tls self-signed`",
        };
        CertificateError::Unreadable { file: file.into(), cause, advice }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const DAY_MS: i64 = 24 * 60 * 60 * 1000;

    fn made(name: &str) -> (String, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2040, 6, 1);
        (params.self_signed(&key).unwrap().pem(), key)
    }

    fn load(dir: &Path, certificate: &str, key: &str) -> Result<Certificate, CertificateError> {
        let files =
            CertificateFiles { certificate: dir.join("cert.pem"), key: dir.join("key.pem") };
        fs::write(&files.certificate, certificate).unwrap();
        fs::write(&files.key, key).unwrap();
        Certificate::load(&files)
    }

    #[test]
    fn a_pair_is_loaded_and_its_end_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = made("pi.local");
        let loaded = load(dir.path(), &certificate, &key.serialize_pem()).unwrap();
        assert_eq!(loaded.good_until().as_deref(), Some("2040-06-01"));
        assert_eq!(loaded.fingerprint().len(), 32 * 3 - 1);
        let end = loaded.not_after.unwrap().as_millisecond();
        assert_eq!(loaded.complaint(end - 30 * DAY_MS), None);
        assert!(loaded.complaint(end - 13 * DAY_MS).unwrap().contains("expires on 2040-06-01"));
        assert!(loaded.complaint(end).unwrap().contains("has expired"));
    }

    #[test]
    fn both_may_lie_in_one_file_in_any_order_with_text_between() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = made("pi.local");
        let both = format!("My pair\n{}\nand\n{certificate}", key.serialize_pem());
        assert!(load(dir.path(), &both, &both).is_ok());
    }

    #[test]
    fn every_form_of_key_is_taken() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tls");
        for (certificate, key) in
            [("rsa.pem", "rsa-pkcs1.key"), ("rsa.pem", "rsa-pkcs8.key"), ("ec.pem", "ec-sec1.key")]
        {
            let files = CertificateFiles {
                certificate: fixtures.join(certificate),
                key: fixtures.join(key),
            };
            let loaded = Certificate::load(&files);
            assert!(loaded.is_ok(), "{key}: {:?}", loaded.err());
        }
    }

    #[test]
    fn what_is_wrong_is_one_line_that_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = made("pi.local");
        let (_, other) = made("pi.local");
        let key = key.serialize_pem();
        let locked = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
        let cut = &certificate[..certificate.len() / 2];
        let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let cases = [
            (certificate.as_str(), other.serialize_pem(), "key.pem: is not the key of"),
            (
                key.as_str(),
                key.clone(),
                "cert.pem: has no certificate in PEM form; certificateFile",
            ),
            ("", key.clone(), "cert.pem: has no certificate"),
            (cut, key.clone(), "cert.pem: is damaged"),
            (not_der, key.clone(), "cert.pem: is no certificate that can be used"),
            (&certificate, certificate.clone(), "key.pem: has no private key in PEM form; keyFile"),
            (&certificate, locked, "locked with a password"),
        ];
        for (certificate, key, words) in cases {
            let error = load(dir.path(), certificate, &key).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains('\n'), "{error}");
        }
        let absent = dir.path().join("absent.pem");
        let files = CertificateFiles { certificate: absent.clone(), key: absent };
        let error = Certificate::load(&files).unwrap_err().to_string();
        assert!(error.contains("cannot be read: No such file"), "{error}");
        assert!(error.contains("meshbox tls self-signed"), "{error}");
    }
}
