//! Whole messages through a recorder that has the key of one of two made-up nodes.

use crate::crypto::peer::NodeKey;
use crate::message::{Message, Origin, OriginKind, Receipt};
use crate::packet::inside::{
    Anonymous, Asked, Contents, Extra, Query, Request, RequestKind, Response, ReturnedPath, Said,
    TextMessage, Withheld,
};
use crate::packet::payload::{Advert, AnonRequest, AppData, Peer};
use crate::packet::{Packet, Path, Payload, PayloadType};
use crate::record::{Body, Recorder, Rules};

use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

/// A made-up node.
struct Node {
    signing: SigningKey,
    expanded: [u8; 64],
    key: NodeKey,
}

impl Node {
    fn new(seed: u8) -> Self {
        Self::of([seed; 32])
    }

    fn of(seed: [u8; 32]) -> Self {
        let signing = SigningKey::from_bytes(&seed);
        let mut expanded: [u8; 64] = Sha512::digest(seed).into();
        expanded[0] &= 248;
        expanded[31] = expanded[31] & 63 | 64;
        let key = NodeKey::from_expanded(&expanded);
        assert_eq!(key.public_key(), signing.verifying_key().as_bytes());
        Self { signing, expanded, key }
    }

    /// A node whose public key begins with this byte and that is not `not`.
    fn starting_with(hash: u8, not: &Self) -> Self {
        let nodes = (0..10_000u32).map(|n| {
            let mut seed = [0xA5; 32];
            seed[..4].copy_from_slice(&n.to_le_bytes());
            Self::of(seed)
        });
        let fits = |node: &Self| node.hash() == hash && node.public() != not.public();
        nodes.into_iter().find(fits).unwrap()
    }

    fn public(&self) -> &[u8; 32] {
        self.key.public_key()
    }

    fn hash(&self) -> u8 {
        self.public()[0]
    }

    fn hex(&self) -> String {
        hex::encode(self.public())
    }

    fn advert(&self) -> Vec<u8> {
        let mut advert = Advert {
            public_key: self.public(),
            timestamp: 1_700_000_000,
            signature: &[0; 64],
            app_data: AppData::Absent,
            beyond: &[],
        };
        let signature = self.signing.sign(&advert.signed()).to_bytes();
        advert.signature = &signature;
        Packet::flood(None, Path::EMPTY, Payload::Advert(advert)).to_bytes()
    }

    /// A packet to another node with these bytes inside.
    fn write(&self, to: &Self, plain: &[u8], payload_type: PayloadType) -> Vec<u8> {
        let (mac, sealed) = self.key.shared_secret(to.public()).unwrap().seal(plain);
        let peer = Peer { dest: to.hash(), source: self.hash(), mac, ciphertext: &sealed };
        let payload = match payload_type {
            PayloadType::Text => Payload::Text(peer),
            PayloadType::Request => Payload::Request(peer),
            PayloadType::Response => Payload::Response(peer),
            _ => Payload::Path(peer),
        };
        Packet::flood(None, Path::EMPTY, payload).to_bytes()
    }

    fn ask(&self, to: &Self, plain: &[u8]) -> Vec<u8> {
        let (mac, sealed) = self.key.shared_secret(to.public()).unwrap().seal(plain);
        let (dest, sender_key) = (to.hash(), self.public());
        let request = AnonRequest { dest, sender_key, mac, ciphertext: &sealed };
        Packet::direct(None, Path::EMPTY, Payload::AnonRequest(request)).to_bytes()
    }
}

fn recorder(ours: &[&Node]) -> Recorder {
    let node_keys = ours.iter().map(|node| node.key.clone()).collect();
    Recorder::new(Rules { node_keys, validate_signatures: true, ..Rules::default() })
}

/// The whole record of a packet that a gateway reports, and what it says under `opened`.
fn record(recorder: &mut Recorder, packet: &[u8]) -> (String, Value) {
    let observer = "7E7662676F7F0850A8A355BAAFBFC1EB7B4174C340442D7D7161C9474A2C9400";
    let record = recorder.record(Message {
        topic: format!("meshcore/SJC/{observer}/packets"),
        payload: json!({ "type": "PACKET", "raw": hex::encode(packet) }).to_string().into(),
        origin: Origin { kind: OriginKind::Replay, name: "test".into() },
        received_at_ms: 0,
        retained: false,
        receipt: Receipt::none(),
        place: None,
    });
    let record = record.unwrap();
    let Body::Packet(row) = &record.body else { return (format!("{record:?}"), Value::Null) };
    let mut decoded: Value = serde_json::from_str(&row.decoded_json).unwrap();
    assert_eq!(decoded["meshbox"].is_null(), !row.decoded_json.contains("meshbox"));
    (format!("{recorder:?}{record:?}"), decoded["meshbox"]["opened"].take())
}

fn opened(recorder: &mut Recorder, packet: &[u8]) -> Value {
    record(recorder, packet).1
}

fn plain(contents: &Contents<'_>) -> Vec<u8> {
    let mut plain = Vec::new();
    contents.emit(&mut plain);
    plain
}

