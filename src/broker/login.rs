//! The first packet: who is it, may it come in, and with which code is it turned away. Pure.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::IpAddr;

use bytes::Buf;

use super::access::{self, Nearness};
use super::frame::{CONNECT, Connect, Frames, Limits, SessionWish, Version, Will, Writer};
use super::identity::Who;
use super::reason::{self, Answer};
use super::sessions::Key;
use crate::config::Access;

/// A client that may come in.
#[derive(Debug, PartialEq)]
pub(super) struct Admitted {
    /// Who it is to us.
    pub(super) who: Who,
    /// What it calls itself; may be empty in MQTT 3.1.1, and in MQTT 5 until it is given one.
    pub(super) client_id: String,
    /// What it speaks.
    pub(super) version: Version,
    /// What it wants to be kept.
    pub(super) session: SessionWish,
    /// What it takes.
    pub(super) limits: Limits,
    /// Seconds in which it promises to send something; 0: no promise.
    pub(super) keep_alive: u16,
    /// What to publish when it vanishes.
    pub(super) will: Option<Will>,
    /// The name under which it tried to log in although there are no accounts.
    pub(super) unknown_name: Option<String>,
}

/// A client that is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// What it is told; `None`: what came is no MQTT login, and gets no answer.
    pub(super) code: Option<Answer>,
    /// The name under which it is counted.
    pub(super) reason: &'static str,
}

/// The largest CONNECT, in bytes after the fixed header: names, a password of any token's length and
/// a will of several kilobytes. Strangers can make us keep as much, so it is not larger.
const MAX_CONNECT: usize = 16 * 1024;

/// A client of MQTT 5 that takes only smaller packets cannot be welcomed: its CONNACK would be larger.
const SMALLEST_PACKET: u32 = 64;

/// The longest client id, in bytes: it is kept, several times over, for as long as the connection
/// lasts. MQTT-3.1.3-5 asks for 23 of them, gateways send up to a hundred.
const LONGEST_CLIENT_ID: usize = 1024;

/// So much of a name is remembered, in characters: it is only for the log.
const SHOWN_OF_NAME: usize = 100;

/// Takes the CONNECT off the received bytes, `None` while it has not wholly arrived. What cannot be
/// one is refused at its first byte.
///
/// # Errors
/// It is not the CONNECT of MQTT 3.1.1 or 5. The version that the client speaks, as far as it is
/// known, is in `frames` then.
pub(super) fn read_connect(frames: &mut Frames) -> Result<Option<Connect>, Refusal> {
    let Some(first) = frames.waiting().first() else { return Ok(None) };
    if *first != CONNECT << 4 {
        return Err(silently("first_packet_is_no_connect"));
    }
    let Some(head) = frames.head().map_err(silently)? else { return Ok(None) };
    match protocol(frames.waiting().get(head.len..).unwrap_or_default()) {
        Protocol::NotYet => {}
        Protocol::Spoken(version) => frames.speak(version),
        Protocol::Other(answer_in, reason) => {
            frames.speak(answer_in);
            return Err(with(Answer::RefusedProtocolVersion, reason));
        }
        Protocol::None => return Err(silently("not_mqtt")),
    }
    if head.remaining > MAX_CONNECT {
        return Err(with(Answer::TooLarge, "connect_too_large"));
    }
    if frames.waiting().len() < head.len + head.remaining {
        return Ok(None);
    }
    frames.take_connect(head).map(Some).map_err(|name| with(reason::of_connect(name), name))
}

