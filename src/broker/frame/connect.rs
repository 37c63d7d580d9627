//! The CONNECT (MQTT 3.1.1 §3.1, MQTT 5 §3.1), taken apart. Pure.
//!
//! Not by `rumqttc`'s codec: for that a password is text, for MQTT-3.1.3-5 it is bytes, and who sends
//! others than UTF-8 has to be told that they are wrong.

use bytes::Bytes;
use rumqttc::mqttbytes::QoS;

use super::packet::{Connect, Limits, Login, SessionWish, Version, Will};
use super::qos;
use super::v5::fields::Fields;
use super::v5::properties::{self, Found};

/// The connect flags (§3.1.2.3).
mod flag {
    pub(super) const RESERVED: u8 = 0x01;
    pub(super) const CLEAN_START: u8 = 0x02;
    pub(super) const WILL: u8 = 0x04;
    pub(super) const WILL_QOS: u8 = 0x18;
    pub(super) const WILL_RETAIN: u8 = 0x20;
    pub(super) const PASSWORD: u8 = 0x40;
    pub(super) const USERNAME: u8 = 0x80;
}

/// Reads what follows the fixed header, whose protocol name and level have been looked at.
///
/// # Errors
/// The name of what is wrong; MQTT 3.1.1 has one for everything.
pub(super) fn read(body: &[u8], version: Version) -> Result<Connect, &'static str> {
    let mut body = Body { rest: Fields(body), version };
    body.connect().map_err(|name| match version {
        Version::V4 => "malformed_connect",
        Version::V5 => name,
    })
}

struct Body<'a> {
    rest: Fields<'a>,
    version: Version,
}

impl Body<'_> {
    fn connect(&mut self) -> Result<Connect, &'static str> {
        let version = self.version;
        let (_protocol, _level) = (self.rest.binary()?, self.rest.byte()?);
        let flags = self.rest.byte()?;
        if flags & flag::RESERVED != 0 {
            return Err("reserved_bits_set");
        }
        let keep_alive = self.rest.two()?;
        let asked = self.properties(properties::OF_CONNECT)?;
        let client_id = self.text()?;
        let will = self.will(flags)?;
        let login = self.login(flags)?;
        if version == Version::V5 && !self.rest.is_empty() {
            return Err("malformed_connect");
        }
        if asked.auth_method {
            return Err("auth_method_unknown");
        }
        let clean_start = flags & flag::CLEAN_START != 0;
        let unless_said = match version {
            Version::V4 if !clean_start => u32::MAX,
            Version::V4 | Version::V5 => 0,
        };
        let expiry_s = asked.session_expiry_s.unwrap_or(unless_said);
        let session = SessionWish { clean_start, expiry_s };
        let limits = limits(&asked);
        Ok(Connect { version, client_id, session, keep_alive, login, will, limits })
    }

    fn properties(&mut self, allowed: &[u8]) -> Result<Found, &'static str> {
        match self.version {
            Version::V4 => Ok(Found::default()),
            Version::V5 => properties::read(&mut self.rest, allowed),
        }
    }

    /// A text. In MQTT 3.1.1 one with U+0000 is for others to judge, who have an answer for it.
    fn text(&mut self) -> Result<String, &'static str> {
        match self.version {
            Version::V4 => {
                String::from_utf8(self.rest.binary()?.to_vec()).map_err(|_| "malformed_text")
            }
            Version::V5 => self.rest.text().map(str::to_owned),
        }
    }

    fn will(&mut self, flags: u8) -> Result<Option<Will>, &'static str> {
        let wanted = qos((flags & flag::WILL_QOS) >> 3).ok_or("publish_with_qos_3")?;
        let retain = flags & flag::WILL_RETAIN != 0;
        if flags & flag::WILL == 0 {
            // MQTT-3.1.2-13 and -15; in MQTT 5 -11 and -13.
            let clear = wanted == QoS::AtMostOnce && !retain;
            return if clear { Ok(None) } else { Err("malformed_connect") };
        }
        let (delay_s, said) = match self.version {
            Version::V4 => (0, None),
            Version::V5 => {
                let (found, said) = properties::of_message(&mut self.rest, properties::OF_WILL)?;
                (found.will_delay_s.unwrap_or(0), said)
            }
        };
        let topic = self.text()?;
        let payload = Bytes::copy_from_slice(self.rest.binary()?);
        Ok(Some(Will { topic, payload, retain, qos: wanted, delay_s, said }))
    }

    /// Either may come without the other: in MQTT 3.1.1 not by MQTT-3.1.2-22, but clients do it.
    fn login(&mut self, flags: u8) -> Result<Option<Login>, &'static str> {
        let name = match (flags & flag::USERNAME != 0, self.version) {
            (false, _) => String::new(),
            (true, Version::V4) => String::from_utf8_lossy(self.rest.binary()?).into_owned(),
            (true, Version::V5) => self.rest.text()?.to_owned(),
        };
        let password = if flags & flag::PASSWORD == 0 { &[][..] } else { self.rest.binary()? };
        let given = !name.is_empty() || !password.is_empty();
        Ok(given.then(|| Login { name, password: password.to_vec() }))
    }
}

