//! The properties of a client's packets (MQTT 5 §2.2.2): what each packet may have, each at most
//! once, and what the broker acts on.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::fields::Fields;
use crate::broker::frame::properties::Properties;

/// The properties that the broker acts on. The others are checked, and passed on or left behind.
#[derive(Debug, Default)]
pub(in crate::broker::frame) struct Found {
    pub(in crate::broker::frame) session_expiry_s: Option<u32>,
    pub(in crate::broker::frame) receive_maximum: Option<u16>,
    pub(in crate::broker::frame) maximum_packet: Option<u32>,
    pub(in crate::broker::frame) problem_info: Option<bool>,
    pub(in crate::broker::frame) will_delay_s: Option<u32>,
    pub(in crate::broker::frame) message_expiry_s: Option<u32>,
    pub(in crate::broker::frame) topic_alias: bool,
    pub(in crate::broker::frame) subscription_id: Option<NonZeroU32>,
    pub(in crate::broker::frame) auth_method: bool,
}

/// The identifiers of MQTT 5 table 2-4 that a client may send, by their numbers.
mod id {
    pub(super) const PAYLOAD_FORMAT: u8 = 0x01;
    pub(super) const MESSAGE_EXPIRY: u8 = 0x02;
    pub(super) const CONTENT_TYPE: u8 = 0x03;
    pub(super) const RESPONSE_TOPIC: u8 = 0x08;
    pub(super) const CORRELATION_DATA: u8 = 0x09;
    pub(super) const SUBSCRIPTION_ID: u8 = 0x0B;
    pub(super) const SESSION_EXPIRY: u8 = 0x11;
    pub(super) const AUTH_METHOD: u8 = 0x15;
    pub(super) const AUTH_DATA: u8 = 0x16;
    pub(super) const PROBLEM_INFO: u8 = 0x17;
    pub(super) const WILL_DELAY: u8 = 0x18;
    pub(super) const RESPONSE_INFO: u8 = 0x19;
    pub(super) const REASON_STRING: u8 = 0x1F;
    pub(super) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(super) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub(super) const TOPIC_ALIAS: u8 = 0x23;
    pub(super) const USER_PROPERTY: u8 = 0x26;
    pub(super) const MAXIMUM_PACKET: u8 = 0x27;
}

/// Those that only a server sends: known, and never allowed here.
const OF_SERVERS: [u8; 9] = [0x12, 0x13, 0x1A, 0x1C, 0x24, 0x25, 0x28, 0x29, 0x2A];

/// What a CONNECT may have.
pub(in crate::broker::frame) const OF_CONNECT: &[u8] = &[
    id::SESSION_EXPIRY,
    id::AUTH_METHOD,
    id::AUTH_DATA,
    id::PROBLEM_INFO,
    id::RESPONSE_INFO,
    id::RECEIVE_MAXIMUM,
    id::TOPIC_ALIAS_MAXIMUM,
    id::USER_PROPERTY,
    id::MAXIMUM_PACKET,
];

/// What a will may have.
pub(in crate::broker::frame) const OF_WILL: &[u8] = &[
    id::PAYLOAD_FORMAT,
    id::MESSAGE_EXPIRY,
    id::CONTENT_TYPE,
    id::RESPONSE_TOPIC,
    id::CORRELATION_DATA,
    id::WILL_DELAY,
    id::USER_PROPERTY,
];

/// What a PUBLISH may have; a subscription identifier is the server's to add (MQTT-3.3.4-6).
pub(in crate::broker::frame) const OF_PUBLISH: &[u8] = &[
    id::PAYLOAD_FORMAT,
    id::MESSAGE_EXPIRY,
    id::CONTENT_TYPE,
    id::RESPONSE_TOPIC,
    id::CORRELATION_DATA,
    id::TOPIC_ALIAS,
    id::USER_PROPERTY,
];

/// What goes on unaltered to whoever gets a copy.
const PASSED_ON: [u8; 5] = [
    id::PAYLOAD_FORMAT,
    id::CONTENT_TYPE,
    id::RESPONSE_TOPIC,
    id::CORRELATION_DATA,
    id::USER_PROPERTY,
];

/// What a PUBACK, PUBREC, PUBREL or PUBCOMP may have.
pub(in crate::broker::frame) const OF_REPLY: &[u8] = &[id::REASON_STRING, id::USER_PROPERTY];

/// What a SUBSCRIBE may have.
pub(in crate::broker::frame) const OF_SUBSCRIBE: &[u8] = &[id::SUBSCRIPTION_ID, id::USER_PROPERTY];

/// What an UNSUBSCRIBE may have.
pub(in crate::broker::frame) const OF_UNSUBSCRIBE: &[u8] = &[id::USER_PROPERTY];

