//! A publish as its subscribers will see it.

use std::sync::Arc;

use bytes::Bytes;
use rumqttc::mqttbytes::QoS;

use super::frame::Properties;
use super::identity::{Author, Identity};

/// An allowed publish, for subscribers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copy<'a> {
    /// Where: [`super::access::routable`] where it goes to anyone.
    pub(super) topic: &'a str,
    /// What: not a part of something larger.
    pub(super) payload: &'a Bytes,
    /// What its publisher says of it.
    pub(super) said: Option<&'a Arc<Properties>>,
    /// How sure its publisher wants to be.
    pub(super) qos: QoS,
    /// Whether it asks to be retained.
    pub(super) retain: bool,
    /// Who published it; `None`: this program did.
    pub(super) from: Option<&'a Identity>,
    /// The same with its client id.
    pub(super) author: Author,
    /// Our clock when it arrived, in milliseconds since the Unix epoch.
    pub(super) at_ms: i64,
}

impl<'a> Copy<'a> {
    /// What this program itself says, at QoS 1.
    pub(super) fn ours(topic: &'a str, payload: &'a Bytes, at_ms: i64) -> Self {
        let (qos, author) = (QoS::AtLeastOnce, Author::default());
        Self { topic, payload, said: None, qos, retain: false, from: None, author, at_ms }
    }

    /// The QoS of the copies that go out, before that of each subscription (MQTT-3.8.4-8): 2 is served
    /// as 1.
    pub(super) fn served_qos(&self) -> QoS {
        if self.qos == QoS::AtMostOnce { self.qos } else { QoS::AtLeastOnce }
    }
}
