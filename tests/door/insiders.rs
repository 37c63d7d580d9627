//! Attacks by those who may come in: with another's key, another's name, another's address.

use meshbox::config::{Access, AccountsFile, Broker, Logins};
use meshbox::crypto::token::{mint, username};
use meshbox::message::Outcome;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{ConnAck, ConnectReturnCode, Packet, PubAck};

use super::accounts::{account, claims, key, open};
use super::rig::{self, House, Raw, bytes_of, connect};
use super::websocket::{BINARY, Client, MQTT, ws};
use crate::support::eventually_async;

use ConnectReturnCode::{BadUserNamePassword, ServiceUnavailable, Success};

const KEY: &str = "7E7662676F7F0850A8A355BAAFBFC1EB7B4174C340442D7D7161C9474A2C9400";

fn topic() -> String {
    format!("meshcore/SJC/{KEY}/packets")
}

fn with_key(name: &str, password: &str) -> String {
    account(name, password, &format!("role = 'publisher'\nkey = '{KEY}'"))
}

/// Logs in as `name`; the client calls itself `id`.
async fn enters(house: &House, id: &str, name: &str, password: &str) -> (Raw, ConnectReturnCode) {
    let mut raw = Raw::dial(house.address()).await;
    let mut login = connect(id);
    login.set_login(name, password);
    raw.send(&Packet::Connect(login)).await;
    let Packet::ConnAck(ConnAck { code, .. }) = raw.packet().await else { panic!("no CONNACK") };
    (raw, code)
}

#[tokio::test]
async fn two_accounts_with_one_key_both_speak_for_it_and_the_claim_lasts_as_long_as_one_of_them() {
    let both = [with_key("roof", "one"), with_key("attic", "two")];
    let mut place = open(&both.concat(), Access::Lan, true).await;
    let holders = |place: &super::accounts::Place| {
        let rows = place.house.broker.desk().claims().unwrap();
        rows.into_iter().map(|row| row.holder).collect::<Vec<_>>()
    };
    for (name, password) in [("roof", "one"), ("attic", "two")] {
        let (mut client, code) = enters(&place.house, name, name, password).await;
        assert_eq!(code, Success);
        client.publish(&topic(), name.as_bytes(), QoS::AtMostOnce, 0).await;
        assert_eq!(*rig::arrival(&mut place.outlet).await.origin.name, *name);
    }
    assert_eq!(holders(&place), ["roof", "attic"]);
    let mut stranger = place.house.client("stranger").await;
    for (n, (left, held)) in [(&both[1][..], 1), ("", 0)].into_iter().enumerate() {
        place.accounts(left).await;
        assert_eq!(holders(&place).len(), held);
        let number = u16::try_from(n).unwrap() + 1;
        stranger.publish(&topic(), b"stranger", QoS::AtLeastOnce, number).await;
        if held == 0 {
            rig::arrival(&mut place.outlet).await.receipt.complete(Outcome::Stored);
        }
        assert_eq!(stranger.packet().await, Packet::PubAck(PubAck::new(number)));
        assert_eq!(place.house.reason("publish_for_a_claimed_key"), 1);
    }
}

#[tokio::test]
async fn a_claim_holds_while_the_file_of_accounts_is_broken_or_gone() {
    let mut place = open(&with_key("roof", "one"), Access::Lan, true).await;
    let (_roof, code) = enters(&place.house, "roof", "roof", "one").await;
    assert_eq!(code, Success);
    let broken = || place.house.reason("accounts_file_broken");
    place.write("[accounts.roof]\nrole = 'raeder'\n");
    eventually_async("it is seen", || (broken() == 1).then_some(())).await;
    let mut stranger = place.house.client("stranger").await;
    stranger.publish(&topic(), b"forged", QoS::AtLeastOnce, 1).await;
    assert_eq!(stranger.packet().await, Packet::PubAck(PubAck::new(1)));
    place.remove();
    eventually_async("it is missed", || (broken() == 2).then_some(())).await;
    stranger.publish(&topic(), b"forged", QoS::AtLeastOnce, 2).await;
    assert_eq!(stranger.packet().await, Packet::PubAck(PubAck::new(2)));
    assert_eq!(place.house.reason("publish_for_a_claimed_key"), 2);
    stranger.publish("meshcore/SJC/x/packets", b"own", QoS::AtMostOnce, 0).await;
    assert_eq!(rig::arrival(&mut place.outlet).await.payload, "own", "nothing of it was taken");
}

