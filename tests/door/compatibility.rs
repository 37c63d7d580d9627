//! What gateways of every kind send, and what they must be able to rely on; `table` says which test
//! shows which line of that list.

use std::sync::Arc;

use ed25519_dalek::VerifyingKey;
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use meshbox::config::{Access, Transport};
use meshbox::crypto::token::{mint, username};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{ConnectReturnCode, Packet, PubAck};
use rustls::version::TLS13;
use sha2::Sha512;
use tokio::net::TcpStream;

use super::accounts::{self, NOW, claims, key};
use super::rig::{self, House, Raw, Stored, TOPIC, bytes_of, connect, publish};
use super::tls::{certificate, dial, secure, trusting};
use super::websocket::{BINARY, Client, MQTT, frame, request};

use ConnectReturnCode::{BadUserNamePassword, NotAuthorized, Success};

const ALL: [Transport; 4] = [Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];

/// A broker with a listener of each transport, and what its clients trust.
struct Everywhere {
    house: House,
    stored: Stored,
    tls: Arc<rustls::ClientConfig>,
    _dir: tempfile::TempDir,
}

impl Everywhere {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = certificate(dir.path());
        let listeners = ALL.iter().map(|it| secure(*it, &files)).collect();
        let (house, stored) = rig::storing_on(listeners).await;
        let tls = Arc::new(trusting(&files.certificate, &[&TLS13]));
        Self { house, stored, tls, _dir: dir }
    }

    /// Logs in over a transport with these bytes, publishes once at QoS 1, and stays.
    async fn comes_in(&mut self, index: usize, login: &[u8]) -> Raw {
        let transport = ALL[index];
        let mut client = if transport.is_encrypted() {
            Raw::over(dial(&self.house, index, &self.tls).await.unwrap())
        } else {
            Raw::over(TcpStream::connect(self.house.addresses[index]).await.unwrap())
        };
        let message = bytes_of(&Packet::Publish(publish(TOPIC, b"here", QoS::AtLeastOnce, 1)));
        if transport.is_websocket() {
            client.bytes(request("/mqtt", MQTT).as_bytes()).await;
            client.bytes(&[frame(BINARY, login), frame(BINARY, &message)].concat()).await;
            // The subprotocol, a CONNACK, and the acknowledgement.
            client.reads_until(&bytes_of(&Packet::PubAck(PubAck::new(1)))).await;
        } else {
            client.bytes(&[login, &message].concat()).await;
            assert!(matches!(client.packet().await, Packet::ConnAck(ack) if ack.code == Success));
            assert_eq!(client.packet().await, Packet::PubAck(PubAck::new(1)));
        }
        assert_eq!(self.stored.next().await.payload, "here", "{transport}");
        client
    }
}

