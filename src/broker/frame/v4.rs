//! MQTT 3.1.1: `rumqttc` parses, this makes the broker's own packets of it. All but the CONNECT.

use bytes::BytesMut;
use rumqttc::mqttbytes::v4;

use super::packet::{
    Disconnect, Filter, Packet, Publish, Reply, RetainHandling, Subscribe, Unsubscribe,
};

/// Reads one whole packet.
///
/// # Errors
/// The name of what is wrong.
pub(super) fn read(mut whole: BytesMut) -> Result<Packet, &'static str> {
    let reply = |pkid| Reply { pkid, failed: false };
    let packet = v4::Packet::read(&mut whole, usize::MAX).map_err(|_| "malformed_packet")?;
    Ok(match packet {
        v4::Packet::Publish(publish) => Packet::Publish(self::publish(publish)?),
        v4::Packet::PubAck(ack) => Packet::PubAck(reply(ack.pkid)),
        v4::Packet::PubRec(ack) => Packet::PubRec(reply(ack.pkid)),
        v4::Packet::PubRel(ack) => Packet::PubRel(reply(ack.pkid)),
        v4::Packet::PubComp(ack) => Packet::PubComp(reply(ack.pkid)),
        v4::Packet::Subscribe(subscribe) => Packet::Subscribe(self::subscribe(subscribe)),
        v4::Packet::Unsubscribe(unsubscribe) => {
            let v4::Unsubscribe { pkid, topics } = unsubscribe;
            Packet::Unsubscribe(Unsubscribe { pkid, filters: topics })
        }
        v4::Packet::PingReq => Packet::PingReq,
        v4::Packet::Disconnect => Packet::Disconnect(Disconnect::default()),
        v4::Packet::Connect(_) => Packet::Connect,
        v4::Packet::ConnAck(_)
        | v4::Packet::SubAck(_)
        | v4::Packet::UnsubAck(_)
        | v4::Packet::PingResp => Packet::OfServer,
    })
}

fn publish(publish: v4::Publish) -> Result<Publish, &'static str> {
    let v4::Publish { qos, retain, topic, pkid, payload, .. } = publish;
    if topic.contains('\0') {
        // MQTT-1.5.3-2.
        return Err("nul_in_topic");
    }
    Ok(Publish { topic, payload, qos, pkid, retain, said: None })
}

fn subscribe(subscribe: v4::Subscribe) -> Subscribe {
    let filter = |filter: v4::SubscribeFilter| Filter {
        path: filter.path,
        qos: filter.qos,
        no_local: false,
        retain_as_published: false,
        retained: RetainHandling::Always,
    };
    let filters = subscribe.filters.into_iter().map(filter).collect();
    Subscribe { pkid: subscribe.pkid, filters, id: None }
}
