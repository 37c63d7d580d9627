//! Accounts and tokens over real sockets: who comes in as whom, and what the others are told.

use std::path::PathBuf;
use std::sync::Arc;

use meshbox::broker::{self, Parts};
use meshbox::clock::Clock;
use meshbox::config::{
    Access, AccountsFile, Audience, Broker, Logins, Policy, password::PasswordHash,
};
use meshbox::counters::Counters;
use meshbox::crypto::token::{Claims, SigningKey, mint, username};
use meshbox::message::queue::{Bounds, queue};
use meshbox::message::{OriginKind, Outcome};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{ConnAck, ConnectReturnCode, Packet, PubAck};
use tokio_util::sync::CancellationToken;

use super::rig::{self, House, ROOMY, Raw, connect, listener};
use crate::support::{PATIENCE, eventually_async, program};

use ConnectReturnCode::{BadUserNamePassword, NotAuthorized, ServiceUnavailable, Success};

/// Seconds since 1970 at which the hub's clock stands.
pub(super) const NOW: i64 = 1_760_000_060;

fn hash(password: &[u8]) -> String {
    PasswordHash::make(password, b"0123456789abcdef").unwrap().as_str().to_owned()
}

pub(super) fn account(name: &str, password: &str, more: &str) -> String {
    format!("[accounts.{name}]\npassword = '{}'\n{more}\n", hash(password.as_bytes()))
}

pub(crate) struct Place {
    pub(crate) house: House,
    pub(super) outlet: meshbox::message::Outlet,
    pub(crate) clock: Clock,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

pub(crate) async fn open(accounts: &str, access: Access, trusted: bool) -> Place {
    open_with(accounts, access, trusted, false).await
}

pub(super) async fn open_with(
    accounts: &str,
    access: Access,
    trusted: bool,
    bind_first_key: bool,
) -> Place {
    open_within(ROOMY, accounts, access, (trusted, bind_first_key)).await
}

async fn open_within(
    bounds: Bounds,
    accounts: &str,
    access: Access,
    (trusted, bind_first_key): (bool, bool),
) -> Place {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("accounts.toml");
    std::fs::write(&file, accounts).unwrap();
    let (inlet, outlet) = queue(bounds);
    let (counters, shutdown) = (Arc::new(Counters::default()), CancellationToken::new());
    let clock = Clock::by_hand(NOW * 1_000);
    let parts = Parts {
        state_file: None,
        inlet,
        clock: clock.clone(),
        counters: Arc::clone(&counters),
        clock_trusted: Arc::new(move || trusted),
        shutdown: shutdown.clone(),
    };
    let logins = Logins {
        accounts: AccountsFile::load(&file).unwrap(),
        audience: Audience { names: vec!["hub.example.org".into()], any: false },
        token_skew: std::time::Duration::from_secs(300),
    };
    let listeners = vec![listener("127.0.0.1:0", access)];
    let policy = Policy { bind_first_key, ..Policy::default() };
    let config = Broker { logins, policy, ..Broker::with(listeners) };
    let broker = broker::start(&config, parts).await.unwrap();
    let addresses = broker.listening().iter().map(|l| l.address.parse().unwrap()).collect();
    Place { house: House { broker, counters, shutdown, addresses }, outlet, clock, file, _dir: dir }
}

impl Place {
    pub(super) async fn answer(&self, name: &str, password: &str) -> (Raw, ConnectReturnCode) {
        let mut raw = Raw::dial(self.house.address()).await;
        let mut connect = connect("gateway");
        connect.set_login(name, password);
        raw.send(&Packet::Connect(connect)).await;
        let Packet::ConnAck(ConnAck { code, .. }) = raw.packet().await else {
            panic!("no CONNACK")
        };
        (raw, code)
    }

    pub(super) async fn code(&self, name: &str, password: &str) -> ConnectReturnCode {
        self.answer(name, password).await.1
    }

    fn reason(&self, name: &str) -> u64 {
        self.house.reason(name)
    }

    /// Writes the accounts and waits until the broker has taken them.
    pub(super) async fn accounts(&self, text: &str) {
        let reloads = || self.house.counters.broker_accounts_reloads.get();
        let before = reloads();
        self.write(text);
        eventually_async("it is read", || (reloads() > before).then_some(())).await;
    }

