//! The whole door in memory: what needs an address from elsewhere, a dead router, or a torrent of
//! nonsense.

mod roles;

use bytes::BytesMut;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, LastWill, Packet, PubRel, Publish, Subscribe,
    SubscribeFilter, Unsubscribe,
};
use tokio::io::AsyncWriteExt;

use super::*;
use crate::broker::rig::{Client, Rig, eventually, visitor};
use crate::config::Policy;

async fn answer_to(rig: &Rig, peer: &str, policy: Access) -> Option<Packet> {
    let mut client = rig.dial(visitor(peer, policy));
    client.send(&Packet::Connect(Connect::new("x"))).await;
    client.packet().await
}

fn connack(code: ConnectReturnCode) -> Option<Packet> {
    Some(Packet::ConnAck(ConnAck::new(code, false)))
}

#[tokio::test]
async fn the_lan_policy_judges_the_peer_address() {
    let rig = Rig::new().await;
    for near in ["127.0.0.1", "192.168.213.77", "::ffff:10.213.7.77", "fd12:3::77", "fe80::77"] {
        let answer = answer_to(&rig, near, Access::Lan).await;
        assert_eq!(answer, connack(ConnectReturnCode::Success), "{near}");
    }
    for far in ["8.8.8.8", "::ffff:8.8.8.8", "2606:4700::1"] {
        let answer = answer_to(&rig, far, Access::Lan).await;
        assert_eq!(answer, connack(ConnectReturnCode::NotAuthorized), "{far}");
        let answer = answer_to(&rig, far, Access::Anyone).await;
        assert_eq!(answer, connack(ConnectReturnCode::Success), "{far}");
    }
    let answer = answer_to(&rig, "192.168.213.77", Access::Local).await;
    assert_eq!(answer, connack(ConnectReturnCode::NotAuthorized));
    assert_eq!(rig.house.counters.reasons.count("login_needed_from_outside"), 3);
}

#[tokio::test]
async fn large_packets_that_do_not_end_have_a_bound_in_all() {
    let policy = Policy { max_payload: 256 * 1024, ..Policy::default() };
    let mut rig = Rig::with(policy, Arc::new(crate::broker::access::Unclaimed)).await;
    let mut packet = BytesMut::new();
    let large = Publish::new("meshcore/large", QoS::AtMostOnce, vec![7; 250_000]);
    large.write(&mut packet).unwrap();
    let mut slow = Vec::new();
    for n in 0..50 {
        let mut client = rig.client(&format!("slow {n}")).await;
        // What the other side has closed meanwhile takes no more.
        let _ = client.stream.write_all(&packet[..40_000]).await;
        slow.push(client);
    }
    let closed = || rig.house.counters.reasons.count("too_many_large_packets");
    // 33 of them are 8 MiB.
    eventually("those without room are closed", || closed() == 17).await;
    let mut ordinary = rig.client("ordinary").await;
    ordinary.publish("meshcore/ordinary", &[7; 10_240]).await;
    assert_eq!(rig.stored.recv().await.unwrap().0, "meshcore/ordinary");
    // One that goes on comes through, and its room is free again.
    slow[0].stream.write_all(&packet[40_000..]).await.unwrap();
    assert_eq!(rig.stored.recv().await.unwrap().1.len(), 250_000);
    let mut next = rig.client("next").await;
    next.stream.write_all(&packet).await.unwrap();
    assert_eq!(rig.stored.recv().await.unwrap().1.len(), 250_000);
    drop(slow);
    rig.still_works().await;
}

#[tokio::test]
async fn a_subscriber_notices_nothing_of_a_router_that_died() {
    let mut rig = Rig::new().await;
    let mut subscriber = rig.client("subscriber").await;
    subscriber.subscribe("meshcore/#").await;
    let mut publisher = rig.client("publisher").await;
    rig.house.router.kill();
    let rebuilds = || rig.house.counters.broker_router_rebuilds.get();
    eventually("the router is rebuilt", || rebuilds() == 1).await;
    let (mut got, mut sent) = (None, 0);
    while got.is_none() {
        publisher.publish("meshcore/x", b"after").await;
        sent += 1;
        assert!(sent < 1_000);
        let wait = Duration::from_millis(20);
        got = tokio::time::timeout(wait, subscriber.packet()).await.ok();
    }
    assert!(matches!(got.flatten(), Some(Packet::Publish(p)) if p.payload == "after"));
    rig.still_works().await;
}

