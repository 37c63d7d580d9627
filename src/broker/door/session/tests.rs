//! The protocol without a socket.
#![expect(clippy::disallowed_methods, reason = "a mailbox holds one completion per receipt")]

use super::*;
use crate::broker::access::Nearness;
use crate::message::Outcome;
use rumqttc::mqttbytes::v4::{PubRel, Publish, Subscribe, Unsubscribe};

struct Rig {
    session: Session,
    inbox: mpsc::UnboundedReceiver<Completion>,
}

impl Rig {
    fn new() -> Self {
        let (mailbox, inbox) = mpsc::unbounded_channel();
        let who = Who::anonymous("127.0.0.1".parse().unwrap(), Nearness::Loopback);
        Self { session: Session::new(3, (who, Arc::default()), mailbox), inbox }
    }

    fn step(&mut self, packet: Packet) -> Step {
        self.session.frame(Frame::Packet(packet)).unwrap()
    }

    fn publish(&mut self, topic: &str, qos: QoS, pkid: u16) -> Step {
        let mut publish = Publish::new(topic, qos, "x");
        publish.pkid = pkid;
        self.step(Packet::Publish(publish))
    }

    fn store(&mut self, step: Step) {
        let Step::Publish(publication) = step else { panic!("{step:?}") };
        publication.receipt.complete(Outcome::Stored);
        if let Ok(completion) = self.inbox.try_recv() {
            self.session.complete(completion).unwrap();
        }
    }

    fn out(&mut self) -> Vec<u8> {
        self.session.out.split().to_vec()
    }
}

const TOPIC: &str = "meshcore/SJC/AA/packets";

#[test]
fn a_qos1_publish_is_acknowledged_only_after_its_receipt() {
    let mut rig = Rig::new();
    let step = rig.publish(TOPIC, QoS::AtLeastOnce, 5);
    assert!(rig.out().is_empty());
    rig.store(step);
    assert_eq!(rig.out(), [0x40, 2, 0, 5]);
}

#[test]
fn a_qos2_publish_goes_through_all_four_packets() {
    let mut rig = Rig::new();
    let step = rig.publish(TOPIC, QoS::ExactlyOnce, 5);
    assert!(rig.out().is_empty());
    rig.store(step);
    assert_eq!(rig.out(), [0x50, 2, 0, 5]);
    rig.step(Packet::PubRel(PubRel::new(5)));
    assert_eq!(rig.out(), [0x70, 2, 0, 5]);
}

#[test]
fn a_qos2_publish_that_is_sent_again_is_not_handed_on_again() {
    let mut rig = Rig::new();
    let first = rig.publish(TOPIC, QoS::ExactlyOnce, 5);
    assert!(matches!(rig.publish(TOPIC, QoS::ExactlyOnce, 5), Step::Nothing));
    assert!(rig.out().is_empty());
    rig.store(first);
    assert_eq!(rig.out(), [0x50, 2, 0, 5]);
    assert!(matches!(rig.publish(TOPIC, QoS::ExactlyOnce, 5), Step::Nothing));
    assert_eq!(rig.out(), [0x50, 2, 0, 5]);
    rig.step(Packet::PubRel(PubRel::new(5)));
    assert!(matches!(rig.publish(TOPIC, QoS::ExactlyOnce, 5), Step::Publish(_)));
}

#[test]
fn an_unknown_pubrel_is_answered() {
    let mut rig = Rig::new();
    rig.step(Packet::PubRel(PubRel::new(77)));
    assert_eq!(rig.out(), [0x70, 2, 0, 77]);
}

#[test]
fn a_client_that_never_releases_its_packet_ids_is_closed() {
    let mut rig = Rig::new();
    for pkid in 1..=1_000 {
        let step = rig.publish(TOPIC, QoS::ExactlyOnce, pkid);
        rig.store(step);
    }
    let mut publish = Publish::new(TOPIC, QoS::ExactlyOnce, "x");
    publish.pkid = 2_000;
    let end = rig.session.frame(Frame::Packet(Packet::Publish(publish))).unwrap_err();
    assert_eq!(end, "too_many_unreleased_packet_ids");
}

#[test]
fn a_forbidden_publish_is_acknowledged_in_its_turn_and_ignored() {
    let mut rig = Rig::new();
    let first = rig.publish(TOPIC, QoS::AtLeastOnce, 1);
    assert!(matches!(rig.publish("other/x", QoS::AtLeastOnce, 2), Step::Denied(_)));
    assert!(matches!(rig.publish("meshcore/#", QoS::ExactlyOnce, 3), Step::Denied(_)));
    assert!(matches!(rig.publish("", QoS::AtMostOnce, 0), Step::Denied(_)));
    assert!(rig.out().is_empty());
    rig.store(first);
    assert_eq!(rig.out(), [0x40, 2, 0, 1, 0x40, 2, 0, 2, 0x50, 2, 0, 3]);
}