    /// In place of the old file, as an editor does it: never half of it is there.
    pub(super) fn write(&self, text: &str) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &self.file).unwrap();
    }

    pub(super) fn remove(&self) {
        std::fs::remove_file(&self.file).unwrap();
    }

    /// The client `ha` of an account, whose session is kept, and whether it was there.
    pub(super) async fn keeps(&self, name: &str, password: &str) -> (Raw, bool) {
        let mut raw = Raw::dial(self.house.address()).await;
        let mut connect = connect("ha");
        connect.set_login(name, password);
        connect.clean_session = false;
        raw.send(&Packet::Connect(connect)).await;
        let Packet::ConnAck(ack) = raw.packet().await else { panic!("no CONNACK") };
        assert_eq!(ack.code, Success);
        (raw, ack.session_present)
    }
}

pub(super) fn key(first: u8) -> SigningKey {
    let mut private = [first; 64];
    private[0] &= 0xF8;
    private[31] = (private[31] & 0x3F) | 0x40;
    SigningKey::from_expanded(&private)
}

pub(super) fn claims() -> Claims {
    Claims {
        issued_at_s: NOW - 60,
        expires_at_s: Some(NOW + 3_540),
        audience: vec!["hub.example.org".into()],
        ..Claims::default()
    }
}

pub(super) fn topic(key: &SigningKey) -> String {
    format!("meshcore/SJC/{}/packets", hex::encode_upper(key.public_key()))
}

#[tokio::test]
async fn row_4_a_token_comes_in_as_its_key_even_without_any_account() {
    for access in [Access::Lan, Access::Accounts] {
        let mut place = open("", access, true).await;
        let key = key(8);
        let name = username(key.public_key()).to_lowercase();
        let (mut client, code) = place.answer(&name, &mint(&key, &claims())).await;
        assert_eq!(code, Success);
        client.publish(&topic(&key), b"x", QoS::AtMostOnce, 0).await;
        let message = rig::arrival(&mut place.outlet).await;
        assert_eq!(message.origin.kind, OriginKind::Account);
        assert_eq!(*message.origin.name, hex::encode_upper(key.public_key()));
        assert_eq!(place.house.counters.broker_logins.get(), 1);
    }
}

#[tokio::test]
async fn row_3_a_token_that_is_not_right_has_a_code_and_a_named_reason() {
    let place = open("", Access::Lan, true).await;
    let (key, other) = (key(8), key(16));
    let name = username(key.public_key());
    let elsewhere = Claims { audience: vec!["mqtt.example.net".into()], ..claims() };
    let old = Claims { expires_at_s: Some(NOW - 301), ..claims() };
    let early = Claims { issued_at_s: NOW + 301, ..claims() };
    let good = mint(&key, &claims());
    let cases = [
        (mint(&key, &elsewhere), NotAuthorized, "token_audience_wrong"),
        (mint(&key, &old), NotAuthorized, "token_expired"),
        (mint(&key, &early), NotAuthorized, "token_from_the_future"),
        (mint(&other, &claims()), BadUserNamePassword, "token_of_another_key"),
        (
            good.replace(&good[good.len() - 4..], "0000"),
            BadUserNamePassword,
            "token_signature_wrong",
        ),
        ("hunter2".into(), BadUserNamePassword, "token_malformed"),
    ];
    for (token, code, reason) in cases {
        assert_eq!(place.code(&name, &token).await, code, "{reason}");
        assert_eq!(place.reason(reason), 1, "{reason}");
    }
    assert_eq!(place.code("v1_AB12", &good).await, BadUserNamePassword);
    assert_eq!(place.code(&name, &good).await, Success);
    assert_eq!(place.house.counters.broker_logins_failed.get(), 6);
}

#[tokio::test]
async fn row_4_while_our_clock_is_not_trusted_tokens_are_not_judged_by_it() {
    let place = open("", Access::Lan, false).await;
    let key = key(8);
    let old = Claims { issued_at_s: 1, expires_at_s: Some(2), ..claims() };
    assert_eq!(place.code(&username(key.public_key()), &mint(&key, &old)).await, Success);
}

