//! The CONNECT of MQTT 3.1.1 (§3.1), taken apart. Pure.
//!
//! Not by `rumqttc`'s codec: for that a password is text, for MQTT-3.1.3-5 it is bytes, and who sends
//! others than UTF-8 has to be told that they are wrong.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt;

use bytes::Bytes;
use rumqttc::mqttbytes::QoS;

/// What a client says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Connect {
    /// What it calls itself; may be empty.
    pub(super) client_id: String,
    /// Whether nothing of an earlier session is wanted.
    pub(super) clean_session: bool,
    /// Seconds in which it promises to send something; 0: no promise.
    pub(super) keep_alive: u16,
    /// What to publish when it vanishes.
    pub(super) will: Option<Will>,
    /// User name and password, if it gave any.
    pub(super) login: Option<Login>,
}

/// What to publish when a client vanishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Will {
    /// Where; not yet judged.
    pub(super) topic: String,
    /// What: a copy of its own, not a part of a read buffer.
    pub(super) payload: Bytes,
    /// Whether it is to be retained.
    pub(super) retain: bool,
    /// How sure the client wants to be.
    pub(super) qos: QoS,
}

/// Credentials. `Debug` leaves out the password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    /// The user name; what is not UTF-8 in it is replaced, so that it is nobody's.
    pub(super) name: String,
    /// The password, any bytes; empty where there is none.
    pub(super) password: Vec<u8>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({:?})", self.name)
    }
}

/// Reads what follows the fixed header, whose protocol name and level have been looked at.
/// `None`: it is malformed.
pub(super) fn read(body: &[u8]) -> Option<Connect> {
    let mut rest = body;
    let rest = &mut rest;
    let (_protocol, _level) = (field(rest)?, byte(rest)?);
    let flags = byte(rest)?;
    let keep_alive = length(rest)?;
    let client_id = text(rest)?;
    let will = will(flags, rest)?;
    // Either may come without the other: not by MQTT-3.1.2-22, but clients do it.
    let name = if flags & 0x80 != 0 { field(rest)? } else { &[] };
    let password = if flags & 0x40 != 0 { field(rest)? } else { &[] };
    let login = (!name.is_empty() || !password.is_empty()).then(|| Login {
        name: String::from_utf8_lossy(name).into_owned(),
        password: password.to_vec(),
    });
    let clean_session = flags & 0x02 != 0;
    Some(Connect { client_id, clean_session, keep_alive, will, login })
}

/// The inner `None`: there is no will.
fn will(flags: u8, rest: &mut &[u8]) -> Option<Option<Will>> {
    if flags & 0x04 == 0 {
        // MQTT-3.1.2-13 and -15.
        return (flags & 0x38 == 0).then_some(None);
    }
    let qos = match (flags >> 3) & 0b11 {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        2 => QoS::ExactlyOnce,
        _ => return None,
    };
    let (topic, payload) = (text(rest)?, Bytes::copy_from_slice(field(rest)?));
    Some(Some(Will { topic, payload, retain: flags & 0x20 != 0, qos }))
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    Some(*first)
}

fn length(rest: &mut &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes([byte(rest)?, byte(rest)?]))
}

/// Bytes with their length before them.
fn field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = length(rest)?;
    let (field, after) = rest.split_at_checked(usize::from(len))?;
    *rest = after;
    Some(field)
}

fn text(rest: &mut &[u8]) -> Option<String> {
    String::from_utf8(field(rest)?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use proptest::prelude::*;
    use rumqttc::mqttbytes::v4;

    /// What follows the fixed header, which has two bytes.
    fn body(connect: &v4::Connect) -> Vec<u8> {
        let mut out = BytesMut::new();
        connect.write(&mut out).unwrap();
        assert!(out.len() < 130);
        out[2..].to_vec()
    }

    #[test]
    fn it_reads_what_another_codec_writes() {
        let mut written = v4::Connect::new("gateway");
        written.set_login("roof", "hunter2");
        written.keep_alive = 55;
        written.clean_session = false;
        written.last_will = Some(v4::LastWill::new("t", "gone", QoS::AtLeastOnce, true));
        let read = read(&body(&written)).unwrap();
        let will =
            Will { topic: "t".into(), payload: "gone".into(), retain: true, qos: QoS::AtLeastOnce };
        let login = Login { name: "roof".into(), password: b"hunter2".to_vec() };
        let expected = Connect {
            client_id: "gateway".into(),
            clean_session: false,
            keep_alive: 55,
            will: Some(will),
            login: Some(login),
        };
        assert_eq!(read, expected);
        assert!(!format!("{read:?}").contains("hunter2"));
    }

    #[test]
    fn a_password_is_bytes_and_every_cut_is_malformed() {
        let whole = b"\0\x04MQTT\x04\xc2\0\x3c\0\x01a\0\x01b\0\x03\xff\0\xfe";
        let login = read(whole).unwrap().login.unwrap();
        assert_eq!((login.name.as_str(), &login.password[..]), ("b", &b"\xff\0\xfe"[..]));
        for len in 0..whole.len() {
            assert_eq!(read(&whole[..len]), None, "{len} bytes");
        }
        let unreadable =
            read(b"\0\x04MQTT\x04\x82\0\x3c\0\x01a\0\x02\xfcx").unwrap().login.unwrap();
        assert_eq!(unreadable.name, "\u{fffd}x");
    }

    #[test]
    fn what_mqtt_forbids_is_malformed() {
        for malformed in [
            &b"\0\x04MQTT\x04\x0a\0\x3c\0\x01a"[..],
            b"\0\x04MQTT\x04\x22\0\x3c\0\x01a",
            b"\0\x04MQTT\x04\x1e\0\x3c\0\x01a\0\x01t\0\x01p",
            b"\0\x04MQTT\x04\x02\0\x3c\0\x01\xff",
            b"\0\x04MQTT\x04\x06\0\x3c\0\x01a\0\x01\xff\0\x01p",
        ] {
            assert_eq!(read(malformed), None, "{malformed:x?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic_and_none_as_more_than_they_are(bytes: Vec<u8>) {
            if let Some(connect) = read(&bytes) {
                let login = connect.login.map_or(0, |login| login.password.len());
                prop_assert!(connect.client_id.len() + login <= bytes.len());
            }
        }
    }
}
