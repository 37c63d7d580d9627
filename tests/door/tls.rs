//! TLS listeners, with clients that choose what they speak.

use std::path::Path;
use std::sync::Arc;

use meshbox::config::{Access, CertificateFiles, Listener, Transport};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, PubAck};
use rustls::crypto::ring::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::rig::{self, House, Raw, TOPIC, connect};
use crate::support::eventually_async;

/// A certificate for this machine, in two files.
pub(crate) fn certificate(dir: &Path) -> CertificateFiles {
    let key = rcgen::KeyPair::generate().unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let params = rcgen::CertificateParams::new(names).unwrap();
    let files = CertificateFiles { certificate: dir.join("cert.pem"), key: dir.join("key.pem") };
    std::fs::write(&files.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    files
}

/// A loopback listener of any transport.
pub(crate) fn secure(transport: Transport, certificate: &CertificateFiles) -> Listener {
    let plain = Listener::tcp("127.0.0.1:0".parse().unwrap(), Access::Lan);
    let certificate = transport.is_encrypted().then(|| certificate.clone());
    Listener { transport, certificate, ..plain }
}

/// What a client that trusts this certificate speaks by default.
pub(crate) fn trusting(
    certificate: &Path,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

pub(crate) async fn dial(
    house: &House,
    listener: usize,
    config: &Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(house.addresses[listener]).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await
}

async fn encrypted() -> (House, rig::Stored, tempfile::TempDir, CertificateFiles) {
    let dir = tempfile::tempdir().unwrap();
    let files = certificate(dir.path());
    let tcp = rig::listener("127.0.0.1:0", Access::Lan);
    let (house, stored) = rig::storing_on(vec![secure(Transport::Tls, &files), tcp]).await;
    (house, stored, dir, files)
}

async fn publishes(stream: TlsStream<TcpStream>, stored: &mut rig::Stored) {
    let mut client = Raw::over(stream);
    client.log_in(&connect("secure")).await;
    client.publish(TOPIC, b"secret", QoS::AtLeastOnce, 1).await;
    assert_eq!(client.packet().await, Packet::PubAck(PubAck::new(1)));
    assert_eq!(stored.next().await.payload, "secret");
}

#[tokio::test]
async fn row_2_tls_1_2_and_1_3_are_spoken_and_a_client_that_comes_back_is_known() {
    let (house, mut stored, _dir, files) = encrypted().await;
    for version in [&TLS12, &TLS13] {
        let config = Arc::new(trusting(&files.certificate, &[version]));
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let stream = dial(&house, 0, &config).await.unwrap();
            assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(kind), "{version:?}");
            publishes(stream, &mut stored).await;
        }
    }
    assert_eq!(house.broker.listening()[0].transport, "tls");
}

#[tokio::test]
async fn what_small_firmwares_speak_is_enough() {
    // mbedTLS on an ESP32: TLS 1.2, one suite, P-256, an RSA certificate.
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tls");
    let files = CertificateFiles {
        certificate: fixtures.join("rsa.pem"),
        key: fixtures.join("rsa-pkcs1.key"),
    };
    let (house, mut stored) = rig::storing_on(vec![secure(Transport::Tls, &files)]).await;
    let mut provider = default_provider();
    provider.cipher_suites = vec![cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256];
    provider.kx_groups = vec![kx_group::SECP256R1];
    let verifier = Arc::new(Anything(Arc::new(provider.clone())));
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    let stream = dial(&house, 0, &Arc::new(config)).await.unwrap();
    publishes(stream, &mut stored).await;
}

/// A client that checks signatures and no names, as with a pinned certificate.
#[derive(Debug)]
struct Anything(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test]
async fn a_client_may_name_mqtt_as_its_protocol_or_nothing_and_is_refused_with_others() {
    let (house, mut stored, _dir, files) = encrypted().await;
    for names in [&[][..], &["mqtt"], &["h2", "mqtt"]] {
        let mut config = trusting(&files.certificate, &[&TLS13]);
        config.alpn_protocols = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = dial(&house, 0, &Arc::new(config)).await.unwrap();
        publishes(stream, &mut stored).await;
    }
    let mut config = trusting(&files.certificate, &[&TLS13]);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    assert!(dial(&house, 0, &Arc::new(config)).await.is_err());
    refused(&house, "tls_protocol_name_unknown").await;
}

