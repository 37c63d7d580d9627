//! What is told of clients and what is kept for them, as their accounts and tokens come and go.

use meshbox::config::Access;
use meshbox::crypto::token::{Claims, mint, username};
use meshbox::message::Outcome;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{ConnectReturnCode, Packet, PubAck};

use super::accounts::{NOW, account, claims, key, open, topic};
use super::rig::{self, Raw};
use crate::support::eventually_async;

use ConnectReturnCode::{NotAuthorized, Success};

#[tokio::test]
async fn what_was_kept_for_an_account_goes_with_it_and_with_its_role_and_not_with_its_password() {
    let boss = account("boss", "one", "role = 'admin'");
    let home = |password: &str, role: &str| {
        let home = account("home", password, &format!("role = '{role}'"));
        format!("{boss}{home}")
    };
    let place = open(&home("two", "reader"), Access::Lan, true).await;
    let queues = || place.house.broker.desk().queues().len();
    let leave = async |mut client: Raw| {
        client.subscribe_at("meshcore/#", QoS::AtLeastOnce).await;
        client.send(&Packet::Disconnect).await;
        client.closed().await;
        eventually_async("it is away", || {
            place.house.broker.desk().queues().iter().all(|q| !q.connected).then_some(())
        })
        .await;
    };
    let (client, present) = place.keeps("home", "two").await;
    assert!(!present);
    leave(client).await;
    place.accounts(&home("three", "reader")).await;
    let (client, present) = place.keeps("home", "three").await;
    assert!(present, "another password, the same account");
    leave(client).await;
    place.accounts(&home("three", "limited")).await;
    assert_eq!(queues(), 0, "it was kept for what the account could read before");
    let (client, present) = place.keeps("home", "three").await;
    assert!(!present);
    leave(client).await;
    place.accounts(&boss).await;
    assert_eq!(queues(), 0);
    place.accounts(&home("three", "limited")).await;
    let (client, present) = place.keeps("home", "three").await;
    assert!(!present, "an account of the same name later is another one");
    // One that is connected goes as well.
    drop(client);
    let (mut client, _) = place.keeps("home", "three").await;
    client.subscribe_at("meshcore/#", QoS::AtLeastOnce).await;
    place.accounts(&boss).await;
    client.closed().await;
    eventually_async("its session has ended", || (queues() == 0).then_some(())).await;
}

#[tokio::test]
async fn row_20_the_registry_tells_the_tokens_end_the_program_and_the_last_refused_login() {
    let place = open("", Access::Lan, true).await;
    let key = key(8);
    let (name, hex) = (username(key.public_key()), hex::encode_upper(key.public_key()));
    let by = Claims { client: Some("meshcoretomqtt/1".into()), ..claims() };
    let (mut client, code) = place.answer(&name, &mint(&key, &by)).await;
    assert_eq!(code, Success);
    client.publish(&topic(&key), b"x", QoS::AtMostOnce, 0).await;
    let row = || {
        let clients = place.house.broker.desk().clients(0);
        clients.observers.into_iter().find(|row| row.key.as_deref() == Some(&*hex))
    };
    let seen = eventually_async("it is heard", row).await;
    assert_eq!((seen.first_ms, seen.last_ms, seen.messages), (NOW * 1_000, NOW * 1_000, 1));
    assert_eq!((seen.identity, seen.from), (hex.clone(), "127.0.0.1".to_owned()));
    assert_eq!(seen.token_ends_ms, Some((NOW + 3_540) * 1_000));
    assert_eq!(seen.client.as_deref(), Some("meshcoretomqtt/1"));
    assert_eq!((seen.online, seen.last_refusal), (Some(true), None));
    let connections = place.house.broker.desk().clients(0).connections;
    assert_eq!(connections[0].token_ends_ms, Some((NOW + 3_540) * 1_000));

    let old = Claims { expires_at_s: Some(NOW - 301), ..claims() };
    assert_eq!(place.code(&name, &mint(&key, &old)).await, NotAuthorized);
    let refused = row().unwrap();
    assert_eq!(refused.last_refusal.as_deref(), Some("token_expired"));
    assert!(refused.help.contains("is the gateway's clock right?"), "{}", refused.help);
    let status = topic(&key).replace("packets", "status");
    let body = br#"{"status":"online","client_version":"meshcoretomqtt/2"}"#;
    client.publish(&status, body, QoS::AtMostOnce, 0).await;
    eventually_async("its status is read", || {
        (row()?.client.as_deref() == Some("meshcoretomqtt/2")).then_some(())
    })
    .await;
    drop(client);
    eventually_async("it is offline", || (row()?.online == Some(false)).then_some(())).await;
}

#[tokio::test]
async fn what_waits_for_a_subscriber_and_what_it_has_lost_is_told() {
    let both =
        [account("boss", "one", "role = 'admin'"), account("home", "two", "role = 'reader'")];
    let mut place = open(&both.concat(), Access::Lan, true).await;
    let (mut reader, _) = place.keeps("home", "two").await;
    reader.subscribe_at("meshcore/#", QoS::AtLeastOnce).await;
    let (mut boss, _) = place.answer("boss", "one").await;
    for n in 1..=3 {
        boss.publish("meshcore/SJC/x/packets", b"12345", QoS::AtMostOnce, 0).await;
        boss.publish("meshcore/SJC/x/packets", b"12345", QoS::AtLeastOnce, n).await;
        for _ in 0..2 {
            rig::arrival(&mut place.outlet).await.receipt.complete(Outcome::Stored);
        }
        assert_eq!(boss.packet().await, Packet::PubAck(PubAck::new(n)));
    }
    // It reads and does not acknowledge.
    for _ in 0..6 {
        reader.delivery().await;
    }
    let waits = || {
        let clients = place.house.broker.desk().clients(0);
        clients.connections.into_iter().find(|row| row.client_id == "ha")
    };
    let row = eventually_async("it is shown", || waits().filter(|row| row.queued == 3)).await;
    assert!(row.queued_bytes > 3 * 5 && row.lost == 0, "{row:?}");
    reader.send(&Packet::Disconnect).await;
    reader.closed().await;
    let away = || {
        let away = place.house.broker.desk().clients(0).away;
        away.into_iter().next()
    };
    let away = eventually_async("it is away", away).await;
    assert_eq!((away.identity.as_str(), away.client_id.as_str()), ("home", "ha"));
    assert_eq!((away.messages, away.away_since_ms), (3, Some(NOW * 1_000)));
    assert_eq!(away.kept_until_ms, Some((NOW + 24 * 3_600) * 1_000));
}
