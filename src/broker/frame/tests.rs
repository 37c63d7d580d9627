//! The received bytes in any pieces, and what is written read back by another codec.

use super::frames::CHUNKS;
use super::*;
use crate::message::MAX_PAYLOAD;
use bytes::{BufMut, BytesMut};
use rumqttc::mqttbytes::v4::{self, PubAck, Publish, Subscribe};

fn publish(qos: QoS, pkid: u16, payload: usize) -> Vec<u8> {
    let mut packet = Publish::new("a/b", qos, vec![7; payload]);
    packet.pkid = pkid;
    let mut out = BytesMut::new();
    packet.write(&mut out).unwrap();
    out.to_vec()
}

/// Feeds bytes in pieces, and returns the frames and the largest buffer on the way.
fn feed(bytes: &[u8], piece: usize) -> (Vec<Frame>, usize) {
    let (mut frames, mut seen, mut largest) = (Frames::default(), Vec::new(), 0);
    for chunk in bytes.chunks(piece) {
        frames.push(chunk);
        frames.filled(chunk.len());
        largest = largest.max(frames.buffer.capacity());
        while let Some(frame) = frames.next().unwrap() {
            seen.push(frame);
        }
    }
    (seen, largest)
}

#[test]
fn packets_come_out_whole_however_the_bytes_are_cut() {
    let mut bytes = publish(QoS::AtLeastOnce, 5, 300);
    bytes.extend([0xC0, 0x00]);
    bytes.extend(publish(QoS::AtMostOnce, 0, 0));
    for piece in [1, 2, 3, 7, 100, 10_000] {
        let (seen, _) = feed(&bytes, piece);
        assert_eq!(seen.len(), 3, "in pieces of {piece}");
        assert_eq!(seen[1], Frame::Packet(Packet::PingReq));
    }
}

#[test]
fn an_oversized_publish_is_skipped_without_being_kept() {
    for (qos, pkid) in [(QoS::AtMostOnce, 0), (QoS::AtLeastOnce, 9), (QoS::ExactlyOnce, 10)] {
        let mut bytes = publish(qos, pkid, MAX_PAYLOAD * 8);
        bytes.extend([0xC0, 0x00]);
        let (seen, largest) = feed(&bytes, 5_000);
        let what = Oversized { qos, pkid, payload: MAX_PAYLOAD * 8 };
        assert_eq!(seen, [Frame::Oversized(what), Frame::Packet(Packet::PingReq)]);
        assert!(largest < 100_000, "{largest}");
    }
}

#[test]
fn the_limit_is_the_payloads_not_the_packets() {
    let (seen, _) = feed(&publish(QoS::AtLeastOnce, 1, MAX_PAYLOAD), 60_000);
    assert!(
        matches!(&seen[..], [Frame::Packet(Packet::Publish(p))] if p.payload.len() == MAX_PAYLOAD)
    );
    let (seen, _) = feed(&publish(QoS::AtLeastOnce, 1, MAX_PAYLOAD + 1), 1);
    assert!(matches!(&seen[..], [Frame::Oversized(_)]));
}

#[test]
fn a_promised_length_takes_no_memory() {
    let mut frames = Frames::default();
    frames.push(&[0x30, 0xFF, 0xFF, 0x0F, 0, 3]);
    assert_eq!(frames.next(), Ok(None));
    assert!(frames.buffer.capacity() <= 2 * CHUNKS.0);
}

#[test]
fn the_buffer_shrinks_after_a_large_packet() {
    let mut frames = Frames::default();
    for chunk in publish(QoS::AtMostOnce, 0, MAX_PAYLOAD).chunks(1000) {
        frames.push(chunk);
        frames.filled(chunk.len());
    }
    assert!(matches!(frames.next(), Ok(Some(Frame::Packet(_)))));
    assert_eq!(frames.next(), Ok(None));
    assert!(frames.space().get_ref().capacity() <= 2 * CHUNKS.0);
}

#[test]
fn a_burst_that_never_ends_with_a_packet_does_not_make_the_buffer_grow() {
    let packet = publish(QoS::AtMostOnce, 0, 700);
    let stream = packet.repeat(20_000);
    let (mut frames, mut at, mut seen, mut largest) = (Frames::default(), 0, 0, 0);
    while at < stream.len() {
        // As a socket does it: whatever room there is, it fills.
        let mut space = frames.space();
        let n = space.remaining_mut().min(stream.len() - at);
        space.put_slice(&stream[at..at + n]);
        at += n;
        frames.filled(n);
        largest = largest.max(frames.buffer.capacity());
        // The queue is full for a moment: a look at the room while nearly all still waits.
        let _ = frames.space();
        while frames.next().unwrap().is_some() {
            seen += 1;
            let _ = frames.space();
        }
        largest = largest.max(frames.buffer.capacity());
    }
    assert_eq!(seen, 20_000);
    assert!(largest <= 4 * CHUNKS.1, "{largest}");
}

#[test]
fn what_mqtt_forbids_is_named() {
    let cases: [(&[u8], &str); 8] = [
        (&[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], "malformed_length"),
        (&[0x80, 0x02, 0, 1], "malformed_flags"),
        (&[0x60, 0x02, 0, 1], "malformed_flags"),
        (&[0xC1, 0x00], "malformed_flags"),
        (&[0x82, 0x80, 0x80, 0x08], "packet_too_large"),
        (&[0x36, 0x04, 0, 1, b'a', 0], "malformed_packet"),
        (&[0x36, 0x80, 0x80, 0x40, 0, 1], "malformed_packet"),
        (&[0x30, 0x03, 0, 9, b'a'], "malformed_packet"),
    ];
    for (bytes, expected) in cases {
        let mut frames = Frames::default();
        frames.push(bytes);
        assert_eq!(frames.next(), Err(expected), "{bytes:x?}");
    }
}

#[test]
fn what_is_written_reads_back() {
    for len in [0, 1, 100, 200, 20_000, 200_000] {
        let mut out = BytesMut::new();
        for pkid in [0, 77] {
            let flags = Flags { pkid, dup: pkid == 77, retain: len == 1 };
            let payload = vec![1; len];
            assert!(Writer::default().publish(
                &mut out,
                b"meshcore/x",
                &payload,
                (flags, Extras::default())
            ));
            let Ok(v4::Packet::Publish(p)) = v4::Packet::read(&mut out, usize::MAX) else {
                panic!()
            };
            assert_eq!(
                (p.topic.as_str(), p.payload.len(), p.retain, p.dup, p.pkid, p.qos as u8),
                ("meshcore/x", len, len == 1, pkid == 77, pkid, u8::from(pkid == 77))
            );
            assert!(out.is_empty());
        }
    }
}

#[test]
fn other_packets_are_left_to_the_codec() {
    let mut out = BytesMut::new();
    Subscribe::new("a/#", QoS::AtLeastOnce).write(&mut out).unwrap();
    PubAck::new(3).write(&mut out).unwrap();
    let (seen, _) = feed(&out, 4);
    assert!(matches!(
        seen[..],
        [Frame::Packet(Packet::Subscribe(_)), Frame::Packet(Packet::PubAck(_))]
    ));
}