async fn refused(house: &House, reason: &str) {
    eventually_async(reason, || (house.reason(reason) > 0).then_some(())).await;
}

#[tokio::test]
async fn what_is_spoken_to_the_wrong_port_has_a_name() {
    let (house, mut stored, _dir, files) = encrypted().await;
    let mut plain = Raw::dial(house.address()).await;
    plain.send(&Packet::Connect(connect("plain"))).await;
    refused(&house, "plain_on_tls_listener").await;
    let config = Arc::new(trusting(&files.certificate, &[&TLS13]));
    assert!(dial(&house, 1, &config).await.is_err());
    refused(&house, "tls_on_plain_listener").await;
    let stranger = Arc::new(trusting(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tls/ec.pem"),
        &[&TLS13],
    ));
    assert!(dial(&house, 0, &stranger).await.is_err());
    refused(&house, "tls_certificate_refused_by_client").await;
    // One that only looks whether somebody is at home is not worth a line.
    drop(TcpStream::connect(house.address()).await.unwrap());
    refused(&house, "gone_before_connect").await;
    publishes(dial(&house, 0, &config).await.unwrap(), &mut stored).await;
}

#[tokio::test]
async fn a_subscriber_that_pauses_gets_the_rest_when_it_reads_again() {
    let (house, mut stored, _dir, files) = encrypted().await;
    let config = Arc::new(trusting(&files.certificate, &[&TLS13]));
    // More than the sockets of both sides hold: retained, so that nothing of it may be lost. No one
    // address may keep so much.
    let payload = vec![b'x'; 60_000];
    for (from, topics) in [("127.0.0.1", 0..33), ("127.0.0.2", 33..66), ("127.0.0.3", 66..99)] {
        let mut publisher = Raw::dial_from(from.parse().unwrap(), house.addresses[1]).await;
        publisher.log_in(&connect("publisher")).await;
        for n in topics {
            let topic = format!("meshcore/SJC/{n}/config");
            let mut message = rig::publish(&topic, &payload, QoS::AtLeastOnce, 1);
            message.retain = true;
            publisher.send(&Packet::Publish(message)).await;
            publisher.packet().await;
            stored.next().await;
        }
    }
    let mut reader = Raw::over(dial(&house, 0, &config).await.unwrap());
    reader.log_in(&connect("reader")).await;
    reader.subscribe("meshcore/#").await;
    let (mut said, mut unchanged) = (0, 0);
    eventually_async("the broker has said all that the sockets take", || {
        let now = house.counters.broker_deliveries.get();
        unchanged = if now == said { unchanged + 1 } else { 0 };
        said = now;
        (now > 0 && unchanged > 20).then_some(())
    })
    .await;
    assert!(said < 99, "the sockets took everything: send more");
    for _ in 0..99 {
        assert_eq!(reader.delivery().await.payload.len(), 60_000);
    }
    reader.nothing_said().await;
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_keeps_the_broker_from_starting_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = certificate(dir.path());
    files.key = dir.path().join("absent.pem");
    let (inlet, _outlet) = meshbox::message::queue::queue(rig::ROOMY);
    let parts = meshbox::broker::Parts {
        inlet,
        state_file: None,
        clock_trusted: Arc::new(|| true),
        clock: meshbox::clock::Clock::system(),
        counters: Arc::default(),
        shutdown: tokio_util::sync::CancellationToken::new(),
    };
    let config = meshbox::config::Broker::with(vec![secure(Transport::Tls, &files)]);
    let error = meshbox::broker::start(&config, parts).await.err().unwrap().to_string();
    assert!(error.contains("absent.pem: cannot be read") && !error.contains('\n'), "{error}");
}

#[tokio::test]
async fn a_client_that_leaves_without_a_word_leaves_its_will() {
    let (house, mut stored, _dir, files) = encrypted().await;
    let config = Arc::new(trusting(&files.certificate, &[&TLS12]));
    let mut client = Raw::over(dial(&house, 0, &config).await.unwrap());
    client.log_in(&rig::with_will("mortal", TOPIC, "gone", false)).await;
    client.stream.flush().await.unwrap();
    drop(client);
    assert_eq!(stored.next().await.payload, "gone");
}
