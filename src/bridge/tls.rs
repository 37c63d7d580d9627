//! Our side of TLS toward other brokers: whom to believe, and who we are.
//!
//! Made anew for each dial, so that a renewed certificate counts without a restart. Blocking: it reads
//! files.

use crate::config::ClientTls;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why there is no TLS; each says what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    /// A PEM file cannot be read, or holds something else.
    #[error("{}: {reason}; give a PEM file with {wanted}", .path.display())]
    File { path: PathBuf, wanted: &'static str, reason: String },
    /// The system has no certificates, and none are named.
    #[error(
        "this system has no certificates to believe ({0}); install ca-certificates, or name caFile"
    )]
    NoRoots(String),
    /// Certificate and key do not belong together, or are of a kind that is not known.
    #[error("clientCertificate and clientKey cannot be used: {0}")]
    Identity(rustls::Error),
    /// The TLS library does not work at all.
    #[error("TLS is not available: {0}")]
    Library(rustls::Error),
}

/// What a connection is made with.
///
/// # Errors
/// [`TlsError`]: a file that cannot be used.
pub(super) fn client(wanted: &ClientTls) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Library)?;
    let builder = if wanted.verify {
        builder.with_root_certificates(roots(wanted.ca_file.as_deref())?)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    };
    let config = match &wanted.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|e| unusable(key, "an unencrypted private key", &e))?;
            builder.with_client_auth_cert(chain, key).map_err(TlsError::Identity)?
        }
    };
    Ok(Arc::new(config))
}

/// The system's certificates, and those of the file.
fn roots(file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = file {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| TlsError::File {
                path: path.to_owned(),
                wanted: "certificates",
                reason: error.to_string(),
            })?;
        }
    }
    if roots.is_empty() {
        let reason = system.errors.first().map_or("none was found".to_owned(), ToString::to_string);
        return Err(TlsError::NoRoots(reason));
    }
    Ok(roots)
}

/// All certificates of a PEM file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wanted = "certificates";
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| unusable(path, wanted, &error))?;
    if found.is_empty() {
        return Err(unusable(path, wanted, &pem::Error::NoItemsFound));
    }
    Ok(found)
}

fn unusable(path: &Path, wanted: &'static str, error: &pem::Error) -> TlsError {
    let reason = match error {
        pem::Error::NoItemsFound => "there is none in it".to_owned(),
        pem::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    };
    TlsError::File { path: path.to_owned(), wanted, reason }
}

/// Takes any certificate, and still wants its holder to have the key: `rejectUnauthorized = false`.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_certificate_is_named_with_what_it_should_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        std::fs::write(&path, "hello").unwrap();
        let wanted = ClientTls { ca_file: Some(path.clone()), ..ClientTls::default() };
        let said = client(&wanted).unwrap_err().to_string();
        assert!(said.ends_with("there is none in it; give a PEM file with certificates"), "{said}");
        assert!(said.starts_with(&path.display().to_string()), "{said}");
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n")
            .unwrap();
        assert!(client(&wanted).is_err());
        let missing = ClientTls { ca_file: Some(dir.path().join("x")), ..ClientTls::default() };
        assert!(client(&missing).unwrap_err().to_string().contains("No such file"));
    }

    #[test]
    fn without_verification_no_root_is_needed() {
        client(&ClientTls { verify: false, ..ClientTls::default() }).unwrap();
    }
}