#[tokio::test]
async fn a_name_in_other_letters_is_another_name_and_a_key_in_other_letters_the_same() {
    let accounts =
        [account("roof", "one", "role = 'reader'"), account(KEY, "two", "role = 'publisher'")];
    let mut place = open(&accounts.concat(), Access::Lan, true).await;
    let code = async |name: &str, password: &str| enters(&place.house, "x", name, password).await.1;
    assert_eq!(code("ROOF", "one").await, BadUserNamePassword);
    assert_eq!(place.house.reason("account_unknown"), 1);
    // Nor is a password a token, or a name with v1_ the name behind it.
    for name in [format!("v1_{KEY}"), format!("V1_{}", KEY.to_lowercase()), "v1_roof".into()] {
        assert_eq!(code(&name, "two").await, BadUserNamePassword, "{name}");
    }
    let (mut client, code) = enters(&place.house, "x", &KEY.to_lowercase(), "two").await;
    assert_eq!(code, Success);
    client.publish(&topic().to_lowercase(), b"own", QoS::AtMostOnce, 0).await;
    let arrival = rig::arrival(&mut place.outlet).await;
    assert_eq!((&*arrival.origin.name, arrival.topic), (KEY, topic()));
}

#[tokio::test]
async fn what_a_client_published_before_its_account_went_is_stored_and_nothing_after() {
    let accounts = [with_key("roof", "one"), account("other", "two", "role = 'reader'")];
    let mut place = open(&accounts.concat(), Access::Lan, true).await;
    let (mut roof, _) = enters(&place.house, "roof", "roof", "one").await;
    roof.publish(&topic(), b"before", QoS::AtLeastOnce, 1).await;
    let waiting = rig::arrival(&mut place.outlet).await;
    place.accounts(&accounts[1]).await;
    assert_eq!(roof.closed().await, [], "it is not stored yet, so it is not acknowledged");
    waiting.receipt.complete(Outcome::Stored);
    assert_eq!(enters(&place.house, "roof", "roof", "one").await.1, BadUserNamePassword);
    assert!(place.house.broker.desk().claims().unwrap().is_empty());
}

#[tokio::test]
async fn row_16_wrong_logins_behind_a_proxy_count_against_the_client_and_not_against_the_proxy() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("accounts.toml");
    let accounts = [("roof", "one"), ("attic", "two")];
    let accounts = accounts.map(|(name, word)| account(name, word, "role = 'reader'"));
    std::fs::write(&file, accounts.concat()).unwrap();
    let logins = Logins { accounts: AccountsFile::load(&file).unwrap(), ..Logins::default() };
    let trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    let listeners = vec![ws(Access::Anyone)];
    let config = Broker { logins, trusted_proxies, ..Broker::with(listeners) };
    let (house, _stored) = rig::storing_as(config).await;
    let answer = async |from: &str, name: &str, password: &str| {
        let headers = format!("{MQTT}X-Forwarded-For: {from}\r\n");
        let mut client = Client::dial(house.address(), "/", &headers).await;
        let mut login = connect("");
        login.set_login(name, password);
        client.send(BINARY, &bytes_of(&Packet::Connect(login))).await;
        let Packet::ConnAck(ConnAck { code, .. }) = client.packet().await else { panic!() };
        code
    };
    let code = async |from: &str, password: &str| answer(from, "roof", password).await;
    assert_eq!(code("192.0.2.1", "one").await, Success);
    // What the client itself has put before the proxy's word is not believed.
    for n in 0..10 {
        let from = format!("10.9.8.{n}, 203.0.113.9");
        assert_eq!(code(&from, "guess").await, BadUserNamePassword);
        assert_eq!(code(&format!("2001:db8::{n:x}"), "guess").await, BadUserNamePassword);
    }
    for from in ["203.0.113.9", "2001:db8::ffff"] {
        assert_eq!(code(from, "guess").await, ServiceUnavailable, "{from}");
        assert_eq!(code(from, "one").await, Success, "{from}: it has been in before");
        let guessed = answer(from, "attic", "two").await;
        assert_eq!(guessed, ServiceUnavailable, "{from}: a lucky guess is of no use");
    }
    assert_eq!(house.reason("login_throttled"), 4);
    for other in ["203.0.113.10", "2001:db8:0:1::1"] {
        assert_eq!(code(other, "guess").await, BadUserNamePassword, "{other}");
    }
    let refusals = house.broker.desk().clients(0).refusals;
    let throttled = refusals.iter().find(|row| row.reason == "login_throttled").unwrap();
    assert_eq!(throttled.from, "2001:db8::ffff");
    assert!(throttled.help.contains("further ones are judged in "), "{}", throttled.help);
}

