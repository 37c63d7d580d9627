//! The CONNECT of MQTT 5 (§3.1).

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::QoS;

use super::super::packet::{Connect, Limits, Login, SessionWish, Version, Will};
use super::super::{Head, qos};
use super::fields::Fields;
use super::properties;

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

/// Reads a whole CONNECT whose protocol name and level have been looked at.
///
/// # Errors
/// The name of what is wrong.
pub(in crate::broker::frame) fn read_connect(
    whole: &BytesMut,
    head: Head,
) -> Result<Connect, &'static str> {
    let mut body = Fields(whole.get(head.len..).unwrap_or_default());
    body.text()?;
    body.byte()?;
    let flags = body.byte()?;
    if flags & flag::RESERVED != 0 {
        return Err("reserved_bits_set");
    }
    let keep_alive = body.two()?;
    let asked = properties::read(&mut body, properties::OF_CONNECT)?;
    let client_id = body.text()?.to_owned();
    let will = will(&mut body, flags)?;
    let login = login(&mut body, flags)?;
    if !body.is_empty() {
        return Err("malformed_connect");
    }
    if asked.auth_method {
        return Err("auth_method_unknown");
    }
    let unless_said = Limits::default();
    Ok(Connect {
        version: Version::V5,
        client_id,
        session: SessionWish {
            clean_start: flags & flag::CLEAN_START != 0,
            expiry_s: asked.session_expiry_s.unwrap_or(0),
        },
        keep_alive,
        login,
        will,
        limits: Limits {
            receive_maximum: asked.receive_maximum.unwrap_or(unless_said.receive_maximum),
            packet: asked.maximum_packet.unwrap_or(unless_said.packet),
            problem_info: asked.problem_info.unwrap_or(unless_said.problem_info),
        },
    })
}

fn will(body: &mut Fields, flags: u8) -> Result<Option<Will>, &'static str> {
    let wanted = qos((flags & flag::WILL_QOS) >> 3).ok_or("publish_with_qos_3")?;
    let retain = flags & flag::WILL_RETAIN != 0;
    if flags & flag::WILL == 0 {
        // MQTT-3.1.2-11, MQTT-3.1.2-13.
        let clear = wanted == QoS::AtMostOnce && !retain;
        return if clear { Ok(None) } else { Err("malformed_connect") };
    }
    let asked = properties::read(body, properties::OF_WILL)?;
    let topic = body.text()?.to_owned();
    let payload = Bytes::copy_from_slice(body.binary()?);
    let delay_s = asked.will_delay_s.unwrap_or(0);
    Ok(Some(Will { topic, payload, retain, qos: wanted, delay_s }))
}

fn login(body: &mut Fields, flags: u8) -> Result<Option<Login>, &'static str> {
    let username = if flags & flag::USERNAME == 0 { None } else { Some(body.text()?) };
    let password = if flags & flag::PASSWORD == 0 { None } else { Some(body.binary()?) };
    if username.is_none() && password.is_none() {
        return Ok(None);
    }
    // No password of ours is anything but text: one that is not cannot be right.
    let password = String::from_utf8_lossy(password.unwrap_or_default()).into_owned();
    Ok(Some(Login { username: username.unwrap_or_default().to_owned(), password }))
}