#[test]
fn an_oversized_publish_is_acknowledged_in_its_turn() {
    let mut rig = Rig::new();
    let first = rig.publish(TOPIC, QoS::AtLeastOnce, 1);
    let what = Oversized { qos: QoS::AtLeastOnce, pkid: 2, payload: 1 << 20 };
    let step = rig.session.frame(Frame::Oversized(what)).unwrap();
    assert!(matches!(step, Step::Denied("publish_too_large")));
    rig.store(first);
    assert_eq!(rig.out(), [0x40, 2, 0, 1, 0x40, 2, 0, 2]);
}

#[test]
fn a_payload_does_not_hold_on_to_the_read_buffer() {
    let mut rig = Rig::new();
    let buffer = Bytes::from(vec![1; 10_000]);
    let mut publish = Publish::new(TOPIC, QoS::AtMostOnce, "");
    publish.payload = buffer.slice(5..10);
    let step = rig.step(Packet::Publish(publish));
    let Step::Publish(publication) = step else { panic!() };
    assert_eq!(&publication.payload[..], [1; 5]);
    assert!(buffer.is_unique());
}

#[test]
fn every_filter_of_a_subscribe_has_its_own_answer() {
    let mut rig = Rig::new();
    let mut subscribe = Subscribe::new("meshcore/#", QoS::ExactlyOnce);
    subscribe.pkid = 4;
    for filter in ["$share/g/x", "a/#/b", "é", "#"] {
        subscribe.add(filter.to_owned(), QoS::AtLeastOnce);
    }
    let Step::Subscribe(answer) = rig.step(Packet::Subscribe(subscribe)) else { panic!() };
    assert_eq!(answer.granted, ["meshcore/#", "#"]);
    assert_eq!(answer.denied.len(), 3);
    rig.session.subscribed(answer.pkid, answer.codes);
    assert_eq!(rig.out(), [0x90, 7, 0, 4, 0, 0x80, 0x80, 0x80, 0]);
}

#[test]
fn the_number_of_filters_is_bounded_and_old_ones_may_be_asked_for_again() {
    let mut rig = Rig::new();
    for n in 0..=MAX_FILTERS {
        let mut subscribe = Subscribe::new(format!("t/{n}"), QoS::AtMostOnce);
        subscribe.pkid = 1;
        let Step::Subscribe(answer) = rig.step(Packet::Subscribe(subscribe)) else { panic!() };
        assert_eq!(answer.granted.len(), usize::from(n < MAX_FILTERS));
    }
    let mut again = Subscribe::new("t/0", QoS::AtMostOnce);
    again.pkid = 1;
    let Step::Subscribe(answer) = rig.step(Packet::Subscribe(again)) else { panic!() };
    assert_eq!(answer.granted, ["t/0"]);
}

#[test]
fn an_unsubscribe_is_always_answered() {
    let mut rig = Rig::new();
    let mut unsubscribe = Unsubscribe::new("never/had");
    unsubscribe.pkid = 9;
    let Step::Unsubscribe(had) = rig.step(Packet::Unsubscribe(unsubscribe)) else { panic!() };
    assert!(had.is_empty());
    assert_eq!(rig.out(), [0xB0, 2, 0, 9]);
}

#[test]
fn what_ends_a_connection() {
    let second = Packet::Connect(v4::Connect::new("x"));
    let cases = [(second, "second_connect"), (Packet::PingResp, "packet_that_only_a_server_sends")];
    for (packet, expected) in cases {
        assert_eq!(Rig::new().session.frame(Frame::Packet(packet)).unwrap_err(), expected);
    }
    let mut publish = Publish::new("meshcore/\0", QoS::AtMostOnce, "x");
    publish.pkid = 1;
    let end = Rig::new().session.frame(Frame::Packet(Packet::Publish(publish))).unwrap_err();
    assert_eq!(end, "nul_in_topic");
}

#[test]
fn a_failed_message_ends_the_connection_and_is_not_acknowledged() {
    let mut rig = Rig::new();
    drop(rig.publish(TOPIC, QoS::AtLeastOnce, 5));
    let completion = rig.inbox.try_recv().unwrap();
    assert_eq!(rig.session.complete(completion), Err("message_not_stored"));
    assert!(rig.out().is_empty());
}

#[test]
fn a_full_window_and_a_full_out_buffer_stop_the_reading() {
    let mut rig = Rig::new();
    let mut steps = Vec::new();
    while rig.session.has_room() {
        let pkid = u16::try_from(steps.len() + 1).unwrap();
        steps.push(rig.publish(TOPIC, QoS::AtLeastOnce, pkid));
    }
    assert_eq!(steps.len(), super::super::inflight::MAX_WAITING);
    assert!(rig.session.can_deliver());
    steps.into_iter().for_each(|step| rig.store(step));
    assert!(rig.session.has_room());
    rig.session.out.resize(OUT_IS_FULL, 0);
    assert!(!rig.session.has_room());
    assert!(!rig.session.can_deliver());
}
