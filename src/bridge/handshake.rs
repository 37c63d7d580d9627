//! What went wrong below MQTT, in words: TLS and WebSocket.

use rustls::{CertificateError, Error};

/// The TLS library's error somewhere inside another one.
pub(super) fn tls_error<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<Error>() {
            return Some(found);
        }
        // The source of an I/O error is the source of what it wraps, which is left out.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = wrapped.map(|e| e as &(dyn std::error::Error + 'static)).or_else(|| error.source());
    }
    None
}

/// What it means, and what to do.
pub(super) fn tls_words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(why) => certificate_words(why),
        Error::InvalidMessage(_) => {
            "what listens there does not speak TLS; try mqtt:// or ws://".to_owned()
        }
        Error::AlertReceived(alert) => {
            format!("the broker ended the handshake ({alert:?}); it may want a client certificate")
        }
        other => other.to_string(),
    }
}

fn certificate_words(why: &CertificateError) -> String {
    const TRUST: &str = "name its CA in caFile, or for a broker of your own set \
                         rejectUnauthorized = false";
    match why {
        CertificateError::UnknownIssuer => {
            format!("its certificate is signed by nobody that this machine believes; {TRUST}")
        }
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "its certificate is for {}, not for {}; dial it by a name that the certificate has",
            presented.iter().map(|name| bare(name)).collect::<Vec<_>>().join(" "),
            expected.to_str()
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired; its owner has to renew it, or this machine's clock is wrong"
                .to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; look at this machine's clock".to_owned()
        }
        other => format!("its certificate is not accepted: {other}; {TRUST}"),
    }
}

/// A name as people know it, of the certificate library's `DnsName("a.example")`.
fn bare(name: &str) -> &str {
    name.split('"').nth(1).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn the_error_of_tls_is_found_inside_others() {
        let inner = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let wrapped = io::Error::new(io::ErrorKind::InvalidData, inner.clone());
        assert_eq!(tls_error(&wrapped), Some(&inner));
        let twice = io::Error::other(wrapped);
        assert_eq!(tls_error(&twice), Some(&inner));
        assert_eq!(tls_error(&io::Error::from(io::ErrorKind::UnexpectedEof)), None);
    }

    #[test]
    fn each_common_fault_says_what_to_do() {
        let words = |why| tls_words(&Error::InvalidCertificate(why));
        assert!(words(CertificateError::UnknownIssuer).contains("caFile"));
        assert!(words(CertificateError::Expired).contains("renew"));
        assert!(words(CertificateError::NotValidYet).contains("clock"));
        let name = CertificateError::NotValidForNameContext {
            expected: "broker.example".try_into().unwrap(),
            presented: vec![r#"DnsName("other.example")"#.to_owned()],
        };
        assert_eq!(
            words(name),
            "its certificate is for other.example, not for broker.example; dial it by a name that \
             the certificate has"
        );
    }
}
