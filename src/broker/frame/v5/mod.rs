//! MQTT 5, as a server reads it.
//!
//! Our own: `rumqttc::v5::mqttbytes` is a client's codec. It takes a length of properties that
//! reaches into the payload, the same property twice, U+0000, reserved bits; it knows no AUTH, loses
//! its place behind a subscription identifier, refuses the shortest DISCONNECT, and cannot say
//! whether bytes were malformed or forbidden, for which MQTT 5 has different answers. It is the other
//! side in the tests.

pub(super) mod fields;
pub(super) mod properties;
#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::QoS;

use self::fields::Fields;
use super::head::Head;
use super::packet::{
    Disconnect, Filter, Packet, Publish, Reply, RetainHandling, Subscribe, Unsubscribe,
};
use super::{
    AUTH, CONNECT, DISCONNECT, PINGREQ, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBSCRIBE,
    UNSUBSCRIBE,
};

/// Reads one whole packet, whose fixed header's flags are right.
///
/// # Errors
/// The name of what is wrong.
pub(super) fn read(whole: BytesMut, head: Head) -> Result<Packet, &'static str> {
    let whole = whole.freeze();
    let mut body = Fields(whole.get(head.len..).unwrap_or_default());
    Ok(match head.kind {
        PUBLISH => return publish(&whole, body, head.flags).map(Packet::Publish),
        PUBACK => Packet::PubAck(reply(body, &OF_PUBACK)?),
        PUBREC => Packet::PubRec(reply(body, &OF_PUBACK)?),
        PUBREL => Packet::PubRel(reply(body, &OF_PUBREL)?),
        PUBCOMP => Packet::PubComp(reply(body, &OF_PUBREL)?),
        SUBSCRIBE => Packet::Subscribe(subscribe(&mut body)?),
        UNSUBSCRIBE => Packet::Unsubscribe(unsubscribe(&mut body)?),
        PINGREQ if body.is_empty() => Packet::PingReq,
        PINGREQ => return Err("malformed_packet"),
        DISCONNECT => Packet::Disconnect(disconnect(body)?),
        CONNECT => Packet::Connect,
        AUTH => Packet::Auth,
        0 => return Err("malformed_packet"),
        _ => Packet::OfServer,
    })
}

/// The bytes before a PUBLISH's payload, counted from the start of its body; `None` while what says
/// so has not arrived.
///
/// # Errors
/// The length of its properties is malformed.
pub(super) fn before_payload(body: &[u8], qos: QoS) -> Result<Option<usize>, &'static str> {
    let mut fields = Fields(body);
    if fields.binary().is_err() || (qos != QoS::AtMostOnce && fields.two().is_err()) {
        return Ok(None);
    }
    match fields.variable() {
        Ok(len) => Ok(Some(body.len() - fields.0.len() + usize::try_from(len).unwrap_or(0))),
        Err("malformed_length") => Err("malformed_length"),
        Err(_) => Ok(None),
    }
}

fn publish(whole: &Bytes, mut body: Fields, flags: u8) -> Result<Publish, &'static str> {
    let qos = super::qos((flags >> 1) & 0b11).ok_or("publish_with_qos_3")?;
    if qos == QoS::AtMostOnce && flags & 0b1000 != 0 {
        // MQTT-3.3.1-2: what is not acknowledged is not sent again.
        return Err("malformed_flags");
    }
    let topic = body.text()?.to_owned();
    let pkid = if qos == QoS::AtMostOnce { 0 } else { body.two()? };
    if qos != QoS::AtMostOnce && pkid == 0 {
        return Err("packet_id_0");
    }
    let (found, said) = properties::of_message(&mut body, properties::OF_PUBLISH)?;
    if found.topic_alias {
        return Err("topic_alias_not_granted");
    }
    if topic.is_empty() {
        // Only an alias could stand for it.
        return Err("publish_without_topic");
    }
    let payload = whole.slice(whole.len() - body.0.len()..);
    let retain = flags & 1 != 0;
    Ok(Publish { topic, payload, qos, pkid, retain, said })
}

/// The reason codes of a PUBACK and a PUBREC (§3.4.2.1, §3.5.2.1).
const OF_PUBACK: [u8; 9] = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];

/// The reason codes of a PUBREL and a PUBCOMP (§3.6.2.1, §3.7.2.1).
const OF_PUBREL: [u8; 2] = [0x00, 0x92];

/// The reason codes of a client's DISCONNECT (§3.14.2.1).
const OF_DISCONNECT: [u8; 14] =
    [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];

/// A packet id, then perhaps a reason code, then perhaps properties.
fn reply(mut body: Fields, codes: &[u8]) -> Result<Reply, &'static str> {
    let pkid = body.two()?;
    if pkid == 0 {
        return Err("packet_id_0");
    }
    let code = reason(&mut body, codes)?;
    if !body.is_empty() {
        properties::read(&mut body, properties::OF_REPLY)?;
    }
    ended(body)?;
    Ok(Reply { pkid, failed: code >= 0x80 })
}

fn subscribe(body: &mut Fields) -> Result<Subscribe, &'static str> {
    let pkid = body.two()?;
    let id = properties::read(body, properties::OF_SUBSCRIBE)?.subscription_id;
    let mut filters = Vec::new();
    while !body.is_empty() {
        filters.push(filter(body)?);
    }
    if filters.is_empty() {
        Err("subscribe_to_nothing")
    } else {
        Ok(Subscribe { pkid, filters, id })
    }
}

fn filter(body: &mut Fields) -> Result<Filter, &'static str> {
    let path = body.text()?.to_owned();
    let options = body.byte()?;
    let qos = super::qos(options & 0b11).filter(|_| options & 0xC0 == 0);
    let retained = match (options >> 4) & 0b11 {
        0 => RetainHandling::Always,
        1 => RetainHandling::IfNew,
        2 => RetainHandling::Never,
        _ => return Err("reserved_bits_set"),
    };
    let no_local = options & 0b0100 != 0;
    if no_local && path.starts_with("$share/") {
        // MQTT-3.8.3-4.
        return Err("shared_without_local");
    }
    let retain_as_published = options & 0b1000 != 0;
    let qos = qos.ok_or("reserved_bits_set")?;
    Ok(Filter { path, qos, no_local, retain_as_published, retained })
}

fn unsubscribe(body: &mut Fields) -> Result<Unsubscribe, &'static str> {
    let pkid = body.two()?;
    properties::read(body, properties::OF_UNSUBSCRIBE)?;
    let mut filters = Vec::new();
    while !body.is_empty() {
        filters.push(body.text()?.to_owned());
    }
    Ok(Unsubscribe { pkid, filters })
}

fn disconnect(mut body: Fields) -> Result<Disconnect, &'static str> {
    let code = reason(&mut body, &OF_DISCONNECT)?;
    let mut expiry_s = None;
    if !body.is_empty() {
        expiry_s = properties::read(&mut body, properties::OF_DISCONNECT)?.session_expiry_s;
    }
    ended(body)?;
    // MQTT-3.14.4-3: only the normal one discards the will.
    Ok(Disconnect { with_will: code != 0, expiry_s })
}

/// A reason code; none means success.
fn reason(body: &mut Fields, codes: &[u8]) -> Result<u8, &'static str> {
    if body.is_empty() {
        return Ok(0);
    }
    let code = body.byte()?;
    if codes.contains(&code) { Ok(code) } else { Err("unknown_reason_code") }
}

/// Nothing may follow.
fn ended(body: Fields) -> Result<(), &'static str> {
    if body.is_empty() { Ok(()) } else { Err("malformed_packet") }
}
