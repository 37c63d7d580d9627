//! MQTT 3.1.1: `rumqttc` parses, this makes the broker's own packets of it.

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v4;

use super::packet::{
    Connect, Disconnect, Filter, Limits, Login, Packet, Publish, Reply, RetainHandling,
    SessionWish, Subscribe, Unsubscribe, Version, Will,
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

/// Reads a whole CONNECT.
///
/// # Errors
/// The name of what is wrong.
pub(super) fn read_connect(mut whole: BytesMut) -> Result<Connect, &'static str> {
    let Ok(v4::Packet::Connect(connect)) = v4::Packet::read(&mut whole, usize::MAX) else {
        return Err("malformed_connect");
    };
    let clean_start = connect.clean_session;
    Ok(Connect {
        version: Version::V4,
        client_id: connect.client_id,
        session: SessionWish { clean_start, expiry_s: if clean_start { 0 } else { u32::MAX } },
        keep_alive: connect.keep_alive,
        login: connect.login.map(|login| {
            let v4::Login { username, password } = login;
            Login { username, password }
        }),
        will: connect.last_will.map(|will| Will {
            topic: will.topic,
            payload: Bytes::copy_from_slice(&will.message),
            retain: will.retain,
            qos: will.qos,
            delay_s: 0,
        }),
        limits: Limits::default(),
    })
}

fn publish(publish: v4::Publish) -> Result<Publish, &'static str> {
    let v4::Publish { qos, retain, topic, pkid, payload, .. } = publish;
    if topic.contains('\0') {
        // MQTT-1.5.3-2.
        return Err("nul_in_topic");
    }
    Ok(Publish { topic, payload, qos, pkid, retain, expiry_s: None })
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
    Subscribe { pkid: subscribe.pkid, filters }
}