/// What a DISCONNECT may have.
pub(in crate::broker::frame) const OF_DISCONNECT: &[u8] =
    &[id::SESSION_EXPIRY, id::REASON_STRING, id::USER_PROPERTY];

/// Reads the length of the properties and the properties.
///
/// # Errors
/// The name of what is wrong.
pub(in crate::broker::frame) fn read(
    body: &mut Fields,
    allowed: &[u8],
) -> Result<Found, &'static str> {
    each(body, allowed, |_, _| ())
}

/// The same of a PUBLISH or a will, with what is passed on of them.
///
/// # Errors
/// The name of what is wrong.
pub(in crate::broker::frame) fn of_message(
    body: &mut Fields,
    allowed: &[u8],
) -> Result<(Found, Option<Arc<Properties>>), &'static str> {
    let mut passed_on = Vec::new();
    let found = each(body, allowed, |id, bytes| {
        if PASSED_ON.contains(&id) {
            passed_on.extend_from_slice(bytes);
        }
    })?;
    let expiry_s = found.message_expiry_s;
    if passed_on.is_empty() && expiry_s.is_none() {
        return Ok((found, None));
    }
    let said = Properties { passed_on: passed_on.into(), expiry_s };
    Ok((found, Some(Arc::new(said))))
}

/// Calls `one` for each property, with its number and all its bytes.
fn each(
    body: &mut Fields,
    allowed: &[u8],
    mut one: impl FnMut(u8, &[u8]),
) -> Result<Found, &'static str> {
    let len = usize::try_from(body.variable()?).map_err(|_| "malformed_length")?;
    let mut fields = Fields(body.take(len)?);
    let (mut found, mut seen, mut data) = (Found::default(), 0_u64, false);
    while !fields.is_empty() {
        let from = fields.0;
        // In theory a Variable Byte Integer; none has more than one byte.
        let id = fields.byte()?;
        if !allowed.contains(&id) {
            let known = OF_SERVERS.contains(&id) || is_of_clients(id);
            return Err(if known { "property_not_allowed" } else { "unknown_property" });
        }
        let bit = 1_u64 << (id & 63);
        if id != id::USER_PROPERTY && seen & bit != 0 {
            return Err("property_twice");
        }
        seen |= bit;
        data |= id == id::AUTH_DATA;
        found.take(id, &mut fields)?;
        one(id, from.get(..from.len() - fields.0.len()).unwrap_or_default());
    }
    if data && !found.auth_method { Err("auth_data_without_method") } else { Ok(found) }
}

fn is_of_clients(id: u8) -> bool {
    [OF_CONNECT, OF_WILL, OF_PUBLISH, OF_REPLY, OF_SUBSCRIBE].iter().any(|all| all.contains(&id))
}

impl Found {
    fn take(&mut self, id: u8, fields: &mut Fields) -> Result<(), &'static str> {
        match id {
            id::SESSION_EXPIRY => self.session_expiry_s = Some(fields.four()?),
            id::WILL_DELAY => self.will_delay_s = Some(fields.four()?),
            id::MESSAGE_EXPIRY => self.message_expiry_s = Some(fields.four()?),
            id::MAXIMUM_PACKET => self.maximum_packet = Some(not_zero(fields.four()?)?),
            id::RECEIVE_MAXIMUM => self.receive_maximum = Some(not_zero(fields.two()?)?),
            id::PROBLEM_INFO => self.problem_info = Some(flag(fields)?),
            id::RESPONSE_INFO | id::PAYLOAD_FORMAT => drop(flag(fields)?),
            id::TOPIC_ALIAS_MAXIMUM => drop(fields.two()?),
            id::TOPIC_ALIAS => {
                fields.two()?;
                self.topic_alias = true;
            }
            id::SUBSCRIPTION_ID => {
                let id = NonZeroU32::new(fields.variable()?);
                self.subscription_id = Some(id.ok_or("property_value_not_allowed")?);
            }
            id::AUTH_METHOD => {
                fields.text()?;
                self.auth_method = true;
            }
            id::AUTH_DATA | id::CORRELATION_DATA => drop(fields.binary()?),
            id::USER_PROPERTY => {
                fields.text()?;
                fields.text()?;
            }
            id::RESPONSE_TOPIC => {
                // MQTT-3.3.2-14.
                if fields.text()?.contains(['+', '#']) {
                    return Err("property_value_not_allowed");
                }
            }
            id::CONTENT_TYPE | id::REASON_STRING => drop(fields.text()?),
            _ => return Err("unknown_property"),
        }
        Ok(())
    }
}

fn flag(fields: &mut Fields) -> Result<bool, &'static str> {
    match fields.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err("property_value_not_allowed"),
    }
}

fn not_zero<T: Default + PartialEq>(value: T) -> Result<T, &'static str> {
    if value == T::default() { Err("property_value_not_allowed") } else { Ok(value) }
}