/// Judges a CONNECT that came from `peer`, `from` so far away, on a listener with this policy.
///
/// There are no accounts yet: a name and password from a client that could enter without them are
/// noted and otherwise not looked at, so that gateways moved here from an open broker work at once.
///
/// # Errors
/// The client has to be turned away.
pub(super) fn judge(
    connect: Connect,
    peer: IpAddr,
    from: Nearness,
    policy: Access,
) -> Result<Admitted, Refusal> {
    if connect.client_id.contains('\0') {
        return Err(with(Answer::BadClientId, "client_id_with_nul"));
    }
    if connect.client_id.len() > LONGEST_CLIENT_ID {
        return Err(with(Answer::BadClientId, "client_id_too_long"));
    }
    if connect.limits.packet < SMALLEST_PACKET {
        return Err(with(Answer::TooLarge, "maximum_packet_too_small"));
    }
    let nameless = connect.client_id.is_empty() && connect.version == Version::V4;
    if nameless && !connect.session.clean_start {
        // MQTT-3.1.3-8: a session that is to be kept needs a name.
        return Err(with(Answer::BadClientId, "persistent_without_client_id"));
    }
    access::admit_anonymous(policy, from).map_err(|reason| with(Answer::NotAuthorized, reason))?;
    Ok(Admitted {
        who: Who::anonymous(peer, from),
        client_id: connect.client_id,
        version: connect.version,
        session: connect.session,
        limits: connect.limits,
        keep_alive: connect.keep_alive,
        will: connect.will,
        unknown_name: connect
            .login
            .map(|login| login.username.chars().take(SHOWN_OF_NAME).collect()),
    })
}

impl Admitted {
    /// How it is written to.
    pub(super) fn writer(&self) -> Writer {
        Writer::new(self.version, self.limits)
    }

    /// What its session is known by; `None` without a client id, which nobody can come back with.
    pub(super) fn session_key(&self) -> Option<Key> {
        (!self.client_id.is_empty()).then(|| (self.who.identity.clone(), self.client_id.clone()))
    }
}