fn text(said: Said<'_>) -> Vec<u8> {
    plain(&Contents::Text(TextMessage { timestamp: 1_772_919_297, attempt: 0, said }))
}

#[test]
fn a_conversation_is_opened_in_both_directions() {
    let (ours, other) = (Node::new(1), Node::new(2));
    let mut hub = recorder(&[&ours]);
    let hello = other.write(&ours, &text(Said::Plain("hello")), PayloadType::Text);
    assert_eq!(opened(&mut hub, &hello), Value::Null, "nobody knows the other node yet");
    assert_eq!(opened(&mut hub, &other.advert()), Value::Null);

    let code = TextMessage { timestamp: 1_772_919_297, attempt: 0, said: Said::Plain("hello") }
        .ack_code(other.public(), ours.public())
        .unwrap();
    let ack_hash = format!("{:08x}", u32::from_le_bytes(code));
    assert_eq!(
        opened(&mut hub, &hello),
        json!({
            "kind": "text", "node": ours.hex(), "peer": other.hex(), "direction": "received",
            "certain": true, "timestamp": 1_772_919_297, "attempt": 0, "text": "hello",
            "ackHash": ack_hash,
        })
    );

    let path = Path::new(2, &[0xAA, 0xBB, 0xCC, 0xDD]).unwrap();
    let ack = Extra::Ack(crate::packet::payload::Ack { code, extra: &[0, 7] });
    let returned = plain(&Contents::Path(ReturnedPath { path, extra: ack }));
    let sent = opened(&mut hub, &ours.write(&other, &returned, PayloadType::Path));
    assert_eq!(sent["direction"], "sent");
    assert_eq!((&sent["node"], &sent["peer"]), (&json!(ours.hex()), &json!(other.hex())));
    assert_eq!((&sent["path"], &sent["hashSize"]), (&json!(["AABB", "CCDD"]), &json!(2)));
    assert_eq!((&sent["ackHash"], &sent["certain"]), (&json!(ack_hash), &json!(true)));
}

#[test]
fn a_request_and_its_response_share_a_tag() {
    let (ours, other) = (Node::new(1), Node::new(2));
    let mut hub = recorder(&[&ours]);
    hub.hear(other.public());
    let body = Response { tag: 0x0102_0304, body: &[9, 0, 8] };
    let response = plain(&Contents::Response(body));
    let unproven = opened(&mut hub, &other.write(&ours, &response, PayloadType::Response));
    assert_eq!((&unproven["kind"], &unproven["certain"]), (&json!("response"), &json!(false)));

    let request = Request { tag: 0x0102_0304, kind: RequestKind::Status, parameters: &[7] };
    let request = plain(&Contents::Request(request));
    let asked = opened(&mut hub, &ours.write(&other, &request, PayloadType::Request));
    assert_eq!((&asked["asked"], &asked["tag"]), (&json!("status"), &json!(0x0102_0304)));
    assert_eq!((&asked["parameters"], &asked["direction"]), (&json!("07"), &json!("sent")));

    // Both have written to each other now, and the MAC is believed.
    let answered = opened(&mut hub, &other.write(&ours, &response, PayloadType::Response));
    assert_eq!(answered["tag"], asked["tag"]);
    assert_eq!((&answered["body"], &answered["certain"]), (&json!("090008"), &json!(true)));
    let extra = Extra::Response(body);
    let path = plain(&Contents::Path(ReturnedPath { path: Path::EMPTY, extra }));
    let with_path = opened(&mut hub, &other.write(&ours, &path, PayloadType::Path));
    assert_eq!((&with_path["path"], &with_path["body"]), (&json!([]), &json!("090008")));
}

#[test]
fn an_anonymous_request_brings_its_own_key_and_makes_its_sender_known() {
    let (ours, other) = (Node::new(1), Node::new(2));
    let mut hub = recorder(&[&ours]);
    let query = Asked::Query(Query::Regions, Path::new(1, &[0xAB]).unwrap());
    let asked = plain(&Contents::Anonymous(Anonymous { tag: 5, asked: query }));
    let request = opened(&mut hub, &other.ask(&ours, &asked));
    assert_eq!((&request["kind"], &request["asked"]), (&json!("query"), &json!("regions")));
    assert_eq!((&request["path"], &request["direction"]), (&json!(["AB"]), &json!("received")));

    let hello = other.write(&ours, &text(Said::Plain("hi")), PayloadType::Text);
    assert_eq!(opened(&mut hub, &hello)["text"], "hi");
    // And the other way round: ours asks a node that was heard.
    let request = opened(&mut hub, &ours.ask(&other, &asked));
    assert_eq!((&request["peer"], &request["direction"]), (&json!(other.hex()), &json!("sent")));
}