/// A small generator of repeatable chance (xorshift64*).
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % n
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }

    fn topic(&mut self) -> String {
        let topics = [
            "meshcore/SJC/AB/packets",
            "é",
            "",
            "a/#/b",
            "$SYS/x",
            "#",
            "+",
            "$share/g/#",
            "a\0b",
            "meshcore/\u{1F4A9}",
            "meshcore/x",
            "$share/g",
            "a+",
            "/",
            "meshcore/x/internal",
        ];
        topics[self.below(topics.len())].to_owned()
    }

    fn packet(&mut self) -> Packet {
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][self.below(3)];
        let pkid = u16::try_from(1 + self.below(5)).unwrap();
        match self.below(9) {
            0 => Packet::PingReq,
            1 => Packet::PubRel(PubRel::new(pkid)),
            2 => {
                let filters = (0..=self.below(3)).map(|_| SubscribeFilter::new(self.topic(), qos));
                let mut subscribe = Subscribe::new_many(filters.collect::<Vec<_>>());
                subscribe.pkid = pkid;
                Packet::Subscribe(subscribe)
            }
            3 => Packet::Unsubscribe(Unsubscribe { pkid, topics: vec![self.topic()] }),
            4 => Packet::PubAck(rumqttc::PubAck::new(pkid)),
            5 if self.below(10) == 0 => Packet::Disconnect,
            6 if self.below(10) == 0 => Packet::Connect(Connect::new("again")),
            _ => {
                let mut publish = Publish::new(self.topic(), qos, vec![b'x'; self.below(300)]);
                (publish.pkid, publish.retain, publish.dup) =
                    (pkid, self.below(2) == 0, self.below(2) == 0);
                Packet::Publish(publish)
            }
        }
    }

    /// A session's worth of bytes: a CONNECT, packets, and some harm done to them.
    fn stream(&mut self) -> BytesMut {
        let mut out = BytesMut::new();
        let mut connect = Connect::new(["", "a", "é", "$x/+#"][self.below(4)]);
        connect.clean_session = self.below(4) > 0;
        if self.below(2) == 0 {
            connect.last_will = Some(LastWill::new(self.topic(), "gone", QoS::AtLeastOnce, true));
        }
        let _ = Packet::Connect(connect).write(&mut out, usize::MAX);
        for _ in 0..self.below(30) {
            let _ = self.packet().write(&mut out, usize::MAX);
        }
        for _ in 0..self.below(4) {
            self.harm(&mut out);
        }
        out
    }

    fn harm(&mut self, bytes: &mut BytesMut) {
        let at = self.below(bytes.len().max(1)).min(bytes.len().saturating_sub(1));
        match self.below(5) {
            0 => bytes.truncate(at),
            1 => {
                let noise: Vec<u8> = (0..self.below(40)).map(|_| self.byte()).collect();
                bytes.extend_from_slice(&noise);
            }
            2 => {
                let noise: Vec<u8> = (0..self.below(200)).map(|_| self.byte()).collect();
                *bytes = noise.as_slice().into();
            }
            _ if bytes.is_empty() => {}
            _ => bytes[at] = self.byte(),
        }
    }
}

/// Sends what it can, reads what comes, and waits for the connection's task, which must not panic.
async fn survive(mut client: Client, bytes: &[u8], piece: usize) {
    let (mut reader, mut writer) = tokio::io::split(client.stream);
    let write = async {
        for piece in bytes.chunks(piece) {
            if writer.write_all(piece).await.is_err() {
                break;
            }
        }
        let _ = writer.shutdown().await;
    };
    let mut sink = tokio::io::sink();
    let _ = tokio::join!(write, tokio::io::copy(&mut reader, &mut sink));
    (&mut client.served).await.expect("a connection's task must not panic");
}

