//! The first packet: what does it show, may it come in, and with which code is it turned away. Pure.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub(super) mod refusals;
#[cfg(test)]
mod tests;

use bytes::Buf;
use rumqttc::mqttbytes::v4::ConnectReturnCode;

pub(super) use self::refusals::Refusal;
use self::refusals::{silently, with};
use super::access::{self, Nearness};
use super::connect::{self, Connect, Login};
use super::frame::{CONNECT, Frames};
use super::identity::Who;
use super::sessions::Key;
use crate::config::Access;
use crate::crypto::token;

pub(super) use super::connect::Will;

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
    let packet = frames.take(head);
    let read = packet.get(head.len..).and_then(connect::read);
    read.map(Some).ok_or_else(|| silently("malformed_connect"))
}

/// Judges what needs no credentials: the client id.
///
/// # Errors
/// The client has to be turned away.
pub(super) fn check(connect: &Connect) -> Result<(), Refusal> {
    let reason = if connect.client_id.contains('\0') {
        "client_id_with_nul"
    } else if connect.client_id.len() > LONGEST_CLIENT_ID {
        "client_id_too_long"
    } else if connect.client_id.is_empty() && !connect.clean_session {
        // MQTT-3.1.3-8: a session that is to be kept needs a name.
        "persistent_without_client_id"
    } else {
        return Ok(());
    };
    Err(with(ConnectReturnCode::BadClientId, reason))
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
        return Err(with(ConnectReturnCode::NotAuthorized, reason));
    }
    match login {
        Some(login) if token::is_announced_by(&login.name) => by_token(login),
        Some(Login { name, password }) if has_accounts => Ok(Way::Password { name, password }),
        _ => {
            let code = ConnectReturnCode::NotAuthorized;
            anonymous.map_err(|reason| refusals::uninvited(with(code, reason), login.is_some()))?;
            let unknown_name = login.map(|login| login.name.chars().take(SHOWN_OF_NAME).collect());
            Ok(Way::Anonymous { unknown_name })
        }
    }
}

fn by_token(login: &Login) -> Result<Way<'_>, Refusal> {
    match token::key_in(&login.name) {
        Some(key) => Ok(Way::Token { key, token: &login.password }),
        None => Err(refusals::no_key_in_name(&login.name)),
    }
}

impl Admitted {
    /// A client that is let in as `who`.
    pub(super) fn new(connect: Connect, who: Who, unknown_name: Option<String>) -> Self {
        let Connect { client_id, clean_session, keep_alive, will, .. } = connect;
        Self { who, client_id, clean_session, keep_alive, will, unknown_name }
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
