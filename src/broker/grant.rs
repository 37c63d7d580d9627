//! What a client was granted for one of its filters.

use std::num::NonZeroU32;

use rumqttc::mqttbytes::QoS;

/// A subscription without its filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    /// 0 or 1.
    pub(super) qos: QoS,
    /// Not what the client itself has published (MQTT-3.8.3-3).
    pub(super) no_local: bool,
    /// Live copies keep the retain flag that they were published with (MQTT-3.3.1-13).
    pub(super) retain_as_published: bool,
    /// What copies that come by it are marked with (MQTT-3.3.4-3).
    pub(super) id: Option<NonZeroU32>,
}

/// The subscription options of a SUBSCRIBE (MQTT 5 §3.8.3.1).
mod option {
    pub(super) const QOS: u8 = 0b0011;
    pub(super) const NO_LOCAL: u8 = 0b0100;
    pub(super) const RETAIN_AS_PUBLISHED: u8 = 0b1000;
}

impl Grant {
    /// A QoS and nothing else, as MQTT 3.1.1 has it.
    pub(super) fn plain(qos: QoS) -> Self {
        Self { qos, no_local: false, retain_as_published: false, id: None }
    }

    /// Whether copies go by way of the router; those of QoS 1 wait in a queue of the client's own.
    pub(super) fn is_routed(self) -> bool {
        self.qos == QoS::AtMostOnce
    }

    /// Whether it matters by which filter a copy comes.
    pub(super) fn has_options(self) -> bool {
        self != Self::plain(self.qos)
    }

    /// As the byte of a SUBSCRIBE, without the identifier.
    pub(super) fn options(self) -> u8 {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        self.qos as u8
            | flag(self.no_local, option::NO_LOCAL)
            | flag(self.retain_as_published, option::RETAIN_AS_PUBLISHED)
    }

    /// From that byte and the identifier; 0: none.
    pub(super) fn read(options: u8, id: u32) -> Self {
        let qos = if options & option::QOS == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        Self {
            qos,
            no_local: options & option::NO_LOCAL != 0,
            retain_as_published: options & option::RETAIN_AS_PUBLISHED != 0,
            id: NonZeroU32::new(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_survives_its_byte_and_its_identifier() {
        for (options, id) in [(0, 0), (1, 0), (0b0100, 7), (0b1001, 0), (0b1101, 268_435_455)] {
            let grant = Grant::read(options, id);
            assert_eq!((grant.options(), grant.id.map_or(0, NonZeroU32::get)), (options, id));
            assert_eq!(grant.has_options(), options > 1 || id > 0);
        }
        assert_eq!(Grant::read(1, 0), Grant::plain(QoS::AtLeastOnce));
    }
}
