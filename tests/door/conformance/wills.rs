//! The case of the will delay, and what can come in between.

use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Disconnect, DisconnectReasonCode, LastWill, LastWillProperties, Packet,
};

use super::super::client5::{Client, Wish, said};
use super::{Stage, TOPICS, accounts};
use crate::support::eventually_async;

/// A client with a session that is kept for so long, and a will with this delay.
fn wish(name: &'static str, keep_s: u32, delay_s: u32) -> Wish {
    let properties = LastWillProperties {
        delay_interval: Some(delay_s),
        payload_format_indicator: None,
        message_expiry_interval: None,
        content_type: None,
        response_topic: None,
        correlation_data: None,
        user_properties: said(&[("a", "b")]).user_properties,
    };
    let payload = format!("{name} is gone");
    let will = LastWill::new(TOPICS[2], payload, QoS::AtLeastOnce, false, Some(properties));
    Wish { will: Some(will), ..Wish::kept(name, keep_s) }
}

async fn reader(stage: &Stage) -> Client {
    let mut b = Client::new(&stage.house, "b").await;
    b.listen(TOPICS[2], QoS::AtLeastOnce).await;
    b
}

#[tokio::test]
async fn will_delay() {
    let stage = Stage::open().await;
    let mut b = reader(&stage).await;
    let (a, _) = Client::log_in(&stage.house, wish("a", 600, 1)).await;
    let since = Instant::now();
    drop(a);
    let will = b.copy().await;
    assert!(since.elapsed() >= Duration::from_secs(1));
    assert_eq!(will.payload, "a is gone");
    assert_eq!(will.properties, Some(said(&[("a", "b")])));
    assert_eq!(stage.house.counters.broker_wills.get(), 1);
}

#[tokio::test]
async fn will_delay_ends_with_the_session() {
    let stage = Stage::open().await;
    let mut b = reader(&stage).await;
    // Kept for a second, for none, and until it is ended by its client.
    drop(Client::log_in(&stage.house, wish("a", 1, 600)).await);
    assert_eq!(b.payloads(1).await, ["a is gone"]);
    drop(Client::log_in(&stage.house, wish("a", 0, 600)).await);
    assert_eq!(b.payloads(1).await, ["a is gone"]);
    let (mut a, _) = Client::log_in(&stage.house, wish("a", 600, 600)).await;
    let reason_code = DisconnectReasonCode::DisconnectWithWillMessage;
    a.send(Packet::Disconnect(Disconnect { reason_code, properties: None })).await;
    a.closed().await;
    b.has_nothing().await;
    let (a, ack) =
        Client::log_in(&stage.house, Wish { clean_start: true, ..wish("a", 600, 600) }).await;
    assert!(!ack.session_present);
    assert_eq!(b.payloads(1).await, ["a is gone"]);
    a.leave().await;
    b.has_nothing().await;
}

#[tokio::test]
async fn will_delay_of_a_client_that_is_back_in_time() {
    let stage = Stage::open().await;
    let mut b = reader(&stage).await;
    drop(Client::log_in(&stage.house, wish("a", 600, 1)).await);
    eventually_async("it is gone", || {
        (stage.house.counters.broker_connections.get() == 1).then_some(())
    })
    .await;
    let (mut a, ack) = Client::log_in(&stage.house, wish("a", 600, 1)).await;
    assert!(ack.session_present);
    // A later one shows that the time of the first has passed.
    drop(Client::log_in(&stage.house, wish("c", 600, 1)).await);
    assert_eq!(b.payloads(1).await, ["c is gone"]);
    // A connection that takes over is back, too, and says goodbye without a will.
    let (again, ack) = Client::log_in(&stage.house, wish("a", 600, 1)).await;
    assert!(ack.session_present);
    assert_eq!(a.told_at_the_end().await, DisconnectReasonCode::SessionTakenOver);
    again.leave().await;
    drop(Client::log_in(&stage.house, wish("c", 600, 1)).await);
    assert_eq!(b.payloads(1).await, ["c is gone"]);
    b.has_nothing().await;
}

#[tokio::test]
async fn will_delay_of_an_account_that_is_gone_meanwhile() {
    let stage = Stage::open().await;
    let mut b = reader(&stage).await;
    drop(Client::log_in(&stage.house, wish("a", 600, 3)).await);
    std::fs::write(&stage.accounts, accounts(&["b", "c"])).unwrap();
    let reloads = || (stage.house.counters.broker_accounts_reloads.get() == 1).then_some(());
    eventually_async("the accounts are read again", reloads).await;
    drop(Client::log_in(&stage.house, wish("c", 600, 3)).await);
    assert_eq!(b.payloads(1).await, ["c is gone"]);
    b.has_nothing().await;
}

#[tokio::test]
async fn will_delay_at_our_own_end() {
    let stage = Stage::open().await;
    let mut b = reader(&stage).await;
    drop(Client::log_in(&stage.house, wish("a", 600, 1)).await);
    eventually_async("it is gone", || {
        (stage.house.counters.broker_connections.get() == 1).then_some(())
    })
    .await;
    stage.house.broker.quiesce().await;
    assert!(stage.house.broker.stop(Instant::now() + Duration::from_secs(20)).await);
    assert_eq!(b.closed().await, 0);
    assert_eq!(stage.house.counters.broker_wills.get(), 0);
}