#[test]
fn between_two_nodes_of_ours_nobody_need_be_heard() {
    let (ours, other) = (Node::new(1), Node::new(2));
    let mut hub = recorder(&[&ours, &other]);
    let hello = other.write(&ours, &text(Said::Plain("hi")), PayloadType::Text);
    assert_eq!(opened(&mut hub, &hello)["text"], "hi");
    let response = plain(&Contents::Response(Response { tag: 1, body: &[2] }));
    let response = opened(&mut hub, &other.write(&ours, &response, PayloadType::Response));
    assert_eq!(response["certain"], true);
}

#[test]
fn of_two_keys_that_begin_alike_the_direction_is_not_known() {
    let ours = Node::new(1);
    let other = Node::starting_with(ours.hash(), &ours);
    let mut hub = recorder(&[&ours]);
    opened(&mut hub, &other.advert());
    let hello = opened(&mut hub, &other.write(&ours, &text(Said::Plain("hi")), PayloadType::Text));
    assert_eq!((&hello["text"], &hello["direction"]), (&json!("hi"), &json!("unknown")));
    assert_eq!(hello["ackHash"], Value::Null, "it depends on who sent it");
}

#[test]
fn what_is_not_ours_stays_closed() {
    let (ours, other, third) = (Node::new(1), Node::new(2), Node::new(3));
    let mut hub = recorder(&[&ours]);
    for node in [&ours, &other, &third] {
        opened(&mut hub, &node.advert());
    }
    let foreign = third.write(&other, &text(Said::Plain("hi")), PayloadType::Text);
    assert_eq!(opened(&mut hub, &foreign), Value::Null);
    // To a node whose key begins as ours does.
    let namesake = Node::starting_with(ours.hash(), &ours);
    let foreign = other.write(&namesake, &text(Said::Plain("hi")), PayloadType::Text);
    assert_eq!(opened(&mut hub, &foreign), Value::Null);
    // Without any key of a node nothing is tried.
    let hello = other.write(&ours, &text(Said::Plain("hi")), PayloadType::Text);
    let mut plain_hub = recorder(&[]);
    assert!(!plain_hub.opens_peer_packets() && hub.opens_peer_packets());
    opened(&mut plain_hub, &other.advert());
    assert_eq!(opened(&mut plain_hub, &hello), Value::Null);
    assert_eq!(opened(&mut hub, &hello)["text"], "hi");
}

#[test]
fn a_mac_that_fits_by_chance_opens_nothing_that_no_node_would_write() {
    let (ours, other) = (Node::new(1), Node::new(2));
    let mut hub = recorder(&[&ours]);
    opened(&mut hub, &other.advert());
    let chance = [0xD1; 32];
    for payload_type in [PayloadType::Text, PayloadType::Request, PayloadType::Path] {
        assert_eq!(opened(&mut hub, &other.write(&ours, &chance, payload_type)), Value::Null);
    }
    assert_eq!(opened(&mut hub, &other.ask(&ours, &chance)), Value::Null);
    // Any bytes may be a response: it is told, and that it is not certain.
    let response = opened(&mut hub, &other.write(&ours, &chance, PayloadType::Response));
    assert_eq!(response["certain"], false);
}

#[test]
fn a_forged_advert_makes_nobody_known() {
    let (ours, other) = (Node::new(1), Node::new(2));
    let mut hub = recorder(&[&ours]);
    let mut forged = other.advert();
    forged[40] ^= 1;
    opened(&mut hub, &forged);
    let hello = other.write(&ours, &text(Said::Plain("hi")), PayloadType::Text);
    assert_eq!(opened(&mut hub, &hello), Value::Null);
}

#[test]
fn no_key_no_secret_and_no_password_is_in_what_is_stored_or_printed() {
    let (ours, other) = (Node::new(1), Node::new(2));
    let mut hub = recorder(&[&ours]);
    let mut told = record(&mut hub, &other.advert()).0;
    let command = text(Said::Command(Withheld::new(b"password hunter2")));
    let login = Asked::Login(Withheld::new(b"hunter2"));
    let login = plain(&Contents::Anonymous(Anonymous { tag: 5, asked: login }));
    for (packet, kind) in [
        (other.write(&ours, &command, PayloadType::Text), "command"),
        (ours.write(&other, &command, PayloadType::Text), "command"),
        (other.ask(&ours, &login), "login"),
        (other.write(&ours, &text(Said::Plain("hi")), PayloadType::Text), "text"),
    ] {
        let (all, opened) = record(&mut hub, &packet);
        assert_eq!(opened["kind"], kind);
        told += &all;
    }
    assert!(told.contains(&ours.hex()) && told.contains("Opener"), "{told}");
    let (secret, password) = (ours.key.shared_secret(other.public()).unwrap(), b"hunter2");
    let scalar = &ours.expanded[..32];
    for hidden in [scalar, &ours.expanded[32..], &other.expanded[..32], password] {
        let bytes = format!("{hidden:?}");
        for form in [hex::encode(hidden), hex::encode_upper(hidden), bytes] {
            assert!(!told.contains(form.trim_matches(['[', ']'])), "{form} in {told}");
        }
    }
    assert!(!told.contains("hunter2"), "{told}");
    assert_eq!(format!("{secret:?}"), "SharedSecret(…)");
}
