//! Clients with a role, as if they had logged in.

use std::sync::Mutex;

use rumqttc::mqttbytes::v4::SubscribeReasonCode;

use super::*;
use crate::broker::access::{Binding, Claims, Nearness, Whose};
use crate::broker::identity::{Identity, ObserverKey, Who};
use crate::config::{Policy, Role};

const OWN: &str = "AA00AA00AA00AA00AA00AA00AA00AA00AA00AA00AA00AA00AA00AA00AA00AA00";
const OTHER: &str = "BB11BB11BB11BB11BB11BB11BB11BB11BB11BB11BB11BB11BB11BB11BB11BB11";

fn key(hex: &str) -> ObserverKey {
    let mut key = [0; 32];
    hex::decode_to_slice(hex, &mut key).unwrap();
    ObserverKey(key)
}

fn account(name: &str, role: Role, own: Option<&str>) -> Who {
    let identity = Identity::Account(name.into());
    Who { identity, role: Some(role), key: own.map(key), from: Nearness::Outside }
}

fn token(own: &str) -> Who {
    let identity = Identity::Observer(key(own));
    Who { identity, role: Some(Role::Publisher), key: Some(key(own)), from: Nearness::Outside }
}

/// Remembers bindings; each account and each key has one at most.
#[derive(Debug, Default)]
struct Register(Mutex<Vec<Binding>>);

impl Claims for Register {
    fn whose(&self, asked: &ObserverKey, asks: &Identity) -> Whose {
        let bound = self.0.lock().unwrap();
        match bound.iter().find(|b| b.key == *asked) {
            None => Whose::Nobodys,
            Some(b) if b.identity == *asks => Whose::Own,
            Some(_) => Whose::Others,
        }
    }

    fn bind(&self, wanted: &Binding) -> Result<(), &'static str> {
        let mut bound = self.0.lock().unwrap();
        if bound.contains(wanted) {
            return Ok(());
        }
        if bound.iter().any(|b| b.identity == wanted.identity || b.key == wanted.key) {
            return Err("account_is_bound_to_another_key");
        }
        bound.push(wanted.clone());
        Ok(())
    }
}

async fn grant(client: &mut Client, filter: &str) -> SubscribeReasonCode {
    let mut subscribe = Subscribe::new(filter, QoS::AtMostOnce);
    subscribe.pkid = 1;
    client.send(&Packet::Subscribe(subscribe)).await;
    match client.packet().await {
        Some(Packet::SubAck(ack)) => ack.return_codes[0],
        other => panic!("no SUBACK but {other:?}"),
    }
}

/// Publishes at QoS 1 and waits for the answer.
async fn say(client: &mut Client, topic: &str, payload: &str) {
    let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload);
    publish.pkid = 9;
    client.send(&Packet::Publish(publish)).await;
    assert!(matches!(client.packet().await, Some(Packet::PubAck(_))), "{topic}");
}

async fn copy(client: &mut Client) -> (String, String) {
    match client.packet().await {
        Some(Packet::Publish(p)) => (p.topic, String::from_utf8(p.payload.to_vec()).unwrap()),
        other => panic!("no copy but {other:?}"),
    }
}

#[tokio::test]
async fn row_7_a_token_speaks_for_its_own_key_and_others_are_ignored_politely() {
    let mut rig = Rig::new().await;
    let mut gateway = rig.client_as("gateway", token(OWN)).await;
    say(&mut gateway, &format!("meshcore/SJC/{OTHER}/packets"), "forged").await;
    say(&mut gateway, &format!("meshcore/sjc/{}/packets", OWN.to_lowercase()), "own").await;
    let (topic, payload) = rig.stored.recv().await.unwrap();
    assert_eq!((topic, &payload[..]), (format!("meshcore/SJC/{OWN}/packets"), &b"own"[..]));
    let clients = rig.house.board.clients(0, &Default::default());
    assert_eq!(clients.connections[0].key.as_deref(), Some(OWN));
    assert_eq!(clients.refusals[0].reason, "publish_for_another_key");
    assert_eq!(clients.refusals[0].about, format!("meshcore/SJC/{OTHER}/packets"));
    assert_eq!(clients.refusals[0].identity.as_deref(), Some(OWN));
    assert_eq!(clients.observers[0].key.as_deref(), Some(OWN));
    rig.still_works().await;
}

#[tokio::test]
async fn row_11_a_gateway_gets_its_own_commands_and_nothing_else() {
    let rig = Rig::new().await;
    let mut gateway = rig.client_as("gateway", token(OWN)).await;
    let commands = |key: &str| format!("meshcore/SJC/{key}/serial/commands");
    let granted = SubscribeReasonCode::Success(QoS::AtMostOnce);
    assert_eq!(grant(&mut gateway, "meshcore/#").await, SubscribeReasonCode::Failure);
    assert_eq!(grant(&mut gateway, &commands(OTHER)).await, SubscribeReasonCode::Failure);
    // In lower case it means the same.
    assert_eq!(grant(&mut gateway, &commands(&OWN.to_lowercase())).await, granted);
    let mut admin = rig.client_as("admin", account("boss", Role::Admin, None)).await;
    say(&mut admin, &commands(OTHER), "theirs").await;
    say(&mut admin, &commands(OWN), "mine").await;
    assert_eq!(copy(&mut gateway).await, (commands(OWN), "mine".to_owned()));
}

