//! MQTT 5 over real sockets: what a client is granted, told, and kept for.

use meshbox::config::Access;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode, DisconnectReasonCode, Filter, Packet, PubAckReason, Publish,
    PublishProperties, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};

use super::accounts;
use super::client5::{self, Client, PASSWORD, Wish};
use super::rig::{self, TOPIC};
use crate::support::PATIENCE;

#[tokio::test]
async fn a_client_without_a_name_is_given_one_and_told_what_it_may_send() {
    let (house, _stored) = rig::storing().await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let (_, ack) = Client::log_in(&house, Wish::kept("", 300)).await;
        assert_eq!((ack.code, ack.session_present), (ConnectReturnCode::Success, false));
        let granted = ack.properties.unwrap();
        assert_eq!(granted.receive_max, Some(1_000));
        assert_eq!(granted.max_packet_size, Some(70 * 1024));
        assert_eq!(granted.session_expiry_interval, Some(0), "nobody is kept by address");
        assert_eq!(granted.shared_subscription_available, Some(0));
        ids.push(granted.assigned_client_identifier.unwrap());
    }
    assert!(ids[0] != ids[1] && ids[0].starts_with("meshbox-"), "{ids:?}");
}

#[tokio::test]
async fn a_client_whose_session_is_taken_over_is_told_so() {
    let (house, _stored) = rig::storing().await;
    let nobody = || Wish { client_id: "same", ..Wish::new("") };
    let (mut first, _) = Client::log_in(&house, nobody()).await;
    let (_second, _) = Client::log_in(&house, nobody()).await;
    assert_eq!(first.told_at_the_end().await, DisconnectReasonCode::SessionTakenOver);
}

#[tokio::test]
async fn the_session_of_an_account_is_kept_for_as_long_as_it_asks_within_our_bound() {
    let file = [
        accounts::account("ha", PASSWORD, "role = 'reader'"),
        accounts::account("roof", PASSWORD, "role = 'publisher'"),
    ];
    let mut place = accounts::open(&file.concat(), Access::Lan, true).await;
    let desk = |expiry_s| Wish { client_id: "desk", expiry_s, ..Wish::kept("ha", 0) };
    let (mut reader, ack) = Client::log_in(&place.house, desk(Some(600))).await;
    assert!(!ack.session_present);
    assert_eq!(ack.properties.unwrap().session_expiry_interval, None, "as it was asked");
    let filter = Filter::new("meshcore/#", QoS::ExactlyOnce);
    let codes = reader.subscribe(vec![filter], None).await;
    assert_eq!(codes, [SubscribeReasonCode::Success(QoS::AtLeastOnce)]);
    drop(reader);

    let mut gateway = Client::new(&place.house, "roof").await;
    let mut publish = Publish::new(TOPIC, QoS::AtLeastOnce, "while it was away", None);
    publish.pkid = 7;
    gateway.send(Packet::Publish(publish)).await;
    let message = place.outlet.next().await.unwrap();
    assert_eq!(message.payload, "while it was away");

    let (mut reader, ack) = Client::log_in(&place.house, desk(Some(u32::MAX))).await;
    assert!(ack.session_present);
    assert_eq!(ack.properties.unwrap().session_expiry_interval, Some(24 * 3_600));
    let copy = reader.copy().await;
    assert_eq!((copy.payload, copy.qos), ("while it was away".into(), QoS::AtLeastOnce));

    // Said at the end, it counts for more than what was said at the start.
    reader.leave_keeping(Some(0)).await;
    let (_, ack) = Client::log_in(&place.house, desk(None)).await;
    assert!(!ack.session_present);
}

#[tokio::test]
async fn a_limited_reader_is_not_told_in_properties_what_is_taken_out_of_the_payload() {
    let file = [
        accounts::account("guest", PASSWORD, "role = 'limited'"),
        accounts::account("ha", PASSWORD, "role = 'reader'"),
        accounts::account("roof", PASSWORD, "role = 'publisher'"),
    ];
    let place = accounts::open(&file.concat(), Access::Lan, true).await;
    let mut readers = Vec::new();
    for (name, qos) in
        [("guest", QoS::AtMostOnce), ("guest", QoS::AtLeastOnce), ("ha", QoS::AtLeastOnce)]
    {
        let (mut reader, _) =
            Client::log_in(&place.house, Wish { client_id: "", ..Wish::new(name) }).await;
        reader.listen("meshcore/+/+/packets", qos).await;
        readers.push((name, reader));
    }
    let mut gateway = Client::new(&place.house, "roof").await;
    let properties =
        PublishProperties { message_expiry_interval: Some(60), ..client5::said(&[("SNR", "12")]) };
    let payload = r#"{"raw":"11","SNR":"12"}"#;
    let publish = Publish::new(TOPIC, QoS::AtMostOnce, payload, Some(properties.clone()));
    gateway.send(Packet::Publish(publish)).await;
    for (name, reader) in &mut readers {
        let copy = reader.copy().await;
        let told = copy.properties.unwrap();
        let limited = *name == "guest";
        assert_eq!(copy.payload == payload, !limited);
        assert_eq!(told.user_properties.is_empty(), limited);
        assert_eq!(told.message_expiry_interval, Some(60));
    }
}

#[tokio::test]
async fn a_client_library_of_version_5_publishes_with_qos_1() {
    let (house, mut stored) = rig::storing().await;
    let mut options = MqttOptions::new("library", "127.0.0.1", house.port());
    options.set_connection_timeout(5);
    let (client, mut events) = AsyncClient::new(options, 10);
    client.publish(TOPIC, QoS::AtLeastOnce, false, "x").await.unwrap();
    let acknowledged = async {
        loop {
            if let Event::Incoming(Packet::PubAck(ack)) = events.poll().await.unwrap() {
                return ack.reason;
            }
        }
    };
    let reason = tokio::time::timeout(PATIENCE, acknowledged).await.expect("a PUBACK");
    assert_eq!(reason, PubAckReason::Success);
    let arrival = stored.next().await;
    assert!(arrival.awaited && arrival.payload == "x");
}
