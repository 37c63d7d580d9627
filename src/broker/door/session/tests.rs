//! The protocol without a socket.
#![expect(clippy::disallowed_methods, reason = "a mailbox holds one completion per receipt")]

use super::subscribing::MAX_FILTERS;
use super::*;
use crate::broker::access::Nearness;
use crate::broker::frame::{Frames, Limits, Version};
use crate::broker::frame::{Oversized, Properties};
use crate::message::Outcome;
use bytes::Bytes;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{self, Packet, PubRel, Publish, Subscribe, Unsubscribe};
use rumqttc::v5::mqttbytes as codec;
use rumqttc::v5::mqttbytes::v5;

struct Rig {
    frames: Frames,
    session: Session,
    inbox: mpsc::UnboundedReceiver<Completion>,
}

impl Rig {
    fn new() -> Self {
        Self::speaking(Version::V4, Limits::default())
    }

    fn speaking(version: Version, limits: Limits) -> Self {
        let (mailbox, inbox) = mpsc::unbounded_channel();
        let who = Who::anonymous("127.0.0.1".parse().unwrap(), Nearness::Loopback);
        let writer = (Writer::new(version, limits), false);
        let session = Session::new(3, who, writer, Arc::default(), mailbox);
        let mut frames = Frames::default();
        frames.speak(version);
        Self { frames, session, inbox }
    }

    #[expect(clippy::needless_pass_by_value, reason = "made for the call")]
    fn step(&mut self, packet: Packet) -> Step {
        self.frame(&packet).unwrap()
    }

    fn frame(&mut self, packet: &Packet) -> Result<Step, &'static str> {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, usize::MAX).unwrap();
        self.frames.push(&bytes);
        self.taken()
    }

    fn step5(&mut self, packet: &v5::Packet) -> Step {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, None).unwrap();
        self.frames.push(&bytes);
        self.taken().unwrap()
    }

    fn taken(&mut self) -> Result<Step, &'static str> {
        let frame = self.frames.next()?.expect("a whole packet");
        self.session.frame(frame)
    }

    /// What was said, as another codec of MQTT 5 reads it.
    fn said5(&mut self) -> Vec<v5::Packet> {
        let mut out = self.session.out.split();
        let mut said = Vec::new();
        while !out.is_empty() {
            said.push(v5::Packet::read(&mut out, None).unwrap());
        }
        said
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
    let end = rig.frame(&Packet::Publish(publish)).unwrap_err();
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
    assert!(matches!(step, Step::TooLarge(_)));
    rig.store(first);
    assert_eq!(rig.out(), [0x40, 2, 0, 1, 0x40, 2, 0, 2]);
}

#[test]
fn a_payload_does_not_hold_on_to_the_read_buffer() {
    let mut rig = Rig::new();
    let buffer = Bytes::from(vec![1; 10_000]);
    let publish = crate::broker::frame::Publish {
        topic: TOPIC.to_owned(),
        payload: buffer.slice(5..10),
        qos: QoS::AtMostOnce,
        pkid: 0,
        retain: false,
        said: None,
    };
    let publish = Frame::Packet(super::Packet::Publish(publish));
    let step = rig.session.frame(publish).unwrap();
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
    let granted = ["meshcore/#", "#"].map(|f| (f.to_owned(), Grant::plain(QoS::AtLeastOnce)));
    assert_eq!(answer.granted, granted);
    assert_eq!(answer.denied.len(), 3);
    rig.session.subscribed(&answer);
    assert_eq!(rig.out(), [0x90, 7, 0, 4, 1, 0x80, 0x80, 0x80, 1]);
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
    assert_eq!(answer.granted, [("t/0".to_owned(), Grant::plain(QoS::AtMostOnce))]);
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
        assert_eq!(Rig::new().frame(&packet).unwrap_err(), expected);
    }
    let mut publish = Publish::new("meshcore/\0", QoS::AtMostOnce, "x");
    publish.pkid = 1;
    let end = Rig::new().frame(&Packet::Publish(publish)).unwrap_err();
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

fn publish5(topic: &str, qos: codec::QoS, pkid: u16) -> v5::Packet {
    let mut publish = v5::Publish::new(topic, qos, "x", None);
    publish.pkid = pkid;
    v5::Packet::Publish(publish)
}

#[test]
fn a_version_5_client_is_told_why_its_publish_was_ignored() {
    let mut rig = Rig::speaking(Version::V5, Limits::default());
    let stored = rig.step5(&publish5(TOPIC, codec::QoS::AtLeastOnce, 1));
    rig.step5(&publish5("other/x", codec::QoS::AtLeastOnce, 2));
    rig.step5(&publish5("meshcore/#", codec::QoS::AtLeastOnce, 3));
    let what = Oversized { qos: QoS::AtLeastOnce, pkid: 4, payload: 1 << 20 };
    rig.session.frame(Frame::Oversized(what)).unwrap();
    assert!(rig.out().is_empty());
    rig.store(stored);
    let expected = [
        &[0x40, 2, 0, 1][..],
        &[0x40, 3, 0, 2, 0x87],
        &[0x40, 3, 0, 3, 0x90],
        &[0x40, 3, 0, 4, 0x97],
    ];
    assert_eq!(rig.out(), expected.concat());
}

