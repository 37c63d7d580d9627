//! The first packet: what does it show, may it come in, and with which code is it turned away. Pure.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub(super) mod refusals;
#[cfg(test)]
mod tests;

use bytes::Buf;

pub(super) use self::refusals::Refusal;
use self::refusals::{silently, with};
use super::access::{self, Nearness};
use super::frame::{CONNECT, Connect, Frames, Limits, Login, SessionWish, Version, Will, Writer};
use super::identity::Who;
use super::reason::{self, Answer};
use super::sessions::Key;
use crate::config::Access;
use crate::crypto::token;

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

/// How a client wants to come in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way<'a> {
    /// Without a login, and may.
    Anonymous {
        /// The name that it gave although there are no accounts.
        unknown_name: Option<String>,
    },
    /// As the holder of a key.
    Token {
        /// The key of the user name.
        key: [u8; 32],
        /// What it gave for a password.
        token: &'a [u8],
    },
    /// As an account.
    Password {
        /// The user name.
        name: &'a str,
        /// The password.
        password: &'a [u8],
    },
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
        return Err(silently(what_else(frames.waiting())));
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

/// Judges what needs no credentials: the client id, and how much the client takes.
///
/// # Errors
/// The client has to be turned away.
pub(super) fn check(connect: &Connect) -> Result<(), Refusal> {
    if connect.limits.packet < SMALLEST_PACKET {
        return Err(with(Answer::TooLarge, "maximum_packet_too_small"));
    }
    let nameless = connect.client_id.is_empty() && connect.version == Version::V4;
    let reason = if connect.client_id.contains('\0') {
        "client_id_with_nul"
    } else if connect.client_id.len() > LONGEST_CLIENT_ID {
        "client_id_too_long"
    } else if nameless && !connect.session.clean_start {
        // MQTT-3.1.3-8: a session that is to be kept needs a name.
        "persistent_without_client_id"
    } else {
        return Ok(());
    };
    Err(with(Answer::BadClientId, reason))
}

/// How a client comes in that gave these credentials, on a listener with this policy, `from` so far
/// away.
///
/// A token is always judged, a name and password once there are accounts. While there are none, who
/// could enter without them does, so that gateways moved here from an open broker work at once.
///
/// # Errors
/// It cannot come in, whatever its credentials say.
pub(super) fn way(
    login: Option<&Login>,
    policy: Access,
    from: Nearness,
    has_accounts: bool,
) -> Result<Way<'_>, Refusal> {
    let anonymous = access::admit_anonymous(policy, from);
    if let (Access::Local, Err(reason)) = (policy, anonymous) {
        // No login opens what is closed to the network.
        return Err(with(Answer::NotAuthorized, reason));
    }
    match login {
        Some(login) if token::is_announced_by(&login.name) => by_token(login),
        Some(Login { name, password }) if has_accounts => Ok(Way::Password { name, password }),
        _ => {
            let code = Answer::NotAuthorized;
            anonymous.map_err(|reason| refusals::uninvited(with(code, reason), login.is_some()))?;
            let unknown_name = login.map(|login| login.name.chars().take(SHOWN_OF_NAME).collect());
            Ok(Way::Anonymous { unknown_name })
        }
    }
}

fn by_token(login: &Login) -> Result<Way<'_>, Refusal> {
    match token::key_in(&login.name) {
        Some(key) => Ok(Way::Token { key, token: &login.password }),
        None => Err(refusals::no_key_in_name()),
    }
}

impl Admitted {
    /// A client that is let in as `who`.
    pub(super) fn new(connect: Connect, who: Who, unknown_name: Option<String>) -> Self {
        let Connect { version, client_id, session, keep_alive, will, limits, .. } = connect;
        Self { who, client_id, version, session, limits, keep_alive, will, unknown_name }
    }

    /// How it is written to.
    pub(super) fn writer(&self) -> Writer {
        Writer::new(self.version, self.limits)
    }

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