#[tokio::test]
async fn any_bytes_end_at_worst_the_connection_that_sent_them() {
    let mut rig = Rig::new().await;
    let (stop, mut drain) = tokio::sync::oneshot::channel::<()>();
    let (_, empty) = tokio::sync::mpsc::channel(1);
    let mut stored = std::mem::replace(&mut rig.stored, empty);
    let drained = tokio::spawn(async move {
        loop {
            tokio::select! {
                message = stored.recv() => drop(message),
                _ = &mut drain => return stored,
            }
        }
    });
    let mut chance = Chance(0x5EED_CAFE_F00D_0001);
    for round in 0..1_500 {
        let bytes = chance.stream();
        let client = rig.dial(visitor("127.0.0.1", Access::Lan));
        let piece = [1, 7, 100_000][round % 3];
        let survived =
            tokio::time::timeout(crate::broker::rig::PATIENCE, survive(client, &bytes, piece));
        survived.await.unwrap_or_else(|_| panic!("round {round} hangs: {bytes:x?}"));
    }
    drop(stop);
    rig.stored = drained.await.unwrap();
    rig.still_works().await;
    assert_eq!(
        rig.house.counters.broker_router_rebuilds.get(),
        0,
        "the router must not see nonsense"
    );
    let connections = || rig.house.counters.broker_connections.get();
    eventually("everyone has left", || connections() == 0).await;
}

#[tokio::test]
async fn row_16_ten_failed_logins_a_minute_and_an_address_waits_for_all_but_what_is_right() {
    use crate::crypto::token::{Claims, SigningKey, mint, username};
    let rig = Rig::new().await;
    let mut private = [8; 64];
    private[31] = 0x48;
    let key = SigningKey::from_expanded(&private);
    let claims = Claims {
        issued_at_s: rig.house.clock.now_ms() / 1_000,
        audience: vec!["127.0.0.1".into()],
        ..Claims::default()
    };
    let (name, token) = (username(key.public_key()), mint(&key, &claims));
    let answer = async |from: &str, password: &str| {
        let mut client = rig.dial(visitor(from, Access::Lan));
        let mut connect = Connect::new("x");
        connect.set_login(&name, password);
        client.send(&Packet::Connect(connect)).await;
        let Some(Packet::ConnAck(ack)) = client.packet().await else { panic!("no CONNACK") };
        ack.code
    };
    for _ in 0..10 {
        assert_eq!(answer("10.0.0.9", "x").await, ConnectReturnCode::BadUserNamePassword);
    }
    for _ in 0..3 {
        assert_eq!(answer("10.0.0.9", "x").await, ConnectReturnCode::ServiceUnavailable);
    }
    assert_eq!(rig.house.counters.reasons.count("login_throttled"), 3);
    assert_eq!(answer("10.0.0.8", "x").await, ConnectReturnCode::BadUserNamePassword);
    assert_eq!(answer("10.0.0.9", &token).await, ConnectReturnCode::Success);
    for _ in 0..12 {
        assert_eq!(answer("127.0.0.1", "x").await, ConnectReturnCode::BadUserNamePassword);
    }
}

#[tokio::test]
async fn whoever_vanishes_before_it_is_told_that_it_is_in_has_its_will() {
    let mut rig = Rig::new().await;
    let (mut stream, ours) = tokio::io::duplex(1024);
    let mut connect = Connect::new("brief");
    connect.last_will = Some(LastWill::new("meshcore/gone", "x", QoS::AtLeastOnce, false));
    let mut out = BytesMut::new();
    Packet::Connect(connect).write(&mut out, usize::MAX).unwrap();
    stream.write_all(&out).await.unwrap();
    drop(stream);
    let visitor = visitor("127.0.0.1", Access::Lan);
    serve(ours, visitor, Arc::clone(&rig.house), rig.intake.clone()).await;
    let will = tokio::time::timeout(crate::broker::rig::PATIENCE, rig.stored.recv()).await;
    assert_eq!(will.unwrap().unwrap().0, "meshcore/gone");
    assert_eq!(rig.house.counters.broker_wills.get(), 1);
}

#[tokio::test]
async fn wills_have_a_bound_in_all_however_small_they_are() {
    let rig = Rig::new().await;
    let (topic, payload, qos) = (String::new(), bytes::Bytes::new(), QoS::AtMostOnce);
    let will =
        super::super::frame::Will { topic, payload, retain: false, qos, delay_s: 1, said: None };
    let wills: Vec<_> = (0..50_000).map_while(|_| rig.house.room_for_will(&will)).collect();
    assert!(wills.len() < 50_000, "each of them costs memory");
    let most = crate::config::MOST_CONNECTIONS;
    assert!(wills.len() >= most, "every connection may have one");
}