#[tokio::test]
async fn row_5_accounts_are_judged_once_there_is_one() {
    let mut place =
        open(&account("roof", "hunter2", "role = 'publisher'"), Access::Lan, true).await;
    assert_eq!(place.code("roof", "hunter3").await, BadUserNamePassword);
    assert_eq!(place.reason("password_wrong"), 1);
    assert_eq!(place.code("nobody", "hunter2").await, BadUserNamePassword);
    assert_eq!(place.reason("account_unknown"), 1);
    let (mut client, code) = place.answer("roof", "hunter2").await;
    assert_eq!(code, Success);
    client.publish(rig::TOPIC, b"x", QoS::AtMostOnce, 0).await;
    assert_eq!(*rig::arrival(&mut place.outlet).await.origin.name, *"roof");
    place.house.client("without a login").await;
}

#[tokio::test]
async fn row_6_without_accounts_unknown_names_from_the_lan_come_in() {
    let place = open("", Access::Lan, true).await;
    assert_eq!(place.code("roof", "anything").await, Success);
    assert_eq!(place.house.counters.broker_logins.get(), 0);
}

#[tokio::test]
async fn a_password_that_is_no_text_is_judged_like_any_other() {
    let text = format!("[accounts.b]\nrole = 'reader'\npassword = '{}'\n", hash(b"\xff\0\xfe"));
    let place = open(&text, Access::Lan, true).await;
    for (password, answer) in [(b"\xff\0\xfe", 0), (b"\xff\0\xff", 4)] {
        let mut client = Raw::dial(place.house.address()).await;
        client.bytes(b"\x10\x15\0\x04MQTT\x04\xc2\0\x3c\0\x01a\0\x01b\0\x03").await;
        client.bytes(password).await;
        let Packet::ConnAck(ack) = client.packet().await else { panic!("no CONNACK") };
        assert_eq!(ack.code as u8, answer);
    }
}

#[tokio::test]
async fn nobody_else_speaks_for_a_key_that_somebody_has_logged_in_for() {
    let mut place = open("", Access::Lan, true).await;
    let key = key(8);
    let mut stranger = place.house.client("stranger").await;
    stranger.publish(&topic(&key), b"before", QoS::AtMostOnce, 0).await;
    assert_eq!(rig::arrival(&mut place.outlet).await.payload, "before");
    let token = mint(&key, &claims());
    let (mut holder, _) = place.answer(&username(key.public_key()), &token).await;
    stranger.publish(&topic(&key).to_lowercase(), b"forged", QoS::AtLeastOnce, 1).await;
    assert!(matches!(stranger.packet().await, Packet::PubAck(_)), "ignored, not sent again");
    assert_eq!(place.reason("publish_for_a_claimed_key"), 1);
    holder.publish(&topic(&key), b"true", QoS::AtMostOnce, 0).await;
    assert_eq!(rig::arrival(&mut place.outlet).await.payload, "true");
}

#[tokio::test]
async fn an_account_belongs_to_the_first_key_that_it_publishes_for() {
    let accounts = account("shared", "hunter2", "role = 'publisher'");
    let mut place = open_with(&accounts, Access::Lan, true, true).await;
    let log_in = async |id: &str| {
        let mut client = Raw::dial(place.house.address()).await;
        let mut connect = connect(id);
        connect.set_login("shared", "hunter2");
        client.log_in(&connect).await;
        client
    };
    let (mut first, mut second) = (log_in("first").await, log_in("second").await);
    first.publish(&topic(&key(8)), b"first", QoS::AtMostOnce, 0).await;
    assert_eq!(rig::arrival(&mut place.outlet).await.payload, "first");
    second.publish(&topic(&key(16)), b"other", QoS::AtLeastOnce, 1).await;
    assert!(matches!(second.packet().await, Packet::PubAck(_)));
    assert_eq!(place.house.reason("publish_for_another_key"), 1);
}