fn limits(asked: &Found) -> Limits {
    let unless_said = Limits::default();
    Limits {
        receive_maximum: asked.receive_maximum.unwrap_or(unless_said.receive_maximum),
        packet: asked.maximum_packet.unwrap_or(unless_said.packet),
        problem_info: asked.problem_info.unwrap_or(unless_said.problem_info),
    }
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
        let read = read(&body(&written), Version::V4).unwrap();
        let will = Will {
            topic: "t".into(),
            payload: "gone".into(),
            retain: true,
            qos: QoS::AtLeastOnce,
            delay_s: 0,
            said: None,
        };
        let login = Login { name: "roof".into(), password: b"hunter2".to_vec() };
        let expected = Connect {
            version: Version::V4,
            client_id: "gateway".into(),
            session: SessionWish { clean_start: false, expiry_s: u32::MAX },
            keep_alive: 55,
            will: Some(will),
            login: Some(login),
            limits: Limits::default(),
        };
        assert_eq!(read, expected);
        assert!(!format!("{read:?}").contains("hunter2"));
    }

    #[test]
    fn a_password_is_bytes_and_every_cut_is_malformed() {
        let v4 = b"\0\x04MQTT\x04\xc2\0\x3c\0\x01a\0\x01b\0\x03\xff\0\xfe";
        let v5 = b"\0\x04MQTT\x05\xc2\0\x3c\0\0\x01a\0\x01b\0\x03\xff\0\xfe";
        for (version, whole) in [(Version::V4, &v4[..]), (Version::V5, v5)] {
            let login = read(whole, version).unwrap().login.unwrap();
            assert_eq!((login.name.as_str(), &login.password[..]), ("b", &b"\xff\0\xfe"[..]));
            for len in 0..whole.len() {
                assert!(read(&whole[..len], version).is_err(), "{len} bytes");
            }
        }
        let unreadable = b"\0\x04MQTT\x04\x82\0\x3c\0\x01a\0\x02\xfcx";
        let login = read(unreadable, Version::V4).unwrap().login.unwrap();
        assert_eq!(login.name, "\u{fffd}x");
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
            assert_eq!(read(malformed, Version::V4), Err("malformed_connect"), "{malformed:x?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic_and_none_as_more_than_they_are(bytes: Vec<u8>) {
            for version in [Version::V4, Version::V5] {
                if let Ok(connect) = read(&bytes, version) {
                    let login = connect.login.map_or(0, |login| login.password.len());
                    prop_assert!(connect.client_id.len() + login <= bytes.len());
                }
            }
        }
    }
}
