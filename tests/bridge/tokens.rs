//! Sources that log in by token.

use super::fake::{Fake, publish};
use super::{Box, quick, source};
use crate::door;

use meshbox::config::secret::KeyBytes;
use meshbox::config::{Access, Login, NodeKey, Source};
use meshbox::crypto::token::{Expected, Token, key_in};
use rumqttc::mqttbytes::v4::{Connect, Packet};
use std::net::SocketAddr;
use std::time::Duration;

fn by_token(at: SocketAddr, audience: &str, lifetime: Duration) -> Source {
    let mut private = [0x11; 64];
    private[..32].fill(0);
    private[31] = 0x40;
    let key = NodeKey { file: "node.key".into(), private: KeyBytes::new(private), public: None };
    let audience = audience.to_owned();
    let login = Login::Token { keys: vec![key], audience, lifetime, owner: None, email: None };
    Source { login, ..source("s", at) }
}

/// When the token of a CONNECT was made, by the hand clock; it is good.
fn issued(connect: &Connect) -> i64 {
    let login = connect.login.as_ref().unwrap();
    let token = Token::parse(login.password.as_bytes()).unwrap();
    let key = key_in(&login.username);
    let audiences = ["hub.example".to_owned()];
    let now_s = Some(token.claims.issued_at_s);
    let expected = Expected { public_key: key.as_ref(), audiences: &audiences, now_s, skew_s: 0 };
    assert_eq!(token.judge(&expected), Ok(()));
    token.claims.issued_at_s
}

#[tokio::test]
async fn each_dial_has_a_fresh_token_and_before_one_expires_the_connection_is_made_anew() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let lifetime = Duration::from_secs(1);
    let mut hub = Box::start(&[by_token(broker.at, "hub.example", lifetime)], dir.path());
    let (mut client, first) = broker.log_in(false).await;
    client.grant().await;
    client.send(&[publish(1, "one")]).await;
    let unstored = hub.next().await;
    assert_eq!(client.packet().await, Some(Packet::Disconnect), "in good time");
    drop(client);
    hub.clock.set(super::NOW_MS + 60_000);
    let (mut client, second) = broker.log_in(true).await;
    client.grant().await;
    assert_eq!(
        (issued(&first), first.client_id == second.client_id),
        (super::NOW_MS / 1_000, true)
    );
    // The same broker sends again what was not acknowledged in time.
    client.send(&[publish(1, "one")]).await;
    assert_eq!(hub.take().await, "one");
    assert_eq!(client.pubacks(1).await, [1]);
    drop(unstored);
    drop(client);
    let (_client, third) = broker.log_in(true).await;
    assert_eq!(issued(&third), super::NOW_MS / 1_000 + 60);
    let state = hub.state("s");
    assert!(!state.last_error.contains("login"), "{state:?}");
}

#[tokio::test]
async fn a_renewal_is_no_failure_and_waits_for_nothing() {
    let broker = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let hour = Duration::from_secs(3_600);
    let limits = meshbox::bridge::Limits { backoff_first: hour, backoff_max: hour, ..quick() };
    let settings = by_token(broker.at, "hub.example", Duration::from_secs(1));
    let hub = Box::with(&[settings], dir.path(), super::WIDE, limits);
    for attempt in 1..=3 {
        let mut client = broker.subscribed().await;
        let state = hub.until("s", "receives", |s| s.step == "receiving").await;
        assert_eq!((state.attempts, state.last_error.as_str()), (attempt, ""));
        assert_eq!(client.packet().await, Some(Packet::Disconnect));
    }
}

/// What the source says after three refusals of a hub that knows itself as hub.example.org.
async fn refused(audience: &str, their_clock_ms: i64) -> String {
    let place = door::accounts::open("", Access::Lan, true).await;
    place.clock.set(their_clock_ms);
    let dir = tempfile::tempdir().unwrap();
    let settings = by_token(place.house.address(), audience, Duration::from_secs(3_600));
    let hub = Box::start(&[settings], dir.path());
    let state = hub.until("s", "fails thrice", |s| s.last_error.contains("check")).await;
    assert_eq!((state.connected, state.connects, state.step.as_str()), (false, 0, "login"));
    assert!(!hub.counters.snapshot(0, super::NOW_MS + 61_000).ok);
    state.last_error
}

#[tokio::test]
async fn a_token_for_another_broker_is_refused_in_words_that_name_the_audience() {
    let said = refused("other.example", super::NOW_MS).await;
    assert_eq!(
        said,
        "login: refused: not authorized (code 5); check that the broker knows itself as \
         \"other.example\" (the source's `audience`), that the key in `keyFile` may read there, \
         this machine's clock, and that this port speaks what `broker` says (mqtt://, mqtts://, \
         ws:// or wss://)"
    );
}

#[tokio::test]
async fn a_token_that_has_expired_by_the_brokers_clock_is_refused_in_words_that_name_the_clock() {
    // An hour is a token's time, and five minutes are tolerated.
    let said = refused("hub.example.org", super::NOW_MS + 3_600_000 + 301_000).await;
    assert!(
        said.starts_with("login: refused: ") && said.contains("this machine's clock"),
        "{said}"
    );
}

#[tokio::test]
async fn a_token_of_a_key_that_is_right_comes_in_as_that_observer() {
    let place = door::accounts::open("", Access::Lan, true).await;
    place.clock.set(super::NOW_MS);
    let dir = tempfile::tempdir().unwrap();
    let settings = by_token(place.house.address(), "hub.example.org", Duration::from_secs(3_600));
    let hub = Box::start(&[settings], dir.path());
    hub.until("s", "logs in", |s| s.connects > 0).await;
    assert!(place.house.counters.broker_logins.get() >= 1);
}
