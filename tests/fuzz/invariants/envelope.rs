//! Any payload on any topic.

use super::rows;
use super::rules::{SOURCE, rules};
use super::{assert_name, assert_printable};

use bytes::Bytes;
use meshbox::envelope::{self, Companion, Envelope, Heard, Observer, Status, Unread};
use meshbox::message::{Message, Origin, OriginKind, Receipt};
use meshbox::record::Recorder;

use std::cell::RefCell;

/// What holds for all bytes: the first line is the topic, the rest is the payload.
pub(crate) fn check(bytes: &[u8]) {
    let (topic, payload) = match bytes.iter().position(|b| *b == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[][..]),
    };
    message(&String::from_utf8_lossy(topic), payload.to_vec());
}

/// What holds for a message: read as live and as retained, recorded by both sets of rules.
pub(super) fn message(topic: &str, payload: impl Into<Bytes>) {
    let payload = payload.into();
    for retained in [false, true] {
        let message = arrived(topic, payload.clone(), retained);
        let read = envelope::read(&message, Some("sea"));
        assert_eq!(envelope::read(&message, Some("sea")), read, "read twice");
        match &read {
            Ok(Envelope::Packet(heard)) => packet(heard),
            Ok(Envelope::Status(said)) => status(said, retained),
            Ok(Envelope::Companion(said)) => companion(said),
            Err(unread) => {
                assert!(Unread::ALL.contains(unread));
                assert_name(unread.name());
                assert_printable(&unread.to_string());
            }
        }
        // A signature is looked at in one of the two only: that takes longer than all the rest.
        recorded(&LENIENT, &message);
        if !retained {
            recorded(&STRICT, &message);
        }
    }
}

/// A message from the source with a filter.
pub(super) fn arrived(topic: &str, payload: impl Into<Bytes>, retained: bool) -> Message {
    Message {
        topic: topic.to_owned(),
        payload: payload.into(),
        origin: Origin { kind: OriginKind::Source, name: SOURCE.into() },
        received_at_ms: 1_772_919_297_123,
        retained,
        receipt: Receipt::none(),
        place: None,
    }
}

fn packet(heard: &Heard) {
    assert!(!heard.raw.is_empty());
    assert_finite([heard.snr_db, heard.rssi_dbm]);
    assert_ne!(heard.direction.as_deref(), Some(""));
    heard.observer.iter().for_each(observer);
}

fn status(said: &Status, retained: bool) {
    observer(&said.observer);
    assert_eq!(said.retained, retained);
    let about = &said.about;
    assert_finite([about.noise_floor_dbm]);
    let texts = [&about.model, &about.firmware, &about.client_version, &about.radio];
    assert!(texts.into_iter().flatten().all(|text| !text.is_empty()));
}

fn companion(said: &Companion) {
    assert!(!said.text.is_empty());
    assert!(said.sender.len() < 50 && said.text.starts_with(&said.sender));
    assert_finite([said.snr_db, said.rssi_dbm]);
    assert_ne!(said.direction.as_deref(), Some(""));
}

pub(super) fn observer(observer: &Observer) {
    let Observer { id, name, iata } = observer;
    assert!(!id.is_empty());
    if id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()) {
        assert_eq!(*id, id.to_ascii_uppercase());
    }
    assert_ne!(name.as_deref(), Some(""));
    if let Some(iata) = iata {
        assert!(!iata.is_empty() && iata.trim() == iata, "{iata:?}");
        assert_eq!(*iata, iata.to_uppercase());
    }
}

fn assert_finite<const N: usize>(numbers: [Option<f64>; N]) {
    assert!(numbers.into_iter().flatten().all(f64::is_finite), "{numbers:?}");
}

/// What is recorded is fit for the tables, what is not comes back whole; and the second copy of a
/// message, whose signature is remembered, means what the first one did.
fn recorded(recorder: &'static Remembering, message: &Message) {
    let again = |m: &Message| arrived(&m.topic, m.payload.clone(), m.retained);
    recorder.with_borrow_mut(|recorder| {
        match (recorder.record(again(message)), recorder.record(again(message))) {
            (Ok(first), Ok(second)) => {
                assert_eq!(first.observer, second.observer);
                assert_eq!(
                    (&first.message.topic, &first.message.payload),
                    (&message.topic, &message.payload)
                );
                rows::check(&first.body);
                rows::same(&first.body, &second.body);
            }
            (Err(first), Err(second)) => {
                assert_eq!(
                    (&first.message.topic, &first.message.payload),
                    (&message.topic, &message.payload)
                );
                assert_name(first.reason);
                assert_printable(&first.detail);
                assert_eq!(
                    (first.reason, first.detail, first.noise),
                    (second.reason, second.detail, second.noise)
                );
            }
            (first, second) => panic!("{first:?} the first time, {second:?} the second"),
        }
    });
}

/// Recorders live from message to message, as in the hub.
type Remembering = std::thread::LocalKey<RefCell<Recorder>>;

thread_local! {
    static LENIENT: RefCell<Recorder> = RefCell::new(Recorder::new(rules(false)));
    static STRICT: RefCell<Recorder> = RefCell::new(Recorder::new(rules(true)));
}
