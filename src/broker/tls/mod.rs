//! TLS of our own listeners: rustls with ring, versions 1.2 and 1.3.
//!
//! [`certificate`] reads the two files, [`renewal`] shows what they hold now, [`validity`] knows
//! until when it is good.

mod certificate;
mod renewal;
mod validity;

pub use certificate::{Certificate, CertificateError};

use std::io;
use std::sync::Arc;

use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::version::{TLS12, TLS13};
use rustls::{self, AlertDescription, ServerConfig};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::arrival::Stream;
pub(super) use renewal::{Shown, keep_fresh};

/// How much a connection may hold that the client has not taken yet, in bytes: one record. The door
/// bounds what it has beside that.
const HELD: usize = 16 * 1024;

/// What a listener needs to speak TLS.
pub(super) struct Tls(TlsAcceptor);

impl Tls {
    /// Speaks with the certificate that is shown at the time. A client that names protocols (ALPN)
    /// must name one of these; most gateways name none.
    ///
    /// # Errors
    /// The provider does not work here.
    pub(super) fn new(shown: Arc<Shown>, protocols: &[&str]) -> Result<Self, rustls::Error> {
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_protocol_versions(&[&TLS13, &TLS12])?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(shown);
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        // What a client needs to come back faster is kept by the client; only those that do not
        // know tickets fill the store, which has room for 256.
        config.ticketer = Ticketer::new()?;
        config.send_tls13_tickets = 1;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// The handshake.
    ///
    /// # Errors
    /// The name of the reason.
    pub(super) async fn accept<S: Stream>(&self, stream: S) -> Result<TlsStream<S>, &'static str> {
        let accepting = self.0.accept_with(stream, |session| session.set_buffer_limit(Some(HELD)));
        accepting.await.map_err(|error| reason(&error))
    }
}

/// Names what went wrong in a handshake.
fn reason(error: &io::Error) -> &'static str {
    use AlertDescription as Alert;
    use rustls::Error as Tls;
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(Tls::InvalidMessage(_)) => "plain_on_tls_listener",
        Some(Tls::AlertReceived(
            Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::UnsupportedCertificate,
        )) => "tls_certificate_refused_by_client",
        Some(Tls::PeerIncompatible(_)) => "tls_version_or_cipher_unknown",
        Some(Tls::NoApplicationProtocol) => "tls_protocol_name_unknown",
        Some(_) => "tls_handshake_failed",
        None => super::door::GONE,
    }
}
