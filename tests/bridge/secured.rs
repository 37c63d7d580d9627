//! Brokers behind TLS: a real mosquitto with certificates made here.

use super::publisher::publish;
use super::{Box, source};
use crate::support::certificates::{Authority, Pair};
use crate::support::process::{Mosquitto, free_port};

use meshbox::config::{ClientTls, Scheme, Source};
use meshbox::counters::SourceState;
use rumqttc::QoS;
use std::path::Path;

/// A mosquitto with a plain port for publishers and one with TLS.
struct Secured {
    broker: Mosquitto,
    port: u16,
}

impl Secured {
    fn start(dir: &Path, pair: &Pair, more: &str) -> Option<Self> {
        let port = free_port().port();
        let (certificate, key) = (pair.certificate.display(), pair.key.display());
        let tls =
            format!("listener {port} 127.0.0.1\ncertfile {certificate}\nkeyfile {key}\n{more}");
        Some(Self { broker: Mosquitto::start(dir, &tls)?, port })
    }

    fn source(&self, name: &str, tls: ClientTls) -> Source {
        let mut source = source(name, self.broker.at);
        source.remote.scheme = Scheme::Tls;
        source.remote.host = "localhost".into();
        source.remote.port = self.port;
        source.remote.tls = tls;
        source
    }
}

fn believing(authority: &Authority) -> ClientTls {
    ClientTls { ca_file: Some(authority.file()), ..ClientTls::default() }
}

async fn publish_and_take(secured: &Secured, hub: &mut Box, payload: &str) {
    let topic = "meshcore/SJC/K/packets";
    publish(secured.broker.at, topic, QoS::AtLeastOnce, false, [payload.to_owned()]).await;
    assert_eq!(hub.take().await, payload);
}

/// Waits until it has failed, and returns how.
async fn refused(hub: &Box, name: &str) -> SourceState {
    hub.until(name, "fails", |s| !s.last_error.is_empty()).await
}

#[tokio::test]
async fn a_broker_with_a_certificate_of_a_ca_that_is_named_is_taken_in() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path());
    let pair = authority.sign("localhost");
    let Some(secured) = Secured::start(dir.path(), &pair, "") else { return };
    let mut hub = Box::start(&[secured.source("s", believing(&authority))], dir.path());
    let state = hub.receiving("s").await;
    assert_eq!(state.broker, format!("mqtts://localhost:{}", secured.port));
    publish_and_take(&secured, &mut hub, "through tls").await;
    hub.end().await;
}

#[tokio::test]
async fn a_certificate_of_nobody_known_is_refused_in_words_and_taken_where_that_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let pair = Authority::new(dir.path()).sign("localhost");
    let Some(secured) = Secured::start(dir.path(), &pair, "") else { return };
    let trusting = ClientTls { verify: false, ..ClientTls::default() };
    let sources =
        [secured.source("strict", ClientTls::default()), secured.source("trusting", trusting)];
    let mut hub = Box::start(&sources, dir.path());
    let strict = refused(&hub, "strict").await;
    assert!(strict.last_error.starts_with("tls: "));
    assert!(strict.last_error.contains("rejectUnauthorized = false"), "{}", strict.last_error);
    hub.receiving("trusting").await;
    publish_and_take(&secured, &mut hub, "trusted").await;
    hub.end().await;
}

#[tokio::test]
async fn a_certificate_for_another_name_and_one_that_has_expired_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path());
    let cases = [
        (authority.sign("other.example"), "other.example, not for localhost"),
        (authority.sign_expired("localhost"), "has expired"),
    ];
    for (pair, words) in cases {
        let Some(secured) = Secured::start(dir.path(), &pair, "") else { return };
        let hub = Box::start(&[secured.source("s", believing(&authority))], dir.path());
        let state = refused(&hub, "s").await;
        assert!(state.last_error.starts_with("tls: "));
        assert!(state.last_error.contains(words), "{}", state.last_error);
        hub.end().await;
    }
}

#[tokio::test]
async fn a_broker_that_wants_a_certificate_of_ours_gets_it_and_says_so_where_there_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path());
    let (theirs, ours) = (authority.sign("localhost"), authority.sign("hub"));
    let more = format!("cafile {}\nrequire_certificate true", authority.file().display());
    let Some(secured) = Secured::start(dir.path(), &theirs, &more) else { return };
    let known = ClientTls { identity: Some((ours.certificate, ours.key)), ..believing(&authority) };
    let sources =
        [secured.source("known", known), secured.source("stranger", believing(&authority))];
    let mut hub = Box::start(&sources, dir.path());
    hub.receiving("known").await;
    let stranger = refused(&hub, "stranger").await;
    assert!(stranger.last_error.starts_with("tls: "));
    assert!(stranger.last_error.contains("client certificate"), "{}", stranger.last_error);
    publish_and_take(&secured, &mut hub, "known to each other").await;
    hub.end().await;
}

#[tokio::test]
async fn tls_to_a_plain_port_and_a_ca_that_has_gone_are_said_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path());
    let Some(mut secured) = Secured::start(dir.path(), &authority.sign("localhost"), "") else {
        return;
    };
    let gone = ClientTls { ca_file: Some(dir.path().join("gone.pem")), ..ClientTls::default() };
    let gone = secured.source("gone", gone);
    secured.port = secured.broker.at.port();
    let plain = secured.source("plain", ClientTls::default());
    let hub = Box::start(&[gone, plain], dir.path());
    let gone = refused(&hub, "gone").await;
    assert!(gone.last_error.contains("gone.pem: "), "{}", gone.last_error);
    let plain = refused(&hub, "plain").await;
    assert!(plain.last_error.starts_with("tls: "), "{}", plain.last_error);
    hub.end().await;
}
