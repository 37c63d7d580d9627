//! The packets that a client sends, whatever its version of MQTT.
//!
//! The codecs make them; `login` and `door::session` know no others. Of MQTT 5 they have what the
//! broker acts on and what it passes on; the rest is checked for its form and left behind.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use rumqttc::mqttbytes::QoS;

use super::properties::Properties;

/// A version of MQTT that is spoken here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::broker) enum Version {
    /// MQTT 3.1.1: protocol level 4.
    #[default]
    V4,
    /// MQTT 5: protocol level 5.
    V5,
}

impl Version {
    /// As people call it.
    pub(in crate::broker) fn name(self) -> &'static str {
        match self {
            Self::V4 => "3.1.1",
            Self::V5 => "5",
        }
    }
}

/// A packet of a client that has been let in.
#[derive(Debug, PartialEq)]
pub(in crate::broker) enum Packet {
    /// A message.
    Publish(Publish),
    /// The client has a QoS 1 copy.
    PubAck(Reply),
    /// The client has a QoS 2 copy; a failed one ends the exchange.
    PubRec(Reply),
    /// The client will not send a QoS 2 message again.
    PubRel(Reply),
    /// The client has forgotten a QoS 2 copy's packet id.
    PubComp(Reply),
    /// It wants copies.
    Subscribe(Subscribe),
    /// It wants them no more.
    Unsubscribe(Unsubscribe),
    /// It is there.
    PingReq,
    /// It goes.
    Disconnect(Disconnect),
    /// A CONNECT: there may be only one.
    Connect,
    /// An AUTH: nobody was let in who may send it.
    Auth,
    /// A packet that only a server sends.
    OfServer,
}

/// The first packet.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::broker) struct Connect {
    /// The version that it wants to speak.
    pub(in crate::broker) version: Version,
    /// What it calls itself; may be empty.
    pub(in crate::broker) client_id: String,
    /// What it wants to be kept.
    pub(in crate::broker) session: SessionWish,
    /// Seconds in which it promises to send something; 0: no promise.
    pub(in crate::broker) keep_alive: u16,
    /// Its credentials.
    pub(in crate::broker) login: Option<Login>,
    /// What to publish when it vanishes.
    pub(in crate::broker) will: Option<Will>,
    /// What it takes.
    pub(in crate::broker) limits: Limits,
}

/// What a client wants to be kept for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) struct SessionWish {
    /// Whether to forget what is kept.
    pub(in crate::broker) clean_start: bool,
    /// For how many seconds after the connection to keep what is left: 0 not at all, `u32::MAX` for
    /// ever. MQTT 3.1.1 knows only these two.
    pub(in crate::broker) expiry_s: u32,
}

/// What a client takes at most, and what it wants to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) struct Limits {
    /// QoS 1 and 2 copies that may be on their way to it unacknowledged.
    pub(in crate::broker) receive_maximum: u16,
    /// Bytes of a packet.
    pub(in crate::broker) packet: u32,
    /// Whether it wants reasons in words.
    pub(in crate::broker) problem_info: bool,
}

/// What a client that says nothing takes; MQTT 3.1.1 cannot say it.
impl Default for Limits {
    fn default() -> Self {
        Self { receive_maximum: u16::MAX, packet: u32::MAX, problem_info: true }
    }
}

/// Credentials. `Debug` leaves out the password.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::broker) struct Login {
    /// The user name; may be empty. What is not UTF-8 in that of an MQTT 3.1.1 client is replaced, so
    /// that it is nobody's.
    pub(in crate::broker) name: String,
    /// The password, any bytes; empty where there is none.
    pub(in crate::broker) password: Vec<u8>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({:?})", self.name)
    }
}

/// What to publish when a client vanishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::broker) struct Will {
    /// Where; not yet judged.
    pub(in crate::broker) topic: String,
    /// What: a copy of its own, not a part of a read buffer.
    pub(in crate::broker) payload: Bytes,
    /// Whether it is to be retained.
    pub(in crate::broker) retain: bool,
    /// How sure the client wants to be.
    pub(in crate::broker) qos: QoS,
    /// Seconds to wait for the client to come back to its session; 0 in MQTT 3.1.1.
    pub(in crate::broker) delay_s: u32,
    /// What the client says of it; `None`: nothing.
    pub(in crate::broker) said: Option<Arc<Properties>>,
}

/// A message of a client.
#[derive(Debug, PartialEq)]
pub(in crate::broker) struct Publish {
    /// Where; not yet judged.
    pub(in crate::broker) topic: String,
    /// What; may be a part of the read buffer.
    pub(in crate::broker) payload: Bytes,
    /// How sure the client wants to be.
    pub(in crate::broker) qos: QoS,
    /// 0 with QoS 0, else not.
    pub(in crate::broker) pkid: u16,
    /// Whether it is to be retained.
    pub(in crate::broker) retain: bool,
    /// What the client says of it; `None`: nothing.
    pub(in crate::broker) said: Option<Arc<Properties>>,
}

/// A PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) struct Reply {
    /// Of which message.
    pub(in crate::broker) pkid: u16,
    /// Whether the client could not do what was asked.
    pub(in crate::broker) failed: bool,
}

/// A SUBSCRIBE; never without filters.
#[derive(Debug, PartialEq)]
pub(in crate::broker) struct Subscribe {
    /// Not judged: 0 is wrong.
    pub(in crate::broker) pkid: u16,
    /// Not judged.
    pub(in crate::broker) filters: Vec<Filter>,
    /// What copies by these filters are to be marked with.
    pub(in crate::broker) id: Option<NonZeroU32>,
}

/// A filter with its options.
#[derive(Debug, PartialEq)]
pub(in crate::broker) struct Filter {
    /// The filter.
    pub(in crate::broker) path: String,
    /// The highest QoS that the client wants.
    pub(in crate::broker) qos: QoS,
    /// Not what the client itself publishes.
    pub(in crate::broker) no_local: bool,
    /// Copies keep the retain flag that they were published with.
    pub(in crate::broker) retain_as_published: bool,
    /// When retained messages are sent.
    pub(in crate::broker) retained: RetainHandling,
}

/// When a subscription brings the retained messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::broker) enum RetainHandling {
    /// Each time it is asked for; always in MQTT 3.1.1 (MQTT-3.8.4-3).
    #[default]
    Always,
    /// Only if the client did not have it yet.
    IfNew,
    /// Never.
    Never,
}

/// An UNSUBSCRIBE.
#[derive(Debug, PartialEq)]
pub(in crate::broker) struct Unsubscribe {
    /// Not judged: 0 is wrong.
    pub(in crate::broker) pkid: u16,
    /// Not judged; none is wrong.
    pub(in crate::broker) filters: Vec<String>,
}

/// A client's goodbye.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::broker) struct Disconnect {
    /// It wants its will to be published all the same.
    pub(in crate::broker) with_will: bool,
    /// Another expiry of its session, in seconds.
    pub(in crate::broker) expiry_s: Option<u32>,
}
