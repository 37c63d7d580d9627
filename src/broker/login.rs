//! The first packet: who is it, may it come in, and with which code is it turned away. Pure.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::IpAddr;

use bytes::{Buf, Bytes};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, ConnectReturnCode, Packet};

use super::access::{self, Nearness};
use super::frame::{CONNECT, Frames};
use super::identity::Who;
use super::sessions::Key;
use crate::config::Access;

/// A client that may come in.
#[derive(Debug, PartialEq)]
pub(super) struct Admitted {
    /// Who it is to us.
    pub(super) who: Who,
    /// What it calls itself; may be empty.
    pub(super) client_id: String,
    /// Whether it wants nothing to be left of an earlier session, or of this one.
    pub(super) clean_session: bool,
    /// Seconds in which it promises to send something; 0: no promise.
    pub(super) keep_alive: u16,
    /// What to publish when it vanishes.
    pub(super) will: Option<Will>,
    /// The name under which it tried to log in although there are no accounts.
    pub(super) unknown_name: Option<String>,
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

/// A client that is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The code of the CONNACK; `None`: what came is no MQTT login, and gets no answer.
    pub(super) code: Option<ConnectReturnCode>,
    /// The name under which it is counted.
    pub(super) reason: &'static str,
}

/// The largest CONNECT, in bytes after the fixed header: names, a password of any token's length and
/// a will of several kilobytes. Strangers can make us keep as much, so it is not larger.
const MAX_CONNECT: usize = 16 * 1024;

/// The longest client id, in bytes: it is kept, several times over, for as long as the connection
/// lasts. MQTT-3.1.3-5 asks for 23 of them, gateways send up to a hundred.
const LONGEST_CLIENT_ID: usize = 1024;

/// So much of a name is remembered, in characters: it is only for the log.
const SHOWN_OF_NAME: usize = 100;

/// Takes the CONNECT off the received bytes, `None` while it has not wholly arrived. What cannot be
/// one is refused at its first byte.
///
/// # Errors
/// It is not the CONNECT of MQTT 3.1.1.
pub(super) fn read_connect(frames: &mut Frames) -> Result<Option<Connect>, Refusal> {
    let Some(first) = frames.waiting().first() else { return Ok(None) };
    if *first != CONNECT << 4 {
        return Err(silently(what_else(frames.waiting())));
    }
    let Some(head) = frames.head().map_err(silently)? else { return Ok(None) };
    if head.remaining > MAX_CONNECT {
        return Err(silently("connect_too_large"));
    }
    if let Some(start) = frames.waiting().get(head.len..) {
        check_protocol(start)?;
    }
    if frames.waiting().len() < head.len + head.remaining {
        return Ok(None);
    }
    match Packet::read(&mut frames.take(head), usize::MAX) {
        Ok(Packet::Connect(connect)) => Ok(Some(connect)),
        _ => Err(silently("malformed_connect")),
    }
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
        return Err(with(ConnectReturnCode::BadClientId, "client_id_with_nul"));
    }
    if connect.client_id.len() > LONGEST_CLIENT_ID {
        return Err(with(ConnectReturnCode::BadClientId, "client_id_too_long"));
    }
    if connect.client_id.is_empty() && !connect.clean_session {
        // MQTT-3.1.3-8: a session that is to be kept needs a name.
        return Err(with(ConnectReturnCode::BadClientId, "persistent_without_client_id"));
    }
    access::admit_anonymous(policy, from)
        .map_err(|reason| with(ConnectReturnCode::NotAuthorized, reason))?;
    Ok(Admitted {
        who: Who::anonymous(peer, from),
        client_id: connect.client_id,
        clean_session: connect.clean_session,
        keep_alive: connect.keep_alive,
        will: connect.last_will.map(|will| Will {
            topic: will.topic,
            payload: Bytes::copy_from_slice(&will.message),
            retain: will.retain,
            qos: will.qos,
        }),
        unknown_name: connect
            .login
            .map(|login| login.username.chars().take(SHOWN_OF_NAME).collect()),
    })
}

impl Admitted {
    /// What its session is known by; `None` without a client id, which nobody can come back with.
    pub(super) fn session_key(&self) -> Option<Key> {
        (!self.client_id.is_empty()).then(|| (self.who.identity.clone(), self.client_id.clone()))
    }
}

/// Names what was sent instead of a CONNECT, as far as the usual mistakes go.
fn what_else(received: &[u8]) -> &'static str {
    match received {
        [0x16, ..] => "tls_on_plain_listener",
        [b'G' | b'H' | b'O', ..] => "http_without_websocket",
        [b'P', b'R', b'O', ..] | [b'\r', b'\n', ..] => "proxy_header_not_expected",
        _ => "first_packet_is_no_connect",
    }
}

/// Looks at the protocol name, level and flags as soon as they are there, before the rest, which is
/// laid out otherwise in other versions.
fn check_protocol(mut body: &[u8]) -> Result<(), Refusal> {
    if body.len() < 2 {
        return Ok(());
    }
    let name_len = usize::from(body.get_u16());
    if name_len > "MQIsdp".len() {
        return Err(silently("not_mqtt"));
    }
    let Some((name, rest)) = body.split_at_checked(name_len) else { return Ok(()) };
    let Some((level, rest)) = rest.split_first() else { return Ok(()) };
    match (name, level) {
        (b"MQTT", 4) => {}
        (b"MQTT" | b"MQIsdp", _) => {
            let reason = match level {
                3 => "mqtt_3_1",
                5 => "mqtt_5",
                _ => "mqtt_version_unknown",
            };
            return Err(with(ConnectReturnCode::RefusedProtocolVersion, reason));
        }
        _ => return Err(silently("not_mqtt")),
    }
    match rest.first() {
        // MQTT-3.1.2-3: the lowest flag is reserved.
        Some(flags) if flags & 1 != 0 => Err(silently("malformed_connect")),
        _ => Ok(()),
    }
}

