use super::gateway::Publication;
use super::mesh::{Kind, Mesh, Shape};
use super::script::{Plan, Script};
use crate::crypto::channel::Keyring;
use crate::message::{Message, Origin, OriginKind, Receipt};
use crate::packet::{Packet, hex};
use crate::record::{Activity, Body, Record, Recorder, Rules};

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const NOW_MS: i64 = 1_795_407_861_250;
const NOW_S: u32 = 1_795_407_861;

fn plan(messages: u64) -> Plan {
    Plan { rate: 3.0, messages: Some(messages), time: None, clock_s: NOW_S }
}

fn all(script: &mut Script) -> Vec<Publication> {
    std::iter::from_fn(|| script.next(NOW_MS)).flat_map(|scene| scene.publications).collect()
}

fn raw(publication: &Publication) -> Vec<u8> {
    let json: serde_json::Value = serde_json::from_str(&publication.payload).unwrap();
    hex::parse(json["raw"].as_str().unwrap()).unwrap()
}

fn recorder() -> Recorder {
    let keyring = Keyring::default();
    Recorder::new(Rules { keyring, validate_signatures: true, ..Rules::default() })
}

fn record(recorder: &mut Recorder, publication: &Publication) -> Record {
    let message = Message {
        topic: publication.topic.clone(),
        payload: publication.payload.clone().into(),
        origin: Origin { kind: OriginKind::Anonymous, name: "test".into() },
        received_at_ms: NOW_MS,
        retained: false,
        receipt: Receipt::none(),
        place: None,
    };
    recorder.record(message).unwrap()
}

#[test]
fn every_packet_decodes_without_anomaly_its_signature_holds_and_its_channel_opens() {
    let mut mesh = Mesh::new(7, &Shape::default());
    let mut recorder = recorder();
    let mut kinds = BTreeMap::new();
    for n in 0..600 {
        let transmission = mesh.transmit(NOW_S + n / 100, NOW_MS);
        *kinds.entry(transmission.kind).or_insert(0) += 1;
        let mut hashes = BTreeSet::new();
        for publication in &transmission.publications {
            let bytes = raw(publication);
            let packet = Packet::parse(&bytes).unwrap();
            assert_eq!(packet.anomalies(), [], "{packet}");
            let said: serde_json::Value = serde_json::from_str(&publication.payload).unwrap();
            let Body::Packet(row) = record(&mut recorder, publication).body else {
                panic!("no packet: {publication:?}")
            };
            assert_eq!(said["hash"], row.hash.to_ascii_uppercase());
            assert_eq!(row.node.is_some(), transmission.kind == Kind::Advert);
            let opened = row.channel_hash.as_deref() == Some("Public");
            assert_eq!(opened, transmission.kind == Kind::Channel, "{}", row.decoded_json);
            hashes.insert(row.hash);
        }
        assert_eq!(hashes.len(), 1, "one packet is one transmission");
    }
    assert_eq!(kinds[&Kind::Advert], 120, "a fifth");
    assert_eq!(kinds[&Kind::Channel], 200, "a third");
    assert_eq!(kinds.len(), 5, "{kinds:?}");
}

#[test]
fn a_forged_bit_is_noticed_so_that_the_signatures_above_mean_something() {
    let mut mesh = Mesh::new(7, &Shape::default());
    let advert = mesh.transmit(NOW_S, NOW_MS).publications.remove(0);
    let json: serde_json::Value = serde_json::from_str(&advert.payload).unwrap();
    let raw = json["raw"].as_str().unwrap();
    let last = if raw.ends_with('0') { "1" } else { "0" };
    let forged = format!("{}{last}", &raw[..raw.len() - 1]);
    let payload = advert.payload.replace(raw, &forged);
    let body = record(&mut recorder(), &Publication { payload, ..advert }).body;
    assert!(matches!(body, Body::Dropped(_)), "{body:?}");
}

#[test]
fn a_seed_gives_the_same_messages_and_another_one_others() {
    let messages = |seed| all(&mut Script::new(seed, &Shape::default(), plan(200)));
    assert_eq!(messages(1), messages(1));
    assert_ne!(messages(1), messages(2));
}

#[test]
fn so_many_messages_as_were_asked_for_each_from_another_gateway_and_each_packet_new() {
    let mut script = Script::new(3, &Shape::default(), plan(1_000));
    let publications = all(&mut script);
    assert_eq!(script.told().statuses + 1_000, publications.len() as u64);
    let mut heard: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for publication in publications.iter().filter(|p| p.topic.ends_with("/packets")) {
        let json: serde_json::Value = serde_json::from_str(&publication.payload).unwrap();
        let by = heard.entry(json["hash"].as_str().unwrap().to_owned()).or_default();
        assert!(by.insert(publication.gateway), "heard twice by one gateway");
    }
    assert_eq!(heard.len() as u64, script.told().packets);
    assert_eq!(heard.values().map(BTreeSet::len).sum::<usize>(), 1_000);
}

#[test]
fn gateways_say_first_that_they_are_there_and_again_every_five_minutes() {
    let shape = Shape { gateways: 2, ..Shape::default() };
    let plan = Plan { time: Some(Duration::from_secs(601)), messages: None, ..plan(0) };
    let mut script = Script::new(3, &shape, plan);
    let first = script.next(NOW_MS).unwrap();
    assert!(first.publications.iter().all(|p| p.retain && p.topic.ends_with("/status")));
    let Body::Status(_) = record(&mut recorder(), &first.publications[0]).body else {
        panic!("no status")
    };
    let record = record(&mut recorder(), &first.publications[0]);
    assert_ne!(record.observer.unwrap().activity, Activity::None);
    let later = all(&mut script);
    let again: Vec<_> = later.iter().filter(|p| p.topic.ends_with("/status")).collect();
    assert_eq!(again.len(), 4, "two gateways, at five and at ten minutes");
    assert!(again.iter().all(|p| !p.retain));
    let ended = script.mesh().gateways()[0].offline(NOW_MS);
    assert!(ended.retain && ended.payload.contains("offline"));
}