#[tokio::test]
async fn form_2_tokens_as_every_uploader_writes_them() {
    let place = accounts::open("", Access::Accounts, true).await;
    let key = key(8);
    let hex = hex::encode_upper(key.public_key());
    // The claims as text: what differs is their order, and what more there is.
    let signed = |payload: String| {
        let part = |text: &str| data_encoding::BASE64URL_NOPAD.encode(text.as_bytes());
        let head = part(r#"{"alg":"Ed25519","typ":"JWT"}"#);
        let text = format!("{head}.{}", part(&payload));
        let signature = hex::encode_upper(sign(text.as_bytes()));
        format!("{text}.{signature}")
    };
    let (iat, exp) = (NOW - 60, NOW + 3_540);
    let aud = "hub.example.org";
    let whole = format!(r#"{{"publicKey":"{hex}","iat":{iat},"exp":{exp},"aud":"{aud}"}}"#);
    let turned = format!(r#"{{"aud":"{aud}","exp":{exp},"iat":{iat},"publicKey":"{hex}"}}"#);
    let endless = format!(r#"{{"publicKey":"{hex}","iat":{iat},"aud":"{aud}"}}"#);
    let empty = whole.replace('}', r#","email":"","owner":""}"#);
    let owned = whole.replace(
        '}',
        &format!(r#","owner":"{hex}","email":"me@example.org","client":"meshcore/v1.16.0"}}"#),
    );
    let more = whole.replace('}', r#","nbf":1,"x":{"y":[1,2,null]},"scope":"a b"}"#);
    let past = whole.replace(&exp.to_string(), &(NOW - 301).to_string());
    let other = whole.replace(aud, "https://hub.example.org");
    let name = username(key.public_key());
    let lower_signature = |token: String| {
        let (text, signature) = token.rsplit_once('.').unwrap();
        format!("{text}.{}", signature.to_lowercase())
    };
    let cases = [
        ("an upper-case signature", &name, signed(whole.clone()), Success, None),
        ("a lower-case one", &name, lower_signature(signed(whole.clone())), Success, None),
        ("claims in another order", &name, signed(turned), Success, None),
        ("no end", &name, signed(endless), Success, None),
        ("an empty owner and e-mail", &name, signed(empty), Success, None),
        ("an owner", &name, signed(owned), Success, None),
        ("claims of others", &name, signed(more), Success, None),
        ("a name in lower case", &name.to_lowercase(), signed(whole.clone()), Success, None),
        ("an end that is past", &name, signed(past), NotAuthorized, Some("token_expired")),
        ("a URL as audience", &name, signed(other), NotAuthorized, Some("token_audience_wrong")),
        (
            "another key's name",
            &username(accounts::key(16).public_key()),
            signed(whole),
            BadUserNamePassword,
            Some("token_of_another_key"),
        ),
    ];
    for (what, name, token, code, reason) in cases {
        let (_client, answer) = place.answer(name, &token).await;
        assert_eq!(answer, code, "{what}");
        if let Some(reason) = reason {
            assert_eq!(place.house.reason(reason), 1, "{what}");
        }
    }
    // As our own command makes them.
    assert_eq!(place.answer(&name, &mint(&key, &claims())).await.1, Success);
}

/// Signs with the private key of which `accounts::key(8)` is made.
fn sign(text: &[u8]) -> [u8; 64] {
    let mut private = [8; 64];
    private[0] &= 0xF8;
    private[31] = (private[31] & 0x3F) | 0x40;
    let expanded = ExpandedSecretKey::from_bytes(&private);
    raw_sign::<Sha512>(&expanded, text, &VerifyingKey::from(&expanded)).to_bytes()
}

#[tokio::test]
async fn form_3_client_ids_of_every_length_over_every_transport() {
    let mut everywhere = Everywhere::new().await;
    let mut clients = Vec::new();
    for index in 0..ALL.len() {
        for length in [0, 1, 23, 24, 100, 120, 127, 128] {
            let login = bytes_of(&Packet::Connect(connect(&"i".repeat(length))));
            clients.push(everywhere.comes_in(index, &login).await);
        }
    }
    assert_eq!(everywhere.house.counters.broker_refused.get(), 0);
}

#[tokio::test]
async fn form_3_two_uploaders_with_one_client_id_do_not_throw_each_other_out_in_turns() {
    let both = [
        accounts::account("pi", "hunter2", "role = 'publisher'"),
        accounts::account("ha", "hunter2", "role = 'publisher'"),
    ];
    let place = accounts::open(&both.concat(), Access::Accounts, true).await;
    // One radio, two programs: both cut its key to 23 characters. They have logins of their own, or
    // come from addresses of their own.
    let id = format!("meshcore_{}", "AB".repeat(7));
    let mut clients = Vec::new();
    for name in ["pi", "ha"] {
        let mut client = Raw::dial(place.house.address()).await;
        let mut connect = connect(&id);
        connect.set_login(name, "hunter2");
        client.log_in(&connect).await;
        clients.push(client);
    }
    let (house, _stored) = rig::storing().await;
    for from in ["127.0.0.1", "127.0.0.2"] {
        let mut client = Raw::dial_from(from.parse().unwrap(), house.address()).await;
        client.log_in(&connect(&id)).await;
        clients.push(client);
    }
    for client in &mut clients {
        client.nothing_said().await;
    }
    assert_eq!(place.house.counters.broker_takeovers.get(), 0);
    assert_eq!(house.counters.broker_takeovers.get(), 0);
}

#[tokio::test]
async fn form_4_websocket_paths_fragments_pings_and_packets_that_share_a_frame() {
    let mut everywhere = Everywhere::new().await;
    let address = everywhere.house.addresses[2];
    let packet = |pkid| bytes_of(&Packet::Publish(publish(TOPIC, b"x", QoS::AtLeastOnce, pkid)));
    for path in ["/", "/mqtt", "/ws"] {
        let mut client = Client::dial(address, path, MQTT).await;
        assert!(client.head.starts_with("HTTP/1.1 101 "), "{path}: {}", client.head);
        // The login and a publish in one frame, and the next one in two fragments.
        let login = bytes_of(&Packet::Connect(connect("framer")));
        client.send(BINARY, &[&login[..], &packet(1)].concat()).await;
        assert!(matches!(client.packet().await, Packet::ConnAck(_)));
        assert_eq!(client.packet().await, Packet::PubAck(PubAck::new(1)));
        let next = packet(2);
        client.send(0x02, &next[..9]).await;
        client.send(0x80, &next[9..]).await;
        assert_eq!(client.packet().await, Packet::PubAck(PubAck::new(2)));
        client.send(0x89, b"45 s").await;
        assert_eq!(client.frame().await, Some((0x8A, b"45 s".to_vec())), "{path}");
        for _ in 0..2 {
            assert_eq!(everywhere.stored.next().await.payload, "x");
        }
    }
}

#[tokio::test]
async fn form_5_keepalives_of_every_length_over_every_transport() {
    let mut everywhere = Everywhere::new().await;
    let mut clients = Vec::new();
    for index in 0..ALL.len() {
        for seconds in [30, 45, 55, 60, 75, 120, 600] {
            let mut login = connect(&format!("keepalive {seconds}"));
            login.keep_alive = seconds;
            clients.push(everywhere.comes_in(index, &bytes_of(&Packet::Connect(login))).await);
        }
        let rows = everywhere.house.broker.desk().clients(0).connections;
        let shown: Vec<_> = rows.iter().rev().take(7).map(|row| row.keep_alive_sec).collect();
        assert!([30, 600].iter().all(|s| shown.contains(s)), "as they asked: {shown:?}");
    }
    assert_eq!(everywhere.house.counters.broker_refused.get(), 0);
}

#[tokio::test]
async fn form_6_what_is_odd_is_acknowledged_and_never_a_disconnect() {
    let (house, mut stored) = rig::storing().await;
    let mut client = house.client("gateway").await;
    let key = "AB".repeat(32);
    let status = format!("meshcore/SJC/{key}/status");
    // Topic, payload, retained, and whether the pipeline gets it.
    let cases: [(&str, &[u8], bool, bool); 5] = [
        (&status, br#"{"status":"online"}"#, true, true),
        (&status, b"", true, true),
        (TOPIC, b"", true, true),
        ("home/kitchen/temperature", b"21.5", false, false),
        ("home/kitchen/temperature", b"", true, false),
    ];
    for (pkid, (topic, payload, retain, handed_on)) in (1..).zip(cases) {
        let mut publish = publish(topic, payload, QoS::AtLeastOnce, pkid);
        publish.retain = retain;
        client.send(&Packet::Publish(publish)).await;
        assert_eq!(client.packet().await, Packet::PubAck(PubAck::new(pkid)), "{topic}");
        if handed_on {
            assert_eq!(stored.next().await.topic, topic);
        }
    }
    client.nothing_said().await;
    assert!(stored.nothing_more());
}