#[tokio::test]
async fn an_account_has_its_connections_and_no_more() {
    let accounts = account("ha", "hunter2", "role = 'reader'\nmaxConnections = 1");
    let place = open(&accounts, Access::Lan, true).await;
    let (first, code) = place.answer("ha", "hunter2").await;
    assert_eq!(code, Success);
    // The same client again takes over; another one finds no room.
    let (_second, code) = place.answer("ha", "hunter2").await;
    assert_eq!(code, Success);
    drop(first);
    let mut other = Raw::dial(place.house.address()).await;
    let mut connect = connect("other");
    connect.set_login("ha", "hunter2");
    other.send(&Packet::Connect(connect)).await;
    let refused = ConnAck::new(ServiceUnavailable, false);
    assert_eq!(other.packet().await, Packet::ConnAck(refused));
    assert_eq!(place.reason("account_connections_used_up"), 1);
}

#[tokio::test]
async fn a_changed_file_is_taken_without_a_restart_and_a_broken_one_is_not() {
    let two = [("a", "one"), ("b", "two")];
    let two = two.map(|(name, password)| account(name, password, "role = 'reader'")).concat();
    let place = open(&two, Access::Lan, true).await;
    let (mut a, _) = place.answer("a", "one").await;
    let (mut b, _) = place.answer("b", "two").await;
    let reloads = || place.house.counters.broker_accounts_reloads.get();
    let new = [("a", "new"), ("b", "two")];
    let new = new.map(|(name, password)| account(name, password, "role = 'reader'")).concat();
    std::fs::write(&place.file, new).unwrap();
    eventually_async("it is read", || (reloads() == 1).then_some(())).await;
    assert_eq!(a.closed().await, []);
    assert_eq!(place.reason("account_changed"), 1);
    b.nothing_said().await;
    assert_eq!(place.code("a", "one").await, BadUserNamePassword);
    assert_eq!(place.code("a", "new").await, Success);

    let broken = || place.reason("accounts_file_broken");
    std::fs::write(&place.file, "[accounts.a]\nrole = 'raeder'\n").unwrap();
    eventually_async("it is seen", || (broken() == 1).then_some(())).await;
    std::fs::remove_file(&place.file).unwrap();
    eventually_async("it is missed", || (broken() == 2).then_some(())).await;
    assert_eq!(place.code("a", "new").await, Success);
    assert_eq!(place.code("nobody", "x").await, BadUserNamePassword);
    b.nothing_said().await;
}

#[tokio::test]
async fn the_will_of_an_account_that_is_gone_is_not_published() {
    let both =
        [account("boss", "one", "role = 'admin'"), account("roof", "two", "role = 'reader'")];
    let place = open(&both.concat(), Access::Lan, true).await;
    let topic = "meshcore/SJC/reboot";
    let (mut reader, code) = place.answer("roof", "two").await;
    assert_eq!(code, Success);
    reader.subscribe(topic).await;
    let mut boss = Raw::dial(place.house.address()).await;
    let mut login = rig::with_will("boss", topic, "now", false);
    login.set_login("boss", "one");
    boss.log_in(&login).await;
    std::fs::write(&place.file, account("roof", "two", "role = 'reader'")).unwrap();
    boss.closed().await;
    eventually_async("the connection is wound up", || {
        (place.house.counters.broker_connections.get() == 1).then_some(())
    })
    .await;
    assert_eq!(place.house.counters.broker_wills.get(), 0);
    reader.nothing_said().await;
}

