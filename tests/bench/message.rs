//! A whole message: topic and JSON in, rows out.

use crate::crypto::{SENDER, receiver, three_hundred};
use crate::fixture::{self, ONE_OF_EACH};

use divan::Bencher;
use meshbox::message::{Message, Origin, OriginKind, Receipt};
use meshbox::record::{Body, Record, Recorder, Rules, Unrecorded};

/// No channel key but the built-in one, signatures unchecked: all is decoded and hashed, nothing
/// but a message in the channel `Public` is opened.
#[divan::bench(args = ONE_OF_EACH)]
fn without_checks(bencher: Bencher<'_, '_>, name: &str) {
    let mut recorder = Recorder::new(Rules::default());
    let message = packet(name);
    bencher.with_inputs(&message).bench_local_values(|m| recorder.record(m));
}

/// 300 channel keys, and one of them fits.
#[divan::bench]
fn in_one_of_300_channels(bencher: Bencher<'_, '_>) {
    let mut recorder = Recorder::new(strict());
    let message = packet("grp_txt/in_test");
    let Ok(Record { body: Body::Packet(row), .. }) = recorder.record(message()) else {
        panic!("no packet")
    };
    assert_eq!(row.channel_hash.as_deref(), Some("#test"));
    bencher.with_inputs(&message).bench_local_values(|m| recorder.record(m));
}

/// An advert heard for the first time: its signature is checked.
#[divan::bench]
fn advert_first_heard(bencher: Bencher<'_, '_>) {
    let message = packet("advert/heard_repeater");
    let rules = || Rules { validate_signatures: true, ..Rules::default() };
    bencher
        .with_inputs(|| (Recorder::new(rules()), message()))
        .bench_local_values(|(mut recorder, m)| (recorder.record(m), recorder));
}

/// The same advert from another observer: its verdict is remembered.
#[divan::bench]
fn advert_heard_again(bencher: Bencher<'_, '_>) {
    let mut recorder = Recorder::new(strict());
    let message = packet("advert/heard_repeater");
    bencher.with_inputs(&message).bench_local_values(|m| recorder.record(m));
}

/// A text for a node whose private key we have, from one with which it has written before.
#[divan::bench]
fn text_for_a_node_of_ours(bencher: Bencher<'_, '_>) {
    let node_keys = vec![receiver()];
    let mut recorder = Recorder::new(Rules { node_keys, ..strict() });
    recorder.hear(&SENDER);
    let message = packet("txt_msg/for_known_keys");
    let Ok(Record { body: Body::Packet(row), .. }) = recorder.record(message()) else {
        panic!("no packet")
    };
    assert!(row.decoded_json.contains("hello"));
    bencher.with_inputs(&message).bench_local_values(|m| recorder.record(m));
}

/// What a gateway says of itself every few minutes.
#[divan::bench]
fn status(bencher: Bencher<'_, '_>) {
    let mut recorder = Recorder::new(strict());
    let topic = format!("meshcore/SEA/{OBSERVER}/status");
    let message = || arrived(topic.clone(), STATUS.to_owned());
    assert!(matches!(recorder.record(message()), Ok(Record { body: Body::Status(_), .. })));
    bencher.with_inputs(message).bench_local_values(|m| recorder.record(m));
}

/// Somebody else's message on the same broker.
#[divan::bench]
fn not_for_us(bencher: Bencher<'_, '_>) {
    let mut recorder = Recorder::new(strict());
    let message = || arrived("homeassistant/light/state".to_owned(), r#"{"on":true}"#.to_owned());
    assert!(matches!(recorder.record(message()), Err(Unrecorded { noise: true, .. })));
    bencher.with_inputs(message).bench_local_values(|m| recorder.record(m));
}

const OBSERVER: &str = "7E7662676F7F0850A8A355BAAFBFC1EB7B4174C340442D7D7161C9474A2C9400";

const STATUS: &str = r#"{"status":"online","timestamp":"2026-10-14T18:00:00.000123+00:00","origin":"SEA Cap Hill","origin_id":"7E7662676F7F0850A8A355BAAFBFC1EB7B4174C340442D7D7161C9474A2C9400","radio":"910.525,62.5,7,5","model":"Heltec V4 OLED","firmware_version":"1.13.0-letsmesh.net-dev-2026-02-17-2005977 (Build: 17-Feb-2026)","client_version":"meshcoretomqtt/1.1.0-abc1234","stats":{"battery_mv":4261,"uptime_secs":75400,"debug_flags":0,"queue_len":0,"noise_floor":-99,"tx_air_secs":474,"rx_air_secs":9949,"recv_errors":2331}}"#;

/// A fixture as the most common uploader sends it.
fn packet(name: &str) -> impl Fn() -> Message {
    let raw = fixture::raw(name);
    let json = format!(
        r#"{{"origin":"SEA Cap Hill","origin_id":"{OBSERVER}","timestamp":"2026-10-14T18:03:11.482190+00:00","type":"PACKET","direction":"rx","time":"18:03:10","date":"14/10/2026","len":"124","packet_type":"4","route":"F","payload_len":"120","raw":"{raw}","SNR":"12","RSSI":"-65","score":"1000","duration":"312","hash":"A1B2C3D4E5F67890"}}"#
    );
    let topic = format!("meshcore/SEA/{OBSERVER}/packets");
    move || arrived(topic.clone(), json.clone())
}

fn arrived(topic: String, payload: String) -> Message {
    Message {
        topic,
        payload: payload.into(),
        origin: Origin { kind: OriginKind::Source, name: "region".into() },
        received_at_ms: 1_792_000_991_500,
        retained: false,
        receipt: Receipt::none(),
        place: None,
    }
}

fn strict() -> Rules {
    Rules { keyring: three_hundred(), validate_signatures: true, ..Rules::default() }
}