/// What a CONNECT begins with.
enum Protocol {
    /// It has not arrived.
    NotYet,
    /// MQTT as it is spoken here.
    Spoken(Version),
    /// Another version, by name, and the one in which its client will understand that.
    Other(Version, &'static str),
    /// No MQTT.
    None,
}

/// Looks at the protocol name and level as soon as they are there, before the rest, which is laid out
/// otherwise in other versions.
fn protocol(mut body: &[u8]) -> Protocol {
    if body.len() < 2 {
        return Protocol::NotYet;
    }
    let name_len = usize::from(body.get_u16());
    if name_len > "MQIsdp".len() {
        return Protocol::None;
    }
    let Some((name, rest)) = body.split_at_checked(name_len) else { return Protocol::NotYet };
    let Some(level) = rest.first() else { return Protocol::NotYet };
    match (name, level) {
        (b"MQTT", 4) => Protocol::Spoken(Version::V4),
        (b"MQTT", 5) => Protocol::Spoken(Version::V5),
        (b"MQTT" | b"MQIsdp", 3) => Protocol::Other(Version::V4, "mqtt_3_1"),
        // The highest bit is a bridge's, which asks for a favour of mosquitto's.
        (b"MQTT" | b"MQIsdp", level) if level & 0x7F < 5 => {
            Protocol::Other(Version::V4, "mqtt_version_unknown")
        }
        (b"MQTT" | b"MQIsdp", _) => Protocol::Other(Version::V5, "mqtt_version_unknown"),
        _ => Protocol::None,
    }
}

fn silently(reason: &'static str) -> Refusal {
    Refusal { code: None, reason }
}

fn with(code: Answer, reason: &'static str) -> Refusal {
    Refusal { code: Some(code), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::identity::Identity;
    use bytes::BytesMut;
    use rumqttc::mqttbytes::QoS;
    use rumqttc::mqttbytes::v4::{Connect as Sent, LastWill};
    use rumqttc::v5::mqttbytes::v5;

    fn read(bytes: &[u8]) -> Result<Option<Connect>, Refusal> {
        let mut frames = Frames::default();
        frames.space().extend_from_slice(bytes);
        read_connect(&mut frames)
    }

    fn bytes_of(connect: &Sent) -> BytesMut {
        let mut out = BytesMut::new();
        connect.write(&mut out).unwrap();
        out
    }

    #[expect(clippy::needless_pass_by_value, reason = "made for the call")]
    fn admit(connect: Sent) -> Result<Admitted, Refusal> {
        let connect = read(&bytes_of(&connect))?.unwrap();
        judge(connect, "10.0.0.9".parse().unwrap(), Nearness::Lan, Access::Lan)
    }

    #[test]
    fn every_cut_of_a_connect_waits_for_the_rest() {
        let mut connect = Sent::new("gateway");
        connect.set_login("user", "x".repeat(2000));
        connect.last_will = Some(LastWill::new("t", "gone", QoS::AtLeastOnce, true));
        let bytes = bytes_of(&connect);
        for len in 0..bytes.len() {
            assert_eq!(read(&bytes[..len]), Ok(None), "{len} bytes");
        }
        let read = read(&bytes).unwrap().unwrap();
        assert_eq!((read.version, read.client_id.as_str()), (Version::V4, "gateway"));
        assert_eq!(read.login.unwrap().password.len(), 2000);
        assert_eq!(read.will.unwrap().payload, "gone");
    }

    #[test]
    fn other_protocols_are_refused_with_code_1_or_in_silence() {
        let version = Some(Answer::RefusedProtocolVersion);
        let cases: [(&[u8], _, &str); 9] = [
            (b"\x10\x0e\0\x06MQIsdp\x03\x02\0\x3c\0\0", version, "mqtt_3_1"),
            (b"\x10\x0d\0\x04MQTT\x06\x02\0\x3c\0\0\0", version, "mqtt_version_unknown"),
            (b"\x10\x0c\0\x04MQTT\x84\x02\0\x3c\0\0", version, "mqtt_version_unknown"),
            (b"\x10\x0c\0\x04MQTX\x04\x02\0\x3c\0\0", None, "not_mqtt"),
            (b"\x10\x20\xff\xff", None, "not_mqtt"),
            (
                b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\x09",
                Some(Answer::Malformed),
                "malformed_connect",
            ),
            (b"GET / HTTP/1.1\r\n", None, "first_packet_is_no_connect"),
            (b"\x10\xff\xff\xff\x7f", Some(Answer::TooLarge), "connect_too_large"),
            (b"\x10\xff\xff\xff\xff", None, "malformed_length"),
        ];
        for (bytes, code, reason) in cases {
            assert_eq!(read(bytes), Err(Refusal { code, reason }), "{bytes:x?}");
        }
    }

    #[test]
    fn a_client_of_another_version_is_answered_in_the_one_that_it_understands() {
        let cases: [(u8, &[u8]); 6] = [
            (3, &[0x20, 2, 0, 1]),
            (0x83, &[0x20, 2, 0, 1]),
            (0x84, &[0x20, 2, 0, 1]),
            (0, &[0x20, 2, 0, 1]),
            (6, &[0x20, 3, 0, 0x84, 0]),
            (0x85, &[0x20, 3, 0, 0x84, 0]),
        ];
        for (level, answer) in cases {
            let mut frames = Frames::default();
            frames.space().extend_from_slice(b"\x10\x0d\0\x04MQTT");
            frames.space().extend_from_slice(&[level, 2, 0, 60, 0, 0, 0]);
            let refusal = read_connect(&mut frames).unwrap_err();
            let mut out = BytesMut::new();
            let writer = Writer::new(frames.version(), Limits::default());
            assert!(writer.turn_away(&mut out, refusal.code.unwrap(), ""));
            assert_eq!(out, answer, "{level}");
        }
    }

    fn v5_connect(id: &str, properties: Option<v5::ConnectProperties>) -> BytesMut {
        let (client_id, clean_start) = (id.to_owned(), true);
        let connect = v5::Connect { keep_alive: 60, client_id, clean_start, properties };
        let mut out = BytesMut::new();
        connect.write(&None, &None, &mut out).unwrap();
        out
    }

    #[test]
    fn a_version_5_client_may_leave_its_name_to_us_and_say_what_it_takes() {
        let mut asked = v5::ConnectProperties::new();
        asked.session_expiry_interval = Some(300);
        asked.receive_maximum = Some(9);
        asked.max_packet_size = Some(1_000);
        asked.request_problem_info = Some(0);
        let connect = read(&v5_connect("", Some(asked))).unwrap().unwrap();
        let peer = "10.0.0.9".parse().unwrap();
        let admitted = judge(connect, peer, Nearness::Lan, Access::Lan).unwrap();
        assert_eq!(admitted.version, Version::V5);
        assert_eq!(admitted.session, SessionWish { clean_start: true, expiry_s: 300 });
        let limits = Limits { receive_maximum: 9, packet: 1_000, problem_info: false };
        assert_eq!(admitted.limits, limits);
    }

    #[test]
    fn a_client_that_could_not_even_read_its_welcome_is_turned_away() {
        let mut asked = v5::ConnectProperties::new();
        asked.max_packet_size = Some(63);
        let connect = read(&v5_connect("x", Some(asked))).unwrap().unwrap();
        let peer = "10.0.0.9".parse().unwrap();
        let refusal = judge(connect, peer, Nearness::Lan, Access::Lan).unwrap_err();
        assert_eq!(refusal.code, Some(Answer::TooLarge));
    }

    #[test]
    fn every_cut_of_a_version_5_connect_waits_for_the_rest() {
        let bytes = v5_connect("gateway", Some(v5::ConnectProperties::new()));
        for len in 0..bytes.len() {
            assert_eq!(read(&bytes[..len]), Ok(None), "{len} bytes");
        }
        assert!(read(&bytes).unwrap().is_some());
    }

    #[test]
    fn client_ids_of_every_length_come_in() {
        for len in [0, 1, 23, 24, 128, 1024] {
            let admitted = admit(Sent::new("x".repeat(len))).unwrap();
            assert_eq!(admitted.session_key().is_some(), len > 0);
        }
    }

    #[test]
    fn what_a_stranger_calls_itself_does_not_fill_the_memory() {
        let refusal = admit(Sent::new("x".repeat(1025))).unwrap_err();
        assert_eq!(refusal.code, Some(Answer::BadClientId));
        let mut connect = Sent::new("x");
        connect.set_login("ü".repeat(5_000), "");
        let name = admit(connect).unwrap().unknown_name.unwrap();
        assert_eq!(name.chars().count(), 100);
        assert!(name.capacity() < 1_000);
    }

    #[test]
    fn an_empty_client_id_needs_a_clean_session() {
        let mut connect = Sent::new("");
        connect.clean_session = false;
        let refusal = admit(connect).unwrap_err();
        assert_eq!(refusal.code, Some(Answer::BadClientId));
    }

    #[test]
    fn credentials_are_noted_and_an_unmapped_address_is_the_identity() {
        let mut connect = Sent::new("x");
        connect.set_login("somebody", "secret");
        let connect = read(&bytes_of(&connect)).unwrap().unwrap();
        let peer = "::ffff:10.0.0.9".parse().unwrap();
        let admitted = judge(connect, peer, Nearness::Lan, Access::Lan).unwrap();
        assert_eq!(admitted.unknown_name.as_deref(), Some("somebody"));
        assert_eq!(admitted.who.identity, Identity::Anonymous("10.0.0.9".parse().unwrap()));
    }

    #[test]
    fn a_closed_policy_says_not_authorised_with_or_without_credentials() {
        for with_login in [false, true] {
            let mut connect = Sent::new("x");
            if with_login {
                connect.set_login("somebody", "secret");
            }
            let connect = read(&bytes_of(&connect)).unwrap().unwrap();
            let peer = "127.0.0.1".parse().unwrap();
            let refusal = judge(connect, peer, Nearness::Loopback, Access::Accounts).unwrap_err();
            assert_eq!(refusal.code, Some(Answer::NotAuthorized));
        }
    }
}