#[tokio::test]
async fn copies_that_are_withheld_hold_up_nothing_that_waits_behind_them() {
    let both =
        [account("boss", "one", "role = 'admin'"), account("home", "two", "role = 'reader'")];
    let mut place = open(&both.concat(), Access::Lan, true).await;
    let kept = |name: &str| {
        let mut login = connect(name);
        login.set_login("home", "two");
        login.clean_session = false;
        login
    };
    let mut reader = Raw::dial(place.house.address()).await;
    reader.log_in(&kept("reader")).await;
    reader.subscribe_at("meshcore/#", QoS::AtLeastOnce).await;
    reader.send(&Packet::Disconnect).await;
    reader.closed().await;
    let (mut boss, code) = place.answer("boss", "one").await;
    assert_eq!(code, Success);
    let key = hex::encode_upper(key(8).public_key());
    // Several times what may be in flight to one client.
    let secret = format!("meshcore/SJC/{key}/serial/commands");
    let seen = format!("meshcore/SJC/{key}/debug");
    for n in 1..=151 {
        let topic = if n == 151 { &seen } else { &secret };
        boss.publish(topic, b"x", QoS::AtLeastOnce, n).await;
        rig::arrival(&mut place.outlet).await.receipt.complete(Outcome::Stored);
        assert_eq!(boss.packet().await, Packet::PubAck(PubAck::new(n)));
    }
    let mut reader = Raw::dial(place.house.address()).await;
    reader.send(&Packet::Connect(kept("reader"))).await;
    let present = Packet::ConnAck(ConnAck::new(Success, true));
    assert_eq!(reader.packet().await, present);
    // Nothing else wakes the connection.
    let copy = tokio::time::timeout(std::time::Duration::from_secs(5), reader.delivery()).await;
    assert_eq!(copy.expect("it waits behind what is withheld").topic, seen);
    assert_eq!(place.house.counters.broker_withheld.get(), 150);
}

#[tokio::test]
async fn a_storm_of_200_logins_of_one_account_costs_one_hashing() {
    let place = open(&account("fleet", "hunter2", "role = 'publisher'"), Access::Lan, true).await;
    let address = place.house.address();
    let storm: Vec<_> = (0..200)
        .map(|n| {
            tokio::spawn(async move {
                let mut client = Raw::dial(address).await;
                let mut connect = connect(&format!("gateway {n}"));
                connect.set_login("fleet", "hunter2");
                client.log_in(&connect).await;
                client
            })
        })
        .collect();
    for login in storm {
        tokio::time::timeout(PATIENCE, login).await.unwrap().unwrap();
    }
    assert_eq!(place.house.counters.broker_passwords_hashed.get(), 1);
    assert_eq!(place.house.counters.broker_logins.get(), 200);
}

#[tokio::test]
async fn mosquitto_logs_in_with_name_and_password() {
    let Some(publisher) = program("mosquitto_pub") else { return };
    let mut place =
        open(&account("roof", "hunter2", "role = 'publisher'"), Access::Lan, true).await;
    let port = place.house.port().to_string();
    let run = async |password: &'static str| {
        let mut command = std::process::Command::new(&publisher);
        command.args(["-h", "127.0.0.1", "-p", &port, "-u", "roof", "-P", password, "-q", "0"]);
        command.args(["-t", rig::TOPIC, "-m", "x"]);
        let done = tokio::task::spawn_blocking(move || command.output());
        tokio::time::timeout(PATIENCE, done).await.unwrap().unwrap().unwrap()
    };
    assert!(run("hunter2").await.status.success());
    assert_eq!(*rig::arrival(&mut place.outlet).await.origin.name, *"roof");
    let refused = run("hunter3").await;
    let words = String::from_utf8_lossy(&refused.stderr).to_lowercase();
    assert!(!refused.status.success() && words.contains("bad user name or password"), "{words}");
}

#[tokio::test]
async fn an_account_with_one_connection_comes_back_although_its_old_one_still_hands_on() {
    let accounts = account("roof", "hunter2", "role = 'publisher'\nmaxConnections = 1");
    let one = Bounds { messages: 1, ..ROOMY };
    let mut place = open_within(one, &accounts, Access::Lan, (true, false)).await;
    let (mut first, code) = place.answer("roof", "hunter2").await;
    assert_eq!(code, Success);
    for word in ["first", "second", "third"] {
        first.publish(rig::TOPIC, word.as_bytes(), QoS::AtMostOnce, 0).await;
    }
    eventually_async("the queue is full", || {
        (place.house.counters.broker_held.get() == 1).then_some(())
    })
    .await;
    let (_second, code) = place.answer("roof", "hunter2").await;
    assert_eq!(code, Success, "its own old connection does not count against it");
    assert_eq!(rig::arrival(&mut place.outlet).await.payload, "first");
    assert_eq!(rig::arrival(&mut place.outlet).await.payload, "second");
}