#[test]
fn a_refused_pubrec_ends_the_exchange_in_version_5() {
    let mut rig = Rig::speaking(Version::V5, Limits::default());
    rig.step5(&publish5("other/x", codec::QoS::ExactlyOnce, 2));
    assert_eq!(rig.out(), [0x50, 3, 0, 2, 0x87]);
    // The packet id is free: this is another message.
    let step = rig.step5(&publish5(TOPIC, codec::QoS::ExactlyOnce, 2));
    rig.store(step);
    assert_eq!(rig.out(), [0x50, 2, 0, 2]);
    rig.step5(&v5::Packet::PubRel(v5::PubRel::new(2, None)));
    assert_eq!(rig.out(), [0x70, 2, 0, 2]);
    rig.step5(&v5::Packet::PubRel(v5::PubRel::new(2, None)));
    assert_eq!(rig.out(), [0x70, 3, 0, 2, 0x92]);
}

#[test]
fn every_refused_filter_has_its_own_code_in_version_5() {
    let mut rig = Rig::speaking(Version::V5, Limits::default());
    let filters = ["meshcore/#", "$share/g/x", "a/#/b", "é", "$SYS/#"];
    let filters = filters.map(|f| v5::Filter::new(f, codec::QoS::AtLeastOnce));
    let mut own = v5::Filter::new("meshcore/x", codec::QoS::AtMostOnce);
    own.nolocal = true;
    let mut subscribe = v5::Subscribe::new_many(filters.into_iter().chain([own]), None);
    subscribe.pkid = 4;
    let Step::Subscribe(answer) = rig.step5(&v5::Packet::Subscribe(subscribe)) else { panic!() };
    rig.session.subscribed(&answer);
    let out = rig.out();
    assert_eq!(out[out.len() - 6..], [1, 0x9E, 0x8F, 0x83, 0x87, 0]);
    let reason = b"subscribe shared";
    assert_eq!(out[4..8], [19, 0x1F, 0, 16]);
    assert_eq!(&out[8..24], reason);
}

#[test]
fn an_unsubscribe_has_a_code_for_each_filter_in_version_5() {
    let mut rig = Rig::speaking(Version::V5, Limits::default());
    let mut subscribe = v5::Subscribe::new(v5::Filter::new("a", codec::QoS::AtMostOnce), None);
    subscribe.pkid = 1;
    rig.step5(&v5::Packet::Subscribe(subscribe));
    let mut unsubscribe = v5::Unsubscribe::new("a", None);
    unsubscribe.pkid = 9;
    unsubscribe.filters.push("b".to_owned());
    let Step::Unsubscribe(had) = rig.step5(&v5::Packet::Unsubscribe(unsubscribe)) else { panic!() };
    assert_eq!(had, ["a"]);
    assert_eq!(rig.out(), [0xB0, 5, 0, 9, 0, 0, 0x11]);
}

#[test]
fn retained_messages_come_as_the_subscription_wants_them() {
    use v5::RetainForwardRule::{Never, OnEverySubscribe, OnNewSubscribe};
    let mut rig = Rig::speaking(Version::V5, Limits::default());
    let cases = [(OnNewSubscribe, true), (OnNewSubscribe, false), (OnEverySubscribe, true)];
    for (rule, wanted) in cases.into_iter().chain([(Never, false)]) {
        let mut filter = v5::Filter::new("a", codec::QoS::AtMostOnce);
        filter.retain_forward_rule = rule;
        let mut subscribe = v5::Subscribe::new(filter, None);
        subscribe.pkid = 1;
        let Step::Subscribe(answer) = rig.step5(&v5::Packet::Subscribe(subscribe)) else {
            panic!()
        };
        assert_eq!(answer.granted, [("a".to_owned(), Grant::plain(QoS::AtMostOnce))]);
        assert_eq!(!answer.retained.is_empty(), wanted);
    }
}

#[test]
fn a_copy_larger_than_the_client_takes_is_not_sent() {
    let limits = Limits { packet: 100, ..Limits::default() };
    let mut rig = Rig::speaking(Version::V5, limits);
    // Two for the fixed header, two and one for the topic, one for the properties.
    assert!(rig.session.deliver(b"t", &[0; 94], (Flags::default(), Extras::default())));
    assert_eq!(rig.session.out.len(), 100);
    assert!(!rig.session.deliver(b"t", &[0; 95], (Flags::default(), Extras::default())));
    assert!(matches!(rig.said5()[..], [v5::Packet::Publish(_)]));
}

