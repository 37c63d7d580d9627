//! Clients behind proxies: whose address counts, and whose word.

use meshbox::config::{Access, Broker, Listener};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{ConnAck, ConnectReturnCode, Packet};

use super::rig::{self, House, Raw, TOPIC, bytes_of, connect, publish};
use super::websocket::{BINARY, Client, MQTT, ws};

const TRUSTED: &str = "127.0.0.1";

fn behind(listener: Listener, trusted: &[&str]) -> Broker {
    let trusted_proxies = trusted.iter().map(|it| it.parse().unwrap()).collect();
    Broker { trusted_proxies, max_connections_per_address: 2, ..Broker::with(vec![listener]) }
}

/// A PROXY header, version 2, for a client at this IPv4 address.
fn header(client: [u8; 4]) -> Vec<u8> {
    let addresses = [&client[..], &[127, 0, 0, 1], &[0xC0, 0, 0x07, 0x5B]].concat();
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &addresses].concat()
}

async fn code_of(house: &House, more: &str) -> (Client, ConnectReturnCode) {
    let mut client = Client::dial(house.address(), "/", &format!("{MQTT}{more}")).await;
    // Without an id nobody's session is taken over.
    client.send(BINARY, &bytes_of(&Packet::Connect(connect("")))).await;
    let Packet::ConnAck(ConnAck { code, .. }) = client.packet().await else { panic!() };
    (client, code)
}

#[tokio::test]
async fn row_16_a_trusted_proxy_says_whose_request_it_is() {
    let (house, mut stored) = rig::storing_as(behind(ws(Access::Lan), &[TRUSTED])).await;
    let near = "X-Forwarded-For: 203.0.113.9, 192.168.1.9\r\n";
    let (mut client, code) = code_of(&house, near).await;
    assert_eq!(code, ConnectReturnCode::Success);
    let packet = Packet::Publish(publish(TOPIC, b"x", QoS::AtMostOnce, 0));
    client.send(BINARY, &bytes_of(&packet)).await;
    assert_eq!(&*stored.next().await.origin.name, "192.168.1.9");
    for far in ["X-Forwarded-For: 192.168.1.9, 203.0.113.9\r\n", "", "X-Real-IP: 10.0.0.1\r\n"] {
        assert_eq!(code_of(&house, far).await.1, ConnectReturnCode::NotAuthorized, "{far}");
    }
    assert_eq!(house.reason("proxy_names_no_client"), 2);
}

#[tokio::test]
async fn a_forwarding_header_from_anyone_else_counts_as_outside() {
    let (house, _stored) = rig::storing_as(behind(ws(Access::Lan), &["10.0.0.1"])).await;
    assert_eq!(code_of(&house, "").await.1, ConnectReturnCode::Success);
    for header in ["X-Forwarded-For: 127.0.0.1", "Forwarded: for=x", "CF-Connecting-IP: ::1"] {
        let code = code_of(&house, &format!("{header}\r\n")).await.1;
        assert_eq!(code, ConnectReturnCode::NotAuthorized, "{header}");
    }
    assert_eq!(house.reason("forwarded_by_a_stranger"), 3);
}

#[tokio::test]
async fn the_bound_for_an_address_is_that_of_the_client_and_not_of_the_proxy() {
    let (house, _stored) = rig::storing_as(behind(ws(Access::Lan), &[TRUSTED])).await;
    let mut guests = Vec::new();
    for (host, welcome) in [(1, true), (1, true), (1, false), (2, true), (2, true), (2, false)] {
        let (client, code) = code_of(&house, &format!("X-Forwarded-For: 10.0.0.{host}\r\n")).await;
        assert_eq!(code == ConnectReturnCode::Success, welcome, "{host}");
        guests.push(client);
    }
    assert_eq!(house.reason("too_many_from_address"), 2);
}

#[tokio::test]
async fn the_proxy_protocol_says_whose_connection_it_is() {
    let listener = Listener {
        proxy_protocol: true,
        ..Listener::tcp("127.0.0.1:0".parse().unwrap(), Access::Lan)
    };
    let (house, mut stored) = rig::storing_as(behind(listener, &[TRUSTED])).await;
    let cases = [
        ([192, 168, 1, 9], ConnectReturnCode::Success),
        ([203, 0, 113, 9], ConnectReturnCode::NotAuthorized),
    ];
    for (address, code) in cases {
        let mut client = Raw::dial(house.address()).await;
        let login = bytes_of(&Packet::Connect(connect("proxied")));
        client.bytes(&[&header(address)[..], &login].concat()).await;
        assert_eq!(client.packet().await, Packet::ConnAck(ConnAck::new(code, false)));
        if code == ConnectReturnCode::Success {
            client.publish(TOPIC, b"x", QoS::AtMostOnce, 0).await;
            assert_eq!(&*stored.next().await.origin.name, "192.168.1.9");
        }
    }
    let wrong: [(&[u8], &str); 2] = [
        (b"PROXY TCP4 192.168.1.9 127.0.0.1 49152 1883\r\n", "proxy_protocol_version_1"),
        (&bytes_of(&Packet::Connect(connect("direct"))), "proxy_header_missing"),
    ];
    for (bytes, reason) in wrong {
        let mut client = Raw::dial(house.address()).await;
        client.bytes(bytes).await;
        assert_eq!(client.closed().await, []);
        assert_eq!(house.reason(reason), 1);
    }
    let mut stranger = Raw::dial_from("127.0.0.2".parse().unwrap(), house.address()).await;
    stranger.bytes(&header([192, 168, 1, 9])).await;
    assert_eq!(stranger.closed().await, []);
    assert_eq!(house.reason("proxy_not_trusted"), 1);
}

#[tokio::test]
async fn a_proxy_header_where_none_is_expected_has_a_name() {
    let (house, _stored) = rig::storing().await;
    for bytes in [&header([10, 0, 0, 1])[..], b"PROXY TCP4 10.0.0.1 127.0.0.1 1 2\r\n"] {
        let mut client = Raw::dial(house.address()).await;
        client.bytes(bytes).await;
        assert_eq!(client.closed().await, []);
    }
    assert_eq!(house.reason("proxy_header_not_expected"), 2);
}