fn silently(reason: &'static str) -> Refusal {
    Refusal { code: None, reason }
}

fn with(code: ConnectReturnCode, reason: &'static str) -> Refusal {
    Refusal { code: Some(code), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::identity::Identity;
    use bytes::BytesMut;
    use rumqttc::mqttbytes::v4::LastWill;

    fn read(bytes: &[u8]) -> Result<Option<Connect>, Refusal> {
        let mut frames = Frames::default();
        frames.push(bytes);
        read_connect(&mut frames)
    }

    fn bytes_of(connect: &Connect) -> BytesMut {
        let mut out = BytesMut::new();
        connect.write(&mut out).unwrap();
        out
    }

    fn admit(connect: Connect) -> Result<Admitted, Refusal> {
        judge(connect, "10.0.0.9".parse().unwrap(), Nearness::Lan, Access::Lan)
    }

    #[test]
    fn every_cut_of_a_connect_waits_for_the_rest() {
        let mut connect = Connect::new("gateway");
        connect.set_login("user", "x".repeat(2000));
        connect.last_will = Some(LastWill::new("t", "gone", QoS::AtLeastOnce, true));
        let bytes = bytes_of(&connect);
        for len in 0..bytes.len() {
            assert_eq!(read(&bytes[..len]), Ok(None), "{len} bytes");
        }
        assert_eq!(read(&bytes), Ok(Some(connect)));
    }

    #[test]
    fn other_protocols_are_refused_with_code_1_or_in_silence() {
        let version = Some(ConnectReturnCode::RefusedProtocolVersion);
        let cases: [(&[u8], _, &str); 13] = [
            (b"\x10\x0e\0\x06MQIsdp\x03\x02\0\x3c\0\0", version, "mqtt_3_1"),
            (b"\x10\x0d\0\x04MQTT\x05\x02\0\x3c\0\0\0", version, "mqtt_5"),
            (b"\x10\x0c\0\x04MQTT\x84\x02\0\x3c\0\0", version, "mqtt_version_unknown"),
            (b"\x10\x0c\0\x04MQTX\x04\x02\0\x3c\0\0", None, "not_mqtt"),
            (b"\x10\x20\xff\xff", None, "not_mqtt"),
            (b"\x10\x0c\0\x04MQTT\x04\x03\0\x3c\0\0", None, "malformed_connect"),
            (b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\x09", None, "malformed_connect"),
            (b"GET / HTTP/1.1\r\n", None, "http_without_websocket"),
            (b"\x10\xff\xff\xff\x7f", None, "connect_too_large"),
            (b"\x16\x03\x01\x02\0\x01", None, "tls_on_plain_listener"),
            (b"PROXY TCP4 1.2.3.4", None, "proxy_header_not_expected"),
            (b"\r\n\r\n\0\r\nQUIT\n", None, "proxy_header_not_expected"),
            (b"\x50\x02\0\x01", None, "first_packet_is_no_connect"),
        ];
        for (bytes, code, reason) in cases {
            assert_eq!(read(bytes), Err(Refusal { code, reason }), "{bytes:x?}");
        }
    }

    #[test]
    fn client_ids_of_every_length_come_in() {
        for len in [0, 1, 23, 24, 128, 1024] {
            let admitted = admit(Connect::new("x".repeat(len))).unwrap();
            assert_eq!(admitted.session_key().is_some(), len > 0);
        }
    }

    #[test]
    fn what_a_stranger_calls_itself_does_not_fill_the_memory() {
        let refusal = admit(Connect::new("x".repeat(1025))).unwrap_err();
        assert_eq!(refusal.code, Some(ConnectReturnCode::BadClientId));
        let mut connect = Connect::new("x");
        connect.set_login("ü".repeat(10_000), "");
        let name = admit(connect).unwrap().unknown_name.unwrap();
        assert_eq!(name.chars().count(), 100);
        assert!(name.capacity() < 1_000);
    }

    #[test]
    fn an_empty_client_id_needs_a_clean_session() {
        let mut connect = Connect::new("");
        connect.clean_session = false;
        let refusal = admit(connect).unwrap_err();
        assert_eq!(refusal.code, Some(ConnectReturnCode::BadClientId));
    }

    #[test]
    fn credentials_are_noted_and_an_unmapped_address_is_the_identity() {
        let mut connect = Connect::new("x");
        connect.set_login("somebody", "secret");
        let peer = "::ffff:10.0.0.9".parse().unwrap();
        let admitted = judge(connect, peer, Nearness::Lan, Access::Lan).unwrap();
        assert_eq!(admitted.unknown_name.as_deref(), Some("somebody"));
        assert_eq!(admitted.who.identity, Identity::Anonymous("10.0.0.9".parse().unwrap()));
    }

    #[test]
    fn a_closed_policy_says_not_authorised_with_or_without_credentials() {
        for with_login in [false, true] {
            let mut connect = Connect::new("x");
            if with_login {
                connect.set_login("somebody", "secret");
            }
            let peer = "127.0.0.1".parse().unwrap();
            let refusal = judge(connect, peer, Nearness::Loopback, Access::Accounts).unwrap_err();
            assert_eq!(refusal.code, Some(ConnectReturnCode::NotAuthorized));
        }
    }
}