#[test]
fn a_goodbye_says_why_in_version_5_and_nothing_in_version_4() {
    let mut rig = Rig::speaking(Version::V5, Limits::default());
    rig.session.goodbye(Reason::TakenOver, "session_taken_over");
    let said = rig.said5();
    let [v5::Packet::Disconnect(goodbye)] = &said[..] else { panic!("{said:?}") };
    assert_eq!(goodbye.reason_code, v5::DisconnectReasonCode::SessionTakenOver);
    let words = goodbye.properties.as_ref().and_then(|p| p.reason_string.as_deref());
    assert_eq!(words, Some("session taken over"));
    let mut rig = Rig::new();
    rig.session.goodbye(Reason::TakenOver, "session_taken_over");
    assert!(rig.out().is_empty());
}

#[test]
fn words_that_are_not_wanted_or_do_not_fit_are_left_out() {
    let silent = Limits { problem_info: false, ..Limits::default() };
    let mut rig = Rig::speaking(Version::V5, silent);
    let mut subscribe = v5::Subscribe::new(v5::Filter::new("$x", codec::QoS::AtMostOnce), None);
    subscribe.pkid = 1;
    let Step::Subscribe(answer) = rig.step5(&v5::Packet::Subscribe(subscribe)) else { panic!() };
    rig.session.subscribed(&answer);
    assert_eq!(rig.out(), [0x90, 4, 0, 1, 0, 0x87]);
    let narrow = Limits { packet: 10, ..Limits::default() };
    let mut rig = Rig::speaking(Version::V5, narrow);
    rig.session.goodbye(Reason::ShuttingDown, "no_room_for_so_many_words");
    assert_eq!(rig.out(), [0xE0, 2, 0x8B, 0]);
}

#[test]
fn a_session_that_ends_with_its_connection_cannot_be_made_to_last() {
    let mut rig = Rig::speaking(Version::V5, Limits::default());
    rig.frames.push(&[0xE0, 7, 0, 5, 0x11, 0, 0, 0, 9]);
    assert_eq!(rig.taken().unwrap_err(), "session_expiry_too_late");
    rig.frames.push(&[0xE0, 1, 4]);
    let Step::Disconnect(goodbye) = rig.taken().unwrap() else { panic!() };
    assert!(goodbye.with_will);
}

#[test]
fn what_is_said_of_a_message_is_bounded() {
    for (bytes, fits) in [(4_096, true), (4_097, false)] {
        let mut rig = Rig::speaking(Version::V5, Limits::default());
        let said = Properties { passed_on: vec![0; bytes].into(), expiry_s: None };
        let publish = crate::broker::frame::Publish {
            topic: TOPIC.to_owned(),
            payload: Bytes::new(),
            qos: QoS::AtLeastOnce,
            pkid: 6,
            retain: false,
            said: Some(Arc::new(said)),
        };
        let step = rig.session.frame(Frame::Packet(super::Packet::Publish(publish))).unwrap();
        if fits {
            assert!(matches!(step, Step::Publish(_)), "{step:?}");
        } else {
            assert!(matches!(step, Step::TooLarge("publish_properties_too_large")), "{step:?}");
            assert_eq!(rig.out(), [0x40, 3, 0, 6, 0x97]);
        }
    }
}

#[test]
fn a_copy_says_in_version_5_what_its_publisher_said_and_in_version_4_nothing() {
    let passed_on = Box::from(*b"\x03\0\x01t\x26\0\x01a\0\x01b");
    let said = Properties { passed_on, expiry_s: Some(60) };
    let ids = [3, 268_435_455].map(|id| std::num::NonZeroU32::new(id).unwrap());
    let extras = Extras { said: Some(&said), expiry_s: Some(7), subscriptions: &ids };
    let mut rig = Rig::speaking(Version::V5, Limits::default());
    assert!(rig.session.deliver(b"t", b"x", (Flags::default(), extras)));
    let said = rig.said5();
    let [v5::Packet::Publish(copy)] = &said[..] else { panic!("{said:?}") };
    let found = copy.properties.as_ref().unwrap();
    assert_eq!(found.message_expiry_interval, Some(7));
    assert_eq!(found.content_type.as_deref(), Some("t"));
    assert_eq!(found.user_properties, [("a".to_owned(), "b".to_owned())]);
    assert_eq!(found.subscription_identifiers, [3, 268_435_455]);
    let mut rig = Rig::new();
    assert!(rig.session.deliver(b"t", b"x", (Flags::default(), extras)));
    assert_eq!(rig.out(), b"\x30\x04\0\x01tx");
}

#[test]
fn a_subscription_is_granted_with_its_options_and_its_identifier() {
    let mut rig = Rig::speaking(Version::V5, Limits::default());
    let mut filter = v5::Filter::new("a", codec::QoS::ExactlyOnce);
    (filter.nolocal, filter.preserve_retain) = (true, true);
    let properties = v5::SubscribeProperties { id: Some(9), user_properties: Vec::new() };
    let mut subscribe = v5::Subscribe::new(filter, Some(properties));
    subscribe.pkid = 1;
    let Step::Subscribe(answer) = rig.step5(&v5::Packet::Subscribe(subscribe)) else { panic!() };
    let grant = Grant::read(0b1101, 9);
    assert_eq!(answer.granted, [("a".to_owned(), grant)]);
    assert_eq!(rig.session.routed(), []);
}