#[tokio::test]
async fn a_login_that_finds_no_seat_says_nothing_and_throws_nobody_out() {
    let more = format!("role = 'publisher'\nkey = '{KEY}'\nmaxConnections = 1");
    let boss = account("boss", "two", "role = 'admin'");
    let place = open(&[account("roof", "one", &more), boss].concat(), Access::Lan, true).await;
    let (mut watcher, _) = enters(&place.house, "watcher", "boss", "two").await;
    watcher.subscribe("#").await;
    let (mut first, code) = enters(&place.house, "first", "roof", "one").await;
    assert_eq!(code, Success);
    let mut second = Raw::dial(place.house.address()).await;
    let mut login = rig::with_will("second", &topic().replace("packets", "status"), "gone", false);
    login.set_login("roof", "one");
    second.send(&Packet::Connect(login)).await;
    let refused = Packet::ConnAck(ConnAck::new(ServiceUnavailable, false));
    assert_eq!(second.packet().await, refused);
    assert_eq!(second.closed().await, []);
    // Neither that its observer has come nor that it has gone.
    watcher.nothing_said().await;
    assert!(place.house.broker.presence().observers().is_empty());
    first.nothing_said().await;
    assert_eq!(place.house.counters.broker_logins.get(), 2);
}

#[tokio::test]
async fn row_14_a_stranger_who_stays_does_not_keep_an_observer_online_that_has_a_login() {
    let mut place = open("", Access::Lan, true).await;
    let key = key(8);
    let hex = hex::encode_upper(key.public_key());
    let mut watcher = place.house.client("watcher").await;
    watcher.subscribe(&format!("meshcore/SJC/{hex}/status")).await;
    let mut stranger = place.house.client("stranger").await;
    stranger.publish(&format!("meshcore/SJC/{hex}/packets"), b"x", QoS::AtMostOnce, 0).await;
    let said = async |watcher: &mut Raw| {
        let body = watcher.delivery().await.payload;
        serde_json::from_slice::<serde_json::Value>(&body).unwrap()["status"].clone()
    };
    assert_eq!(said(&mut watcher).await, "online");
    rig::arrival(&mut place.outlet).await.receipt.complete(Outcome::Stored);
    let (token, name) = (mint(&key, &claims()), username(key.public_key()));
    let (mut own, code) = enters(&place.house, "own", &name, &token).await;
    assert_eq!(code, Success);
    assert_eq!(said(&mut watcher).await, "offline");
    own.publish(&format!("meshcore/SJC/{hex}/packets"), b"x", QoS::AtMostOnce, 0).await;
    assert_eq!(said(&mut watcher).await, "online");
    drop(own);
    assert_eq!(said(&mut watcher).await, "offline");
    stranger.nothing_said().await;
}