/// The topics that were heard, each once and in the order in which it was last heard, and the packet.
async fn heard_until_packets(client: &mut Client) -> (Vec<String>, String) {
    let mut heard: Vec<String> = Vec::new();
    loop {
        let (topic, payload) = copy(client).await;
        heard.retain(|known| *known != topic);
        heard.push(topic);
        if heard.last().is_some_and(|topic| topic.ends_with("/packets")) {
            return (heard, payload);
        }
    }
}

#[tokio::test]
async fn row_12_readers_get_the_stream_without_internal_and_limited_ones_without_signal() {
    let rig = Rig::new().await;
    let mut admin = rig.client_as("admin", account("boss", Role::Admin, None)).await;
    let mut reader = rig.client_as("reader", account("home", Role::Reader, None)).await;
    let mut limited = rig.client_as("limited", account("guest", Role::Limited, None)).await;
    for client in [&mut admin, &mut reader, &mut limited] {
        client.subscribe("#").await;
    }
    let mut gateway = rig.client_as("gateway", token(OWN)).await;
    let mut boss = rig.client_as("boss", account("boss", Role::Admin, None)).await;
    let topic = |kind: &str| format!("meshcore/SJC/{OWN}/{kind}");
    let packet = r#"{"raw":"11","SNR":"12","RSSI":"-65","score":"9"}"#;
    say(&mut boss, &topic("internal"), "{\"jwt_payload\":1}").await;
    say(&mut gateway, &topic("neighbors"), "{\"neighbors\":[]}").await;
    say(&mut gateway, &topic("status"), "SNR 12, no JSON").await;
    say(&mut gateway, &topic("packets"), packet).await;
    let own: Vec<_> = ["internal", "neighbors", "status", "packets"].map(topic).into();
    assert_eq!(heard_until_packets(&mut admin).await.0, own);
    assert_eq!(heard_until_packets(&mut reader).await.0, own[1..]);
    // That it is there, a limited reader is told; its status is no JSON, and withheld.
    let (heard, packet_seen) = heard_until_packets(&mut limited).await;
    assert_eq!(heard, [topic("status"), topic("packets")]);
    assert_eq!(packet_seen, r#"{"raw":"11"}"#);
    assert_eq!(rig.house.counters.broker_withheld.get(), 4);
    let mut late = rig.client_as("late", account("guest", Role::Limited, None)).await;
    late.subscribe("meshcore/#").await;
    let (heard, told) = copy(&mut late).await;
    assert_eq!(heard, topic("status"));
    assert!(told.contains("\"online\""), "who comes late is told who is there: {told}");
}

#[tokio::test]
async fn row_5_a_shared_account_learns_its_key_and_keeps_to_it() {
    let policy = Policy { bind_first_key: true, ..Policy::default() };
    let register = Arc::new(Register::default());
    let mut rig = Rig::with(policy, Arc::clone(&register) as Arc<dyn Claims>).await;
    let club = || account("club", Role::Publisher, None);
    let mut first = rig.client_as("first", club()).await;
    let mut second = rig.client_as("second", club()).await;
    let topic = |key: &str| format!("meshcore/SJC/{key}/packets");
    say(&mut first, &topic(OWN), "1").await;
    let bound = Binding { identity: club().identity, key: key(OWN) };
    assert_eq!(*register.0.lock().unwrap(), [bound]);
    // Neither this connection nor one from before the binding may take another key.
    say(&mut first, &topic(OTHER), "2").await;
    say(&mut second, &topic(OTHER), "3").await;
    let mut stranger = rig.client("stranger").await;
    say(&mut stranger, &topic(OWN), "4").await;
    say(&mut second, &topic(OWN), "5").await;
    assert_eq!(&rig.stored.recv().await.unwrap().1[..], b"1");
    assert_eq!(&rig.stored.recv().await.unwrap().1[..], b"5");
    let reason = |name: &str| rig.house.counters.reasons.count(name);
    assert_eq!(reason("publish_for_another_key"), 1);
    assert_eq!(reason("account_is_bound_to_another_key"), 1);
    assert_eq!(reason("publish_for_a_claimed_key"), 1);
    assert_eq!(
        rig.house.board.clients(0, &Default::default()).connections[2].key.as_deref(),
        Some(OWN)
    );
}

#[tokio::test]
async fn a_will_is_judged_and_normalised_as_a_publish_is() {
    let mut rig = Rig::new().await;
    for (key, payload) in [(OTHER, "forged"), (OWN, "own")] {
        let visitor = Visitor { posing_as: Some(token(OWN)), ..visitor("127.0.0.1", Access::Lan) };
        let mut client = rig.dial(visitor);
        let mut connect = Connect::new("gateway");
        let topic = format!("meshcore/sjc/{}/status", key.to_lowercase());
        connect.last_will = Some(LastWill::new(topic, payload, QoS::AtMostOnce, false));
        client.send(&Packet::Connect(connect)).await;
        client.packet().await;
        drop(client.stream);
        client.served.await.unwrap();
    }
    let (topic, payload) = rig.stored.recv().await.unwrap();
    assert_eq!((topic, &payload[..]), (format!("meshcore/SJC/{OWN}/status"), &b"own"[..]));
    assert_eq!(
        rig.house.board.clients(0, &Default::default()).refusals[0].reason,
        "publish_for_another_key"
    );
}
